"""Exams by similarity, against sorting by written-out cosines."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from gradatim.core.errors import InputError
from gradatim.mining.similar_exam import exam_quota, similar_exam


def cosines(problems, bank):
    """In float64, one by one."""
    return np.array([[p @ b / np.sqrt((p @ p) * (b @ b)) for b in bank] for p in problems])


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(2, 9), st.integers(1, 5))
def test_equals_brute_force(seed, problems, bank, width):
    random = np.random.default_rng(seed)
    given_, known = random.standard_normal((problems, width)), random.standard_normal((bank, width))
    near = cosines(given_, known)
    for k in {1, bank // 2, bank - 1} - {0}:
        found = similar_exam(given_, known, k=k)
        assert found.shape == (problems, k)
        assert found.dtype == np.int64
        for row, places in enumerate(found):
            assert len(set(places.tolist())) == k
            expected = np.sort(near[row])[::-1][:k]
            assert np.allclose(near[row, places], expected, atol=1e-5)  # nearest first


@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.data())
def test_its_own_place_is_no_exam_of_a_problem(seed, bank, data):
    random = np.random.default_rng(seed)
    known = random.standard_normal((bank, 4))
    own = np.array(data.draw(st.lists(st.integers(-1, bank - 1), min_size=1, max_size=6)))
    given_ = np.where((own >= 0)[:, None], known[own], random.standard_normal((len(own), 4)))
    k = data.draw(st.integers(1, bank - 1))
    near = cosines(given_, known)
    for row, places in enumerate(similar_exam(given_, known, k=k, exclude=own)):
        assert own[row] not in places
        left = np.delete(near[row], own[row]) if own[row] >= 0 else near[row]
        assert np.allclose(near[row, places], np.sort(left)[::-1][:k], atol=1e-5)


def test_doubles_of_a_problem_do_not_push_it_out_of_the_excluded():
    """Its own place is left out even if equal rows stand before it."""
    bank = [[1.0, 0.0]] * 3 + [[0.0, 1.0]]
    found = similar_exam([[1.0, 0.0]], bank, k=2, exclude=[2])
    assert sorted(found[0].tolist()) == [0, 1]


@given(arrays(np.float64, (3, 2), elements=st.floats(0.5, 4)), st.floats(0.25, 8))
def test_lengths_do_not_matter(bank, scale):
    one = cosines(np.array([[1.0, 2.0]]), bank)[0]
    for factor in (1.0, scale):
        found = similar_exam([[factor, 2 * factor]], bank * factor, k=3)[0]
        assert np.allclose(one[found], np.sort(one)[::-1], atol=1e-5)


def test_arguments_are_left_as_they_are():
    bank, own = np.array([[3.0, 0.0], [0.0, 2.0], [1.0, 1.0]]), np.array([0])
    before = bank.copy()
    similar_exam(bank[:1], bank, k=2, exclude=own)
    assert np.array_equal(bank, before)
    assert own.tolist() == [0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"problems": [[1.0]]}, r"shapes \[P, D\] and \[N, D\]"),
        ({"problems": [1.0, 0.0]}, r"shapes \[P, D\] and \[N, D\]"),
        ({"k": 0}, "k: expected"),
        ({"k": 3}, "k: expected"),
        ({"k": 2, "exclude": [0]}, "k: expected"),
        ({"exclude": [0, 1]}, r"exclude: expected shape \[1\]"),
        ({"exclude": [2]}, "exclude"),
        ({"exclude": [-2]}, "exclude"),
        ({"problems": [[np.nan, 0.0]]}, "finite"),
        ({"bank": [[1.0, 0.0], [np.inf, 1.0]]}, "finite"),
        ({"problems": [[0.0, 0.0]]}, "zero"),
        ({"bank": [[1.0, 0.0], [0.0, 0.0]]}, "zero"),
    ],
)
def test_bad_input(change, message):
    options = {"problems": [[1.0, 0.0]], "bank": [[1.0, 0.0], [0.0, 1.0]], "k": 1, **change}
    with pytest.raises(InputError, match=message):
        similar_exam(**options)


@pytest.mark.parametrize(
    ("exams", "lessons", "expected"),
    [
        (5, 2, [3, 2]),
        (2, 3, [1, 1, 0]),
        (6, 3, [2, 2, 2]),
        (5, 3, [3, 1, 1]),
        (0, 2, [0, 0]),
        (4, 1, [4]),
    ],
)
def test_quota_of_the_authors_code(exams, lessons, expected):
    assert exam_quota(exams, lessons) == expected


@given(st.integers(0, 60), st.integers(1, 12))
def test_quota_adds_up_and_only_the_first_lesson_has_more_than_its_share(exams, lessons):
    found = exam_quota(exams, lessons)
    assert sum(found) == exams
    assert len(found) == lessons
    if exams >= lessons:
        assert set(found[1:]) <= {exams // lessons}
    else:
        assert sorted(found, reverse=True) == found
        assert max(found) <= 1


def test_quota_out_of_range():
    with pytest.raises(InputError, match="exams"):
        exam_quota(-1, 2)
    with pytest.raises(InputError, match="lessons"):
        exam_quota(3, 0)
