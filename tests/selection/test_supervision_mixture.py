"""Supervision whose errors, tasks and size are set exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.selection.supervision_mixture import SupervisionMixture, match_error_rate

N = 40


def mixture(**options):
    """Tasks whose solutions are eight long, with parts of one, two, three and four."""
    given = {
        "full_correct": [f"right-{t:02}" for t in range(N)],
        "full_wrong": {w: [f"wrong{w}{t:02}" for t in range(N)] for w in (1, 4)},
        "sub_correct": [[f"{t:02}ABCD"[: 2 + k] for k in range(1, 5)] for t in range(N)],
        "sub_wrong": [[f"{t:02}abcd"[: 2 + k] for k in range(1, 5)] for t in range(N)],
        "rephrase": str.upper,
        "length": len,
        **options,
    }
    return SupervisionMixture(**given)


def examples(found):
    return [one.example for one in found]


@given(st.floats(0, 1), st.integers(1, N), st.integers(0, 50), st.sampled_from([1, 4]))
def test_counts_are_exact_and_tasks_the_same_in_all_draws(rate, size, seed, severity):
    options = {"outcome_error": rate, "severity": severity, "size": size, "seed": seed}
    found = mixture().draw("full", **options)
    assert len(found) == size
    assert sum(one.wrong for one in found) == round(rate * size)
    tasks = {one.task for one in found}
    assert len(tasks) == size
    for one in found:
        prefix = f"wrong{severity}" if one.wrong else "right-"
        assert one.example == f"{prefix}{one.task:02}" and one.part == "full"
    for kind in ("full", "full+rephrased"):
        other = mixture().draw(kind, size=size, seed=seed)
        assert {one.task for one in other} == tasks
    assert {one.task for one in mixture().draw("sub", size=size, seed=seed)} <= tasks


def test_no_error_gives_the_right_solutions_as_they_are():
    right = [f"right-{t:02}" for t in range(N)]
    assert examples(mixture().draw("full")) == right
    assert examples(mixture().draw("full", severity=4)) == right
    assert examples(mixture(full_wrong=None).draw("full")) == right


@given(st.integers(0, 50), st.floats(0, 1), st.floats(0, 1))
def test_errors_are_nested_in_their_rate_and_the_same_at_every_severity(seed, one, other):
    def wrong(rate, severity):
        drawn = mixture().draw("full", outcome_error=rate, severity=severity, seed=seed)
        return {one.task for one in drawn if one.wrong}

    low, high = sorted((one, other))
    assert wrong(low, 1) <= wrong(high, 1)
    assert wrong(low, 1) == wrong(low, 4)


@given(st.integers(0, 50), st.integers(2, N))
def test_parts_and_rephrased_solutions_are_as_long_as_the_whole_ones(seed, size):
    for kind in ("sub", "full+sub", "full+rephrased"):
        found = mixture().draw(kind, size=size, seed=seed, outcome_error=0.5, severity=1)
        added = [one for one in found if one.part != "full"]
        assert abs(sum(len(one.example) for one in added) - 8 * size) <= 3
        assert len({(one.example, one.task) for one in added}) == len(added)
        if kind != "sub":
            whole = mixture().draw("full", size=size, seed=seed, outcome_error=0.5, severity=1)
            assert found[:size] == whole
    plain = mixture(length=lambda one: 1).draw("full+sub", size=size, seed=seed)
    assert len(plain) == 2 * size


def test_a_part_of_every_task_comes_before_the_second_of_any():
    found = mixture(length=lambda one: 1).draw("sub", seed=3)
    assert sorted(one.task for one in found) == list(range(N))
    assert {len(one.example) for one in found} == {3, 4, 5, 6}


def test_rephrased_solutions_are_those_that_were_drawn():
    found = mixture().draw("full+rephrased", outcome_error=0.9, severity=4)
    whole = {one.task: one for one in found if one.part == "full"}
    for one in found:
        if one.part == "rephrased":
            assert one.example == whole[one.task].example.upper()
            assert one.wrong == whole[one.task].wrong


@given(st.floats(0, 1), st.integers(0, 20))
def test_wrong_parts_are_counted_exactly_too(rate, seed):
    found = mixture().draw("sub", sub_error=rate, seed=seed)
    assert sum(one.wrong for one in found) == round(rate * len(found))
    assert all(one.wrong == one.example[2:].islower() for one in found)


def test_draws_depend_on_the_seed():
    draws = [mixture().draw("full+sub", size=10, seed=seed) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_the_nearest_error_rate():
    rates = {"weak": 0.5, "weaker": 0.877, "weakest": 0.98}
    assert [match_error_rate(rates, target) for target in (0.0, 0.9, 0.95, 1.0)] == [
        "weak", "weaker", "weakest", "weakest",
    ]  # fmt: skip
    assert match_error_rate({3: 0.5, 4: 0.5}, 0.9) == 3
    with pytest.raises(InputError, match="rates: expected at least one candidate, got none"):
        match_error_rate({}, 0.5)


@pytest.mark.parametrize(
    ("options", "draw", "message"),
    [
        ({}, {"kind": "half"}, "kind: expected one of full, sub, full"),
        ({}, {"outcome_error": 1.5}, "outcome_error: expected a number in"),
        ({}, {"sub_error": -0.1}, "sub_error: expected a number in"),
        ({}, {"size": 0}, "size: expected a number in"),
        ({}, {"size": N + 1}, "size: expected a number in"),
        ({}, {"outcome_error": 0.5}, "severity: expected one of 1, 4, got None"),
        ({}, {"outcome_error": 0.5, "severity": 2}, "severity: expected one of 1, 4, got 2"),
        (
            {"full_wrong": ["x" * 8] * N},
            {"outcome_error": 0.5, "severity": 1},
            "severity: expected None for one list of them, got 1",
        ),
        ({"full_wrong": None}, {"outcome_error": 0.5}, "full_wrong: expected wrong solutions"),
        ({"sub_correct": None}, {"kind": "sub"}, "sub_correct: expected solutions of parts"),
        ({"sub_wrong": None}, {"kind": "sub", "sub_error": 0.5}, "sub_wrong: expected wrong"),
        ({"sub_correct": [[] for _ in range(N)], "sub_wrong": None}, {"kind": "sub"}, "parts"),
        ({"rephrase": None}, {"kind": "full+rephrased"}, "rephrase: expected a function"),
        ({"full_wrong": ["x"]}, {}, "full_correct has 40, full_wrong has 1"),
        ({"full_wrong": {1: ["x"]}}, {}, r"full_wrong\[1\]: expected 40 solutions"),
        ({"sub_correct": [["x"]]}, {}, "full_correct has 40, sub_correct has 1"),
        ({"sub_wrong": [["x"]]}, {}, "sub_correct has 40, sub_wrong has 1"),
        ({"sub_wrong": [["x"]] * N}, {}, "sub_wrong: expected 4 parts of task 0, got 1"),
    ],
)
def test_bad_input(options, draw, message):
    with pytest.raises(InputError, match=message):
        mixture(**options).draw(**{"kind": "full", **draw})
