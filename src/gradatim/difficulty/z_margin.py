"""How far the label's output is below a wanted z-score among all outputs."""

import torch

from gradatim.objectives.spherical import z_score_from_logits


def z_margin(logits: torch.Tensor, labels: torch.Tensor, *, b: float = 0.0) -> torch.Tensor:
    r"""Difficulty of an example that does not depend on the scale of the outputs.

    .. math:: d_i = b - z_i, \qquad z_i = (o_{i y_i} - \mu_i) / \sigma_i

    Mean and deviation are those of the example's own outputs, so that difficulties compare between
    layers, models and times in training. Where the outputs are not there in full, it is ``b`` minus
    :func:`gradatim.objectives.spherical.z_score` of the sums that a factored layer gives.

    Args:
        logits: outputs o, shape [n, D] with D at least 2.
        labels: class y of each example, integers, shape [n].
        b: the z-score that is wanted of the label; it moves the zero.

    Returns:
        Difficulty of each example, shape [n], higher = harder; between b minus and b plus the root
        of D - 1.

    Raises:
        InputError: the shapes do not fit, or fewer than two classes.

    Source: de Brébisson and Vincent 2016, arXiv 1604.08859: the argument of the Z-loss.

    >>> z_margin(torch.tensor([[3.0, 1.0], [3.0, 1.0]]), torch.tensor([0, 1]))
    tensor([-1.,  1.])
    """
    return b - z_score_from_logits(logits, labels)
