"""The first pass in bfloat16: its bound, and that it never changes what is found."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core import search
from gradatim.core.bfloat16_search import (
    Bounds,
    Candidates,
    candidate_bar,
    key_below,
    keys,
    largest_error,
    rounded,
)
from gradatim.core.search import top_k


def both(queries, corpus, k, **options):
    """The search with the first pass, and the plain float32 search."""
    return (
        top_k(queries, corpus, k, prefilter="bfloat16", **options),
        top_k(queries, corpus, k, prefilter="none", **options),
    )


def assert_equal_but_for_rounding(queries, corpus, k, **options):
    ours, plain = both(queries, corpus, k, **options)
    scale = float(plain.scores.abs().max()) + 1e-30
    assert (ours.scores - plain.scores).abs().max() <= 2e-6 * scale
    differ = ours.index != plain.index
    gap = (ours.scores - plain.scores).abs()[differ]
    assert differ.float().mean() < 0.01
    assert (gap <= 2e-6 * scale).all()


@pytest.mark.parametrize("metric", ["dot", "cosine"])
@pytest.mark.parametrize("k", [1, 50, 400])
@pytest.mark.parametrize("block", [None, 333])
def test_finds_what_the_float32_search_finds(metric, k, block):
    generator = torch.Generator().manual_seed(k)
    queries = torch.randn(70, 96, generator=generator)
    corpus = torch.randn(5000, 96, generator=generator) * torch.rand(5000, 1, generator=generator)
    assert_equal_but_for_rounding(queries, corpus, k, metric=metric, block=block)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_scores_of_one_sign(sign):
    generator = torch.Generator().manual_seed(0)
    queries = torch.rand(40, 32, generator=generator)
    corpus = sign * torch.rand(3000, 32, generator=generator)
    assert_equal_but_for_rounding(queries, corpus, 20, block=512)


def test_rows_closer_than_bfloat16_can_tell():
    """Neighbours differ in the twelfth bit: rounded scores are equal, exact ones are not."""
    corpus = torch.ones(2000, 8)
    corpus[:, 0] = 1.0 + torch.randperm(2000, generator=torch.Generator().manual_seed(1)) * 2.0**-12
    ours, _ = both(torch.ones(3, 8), corpus, 10)
    expected = corpus[:, 0].argsort(descending=True)[:10]
    assert (ours.index == expected).all()


def test_a_query_with_more_candidates_than_room_is_searched_again(monkeypatch):
    searched = []
    run = search._Search.run

    def spy(self, *args):
        searched.append(len(self.queries))
        return run(self, *args)

    monkeypatch.setattr(search._Search, "run", spy)
    generator = torch.Generator().manual_seed(2)
    corpus = torch.randn(3000, 64, generator=generator)
    corpus[:500] = corpus[0] + 1e-4 * torch.randn(500, 64, generator=generator)
    queries = torch.randn(20, 64, generator=generator)
    queries[7] = corpus[0] * 3
    ours = top_k(queries, corpus, 30, prefilter="bfloat16")
    assert searched == [1]
    exact = queries.double() @ corpus.double().T
    np.testing.assert_allclose(ours.scores, exact.topk(30).values, rtol=1e-5)


def test_excluded_rows_are_not_found():
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(900, 24, generator=generator)
    own = torch.arange(900)[:, None]
    exclude = torch.cat([own, (own + 1) % 900, torch.full((900, 1), -1)], 1)
    ours, plain = both(rows, rows, 5, exclude=exclude, block=128)
    assert (ours.index == plain.index).float().mean() > 0.999
    assert not (ours.index[:, :, None] == exclude[:, None]).any()


@given(st.integers(0, 2**32 - 1), st.integers(1, 80), st.integers(-20, 20), st.booleans())
def test_no_product_is_further_off_than_the_bound(seed, dimensions, exponent, skewed):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(7, dimensions, generator=generator) * 2.0**exponent
    c = torch.randn(50, dimensions, generator=generator)
    if skewed:
        c = c.exp() * torch.randn(50, 1, generator=generator).exp()
    low, other = rounded(q), rounded(c)
    error = largest_error(low, Bounds(0.0, 0.0, 0.0).widened(other)).double()
    exact = q.double() @ c.double().T
    unrounded = low.rows.double() @ other.rows.double().T
    assert ((exact - unrounded).abs() <= error[:, None]).all()
    score = (low.rows @ other.rows.T).double()
    assert ((exact - score).abs() <= error[:, None] + 2.0**-8 * 1.01 * unrounded.abs()).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_none_of_the_best_is_below_the_bar(seed, k):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(5, 12, generator=generator)
    c = torch.randn(60, 12, generator=generator) + torch.randn(1, 12, generator=generator)
    low, other = rounded(q), rounded(c)
    error = largest_error(low, Bounds(0.0, 0.0, 0.0).widened(other))
    key = keys(low.rows @ other.rows.T)
    bar = candidate_bar(key.sort(1, descending=True).values[:, k - 1], error)
    best = (q.double() @ c.double().T).topk(k).indices
    assert (key.gather(1, best) >= bar[:, None]).all()


@given(st.lists(st.floats(-(2.0**90), 2.0**90, width=32), min_size=1, max_size=20))
def test_keys_are_in_the_order_of_the_numbers(numbers):
    low = torch.tensor(numbers).to(torch.bfloat16)
    key = keys(low).long()
    value = low.double()
    value[value == 0] = 0.0
    smaller = value[:, None] < value
    assert (key[:, None] < key)[smaller].all()
    below = key_below(torch.tensor(numbers)).long()
    assert (below <= keys(torch.tensor(numbers).to(torch.bfloat16)).long()).all()


def test_candidates_are_in_order_of_score_and_then_of_position():
    q, c = torch.ones(1, 1), torch.tensor([[2.0], [3.0], [3.0], [1.0], [3.0]])
    candidates = Candidates(1, k=2, room=4)
    low = rounded(q)
    error = largest_error(low, Bounds(0.0, 0.0, 0.0).widened(rounded(c)))
    candidates.add(slice(0, 1), low, error, c[:2].to(torch.bfloat16), 0, None)
    candidates.add(slice(0, 1), low, error, c[2:].to(torch.bfloat16), 2, None)
    _, position, full = candidates.found(slice(0, 1), error)
    assert position.tolist() == [[1, 2, 4]]
    assert full.tolist() == [False]


def test_numbers_too_large_to_round_are_searched_in_float32():
    corpus = torch.tensor([[3.3e38], [3.39e38], [1.0]])
    found = top_k(torch.full((1, 1), 0.5), corpus, 2, prefilter="bfloat16")
    assert found.index.tolist() == [[1, 0]]
