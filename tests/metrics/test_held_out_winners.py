"""Winners chosen by some runs and measured by others: a plain loop, and no gain from noise."""

import numpy as np
import pytest

from gradatim.core.errors import InputError
from gradatim.metrics.held_out_winners import held_out_winners


def by_a_loop(validation, test, baseline):
    runs, arms, cells = validation.shape
    halves = np.array_split(np.arange(runs), 2)
    own, shared, moved = np.zeros(cells), np.zeros(cells), np.zeros(cells)
    others = [arm for arm in range(arms) if arm != baseline]
    for choosing, telling in (halves, halves[::-1]):
        v, t = validation[choosing].mean(0), test[telling].mean(0)
        winners = [max(others, key=lambda arm, c=c: v[arm, c]) for c in range(cells)]
        best = max(others, key=lambda arm: v[arm].mean())
        for c in range(cells):
            own[c] += (t[winners[c], c] - t[baseline, c]) / 2
            shared[c] += (t[best, c] - t[baseline, c]) / 2
            foreign = [t[winners[o], c] - t[baseline, c] for o in range(cells) if o != c]
            moved[c] += np.mean(foreign) / 2
    return own, shared, moved


@pytest.mark.parametrize(("runs", "baseline"), [(2, 0), (5, 1), (4, 3)])
def test_against_a_loop(runs, baseline):
    generator = np.random.default_rng(runs)
    validation, test = generator.normal(size=(2, runs, 4, 3))
    found = held_out_winners(validation, test, baseline=baseline)
    for value, expected in zip(found[:3], by_a_loop(validation, test, baseline), strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-12)
    means = test.mean(0)
    naive = [max(means[a, c] for a in range(4) if a != baseline) - means[baseline, c]
             for c in range(3)]  # fmt: skip
    np.testing.assert_allclose(found.naive, naive)
    assert baseline not in found.winners


def test_noise_gains_nothing_but_for_the_naive():
    generator = np.random.default_rng(0)
    test = generator.normal(size=(4, 9, 4000))
    # a run that is lucky on validation data is lucky on test data as well
    gains = held_out_winners(test + 0.1 * generator.normal(size=test.shape), test)
    error = 1 / np.sqrt(4000)
    for found in (gains.own, gains.shared, gains.transferred):
        assert abs(found.mean()) < 4 * error
    assert gains.naive.mean() > 0.5


def test_arms_that_win_in_their_own_cell_alone():
    table = np.zeros((2, 3, 2))
    table[:, 1, 0] = table[:, 2, 1] = 0.1
    gains = held_out_winners(table, table)
    assert gains.winners.tolist() == [[1, 2], [1, 2]]
    np.testing.assert_allclose(gains.own, 0.1)
    np.testing.assert_allclose(gains.transferred, 0)


def test_a_single_cell():
    gains = held_out_winners([[[0.0], [1.0]]] * 2, [[[0.0], [2.0]]] * 2)
    assert gains.own.tolist() == gains.shared.tolist() == [2.0]
    assert np.isnan(gains.transferred).all()


@pytest.mark.parametrize(
    ("validation", "test", "baseline", "told"),
    [(np.zeros((2, 2)), np.zeros((2, 2)), 0, "shape"),
     (np.zeros((2, 2, 1)), np.zeros((2, 3, 1)), 0, "shape"),
     (np.zeros((1, 2, 1)), np.zeros((1, 2, 1)), 0, "runs"),
     (np.zeros((2, 1, 1)), np.zeros((2, 1, 1)), 0, "arms"),
     (np.zeros((2, 2, 1)), np.zeros((2, 2, 1)), 2, "baseline"),
     (np.full((2, 2, 1), np.nan), np.zeros((2, 2, 1)), 0, "validation")],
)  # fmt: skip
def test_bad_input(validation, test, baseline, told):
    with pytest.raises(InputError, match=told):
        held_out_winners(validation, test, baseline=baseline)
