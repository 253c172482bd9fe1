"""Mixup: training on straight lines between pairs of examples."""

from typing import NamedTuple

import numpy as np
import torch

from gradatim.core.checks import check_range, check_same_length
from gradatim.core.errors import InputError


class Mixed(NamedTuple):
    """A batch after mixup.

    Attributes:
        inputs: mixed inputs, shape of the inputs.
        targets: mixed targets, in the order they were given.
        coefficient: weight of the example itself; its partner has one minus that.
        partner: position in the batch of each example's partner, shape [B].
    """

    inputs: torch.Tensor
    targets: tuple[torch.Tensor, ...]
    coefficient: float
    partner: torch.Tensor


def mixup(
    inputs: torch.Tensor,
    *targets: torch.Tensor,
    alpha: float = 1.0,
    keep_larger: bool = True,
    generator: torch.Generator | None = None,
) -> Mixed:
    r"""Mix every example of a batch, and its targets, with a random partner of the same batch.

    .. math:: \tilde x_i = \lambda x_i + (1 - \lambda) x_{\pi(i)}, \qquad
        \lambda \sim \mathrm{Beta}(\alpha, \alpha), \quad \pi \text{ a random permutation}

    Args:
        inputs: floating point, shape [B, ...].
        targets: one-hot or soft labels, or any other floating-point targets, each of shape
            [B, ...]; all are mixed with the same coefficient and partners.
        alpha: parameter of the Beta distribution; 0 leaves everything as it is.
        keep_larger: take the larger of lambda and 1 - lambda, so that every mixture is mostly
            the example itself; which matters when something is stored by example.
        generator: CPU generator for coefficient and partners; None draws from torch's global one.

    Returns:
        Mixed inputs, mixed targets, the coefficient, and the partners.

    Raises:
        InputError: different lengths, integer inputs or targets, or a negative alpha.

    Source: Zhang et al. 2018, arXiv 1710.09412.

    >>> x, y = torch.eye(4), torch.eye(4)
    >>> mixed = mixup(x, y, generator=torch.Generator().manual_seed(0))
    >>> bool((mixed.inputs == mixed.targets[0]).all()), 0.5 <= mixed.coefficient <= 1
    (True, True)
    """
    check_range("alpha", alpha, 0)
    size = check_same_length(
        inputs=inputs, **{f"targets[{place}]": target for place, target in enumerate(targets)}
    )
    coefficient = _draw_coefficient(alpha, generator)
    coefficient = max(coefficient, 1 - coefficient) if keep_larger else coefficient
    partner = torch.randperm(size, generator=generator).to(inputs.device)
    mixed = tuple(
        interpolate(f"targets[{place}]", target, partner, coefficient)
        for place, target in enumerate(targets)
    )
    return Mixed(interpolate("inputs", inputs, partner, coefficient), mixed, coefficient, partner)


def interpolate(
    name: str, values: torch.Tensor, partner: torch.Tensor, coefficient: float
) -> torch.Tensor:
    """Mix rows with their partners' rows, with the coefficient as the weight of the row itself.

    Args:
        name: what the values are called in an error.
        values: floating point, shape [B, ...].
        partner: row of each row's partner, integers, shape [B].
        coefficient: weight of the row itself, in [0, 1].

    Returns:
        A new tensor of the same shape.

    Raises:
        InputError: the values are integers, such as class labels that are not yet one-hot.

    >>> interpolate("x", torch.tensor([0.0, 4.0]), torch.tensor([1, 0]), 0.75)
    tensor([1., 3.])
    """
    if not values.is_floating_point():
        raise InputError(
            f"{name}: expected floating-point values (one-hot for labels), got {values.dtype}"
        )
    return values.lerp(values[partner], 1 - coefficient)


def _draw_coefficient(alpha: float, generator: torch.Generator | None) -> float:
    if alpha == 0:
        return 1.0
    # torch's Beta distribution takes no generator.
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))
