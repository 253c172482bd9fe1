"""How suspect an unlabelled document is: the probability that it is relevant all the same."""

import torch
from torch import Tensor
from torch.nn import functional

from gradatim.core.checks import check_range, check_same_shape, check_shape
from gradatim.core.precision import at_least_float32


def false_negative_score(relevance: Tensor, selection: Tensor, temperature: float = 1.0) -> Tensor:
    r"""Probability that a document without a label is relevant.

    Relevant with probability :math:`\rho = \sigma(f / \kappa)`, judged with probability
    :math:`\lambda = \sigma(g / \kappa)`, independently, and labelled if both:

    .. math:: P(r = 1 \mid l = 0) = \frac{\rho (1 - \lambda)}{1 - \rho \lambda}
        = \sigma \bigl( f / \kappa - \log (1 + e^{g / \kappa}) \bigr)

    The weight of a trustworthy negative is one minus this, see
    :func:`gradatim.curriculum.coupled_weights.coupled_weights`.

    Args:
        relevance: f, logits that the documents are relevant, shape [B].
        selection: g, logits that they were judged, shape [B].
        temperature: :math:`\kappa`, above 0.

    Returns:
        In [0, 1], higher = more suspect, float32 for half precision, shape [B].

    Raises:
        InputError: shapes that do not fit, or a temperature of 0 or less.

    Source: the assumptions of Cai et al. 2022, arXiv 2209.05072, by Bayes' rule.

    >>> false_negative_score(torch.zeros(2), torch.tensor([0.0, 3.0])).round(decimals=4)
    tensor([0.3333, 0.0453])
    """
    check_shape("relevance", relevance, "B")
    check_same_shape("selection", selection, "relevance", relevance)
    check_range("temperature", temperature, 0.0, open_low=True)
    likely = at_least_float32(relevance) / temperature
    judged = at_least_float32(selection) / temperature
    return torch.sigmoid(likely - functional.softplus(judged))
