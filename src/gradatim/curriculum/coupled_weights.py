"""Weights of negatives by how surely they were judged: the curriculum of coupled estimation."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from gradatim.core.checks import check_choice, check_range, check_shape
from gradatim.core.errors import InputError
from gradatim.core.precision import at_least_float32


def coupled_weights(
    selection_logit: Tensor,
    temperature: float = 10.0,
    *,
    mode: Literal["inverse", "posterior"] = "inverse",
    relevance_logit: Tensor | None = None,
    max_weight: float | None = None,
) -> Tensor:
    r"""Weigh a negative by how surely it would have been labelled, were it relevant.

    With :math:`\lambda = \sigma(g / \kappa)` and :math:`\rho = \sigma(f / \kappa)`:

    .. math::
        w_{inverse} = \frac{1}{1 - \lambda} = 1 + e^{g / \kappa}, \qquad
        w_{posterior} = \frac{1 - \rho}{1 - \rho \lambda}

    "inverse" is what the released code does; its weights are above 1 and, at :math:`\kappa = 10`,
    near 2 for all but large logits. "posterior" is the probability that the negative is truly
    irrelevant, one minus
    :func:`gradatim.difficulty.false_negatives.false_negative_score`; it needs both models. The two
    rise with g alike.

    Args:
        selection_logit: g, logits of the model of who is judged, shape [B].
        temperature: :math:`\kappa`, above 0; 10 in the authors' script, 2 in its default.
        mode: "inverse" or "posterior".
        relevance_logit: f, logits of the model of relevance, shape [B], for "posterior" only.
        max_weight: largest weight, above 0; without it "inverse" grows until the largest number.

    Returns:
        Weights without a gradient, float32 for half precision, shape [B].

    Raises:
        InputError: shapes that do not fit, an unknown mode, a number out of range, or relevance
            logits that are missing or not needed.

    Source: Cai et al. 2022, arXiv 2209.05072, and the authors' code, whose
    ``1 / (1 - sigmoid(x))`` overflows; "posterior" by Bayes' rule.

    >>> coupled_weights(torch.tensor([2.0, 0.0]), 2.0)
    tensor([3.7183, 2.0000])
    """
    check_choice("mode", mode, ("inverse", "posterior"))
    check_range("temperature", temperature, 0.0, open_low=True)
    if max_weight is not None:
        check_range("max_weight", max_weight, 0.0, open_low=True)
    check_shape("selection_logit", selection_logit, "B")
    if (mode == "posterior") != (relevance_logit is not None):
        raise InputError(f"relevance_logit: expected for mode 'posterior' alone, got mode {mode!r}")
    judged = at_least_float32(selection_logit) / temperature
    if relevance_logit is not None:
        check_shape("relevance_logit", relevance_logit, len(selection_logit))
        relevant = at_least_float32(relevance_logit) / temperature
        weights = torch.sigmoid(functional.softplus(judged) - relevant)
    else:
        weights = 1.0 + judged.exp()
    largest = torch.finfo(weights.dtype).max if max_weight is None else max_weight
    return weights.detach().clamp(max=largest)
