"""How much of a response a model that unlearns still remembers, as the loss itself weighs it."""

import torch

from gradatim.core.checks import check_range, check_same_shape, check_shape
from gradatim.core.precision import at_least_float32


def npo_weight(
    logp: torch.Tensor,
    reference_logp: torch.Tensor,
    *,
    beta: float = 0.1,
    lengths: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""The weight that negative preference optimization gives to each response.

    .. math:: W = \frac{2 \pi^\beta}{\pi^\beta + (\pi^{ref})^\beta} = 2 \sigma(\beta r), \qquad
        r = \log \pi(y \mid x) - \log \pi^{ref}(y \mid x)

    It is 1 before unlearning, above 1 where a response has become likelier, and near 0 where it
    has been forgotten: a difficulty of forgetting that is found while forgetting. It is the
    derivative of :func:`gradatim.objectives.unlearning.npo` by logp (without lengths).

    Args:
        logp: log-probability of each response under the policy, shape [B].
        reference_logp: under the model before, shape [B].
        beta: how sharply it falls, above 0.
        lengths: tokens of each response, shape [B]: both log-probabilities are divided by them.

    Returns:
        W in (0, 2), higher = harder to forget, without gradient, in float32 for half precision,
        shape [B].

    Raises:
        InputError: the shapes differ, or beta is not above 0.

    Source: Zhang et al. 2024, arXiv 2404.05868, section 3.

    >>> npo_weight(torch.tensor([-5.0, -3.0, -1.0]), torch.full((3,), -3.0), beta=0.5)
    tensor([0.5379, 1.0000, 1.4621])
    """
    check_shape("logp", logp, "B")
    check_same_shape("reference_logp", reference_logp, "logp", logp)
    check_range("beta", beta, 0, open_low=True)
    log_ratio = at_least_float32(logp.detach()) - reference_logp.detach()
    if lengths is not None:
        check_same_shape("lengths", lengths, "logp", logp)
        log_ratio = log_ratio / lengths
    return 2 * torch.sigmoid(beta * log_ratio)
