"""Graded chains: severities, parts and equal sizes, counted anew."""

import re

import pytest

from gradatim.core.errors import InputError
from gradatim.metrics.supervision_errors import outcome_error_rate, stepwise_error_rate
from gradatim.studies.data.graded_chains import (
    ERRORS,
    graded_mixtures,
    renamed,
    solved,
    token_examples,
)
from gradatim.studies.data.letter_chains import MODULUS, TOKENIZER, draw_letter_chains

SEVERITIES = (1, 3, 5)


def right_result(step):
    return eval(f"({step.before}{step.operation}{step.operand}) % {MODULUS}")


@pytest.fixture(scope="module")
def mixtures():
    return graded_mixtures(40, 1, "test", severities=SEVERITIES)


@pytest.mark.parametrize("error", list(ERRORS))
@pytest.mark.parametrize("severity", SEVERITIES)
def test_error_rates_are_those_that_were_asked_for(mixtures, error, severity):
    drawn = mixtures[error].draw("full", outcome_error=0.9, severity=severity, seed=2)
    examples = [one.example for one in drawn]
    assert outcome_error_rate([one.right for one in examples]) == pytest.approx(0.9)
    rate = stepwise_error_rate([one.steps_right() for one in examples])
    assert rate == pytest.approx(0.9 * severity / 6)
    assert stepwise_error_rate([one.steps_right("global") for one in examples]) >= 0.9 / 6


def test_systematic_errors_are_one_too_large_and_scattered_ones_take_all_values(mixtures):
    off = {}
    for error, mixture in mixtures.items():
        drawn = mixture.draw("full", outcome_error=1, severity=5)
        off[error] = {
            (step.after - right_result(step)) % MODULUS
            for one in drawn
            for step in one.example.steps
            if not step.right
        }
    assert off == {"systematic": {1}, "scattered": set(range(1, MODULUS))}


def test_tasks_are_the_same_for_all_kinds_of_errors(mixtures):
    first, second = mixtures.values()
    assert first.full_correct == second.full_correct
    assert first.sub_correct == second.sub_correct


def test_parts_are_windows_of_their_task_with_one_slip(mixtures):
    mixture = mixtures["systematic"]
    for whole, parts, faulty in zip(
        mixture.full_correct, mixture.sub_correct, mixture.sub_wrong, strict=True
    ):
        assert len({part.chain for part in parts}) == 3
        for part, wrong in zip(parts, faulty, strict=True):
            assert 2 <= len(part.steps) <= 4
            assert all(step in whole.steps for step in part.steps)
            assert part.right and not wrong.right
            assert wrong.steps_right().count(False) == 1


def test_sets_are_alike_in_tokens(mixtures):
    mixture = mixtures["systematic"]
    sizes = {
        kind: sum(
            one.example.length for one in mixture.draw(kind, outcome_error=0.9, severity=3, seed=4)
        )
        for kind in ("full", "sub", "full+sub", "full+rephrased")
    }
    longest = max(one.length for one in mixture.full_correct)
    assert abs(sizes["full"] - sizes["sub"]) <= longest
    assert abs(sizes["full+sub"] - sizes["full+rephrased"]) <= longest
    assert abs(sizes["full+sub"] - 2 * sizes["full"]) <= longest


def test_renamed_examples_keep_values_and_correctness(mixtures):
    for one in mixtures["systematic"].draw("full", outcome_error=0.5, severity=3):
        other = renamed(one.example, seed=3)
        assert other.chain.first != one.example.chain.first
        assert other.right == one.example.right
        assert other.steps_right() == one.example.steps_right()
        for own, new in (
            (one.example.chain.question, other.chain.question),
            (one.example.solution, other.solution),
        ):
            assert re.sub("[A-Z]", "", own) == re.sub("[A-Z]", "", new)


def test_tokens_spell_task_and_solution():
    chains = draw_letter_chains(3, 4, 0, "tokens")
    batch = token_examples([solved(chain) for chain in chains])[[0, 1, 2]]
    for row, chain in enumerate(chains):
        text = TOKENIZER.decode(batch["ids"][row].tolist())
        answered = TOKENIZER.decode(batch["ids"][row][batch["response"][row]].tolist())
        assert (text, answered) == (chain.question + answered, solved(chain).solution)


def test_bad_input_is_named():
    with pytest.raises(InputError, match="count: expected a number"):
        graded_mixtures(0, 0, "bad")
    with pytest.raises(InputError, match="count: expected as many tasks"):
        graded_mixtures(2, 0, "bad", operations=2, part_sizes=(2, 2))
