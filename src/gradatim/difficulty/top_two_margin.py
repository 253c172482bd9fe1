"""How close the two likeliest classes of a prediction are."""

import torch

from gradatim.core.checks import check_shape
from gradatim.core.errors import InputError


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
