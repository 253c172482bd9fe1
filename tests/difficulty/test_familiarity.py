import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.difficulty.familiarity import vae_reconstruction_score
from gradatim.networks.representation_vae import RepresentationVAE


class Projection(torch.nn.Module):
    """Rebuilds by projecting onto a direction: a linear autoencoder."""

    def __init__(self, direction):
        super().__init__()
        self.register_buffer("direction", direction / direction.norm())

    def forward(self, features):
        return (features @ self.direction)[:, None] * self.direction


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100))
def test_error_of_a_projection_follows_pythagoras(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    features = scale * torch.randn(6, 4, dtype=torch.float64, generator=generator)
    vae = Projection(torch.randn(4, dtype=torch.float64, generator=generator))
    along = features @ vae.direction
    torch.testing.assert_close(
        vae_reconstruction_score(vae, features), features.square().sum(1) - along.square()
    )


def test_unlike_examples_are_harder_than_like_ones():
    torch.manual_seed(0)
    low_rank = torch.randn(400, 2) @ torch.randn(2, 8)
    vae = RepresentationVAE(8, latent=2, hidden=(16,), out_activation=None)
    optimizer = torch.optim.Adam(vae.parameters(), 1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        (vae(low_rank[:300])[0] - low_rank[:300]).square().sum(1).mean().backward()
        optimizer.step()
    like = vae_reconstruction_score(vae, low_rank[300:])
    unlike = vae_reconstruction_score(vae, torch.randn(100, 8) * low_rank.std())
    assert unlike.median() > 3 * like.median()


def test_it_repeats_itself_leaves_modes_alone_and_keeps_no_gradient():
    vae = RepresentationVAE(4, latent=2)
    vae.encoder.eval()
    features = torch.randn(3, 4, requires_grad=True)
    first = vae_reconstruction_score(vae, features)
    assert torch.equal(first, vae_reconstruction_score(vae, features))
    assert not first.requires_grad
    assert vae.training
    assert not vae.encoder.training
    assert vae.decoder.training


def test_bad_shape():
    with pytest.raises(InputError, match=r"features: expected shape \[n, D\]"):
        vae_reconstruction_score(torch.nn.Identity(), torch.zeros(3))
