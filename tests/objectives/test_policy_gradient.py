import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.objectives.policy_gradient import clipped_value, kl_penalty, ppo_clip


def draw(seed, rows=3, tokens=5):
    generator = torch.Generator().manual_seed(seed)
    old, change, advantages = torch.randn(3, rows, tokens, dtype=torch.float64, generator=generator)
    mask = torch.rand(rows, tokens, generator=generator) > 0.3
    mask[0, 0] = True
    return old - 3, old - 3 + change, advantages, mask


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), clip=st.floats(0.01, 0.9))
def test_policy_loss_equals_a_loop(seed, clip):
    old, new, advantages, mask = draw(seed)
    losses = []
    for row, token in mask.nonzero().tolist():
        ratio = math.exp(new[row, token] - old[row, token])
        advantage = advantages[row, token].item()
        held = min(max(ratio, 1 - clip), 1 + clip)
        losses.append(max(-advantage * ratio, -advantage * held))
    loss = ppo_clip(new, old, advantages, mask, clip=clip)
    assert loss.item() == pytest.approx(sum(losses) / len(losses))


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), clip=st.floats(0.01, 2))
def test_value_loss_equals_a_loop(seed, clip):
    old, new, returns, mask = draw(seed)
    losses = []
    for row, token in mask.nonzero().tolist():
        before, value, target = (x[row, token].item() for x in (old, new, returns))
        held = min(max(value, before - clip), before + clip)
        losses.append(max((value - target) ** 2, (held - target) ** 2) / 2)
    loss = clipped_value(new, old, returns, mask, clip=clip)
    assert loss.item() == pytest.approx(sum(losses) / len(losses))


def test_at_equal_policies_it_is_the_policy_gradient():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    actions = torch.randint(4, (3, 5, 1), generator=generator)
    _, _, advantages, mask = draw(1)
    logs = logits.log_softmax(2).gather(2, actions).squeeze(2)
    loss = ppo_clip(logs, logs.detach(), advantages, mask)
    reinforce = -(advantages * logs)[mask].mean()
    torch.testing.assert_close(
        *(torch.autograd.grad(x, logits, retain_graph=True)[0] for x in (loss, reinforce))
    )
    torch.testing.assert_close(loss, -advantages[mask].mean())


@pytest.mark.parametrize(
    ("ratio", "advantage", "slope"),
    [(1.3, 1.0, 0.0), (0.7, -1.0, 0.0), (1.3, -1.0, 1.3), (0.7, 1.0, -0.7), (1.1, 1.0, -1.1)],
)
def test_gradient_stops_only_where_the_wanted_direction_left_the_clip(ratio, advantage, slope):
    logs = torch.tensor([[math.log(ratio)]], requires_grad=True)
    ppo_clip(logs, torch.zeros(1, 1), torch.tensor([[advantage]]), torch.ones(1, 1)).backward()
    assert logs.grad.item() == pytest.approx(slope)


@pytest.mark.parametrize("function", [ppo_clip, clipped_value])
def test_what_stands_outside_the_response_has_no_part(function):
    old, new, third, mask = draw(3)
    spoiled = [x.masked_fill(~mask, torch.nan) for x in (new, old, third)]
    spoiled[0].requires_grad_()
    loss = function(*spoiled, mask)
    loss.backward()
    torch.testing.assert_close(loss, function(new, old, third, mask))
    assert torch.isfinite(spoiled[0].grad).all()
    assert not spoiled[0].grad[~mask].any()


@pytest.mark.parametrize("function", [ppo_clip, clipped_value])
def test_no_response_no_loss(function):
    old, new, third, mask = draw(3)
    new.requires_grad_()
    loss = function(new, old, third, torch.zeros_like(mask))
    loss.backward()
    assert loss.item() == 0.0
    assert not new.grad.any()


@pytest.mark.parametrize("function", [ppo_clip, clipped_value])
def test_gradient_flows_into_the_output_only(function):
    old, new, third, mask = draw(4)
    for value in (old, new, third):
        value.requires_grad_()
    function(new, old, third, mask).backward()
    assert new.grad is not None
    assert old.grad is None
    assert third.grad is None


@pytest.mark.parametrize("change", [1e4, -1e4])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_policies_far_apart_stay_finite(change, advantage, dtype):
    logs = torch.full((1, 1), min(change, 0.0), dtype=dtype, requires_grad=True)
    old = torch.full((1, 1), min(-change, 0.0), dtype=dtype)
    loss = ppo_clip(logs, old, torch.full((1, 1), advantage, dtype=dtype), torch.ones(1, 1))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logs.grad).all()


def test_divergence_by_hand():
    policy = torch.tensor([0.5, 0.25], dtype=torch.float64)
    d = policy.log() - policy.flip(0).log()
    for kind, expected in {
        "k1": [math.log(2), -math.log(2)],
        "k2": [math.log(2) ** 2 / 2] * 2,
        "k3": [0.5 - 1 + math.log(2), 2 - 1 - math.log(2)],
        "k1-clamped": [math.log(2), 0.0],
    }.items():
        assert kl_penalty(policy.log(), policy.flip(0).log(), kind).tolist() == pytest.approx(
            expected
        )
    assert torch.equal(kl_penalty(policy.log(), policy.flip(0).log()), d)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_means_and_mean_gradients_under_the_policy_are_as_told(seed):
    generator = torch.Generator().manual_seed(seed)
    logits, other = torch.randn(2, 6, dtype=torch.float64, generator=generator)
    logs, reference = logits.requires_grad_().log_softmax(0), other.log_softmax(0)
    weights = logs.exp().detach()

    def mean(kind):
        return (weights * kl_penalty(logs, reference, kind)).sum()

    def gradient(value):
        return torch.autograd.grad(value, logits, retain_graph=True)[0]

    forward = (logs.exp() * (logs - reference)).sum()
    reverse = (reference.exp() * (reference - logs)).sum()
    torch.testing.assert_close(mean("k1"), forward)
    torch.testing.assert_close(mean("k3"), forward)
    assert mean("k1-clamped") >= forward
    assert (kl_penalty(logs, reference, "k3") >= 0).all()
    torch.testing.assert_close(gradient(mean("k1")), torch.zeros_like(logits))
    torch.testing.assert_close(gradient(mean("k2")), gradient(forward))
    torch.testing.assert_close(gradient(mean("k3")), gradient(reverse))


@pytest.mark.parametrize("kind", ["k1", "k2", "k3", "k1-clamped"])
def test_divergence_is_zero_at_the_reference_and_finite_far_from_it(kind):
    logs = torch.tensor([[-1e4, 0.0, -2.0]], requires_grad=True)
    penalty = kl_penalty(logs, torch.tensor([[0.0, -1e4, -2.0]]), kind)
    penalty.sum().backward()
    assert penalty[0, 2] == 0.0
    assert torch.isfinite(penalty).all()
    assert torch.isfinite(logs.grad).all()
    half = kl_penalty(logs.detach().bfloat16(), torch.zeros(1, 3, dtype=torch.bfloat16), kind)
    assert half.dtype == torch.float32


@pytest.mark.parametrize("kind", ["k1", "k2", "k3", "k1-clamped"])
def test_gradient_of_the_divergence_equals_finite_differences(kind):
    old, new, _, _ = draw(0)
    assert torch.autograd.gradcheck(lambda x: kl_penalty(x, old, kind), [new.requires_grad_()])


def test_errors():
    values, mask = torch.zeros(2, 3), torch.ones(2, 3)
    with pytest.raises(InputError, match="advantages: expected the shape of log_probabilities"):
        ppo_clip(values, values, values[:, :1], mask)
    with pytest.raises(InputError, match=r"clip: expected a number in \(0, 1\)"):
        ppo_clip(values, values, values, mask, clip=1.0)
    with pytest.raises(InputError, match=r"values: expected shape \[B, T\]"):
        clipped_value(values[0], values, values, mask)
    with pytest.raises(InputError, match="mask: expected the shape of values"):
        clipped_value(values, values, values, mask[:1])
    with pytest.raises(InputError, match="clip"):
        clipped_value(values, values, values, mask, clip=0.0)
    with pytest.raises(InputError, match="kind: expected one of k1, k2, k3, k1-clamped"):
        kl_penalty(values, values, "k4")
    with pytest.raises(InputError, match="reference_log_probabilities: expected the shape"):
        kl_penalty(values, values[0])
