import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.targets.advantages import generalized_advantages, whiten


def draw(seed, rows=3, tokens=7):
    """Rewards, values, and responses of any length after prompts of any length."""
    generator = torch.Generator().manual_seed(seed)
    rewards, values = torch.randn(2, rows, tokens, dtype=torch.float64, generator=generator)
    start, end = torch.randint(tokens + 1, (2, rows, 1), generator=generator).sort(0).values
    places = torch.arange(tokens)
    return rewards, values, (places >= start) & (places < end)


def written_out(rewards, values, mask, discount, smoothing):
    """Every advantage as a sum of errors to come."""
    advantages = torch.zeros_like(rewards)
    for row, there in enumerate(mask):
        places = there.nonzero().squeeze(1).tolist()
        for t in places:
            for later in range(t, places[-1] + 1):
                ahead = values[row, later + 1] if later < places[-1] else 0.0
                error = rewards[row, later] + discount * ahead - values[row, later]
                advantages[row, t] += (discount * smoothing) ** (later - t) * error
    return advantages


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), discount=st.floats(0, 1), smoothing=st.floats(0, 1))
def test_equals_the_sum_written_out(seed, discount, smoothing):
    rewards, values, mask = draw(seed)
    advantages, returns = generalized_advantages(
        rewards, values, mask, discount=discount, smoothing=smoothing
    )
    expected = written_out(rewards, values, mask, discount, smoothing)
    torch.testing.assert_close(advantages, expected)
    torch.testing.assert_close(returns, (expected + values).masked_fill(~mask, 0))


def test_without_discount_and_with_full_smoothing_it_is_return_less_value():
    rewards, values, mask = draw(5)
    advantages, returns = generalized_advantages(rewards, values, mask)
    to_go = (rewards * mask).flip(1).cumsum(1).flip(1).masked_fill(~mask, 0)
    torch.testing.assert_close(returns, to_go)
    torch.testing.assert_close(advantages, (to_go - values).masked_fill(~mask, 0))


def test_without_smoothing_it_is_the_error_of_one_step():
    rewards, values = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[4.0, 5.0, 6.0]])
    advantages, _ = generalized_advantages(
        rewards, values, torch.ones(1, 3), discount=0.5, smoothing=0.0
    )
    assert advantages.tolist() == [[1 + 2.5 - 4, 2 + 3.0 - 5, 3 - 6.0]]


def test_what_stands_outside_the_response_has_no_part():
    rewards, values, mask = draw(2)
    expected = generalized_advantages(rewards, values, mask)
    spoiled = (x.masked_fill(~mask, torch.nan) for x in (rewards, values))
    for got, want in zip(generalized_advantages(*spoiled, mask), expected, strict=True):
        assert torch.equal(got, want)


def test_no_response_no_advantage():
    rewards, values, mask = draw(0)
    for got in generalized_advantages(rewards, values, torch.zeros_like(mask)):
        assert not got.any()
    for got in generalized_advantages(rewards[:, :0], values[:, :0], mask[:, :0]):
        assert got.shape == (3, 0)


def test_targets_carry_no_gradient_and_no_half_precision():
    rewards = torch.ones(1, 2, dtype=torch.bfloat16)
    values = torch.ones(1, 2, dtype=torch.bfloat16, requires_grad=True)
    for got in generalized_advantages(rewards, values, torch.ones(1, 2)):
        assert got.dtype == torch.float32
        assert not got.requires_grad


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
@pytest.mark.parametrize("shift_mean", [True, False])
def test_whitened_tokens_have_the_moments(seed, shift_mean):
    values, _, mask = draw(seed)
    mask[0, :2] = True
    whitened = whiten(values, mask, shift_mean=shift_mean)
    mean = 0.0 if shift_mean else values[mask].mean().item()
    assert whitened[mask].std(correction=0).item() == pytest.approx(1, abs=1e-5)
    assert whitened[mask].mean().item() == pytest.approx(mean, abs=1e-6)
    assert not whitened[~mask].any()


def test_whitening_degenerate_values():
    mask = torch.tensor([[True, True, False]])
    equal = torch.tensor([[2.0, 2.0, torch.nan]])
    assert whiten(equal, mask).tolist() == [[0.0, 0.0, 0.0]]
    assert whiten(equal, mask, shift_mean=False).tolist() == [[2.0, 2.0, 0.0]]
    assert not whiten(equal, torch.zeros_like(mask)).any()
    huge = whiten(torch.tensor([[1e4, -1e4, 0.0]]), mask)
    torch.testing.assert_close(huge, torch.tensor([[1.0, -1.0, 0.0]]))


def test_errors():
    values = torch.zeros(2, 3)
    for name in ("values", "mask"):
        given_ = {"rewards": values, "values": values, "mask": values, name: values[:1]}
        with pytest.raises(InputError, match=f"{name}: expected the shape of rewards"):
            generalized_advantages(**given_)
    for name in ("discount", "smoothing"):
        with pytest.raises(InputError, match=f"{name}: expected a number in"):
            generalized_advantages(values, values, values, **{name: 1.1})
    with pytest.raises(InputError, match="mask: expected the shape of values"):
        whiten(values, values[:1])
