"""Subtasks: windows of steps, restated as problems of their own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.mining.subtasks import contiguous_subtasks


def restate(problem, solution, start, end):
    return f"{problem}[{start}:{end}]", tuple(solution[start:end])


@given(st.integers(1, 9), st.integers(1, 4), st.floats(0.05, 1.0))
def test_all_windows_of_the_allowed_sizes(count, shortest, fraction):
    steps = list(range(count))
    found = contiguous_subtasks("p", steps, restate, shortest=shortest, max_fraction=fraction)
    expected = {
        (start, end)
        for start in range(count)
        for end in range(start + shortest, count + 1)
        if end - start <= fraction * count + 1e-9
    }
    assert {(part[0], part[-1] + 1) for _, part in found} == expected
    assert len(found) == len(expected)
    for (text, given_steps), part in found:
        assert given_steps == tuple(part) and text == f"p[{part[0]}:{part[-1] + 1}]"


def test_four_steps_have_four_windows_of_one_and_three_of_two():
    found = contiguous_subtasks("p", "abcd", restate, max_fraction=0.5)
    assert ["".join(part) for _, part in found] == ["a", "b", "c", "d", "ab", "bc", "cd"]


def test_some_windows_are_drawn_each_once():
    def draw(seed):
        found = contiguous_subtasks(
            "p", "abcdef", restate, shortest=2, n_parts=3,
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        return ["".join(part) for _, part in found]

    assert draw(0) == draw(0)
    draws = [draw(seed) for seed in range(40)]
    assert all(len(set(one)) == 3 for one in draws)
    assert {part for one in draws for part in one} == {
        "ab", "bc", "cd", "de", "ef", "abc", "bcd", "cde", "def", "abcd", "bcde", "cdef",
    }  # fmt: skip


def test_bad_input():
    with pytest.raises(InputError, match="n_parts: expected at most 2, the windows of 2 to 2 of 3"):
        contiguous_subtasks("p", "abc", restate, shortest=2, n_parts=3)
    for options in ({"shortest": 0}, {"max_fraction": 0.0}, {"max_fraction": 1.5}, {"n_parts": 0}):
        with pytest.raises(InputError, match=f"{next(iter(options))}: expected a number in"):
            contiguous_subtasks("p", "abc", restate, **options)
    assert contiguous_subtasks("p", "", restate) == []
