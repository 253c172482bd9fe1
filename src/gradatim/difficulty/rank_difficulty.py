"""Difficulty in retrieval: how far down the first relevant document stands, and stale negatives."""

import torch
from torch import Tensor

from gradatim.core.checks import check_same_shape, check_shape
from gradatim.core.errors import InputError
from gradatim.core.positions import is_among


def rank_difficulty(scores: Tensor, relevant: Tensor) -> Tensor:
    r"""How hard a query is for the present model: the rank of its first relevant document.

    .. math:: d_q = \log_2 \min_{d \in D_q^+} \operatorname{rank}_q(d)

    0 = found at once; each doubling of the rank adds 1. Where scores are equal, what is not
    relevant ranks first. A query without a relevant document counts as one found last of all, at
    rank N + 1.

    Args:
        scores: s(q, d), higher = ranked earlier, shape [Q, N].
        relevant: positions of each query's relevant documents, -1 for none, integers, shape [Q, E].

    Returns:
        Difficulty in [0, log2(N + 1)], float32 or float64 as the scores, shape [Q].

    Raises:
        InputError: shapes that do not fit, a position outside the corpus, or a score that is NaN.

    Source: the errors at the top and in total of Zhan et al. 2021, arXiv 2104.08051, section 3.

    >>> rank_difficulty(torch.tensor([[0.9, 0.5, 0.7, 0.1]]), torch.tensor([[3, -1]]))
    tensor([2.])
    """
    check_shape("scores", scores, "Q", "N")
    check_shape("relevant", relevant, len(scores), "E")
    size = scores.shape[1]
    if relevant.is_floating_point() or (relevant >= size).any():
        raise InputError(f"relevant: expected integers from -1 to {size - 1}, got others")
    if scores.isnan().any():
        raise InputError("scores: expected numbers, got nan")
    hits = torch.zeros(len(scores), size + 1, dtype=torch.bool, device=scores.device)
    hits.scatter_(1, torch.where(relevant < 0, size, relevant).long(), True)
    hits = hits[:, :size]
    best = scores.masked_fill(~hits, -torch.inf).amax(1, keepdim=True) if size else scores
    rank = 1 + ((scores >= best) & ~hits).sum(1)
    dtype = torch.float64 if scores.dtype == torch.float64 else torch.float32
    return rank.to(dtype).log2()


def negative_staleness(old: Tensor, new: Tensor) -> Tensor:
    r"""Which share of a query's mined negatives is no longer among the hardest.

    .. math:: 1 - \frac{|N_q^{old} \cap N_q^{new}|}{|N_q^{old}|}

    Args:
        old: the negatives that are trained on, positions, below 0 = none, integers, shape [Q, k].
        new: what the present model would mine, shape [Q, k].

    Returns:
        In [0, 1], 0 where there were none, float32, shape [Q].

    Raises:
        InputError: shapes that do not fit, or numbers that are no integers.

    Source: the dynamic against the static lists of Zhan et al. 2021, arXiv 2104.08051, section 3.

    >>> negative_staleness(torch.tensor([[4, 7, 9, 1]]), torch.tensor([[7, 2, 3, 8]]))
    tensor([0.7500])
    """
    check_same_shape("new", new, "old", old)
    kept = is_among(old, new).sum(1)
    size = (old >= 0).sum(1)
    return (size - kept) / size.clamp(min=1)
