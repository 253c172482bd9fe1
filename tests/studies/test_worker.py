import math

import numpy as np
import pytest

from gradatim.core.errors import InputError
from gradatim.studies.claims import Items, Measurement
from gradatim.studies.worker import SeedFailure, SeedResult, check_outcomes, measure_seed

from .conftest import SLUG

GOOD = Measurement("a", "m", 0.5)


def test_numbers_become_floats_and_columns_arrays() -> None:
    measured, items = check_outcomes(
        iter([Measurement("a", "m", np.float32(0.1)), Items("i", {"x": [1, 2]})])
    )
    assert type(measured[0].value) is float
    assert measured[0].value == float(np.float32(0.1))
    assert items[0].columns["x"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("outcomes", "message"),
    [
        (None, "expected it to yield Measurement or Items, got NoneType"),
        ([], "it yielded no measurement"),
        ([Items("i", {"x": [1]})], "it yielded no measurement"),
        ([GOOD, 0.5], "expected Measurement or Items, got 0.5"),
        ([GOOD, GOOD], "arm 'a', metric 'm', group '' was yielded twice"),
        (
            [Measurement("a", "m", 1, "x=1, y=2"), Measurement("a", "m", 1, "y=2,x=1")],
            "group 'y=2,x=1' was yielded twice",
        ),
        ([Measurement("a", "m", math.nan)], "arm 'a', metric 'm', group '': .* number, got nan"),
        ([Measurement("a", "m", math.inf)], "expected a finite number, got inf"),
        ([Measurement("a", "m", "high")], "expected a finite number, got 'high'"),
        ([Measurement("", "m", 1.0)], "expected arm to be a name, got ''"),
        ([Measurement("a", 3, 1.0)], "expected metric to be a name, got 3"),
        ([Measurement("a", "m", 1.0, "x=1, x=2")], "each key once"),
        ([Items("../i", {"x": [1]})], "expected letters, digits"),
        ([Items("i", {"x": [1], "y": [1, 2]})], r"one length, got x \[1\], y \[2\]"),
        ([Items("i", {})], "one length, got none"),
        ([Items("i", {"x": [1]}), Items("i", {"x": [1]})], "items 'i' were yielded twice"),
    ],
)
def test_what_a_study_must_not_yield_is_named(outcomes, message) -> None:
    with pytest.raises(InputError, match=f"study: .*{message}"):
        check_outcomes(outcomes)


def test_a_seed_is_measured_and_its_surroundings_recorded(write_study) -> None:
    result = measure_seed(SLUG, write_study(), 5, "smoke")
    assert isinstance(result, SeedResult)
    assert result.measurements[0] == Measurement("a", "accuracy", 0.7 + 5 / 97)
    assert set(result.run.versions) >= {"python", "numpy", "torch", "gradatim"}
    assert result.run.machine["threads"] == 1
    assert result.run.seconds >= 0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[].pop()", "IndexError: pop from empty list"),
        ("raise ValueError('one\\ntwo')", "ValueError: one two"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("yield 3", "study: expected Measurement or Items, got 3"),
        ("assert False", "AssertionError"),
    ],
)
def test_a_failure_comes_back_as_one_line(write_study, line, reason) -> None:
    result = measure_seed(SLUG, write_study(f"def study(seed, budget):\n    {line}\n"), 5, "smoke")
    assert isinstance(result, SeedFailure)
    assert result.reason == reason
    assert "Traceback" in result.details
