"""Mined negatives against torch.topk and loops."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.core.positions import pad_positions
from gradatim.mining.denoised_negatives import denoised_negatives
from gradatim.mining.top_k_negatives import top_k_negatives


@given(st.integers(0, 99), st.sampled_from(["dot", "cosine"]), st.integers(0, 3))
def test_negatives_are_the_best_documents_without_the_relevant_ones(seed, metric, skip):
    generator = torch.Generator().manual_seed(seed)
    queries, corpus = (torch.randn(n, 3, generator=generator) for n in (5, 12))
    relevant = [{0}, set(), {3, 7, 11}, {2}, {1, 5}]
    found = top_k_negatives(queries, corpus, pad_positions(relevant), k=4, skip=skip, metric=metric)
    if metric == "cosine":
        queries, corpus = (torch.nn.functional.normalize(x, dim=1) for x in (queries, corpus))
    scores = queries @ corpus.T
    for row, known in enumerate(relevant):
        scores[row, list(known)] = -torch.inf
    wanted = scores.topk(4 + skip, dim=1)
    assert torch.equal(found.index, wanted.indices[:, skip:])
    torch.testing.assert_close(found.scores, wanted.values[:, skip:])


@given(
    st.lists(
        st.lists(st.tuples(st.integers(-1, 9), st.integers(0, 4)), min_size=5, max_size=5),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 4),
    st.sampled_from([None, 1, 3, 5]),
)
def test_denoised_negatives_are_the_first_that_pass(rows, threshold, k):
    candidates = torch.tensor([[place for place, _ in row] for row in rows])
    scores = torch.tensor([[float(score) for _, score in row] for row in rows])
    before = candidates.clone()
    found = denoised_negatives(candidates, scores, threshold, k=k)
    assert found.shape == (len(rows), k or 5) and torch.equal(candidates, before)
    for row, kept in zip(rows, found.tolist(), strict=True):
        wanted = [place for place, score in row if place >= 0 and score <= threshold][: k or 5]
        assert kept == wanted + [-1] * (len(kept) - len(wanted))


def test_a_candidate_without_a_score_is_dropped():
    found = denoised_negatives(torch.tensor([[4, 6]]), torch.tensor([[torch.nan, 0.0]]), 1.0)
    assert found.tolist() == [[6, -1]]


CANDIDATES = torch.zeros(2, 3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: top_k_negatives(torch.eye(2), torch.eye(2), CANDIDATES[:, :1], k=2), "k: expec"),
        (lambda: top_k_negatives(torch.eye(2), torch.eye(2), CANDIDATES, k=1, skip=-1), "skip"),
        (lambda: top_k_negatives(torch.eye(2), torch.eye(2), CANDIDATES, k=0), "k: expected"),
        (lambda: denoised_negatives(CANDIDATES, torch.zeros(2, 2), 0.5), "scores: expected"),
        (lambda: denoised_negatives(CANDIDATES, torch.zeros(2, 3), torch.inf), "threshold"),
        (lambda: denoised_negatives(CANDIDATES, torch.zeros(2, 3), 0.5, k=4), "k: expected"),
    ],
)
def test_bad_input_is_told(act, message):
    with pytest.raises(InputError, match=message):
        act()
