"""Hard negatives without those that a stronger scorer takes for relevant."""

import torch
from torch import Tensor

from gradatim.core.checks import check_range, check_same_shape, check_shape


def denoised_negatives(
    candidates: Tensor, scores: Tensor, threshold: float, *, k: int | None = None
) -> Tensor:
    r"""The first k candidates of each query that a stronger scorer does not rate too high.

    .. math:: N_q = \text{the first } k \text{ of } \{ d \in C_q : t(q, d) \le \tau \}

    Args:
        candidates: C, positions of documents that are not labelled, hardest first, below 0 =
            none, integers, shape [Q, K].
        scores: t, what the stronger scorer (a cross-encoder, for instance) says of them, shape
            [Q, K].
        threshold: :math:`\tau`, the highest score of a negative.
        k: how many to keep, at most K; None for K.

    Returns:
        int64, shape [Q, k]; -1 fills up the row of a query that keeps fewer.

    Raises:
        InputError: shapes that do not fit, or a k or a threshold out of range.

    Source: Qu et al. 2021, arXiv 2010.08191, section 4.2, a baseline of Cai et al. 2022, arXiv
    2209.05072.

    >>> candidates = torch.tensor([[8, 3, 5]])
    >>> denoised_negatives(candidates, torch.tensor([[0.9, 0.2, 0.4]]), 0.5, k=2)
    tensor([[3, 5]])
    """
    check_shape("candidates", candidates, "Q", "K")
    check_same_shape("scores", scores, "candidates", candidates)
    check_range("threshold", threshold)
    kept = candidates.shape[1] if k is None else k
    check_range("k", kept, 0 if k is None else 1, candidates.shape[1])
    dropped = (candidates < 0) | ~(scores <= threshold)
    order = dropped.to(torch.int8).sort(dim=1, stable=True).indices[:, :kept]
    return candidates.masked_fill(dropped, -1).gather(1, order).long()
