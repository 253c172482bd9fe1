import pytest
import torch
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.objectives.soft_targets import soft_target_cross_entropy


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_equals_torch_with_probability_targets(reduction):
    logits, target = draw(7, 5), draw(7, 5, seed=1).softmax(1)
    torch.testing.assert_close(
        soft_target_cross_entropy(logits, target, reduction=reduction),
        functional.cross_entropy(logits, target, reduction=reduction),
    )


def test_equals_torch_with_class_targets_when_one_hot():
    logits, labels = draw(7, 5), torch.arange(7) % 5
    torch.testing.assert_close(
        soft_target_cross_entropy(logits, functional.one_hot(labels, 5)),
        functional.cross_entropy(logits, labels),
    )


def test_temperature_divides_the_logits():
    logits, target = draw(7, 5), draw(7, 5, seed=1).softmax(1)
    torch.testing.assert_close(
        soft_target_cross_entropy(logits, target, temperature=4.0),
        functional.cross_entropy(logits / 4, target),
    )


def test_gradient_is_prediction_minus_target_over_temperature():
    logits, target = draw(7, 5).requires_grad_(), draw(7, 5, seed=1).softmax(1)
    soft_target_cross_entropy(logits, target, temperature=2.0, reduction="sum").backward()
    torch.testing.assert_close(logits.grad, ((logits / 2).softmax(1) - target).detach() / 2)


def test_any_leading_dimensions():
    logits, target = draw(2, 3, 5), draw(2, 3, 5, seed=1).softmax(2)
    values = soft_target_cross_entropy(logits, target, reduction="none")
    assert values.shape == (2, 3)
    torch.testing.assert_close(
        values.flatten(),
        functional.cross_entropy(logits.flatten(0, 1), target.flatten(0, 1), reduction="none"),
    )


def test_errors_name_the_argument():
    with pytest.raises(InputError, match=r"target: expected the shape of logits \[2, 3\]"):
        soft_target_cross_entropy(torch.zeros(2, 3), torch.zeros(2))
    with pytest.raises(InputError, match="temperature: expected a number in"):
        soft_target_cross_entropy(torch.zeros(2, 3), torch.zeros(2, 3), temperature=0.0)
