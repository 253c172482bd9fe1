"""Cross-entropy with soft targets, the loss of distillation and label correction."""

import torch
from torch.nn import functional

from gradatim.core.checks import check_range, check_same_shape, reduce
from gradatim.core.precision import at_least_float32


def soft_target_cross_entropy(
    logits: torch.Tensor,
    target: torch.Tensor,
    *,
    temperature: float = 1.0,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""Cross-entropy of predictions with target probabilities.

    .. math:: L_i = - \sum_c q_{ic} \log \mathrm{softmax}(z_i / \tau)_c

    Gradients are not scaled by the square of the temperature; multiply by it where a method does.
    A gradient flows into the target too, unless it is detached.

    Args:
        logits: z, shape [..., C].
        target: q, probabilities, shape [..., C].
        temperature: tau, above 0; divides the logits, not the target.
        reduction: "mean" and "sum" over all but the last dimension, or "none".

    Returns:
        The loss, in float32 for logits in half precision; shape [...] without reduction.

    Raises:
        InputError: the shapes differ, or the temperature is not above 0.

    Source: Hinton et al. 2015, arXiv 1503.02531, without its squared temperature.

    >>> soft_target_cross_entropy(torch.zeros(2, 4), torch.full((2, 4), 0.25))
    tensor(1.3863)
    """
    check_same_shape("target", target, "logits", logits)
    check_range("temperature", temperature, 0, open_low=True)
    log_probabilities = functional.log_softmax(at_least_float32(logits) / temperature, dim=-1)
    return reduce(-(target * log_probabilities).sum(-1), reduction)
