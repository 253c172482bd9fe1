import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.objectives.tokens import hide, reduce_tokens

VALUES = torch.tensor([[1.0, 2.0, torch.nan], [6.0, torch.inf, torch.nan]])
MASK = torch.tensor([[True, True, False], [True, False, False]])


def test_every_token_that_counts_weighs_the_same():
    assert reduce_tokens(VALUES, MASK, "mean").item() == 3.0
    assert reduce_tokens(VALUES, MASK, "sum").item() == 9.0
    assert reduce_tokens(VALUES, MASK, "none").tolist() == [[1.0, 2.0, 0.0], [6.0, 0.0, 0.0]]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_without_a_token_value_and_gradient_are_zero(reduction):
    values = VALUES.clone().requires_grad_()
    loss = reduce_tokens(values, torch.zeros_like(MASK), reduction)
    loss.backward()
    assert loss.item() == 0.0
    assert not values.grad.any()


def test_hidden_values_reach_no_gradient():
    values = VALUES.clone().requires_grad_()
    hide(values, MASK).sum().backward()
    assert torch.equal(values.grad, MASK.float())


def test_errors():
    with pytest.raises(InputError, match="mask: expected the shape of values"):
        reduce_tokens(VALUES, MASK[0], "mean")
    with pytest.raises(InputError, match="reduction"):
        reduce_tokens(VALUES, MASK, "max")
