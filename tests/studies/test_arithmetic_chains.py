"""Chains of modular arithmetic: exact levels, one right solution, exact labels of steps."""

import itertools
import re

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import assume, given

from gradatim.core.errors import InputError
from gradatim.language.sampling import right_padded
from gradatim.language.steps import segment_by_separator
from gradatim.studies.data.arithmetic_chains import (
    MODULUS,
    SEPARATOR,
    STEPS_OF_LEVEL,
    TOKENIZER,
    Chain,
    apply,
    draw_chains,
    grade,
    step_labels,
)

VALUES = "0123456789abcdefg"
chains = st.builds(
    lambda level, seed: draw_chains(level, 1, seed)[0],
    st.sampled_from(sorted(STEPS_OF_LEVEL)), st.integers(0, 999),
)  # fmt: skip


def solve(question):
    """The solution from the text of the question alone, by Python's own arithmetic."""
    first, *operations = re.fullmatch(r"[A-Z]=(.+)\?", question).group(1).split(";")
    value, text = VALUES.index(first), ""
    for letter, operation, operand in operations:
        result = eval(f"{value}{operation}{VALUES.index(operand)}") % 17
        text += f"{letter}{VALUES[value]}{operation}{operand}={VALUES[result]};"
        value = result
    return f"{text}:{VALUES[value]}#"


@given(chains)
def test_the_solution_is_that_of_the_question(chain):
    assert chain.solution == solve(chain.question)
    assert chain.answer == chain.solution[-2]
    found = grade(chain, chain.solution)
    assert found.valid and found.correct and found.answer == chain.answer
    assert found.steps == (True,) * STEPS_OF_LEVEL[chain.level]


@given(chains)
def test_levels_and_letters(chain):
    letters = re.findall(r"[A-Z]", chain.question)
    assert len(letters) == STEPS_OF_LEVEL[chain.level] + 1
    assert all((ord(b) - ord(a)) % 26 == 1 for a, b in itertools.pairwise(letters))
    assert all(operand != "0" for _, _, operand in chain.steps)
    assert ("*", "1") not in {step[1:] for step in chain.steps}
    for text in (chain.question, chain.solution):
        assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@given(chains, st.data())
def test_one_character_changed_is_never_valid(chain, data):
    place = data.draw(st.integers(0, len(chain.solution) - 1))
    character = data.draw(st.sampled_from(TOKENIZER.alphabet))
    assume(character != chain.solution[place])
    changed = chain.solution[:place] + character + chain.solution[place + 1 :]
    found = grade(chain, changed)
    assert not found.valid
    before = chain.solution[:place].count(";")
    assert found.steps[:before] == (True,) * min(before, len(found.steps))
    if place < len(chain.solution) - 4 and chain.solution[place] != ";" and character not in ";:":
        assert not found.steps[before]  # the step in which it stands is wrong


@given(chains, st.data())
def test_one_character_removed_or_added_is_never_valid(chain, data):
    place = data.draw(st.integers(0, len(chain.solution)))
    character = data.draw(st.sampled_from(TOKENIZER.alphabet))
    text = chain.solution
    assert not grade(chain, text[:place] + character + text[place:]).valid
    assert not grade(chain, text[:place] + text[place + 1 :] if place < len(text) else "").valid


@given(chains, st.text(TOKENIZER.alphabet, max_size=20))
def test_any_text_can_be_graded(chain, text):
    found = grade(chain, text)
    assert found.valid == (text == chain.solution)
    assert len(found.steps) == text.partition(":")[0].count(";")


def test_steps_follow_from_what_was_written():
    chain = draw_chains(2, 1, seed=1)[0]
    pieces = chain.solution.split(";")
    wrong = VALUES[(VALUES.index(pieces[0][-1]) + 1) % 17]
    letter, operation, operand = chain.steps[1]
    follows = apply(wrong, operation, operand)
    last = apply(follows, *chain.steps[2][1:])
    text = (
        f"{pieces[0][:-1]}{wrong};{letter}{wrong}{operation}{operand}={follows};"
        f"{chain.steps[2][0]}{follows}{''.join(chain.steps[2][1:])}={last};:{last}#"
    )
    found = grade(chain, text)
    assert found.steps == (False, True, True) and not found.valid
    assert found.answer == last


def test_a_right_answer_by_luck_is_correct_but_not_valid():
    chain = Chain("C=7;D*4?", "b", 1, "7", (("D", "*", "4"),))
    for text in (":b#", "D7*4=c;:b#", "D7*4=b;D7*4=b;:b#", "D7*4=b:b#"):
        found = grade(chain, text)
        assert found.correct and not found.valid
    for text in ("D7*4=b;:b", "D7*4=b;", "", "D7*4=b;:b#b#", "D7*4=b;:bb#"):
        found = grade(chain, text)
        assert not found.correct and not found.valid and found.answer in (None, "b")


@pytest.mark.parametrize("operation", "+-*")
def test_arithmetic(operation):
    for a in range(MODULUS):
        for b in range(MODULUS):
            expected = {"+": a + b, "-": a - b, "*": a * b}[operation] % 17
            assert apply(VALUES[a], operation, VALUES[b]) == VALUES[expected]


def test_draws_depend_on_their_keys():
    first = draw_chains(3, 50, 0, "train")
    assert first == draw_chains(3, 50, 0, "train")
    assert first != draw_chains(3, 50, 0, "test") and first != draw_chains(3, 50, 1, "train")
    assert len({chain.question for chain in first}) == 50
    assert draw_chains(1, 0, 0) == []


def test_all_values_and_operations_occur():
    drawn = draw_chains(5, 400, 0)
    counts = np.bincount([VALUES.index(chain.answer) for chain in drawn], minlength=17)
    assert counts.min() > 0
    steps = [step for chain in drawn for step in chain.steps]
    for operation, expected in (("+", 16), ("-", 16), ("*", 15)):
        operands = {operand for _, kind, operand in steps if kind == operation}
        assert len(operands) == expected


def test_labels_align_with_the_steps_of_the_tokens():
    drawn = draw_chains(2, 3, 0)
    texts = [drawn[0].solution, drawn[1].solution[:-4], drawn[2].solution[:8]]
    grades = [grade(chain, text) for chain, text in zip(drawn, texts, strict=True)]
    labels = step_labels(grades, 5)
    tokens, mask = right_padded([TOKENIZER.encode(text) for text in texts])
    steps = segment_by_separator(tokens, mask, [SEPARATOR]).amax(dim=1) + 1
    nan = torch.nan
    expected = torch.tensor([[1, 1, 1, 1, nan], [1, 1, 0, nan, nan], [1, 0, nan, nan, nan]])
    assert torch.equal(labels.nan_to_num(-1), expected.nan_to_num(-1))
    assert ((~labels.isnan()).sum(dim=1) >= steps).all()
    assert step_labels(grades, 2).shape == (3, 2)


def test_wrong_arguments():
    with pytest.raises(InputError, match="level: expected one of 1, 2, 3, 4, 5, got 6"):
        draw_chains(6, 1, 0)
    with pytest.raises(InputError, match="count: expected"):
        draw_chains(1, -1, 0)
    with pytest.raises(InputError, match="longest: expected"):
        step_labels([], 0)
