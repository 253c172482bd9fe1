"""CutMix: training on images with a patch of another image."""

import math

import numpy as np
import torch

from gradatim.core.checks import check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.targets.mixup import Mixed, interpolate


def cutmix(
    images: torch.Tensor,
    *targets: torch.Tensor,
    alpha: float = 1.0,
    generator: torch.Generator | None = None,
) -> Mixed:
    r"""Paste a random patch of a random partner into every image, and mix the targets by area.

    .. math:: \tilde x_i = M \odot x_i + (1 - M) \odot x_{\pi(i)}, \qquad
        \tilde q_i = \lambda q_i + (1 - \lambda) q_{\pi(i)}, \quad \lambda = \operatorname{mean} M

    The patch has a share of :math:`1 - \mathrm{Beta}(\alpha, \alpha)` of the area before it is cut
    off at the border; the coefficient is the share of the image that stays after that.

    Args:
        images: shape [B, ..., H, W].
        targets: one-hot or soft labels, or any other floating-point targets, each of shape
            [B, ...]; all are mixed with the same coefficient and partners.
        alpha: parameter of the Beta distribution; 0 leaves everything as it is.
        generator: CPU generator for patch and partners; None draws from torch's global one.

    Returns:
        Mixed images, mixed targets, the coefficient, and the partners.

    Raises:
        InputError: images without height and width, different lengths, integer targets, or a
            negative alpha.

    Source: Yun et al. 2019, arXiv 1905.04899, section 3.1.

    >>> images, labels = torch.rand(4, 1, 8, 8), torch.eye(4)
    >>> mixed = cutmix(images, labels, generator=torch.Generator().manual_seed(0))
    >>> own = torch.isclose(mixed.inputs, images).double().mean().item()
    >>> mixed.inputs.shape, own >= mixed.coefficient
    (torch.Size([4, 1, 8, 8]), True)
    """
    check_range("alpha", alpha, 0)
    if images.ndim < 3:
        raise InputError(f"images: expected shape [B, ..., H, W], got {list(images.shape)}")
    size = check_same_length(
        images=images, **{f"targets[{place}]": target for place, target in enumerate(targets)}
    )
    partner = torch.randperm(size, generator=generator).to(images.device)
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    rows, columns = _patch(images.shape[-2], images.shape[-1], alpha, np.random.default_rng(seed))
    inputs = images.clone()
    inputs[..., rows, columns] = images[partner][..., rows, columns]
    cut = (rows.stop - rows.start) * (columns.stop - columns.start)
    coefficient = 1 - cut / (images.shape[-2] * images.shape[-1])
    mixed = tuple(
        interpolate(f"targets[{place}]", target, partner, coefficient)
        for place, target in enumerate(targets)
    )
    return Mixed(inputs, mixed, coefficient, partner)


def _patch(
    height: int, width: int, alpha: float, generator: np.random.Generator
) -> tuple[slice, slice]:
    """Rows and columns of a patch around a random place."""
    share = 1 - generator.beta(alpha, alpha) if alpha else 0.0

    def along(length: int) -> slice:
        cut, centre = round(length * math.sqrt(share)), int(generator.integers(length))
        start = centre - cut // 2
        return slice(max(0, start), min(length, start + cut))

    return along(height), along(width)
