"""Start, residuals and steps of boosting, against autograd, numerical minimization, extremes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize_scalar

from gradatim.core.errors import InputError
from gradatim.objectives.boosting_steps import (
    LOSSES,
    boosting_loss,
    initial_outputs,
    newton_step,
    pseudo_residuals,
)


def draw(loss, rows=12, seed=0, dtype=torch.float64):
    """Targets of both kinds, outputs and a direction."""
    generator = torch.Generator().manual_seed(seed)
    shape = (rows,) if loss == "logistic" else (rows, 3)
    outputs, direction = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
    if loss == "squared":
        return torch.randn(shape, generator=generator).to(dtype), outputs, direction
    if loss == "logistic":
        return torch.arange(rows).remainder(2).mul(2).sub(1).to(dtype), outputs, direction
    return torch.eye(3, dtype=dtype)[torch.arange(rows) % 3], outputs, direction


@pytest.mark.parametrize("loss", LOSSES)
def test_residuals_are_the_negative_gradient(loss):
    y, outputs, _ = draw(loss)
    outputs.requires_grad_()
    boosting_loss(y, outputs, loss, reduction="sum").backward()
    torch.testing.assert_close(pseudo_residuals(y, outputs.detach(), loss), -outputs.grad)
    assert torch.autograd.gradcheck(lambda f: boosting_loss(y, f, loss, reduction="none"), outputs)


def test_losses_are_those_of_torch():
    y, outputs, _ = draw("softmax")
    wanted = torch.nn.functional.cross_entropy(outputs, y.argmax(1), reduction="none")
    torch.testing.assert_close(boosting_loss(y, outputs, "softmax", reduction="none"), wanted)
    y, outputs, _ = draw("logistic")
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(2 * outputs, (y + 1) / 2)
    torch.testing.assert_close(boosting_loss(y, outputs, "logistic"), wanted)
    y, outputs, _ = draw("squared")
    wanted = torch.nn.functional.mse_loss(outputs, y, reduction="sum") / 2
    torch.testing.assert_close(boosting_loss(y, outputs, "squared", reduction="sum"), wanted)


@pytest.mark.parametrize("loss", LOSSES)
@given(seed=st.integers(0, 2**31))
def test_no_other_constant_has_less_loss(loss, seed):
    y, _, shift = draw(loss, seed=seed)
    start = initial_outputs(y, loss)
    assert start.shape == y.shape[1:]
    best = boosting_loss(y, start.expand_as(y), loss)
    other = boosting_loss(y, (start + 0.3 * shift[0]).expand_as(y), loss)
    assert best <= other + 1e-12


@pytest.mark.parametrize("loss", ["logistic", "softmax"])
def test_the_step_is_newtons_on_the_diagonal_of_the_hessian(loss):
    y, outputs, direction = draw(loss)
    flat = outputs.flatten()

    def total(values):
        return boosting_loss(y, values.view_as(outputs), loss, reduction="sum")

    hessian = torch.autograd.functional.hessian(total, flat).diagonal()
    slope = pseudo_residuals(y, outputs, loss).flatten()
    h = direction.flatten()

    def model(step):
        return (-step * slope @ h + step**2 / 2 * (h * hessian) @ h).item()

    wanted = minimize_scalar(model).x
    assert newton_step(y, outputs, direction, loss).item() == pytest.approx(wanted, rel=1e-5)


def test_closed_forms_at_the_start():
    y, _, h = draw("logistic")
    zero = torch.zeros_like(y)
    torch.testing.assert_close(pseudo_residuals(y, zero, "logistic"), y)
    wanted = (y * h).sum() / (h * h).sum()
    torch.testing.assert_close(newton_step(y, zero, h, "logistic"), wanted)
    y, outputs, h = draw("squared")
    assert newton_step(y, outputs, h, "squared").item() == 1


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("reach", [1e-30, 1e4, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extremes_stay_finite_and_bounded(loss, reach, dtype):
    y, outputs, direction = draw(loss, dtype=dtype)
    for sign in (1, -1):
        far = sign * reach * outputs
        assert pseudo_residuals(y, far, loss).isfinite().all()
        for size in (1e-30, 1.0, 1e30):
            step = newton_step(y, far, size * direction, loss, limit=7.0)
            assert step.dtype == dtype
            assert abs(step.item()) <= 7
        if reach < 1e10:
            assert boosting_loss(y, far, loss).isfinite()
    assert newton_step(y, outputs, 0 * direction, loss).item() == (1 if loss == "squared" else 0)


def test_a_flat_loss_gives_the_bound():
    y = torch.tensor([1.0, 1.0])
    step = newton_step(y, torch.tensor([-500.0, -500.0]), torch.tensor([1.0, 1.0]), "logistic")
    assert step.item() == 10
    back = newton_step(y, torch.tensor([-500.0, -500.0]), torch.tensor([-1.0, -1.0]), "logistic")
    assert back.item() == -10


@given(
    arrays(float, (4,), elements=st.floats(-20, 20)),
    arrays(float, (4,), elements=st.floats(-1e3, 1e3)),
    st.floats(1e-3, 1e3),
)
def test_a_longer_direction_has_a_shorter_step(f, h, scale):
    y, f, h = torch.tensor([1.0, -1, 1, -1]).double(), torch.from_numpy(f), torch.from_numpy(h)
    whole = newton_step(y, f, h, "logistic", limit=1e12)
    scaled = newton_step(y, f, scale * h, "logistic", limit=1e12)
    if max(abs(whole.item()), abs(scaled.item())) < 1e11:
        assert scaled.item() * scale == pytest.approx(whole.item(), rel=1e-9, abs=1e-9)


def test_two_classes_of_softmax_are_the_logistic_loss():
    y, f, h = draw("logistic")
    pair = torch.stack([-f, f], dim=1)
    one_hot = torch.stack([(1 - y) / 2, (1 + y) / 2], dim=1)
    torch.testing.assert_close(
        boosting_loss(one_hot, pair, "softmax"), boosting_loss(y, f, "logistic")
    )
    torch.testing.assert_close(
        2 * pseudo_residuals(one_hot, pair, "softmax")[:, 1], pseudo_residuals(y, f, "logistic")
    )
    # the diagonal leaves out what the two outputs have in common: half of the curvature
    torch.testing.assert_close(
        newton_step(one_hot, pair, torch.stack([-h, h], dim=1), "softmax"),
        2 * newton_step(y, f, h, "logistic"),
    )


def test_half_precision_and_integers_are_raised_and_arguments_left_alone():
    y, outputs = torch.tensor([1, -1]), torch.tensor([0.5, 0.5]).bfloat16()
    found = pseudo_residuals(y, outputs, "logistic")
    assert found.dtype == torch.float32
    assert found[0].item() == pytest.approx(2 / (1 + math.e))
    assert outputs.dtype == torch.bfloat16 and y.tolist() == [1, -1]


def test_a_class_that_does_not_occur_is_finite():
    y = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert initial_outputs(y, "softmax").isfinite().all()


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: boosting_loss(torch.zeros(2), torch.zeros(3), "squared"), "outputs"),
        (lambda: boosting_loss(torch.zeros(2), torch.zeros(2), "hinge"), "loss: expected one of"),
        (lambda: pseudo_residuals(torch.zeros(2), torch.zeros(2), "softmax"), "targets"),
        (lambda: initial_outputs(torch.zeros(2, 2, 2), "squared"), "targets"),
        (lambda: initial_outputs(torch.zeros(0), "squared"), "expected at least one row"),
        (lambda: initial_outputs(torch.ones(3), "logistic"), "expected both -1 and 1"),
        (
            lambda: newton_step(torch.ones(2), torch.ones(2), torch.ones(3), "logistic"),
            "direction",
        ),
        (
            lambda: newton_step(*[torch.ones(2)] * 3, "logistic", limit=0.0),
            "limit",
        ),
    ],
)
def test_bad_arguments(call, named):
    with pytest.raises(InputError, match=named):
        call()


def test_shares_of_classes_as_targets():
    shares = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(3), 5))
    start = initial_outputs(shares, "softmax")
    torch.testing.assert_close(start.softmax(0), shares.mean(0))
