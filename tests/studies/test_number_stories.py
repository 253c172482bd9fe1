"""Stories of three numbers: programs against Python's arithmetic, texts against numbers."""

import re

import numpy as np
import pytest

from gradatim.studies.data.number_stories import (
    NUMBERS,
    STORIES,
    WORDINGS,
    draw_stories,
    program_tokens,
    programs,
    run_program,
)

GRID = np.array([(x, y, z) for x in NUMBERS for y in NUMBERS for z in NUMBERS])


def value(program, row):
    """By Python's own reading of the program."""
    return eval(program, {}, dict(zip("xyz", map(int, row), strict=True)))


@pytest.mark.parametrize("place", range(17))
def test_programs_do_what_they_say(place):
    found = run_program(np.full(len(GRID), place), GRID)
    assert found.tolist() == [value(programs()[place], row) for row in GRID]


def test_programs_are_all_of_two_operations_and_no_two_are_the_same():
    tables = {tuple(value(program, row) for row in GRID) for program in programs()}
    assert len(tables) == len(programs()) == 17
    assert list(programs()) == sorted(programs())
    forms = ["(x {} y) {} z", "x {} (y {} z)", "(x {} z) {} y"]
    every = [form.format(one, two) for form in forms for one in "+-*" for two in "+-*"]
    assert {tuple(value(one, row) for row in GRID) for one in every} == tables
    assert set(STORIES) <= set(programs())


def test_tokens_tell_programs_apart_and_say_what_they_are():
    tokens = program_tokens(np.arange(17))
    assert len({tuple(row) for row in tokens.tolist()}) == 17
    forms = ["(x {} y) {} z", "x {} (y {} z)", "(x {} z) {} y"]
    told = [forms[form].format("+-*"[one], "+-*"[two]) for form, one, two in tokens.tolist()]
    assert told == list(programs())


def test_several_programs_are_run_each_on_its_own_numbers():
    random = np.random.default_rng(0)
    program, numbers = random.integers(0, 17, 50), random.choice(NUMBERS, (50, 3))
    expected = [value(programs()[p], row) for p, row in zip(program, numbers, strict=True)]
    assert run_program(program, numbers).tolist() == expected


@pytest.mark.parametrize("wordings", [(0,), (3, 1), tuple(range(WORDINGS))])
def test_texts_hold_their_numbers_in_order(wordings):
    stories = draw_stories(3, "test", wordings, 2)
    assert len(stories) == len(stories.texts) == len(STORIES) * len(wordings) * 2
    assert stories.numbers.shape == (len(stories), 3)
    assert np.isin(stories.numbers, NUMBERS).all()
    for text, numbers in zip(stories.texts, stories.numbers.tolist(), strict=True):
        assert [int(number) for number in re.findall(r"\d+", text)] == numbers
    counts = np.bincount(stories.program, minlength=17)
    asked = [list(programs()).index(program) for program in STORIES]
    assert set(counts[asked].tolist()) == {2 * len(wordings)}
    assert counts.sum() == len(stories)


def test_a_text_tells_the_story_of_its_program():
    stories = draw_stories(0, "test", (2,), 1)
    for text, numbers, program in zip(
        stories.texts, stories.numbers.tolist(), stories.program, strict=True
    ):
        told = STORIES[programs()[program]][2]
        assert text == told.format(x=numbers[0], y=numbers[1], z=numbers[2])


def test_draws_depend_on_the_seed_and_the_part():
    one = draw_stories(0, "test", (0, 1), 3)
    assert draw_stories(0, "test", (0, 1), 3).texts == one.texts
    for other in (draw_stories(1, "test", (0, 1), 3), draw_stories(0, "held", (0, 1), 3)):
        assert other.texts != one.texts
        assert np.array_equal(other.program, one.program)


def test_no_wording_is_told_twice():
    told = [text for wordings in STORIES.values() for text in wordings]
    assert len(set(told)) == len(told) == len(STORIES) * WORDINGS
