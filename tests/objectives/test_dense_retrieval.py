"""Losses of dense retrieval: hand values, loops over pairs, and the metric that a swap changes."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.metrics.retrieval import ndcg_at, reciprocal_rank
from gradatim.objectives.dense_retrieval import lambda_rank, star_loss

SEEDS = st.integers(0, 999)


def _softplus(value):
    return float(functional.softplus(torch.tensor(value, dtype=torch.float64)))


def _embeddings(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def test_star_by_hand():
    query = torch.eye(2)
    positive = torch.tensor([[1.0, 0.2], [0.0, 0.9]])
    hard = torch.tensor([[[0.5, 0.3]], [[0.1, 0.7]]])
    torch.testing.assert_close(star_loss(query, positive, hard), torch.tensor(0.427884))


@given(SEEDS, st.integers(1, 4), st.integers(0, 3), st.sampled_from([None, 0.0, 0.7]))
def test_star_is_a_mean_over_pairs(seed, size, per_query, alpha):
    query, positive = _embeddings(seed, 2, size, 3)
    hard = _embeddings(seed + 1, size, per_query, 3)
    relevant = _embeddings(seed + 2, size, size) > 0.8
    hard_relevant = _embeddings(seed + 3, size, size, per_query) > 0.8
    random, mined = [], []
    for i, j in itertools.product(range(size), repeat=2):
        own = float(query[i] @ positive[i])
        if i != j and not relevant[i, j]:
            random.append(_softplus(float(query[i] @ positive[j]) - own))
        for h in range(per_query):
            if not hard_relevant[i, j, h]:
                mined.append(_softplus(float(query[i] @ hard[j, h]) - own))

    def mean(values):
        return sum(values) / max(1, len(values))

    wanted = mean(random + mined) if alpha is None else mean(mined) + alpha * mean(random)
    found = star_loss(
        query, positive, hard, relevant=relevant, hard_relevant=hard_relevant, alpha=alpha
    )
    assert float(found) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("scores", "labels", "ranks", "cut", "loss"),
    [
        ((2, 1.5, 1), (0, 1, 0), (1, 2, 3), 3, 0.283026),
        ((2, 1.5, 0.5), (0, 0, 1), (1, 2, 3), 2, 1.179022),
        ((2, 1), (1, 0), (1, 2), 2, 0.156631),
    ],
)
def test_lambda_rank_by_hand(scores, labels, ranks, cut, loss):
    given = torch.tensor([scores], dtype=torch.float32), torch.tensor([labels])
    wanted = torch.tensor(loss)
    torch.testing.assert_close(lambda_rank(*given, ranks=torch.tensor([ranks]), cut=cut), wanted)
    torch.testing.assert_close(lambda_rank(*given, cut=cut), wanted)


@given(SEEDS, st.sampled_from(["mrr", "ndcg"]), st.sampled_from([None, 1, 3]), st.data())
def test_each_pair_counts_by_what_its_swap_changes(seed, gain, cut, data):
    size = data.draw(st.integers(2, 5))
    highest = 1 if gain == "mrr" else 2
    grades = st.lists(st.integers(0, highest), min_size=size, max_size=size)
    labels = torch.tensor([data.draw(grades)])
    if gain == "mrr":
        labels = functional.one_hot(labels.argmax(1), size) * labels
    scores = _embeddings(seed, 1, size)

    def metric(place):
        query = torch.zeros(size)
        if gain == "mrr":
            return float(reciprocal_rank(-place, labels[0].double(), query, k=cut)[0])
        return float(ndcg_at(-place, labels[0].double(), query, k=cut, exponential=True)[0])

    rank = scores[0].argsort(descending=True).argsort().double() + 1
    losses = []
    for a, b in itertools.permutations(range(size), 2):
        if labels[0, a] > labels[0, b]:
            swapped = rank.clone()
            swapped[[a, b]] = rank[[b, a]]
            cost = _softplus(float(-2.0 * (scores[0, a] - scores[0, b])))
            losses.append(abs(metric(rank) - metric(swapped)) * cost)
    found = lambda_rank(scores, labels, gain=gain, cut=cut, sigma=2.0)
    assert float(found) == pytest.approx(sum(losses) / max(1, len(losses)), abs=1e-12)


@given(SEEDS)
def test_what_is_masked_does_not_count(seed):
    scores = _embeddings(seed, 3, 5)
    labels = torch.tensor([[1, 0, 2, 0, 1]]).expand(3, 5)
    mask = torch.tensor([[True, True, True, False, False]]).expand(3, 5)
    for gain in ("mrr", "ndcg"):
        found = lambda_rank(scores, labels, mask=mask, gain=gain, reduction="none")
        wanted = lambda_rank(scores[:, :3], labels[:, :3], gain=gain, reduction="none")
        torch.testing.assert_close(found, wanted)


def test_lists_without_pairs_and_perfect_lists_cost_nothing():
    scores = torch.tensor([[3.0, 2.0], [900.0, 0.0]], requires_grad=True)
    loss = lambda_rank(scores, torch.tensor([[1, 1], [1, 0]]), reduction="none")
    loss.sum().backward()
    assert loss.tolist() == [0.0, 0.0] and scores.grad.isfinite().all()


def test_equal_scores_rank_by_their_place():
    found = lambda_rank(torch.zeros(1, 3), torch.tensor([[0, 1, 0]]))
    wanted = (0.5 * math.log(2) + (0.5 - 1 / 3) * math.log(2)) / 2
    assert float(found) == pytest.approx(wanted)


EYE, HARD = torch.eye(2), torch.zeros(2, 1, 2)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: star_loss(EYE, EYE[:1], HARD), "positive: expected the shape"),
        (lambda: star_loss(EYE, EYE, HARD[:1]), "hard: expected shape"),
        (lambda: star_loss(EYE, EYE, HARD, relevant=torch.ones(2, 1)), "relevant: expected"),
        (lambda: star_loss(EYE, EYE, HARD, relevant=torch.ones(1, 3)), "relevant: expected"),
        (lambda: star_loss(EYE, EYE, HARD, hard_relevant=EYE), "hard_relevant: expected"),
        (lambda: star_loss(EYE, EYE, HARD, alpha=-1.0), "alpha: expected"),
        (lambda: lambda_rank(EYE, EYE[:1]), "labels: expected the shape"),
        (lambda: lambda_rank(EYE, EYE, ranks=EYE), "ranks: expected numbers from 1"),
        (lambda: lambda_rank(EYE, EYE, mask=EYE[0]), "mask: expected the shape"),
        (lambda: lambda_rank(EYE, EYE, gain="map"), "gain: expected one of"),
        (lambda: lambda_rank(EYE, EYE, cut=0), "cut: expected"),
        (lambda: lambda_rank(EYE, EYE, sigma=0.0), "sigma: expected"),
    ],
)
def test_bad_input_is_told(act, message):
    with pytest.raises(InputError, match=message):
        act()
