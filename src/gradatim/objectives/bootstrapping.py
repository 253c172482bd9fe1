"""Bootstrapping: labels that are partly corrected by the prediction itself."""

import torch

from gradatim.core.checks import check_range, check_shape
from gradatim.core.precision import at_least_float32
from gradatim.objectives.soft_targets import soft_target_cross_entropy
from gradatim.targets.labels import mix_labels


def soft_bootstrapping(
    logits: torch.Tensor, labels: torch.Tensor, *, beta: float = 0.95, reduction: str = "mean"
) -> torch.Tensor:
    r"""Cross-entropy with a mixture of the label and the predicted probabilities.

    .. math:: L_i = - \sum_c (\beta \, y_{ic} + (1 - \beta) \, p_{ic}) \log p_{ic}

    The gradient flows through both p, which makes the second part the entropy of the prediction.
    With the mixture detached the loss would be cross-entropy times beta, and correct nothing.

    Args:
        logits: shape [B, C].
        labels: class of each example, integers, shape [B].
        beta: share of the label, in [0, 1].
        reduction: "mean", "sum" or "none".

    Returns:
        The loss; shape [B] without reduction.

    Raises:
        InputError: the shapes do not fit, or beta is outside [0, 1].

    Source: Reed et al. 2015, arXiv 1412.6596.

    >>> soft_bootstrapping(torch.tensor([[0.0, 0.0]]), torch.tensor([0]), beta=0.5)
    tensor(0.6931)
    """
    check_shape("logits", logits, "B", "C")
    check_range("beta", beta, 0, 1)
    probabilities = at_least_float32(logits).softmax(1)
    target = mix_labels(labels, probabilities, 1 - beta)
    return soft_target_cross_entropy(logits, target, reduction=reduction)


def hard_bootstrapping(
    logits: torch.Tensor, labels: torch.Tensor, *, beta: float = 0.8, reduction: str = "mean"
) -> torch.Tensor:
    r"""Cross-entropy with a mixture of the label and the predicted class.

    .. math:: L_i = - \sum_c (\beta \, y_{ic} + (1 - \beta) \, [c = \arg\max_k p_{ik}]) \log p_{ic}

    Args:
        logits: shape [B, C].
        labels: class of each example, integers, shape [B].
        beta: share of the label, in [0, 1].
        reduction: "mean", "sum" or "none".

    Returns:
        The loss; shape [B] without reduction.

    Raises:
        InputError: the shapes do not fit, or beta is outside [0, 1].

    Source: Reed et al. 2015, arXiv 1412.6596.

    >>> hard_bootstrapping(torch.tensor([[9.0, 0.0]]), torch.tensor([1]), beta=0.0) < 0.01
    tensor(True)
    """
    check_shape("logits", logits, "B", "C")
    check_range("beta", beta, 0, 1)
    predicted = torch.zeros_like(at_least_float32(logits))
    predicted.scatter_(1, logits.argmax(1, keepdim=True), 1.0)
    target = mix_labels(labels, predicted, 1 - beta)
    return soft_target_cross_entropy(logits, target, reduction=reduction)
