"""Letter chains: tasks and solutions against Python's arithmetic, their errors and their parts."""

from collections import Counter, defaultdict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.metrics.supervision_errors import outcome_error_rate, stepwise_error_rate
from gradatim.mining.subtasks import contiguous_subtasks
from gradatim.studies.data.letter_chains import (
    MODULUS,
    TOKENIZER,
    answer_of,
    draw_letter_chains,
    off_by_one,
    read_steps,
    scattered,
    steps_right,
    window,
    written,
    wrong_solution,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_answers_equal_pythons_own_evaluation():
    for chain in draw_letter_chains(1000, 4, 1, "check"):
        lines = chain.question.rstrip("?").split(";")
        value = int(lines[0].split("=")[1])
        for line in lines[1:]:
            value = eval(f"({value}{line[1:]}) % {MODULUS}")
        assert chain.answer == value == answer_of(written(chain.steps))
        assert TOKENIZER.decode(TOKENIZER.encode(chain.question)) == chain.question


def test_longer_lists_begin_with_shorter_ones_and_uses_differ():
    assert draw_letter_chains(50, 4, 0, "a")[:20] == draw_letter_chains(20, 4, 0, "a")
    assert draw_letter_chains(20, 4, 0, "a") != draw_letter_chains(20, 4, 0, "b")
    with pytest.raises(InputError, match="operations: expected a number in"):
        draw_letter_chains(1, 0, 0)


@given(st.integers(0, 500), st.integers(1, 6))
def test_right_solutions_are_right_by_both_definitions(seed, operations):
    chain = draw_letter_chains(1, operations, seed)[0]
    assert read_steps(written(chain.steps)) == chain.steps
    for definition in ("local", "global"):
        assert steps_right(chain, chain.steps, definition) == [True] * operations


@given(st.integers(0, 300), st.integers(1, 4), st.sampled_from([off_by_one, scattered]))
def test_wrong_solutions_have_so_many_local_errors_and_a_wrong_answer(seed, wrong, model):
    chain = draw_letter_chains(1, 4, seed)[0]
    steps = wrong_solution(chain, wrong, generator(seed), error_model=model)
    if steps is None:
        return
    assert answer_of(written(steps)) != chain.answer
    assert steps_right(chain, steps).count(False) == wrong
    judged = steps_right(chain, steps, "global")
    assert judged[-1] is False
    assert judged == [one == own for one, own in zip(steps, chain.steps, strict=True)]


def test_rates_of_a_hand_example():
    """The second of four steps is wrong and the later ones are consistent with it."""
    text = "B3+1=4;C4*2=2;D2-1=1;E1+5=6#6."
    chain = next(one for one in [_chain("A=3;B+1;C*2;D-1;E+5?")])
    judged = steps_right(chain, read_steps(text))
    assert judged == [True, False, True, True]
    assert stepwise_error_rate([judged]) == 0.25
    assert steps_right(chain, read_steps(text), "global") == [True, False, False, False]
    assert outcome_error_rate([answer_of(text) == chain.answer]) == 1.0


def _chain(question):
    from gradatim.studies.data.letter_chains import LetterChain

    first, *rest = question.rstrip("?").split(";")
    operations = tuple((line[1], int(line[2])) for line in rest)
    chain = LetterChain("ABCDEFGHIJKLMNOPQRSTUVWXYZ".index(first[0]), int(first[2]), operations)
    assert chain.question == question
    return chain


@pytest.mark.parametrize(
    ("text", "judged"),
    [
        ("B3+1=4;C4*2=1#1.", [True, True]),
        ("B3+1=4;C3*2=6#6.", [True, False]),  # does not go on from what is written
        ("C3*2=6#6.", [False]),  # leaves out a step
        ("B4+1=5;C5*2=3#3.", [False, True]),
        ("B3+2=5;C5*2=3#3.", [False, True]),  # another operand than the task's
        ("B3+1=4;x;C4*2=1#1.", [True, False, False]),
        ("", [False]),
        ("B3+1=4;C4*2=1;D1+1=2#2.", [True, True, False]),
    ],
)
def test_steps_are_judged_by_the_task_and_what_is_written(text, judged):
    assert steps_right(_chain("A=3;B+1;C*2?"), read_steps(text)) == judged


def test_parts_are_tasks_of_their_own_with_right_solutions():
    chain = _chain("Y=3;Z+1;A*2;B-5;C*6?")
    parts = contiguous_subtasks(chain, chain.steps, window, max_fraction=0.5)
    assert len(parts) == 7
    for task, steps in parts:
        assert task.steps == list(steps)
    assert [task.question for task, _ in parts[4:]] == [
        "Y=3;Z+1;A*2?",
        "Z=4;A*2;B-5?",
        "A=1;B-5;C*6?",
    ]


@pytest.mark.parametrize(
    ("model", "wrong_steps", "learned"),
    [(off_by_one, 1, True), (off_by_one, 3, False), (scattered, 3, True), (scattered, 4, False)],
)
def test_the_majority_is_right_up_to_one_half_or_six_sevenths(model, wrong_steps, learned):
    """What a greedy student that knows the frequencies of results learns of single steps.

    With the same error always, the right result is the likeliest up to an error rate of 1/2; with
    errors spread over the six other results, up to 6/7. Rates here: 1/4, 3/4, 3/4 and 1.
    """
    results = defaultdict(Counter)
    draws = generator()
    for chain in draw_letter_chains(12_000, 4, 0):
        steps = wrong_solution(chain, wrong_steps, draws, error_model=model)
        for step in steps or ():
            results[step.before, step.operation, step.operand][step.after] += 1
    right = []
    for (before, operation, operand), counts in results.items():
        truth = eval(f"({before}{operation}{operand}) % {MODULUS}")
        right.append(counts.most_common(1)[0][0] == truth)
    assert len(right) == 3 * MODULUS**2
    share = sum(right) / len(right)
    assert share > 0.95 if learned else share < 0.05
