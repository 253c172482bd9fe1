"""Weights in the loss: worked values, what they minimize, and their ends."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from gradatim.core.errors import InputError
from gradatim.curriculum.weights import (
    fading_weights,
    self_paced_threshold,
    self_paced_weights,
    success_band_weights,
    success_target_weights,
)

unit = st.floats(0, 1)


def test_worked_value_of_a_pair_by_reciprocal_rank():
    # ranks 1 and 4: easiness (1 - 1/4 + 1) / 2; epoch 5 of 20
    difficulty = torch.tensor([1 - (1 / 1 - 1 / 4 + 1) / 2], dtype=torch.float64)
    assert 1 - float(difficulty) == 0.875
    assert float(fading_weights(difficulty, 5 / 20)) == pytest.approx(0.90625, abs=1e-8)


@given(st.lists(unit, min_size=1, max_size=9), unit, st.floats(0.01, 1))
def test_fading_from_easiness_to_uniform(difficulty, t, end):
    d = torch.tensor(difficulty, dtype=torch.float64)
    torch.testing.assert_close(fading_weights(d, 0.0, end=end), 1 - d + 1e-8)
    assert fading_weights(d, end, end=end).tolist() == [1.0] * len(d)
    share = min(1, t / end)
    expected = (1 - share) * (1 - d) + share
    torch.testing.assert_close(fading_weights(d, t, end=end), expected, rtol=0, atol=2e-8)
    anti = (1 - share) * d + share
    torch.testing.assert_close(fading_weights(d, t, end=end, anti=True), anti, rtol=0, atol=2e-8)


def test_no_curriculum_and_equal_difficulty():
    d = torch.rand(5)
    assert fading_weights(d, 0.0, end=0.0).tolist() == [1.0] * 5  # an end of 0 is the plain loss
    half = fading_weights(torch.full((4,), 0.5), 0.0, smooth=0.0)
    losses = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert float((half * losses).mean()) == float(losses.mean()) / 2


def minimize(losses, penalty):
    """v in [0, 1] that minimizes v l + penalty(v), on a fine grid."""
    grid = np.linspace(0, 1, 200_001)
    return [grid[np.argmin(grid * one + penalty(grid))] for one in losses]


@pytest.mark.parametrize(
    ("kind", "lower", "penalty"),
    [("hard", None, lambda v: -2.0 * v),
     ("linear", None, lambda v: 2.0 * (v**2 / 2 - v)),
     ("mixture", 0.5, lambda v: -(2 * 0.5 / 1.5) * np.log(v + (2 * 0.5 / 1.5) / 2.0))],
)  # fmt: skip
def test_weights_minimize_the_self_paced_objective(kind, lower, penalty):
    losses = torch.tensor([0.0, 0.2, 0.5, 0.7, 1.3, 1.999, 2.001, 7.0], dtype=torch.float64)
    weights = self_paced_weights(losses, 2.0, kind=kind, lower=lower)
    expected = torch.tensor(minimize(losses.tolist(), penalty), dtype=torch.float64)
    torch.testing.assert_close(weights, expected, rtol=0, atol=1e-4)


@given(st.lists(st.floats(0, 50), min_size=2, max_size=20), st.floats(0.1, 20))
def test_larger_losses_never_weigh_more(losses, threshold):
    ordered = torch.tensor(sorted(losses), dtype=torch.float64)
    for kind, lower in (("hard", None), ("linear", None), ("mixture", threshold / 3)):
        weights = self_paced_weights(ordered, threshold, kind=kind, lower=lower)
        assert (weights.diff() <= 1e-12).all() and weights.min() >= 0 and weights.max() <= 1
        assert (weights[ordered >= threshold] <= 1e-12).all()


def test_no_gradient_flows_through_the_weights():
    losses = torch.tensor([1.0, 3.0], requires_grad=True)
    (self_paced_weights(losses, 2.0, kind="linear") * losses).sum().backward()
    assert losses.grad.tolist() == [0.5, 0.0]


@given(st.lists(st.floats(0, 10, width=32), min_size=1, max_size=30), st.floats(0.01, 1))
def test_threshold_lets_the_share_in(losses, share):
    values = torch.tensor(losses)
    kept = self_paced_weights(values, self_paced_threshold(values, share)).sum()
    wanted = max(1, int(np.ceil(share * len(losses) - 1e-6)))
    ties = (values == values.sort().values[wanted - 1]).sum()
    assert wanted <= kept < wanted + ties


def test_success_rates():
    rate = torch.tensor([0.0, 0.19, 0.2, 0.5, 0.8, 0.81, 1.0])
    assert success_band_weights(rate).tolist() == [0, 0, 1, 1, 1, 0, 0]
    kept = success_band_weights(rate, 0.4, 0.6, outside=0.25)
    assert kept.tolist() == [0.25, 0.25, 0.25, 1, 0.25, 0.25, 0.25]
    peaked = success_target_weights(rate, 0.5, 0.1)
    assert peaked.argmax() == 3 and float(peaked[4]) == pytest.approx(np.exp(-4.5))


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda: fading_weights(torch.zeros(1), 0, end=2), "end: expected"),
     (lambda: fading_weights(torch.zeros(1), float("nan")), "progress: expected"),
     (lambda: self_paced_weights(torch.zeros(1), 0), "threshold: expected"),
     (lambda: self_paced_weights(torch.zeros(1), 1, kind="soft"), "kind: expected"),
     (lambda: self_paced_weights(torch.zeros(1), 1, kind="mixture"), "lower: expected"),
     (lambda: self_paced_weights(torch.zeros(1), 1, lower=0.5), "lower: expected"),
     (lambda: self_paced_weights(torch.zeros(1), 1, kind="mixture", lower=1), "lower: expected"),
     (lambda: self_paced_threshold(torch.zeros(0), 0.5), "losses: expected shape"),
     (lambda: success_band_weights(torch.zeros(1), 0.8, 0.2), "low: expected"),
     (lambda: success_target_weights(torch.zeros(1), width=0), "width: expected")],
)  # fmt: skip
def test_wrong_arguments(call, message):
    with pytest.raises(InputError, match=message):
        call()
