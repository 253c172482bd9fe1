import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.objectives.representation_forgetting import (
    alignment_contrast,
    bounded_recon,
    extractor_unlearning_loss,
    vae_loss,
)

seeds = st.integers(0, 10_000)


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def turned(angles_of_cosine):
    """Unit vectors before, and unit vectors at the given distances from them."""
    cosine = 1 - torch.tensor(angles_of_cosine, dtype=torch.float64)
    before = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(len(cosine), 2)
    return torch.stack([cosine, (1 - cosine.square()).sqrt()], dim=1), before


@settings(deadline=None)
@given(seed=seeds, weight=st.floats(0, 10))
def test_divergence_is_that_of_torch(seed, weight):
    e, rebuilt, mean, log_variance = (draw(4, n, seed=seed + n) for n in (5, 5, 3, 3))
    rebuilt = draw(4, 5, seed=seed + 7)
    posterior = Normal(mean, (0.5 * log_variance).exp())
    divergence = kl_divergence(posterior, Normal(torch.zeros(()), torch.ones(()))).sum(1)
    expected = (rebuilt - e).square().sum(1) + weight * divergence
    torch.testing.assert_close(
        vae_loss(e, rebuilt, mean, log_variance, kl_weight=weight, reduction="none"), expected
    )


@pytest.mark.parametrize(
    ("error", "value"), [(0.0, 1.0), (1.0, 1.648721), (3.0, 2.117000), (1e12, math.e)]
)
def test_bounded_error_by_hand(error, value):
    e = torch.zeros(1, 4, dtype=torch.float64)
    rebuilt = torch.full_like(e, math.sqrt(error / 4))
    assert bounded_recon(e, rebuilt).item() == pytest.approx(value, abs=1e-6)


def test_an_infinite_error_stays_bounded():
    e = torch.zeros(1, 2)
    assert bounded_recon(e, torch.full_like(e, 1e30)).item() == pytest.approx(math.e)


@settings(deadline=None)
@given(seed=seeds, scale=st.floats(1e-3, 1e3))
def test_slope_of_the_bounded_error(seed, scale):
    e, rebuilt = draw(5, 3, seed=seed), (scale * draw(5, 3, seed=seed + 1)).requires_grad_()
    bounded_recon(e, rebuilt, reduction="sum").backward()
    error = (rebuilt - e).detach().square().sum(1, keepdim=True)
    slope = (error / (error + 1)).exp() / (error + 1).square()
    torch.testing.assert_close(rebuilt.grad, 2 * slope * (rebuilt - e).detach())


@settings(deadline=None)
@given(seed=seeds)
def test_unlearning_is_the_difference_of_bounded_errors(seed):
    kept, kept_rebuilt, lost, lost_rebuilt = (draw(4, 3, seed=seed + i) for i in range(4))
    loss = extractor_unlearning_loss(kept, kept_rebuilt, lost, lost_rebuilt, reduction="sum")
    expected = bounded_recon(kept, kept_rebuilt, reduction="sum") - bounded_recon(
        lost, lost_rebuilt, reduction="sum"
    )
    torch.testing.assert_close(loss, expected)
    assert abs(loss) < 4 * (math.e - 1)


def test_alignment_by_hand():
    remaining, forgotten = turned([0.1]), turned([0.6, 0.2])
    value = alignment_contrast(*remaining, *forgotten, tau=5.0, reduction="sum").item()
    assert value == pytest.approx(-0.673947, abs=1e-6)


@settings(deadline=None)
@given(seed=seeds, tau=st.floats(0.05, 50))
def test_alignment_is_the_published_form_with_distances_of_torch(seed, tau):
    s, s0, u, u0 = (draw(n, 5, seed=seed + i) for i, n in enumerate((4, 4, 3, 3)))
    cosine = torch.nn.CosineEmbeddingLoss(reduction="none")
    kept, lost = cosine(s, s0, torch.ones(4)), cosine(u, u0, torch.ones(3))
    expected = (kept.exp() / (lost / tau).exp().sum()).log()
    torch.testing.assert_close(
        alignment_contrast(s, s0, u, u0, tau=tau, reduction="none"), expected
    )


def test_the_original_model_is_a_stationary_point():
    s, u = draw(4, 5), draw(3, 5, seed=1)
    now = [s.clone().requires_grad_(), u.clone().requires_grad_()]
    loss = alignment_contrast(now[0], s, now[1], u, reduction="sum")
    loss.backward()
    assert loss.item() == pytest.approx(-4 * math.log(3))
    for values in now:
        assert values.grad.abs().max() < 1e-12


def test_the_pull_on_what_remains_is_that_of_the_cosine_distance_alone():
    s, s0, u, u0 = (draw(4, 5, seed=i) for i in range(4))
    s.requires_grad_()
    alignment_contrast(s, s0, u, u0, reduction="sum").backward()
    (expected,) = torch.autograd.grad((1 - functional.cosine_similarity(s, s0)).sum(), s)
    torch.testing.assert_close(s.grad, expected)


def test_a_step_down_turns_the_forgotten_away():
    s, u, u0 = draw(4, 5), draw(3, 5, seed=1), draw(3, 5, seed=2)
    u.requires_grad_()
    (gradient,) = torch.autograd.grad(alignment_contrast(s, s, u, u0), u)
    before = functional.cosine_similarity(u, u0)
    after = functional.cosine_similarity(u - 1e-3 * gradient, u0)
    assert (after < before).all()


def test_without_forgotten_examples_only_the_distance_is_left():
    s, s0, none = draw(4, 5), draw(4, 5, seed=1), torch.empty(0, 5, dtype=torch.float64)
    torch.testing.assert_close(
        alignment_contrast(s, s0, none, none), (1 - functional.cosine_similarity(s, s0)).mean()
    )


def test_gradients_equal_finite_differences():
    e, rebuilt, u, u_rebuilt = (draw(3, 4, seed=i).requires_grad_() for i in range(4))
    assert torch.autograd.gradcheck(bounded_recon, (e, rebuilt))
    assert torch.autograd.gradcheck(extractor_unlearning_loss, (e, rebuilt, u, u_rebuilt))
    assert torch.autograd.gradcheck(alignment_contrast, (e, rebuilt, u, u_rebuilt))
    assert torch.autograd.gradcheck(vae_loss, (e, rebuilt, u, u_rebuilt))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: bounded_recon(e, e[:2]), "rebuilt: expected the shape of representations"),
        (lambda e: bounded_recon(e[0], e[0]), r"representations: expected shape \[B, D\]"),
        (lambda e: vae_loss(e, e, e[:1], e[:1]), r"mean: expected shape \[3, K\]"),
        (lambda e: vae_loss(e, e, e, e[:, :1]), "log_variance: expected the shape of mean"),
        (lambda e: vae_loss(e, e, e, e, kl_weight=-1.0), "kl_weight: expected a number"),
        (lambda e: extractor_unlearning_loss(e, e, e[:1], e[:1]), "forgotten: expected the shape"),
        (lambda e: alignment_contrast(e, e, e[:, :1], e[:, :1]), r"forgotten: expected shape"),
        (lambda e: alignment_contrast(e, e, e, e, tau=0.0), r"tau: expected a number in \(0,"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call(draw(3, 4))
