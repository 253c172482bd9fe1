"""The hardest share of each group, against sorting by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.selection.top_fraction_by_group import top_fraction_by_group


@given(
    rows=st.lists(st.tuples(st.integers(-3, 3), st.sampled_from("abc")), min_size=1, max_size=30),
    tenths=st.integers(1, 10),
)
def test_the_highest_of_each_group(rows: list[tuple[int, str]], tenths: int) -> None:
    """As many as the share gives, rounded down, and none left that is higher."""
    score, group = np.array([one for one, _ in rows]), np.array([one for _, one in rows])
    kept = top_fraction_by_group(score, list(group), ratio=tenths / 10)
    assert (np.diff(kept) > 0).all()
    for name in set(group):
        places = np.flatnonzero(group == name)
        inside = np.intersect1d(places, kept)
        assert len(inside) == len(places) * tenths // 10
        assert sorted(score[inside]) == sorted(score[places])[len(places) - len(inside) :]


def test_ties_are_drawn() -> None:
    """Among equals the seed decides."""
    drawn = {tuple(top_fraction_by_group(np.zeros(10), seed=seed)) for seed in range(9)}
    assert len(drawn) > 1
    assert tuple(top_fraction_by_group(np.zeros(10), seed=3)) in drawn


def test_extremes() -> None:
    """All, none of a small group, nothing at all, and huge scores."""
    assert top_fraction_by_group([2, 1], ratio=1).tolist() == [0, 1]
    assert top_fraction_by_group([2, 1], ratio=0.3).tolist() == []
    assert top_fraction_by_group([], ratio=0.3).tolist() == []
    assert top_fraction_by_group([1e300, -1e300, 0.0], ratio=1 / 3).tolist() == [0]
    assert top_fraction_by_group([True, False], ratio=0.5).tolist() == [0]


def test_bad_input() -> None:
    """Names what is wrong."""
    with pytest.raises(InputError, match="score"):
        top_fraction_by_group([1, np.inf])
    with pytest.raises(InputError, match="ratio"):
        top_fraction_by_group([1, 2], ratio=0)
    with pytest.raises(InputError, match="group"):
        top_fraction_by_group([1, 2], ["a"])
