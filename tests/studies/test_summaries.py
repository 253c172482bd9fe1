import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gradatim.studies.summaries import Summaries, Summary, as_number, join_group, parse_group

NAMES = st.text("abcxyz0123.-", min_size=1, max_size=5)


@given(st.dictionaries(NAMES, NAMES, max_size=4))
def test_groups_read_back(parts):
    assert parse_group(join_group(parts)) == parts


def test_a_group_without_a_key_is_a_value():
    assert parse_group("hard") == {"group": "hard"}
    assert parse_group(" noise = 0.4 ,epoch=2")["epoch"] == "2"


@pytest.mark.parametrize("text", ["nan", "inf", "-Infinity", "", "easy", "1,5"])
def test_what_is_no_finite_number(text):
    assert as_number(text) is None


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=12))
def test_summary_is_the_t_interval(values):
    cell = Summary.of(values)
    error = stats.sem(values)
    assert cell.mean == pytest.approx(np.mean(values), abs=1e-9)
    half = stats.t.ppf(0.975, len(values) - 1) * error
    assert cell.half_width == pytest.approx(half, rel=1e-6, abs=1e-9)


def test_a_single_seed_has_no_interval():
    cell = Summary.of([0.5])
    assert cell.mean == 0.5 and math.isnan(cell.low) and math.isnan(cell.half_width)


def test_order_is_that_of_the_study():
    rows = [
        (seed, arm, metric, group, 1.0)
        for seed in (3, 1)
        for arm in ("z", "a")
        for metric in ("loss", "accuracy")
        for group in ("", "noise=0.4", "noise=0.2", "noise=0.2, epoch=1")
    ]
    found = Summaries.of(rows)
    assert found.arms == ("z", "a") and found.metrics == ("loss", "accuracy")
    assert found.keys("loss") == ((), ("noise",), ("noise", "epoch"))
    assert len(found.cells) == 2 * 2 * 4
    assert all(len(cell.values) == 2 for cell in found.cells.values())
