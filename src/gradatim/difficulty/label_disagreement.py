"""How much what was learned about an example contradicts its label."""

import torch

from gradatim.core.checks import check_shape


def label_disagreement(probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    r"""Probability that predictions leave for all classes other than the label.

    .. math:: d_i = 1 - p_{i, y_i}

    With the running predictions of early-learning regularization as probabilities, a high value
    marks an example whose label is likely to be false: one that was learned otherwise early on.

    Args:
        probabilities: predicted or averaged class probabilities, shape [n, C].
        labels: given class of each example, integers, shape [n].

    Returns:
        Difficulty of each example in [0, 1], shape [n].

    Raises:
        InputError: the shapes do not fit.

    Source: Liu et al. 2020, arXiv 2007.00151, section 4 (the targets).

    >>> label_disagreement(torch.tensor([[0.75, 0.25], [0.75, 0.25]]), torch.tensor([0, 1]))
    tensor([0.2500, 0.7500])
    """
    check_shape("probabilities", probabilities, "n", "C")
    check_shape("labels", labels, len(probabilities))
    return 1 - probabilities.gather(1, labels[:, None]).squeeze(1)
