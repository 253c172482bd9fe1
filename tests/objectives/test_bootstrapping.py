import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.objectives.bootstrapping import hard_bootstrapping, soft_bootstrapping

LABELS = torch.tensor([0, 2, 1, 1])


def draw():
    return torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("objective", [hard_bootstrapping, soft_bootstrapping])
def test_label_alone_is_cross_entropy(objective):
    torch.testing.assert_close(
        objective(draw(), LABELS, beta=1.0), functional.cross_entropy(draw(), LABELS)
    )


def test_prediction_alone_is_entropy_when_soft():
    probabilities = draw().softmax(1)
    torch.testing.assert_close(
        soft_bootstrapping(draw(), LABELS, beta=0.0, reduction="none"),
        torch.distributions.Categorical(probabilities).entropy(),
    )


def test_prediction_alone_is_surprise_at_the_top_class_when_hard():
    torch.testing.assert_close(
        hard_bootstrapping(draw(), LABELS, beta=0.0, reduction="none"),
        -draw().softmax(1).max(1).values.log(),
    )


@given(beta=st.floats(0, 1))
def test_loss_is_the_mixture_of_both_ends(beta):
    for objective in (hard_bootstrapping, soft_bootstrapping):
        label_end, prediction_end = (objective(draw(), LABELS, beta=end) for end in (1.0, 0.0))
        torch.testing.assert_close(
            objective(draw(), LABELS, beta=beta), beta * label_end + (1 - beta) * prediction_end
        )


def test_soft_gradient_is_not_a_scaled_cross_entropy():
    logits = draw().requires_grad_()
    (soft,) = torch.autograd.grad(soft_bootstrapping(logits, LABELS, beta=0.5), logits)
    (plain,) = torch.autograd.grad(functional.cross_entropy(logits, LABELS), logits)
    assert not torch.allclose(soft, 0.5 * plain)


def test_errors_name_the_argument():
    for objective in (hard_bootstrapping, soft_bootstrapping):
        with pytest.raises(InputError, match=r"beta: expected a number in \[0, 1\], got 1\.5"):
            objective(draw(), LABELS, beta=1.5)
        with pytest.raises(InputError, match=r"labels: expected shape \[4\], got \[3\]"):
            objective(draw(), LABELS[:3])
