"""The factored output layer against a dense layer that holds all weights."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.networks.factored_spherical import FactoredSphericalLinear
from gradatim.networks.factored_update import Columns, SphericalGradient, next_inverse
from gradatim.objectives.spherical import mse, sums_of_outputs, taylor_softmax, z_loss
from gradatim.training.factored_sgd import FactoredSGD

DOUBLE = torch.float64
CLOSE = {"rtol": 1e-10, "atol": 1e-10}


def layer_of(width=6, classes=40, *, seed=0, dtype=DOUBLE, std=0.3, **options):
    draw = torch.Generator().manual_seed(seed)
    options = {"dtype": dtype, "std": std, "generator": draw, **options}
    return FactoredSphericalLinear(width, classes, **options)


def batch(rows, width, classes, seed=0, dtype=DOUBLE):
    draw = torch.Generator().manual_seed(seed + 1000)
    hidden = torch.randn(rows, width, dtype=dtype, generator=draw)
    return hidden, torch.randint(classes, (rows,), generator=draw)


def dense_outputs(weight, hidden, bias=0.0):
    return (functional.pad(hidden, (0, 1), value=bias) if bias else hidden) @ weight.T


def assert_consistent(layer, limit=1e-9):
    found = layer.check()
    assert max(found["squares"], found["sums"], found["inverse"]) < limit


LOSSES = {
    "z": (lambda *sums: z_loss(*sums, 300, a=0.5, b=4.0), 0.5),
    "taylor": (lambda *sums: taylor_softmax(*sums, 300), 0.3),
    "mse": (lambda *sums: mse(*sums, 300), 0.005),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("rows", "bias", "decay"), [(8, 0.0, 0.0), (1, 0.5, 0.01), (30, 0.5, 0.05)]
)
def test_two_hundred_steps_equal_those_of_a_dense_layer(loss, rows, bias, decay):
    function, lr = LOSSES[loss]
    layer = layer_of(16, 300, std=0.1, bias=bias)
    weight = layer.weight().requires_grad_()
    ours = FactoredSGD(layer, lr, weight_decay=decay, stabilize_every=60)
    dense = torch.optim.SGD([weight], lr=lr, weight_decay=decay)
    for step in range(200):
        hidden, labels = batch(rows, 16, 12, step)  # twelve classes: labels repeat
        first, second = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
        one = function(*layer(first, labels))
        other = function(*sums_of_outputs(dense_outputs(weight, second, bias), labels))
        dense.zero_grad()
        one.backward()
        other.backward()
        torch.testing.assert_close(one, other, **CLOSE)
        torch.testing.assert_close(first.grad, second.grad, **CLOSE)
        torch.testing.assert_close(ours.stand_in.grad, weight.grad.norm(), **CLOSE)
        ours.step()
        dense.step()
    torch.testing.assert_close(layer.weight(), weight.detach(), **CLOSE)
    assert_consistent(layer)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 9),
    width=st.integers(1, 6),
    classes=st.integers(2, 12),
    bias=st.sampled_from([0.0, -0.7]),
    decay=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 50),
)
def test_a_step_equals_the_dense_one_for_all_shapes(rows, width, classes, bias, decay, seed):
    layer = layer_of(width, classes, seed=seed, bias=bias)
    optimizer = FactoredSGD(layer, 0.05, weight_decay=decay)
    weight = layer.weight().requires_grad_()
    hidden, labels = batch(rows, width, classes, seed)
    taylor_softmax(*layer(hidden, labels), classes).backward()
    outputs = dense_outputs(weight, hidden, bias)
    taylor_softmax(*sums_of_outputs(outputs, labels), classes).backward()
    optimizer.step()
    expected = weight.detach() - 0.05 * (weight.grad + decay * weight.detach())
    torch.testing.assert_close(layer.weight(), expected, **CLOSE)
    assert_consistent(layer)


def test_sums_and_gradient_of_the_hidden_vectors_pass_gradcheck():
    layer = layer_of()
    FactoredSGD(layer, 0.1)
    hidden, labels = batch(4, 6, 40)
    assert torch.autograd.gradcheck(lambda h: layer(h, labels), [hidden.requires_grad_()])
    assert layer.gradient is None  # a gradient by the hidden vectors alone leaves nothing behind


def test_one_example_follows_the_sherman_morrison_formula():
    hidden = torch.tensor([[0.4, -1.0, 0.3]], dtype=DOUBLE)
    mixing = torch.eye(3, dtype=DOUBLE) + 0.1
    inverse, by_square, rate = torch.linalg.inv(mixing), 0.2, 0.7
    factors = torch.zeros(3, 11, dtype=DOUBLE)
    factors[:, Columns(3).inverse] = inverse
    nothing = torch.zeros(1, dtype=DOUBLE)
    gradient = SphericalGradient(
        hidden, torch.tensor([0]), hidden @ factors, nothing, nothing,
        torch.full((1, 1), 2 * by_square, dtype=DOUBLE), hidden, hidden,
    )  # fmt: skip
    factor = 2 * rate * by_square
    factor /= 1 - factor * hidden.square().sum()
    expected = inverse + factor * hidden.T @ (hidden @ inverse)
    torch.testing.assert_close(next_inverse(gradient, factors, rate), hidden @ expected)
    square = mixing - 2 * rate * by_square * mixing @ hidden.T @ hidden
    torch.testing.assert_close(hidden @ torch.linalg.inv(square), hidden @ expected)


def test_batches_before_a_step_add_up_exactly():
    layer, whole = layer_of(), layer_of()
    first, second = FactoredSGD(layer, 0.3), FactoredSGD(whole, 0.3)
    hidden, labels = batch(20, 6, 40)
    for part in (slice(0, 3), slice(3, 4), slice(4, 20)):
        z_loss(*layer(hidden[part], labels[part]), 40, b=3.0, reduction="sum").backward()
    z_loss(*whole(hidden, labels), 40, b=3.0, reduction="sum").backward()
    torch.testing.assert_close(first.stand_in.grad, second.stand_in.grad, **CLOSE)
    first.step()
    second.step()
    torch.testing.assert_close(layer.weight(), whole.weight(), **CLOSE)
    assert_consistent(layer)


def test_a_singular_step_is_still_the_dense_one():
    layer = layer_of(2, 5)
    optimizer = FactoredSGD(layer, 0.25)
    weight = layer.weight()
    hidden = torch.tensor([[1.0, 1.0]], dtype=DOUBLE)  # 2 * lr * |h|^2 = 1: U loses a rank
    own, square, _ = layer(hidden, torch.tensor([3]))
    (square - 2 * own).sum().backward()
    optimizer.step()
    outputs = hidden @ weight.T
    outputs[0, 3] -= 1
    torch.testing.assert_close(layer.weight(), weight - 0.5 * outputs.T @ hidden, **CLOSE)
    assert_consistent(layer)
    assert layer.check()["smallest_singular_value"] == 1


def test_an_inverse_that_grows_too_fast_is_stabilized_at_once():
    layer = layer_of(2, 5)
    optimizer = FactoredSGD(layer, 0.25 * (1 - 1e-3), stabilize_every=10**6)
    own, square, _ = layer(torch.ones(1, 2, dtype=DOUBLE), torch.tensor([3]))
    (square - 2 * own).sum().backward()
    optimizer.step()
    assert layer.check()["smallest_singular_value"] > 0.4
    assert_consistent(layer)


@pytest.mark.parametrize("scales", [(1.0, 0.9, 3.0, 1.1), (0.01, 5.0, 3.0, 0.2), (1.2, 1, 0.7, 1)])
def test_stabilization_mends_the_singular_values_and_leaves_the_weights(scales):
    layer = layer_of(4, 30)
    turn, _ = torch.linalg.qr(batch(4, 4, 2)[0])
    mixing = turn @ torch.diag(torch.tensor(scales, dtype=DOUBLE)) @ turn.flip(0)
    layer.factors[:, layer.columns.mixing] = mixing.T
    layer.factors[:, layer.columns.inverse] = torch.linalg.inv(mixing)
    layer.factors[:, layer.columns.shift] = torch.arange(4.0)
    before = layer.weight()
    layer.stabilize()
    found = layer.check()
    torch.testing.assert_close(layer.weight(), before, **CLOSE)
    assert found["smallest_singular_value"] >= 0.5
    assert found["largest_singular_value"] <= 2.0
    assert found["inverse"] < 1e-12


def test_two_thousand_steps_in_float32_do_not_drift():
    layer = layer_of(16, 200, dtype=torch.float32, std=0.05)
    weight = layer.weight().double().requires_grad_()
    ours, dense = FactoredSGD(layer, 0.2), torch.optim.SGD([weight], lr=0.2)
    for step in range(2000):
        hidden, labels = batch(4, 16, 200, step, torch.float32)
        z_loss(*layer(hidden, labels), 200, a=0.5, b=5.0).backward()
        ours.step()
        dense.zero_grad()
        outputs = hidden.double() @ weight.T
        z_loss(*sums_of_outputs(outputs, labels), 200, a=0.5, b=5.0).backward()
        dense.step()
    assert_consistent(layer, 1e-4)
    torch.testing.assert_close(layer.weight().double(), weight.detach(), rtol=0, atol=1e-4)


def test_predictions_equal_those_of_the_weights():
    layer = layer_of(bias=0.5)
    optimizer = FactoredSGD(layer, 0.3)
    for step in range(5):
        z_loss(*layer(*batch(4, 6, 40, step)), 40, b=3.0).backward()
        optimizer.step()
    hidden, labels = batch(7, 6, 40, 9)
    outputs = dense_outputs(layer.weight(), hidden, 0.5)
    torch.testing.assert_close(layer.logits(hidden), outputs, **CLOSE)
    best = outputs.topk(5)
    found = layer.top_k(hidden, 5)
    torch.testing.assert_close(found.scores, best.values.float())
    assert torch.equal(found.index, best.indices)
    with torch.no_grad():
        for one, other in zip(layer(hidden, labels), sums_of_outputs(outputs, labels), strict=True):
            torch.testing.assert_close(one, other, **CLOSE)


def test_evaluation_mode_gives_the_same_gradient_and_keeps_none():
    layer = layer_of()
    FactoredSGD(layer, 0.1)
    hidden, labels = batch(3, 6, 40)
    slopes = []
    for mode in (True, False):
        inputs = hidden.clone().requires_grad_()
        z_loss(*layer.train(mode)(inputs, labels), 40).backward()
        slopes.append(inputs.grad)
        layer.forget_gradient()
    torch.testing.assert_close(*slopes, rtol=0, atol=0)
    assert layer.gradient is None


def test_initial_weights_have_their_deviation_and_bias_column():
    layer = FactoredSphericalLinear(8, 5000, bias=0.1, std=0.02)
    assert layer.weight().shape == (5000, 9)
    assert float(layer.weight().std()) == pytest.approx(0.02, rel=0.05)
    assert list(layer.parameters()) == []
    assert_consistent(layer, 1e-6)


def test_casts_and_copies_keep_the_factors_in_double_precision():
    layer = layer_of(dtype=torch.float32)
    assert layer.half().V.dtype == torch.float32
    assert layer.double().V.dtype == DOUBLE
    assert layer.float().factors.dtype == DOUBLE
    FactoredSGD(layer, 0.1)
    twin = copy.deepcopy(layer)
    optimizer = FactoredSGD(twin, 0.1)
    z_loss(*twin(*batch(3, 6, 40)), 40, b=3.0).backward()
    optimizer.step()
    assert not torch.equal(twin.weight(), layer.weight())
    other = layer_of(seed=5, dtype=torch.float32)
    other.load_state_dict(twin.state_dict())
    assert torch.equal(other.weight(), twin.weight())
    assert torch.equal(other.factors, twin.factors)


def test_low_precision_hidden_vectors_get_a_gradient_in_their_own_precision():
    layer = layer_of(dtype=torch.float32)
    FactoredSGD(layer, 0.1)
    hidden, labels = batch(3, 6, 40)
    narrow = hidden.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = z_loss(*layer(narrow, labels), 40)
    loss.backward()
    assert loss.dtype == DOUBLE
    assert narrow.grad.dtype == torch.bfloat16


def test_bad_input_is_told():
    layer = layer_of()
    hidden, labels = batch(3, 6, 40)
    with pytest.raises(InputError, match=r"FactoredSGD\(layer, lr=...\) to be made before"):
        layer(hidden, labels)
    FactoredSGD(layer, 0.1)
    with pytest.raises(InputError, match="labels: expected classes from 0 to 39, got 1 to 40"):
        layer(hidden, torch.tensor([1, 40, 2]))
    with pytest.raises(InputError, match="labels: expected classes from 0 to 39, got -1 to 2"):
        layer(hidden, torch.tensor([1, -1, 2]))
    with pytest.raises(InputError, match=r"hidden: expected shape \[m, 6\], got \[3, 5\]"):
        layer(hidden[:, :5], labels)
    with pytest.raises(InputError, match=r"hidden: expected shape \[m, 6\], got \[3, 5\]"):
        layer.logits(hidden[:, :5])
    with pytest.raises(InputError, match=r"std: expected a number in \(0, inf\), got 0"):
        FactoredSphericalLinear(6, 40, std=0.0)
    with pytest.raises(InputError, match="dtype: expected float32 or float64"):
        FactoredSphericalLinear(6, 40, dtype=torch.bfloat16)
