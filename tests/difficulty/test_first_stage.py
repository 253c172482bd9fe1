"""First-stage heuristics against sorting, scipy's density estimate and the paper's arithmetic."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import gaussian_kde

from gradatim.core.errors import InputError
from gradatim.curriculum.weights import fading_weights
from gradatim.difficulty import first_stage
from gradatim.difficulty.first_stage import first_stage_easiness, pair_difficulty, point_difficulty

HEURISTICS = ("reciprank", "normscore", "kde")


def one_run(scores, heuristic):
    """The definition for a single run without missing answers, row by row."""
    scores = np.asarray(scores, dtype=float)
    if heuristic == "reciprank":
        order = sorted(range(len(scores)), key=lambda row: (-scores[row], row))
        return np.array([1 / (1 + order.index(row)) for row in range(len(scores))])
    if len(set(scores)) == 1:
        return np.full(len(scores), 0.5)
    if heuristic == "normscore":
        return (scores - scores.min()) / (scores.max() - scores.min())
    density = gaussian_kde(scores)
    return np.array([density.integrate_box_1d(-np.inf, score) for score in scores])


@pytest.mark.parametrize("heuristic", HEURISTICS)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 12), min_size=1, max_size=6))
def test_many_runs_in_any_order_equal_one_by_one(heuristic, seed, sizes):
    rng = np.random.default_rng(seed)
    query = np.repeat(rng.permutation(len(sizes)) * 7, sizes)
    scores = rng.integers(0, 8, len(query)) / 2.0
    mixed = rng.permutation(len(query))
    found = first_stage_easiness(
        torch.tensor(scores[mixed]), query_ids=torch.tensor(query[mixed]), heuristic=heuristic
    ).numpy()
    for name in set(query):
        rows = np.flatnonzero(query[mixed] == name)
        np.testing.assert_allclose(
            found[rows], one_run(scores[mixed][rows], heuristic), rtol=1e-10, atol=1e-10
        )


def test_runs_in_several_pieces_are_the_same(monkeypatch):
    scores = torch.randn(60, dtype=torch.float64)
    query = torch.arange(60) % 7
    whole = first_stage_easiness(scores, query_ids=query, heuristic="kde")
    monkeypatch.setattr(first_stage, "_CHUNK", 100)
    assert torch.equal(first_stage_easiness(scores, query_ids=query, heuristic="kde"), whole)


@pytest.mark.parametrize("heuristic", HEURISTICS)
def test_higher_scores_are_easier_and_scale_does_not_matter(heuristic):
    scores = torch.randn(200, dtype=torch.float64)
    query = torch.arange(200) % 4
    found = first_stage_easiness(scores, query_ids=query, heuristic=heuristic)
    assert ((found >= 0) & (found <= 1)).all()
    for name in range(4):
        rows = query == name
        order = scores[rows].argsort()
        assert (found[rows][order].diff() > 0).all()
    other = first_stage_easiness(3 * scores + 100, query_ids=query, heuristic=heuristic)
    torch.testing.assert_close(found, other)


@pytest.mark.parametrize("heuristic", ["normscore", "kde"])
def test_runs_without_spread_are_one_half(heuristic):
    scores, query = torch.tensor([3.0, 3.0, 3.0, 8.0]), torch.tensor([0, 0, 0, 1])
    found = first_stage_easiness(scores, query_ids=query, heuristic=heuristic)
    assert found.tolist() == [0.5] * 4


def test_equal_scores_rank_by_row_or_by_larger_document():
    scores, query = torch.tensor([1.0, 2.0, 2.0, 2.0]), torch.zeros(4, dtype=torch.long)
    by_row = first_stage_easiness(scores, query_ids=query)
    torch.testing.assert_close(by_row, 1 / torch.tensor([4.0, 1.0, 2.0, 3.0]))
    by_document = first_stage_easiness(
        scores, query_ids=query, document_ids=torch.tensor([9, 5, 8, 6])
    )
    torch.testing.assert_close(by_document, 1 / torch.tensor([4.0, 3.0, 1.0, 2.0]))


def test_what_the_run_lacks():
    scores, query = torch.tensor([4.0, torch.nan, 2.0]), torch.tensor([1, 1, 1])
    ranks = first_stage_easiness(scores, query_ids=query)
    torch.testing.assert_close(ranks, torch.tensor([1.0, 0.001, 0.5]))
    assert first_stage_easiness(scores, query_ids=query, missing_rank=50)[1] == 1 / 50
    assert first_stage_easiness(scores, query_ids=query, heuristic="normscore").tolist() == [
        1,
        0,
        0,
    ]
    whole = first_stage_easiness(scores[[0, 2]], query_ids=query[[0, 2]], heuristic="kde")
    kde = first_stage_easiness(scores, query_ids=query, heuristic="kde")
    assert kde[1] == 0 and torch.equal(kde[[0, 2]], whole)
    nothing = first_stage_easiness(scores[[1]], query_ids=query[[1]], heuristic="kde")
    assert nothing.tolist() == [0.0]


def test_given_ranks_are_taken():
    given_ranks = torch.tensor([3, 1])
    found = first_stage_easiness(torch.ones(2), query_ids=torch.zeros(2).long(), ranks=given_ranks)
    torch.testing.assert_close(found, torch.tensor([1 / 3, 1.0]))


def test_inputs_stay_as_they_are_and_half_precision_is_raised():
    scores, query = torch.tensor([2.0, torch.nan, 1.0]).half(), torch.tensor([0, 0, 0])
    for heuristic in HEURISTICS:
        found = first_stage_easiness(scores, query_ids=query, heuristic=heuristic)
        assert found.dtype == torch.float32
    assert scores[[0, 2]].tolist() == [2.0, 1.0] and scores[1].isnan()


def test_pair_difficulty_and_the_weight_of_the_paper():
    """Ranks 1 and 4 by "reciprank", a quarter of the way to the end."""
    difficulty = pair_difficulty(torch.tensor([1.0]), torch.tensor([0.25]))
    assert difficulty.tolist() == [0.125]
    weight = fading_weights(difficulty, 5 / 20, end=1.0)
    torch.testing.assert_close(weight, torch.tensor([0.90625]))
    anti = fading_weights(difficulty, 0.0, anti=True)
    torch.testing.assert_close(anti, torch.tensor([0.125]))


def test_several_negatives_count_by_the_hardest():
    positive, negative = torch.rand(20), torch.rand(20, 5)
    each = torch.stack([pair_difficulty(positive, one) for one in negative.T])
    assert torch.equal(pair_difficulty(positive, negative), each.max(0).values)
    assert pair_difficulty(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])).tolist() == [0, 1]


def test_point_difficulty():
    base = torch.rand(10)
    relevant = torch.arange(10) < 5
    found = point_difficulty(base, relevant)
    assert torch.equal(found, torch.cat([1 - base[:5], base[5:]]))


ONE = torch.ones(2)
WHOLE = torch.zeros(2, dtype=torch.long)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"heuristic": "rank"}, "heuristic: expected one of reciprank, normscore, kde"),
        ({"scores": torch.ones(2, 2)}, r"scores: expected shape \[N\]"),
        ({"scores": torch.tensor([1.0, torch.inf])}, "scores: expected finite numbers, or NaN"),
        ({"query_ids": WHOLE[:1]}, "query_ids: expected the shape of scores"),
        ({"query_ids": ONE}, "query_ids: expected integers"),
        ({"ranks": WHOLE}, "ranks: expected numbers from 1, got 0"),
        ({"ranks": WHOLE + 1, "heuristic": "kde"}, "ranks: expected None for heuristic 'kde'"),
        ({"missing_rank": 0}, "missing_rank: expected a number"),
    ],
)
def test_bad_runs(settings, message):
    given_settings = {"scores": ONE, "query_ids": WHOLE, **settings}
    with pytest.raises(InputError, match=message):
        first_stage_easiness(given_settings.pop("scores"), **given_settings)


def test_bad_pairs_and_points():
    with pytest.raises(InputError, match="negative: expected the shape of positive"):
        pair_difficulty(ONE, torch.ones(3))
    with pytest.raises(InputError, match=r"negative: expected shape \[2, K\]"):
        pair_difficulty(ONE, torch.ones(3, 2))
    with pytest.raises(InputError, match="negative: expected at least one answer"):
        pair_difficulty(ONE, torch.ones(2, 0))
    with pytest.raises(InputError, match="relevant: expected booleans"):
        point_difficulty(ONE, WHOLE)
