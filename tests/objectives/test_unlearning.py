"""Losses of unlearning against closed forms, other libraries' definitions, and one another."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical, kl_divergence

from gradatim.core.errors import InputError
from gradatim.difficulty.remaining_memory import npo_weight
from gradatim.objectives.preference import dpo
from gradatim.objectives.unlearning import (
    dpo_to_refusal,
    gradient_ascent,
    kto_forget,
    npo,
    retain_kl,
)

logs = st.lists(
    st.tuples(st.floats(-300, 0), st.floats(-300, 0), st.integers(1, 200)), min_size=1, max_size=6
)
betas = st.floats(1e-3, 20)


def columns(rows):
    logp, reference, lengths = (
        torch.tensor(c, dtype=torch.float64) for c in zip(*rows, strict=True)
    )
    return logp.requires_grad_(), reference, lengths


@pytest.mark.parametrize(
    ("logp", "loss", "weight"),
    [(-3.0, 4 * math.log(2), 1.0), (-5.0, 1.253047, 0.537883), (-1.0, 5.253047, 1.462117)],
)
def test_hand_values(logp, loss, weight):
    pair = torch.tensor([logp]), torch.tensor([-3.0])
    assert npo(*pair, beta=0.5).item() == pytest.approx(loss, abs=1e-6)
    assert npo_weight(*pair, beta=0.5).item() == pytest.approx(weight, abs=1e-6)


@settings(deadline=None)
@given(rows=logs, beta=betas, per_token=st.booleans())
def test_the_gradient_is_the_weight(rows, beta, per_token):
    logp, reference, lengths = columns(rows)
    divided = lengths if per_token else None
    loss = npo(logp, reference, beta=beta, lengths=divided, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, logp)
    weight = npo_weight(logp, reference, beta=beta, lengths=divided)
    assert ((weight >= 0) & (weight <= 2)).all() and not weight.requires_grad
    torch.testing.assert_close(gradient, weight / lengths if per_token else weight)


@settings(deadline=None)
@given(rows=logs, beta=betas)
def test_npo_is_dpo_whose_chosen_response_stands_still(rows, beta):
    logp, reference, _ = columns(rows)
    still = torch.zeros_like(reference)
    expected = dpo(still, logp, still, reference, beta=beta, reduction="none") * 2 / beta
    torch.testing.assert_close(npo(logp, reference, beta=beta, reduction="none"), expected)
    refused = dpo_to_refusal(still, logp, still, reference, beta=beta, reduction="none")
    torch.testing.assert_close(refused, expected)
    torch.testing.assert_close(
        kto_forget(logp, reference, kl=0.0, beta=beta, reduction="none"), expected
    )


def test_npo_goes_to_gradient_ascent():
    logp, reference = torch.tensor([-9.0, -1.0]).double(), torch.tensor([-4.0, -4.0]).double()
    beta = 1e-4
    less = npo(logp, reference, beta=beta, reduction="none") - 2 / beta * math.log(2)
    torch.testing.assert_close(less, logp - reference, atol=1e-3, rtol=0)
    ascent = gradient_ascent(logp) - reference.mean()
    torch.testing.assert_close(less.mean(), ascent, atol=1e-3, rtol=0)


def test_npo_is_bounded_and_ascent_is_not():
    far = torch.tensor([-1e6])
    assert npo(far, torch.zeros(1)).item() == 0.0
    assert gradient_ascent(far).item() == -1e6


def test_lengths_divide_both_log_probabilities():
    logp, reference = torch.tensor([-8.0, -2.0]), torch.tensor([-4.0, -3.0])
    lengths = torch.tensor([4, 1])
    expected = npo(logp / lengths, reference / lengths, reduction="none")
    torch.testing.assert_close(npo(logp, reference, lengths=lengths, reduction="none"), expected)


def test_ascent_is_minus_cross_entropy_of_all_tokens():
    logits = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(7, (3, 5), generator=torch.Generator().manual_seed(1))
    labels[0, 2:], labels[2, :4] = -100, -100
    expected = -torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    mask = labels >= 0
    logp = logits.log_softmax(2).gather(2, labels.clamp(min=0)[..., None])[..., 0]
    torch.testing.assert_close(gradient_ascent(logp, mask=mask), expected)


def test_kto_moves_by_k_unscaled():
    logp, reference = torch.tensor([-4.0, -6.0]), torch.tensor([-3.0, -5.5])
    expected = -(2 / 0.5) * (0.3 - 0.5 * (logp - reference)).sigmoid().log()
    for kl in (0.3, torch.tensor(0.3), torch.full((2,), 0.3)):
        got = kto_forget(logp, reference, kl=kl, beta=0.5, reduction="none")
        torch.testing.assert_close(got, expected)
    moved = torch.tensor(0.3, requires_grad=True)
    logp.requires_grad_()
    kto_forget(logp, reference, kl=moved).backward()
    assert moved.grad is None


@settings(deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(0, 30))
def test_divergence_is_that_of_torch_distributions(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    logits, before = scale * torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    mask = torch.rand(3, 4, generator=generator) > 0.4
    expected = kl_divergence(Categorical(logits=before), Categorical(logits=logits))
    got = retain_kl(logits, before, mask, reduction="none")
    torch.testing.assert_close(got, expected * mask, atol=1e-9, rtol=1e-7)
    assert (got >= -1e-12).all()
    torch.testing.assert_close(retain_kl(logits, before), expected.mean(), atol=1e-9, rtol=1e-7)


def test_tokens_that_do_not_count_may_hold_anything():
    logits = torch.zeros(1, 2, 3)
    logits[0, 1] = torch.nan
    logits.requires_grad_()
    loss = retain_kl(logits, torch.zeros(1, 2, 3), torch.tensor([[1, 0]]))
    loss.backward()
    assert loss.item() == 0.0 and logits.grad.isfinite().all()
    assert retain_kl(logits, logits.detach(), torch.zeros(1, 2)).item() == 0.0


def test_no_gradient_flows_into_the_reference():
    reference = torch.tensor([-1.0], requires_grad=True)
    before = torch.zeros(1, 1, 2, requires_grad=True)
    logp = torch.tensor([-2.0], requires_grad=True)
    logits = torch.ones(1, 1, 2, requires_grad=True)
    (npo(logp, reference) + retain_kl(logits, before)).backward()
    assert reference.grad is None and before.grad is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: npo(torch.zeros(2), torch.zeros(3)), r"reference_logp: expected the shape of"),
        (lambda: npo(torch.zeros(2, 1), torch.zeros(2, 1)), "logp: expected"),
        (lambda: npo(torch.zeros(2), torch.zeros(2), beta=0.0), "beta: expected"),
        (
            lambda: npo(torch.zeros(2), torch.zeros(2), lengths=torch.ones(1)),
            "lengths: expected the shape",
        ),
        (lambda: npo_weight(torch.zeros(2), torch.zeros(1)), "reference_logp: expected"),
        (lambda: npo_weight(torch.zeros(2), torch.zeros(2), beta=-1), "beta: expected"),
        (lambda: gradient_ascent(torch.zeros(2, 3)), "logp: expected"),
        (lambda: gradient_ascent(torch.zeros(2), mask=torch.ones(2)), "logp: expected"),
        (
            lambda: kto_forget(torch.zeros(2), torch.zeros(2), kl=torch.zeros(3)),
            "kl: expected the shape",
        ),
        (lambda: retain_kl(torch.zeros(1, 2, 3), torch.zeros(1, 2, 4)), "reference_logits: exp"),
        (
            lambda: retain_kl(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), torch.ones(1, 3)),
            r"mask: expected the shape \[1, 2\] of tokens, got \[1, 3\]",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
