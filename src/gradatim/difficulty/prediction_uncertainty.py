"""How unsure predictions are of an example: entropy, margins, and disagreement in an ensemble."""

import math

import torch

from gradatim.core.checks import check_shape
from gradatim.core.errors import InputError


def entropy_difficulty(probabilities: torch.Tensor) -> torch.Tensor:
    r"""Entropy of the predicted classes, as a share of the largest that is possible.

    .. math:: d_i = - \frac{1}{\log C} \sum_c p_{ic} \log p_{ic}

    The label does not enter, so it can be told before anyone has labelled the example.

    Args:
        probabilities: predicted class probabilities, shape [n, C] with C at least 2.

    Returns:
        Difficulty of each example in [0, 1], shape [n].

    Raises:
        InputError: the shape does not fit.

    Source: Shannon 1948; as a measure of difficulty: Hase et al. 2024, arXiv 2401.06751 (the
    model-based kind).

    >>> entropy_difficulty(torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
    tensor([1., 0.])
    """
    check_shape("probabilities", probabilities, "n", "C")
    entropy: torch.Tensor = torch.special.entr(probabilities).sum(1)
    return entropy / math.log(max(2, probabilities.shape[1]))


def margin_difficulty(probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    r"""How far the best other class is ahead of the label.

    .. math:: d_i = \tfrac12 \bigl( 1 + \max_{c \ne y_i} p_{ic} - p_{i y_i} \bigr)

    It is above one half exactly where the prediction is another class than the label.

    Args:
        probabilities: predicted class probabilities, shape [n, C] with C at least 2.
        labels: given class of each example, integers, shape [n].

    Returns:
        Difficulty of each example in [0, 1], shape [n].

    Raises:
        InputError: the shapes do not fit.

    Source: Northcutt et al. 2021, arXiv 1911.00068 (the normalized margin that ranks label errors).

    >>> margin_difficulty(torch.tensor([[0.75, 0.25], [0.75, 0.25]]), torch.tensor([0, 1]))
    tensor([0.2500, 0.7500])
    """
    check_shape("probabilities", probabilities, "n", "C")
    check_shape("labels", labels, len(probabilities))
    own = probabilities.gather(1, labels[:, None])
    others = probabilities.scatter(1, labels[:, None], -torch.inf).amax(1)
    return (1 + others - own.squeeze(1)) / 2


def top_two_margin(probabilities: torch.Tensor) -> torch.Tensor:
    r"""One minus the lead of the likeliest class over the second.

    .. math:: d_i = 1 - (p_{i(1)} - p_{i(2)})

    The label does not enter; 1 is a tie, 0 is certainty.

    Args:
        probabilities: predicted class probabilities, shape [n, C] with C at least 2.

    Returns:
        Difficulty of each example in [0, 1], shape [n].

    Raises:
        InputError: the shape does not fit.

    Source: Scheffer et al. 2001, margin sampling; as the gain of a query: Baykal et al. 2022,
    arXiv 2210.01213.

    >>> top_two_margin(torch.tensor([[0.5, 0.5, 0.0], [0.75, 0.25, 0.0]]))
    tensor([1.0000, 0.5000])
    """
    check_shape("probabilities", probabilities, "n", "C")
    if probabilities.shape[1] < 2:
        raise InputError(
            f"probabilities: expected at least 2 classes, got {probabilities.shape[1]}"
        )
    best = probabilities.topk(2, dim=1).values
    return 1 - (best[:, 0] - best[:, 1])


def ensemble_disagreement(probabilities: torch.Tensor) -> torch.Tensor:
    r"""How much the members of an ensemble disagree: their Jensen-Shannon divergence.

    .. math:: d_i = \frac{1}{\log \min(M, C)} \Bigl( H(\bar p_i)
        - \frac1M \sum_m H(p_{mi}) \Bigr), \qquad \bar p_i = \frac1M \sum_m p_{mi}

    It is 0 where all members predict alike, unsure or not, and 1 where each is sure of a class
    that as few others as possible predict. The label does not enter.

    Args:
        probabilities: class probabilities of each member, shape [M, n, C], C at least 2.

    Returns:
        Difficulty of each example in [0, 1], shape [n]; 0 for a single member.

    Raises:
        InputError: the shape does not fit.

    Source: Lakshminarayanan et al. 2017, arXiv 1612.01474.

    >>> sure = torch.eye(2)
    >>> ensemble_disagreement(torch.stack([sure, sure.flip(1)]))
    tensor([1., 1.])
    """
    check_shape("probabilities", probabilities, "M", "n", "C")
    members, _, classes = probabilities.shape
    if members < 2:
        return torch.zeros_like(probabilities[0, :, 0])
    entropy: torch.Tensor = torch.special.entr(probabilities).sum(2).mean(0)
    mixed: torch.Tensor = torch.special.entr(probabilities.mean(0)).sum(1)
    return (mixed - entropy).clamp(min=0) / math.log(max(2, min(members, classes)))
