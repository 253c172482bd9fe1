"""How unfamiliar an example is to an autoencoder of representations."""

import torch

from gradatim.core.checks import check_shape


@torch.no_grad()
def vae_reconstruction_score(vae: torch.nn.Module, features: torch.Tensor) -> torch.Tensor:
    r"""Squared error with which an autoencoder rebuilds each example's features.

    .. math:: m_i = \lVert h(e_i) - e_i \rVert^2

    It needs no label: what resembles the data of the autoencoder is easy. The autoencoder is run
    in evaluation mode, in which it draws no noise, and left in the mode that it was in.

    Args:
        vae: :class:`~gradatim.networks.representation_vae.RepresentationVAE`, or any module whose
            output is the reconstruction or has it first.
        features: e, on the autoencoder's device, shape [n, D].

    Returns:
        Difficulty of each example, at least 0, higher for less familiar ones, shape [n].

    Raises:
        InputError: the features have another shape.

    Source: Shen et al. 2024, arXiv 2404.00506, section 3 (the error inside the loss).

    >>> vae_reconstruction_score(torch.nn.Identity(), torch.ones(2, 3))
    tensor([0., 0.])
    """
    check_shape("features", features, "n", "D")
    training = [module for module in vae.modules() if module.training]
    vae.eval()
    made = vae(features)
    for module in training:
        module.training = True
    rebuilt = made if isinstance(made, torch.Tensor) else made[0]
    return (rebuilt - features).square().sum(1)
