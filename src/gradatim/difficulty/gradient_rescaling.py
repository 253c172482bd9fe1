"""How much of an example's gradient is left when its target leans on its own past prediction."""

import torch

from gradatim.core.checks import check_range, check_same_shape, check_shape


def gradient_rescaling(
    probabilities: torch.Tensor, past: torch.Tensor, labels: torch.Tensor, share: float
) -> torch.Tensor:
    r"""Length of the gradient under a mixed target, relative to that under the label alone.

    .. math:: f_i = \frac{\lVert p_i - q_i \rVert_1}{\lVert p_i - e_{y_i} \rVert_1}, \qquad
        q_i = (1 - s) \, e_{y_i} + s \, p^{\mathrm{past}}_i

    The gradient is that of cross-entropy in the logits. The factor is small for what was learned
    fast since the past prediction, near 1 - s for what stagnates, and above that for what got
    worse: in one epoch, higher means harder. It is worked out from whole predictions, so it also
    holds where the short form (:func:`rescaling_of_errors`) does not.

    Args:
        probabilities: p, predictions now, shape [n, C].
        past: predictions when each example came up before, shape [n, C].
        labels: given classes, integers, shape [n].
        share: s, weight of the past prediction, in [0, 1].

    Returns:
        The factor of each example, shape [n]; 1 where the label has all probability, so that its
        own gradient has no length to compare with.

    Raises:
        InputError: the shapes do not fit, or the share is outside [0, 1].

    Source: Kim et al. 2021, arXiv 2006.12000, section 3.2.

    >>> now, past = torch.tensor([[0.7, 0.2, 0.1]]), torch.tensor([[0.6, 0.3, 0.1]])
    >>> gradient_rescaling(now, past, torch.tensor([0]), share=0.5)
    tensor([0.3333])
    """
    check_same_shape("past", past, "probabilities", probabilities)
    check_shape("probabilities", probabilities, "n", "C")
    check_shape("labels", labels, len(probabilities))
    check_range("share", share, 0, 1)
    own = labels[:, None]
    wrong, past_wrong = probabilities.scatter(1, own, 0.0), past.scatter(1, own, 0.0)
    error, past_error = wrong.sum(dim=1), past_wrong.sum(dim=1)
    length = (error - share * past_error).abs() + (wrong - share * past_wrong).abs().sum(dim=1)
    return torch.where(error > 0, length / (2 * error), 1.0)


def rescaling_of_errors(
    error: torch.Tensor, past_error: torch.Tensor, share: float
) -> torch.Tensor:
    r"""The same factor from the probabilities of being wrong alone.

    .. math:: f_i = 1 - s \, \gamma^{\mathrm{past}}_i / \gamma_i, \qquad \gamma_i = 1 - p_{i, y_i}

    It equals :func:`gradient_rescaling` where every wrong class keeps at least s of its past
    probability, and is below it elsewhere; below 0 the model overshoots its target.

    Args:
        error: gamma, probability left for wrong classes now, shape [n].
        past_error: the same when each example came up before, shape [n].
        share: s, weight of the past prediction, in [0, 1].

    Returns:
        The factor of each example, shape [n]; 1 where there is no error.

    Raises:
        InputError: the shapes differ, or the share is outside [0, 1].

    Source: Kim et al. 2021, arXiv 2006.12000, section 3.2.

    >>> rescaling_of_errors(torch.tensor([0.3, 0.4]), torch.tensor([0.4, 0.4]), share=0.5)
    tensor([0.3333, 0.5000])
    """
    check_shape("error", error, "n")
    check_same_shape("past_error", past_error, "error", error)
    check_range("share", share, 0, 1)
    return torch.where(error > 0, 1 - share * past_error / error, 1.0)
