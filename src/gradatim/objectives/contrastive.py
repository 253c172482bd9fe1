"""Contrastive losses: InfoNCE over in-batch and further negatives, and a loss without hardness."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from gradatim.core.checks import check_choice, check_range, check_same_shape, check_shape, reduce
from gradatim.core.errors import InputError
from gradatim.core.precision import at_least_float32
from gradatim.objectives.contrastive_inputs import (
    as_embeddings,
    check_negatives_left,
    check_temperature,
    weigh,
)

WeightRule = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
FORMS = ("mean_of_logs", "log_of_sum")


def info_nce(
    query: torch.Tensor,
    positive: torch.Tensor,
    *,
    negatives: torch.Tensor | None = None,
    temperature: float | torch.Tensor = 0.05,
    normalize: bool = True,
    in_batch: bool = True,
    positive_mask: torch.Tensor | None = None,
    negative_mask: torch.Tensor | None = None,
    negative_weights: torch.Tensor | WeightRule | None = None,
    sample_weights: torch.Tensor | None = None,
    symmetric: bool = False,
    several: str = "mean_of_logs",
    require_negatives: bool = True,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""InfoNCE: find the positive of each query among its candidates.

    .. math:: L_i = -\frac{1}{|P_i|} \sum_{p \in P_i} \log \frac{e^{s_{ip} / \tau}}
        {\sum_{p' \in P_i} e^{s_{ip'} / \tau} + \sum_{j \in N_i} \beta_{ij} e^{s_{ij} / \tau}}

    The candidates of a query are the C = B + N columns of the batch's positives and then the
    negatives; with ``in_batch=False`` they are the C = N negatives and its own positive. A memory
    queue is ``negatives``. Several positives, as in supervised contrastive learning, enter by the
    mean of their logs as above, or by the log of their sum,

    .. math:: L_i = -\log \frac{\sum_{p \in P_i} e^{s_{ip} / \tau}}
        {\sum_{p \in P_i} e^{s_{ip} / \tau} + \sum_{j \in N_i} \beta_{ij} e^{s_{ij} / \tau}}

    Symmetric is the mean of this and of the loss that finds the query of each positive among the
    queries; the negatives take part in the first alone. For batches whose similarities do not fit
    into memory see :func:`~gradatim.objectives.contrastive_blocks.blockwise_info_nce`.

    Args:
        query: shape [B, D].
        positive: the positive of each query, shape [B, D].
        negatives: shared by all queries, shape [N, D], or of each query, shape [B, N, D].
        temperature: tau, above 0; a tensor of one element may be learned.
        normalize: whether similarities are cosines, not dot products.
        in_batch: whether the positives of other queries are candidates.
        positive_mask: which candidates are positives beside a query's own, booleans, shape [B, B]
            or [B, C]; for ``in_batch`` only.
        negative_mask: which candidates are used as negatives, booleans, broadcastable to [B, C];
            what it says of positives has no effect.
        negative_weights: beta, not negative, broadcastable to [B, C]; or a function of detached
            similarities [B, C], those of the own positives [B], and a mask [B, C] of what are
            negatives, that gives them. No gradient flows into weights.
        sample_weights: weight of each query's loss, shape [B], without gradient; the mean divides
            by B, not by them.
        symmetric: whether positives look for their queries, too; for ``in_batch`` only.
        several: "mean_of_logs" or "log_of_sum".
        require_negatives: False for a loss of 0, not an error, where masks leave no negative.
        reduction: "mean", "sum" or "none".

    Returns:
        The loss, in float32 for half precision; shape [B] without reduction.

    Raises:
        InputError: shapes do not fit, embeddings that are zero (with ``normalize``) or not finite,
            a temperature that is not above 0, masks that leave a query no negative, an unknown
            form or reduction, or an option that needs ``in_batch``.

    Source: van den Oord et al. 2018, arXiv 1807.03748, equation 4; temperature: Wang and Liu 2021,
    arXiv 2012.09740, equation 1; several positives: Khosla et al. 2020, arXiv 2004.11362,
    equations 2 and, but for a constant, 3; symmetric: Radford et al. 2021, arXiv 2103.00020.

    >>> query = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> info_nce(query, query, temperature=0.5)
    tensor(0.1269)
    >>> info_nce(query, query, negatives=-query, temperature=0.5, reduction="none")
    tensor([0.2539, 0.2539])
    """
    check_choice("several", several, FORMS)
    check_temperature(temperature)
    if not in_batch and (symmetric or positive_mask is not None or negatives is None):
        name = "negatives" if negatives is None else "symmetric" if symmetric else "positive_mask"
        expected = "a tensor" if negatives is None else "False" if symmetric else "None"
        raise InputError(f"{name}: expected {expected} with in_batch=False")
    query, positive, negatives = as_embeddings(query, positive, negatives, normalize=normalize)
    with torch.autocast(query.device.type, enabled=False):
        parts = [query @ positive.T] if in_batch else []
        if negatives is not None and negatives.ndim == 2:
            parts.append(query @ negatives.T)
        elif negatives is not None:
            parts.append((negatives @ query[:, :, None])[:, :, 0])
        similarity = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        candidates = _Candidates(
            similarity,
            (query * positive).sum(1),
            _positives(similarity, positive_mask) if in_batch else None,
            _expand("negative_mask", negative_mask, similarity),
            _expand("negative_weights", negative_weights, similarity),
            only_own=positive_mask is None,
        )
        masked = "negative_mask" if positive_mask is None else "positive_mask"
        checked = require_negatives and not (negative_mask is None and positive_mask is None)
        options = (temperature, several, masked if checked else None)
        loss = candidates.losses(*options)
        if symmetric:
            loss = (loss + candidates.turned().losses(*options)) / 2
        return reduce(weigh(loss, sample_weights), reduction)


def info_nce_from_similarity(
    positive: torch.Tensor,
    negatives: torch.Tensor,
    *,
    temperature: float | torch.Tensor = 0.05,
    mask: torch.Tensor | None = None,
    negative_weights: torch.Tensor | WeightRule | None = None,
    sample_weights: torch.Tensor | None = None,
    require_negatives: bool = True,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""InfoNCE of similarities that are known already.

    .. math:: L_i = -\log \frac{e^{s_i / \tau}}
        {e^{s_i / \tau} + \sum_j \beta_{ij} e^{s_{ij} / \tau}}

    Its gradient is :math:`P_{ij} / \tau` for a negative, with P the shares of the denominator, and
    minus their sum for the positive: what is hard gets most of it, the more so the smaller the
    temperature.

    Args:
        positive: similarity of each query to its positive, s, shape [B].
        negatives: to its negatives, shape [B, K].
        temperature: tau, above 0; a tensor of one element may be learned.
        mask: which negatives are used, booleans, broadcastable to [B, K].
        negative_weights: beta, not negative, broadcastable to [B, K], or a function, as for
            :func:`info_nce`.
        sample_weights: weight of each query's loss, shape [B], without gradient; the mean divides
            by B, not by them.
        require_negatives: False for a loss of 0, not an error, where a mask leaves no negative.
        reduction: "mean", "sum" or "none".

    Returns:
        The loss, in float32 for half precision; shape [B] without reduction.

    Raises:
        InputError: shapes do not fit, a temperature that is not above 0, a mask that leaves a query
            no negative, or an unknown reduction.

    Source: van den Oord et al. 2018, arXiv 1807.03748, equation 4; the gradient: Wang and Liu 2021,
    arXiv 2012.09740, equation 4.

    >>> similarity = torch.tensor([0.8]), torch.tensor([[0.6, 0.2]])
    >>> info_nce_from_similarity(*similarity, temperature=0.5)
    tensor(0.6788)
    """
    check_temperature(temperature)
    _check_similarities(positive, negatives)
    candidates = _Candidates(
        at_least_float32(negatives),
        at_least_float32(positive),
        None,
        _expand("mask", mask, negatives),
        _expand("negative_weights", negative_weights, negatives),
    )
    checked = "mask" if require_negatives and mask is not None else None
    loss = candidates.losses(temperature, "mean_of_logs", checked)
    return reduce(weigh(loss, sample_weights), reduction)


def simple_contrastive(
    positive: torch.Tensor,
    negatives: torch.Tensor,
    *,
    weight: float = 1.0,
    mask: torch.Tensor | None = None,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""Attract the positive and repel all negatives alike, however hard they are.

    .. math:: L_i = -s_i + \lambda \sum_{j \in N_i} s_{ij}

    With :math:`\lambda = 1 / K` its gradient is, but for a factor, that of InfoNCE at a temperature
    that grows without bound.

    Args:
        positive: similarity of each query to its positive, s, shape [B].
        negatives: to its negatives, shape [B, K].
        weight: lambda, of each negative.
        mask: which negatives are used, booleans, broadcastable to [B, K].
        reduction: "mean", "sum" or "none".

    Returns:
        The loss, in float32 for half precision; shape [B] without reduction.

    Raises:
        InputError: shapes do not fit, a weight that is not finite, or an unknown reduction.

    Source: Wang and Liu 2021, arXiv 2012.09740, equation 2.

    >>> simple_contrastive(torch.tensor([0.8]), torch.tensor([[0.6, 0.2]]), weight=0.5)
    tensor(-0.4000)
    """
    check_range("weight", weight)
    _check_similarities(positive, negatives)
    used = _expand("mask", mask, negatives)
    repelled = at_least_float32(negatives)
    if used is not None:
        repelled = repelled.masked_fill(~used, 0.0)
    return reduce(weight * repelled.sum(1) - at_least_float32(positive), reduction)


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Candidates of queries: similarities [B, C], which are positives, and what is said of others.

    Without ``positives`` the own positive stands beside the candidates, not among them; else it is
    on the diagonal.
    """

    similarity: torch.Tensor
    own: torch.Tensor
    positives: torch.Tensor | None
    mask: torch.Tensor | None
    weights: torch.Tensor | WeightRule | None
    only_own: bool = True

    def turned(self) -> "_Candidates":
        """The positives of the batch as queries, and the queries as candidates."""
        size = len(self.own)

        def turn(value: Any) -> Any:
            return value[:, :size].T if isinstance(value, torch.Tensor) else value

        return _Candidates(
            turn(self.similarity), self.own, turn(self.positives), turn(self.mask),
            turn(self.weights), self.only_own,
        )  # fmt: skip

    def losses(
        self, temperature: float | torch.Tensor, several: str, checked: str | None
    ) -> torch.Tensor:
        """The loss of each query, shape [B]; ``checked`` is to blame where one has no negative."""
        used = self._used()
        if checked is not None and used is not None:
            check_negatives_left(checked, used.any(1))
        logits = self.similarity / temperature
        if self.weights is not None:
            logits = logits + self._log_weights(used)
        if used is not None and self.mask is not None:
            kept = used if self.positives is None else used | self.positives
            logits = logits.masked_fill(~kept, -torch.inf)
        if self.positives is None:
            own = self.own / temperature
            return torch.cat([own[:, None], logits], dim=1).logsumexp(1) - own
        if self.only_own:
            found = logits.diagonal()
        elif several == "mean_of_logs":
            share = self.positives / self.positives.sum(1, keepdim=True)
            found = (logits.masked_fill(~self.positives, 0.0) * share).sum(1)
        else:
            found = logits.masked_fill(~self.positives, -torch.inf).logsumexp(1)
        return logits.logsumexp(1) - found

    def _used(self) -> torch.Tensor | None:
        """Which candidates are negatives, booleans [B, C]; None for all."""
        if self.positives is None:
            return self.mask
        return ~self.positives if self.mask is None else self.mask & ~self.positives

    def _log_weights(self, used: torch.Tensor | None) -> torch.Tensor:
        """The logs of the weights of negatives, 0 for positives, shape [B, C]."""
        weights = self.weights
        if not isinstance(weights, torch.Tensor):
            assert weights is not None
            negatives = torch.ones_like(self.similarity, dtype=torch.bool) if used is None else used
            weights = weights(self.similarity.detach(), self.own.detach(), negatives)
            check_same_shape("negative_weights", weights, "the candidates", self.similarity)
        logs = weights.detach().to(self.similarity.dtype).log()
        return logs if self.positives is None else logs.masked_fill(self.positives, 0.0)


def _positives(similarity: torch.Tensor, positive_mask: torch.Tensor | None) -> torch.Tensor:
    """Which candidates are positives, booleans [B, C]: a query's own and those of the mask."""
    size, count = similarity.shape
    positives = torch.zeros_like(similarity, dtype=torch.bool)
    positives.fill_diagonal_(True)
    if positive_mask is not None:
        width = size if positive_mask.shape[-1:] == (size,) else count
        check_shape("positive_mask", positive_mask, size, width)
        _check_boolean("positive_mask", positive_mask)
        positives[:, :width] |= positive_mask.to(positives.device)
    return positives


def _expand(name: str, value: Any, similarity: torch.Tensor) -> Any:
    """A mask or weights for each candidate, shape [B, C]; None and functions stay what they are."""
    if not isinstance(value, torch.Tensor):
        return value
    if name.endswith("mask"):
        _check_boolean(name, value)
    try:
        return value.to(similarity.device).expand_as(similarity)
    except RuntimeError:
        raise InputError(
            f"{name}: expected a shape that broadcasts to {list(similarity.shape)}, one column for "
            f"each candidate, got {list(value.shape)}"
        ) from None


def _check_boolean(name: str, value: torch.Tensor) -> None:
    if value.dtype is not torch.bool:
        raise InputError(f"{name}: expected booleans, got {value.dtype}")


def _check_similarities(positive: torch.Tensor, negatives: torch.Tensor) -> None:
    check_shape("positive", positive, "B")
    check_shape("negatives", negatives, len(positive), "K")
