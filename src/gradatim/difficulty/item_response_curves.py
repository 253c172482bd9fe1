"""Item response curves from one to four parameters, with their gradients and information."""

import math
from typing import TypeAlias

import torch
from torch.nn.functional import logsigmoid

MODELS: dict[str, tuple[int, ...]] = {
    "1pl": (0,),
    "1pl-guessing": (0, 2),
    "2pl": (0, 1),
    "3pl": (0, 1, 2),
    "4pl": (0, 1, 2, 3),
}
"""Which columns of an item's parameters each model fits; the others stay as in ``FIXED``."""

FIXED = (0.0, 0.0, -math.inf, math.inf)
"""Difficulty 0, discrimination 1, no guessing, all feasible."""

LOWEST = (-10.0, math.log(0.02), -12.0, math.log(3.0))
HIGHEST = (10.0, math.log(25.0), math.log(2.0), 12.0)
"""Where an estimate without a prior ends; guessing stays below 2/3, feasibility above 3/4."""

Curves: TypeAlias = tuple[torch.Tensor, torch.Tensor]


def log_curves(parameters: torch.Tensor, ability: torch.Tensor) -> Curves:
    r"""Log-probability of a right and of a wrong response.

    .. math:: P = c + (d - c) \, \sigma\bigl(a (\theta - b)\bigr)

    Computed as the mixture :math:`P = c\,(1 - \sigma) + d\,\sigma`, so that neither logarithm
    cancels, and c = 0 and d = 1 need no case of their own.

    Args:
        parameters: b, log a, logit c and logit d along the last dimension, shape [..., 4].
        ability: theta, broadcast against the other dimensions.

    Returns:
        log P and log (1 - P), in the broadcast shape.

    Source: Birnbaum 1968; Barton and Lord 1981 (four parameters); as in Ding et al. 2024,
    arXiv 2409.18433.

    >>> item = torch.tensor([0.5, 0.0, math.log(0.25), math.inf])
    >>> round(log_curves(item, torch.tensor(0.5))[0].exp().item(), 3)  # (1 + c) / 2 at c = 0.2
    0.6
    """
    b, log_a, guess, feasible = parameters.unbind(-1)
    z = log_a.exp() * (ability - b)
    up, down = logsigmoid(z), logsigmoid(-z)
    right = torch.logaddexp(logsigmoid(guess) + down, logsigmoid(feasible) + up)
    wrong = torch.logaddexp(logsigmoid(-guess) + down, logsigmoid(-feasible) + up)
    return right, wrong


def log_gradients(
    parameters: torch.Tensor, ability: torch.Tensor, free: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Gradient of both log-probabilities by the free parameters.

    With :math:`P' = \partial P / \partial u` they are :math:`P'/P` and :math:`-P'/(1-P)`; the
    expected information of one response is minus their outer product.

    Args:
        parameters: as for :func:`log_curves`, shape [..., 4].
        ability: theta, broadcast against the other dimensions.
        free: columns that are differentiated.

    Returns:
        Gradients of log P and log (1 - P), shape [..., len(free)].
    """
    b, log_a, guess, feasible = parameters.unbind(-1)
    a, c, d = log_a.exp(), guess.sigmoid(), feasible.sigmoid()
    z = a * (ability - b)
    up, down = logsigmoid(z), logsigmoid(-z)

    def ratios(log_p: torch.Tensor) -> torch.Tensor:
        slope = (d - c) * (up + down - log_p).exp()
        columns = (
            lambda: -a * slope,
            lambda: z * slope,
            lambda: c * (1 - c) * (down - log_p).exp(),
            lambda: d * (1 - d) * (up - log_p).exp(),
        )
        return torch.stack([columns[column]() for column in free], -1)

    right, wrong = log_curves(parameters, ability)
    return ratios(right), -ratios(wrong)


def ability_information(parameters: torch.Tensor, ability: torch.Tensor) -> torch.Tensor:
    r"""What one response tells about ability: its Fisher information.

    .. math:: I(\theta) = \frac{(\partial P / \partial \theta)^2}{P (1 - P)}, \qquad
        \text{for two parameters: } a^2 P (1 - P)

    Args:
        parameters: as for :func:`log_curves`, shape [..., 4].
        ability: theta, broadcast against the other dimensions.

    Returns:
        Information in the broadcast shape.

    Source: Lord 1980, Applications of item response theory, chapter 5.

    >>> item = torch.tensor([0.0, math.log(2.0), -math.inf, math.inf])
    >>> ability_information(item, torch.tensor(0.0)).item()  # a^2 / 4
    1.0
    """
    right, wrong = log_gradients(parameters, ability, (0,))
    return -(right * wrong)[..., 0]
