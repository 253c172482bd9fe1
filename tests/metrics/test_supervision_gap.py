import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.core.statistics import paired_interval
from gradatim.metrics.supervision_gap import supervision_gap_of_runs, supervision_gap_recovered

hit = np.arange(200)[:, None] / 200


def test_known_shares():
    base, easy, hard = hit < 0.5, hit < 0.68, hit < 0.7
    assert supervision_gap_recovered(base, easy, hard).estimate == pytest.approx(0.9)
    assert supervision_gap_recovered(base, hard, hard).estimate == pytest.approx(1.0)
    assert supervision_gap_recovered(base, base, hard).estimate == 0.0


@given(st.floats(0.1, 1.0), st.floats(0.0, 0.3))
def test_an_affine_change_of_all_accuracies_changes_nothing(scale, shift):
    arms = [np.where(hit < level, 0.7, 0.0) for level in (0.4, 0.6, 0.8)]
    before = supervision_gap_recovered(*arms, n_boot=100)
    after = supervision_gap_recovered(*(scale * arm + shift for arm in arms), n_boot=100)
    assert after.estimate == pytest.approx(before.estimate)
    assert (after.low, after.high) == pytest.approx((before.low, before.high), rel=1e-6)


def test_no_gap_no_share():
    random = np.random.default_rng(0)
    found = supervision_gap_recovered(*(random.random((3, 80, 4)) < 0.5))
    assert not found.defined and math.isnan(found.estimate) and math.isnan(found.low)
    assert found.gap.low < 0 < found.gap.high and "includes 0" in found.sentence()


def test_the_interval_covers_as_told():
    random = np.random.default_rng(1)
    levels = (0.3, 0.6, 0.8)

    def outcomes(rows, runs):
        rank = random.random((rows, 1))  # rows differ in difficulty, runs in noise
        return [rank + 0.3 * random.normal(size=(rows, runs)) < level for level in levels]

    truth = [arm.mean() for arm in outcomes(200_000, 1)]
    share = (truth[1] - truth[0]) / (truth[2] - truth[0])
    covered = []
    for trial in range(120):
        found = supervision_gap_recovered(*outcomes(150, 5), n_boot=200, seed=trial)
        covered.append(found.low <= share <= found.high)
    assert 0.88 < np.mean(covered) <= 1.0


def test_rows_that_a_run_did_not_test_do_not_count():
    random = np.random.default_rng(0)
    arms = [(random.random((100, 3)) < level).astype(float) for level in (0.2, 0.5, 0.8)]
    half = [arm.copy() for arm in arms]
    for arm in half:
        arm[50:, 0] = np.nan
    found = supervision_gap_recovered(*half)
    means = [np.mean([arm[:50, 0].mean(), arm[:, 1].mean(), arm[:, 2].mean()]) for arm in arms]
    assert found.estimate == pytest.approx((means[1] - means[0]) / (means[2] - means[0]))


def test_fieller_holds_what_t_tests_do_not_reject():
    random = np.random.default_rng(3)
    base = random.normal(0.5, 0.02, 8)
    easy, hard = base + random.normal(0.1, 0.03, 8), base + random.normal(0.2, 0.03, 8)
    found = supervision_gap_of_runs(base, easy, hard)
    for share, inside in (
        (found.low + 1e-6, True),
        (found.high - 1e-6, True),
        (found.low - 1e-3, False),
        (found.high + 1e-3, False),
    ):
        interval = paired_interval(easy - base, share * (hard - base))
        assert interval.excludes(0.0) is not inside
    assert found.low < found.estimate < found.high
    assert found.estimate == pytest.approx((easy - base).mean() / (hard - base).mean())


def test_fieller_is_undefined_where_the_gap_may_be_none():
    found = supervision_gap_of_runs([0.5, 0.6], [0.7, 0.6], [0.6, 0.55])
    assert not found.defined and math.isnan(found.high)


def test_errors():
    with pytest.raises(InputError, match="equal lengths"):
        supervision_gap_recovered(hit < 1, hit[:3] < 1, hit < 1)
    with pytest.raises(InputError, match=r"easy: expected numbers in \[0, 1\], got 2\.0 at row 0"):
        supervision_gap_recovered(hit < 1, hit + 2, hit < 1)
    with pytest.raises(InputError, match=r"hard: .* but run 0 tests none"):
        supervision_gap_recovered(hit < 1, hit < 1, hit * np.nan)
    with pytest.raises(InputError, match="easy: expected shape"):
        supervision_gap_recovered(hit < 1, np.zeros((2, 2, 2)), hit < 1)
