import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.selection.difficulty_split import (
    mask_hard_labels,
    split_by_difficulty,
    split_within_classes,
)

NAN = float("nan")


def check_partition(split, size):
    assert torch.cat(tuple(split)).sort().values.tolist() == list(range(size))
    for part in split:
        assert part.dtype == torch.int64
        assert part.tolist() == sorted(part.tolist())


@given(
    difficulty=st.lists(st.integers(-3, 9), min_size=2, max_size=30),
    low=st.integers(-3, 8),
    gap=st.integers(1, 4),
)
def test_cutoffs_part_the_examples(difficulty, low, gap):
    assume(min(difficulty) <= low and max(difficulty) >= low + gap)
    split = split_by_difficulty(difficulty, cutoffs=(low, low + gap))
    check_partition(split, len(difficulty))
    assert {difficulty[i] <= low for i in split.easy} == {True}
    assert {difficulty[i] >= low + gap for i in split.hard} == {True}
    assert all(low < difficulty[i] < low + gap for i in split.medium)


@settings(deadline=None)
@given(
    difficulty=st.lists(st.integers(-99, 99), min_size=4, max_size=40, unique=True),
    shares=st.lists(st.floats(0.05, 0.9), min_size=2, max_size=2).map(sorted),
)
def test_quantiles_part_the_examples(difficulty, shares):
    split = split_by_difficulty(torch.tensor(difficulty), quantiles=tuple(shares))
    check_partition(split, len(difficulty))
    assert len(split.easy) == pytest.approx(shares[0] * len(difficulty), abs=1.01)
    assert len(split.hard) == pytest.approx((1 - shares[1]) * len(difficulty), abs=1.01)


def test_equal_difficulties_stay_together():
    split = split_by_difficulty([1, 1, 1, 2, 2, 3], quantiles=(0.1, 0.6))
    assert [part.tolist() for part in split] == [[0, 1, 2], [3, 4], [5]]


def test_levels_of_math():
    split = split_by_difficulty(np.array([1, 2, 3, 4, 5]), cutoffs=(3, 4))
    assert [part.tolist() for part in split] == [[0, 1, 2], [], [3, 4]]


@pytest.mark.parametrize(
    ("difficulty", "given_", "message"),
    [
        ([1, NAN, 5], {"cutoffs": (3, 4)}, "difficulty: .* got nan at row 1"),
        ([1, 2], {"cutoffs": (3, 4)}, r"expected hard examples \(from 4 on\), got 1.0 to 2.0"),
        ([4, 5], {"cutoffs": (3, 4)}, r"expected easy examples \(up to 3\), got 4.0 to 5.0"),
        ([7, 7, 7], {"quantiles": (0.3, 0.7)}, "expected hard examples"),
        ([], {"quantiles": (0.3, 0.7)}, "expected easy examples .* got no example"),
        ([1, 5], {}, "cutoffs: expected either cutoffs or quantiles"),
        ([1, 5], {"cutoffs": (3, 4), "quantiles": (0.3, 0.7)}, "either"),
        ([1, 5], {"cutoffs": (4, 4)}, "cutoffs"),
        ([1, 5], {"quantiles": (0.7, 0.3)}, "quantiles"),
        ([1, 5], {"quantiles": (0.3, 1.3)}, "quantiles"),
        ([[1, 5]], {"cutoffs": (3, 4)}, r"difficulty: expected shape \[N\], got \[1, 2\]"),
    ],
)
def test_errors(difficulty, given_, message):
    with pytest.raises(InputError, match=message):
        split_by_difficulty(difficulty, **given_)


SPLIT = split_by_difficulty([1, 5, 3.5, 4], cutoffs=(3, 4))


@pytest.mark.parametrize(
    ("labels", "given_", "expected"),
    [
        (torch.arange(4), {}, [0, -100, 2, -100]),
        (torch.arange(4), {"unavailable": -1}, [0, -1, 2, -1]),
        (torch.tensor([True] * 4), {"unavailable": False}, [True, False, True, False]),
        (np.arange(4), {}, [0, -100, 2, -100]),
        (np.array(list("abcd"), dtype=object), {}, ["a", None, "c", None]),
        (["a", 1, None, [2]], {"unavailable": "Unavailable"}, ["a", "Unavailable", None, "Una"]),
    ],
)
def test_only_hard_labels_are_hidden(labels, given_, expected):
    before = labels.clone() if isinstance(labels, torch.Tensor) else list(labels)
    hidden, available = mask_hard_labels(labels, SPLIT, **given_)
    expected = ["Unavailable" if label == "Una" else label for label in expected]
    assert type(hidden) is type(labels)
    assert list(hidden) == expected
    assert available.tolist() == [True, False, True, False]
    assert list(labels) == list(before)


def test_hidden_numbers_are_nan_along_all_columns():
    hidden, _ = mask_hard_labels(torch.ones(4, 2), SPLIT)
    assert hidden.isnan().tolist() == [[False] * 2, [True] * 2, [False] * 2, [True] * 2]
    array, _ = mask_hard_labels(np.ones(4), SPLIT)
    assert np.isnan(array).tolist() == [False, True, False, True]


def test_errors_of_hidden_labels():
    with pytest.raises(InputError, match="labels: expected 4, one an example of the split, got 3"):
        mask_hard_labels([1, 2, 3], SPLIT)
    with pytest.raises(InputError, match=r"unavailable: expected a value .* torch.bool"):
        mask_hard_labels(torch.tensor([True] * 4), SPLIT)


def test_quantiles_within_classes_give_all_strata_the_same_classes():
    random = np.random.default_rng(0)
    labels = random.integers(3, size=600)
    difficulty = random.normal(size=600) + 10.0 * labels
    split = split_within_classes(difficulty, labels)
    whole = split_by_difficulty(difficulty, quantiles=(0.3, 0.7))
    for part in split:
        shares = np.bincount(labels[part.numpy()], minlength=3) / len(part)
        np.testing.assert_allclose(shares, np.bincount(labels) / 600, atol=0.01)
    assert len(np.unique(labels[whole.easy.numpy()])) < 3
    assert sorted(np.concatenate(split).tolist()) == list(range(600))
    for own in range(3):
        rows = [part.numpy()[labels[part.numpy()] == own] for part in split]
        assert difficulty[rows[0]].max() < difficulty[rows[1]].min()
        assert difficulty[rows[1]].max() < difficulty[rows[2]].min()


def test_one_class_is_split_as_the_whole():
    difficulty = np.arange(100.0)
    ours = split_within_classes(difficulty, np.zeros(100))
    assert [len(part) for part in ours] == [30, 40, 30]


def test_a_class_that_is_equally_hard_throughout_is_named():
    with pytest.raises(InputError, match="class 1: difficulty: expected at least two"):
        split_within_classes([0.0, 1.0, 2.0, 2.0], [0, 0, 1, 1])
    with pytest.raises(InputError, match="labels"):
        split_within_classes([0.0, 1.0], [0])
