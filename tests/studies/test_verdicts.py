import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gradatim.core.errors import InputError
from gradatim.studies.claims import Claim, Measurement, SeedTable
from gradatim.studies.verdicts import decide, summary


def tables(values, **more) -> dict[int, SeedTable]:
    columns = {"x": list(values)} | {name: list(column) for name, column in more.items()}
    return {
        10 + row: SeedTable(
            [Measurement("a", name, column[row]) for name, column in columns.items()]
        )
        for row in range(len(columns["x"]))
    }


def x(t: SeedTable) -> float:
    return t["a"].x


SPREAD = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])


@pytest.mark.parametrize(
    ("centre", "status"),
    [(0.1, "shown"), (-0.1, "contradicted"), (0.001, "equivalent"), (0.018, "inconclusive")],
)
def test_the_four_verdicts(centre, status) -> None:
    verdict = decide(Claim("x", x, smallest_effect=0.03), tables(centre + SPREAD))
    assert verdict.status == status
    assert verdict.estimate == pytest.approx(centre)
    assert list(verdict.values) == [10, 11, 12, 13, 14]


def test_interval_and_p_value_are_those_of_scipy() -> None:
    values = np.random.default_rng(0).normal(0.3, 1.0, 10)
    verdict = decide(Claim("x", x, threshold=0.1), tables(values))
    reference = stats.ttest_1samp(values, 0.1)
    interval = reference.confidence_interval(0.95)
    assert (verdict.low, verdict.high) == pytest.approx((interval.low, interval.high))
    assert verdict.p_value == pytest.approx(reference.pvalue)


@given(
    st.lists(st.floats(-1, 1), min_size=2, max_size=12),
    st.floats(-0.5, 0.5),
    st.sampled_from([None, 0.1, 0.7]),
)
def test_direction_mirrors_the_verdict_and_status_agrees_with_the_p_value(
    values, threshold, margin
) -> None:
    up = decide(Claim("x", x, threshold, margin), tables(values))
    down = decide(
        Claim("x", lambda t: -t["a"].x, -threshold, margin, direction="less"), tables(values)
    )
    assert up.status == down.status
    if math.isclose(up.p_value, 0.05, rel_tol=1e-6):
        return
    assert (up.status in ("shown", "contradicted")) == (up.p_value < 0.05)


def test_shown_but_smaller_than_the_smallest_effect_is_noted() -> None:
    verdict = decide(Claim("x", x, smallest_effect=0.5), tables(0.1 + SPREAD))
    assert verdict.status == "shown"
    assert verdict.note == "beyond the threshold, but smaller than the smallest effect declared"


def test_non_inferiority_is_a_threshold_below_zero() -> None:
    values = -0.01 + SPREAD / 10
    assert decide(Claim("x", x, threshold=-0.02), tables(values)).status == "shown"
    assert decide(Claim("x", x), tables(values)).status == "contradicted"


def test_equal_values_have_a_verdict_and_a_note() -> None:
    at = decide(Claim("x", x, threshold=0.5, smallest_effect=0.1), tables([0.5] * 5))
    beyond = decide(Claim("x", x, threshold=0.5), tables([0.6] * 5))
    assert (at.status, beyond.status) == ("equivalent", "shown")
    assert "no width" in beyond.note


@pytest.mark.parametrize(
    ("values", "note"),
    [
        ([], "not run"),
        ([1.0], "1 seed was run"),
        ([1.0, math.inf, 2.0], "finite number, for seed 11"),
    ],
)
def test_too_few_or_undefined_values_are_inconclusive(values, note) -> None:
    verdict = decide(Claim("x", x), tables(values))
    assert verdict.status == "inconclusive"
    assert note in verdict.note
    assert math.isnan(verdict.p_value)


def test_a_ratio_by_zero_is_undefined_and_a_missing_arm_is_an_error() -> None:
    verdict = decide(Claim("x", lambda t: 1 / t["a"].x), tables([1.0, 0.0]))
    assert "for seed 11" in verdict.note
    with pytest.raises(InputError, match="claim 'x', seed 10: no arm 'b'"):
        decide(Claim("x", lambda t: t["b"].x), tables([1.0, 2.0]))


def test_at_least_one_of_takes_the_best_and_pays_for_the_choice() -> None:
    values = 0.02 + SPREAD
    alone = decide(Claim("x", x), tables(values))
    pair = decide(Claim("x", (lambda t: t["a"].y, x)), tables(values, y=SPREAD - 1))
    assert alone.status == "shown"
    assert pair.status == "inconclusive"
    assert pair.values == alone.values
    assert pair.p_value == pytest.approx(2 * alone.p_value)
    assert pair.low < alone.low
    assert pair.note == "alternative 2 of 2"
    strong = decide(Claim("x", (lambda t: t["a"].y, x)), tables(values + 1, y=SPREAD - 1))
    against = decide(Claim("x", (lambda t: t["a"].y, x)), tables(values - 2, y=SPREAD - 1))
    assert (strong.status, against.status) == ("shown", "contradicted")
    equal = Claim("x", (lambda t: t["a"].y, x), smallest_effect=0.1)
    assert decide(equal, tables(SPREAD, y=SPREAD)).status == "equivalent"
    assert decide(equal, tables(SPREAD, y=SPREAD - 0.2)).status == "inconclusive"


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ([2.0, 3.0, 7.0], "shown"),
        ([0.5, 0.6], "contradicted"),
        ([0.9, 1.5], "inconclusive"),
        ([2.0], "shown"),
    ],
)
def test_a_cost_is_its_median_and_range(values, status) -> None:
    verdict = decide(Claim("x", x, threshold=1.0, kind="cost"), tables(values))
    assert verdict.status == status
    assert verdict.estimate == np.median(values)
    assert (verdict.low, verdict.high) == (min(values), max(values))
    assert math.isnan(verdict.p_value)


def test_under_the_null_a_claim_is_shown_one_time_in_forty() -> None:
    draws = np.random.default_rng(0).normal(size=(4000, 10))
    claim = Claim("x", x)
    found = Counter(decide(claim, tables(row)).status for row in draws)
    for status in ("shown", "contradicted"):
        low, high = stats.binom.ppf([0.0005, 0.9995], len(draws), 0.025)
        assert low <= found[status] <= high


def test_summary_is_holm_over_statistical_claims_alone() -> None:
    kinds = [("statistical", 0.012), ("cost", 1.0), ("statistical", 0.02), ("statistical", 0.001)]
    verdicts = [
        decide(Claim("x", x, kind=kind), tables(shift + SPREAD)) for kind, shift in kinds
    ] + [decide(Claim("x", x), tables([1.0]))]
    adjusted = summary(verdicts)
    raw = sorted(v.p_value for v in verdicts if not math.isnan(v.p_value))
    assert [math.isnan(p) for p in adjusted] == [False, True, False, False, True]
    assert adjusted[2] == pytest.approx(3 * raw[0])
    assert adjusted[0] == pytest.approx(2 * raw[1])
    assert summary([]) == []


def test_what_a_demo_leaves_out_is_inconclusive() -> None:
    claim = Claim("x", lambda t: t["not there"].accuracy)
    with pytest.raises(InputError, match="not there"):
        decide(claim, tables([1.0, 2.0]))
    verdict = decide(claim, tables([1.0, 2.0]), partial=True)
    assert verdict.status == "inconclusive"
    assert "not measured" in verdict.note
