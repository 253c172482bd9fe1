"""Hard negatives by retrieval: what a model ranks high although it is not relevant."""

from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from gradatim.core.checks import check_range
from gradatim.core.search import Metric, TopK, top_k


def top_k_negatives(
    queries: Tensor | NDArray[Any],
    corpus: Tensor | NDArray[Any],
    relevant: Tensor,
    k: int = 200,
    *,
    skip: int = 0,
    metric: Metric = "dot",
) -> TopK:
    r"""The documents of highest score that are not known to be relevant to the query.

    .. math:: N_q = \text{ranks } s + 1, \dots, s + k \text{ of } C \setminus D_q^+ \text{ by }
        \langle f(q), g(d) \rangle

    Mined once, they are static negatives, which go stale as the model learns
    (:func:`gradatim.difficulty.rank_difficulty.negative_staleness`); mined at every update, they
    are dynamic. The first ranks are also where relevant documents stand that nobody labelled.

    Args:
        queries: f(q), shape [Q, D].
        corpus: g(d), shape [N, D].
        relevant: positions of each query's relevant documents, all that are known, -1 for none,
            integers, shape [Q, E].
        k: negatives of a query.
        skip: s, how many of the first to pass over.
        metric: what a score is, as in :func:`gradatim.core.search.top_k`.

    Returns:
        Scores and positions, best first, each [Q, k].

    Raises:
        InputError: a number out of range, shapes that do not fit, or fewer than ``k + skip``
            documents beside a query's relevant ones.

    Source: Zhan et al. 2021, arXiv 2104.08051, sections 4 and 5; k as in the authors' code.

    >>> import torch
    >>> corpus = torch.tensor([[3.0], [2.0], [1.0], [0.0]])
    >>> top_k_negatives(torch.ones(1, 1), corpus, torch.tensor([[0, -1]]), k=1, skip=1).index
    tensor([[2]])
    """
    check_range("k", k, 1)
    check_range("skip", skip, 0)
    found = top_k(queries, corpus, k + skip, metric=metric, exclude=relevant)
    return TopK(found.scores[:, skip:], found.index[:, skip:])
