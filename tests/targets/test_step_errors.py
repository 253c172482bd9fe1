"""Wrong steps made on purpose: as many as told, anywhere alike, followed or not."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.evaluators.step_checks import check_steps
from gradatim.targets.step_errors import corrupt_steps


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def off_by_one(step, generator):
    return (step[0], step[1] + 1)


def follow(step, before):
    """A step is (what is read, what is written); each writes what it reads plus one."""
    return (before[1], before[1] + 1)


def follows(before, step):
    read = 0 if before is None else before[1]
    return step == (read, read + 1)


RIGHT = [(place, place + 1) for place in range(6)]


@given(st.integers(0, 6), st.integers(0, 1000))
def test_exactly_so_many_steps_do_not_follow(wrong, seed):
    found = corrupt_steps(RIGHT, wrong, off_by_one, follow=follow, generator=generator(seed))
    assert check_steps(found, follows=follows).count(False) == wrong
    assert found[-1][1] == 6 + wrong  # each error is carried to the end
    apart = corrupt_steps(RIGHT, wrong, off_by_one, generator=generator(seed))
    assert sum(one != other for one, other in zip(apart, RIGHT, strict=True)) == wrong


@given(st.integers(0, 1000))
def test_no_wrong_step_is_the_identity(seed):
    found = corrupt_steps(RIGHT, 0, off_by_one, follow=follow, generator=generator(seed))
    assert found == RIGHT and found is not RIGHT


def test_all_places_are_alike_and_the_generator_decides():
    drawn = Counter()
    for seed in range(600):
        found = corrupt_steps(RIGHT, 2, off_by_one, generator=generator(seed))
        drawn[tuple(place for place in range(6) if found[place] != RIGHT[place])] += 1
    assert len(drawn) == 15 and min(drawn.values()) > 20 and max(drawn.values()) < 65
    again = [corrupt_steps(RIGHT, 2, off_by_one, generator=generator(1)) for _ in range(2)]
    assert again[0] == again[1]


def test_the_error_model_draws_from_the_same_generator():
    def noisy(step, generator):
        return (step[0], step[1] + 1 + int(torch.randint(50, (1,), generator=generator)))

    runs = [corrupt_steps(RIGHT, 3, noisy, generator=generator(seed)) for seed in (4, 4, 5)]
    assert runs[0] == runs[1] != runs[2]


def test_draws_are_repeated_until_one_is_accepted():
    for seed in range(20):
        found = corrupt_steps(
            RIGHT, 1, off_by_one, accept=lambda steps: steps[3] == (3, 5), generator=generator(seed)
        )
        assert found[3] == (3, 5)
    with pytest.raises(InputError, match="accept: expected one of 7 draws with 1 wrong steps of 6"):
        corrupt_steps(RIGHT, 1, off_by_one, accept=lambda steps: False, tries=7)


def test_bad_input():
    with pytest.raises(InputError, match="wrong_steps: expected a number in"):
        corrupt_steps(RIGHT, 7, off_by_one)
    with pytest.raises(InputError, match="wrong_steps: expected a number in"):
        corrupt_steps(RIGHT, -1, off_by_one)
    with pytest.raises(InputError, match="tries: expected a number in"):
        corrupt_steps(RIGHT, 1, off_by_one, tries=0)
