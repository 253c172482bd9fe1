"""Early-learning regularization: staying with what was learned before false labels are."""

import torch
from torch.nn import functional

from gradatim.core.checks import check_range, check_same_shape, check_shape, reduce
from gradatim.core.precision import at_least_float32
from gradatim.objectives.soft_targets import soft_target_cross_entropy


def early_learning_regularizer(
    logits: torch.Tensor,
    target: torch.Tensor,
    *,
    clamp: float = 1e-4,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""Reward for agreeing with a running average of the example's own predictions.

    .. math:: R_i = \log (1 - \langle p_i, T_i \rangle), \qquad
        p_i = \mathrm{clamp}(\mathrm{softmax}(z_i), \epsilon, 1 - \epsilon)

    Its gradient raises the classes whose target stands above the mean target under p,

    .. math:: \frac{\partial R_i}{\partial z_{ic}} =
        \frac{p_{ic} \sum_k (T_{ik} - T_{ic}) \, p_{ik}}{1 - \langle p_i, T_i \rangle}

    which keeps the pull of examples that are already fitted, and cancels that of labels which
    contradict the target. The value is negative, and bounded by the clamp.

    Args:
        logits: z, shape [B, C].
        target: T, probabilities that may sum to less than one, shape [B, C]; no gradient flows
            into it. See :class:`gradatim.targets.past_predictions.PastPredictions`.
        clamp: epsilon, in (0, 0.5).
        reduction: "mean", "sum" or "none".

    Returns:
        The regularizer, in float32 for logits in half precision; shape [B] without reduction.

    Raises:
        InputError: the shapes differ, or the clamp is outside its range.

    Source: Liu et al. 2020, arXiv 2007.00151, section 4.

    >>> logits = torch.tensor([[0.8, 0.2]]).log()
    >>> early_learning_regularizer(logits, torch.tensor([[0.7, 0.1]]))
    tensor(-0.8675)
    """
    check_shape("logits", logits, "B", "C")
    check_same_shape("target", target, "logits", logits)
    check_range("clamp", clamp, 0, 0.5, open_low=True, open_high=True)
    probabilities = at_least_float32(logits).softmax(1).clamp(clamp, 1 - clamp)
    agreement = (probabilities * target.detach()).sum(1)
    return reduce(torch.log1p(-agreement), reduction)


def early_learning_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    target: torch.Tensor,
    *,
    strength: float = 3.0,
    clamp: float = 1e-4,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""Cross-entropy with early-learning regularization.

    .. math:: L_i = - \log \mathrm{softmax}(z_i)_{y_i} + \lambda \log (1 - \langle p_i, T_i \rangle)

    In each step the target is updated with the step's own prediction before it is used. The loss
    may be negative. Too little strength changes nothing, too much on few epochs freezes early
    mistakes; the paper uses 1 to 7.

    Args:
        logits: z, shape [B, C].
        labels: class of each example, integers, shape [B]; or soft labels, shape [B, C].
        target: T, running average of the example's predictions, shape [B, C].
        strength: lambda, at least 0.
        clamp: see :func:`early_learning_regularizer`.
        reduction: "mean", "sum" or "none".

    Returns:
        The loss, in float32 for logits in half precision; shape [B] without reduction.

    Raises:
        InputError: the shapes do not fit, or a number is outside its range.

    Source: Liu et al. 2020, arXiv 2007.00151, section 4.

    >>> logits, labels = torch.zeros(2, 2), torch.tensor([0, 1])
    >>> early_learning_loss(logits, labels, torch.zeros(2, 2))
    tensor(0.6931)
    """
    check_range("strength", strength, 0)
    regularizer = early_learning_regularizer(logits, target, clamp=clamp, reduction="none")
    if labels.is_floating_point():
        fit = soft_target_cross_entropy(logits, labels, reduction="none")
    else:
        check_shape("labels", labels, len(logits))
        fit = functional.cross_entropy(at_least_float32(logits), labels, reduction="none")
    return reduce(fit + strength * regularizer, reduction)
