"""How much a first-stage ranker agrees with an answer's label: difficulty without training."""

import math
from typing import Literal

import torch
from torch import Tensor

from gradatim.core.checks import check_choice, check_range, check_same_shape, check_shape
from gradatim.core.errors import InputError

Heuristic = Literal["reciprank", "normscore", "kde"]

_CHUNK = 1 << 22  # differences of scores held at a time


def first_stage_easiness(
    scores: Tensor,
    *,
    query_ids: Tensor,
    heuristic: Heuristic = "reciprank",
    ranks: Tensor | None = None,
    document_ids: Tensor | None = None,
    missing_rank: int = 1000,
) -> Tensor:
    r"""How easy each answer is if it is relevant: its place in the run of an unsupervised ranker.

    With s the scores of a query's run, r an answer's rank in it, n its length and
    :math:`h = \operatorname{std}(s)\, n^{-1/5}` Scott's bandwidth:

    .. math::
        b_{reciprank} = \frac{1}{r}, \qquad
        b_{normscore} = \frac{s_i - \min_j s_j}{\max_j s_j - \min_j s_j}, \qquad
        b_{kde} = \frac{1}{n} \sum_j \Phi \Bigl( \frac{s_i - s_j}{h} \Bigr)

    "kde" is the distribution function of a Gaussian density estimate, which skewed scores do not
    upset. Where all scores of a run are equal, or there is but one, "normscore" and "kde" are 1/2.
    An answer that the run lacks has rank ``missing_rank``, and 0 by the other two.

    Args:
        scores: of the first stage, higher = more relevant, shape [N]; NaN for an answer that the
            run lacks.
        query_ids: the query of each answer, integers in any order, shape [N].
        heuristic: "reciprank", "normscore" or "kde".
        ranks: ranks from 1, shape [N], for "reciprank" if the first stage ranks by more than its
            scores; by default they are counted from the scores.
        document_ids: integers that order answers of equal score, the larger one first as in the
            released code, shape [N]; without them the earlier row comes first.
        missing_rank: the rank of an answer that the run lacks, at least 1.

    Returns:
        b in [0, 1], float32 or float64 as the scores, shape [N].

    Raises:
        InputError: shapes that do not fit, an infinite score, ranks below 1 or for another
            heuristic, or an unknown heuristic.

    Source: MacAvaney et al. 2020, arXiv 2004.14269, section 3.2; rank 1000, ties and Scott's
    bandwidth as in the authors' code.

    >>> scores, queries = torch.tensor([9.0, 5.0, 7.0, 2.0]), torch.tensor([0, 0, 0, 1])
    >>> first_stage_easiness(scores, query_ids=queries)
    tensor([1.0000, 0.3333, 0.5000, 1.0000])
    >>> first_stage_easiness(scores, query_ids=queries, heuristic="normscore")
    tensor([1.0000, 0.0000, 0.5000, 0.5000])
    """
    check_choice("heuristic", heuristic, ("reciprank", "normscore", "kde"))
    check_shape("scores", scores, "N")
    check_range("missing_rank", missing_rank, 1)
    for name, value in (("ranks", ranks), ("document_ids", document_ids), ("query_ids", query_ids)):
        if value is not None:
            check_same_shape(name, value, "scores", scores)
            _check_whole(name, value)
    if scores.isinf().any():
        raise InputError("scores: expected finite numbers, or NaN for what the run lacks, got inf")
    if ranks is not None and heuristic != "reciprank":
        raise InputError(f"ranks: expected None for heuristic {heuristic!r}, which takes scores")
    given = scores if scores.dtype == torch.float64 else scores.float()
    query = torch.unique(query_ids, return_inverse=True)[1]
    if heuristic == "reciprank":
        places = _ranks(given, query, document_ids) if ranks is None else ranks
        if (places < 1).any():
            raise InputError(f"ranks: expected numbers from 1, got {int(places.min())}")
        return 1.0 / torch.where(given.isnan(), missing_rank, places).to(given.dtype)
    found = torch.zeros_like(given)
    there = ~given.isnan()
    if there.any():
        inside = _normalized if heuristic == "normscore" else _kde
        found[there] = inside(given[there], query[there])
    return found


def pair_difficulty(positive: Tensor, negative: Tensor) -> Tensor:
    r"""How hard it is to rank a relevant answer above others, by the first stage's view of them.

    .. math:: d = 1 - \min_k \frac{b(q, d^+) - b(q, d^-_k) + 1}{2}

    Args:
        positive: b of the relevant answers, in [0, 1], shape [N].
        negative: b of the others, shape [N], or [N, K] for K of them, of which the hardest counts.

    Returns:
        Difficulty in [0, 1], shape [N].

    Raises:
        InputError: shapes that do not fit.

    Source: MacAvaney et al. 2020, arXiv 2004.14269, section 3.2; the minimum over several
    negatives as in the authors' code, which has none for "kde".

    >>> pair_difficulty(torch.tensor([1.0]), torch.tensor([0.25]))
    tensor([0.1250])
    """
    check_shape("positive", positive, "N")
    if negative.ndim == 2:
        check_shape("negative", negative, len(positive), "K")
        if not negative.shape[1]:
            raise InputError("negative: expected at least one answer a pair, got [N, 0]")
        negative = negative.amax(1)
    check_same_shape("negative", negative, "positive", positive)
    return (1.0 - positive + negative) / 2.0


def point_difficulty(base: Tensor, relevant: Tensor) -> Tensor:
    r"""How hard an answer's label is, by the first stage's view of it.

    .. math:: d = 1 - b \text{ if the answer is relevant, else } b

    Args:
        base: b in [0, 1], shape [N].
        relevant: whether each answer is relevant, booleans, shape [N].

    Returns:
        Difficulty in [0, 1], shape [N].

    Raises:
        InputError: shapes that do not fit, or labels that are not booleans.

    Source: MacAvaney et al. 2020, arXiv 2004.14269, section 3.2.

    >>> point_difficulty(torch.tensor([0.75, 0.75]), torch.tensor([True, False]))
    tensor([0.2500, 0.7500])
    """
    check_shape("base", base, "N")
    check_same_shape("relevant", relevant, "base", base)
    if relevant.dtype != torch.bool:
        raise InputError(f"relevant: expected booleans, got {relevant.dtype}")
    return torch.where(relevant, 1.0 - base, base)


def _check_whole(name: str, values: Tensor) -> None:
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise InputError(f"{name}: expected integers, got {values.dtype}")


def _ranks(scores: Tensor, query: Tensor, document_ids: Tensor | None) -> Tensor:
    """Ranks from 1 within each query, what the run lacks last."""
    rows = torch.arange(len(scores), device=scores.device)
    order = rows if document_ids is None else document_ids.argsort(descending=True, stable=True)
    sunk = scores.nan_to_num(nan=-torch.inf)
    order = order[sunk[order].argsort(descending=True, stable=True)]
    order = order[query[order].argsort(stable=True)]
    ranks = torch.empty_like(rows)
    ranks[order] = _places(query[order]) + 1
    return ranks


def _places(query: Tensor) -> Tensor:
    """Position of each row among those of its query, for rows in the order of queries."""
    sizes = query.bincount()
    starts: Tensor = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    return torch.arange(len(query), device=query.device) - starts


def _normalized(scores: Tensor, query: Tensor) -> Tensor:
    """Scores between the lowest and the highest of their run."""
    size = int(query.max()) + 1
    low, high = (
        scores.new_zeros(size).scatter_reduce(0, query, scores, how, include_self=False)[query]
        for how in ("amin", "amax")
    )
    flat = high == low
    return torch.where(flat, 0.5, (scores - low) / torch.where(flat, 1.0, high - low))


def _kde(scores: Tensor, query: Tensor) -> Tensor:
    """Distribution function of each run's density estimate at its own scores, in float64."""
    order = query.argsort(stable=True)
    sizes = query.bincount()
    sizes = sizes[sizes > 0]
    widest = int(sizes.max())
    table = scores.new_full((len(sizes), widest), math.nan, dtype=torch.float64)
    run = torch.arange(len(sizes), device=scores.device).repeat_interleave(sizes)
    place = _places(query[order])
    table[run, place] = scores[order].double()
    step = max(1, _CHUNK // widest**2)
    values = torch.cat([_kde_of_runs(part) for part in torch.split(table, step)])
    found = torch.empty_like(scores)
    found[order] = values[run, place].to(scores.dtype)
    return found


def _kde_of_runs(table: Tensor) -> Tensor:
    """The same for runs of shape [Q, L], padded with NaN."""
    there = ~table.isnan()
    size = there.sum(1, keepdim=True).double()
    values = table.nan_to_num()
    centre = values.sum(1, keepdim=True) / size
    squares = torch.where(there, (values - centre).square(), 0.0).sum(1, keepdim=True)
    width = (squares / (size - 1).clamp(min=1)).sqrt() * size ** (-0.2)
    lowest = torch.where(there, values, torch.inf).amin(1, keepdim=True)
    highest = torch.where(there, values, -torch.inf).amax(1, keepdim=True)
    flat = highest == lowest
    width = torch.where(flat, 1.0, width)
    below = torch.special.ndtr((values[:, :, None] - values[:, None, :]) / width[:, :, None])
    share = torch.where(there[:, None, :], below, 0.0).sum(2) / size
    return torch.where(flat, 0.5, share)
