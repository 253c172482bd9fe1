import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.mining.ranked_pairs import MODES, ranked_pairs

RATING = st.one_of(st.just(math.nan), st.integers(-2, 4).map(float))
TABLES = st.integers(1, 5).flatmap(
    lambda m: st.lists(st.lists(RATING, min_size=m, max_size=m), min_size=1, max_size=4)
)


def by_hand(table, mode, min_gap):
    """Pairs of each prompt in plain Python: (prompt, chosen, rejected, gap), and how many ties."""
    kept, dropped = [], 0
    for prompt, row in enumerate(table):
        ranked = sorted(
            (column for column, rating in enumerate(row) if not math.isnan(rating)),
            key=lambda column: -row[column],
        )
        pairs = list(itertools.combinations(ranked, 2))
        if mode != "all":
            pairs = [pair for pair in pairs if pair[0] == ranked[0]]
        if mode == "best_worst":
            pairs = pairs[-1:]
        for better, worse in pairs:
            gap = row[better] - row[worse]
            if gap > 0 and gap >= min_gap:
                kept.append((prompt, better, worse, gap))
            else:
                dropped += 1
    return kept, dropped


@given(table=TABLES, mode=st.sampled_from(MODES), min_gap=st.sampled_from([0.0, 1.0, 2.5]))
def test_pairs_are_those_made_by_hand(table, mode, min_gap):
    wanted, dropped = by_hand(table, mode, min_gap)
    ratings = torch.tensor(table)
    if not wanted:
        with pytest.raises(InputError, match="two responses whose ratings differ"):
            ranked_pairs(ratings, mode=mode, min_gap=min_gap)
        return
    pairs = ranked_pairs(ratings, mode=mode, min_gap=min_gap)
    columns = (pairs.prompt, pairs.chosen, pairs.rejected, pairs.gap)
    found = list(zip(*(column.tolist() for column in columns), strict=True))
    assert sorted(found) == sorted(wanted)
    assert pairs.dropped == dropped
    assert found == sorted(found, key=lambda one: (one[0], -one[3]))
    better, worse = pairs.of(ratings)
    assert torch.equal(better - worse, pairs.gap)


def test_the_best_goes_against_the_worst_first():
    pairs = ranked_pairs(torch.tensor([[5, 4, 3, 2]]))
    assert pairs.rejected.tolist() == [3, 2, 1]
    assert pairs.gap.tolist() == [3, 2, 1]


@given(ratings=st.lists(st.floats(-100, 100), min_size=2, max_size=2))
def test_two_responses_make_one_pair_in_every_mode(ratings):
    table = torch.tensor([ratings, [0.0, 1.0]], dtype=torch.float64)
    first = ranked_pairs(table)
    for mode in MODES[1:]:
        other = ranked_pairs(table, mode=mode)
        for name in ("prompt", "chosen", "rejected", "gap"):
            assert torch.equal(getattr(first, name), getattr(other, name))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64])
def test_other_kinds_of_numbers(dtype):
    assert ranked_pairs(torch.tensor([[1, 3]]).to(dtype)).gap.tolist() == [2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ranked_pairs(torch.ones(4, 3)), "got none among 4 prompts \\(8 pairs\\)"),
        (lambda: ranked_pairs(torch.ones(4, 1)), "got none among 4 prompts \\(0 pairs\\)"),
        (lambda: ranked_pairs(torch.ones(4, 0)), "got none among 4 prompts"),
        (lambda: ranked_pairs(torch.tensor([[1, 2]]), min_gap=2), "ratings differ by 2"),
        (lambda: ranked_pairs(torch.ones(3)), r"ratings: expected shape \[B, M\], got \[3\]"),
        (lambda: ranked_pairs(torch.tensor([[1, math.inf]])), "got inf at row 0, column 1"),
        (lambda: ranked_pairs(torch.eye(2), mode="worst"), "mode: expected one of best_vs_rest"),
        (lambda: ranked_pairs(torch.eye(2), min_gap=-1), "min_gap"),
        (lambda: ranked_pairs(torch.eye(3)).of(torch.eye(2)), r"least shape \[3, 3\], got \[2, 2"),
    ],
)
def test_errors(call, message):
    with pytest.raises(InputError, match=message):
        call()
