"""The loss of outcome and process reward models: right or wrong, token by token."""

import torch
from torch.nn import functional

from gradatim.core.checks import check_same_shape, check_shape, reduce
from gradatim.core.precision import at_least_float32
from gradatim.objectives.tokens import hide


def token_reward_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    *,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""Binary cross-entropy of a reward model's logits at the tokens that carry a label.

    .. math:: L = \frac{\sum_{bt} w_{bt} \, \ell(z_{bt}, y_{bt})}{\sum_{bt} w_{bt} + 10^{-6}},
        \qquad \ell(z, y) = - y \log \sigma(z) - (1 - y) \log (1 - \sigma(z))

    Tokens of weight 0 have no part in it, whatever stands in their logits and labels. A batch
    without a label has loss and gradient 0. The labels may be soft: the loss is linear in them.

    Args:
        logits: z, shape [B, T].
        labels: y, in [0, 1] (numbers or booleans), shape [B, T]; see
            :mod:`gradatim.evaluators.reward_examples`.
        weights: w, at least 0, shape [B, T]; no gradient flows into them.
        reduction: "mean" as above, "sum" of the weighted tokens, or "none".

    Returns:
        The loss, in float32 for logits in half precision; without reduction w times l, shape
        [B, T].

    Raises:
        InputError: the shapes differ.

    Source: Sun et al. 2024, arXiv 2403.09472 (after Lightman et al. 2023,
    arXiv 2305.20050; the weighted mean is that of the authors' code).

    >>> labels, weights = torch.tensor([[1, 0, 0]]), torch.tensor([[1.0, 1.0, 0.0]])
    >>> token_reward_loss(torch.zeros(1, 3), labels, weights)
    tensor(0.6931)
    """
    check_shape("logits", logits, "B", "T")
    check_same_shape("labels", labels, "logits", logits)
    check_same_shape("weights", weights, "logits", logits)
    z = hide(at_least_float32(logits), weights)
    w = weights.detach().to(z.dtype)
    entropy = functional.binary_cross_entropy_with_logits(
        z, hide(labels, weights).to(z.dtype), reduction="none"
    )
    if reduction == "mean":
        return (w * entropy).sum() / (w.sum() + 1e-6)
    return reduce(w * entropy, reduction)
