"""InfoNCE of very large batches: exact, by blocks of rows, without the matrix of similarities."""

from typing import Any, NamedTuple

import torch

from gradatim.core.checks import check_choice, check_range, check_shape
from gradatim.objectives.contrastive import FORMS, WeightRule
from gradatim.objectives.contrastive_inputs import (
    as_embeddings,
    check_negatives_left,
    check_temperature,
    weigh,
)
from gradatim.objectives.similarity_blocks import SimilarityBlocks


def blockwise_info_nce(
    query: torch.Tensor,
    positive: torch.Tensor,
    *,
    negatives: torch.Tensor | None = None,
    temperature: float | torch.Tensor = 0.05,
    normalize: bool = True,
    positive_pairs: torch.Tensor | None = None,
    excluded_pairs: torch.Tensor | None = None,
    negative_weights: torch.Tensor | WeightRule | None = None,
    sample_weights: torch.Tensor | None = None,
    symmetric: bool = False,
    several: str = "mean_of_logs",
    require_negatives: bool = True,
    block_rows: int | None = None,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""InfoNCE over in-batch negatives on memory that grows with the batch, not with its square.

    The same value and gradient as :func:`~gradatim.objectives.contrastive.info_nce`, whose
    equations it has. A block of queries meets all candidates at once, so that the log of its
    denominator is known right away and the gradient is ready in the forward pass:

    .. math:: S = Q D^\top / \tau, \qquad P_{ij} = w_i e^{S_{ij} - \mathrm{lse}_i}, \qquad
        \nabla_Q = P D / \tau, \qquad \nabla_D = P^\top Q / \tau

    These are three matrix products, less what the positives take. Symmetric takes four, since the
    denominators of columns must be known before, and so does ``reduction="none"``, whose weights
    w are known in the backward pass alone. There is no second derivative.

    Args:
        query: shape [B, D].
        positive: the positive of each query, shape [B, D].
        negatives: shared by all queries, shape [N, D].
        temperature: tau, above 0; a tensor of one element may be learned.
        normalize: whether similarities are cosines, not dot products.
        positive_pairs: (query, candidate) of positives beside a query's own, integers, shape
            [E, 2]; candidates are the B positives of the batch and then the negatives.
        excluded_pairs: (query, candidate) of what is not to be used as a negative, such as false
            negatives, integers, shape [E, 2].
        negative_weights: beta of each candidate, not negative, shape [B + N]; or a function, as for
            the plain form, that meets all candidates of a block of queries and gets the same
            numbers for a query however blocks are cut.
        sample_weights: weight of each query's loss, shape [B], without gradient; the mean divides
            by B, not by them.
        symmetric: whether positives look for their queries, too.
        several: "mean_of_logs" or "log_of_sum".
        require_negatives: False for a loss of 0, not an error, where pairs leave no negative.
        block_rows: queries in a block; None for similarities of 160 MB.
        reduction: "mean", "sum" or "none".

    Returns:
        The loss, in float32 for half precision; shape [B] without reduction.

    Raises:
        InputError: shapes do not fit, embeddings that are zero (with ``normalize``) or not finite,
            a temperature that is not above 0, pairs out of range or that leave a query no negative,
            or an unknown form or reduction.

    Source: as for the plain form; gradients in the forward pass by blocks: Gao et al. 2021, arXiv
    2101.06983, section 3.2, where each block goes through automatic differentiation.

    >>> query = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> blockwise_info_nce(query, query, temperature=0.5)
    tensor(0.1269)
    >>> same = torch.tensor([[0, 1], [1, 0]])
    >>> blockwise_info_nce(query, query, negatives=-query, temperature=0.5, excluded_pairs=same)
    tensor(0.1429)
    """
    check_choice("several", several, FORMS)
    check_choice("reduction", reduction, ("mean", "sum", "none"))
    number = check_temperature(temperature)
    if negatives is not None:
        check_shape("negatives", negatives, "N", "D")
    if block_rows is not None:
        check_range("block_rows", block_rows, 1)
    query, positive, negatives = as_embeddings(query, positive, negatives, normalize=normalize)
    with torch.autocast(query.device.type, enabled=False):
        query = query / temperature  # under its old name, so that no further copy is kept
        candidates = positive if negatives is None else torch.cat([positive, negatives])
        blocks = SimilarityBlocks.of(
            candidates,
            len(query),
            number,
            positive_pairs=positive_pairs,
            excluded_pairs=excluded_pairs,
            weights=negative_weights,
            rows=block_rows,
        )
        if require_negatives and not (positive_pairs is None and excluded_pairs is None):
            name = "positive_pairs" if excluded_pairs is None else "excluded_pairs"
            check_negatives_left(name, blocks.has_negatives(len(candidates)))
            if symmetric:
                check_negatives_left(name, blocks.turned().has_negatives(len(query)))
        at_once = symmetric and not callable(negative_weights)
        form = _Form(several, at_once)
        loss = _loss(query, candidates, blocks, form, sample_weights, reduction)
        if symmetric and not at_once:
            # logits do not change if the temperature moves from queries to positives
            turned = blocks.turned()
            loss = (loss + _loss(positive, query, turned, form, sample_weights, reduction)) / 2
        return loss


class _Form(NamedTuple):
    """How logits become losses."""

    several: str
    symmetric: bool


class _Problem(NamedTuple):
    """All that losses depend on but the weights."""

    queries: torch.Tensor
    candidates: torch.Tensor
    blocks: SimilarityBlocks
    form: _Form


def _loss(
    queries: torch.Tensor,
    candidates: torch.Tensor,
    blocks: SimilarityBlocks,
    form: _Form,
    sample_weights: torch.Tensor | None,
    reduction: str,
) -> torch.Tensor:
    """The reduced loss of queries that are divided by the temperature."""
    if reduction == "none":
        losses: torch.Tensor = _Losses.apply(queries, candidates, blocks, form)  # type: ignore[no-untyped-call]
        return weigh(losses, sample_weights)
    weights = weigh(queries.new_ones(len(queries)), sample_weights)
    if reduction == "mean":
        weights = weights / len(weights)
    with_gradient = torch.is_grad_enabled() and (queries.requires_grad or candidates.requires_grad)
    total: torch.Tensor = _Total.apply(  # type: ignore[no-untyped-call]
        queries, candidates, blocks, form, weights, with_gradient
    )
    return total


class _Back(NamedTuple):
    """The way back, from the positives of the batch to the queries.

    Attributes:
        denominators: their logs, shape [B].
        found: the joined logits of the queries that each positive is to find, shape [B].
        shares: of each pair of query and positive in them, shape [E]; 0 beyond the batch.
    """

    denominators: torch.Tensor
    found: torch.Tensor
    shares: torch.Tensor


def _back(problem: _Problem) -> _Back | None:
    """What a first pass over all blocks finds out of the way back; None if not symmetric."""
    queries, candidates, blocks, form = problem
    if not form.symmetric:
        return None
    within = blocks.within_batch()
    sums = torch.full_like(queries[:, 0], -torch.inf)
    logits = queries.new_empty(within.positives.shape[1])
    for block in within.blocks(queries, candidates[: blocks.size]):
        logits[block.pairs] = block.logits[block.positives]
        sums = torch.logaddexp(sums, block.logits.logsumexp(0))
    shares = queries.new_zeros(blocks.positives.shape[1])
    found, shares[blocks.positives[1] < blocks.size] = _joined(
        logits, within.positives[1], blocks.size, form.several
    )
    return _Back(sums, found, shares)


def _joined(
    logits: torch.Tensor, group: torch.Tensor, size: int, several: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits of positives joined by group [size], and the share of each in it."""
    joined = logits.new_zeros(size)
    if several == "mean_of_logs":
        shares = 1 / torch.bincount(group, minlength=size).to(logits.dtype)[group]
        return joined.index_add_(0, group, logits * shares), shares
    largest = torch.full_like(joined, -torch.inf).scatter_reduce_(0, group, logits, "amax")
    shares = (logits - largest[group]).exp_()
    sums = joined.index_add_(0, group, shares)
    return largest + sums.log(), shares / sums[group]


def _run(
    problem: _Problem, back: _Back | None, weights: torch.Tensor | None = None
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor] | None]:
    """Losses [B], and for weights [B] the gradients of their weighted sum."""
    queries, candidates, blocks, form = problem
    losses = torch.empty_like(queries[:, 0])
    gradients = None
    if weights is not None:
        weights = weights if back is None else weights / 2
        gradients = torch.empty_like(queries), torch.zeros_like(candidates)
    for block in blocks.blocks(queries, candidates):
        rows, logits = block.rows, block.logits
        found, shares = _joined(
            logits[block.positives], block.positives[0], len(logits), form.several
        )
        returned = None
        if back is not None and weights is not None:
            returned = (logits[:, : blocks.size] - back.denominators).exp_().mul_(weights)
        largest = logits.amax(1, keepdim=True)
        pull = logits.sub_(largest).exp_()
        sums = pull.sum(1, keepdim=True)
        losses[rows] = (largest[:, 0] - found) + sums[:, 0].log()
        if weights is None or gradients is None:
            continue
        # positives are taken off here, where no rounding of products hides a small difference
        pull[block.positives] -= shares * sums[block.positives[0], 0]
        scale = weights[rows, None] / sums
        if back is None or returned is None:
            torch.mm(pull, candidates, out=gradients[0][rows]).mul_(scale)
            gradients[1].addmm_(pull.T, queries[rows] * scale)
        else:
            pull.mul_(scale)[:, : blocks.size] += returned
            column = block.positives[1].clamp(max=blocks.size - 1)
            pull[block.positives] -= weights[column] * back.shares[block.pairs]
            torch.mm(pull, candidates, out=gradients[0][rows])
            gradients[1].addmm_(pull.T, queries[rows])
    if back is not None:
        losses = (losses + back.denominators - back.found) / 2
    return losses, gradients


class _Total(torch.autograd.Function):
    """The weighted sum of losses, whose gradient is computed along with it."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: torch.Tensor,
        candidates: torch.Tensor,
        blocks: SimilarityBlocks,
        form: _Form,
        weights: torch.Tensor,
        with_gradient: bool,
    ) -> torch.Tensor:
        problem = _Problem(queries, candidates, blocks, form)
        wanted = weights if with_gradient else None
        losses, gradients = _run(problem, _back(problem), wanted)
        if gradients is not None:
            ctx.save_for_backward(*gradients)
        return losses @ weights

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        of_queries, of_candidates = ctx.saved_tensors
        return of_queries * gradient, of_candidates * gradient, None, None, None, None


class _Losses(torch.autograd.Function):
    """The losses of queries, whose gradient is computed when their weights are known."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: torch.Tensor,
        candidates: torch.Tensor,
        blocks: SimilarityBlocks,
        form: _Form,
    ) -> torch.Tensor:
        problem = _Problem(queries, candidates, blocks, form)
        ctx.save_for_backward(queries, candidates)
        ctx.rest, ctx.back = (blocks, form), _back(problem)
        return _run(problem, ctx.back)[0]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradients = _run(_Problem(*ctx.saved_tensors, *ctx.rest), ctx.back, gradient)[1]
        assert gradients is not None
        return *gradients, None, None
