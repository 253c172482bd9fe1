"""A small variational autoencoder of representations."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from gradatim.core.checks import check_choice, check_range, check_shape


class Reconstruction(NamedTuple):
    """What the autoencoder makes of representations.

    Attributes:
        rebuilt: the reconstruction, shape [B, D].
        mean: of the latent variable given each representation, shape [B, K].
        log_variance: of the same, shape [B, K].
    """

    rebuilt: torch.Tensor
    mean: torch.Tensor
    log_variance: torch.Tensor


class RepresentationVAE(nn.Module):
    r"""A variational autoencoder of representations, D numbers an example.

    .. math:: (\mu, \log \sigma^2) = \mathrm{encoder}(e), \quad z = \mu + \sigma \epsilon, \quad
        h(e) = a(\mathrm{decoder}(z)), \qquad \epsilon \sim N(0, I)

    Noise is drawn in training mode; in evaluation mode z is the mean, so that reconstructions
    repeat themselves. The decoder mirrors the encoder, with ReLU inside. A sigmoid as output a
    can only rebuild representations between 0 and 1; for others take ``None``.

    Args:
        dim: D.
        latent: K, dimensions of z.
        hidden: widths of the encoder's hidden layers.
        out_activation: a, "sigmoid" as in the authors' code, or None for none.

    Raises:
        InputError: a width below 1, or another activation.

    Source: Shen et al. 2024, arXiv 2404.00506, section 3, with the layers of the authors' code.

    >>> vae = RepresentationVAE(256).eval()
    >>> made = vae(torch.zeros(4, 256))
    >>> made.rebuilt.shape, made.mean.shape
    (torch.Size([4, 256]), torch.Size([4, 8]))
    """

    def __init__(
        self,
        dim: int,
        latent: int = 8,
        hidden: Sequence[int] = (128, 32),
        out_activation: str | None = "sigmoid",
    ) -> None:
        super().__init__()
        for name, width in (("dim", dim), ("latent", latent), *(("hidden", h) for h in hidden)):
            check_range(name, width, 1)
        if out_activation is not None:
            check_choice("out_activation", out_activation, ("sigmoid",))
        self.dim, self.latent = dim, latent
        widths = [dim, *hidden]
        self.encoder = nn.Sequential(*_layers(widths))
        self.mean = nn.Linear(widths[-1], latent)
        self.log_variance = nn.Linear(widths[-1], latent)
        inner = _layers([latent, *reversed(widths[1:])])
        last: list[nn.Module] = [nn.Linear(widths[1] if hidden else latent, dim)]
        last += [nn.Sigmoid()] if out_activation == "sigmoid" else []
        self.decoder = nn.Sequential(*inner, *last)

    def forward(self, representations: torch.Tensor) -> Reconstruction:
        """Rebuild representations.

        Args:
            representations: e, shape [B, D].

        Raises:
            InputError: another shape.
        """
        check_shape("representations", representations, "B", self.dim)
        hidden = self.encoder(representations)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        latent = mean
        if self.training:
            latent = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        return Reconstruction(self.decoder(latent), mean, log_variance)


def _layers(widths: Sequence[int]) -> list[nn.Module]:
    """Linear layers from width to width, each with a ReLU behind it."""
    layers: list[nn.Module] = []
    for width, following in itertools.pairwise(widths):
        layers += [nn.Linear(width, following), nn.ReLU()]
    return layers
