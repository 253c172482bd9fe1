import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.objectives.token_rewards import token_reward_loss


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 4), tokens=st.integers(1, 9))
def test_with_unit_weights_it_is_torchs_mean(seed, rows, tokens):
    logits, labels = draw(rows, tokens, seed=seed), draw(rows, tokens, seed=seed + 1).sigmoid()
    torch.testing.assert_close(
        token_reward_loss(logits, labels, torch.ones(rows, tokens)),
        functional.binary_cross_entropy_with_logits(logits, labels),
        rtol=2e-6,
        atol=0,
    )


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_weights_select_tokens(seed):
    logits, labels, weights = draw(3, 5, seed=seed), draw(3, 5, seed=seed + 1) > 0, draw(3, 5) > 0
    torch.testing.assert_close(
        token_reward_loss(logits, labels, weights),
        functional.binary_cross_entropy_with_logits(logits[weights], labels[weights].double()),
        rtol=2e-6,
        atol=0,
    )


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_zero_logits_give_log_two(dtype):
    labels = torch.tensor([[1, 0], [0, 1]]).to(dtype)
    loss = token_reward_loss(torch.zeros(2, 2), labels, torch.tensor([[1, 1], [1, 0]]))
    assert loss.item() == pytest.approx(math.log(2), rel=1e-6)


def test_a_weight_counts_that_often():
    logits, labels = torch.tensor([[0.3, -1.0]]), torch.tensor([[1.0, 1.0]])
    twice = token_reward_loss(torch.tensor([[0.3, 0.3, -1.0]]), torch.ones(1, 3), torch.ones(1, 3))
    torch.testing.assert_close(token_reward_loss(logits, labels, torch.tensor([[2.0, 1.0]])), twice)


def test_soft_label_is_the_mean_over_hard_ones():
    logits, weights = draw(2, 3), torch.ones(2, 3)
    right, wrong = (token_reward_loss(logits, torch.full((2, 3), y), weights) for y in (1.0, 0.0))
    soft = token_reward_loss(logits, torch.full((2, 3), 0.25), weights)
    torch.testing.assert_close(soft, 0.25 * right + 0.75 * wrong)


def test_tokens_without_weight_have_no_part():
    logits = torch.tensor([[0.5, torch.nan, torch.inf]], requires_grad=True)
    labels = torch.tensor([[1.0, torch.nan, 2.0]])
    loss = token_reward_loss(logits, labels, torch.tensor([[1.0, 0.0, 0.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log1p(math.exp(-0.5)), rel=1e-5)
    assert logits.grad[0, 1:].tolist() == [0.0, 0.0]


def test_a_batch_without_label_has_loss_and_gradient_zero():
    logits = draw(2, 3).requires_grad_()
    loss = token_reward_loss(logits, torch.ones(2, 3), torch.zeros(2, 3))
    loss.backward()
    assert loss.item() == 0.0
    assert not logits.grad.any()


def test_extreme_logits_cost_their_size():
    logits, weights = torch.tensor([[1e4, -1e4]]), torch.ones(1, 2)
    assert token_reward_loss(logits, torch.tensor([[1, 0]]), weights).item() == 0.0
    wrong = token_reward_loss(logits, torch.tensor([[0, 1]]), weights, reduction="none")
    assert wrong.tolist() == [[1e4, 1e4]]


@pytest.mark.parametrize("name", ["labels", "weights"])
def test_shapes_must_agree(name):
    given = {"logits": torch.zeros(2, 3), "labels": torch.zeros(2, 3), "weights": torch.ones(2, 3)}
    with pytest.raises(InputError, match=f"{name}: expected the shape of logits"):
        token_reward_loss(**{**given, name: torch.zeros(2, 1)})
    with pytest.raises(InputError, match=r"logits: expected shape \[B, T\]"):
        token_reward_loss(torch.zeros(3), torch.zeros(3), torch.zeros(3))
