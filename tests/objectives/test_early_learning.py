import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.objectives.early_learning import early_learning_loss, early_learning_regularizer
from gradatim.targets.past_predictions import PastPredictions


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("target", "value", "gradient"),
    [((0.5, 0.5), -0.693147, 0.0), ((0.7, 0.1), -0.867501, -0.228571), ((0.0, 0.0), 0.0, 0.0)],
)
def test_hand_values(target, value, gradient):
    logits = torch.tensor([[0.8, 0.2]], dtype=torch.float64).log().requires_grad_()
    loss = early_learning_regularizer(logits, torch.tensor([target], dtype=torch.float64))
    loss.backward()
    assert loss.item() == pytest.approx(value, abs=1e-6)
    assert logits.grad[0].tolist() == pytest.approx([gradient, -gradient], abs=1e-6)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), mass=st.floats(0, 1))
def test_gradient_has_the_closed_form(seed, mass):
    logits = draw(5, 4, seed=seed).requires_grad_()
    target = mass * draw(5, 4, seed=seed + 1).softmax(1)
    early_learning_regularizer(logits, target, reduction="sum").backward()
    p = logits.detach().softmax(1)
    # sum_k (T_k - T_c) p_k, written out for every class c
    pull = torch.stack([((target - target[:, [c]]) * p).sum(1) for c in range(4)], dim=1)
    expected = p * pull / (1 - (p * target).sum(1, keepdim=True))
    torch.testing.assert_close(logits.grad, expected)


@pytest.mark.parametrize("labels", [torch.tensor([0, 3, 1, 1, 2]), draw(5, 4, seed=2).softmax(1)])
def test_without_strength_it_is_cross_entropy(labels):
    logits, target = draw(5, 4), draw(5, 4, seed=1).softmax(1)
    torch.testing.assert_close(
        early_learning_loss(logits, labels, target, strength=0.0),
        functional.cross_entropy(logits, labels),
    )


def test_loss_is_cross_entropy_plus_strength_times_regularizer():
    logits, target, labels = draw(5, 4), draw(5, 4, seed=1).softmax(1), torch.arange(5) % 4
    torch.testing.assert_close(
        early_learning_loss(logits, labels, target, strength=7.0, clamp=0.01),
        functional.cross_entropy(logits, labels)
        + 7 * early_learning_regularizer(logits, target, clamp=0.01),
    )


def test_target_of_momentum_zero_is_the_prediction_itself():
    logits = draw(5, 4).float()
    past = PastPredictions(5, 4, momentum=0.0)
    target = past.update(torch.arange(5), logits.softmax(1))
    torch.testing.assert_close(
        early_learning_regularizer(logits, target, reduction="none"),
        (1 - logits.softmax(1).square().sum(1)).log(),
    )


def test_target_of_momentum_one_stays_zero_and_does_nothing():
    logits = draw(5, 4).float().requires_grad_()
    past = PastPredictions(5, 4, momentum=1.0)
    loss = early_learning_regularizer(logits, past.update(torch.arange(5), logits.softmax(1)))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_a_fitted_false_label_is_pulled_back_and_a_fitted_true_one_is_kept():
    target = torch.tensor([[0.9, 0.1], [0.9, 0.1]])
    logits = torch.tensor([[-2.0, 2.0], [2.0, -2.0]], requires_grad=True)
    labels = torch.tensor([1, 0])
    early_learning_loss(logits, labels, target, strength=3.0, reduction="sum").backward()
    assert (logits.grad[:, 0] < 0).all()


@settings(deadline=None)
@given(
    logits=st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3),
    target=st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3),
    clamp=st.floats(1e-6, 0.4),
)
def test_value_is_negative_and_bounded_by_the_clamp(logits, target, clamp):
    row = torch.tensor([target])
    row = row / row.sum().clamp(min=1)
    value = early_learning_regularizer(torch.tensor([logits]), row, clamp=clamp)
    assert torch.log(torch.tensor(clamp)) * 1.01 - 1e-6 <= value <= 0


def test_no_gradient_flows_into_the_target():
    target = draw(5, 4).softmax(1).requires_grad_()
    assert not early_learning_regularizer(draw(5, 4), target).requires_grad


def test_errors_name_the_argument():
    logits = torch.zeros(2, 3)
    with pytest.raises(InputError, match=r"target: expected the shape of logits \[2, 3\]"):
        early_learning_regularizer(logits, torch.zeros(2, 4))
    with pytest.raises(InputError, match=r"clamp: expected a number in \(0, 0.5\), got 0"):
        early_learning_regularizer(logits, logits, clamp=0.0)
    with pytest.raises(InputError, match="strength: expected a number in"):
        early_learning_loss(logits, torch.tensor([0, 1]), logits, strength=-1.0)
    with pytest.raises(InputError, match=r"labels: expected shape \[2\], got \[3\]"):
        early_learning_loss(logits, torch.tensor([0, 1, 2]), logits)
    with pytest.raises(InputError, match=r"logits: expected shape \[B, C\], got \[3\]"):
        early_learning_regularizer(torch.zeros(3), torch.zeros(3))
