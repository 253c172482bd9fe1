import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.networks.representation_vae import RepresentationVAE


def test_layers_are_those_of_the_authors_code():
    vae = RepresentationVAE(256, latent=8)
    shapes = [tuple(p.shape) for name, p in vae.named_parameters() if name.endswith("weight")]
    assert shapes == [(128, 256), (32, 128), (8, 32), (8, 32), (32, 8), (128, 32), (256, 128)]


def test_evaluation_repeats_itself_and_training_draws_noise_around_the_mean():
    torch.manual_seed(0)
    vae, e = RepresentationVAE(6, latent=2, hidden=(5,), out_activation=None), torch.randn(3, 6)
    quiet = vae.eval()(e)
    assert torch.equal(quiet.rebuilt, vae(e).rebuilt)
    torch.testing.assert_close(quiet.rebuilt, vae.decoder(quiet.mean))
    vae.train()
    first, second = vae(e), vae(e)
    assert not torch.equal(first.rebuilt, second.rebuilt)
    assert torch.equal(first.mean, second.mean)
    with torch.no_grad():
        vae.log_variance.weight.zero_()
        vae.log_variance.bias.fill_(-100.0)
    torch.testing.assert_close(vae(e).rebuilt, quiet.rebuilt)


def test_noise_has_the_deviation_of_the_log_variance():
    torch.manual_seed(0)
    vae = RepresentationVAE(2, latent=2, hidden=(), out_activation=None)
    vae.decoder[0] = torch.nn.Identity()
    with torch.no_grad():
        vae.log_variance.weight.zero_()
        vae.log_variance.bias.copy_(torch.tensor([4.0, 0.25]).log())
    made = vae(torch.zeros(20_000, 2))
    latent = made.rebuilt - made.mean
    torch.testing.assert_close(latent.std(0), torch.tensor([2.0, 0.5]), rtol=0.03, atol=0)


def test_a_sigmoid_keeps_reconstructions_between_0_and_1_and_none_does_not():
    torch.manual_seed(0)
    e = 1e3 * torch.randn(50, 4)
    bounded = RepresentationVAE(4, latent=3).eval()(e).rebuilt
    assert bounded.min() >= 0
    assert bounded.max() <= 1
    free = RepresentationVAE(4, latent=3, out_activation=None).eval()(e).rebuilt
    assert free.min() < 0


@pytest.mark.parametrize(
    "options", [{"latent": 0}, {"hidden": (3, 0)}, {"out_activation": "tanh"}, {"dim": 0}]
)
def test_bad_settings(options):
    with pytest.raises(InputError, match=next(iter(options))):
        RepresentationVAE(**{"dim": 4, **options})


@pytest.mark.parametrize("shape", [(3, 5), (4,), (2, 3, 4)])
def test_another_shape_is_refused(shape):
    with pytest.raises(InputError, match=r"representations: expected shape \[B, 4\]"):
        RepresentationVAE(4)(torch.zeros(shape))
