"""Whether the label is among the k classes with the highest outputs."""

from collections.abc import Sequence

import torch

from gradatim.core.checks import check_range, check_shape
from gradatim.core.errors import InputError


def target_rank(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    r"""Rank of the label's output among all outputs, 1 for the highest.

    .. math:: r_i = 1 + \sum_k [o_{ik} > o_{i y_i}] + \tfrac12 \sum_{k \ne y_i}
        [o_{ik} = o_{i y_i}]

    Args:
        logits: outputs o, shape [n, D].
        labels: class y of each example, integers in [0, D), shape [n].

    Returns:
        The ranks, shape [n], float64; ties share the mean of their ranks.

    Raises:
        InputError: the shapes do not fit, or a label is no class.

    >>> target_rank(torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 0.0]]), torch.tensor([2, 0]))
    tensor([2.0000, 1.5000], dtype=torch.float64)
    """
    check_shape("logits", logits, "n", "D")
    check_shape("labels", labels, len(logits))
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < logits.shape[1]:
        raise InputError(
            f"labels: expected classes from 0 to {logits.shape[1] - 1}, "
            f"got {int(labels.min())} to {int(labels.max())}"
        )
    own = logits.gather(1, labels[:, None])
    above, equal = (logits > own).sum(1), (logits == own).sum(1)
    return above.double() + (equal.double() + 1) / 2


def top_k_error(
    logits: torch.Tensor, labels: torch.Tensor, ks: Sequence[int] = (1, 5, 10)
) -> dict[int, float]:
    r"""Share of the examples whose label is not among the k highest outputs.

    .. math:: \frac1n \sum_i [r_i > k]

    Equal outputs share the mean of their ranks, so that a constant output has no good rank.

    Args:
        logits: outputs, shape [n, D], n at least 1.
        labels: class of each example, integers in [0, D), shape [n].
        ks: lengths of the list, each at least 1.

    Returns:
        The error in [0, 1] for each k.

    Raises:
        InputError: no examples, the shapes do not fit, a label is no class, or a k below 1.

    >>> logits = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0]])
    >>> top_k_error(logits, torch.tensor([0, 2]), ks=(1, 2))
    {1: 0.5, 2: 0.0}
    """
    for k in ks:
        check_range("ks", k, 1)
    ranks = target_rank(logits, labels)
    if not len(ranks):
        raise InputError("logits: expected at least one example, got none")
    return {k: float((ranks > k).double().mean()) for k in ks}
