"""The spherical losses against their formulas over all outputs, their invariances and extremes."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.objectives.spherical import (
    mse,
    mse_from_logits,
    spherical_softmax,
    spherical_softmax_from_logits,
    sums_of_outputs,
    taylor_softmax,
    taylor_softmax_from_logits,
    z_loss,
    z_loss_from_logits,
    z_score_from_logits,
)

PAIRS = [
    (z_loss, z_loss_from_logits),
    (mse, mse_from_logits),
    (taylor_softmax, taylor_softmax_from_logits),
    (spherical_softmax, spherical_softmax_from_logits),
]


def outputs(rows=5, classes=7, seed=0, offset=0.0):
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, classes, dtype=torch.float64, generator=draw) + offset
    return logits, torch.randint(classes, (rows,), generator=draw)


def test_values_equal_the_formulas_written_out_over_all_outputs():
    logits, labels = outputs()
    own = logits[torch.arange(5), labels]
    one_hot = functional.one_hot(labels, 7)
    series = 1 + logits + logits**2 / 2
    squares = logits**2 + 1e-6
    z = (own - logits.mean(1)) / logits.std(1, correction=0)
    expected = {
        z_loss_from_logits: torch.log1p(torch.exp(0.3 * (2 - z))) / 0.3,
        mse_from_logits: ((logits - one_hot) ** 2).sum(1),
        taylor_softmax_from_logits: -((series / series.sum(1, keepdim=True)) * one_hot)
        .sum(1)
        .log(),
        spherical_softmax_from_logits: -((squares / squares.sum(1, keepdim=True)) * one_hot)
        .sum(1)
        .log(),
    }
    for function, values in expected.items():
        options = {"a": 0.3, "b": 2.0} if function is z_loss_from_logits else {}
        found = function(logits, labels, reduction="none", **options)
        torch.testing.assert_close(found, values, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("of_sums", "of_logits"), PAIRS)
@given(rows=st.integers(1, 6), classes=st.integers(3, 9), seed=st.integers(0, 99))
def test_both_forms_agree_in_value_and_gradient(of_sums, of_logits, rows, classes, seed):
    # Two outputs may lie so near to each other that their variance, from the sums, cancels.
    first, labels = outputs(rows, classes, seed)
    second = first.clone()
    values = []
    for given_logits in (first.requires_grad_(), second.requires_grad_()):
        if given_logits is first:
            loss = of_sums(*sums_of_outputs(first, labels), classes)
        else:
            loss = of_logits(second, labels)
        loss.backward()
        values.append(loss.detach())
    torch.testing.assert_close(*values, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(first.grad, second.grad, rtol=1e-7, atol=1e-9)


def test_the_z_loss_sees_neither_shift_nor_scale():
    logits, labels = outputs()
    logits.requires_grad_()
    loss = z_loss_from_logits(logits, labels, a=0.5, b=3.0, reduction="none")
    moved = z_loss_from_logits(7 * logits - 100, labels, a=0.5, b=3.0, reduction="none")
    torch.testing.assert_close(moved, loss)
    (slope,) = torch.autograd.grad(loss.sum(), logits)
    zero = torch.zeros(5, dtype=torch.float64)
    torch.testing.assert_close(slope.sum(1), zero)
    torch.testing.assert_close((slope * logits).sum(1), zero)


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_the_largest_z_score_is_the_root_of_all_other_classes(classes):
    one_hot = torch.eye(classes, dtype=torch.float64)[:1]
    z = z_score_from_logits(one_hot, torch.tensor([0]))
    torch.testing.assert_close(z, torch.tensor([math.sqrt(classes - 1)], dtype=torch.float64))


def test_a_sharp_z_loss_is_a_hinge_and_a_met_wish_costs_log_two():
    logits, labels = outputs()
    z = z_score_from_logits(logits, labels)
    hinge = z_loss_from_logits(logits, labels, a=1e5, b=0.5, reduction="none")
    torch.testing.assert_close(hinge, (0.5 - z).clamp(min=0), rtol=0, atol=1e-5)
    met = z_loss_from_logits(logits[:1], labels[:1], a=0.2, b=float(z[0]))
    assert float(met) == pytest.approx(math.log(2) / 0.2)


def test_equal_outputs_and_a_far_mean_give_finite_gradients():
    labels = torch.tensor([1, 0])
    flat = torch.full((2, 4), 3.0, requires_grad=True)
    loss = z_loss_from_logits(flat, labels, b=2.0)
    loss.backward()
    assert loss.item() == pytest.approx(math.log1p(math.exp(2.0)))
    assert torch.isfinite(flat.grad).all()
    near, _ = outputs(2, 4)
    far = z_score_from_logits((near + 2**12).float(), labels)
    torch.testing.assert_close(far, z_score_from_logits(near, labels).float(), rtol=0.01, atol=0.01)


def test_bad_input_is_told():
    logits, labels = outputs()
    with pytest.raises(InputError, match=r"labels: expected shape \[5\], got \[4\]"):
        z_loss_from_logits(logits, labels[:4])
    with pytest.raises(InputError, match=r"a: expected a number in \(0, inf\), got 0"):
        z_loss_from_logits(logits, labels, a=0)
    with pytest.raises(InputError, match="num_classes: expected at least 2, got 1"):
        mse(*sums_of_outputs(logits, labels), 1)
    own, square, total = sums_of_outputs(logits, labels)
    with pytest.raises(InputError, match="out_sum: expected the shape of target_out"):
        taylor_softmax(own, square, total[:3], 7)
    with pytest.raises(InputError, match=r"eps: expected a number in \(0, inf\), got 0"):
        spherical_softmax(own, square, total, 7, eps=0)
