"""Exact nearest neighbours: the best k of a corpus for every query, in bounded memory."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from gradatim.core.bfloat16_search import (
    Bounds,
    Candidates,
    Rounded,
    has_matrix_instructions,
    key_below,
    largest_error,
    rounded,
)
from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.core.search_tiles import Embeddings, ban, improve, ordered, take

Metric: TypeAlias = Literal["dot", "cosine", "l2"]
Prefilter: TypeAlias = Literal["auto", "bfloat16", "none"]

_RESCORED = 1 << 21  # numbers gathered at a time to compute scores of single rows
_LARGE = 3e10  # multiplications from which a first pass in bfloat16 pays
_HUGE = 1e18  # numbers of at most this size cannot overflow when they are rounded


@dataclass(frozen=True)
class TopK:
    """The best corpus rows of every query, best first.

    Attributes:
        scores: [Q, k] float32, descending.
        index: [Q, k] int64 positions in the corpus.
    """

    scores: Tensor
    index: Tensor


@torch.no_grad()
def top_k(
    queries: Embeddings,
    corpus: Embeddings,
    k: int,
    *,
    metric: Metric = "dot",
    exclude: Tensor | None = None,
    block: int | None = None,
    device: torch.device | str | None = None,
    prefilter: Prefilter = "auto",
) -> TopK:
    """Find the k corpus rows of highest score for every query, exactly.

    ``dot``: ``q · c``; ``cosine``: ``q · c / (|q| |c|)``, 0 if either is zero; ``l2``:
    ``-|q - c|²``, the negative squared distance. Products are summed in float32, and in float64
    for ``l2`` and for float64 or integer input (but not on "mps", which has none). Equal scores
    are in the order of the corpus; scores that differ by rounding alone count as different.

    A large float32 search by ``dot`` or ``cosine`` first multiplies in bfloat16 where the processor
    has instructions for it, keeps every row that a bound on the error of rounding does not rule
    out (`gradatim.core.bfloat16_search.candidate_bar`), and computes the scores of those again in
    float32: the result is that of the float32 products but for scores closer than rounding.

    Beside input and output, memory holds one tile of scores (512 queries by ``block`` rows on a
    CPU, 1024 by ``block`` elsewhere) and the rows of one tile; with the first pass in bfloat16
    also the queries in bfloat16 and ``2 k + 64`` candidates a query. A memory-mapped corpus is
    read a block at a time.

    Args:
        queries: [Q, D] tensor or array of numbers; half precision is allowed.
        corpus: [N, D] tensor or array of numbers.
        k: how many to return, at most N.
        metric: what a score is.
        exclude: [Q, E] integer positions that a query must not find (its own, its positives); -1
            stands for none.
        block: corpus rows at a time; by default 8192 on a CPU, 65536 elsewhere, more for large k.
        device: where to compute; by default where the queries are.
        prefilter: whether products are first taken in bfloat16: "auto" where it pays, "bfloat16"
            or "none" always; on a CPU only.

    Returns:
        Scores and positions, on the queries' device.

    Raises:
        InputError: shapes that do not fit, k larger than what is left of the corpus, an excluded
            position that does not exist, or a number that is not finite (its row is named).

    >>> corpus = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> top_k(torch.tensor([[2.0, 1.0]]), corpus, k=2).index
    tensor([[2, 0]])
    """
    check_choice("metric", metric, ("dot", "cosine", "l2"))
    check_choice("prefilter", prefilter, ("auto", "bfloat16", "none"))
    home = queries.device if isinstance(queries, Tensor) else torch.device("cpu")
    place = torch.device(device) if device is not None else home
    step = 512 if place.type == "cpu" else 1024
    width = block if block is not None else max(8192 if place.type == "cpu" else 65536, 16 * k)
    check_range("block", width, 1)
    _check_sizes(queries, corpus, k)
    largest = _check_numbers(queries, corpus, metric, step * 16, width)
    banned = None if exclude is None else _check_exclude(exclude, queries, corpus, k).to(place)
    wide = metric == "l2" or _needs_float64(queries) or _needs_float64(corpus)
    dtype = torch.float64 if wide and place.type != "mps" else torch.float32
    search = _Search(queries, corpus, metric, place, dtype)
    first_pass = prefilter == "bfloat16" or (
        prefilter == "auto"
        and float(len(queries)) * len(corpus) * queries.shape[1] >= _LARGE
        and has_matrix_instructions()
    )
    if first_pass and search.can_round and (metric == "cosine" or largest < _HUGE):
        scores, index = search.run_prefiltered(k, banned, 2 * step, width)
    else:
        scores, index = search.run(k, banned, step, width)
    return TopK(scores.to(home), index.to(home))


class _Search:
    """One search: the running best of all queries, improved by a block of the corpus at a time."""

    def __init__(
        self,
        queries: Embeddings,
        corpus: Embeddings,
        metric: Metric,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.queries, self.corpus, self.metric = queries, corpus, metric
        self.device, self.dtype = device, dtype

    def run(self, k: int, banned: Tensor | None, step: int, width: int) -> tuple[Tensor, Tensor]:
        """Search all blocks; returns scores in float32 and positions, in their final order."""
        size, total = len(self.queries), len(self.corpus)
        scores = torch.full((size, k), -torch.inf, dtype=self.dtype, device=self.device)
        index = torch.full((size, k), -1, dtype=torch.int64, device=self.device)
        centre = self._centre(width) if self.metric == "l2" else None
        for start in range(0, total, width):
            rows = self._prepare(self.corpus, slice(start, start + width), centre)
            bias = None if centre is None else -0.5 * rows.square().sum(1)
            for first in range(0, size, step):
                part = slice(first, first + step)
                q = self._prepare(self.queries, part, centre)
                tile = q @ rows.T if bias is None else torch.addmm(bias, q, rows.T)
                if banned is not None:
                    ban(tile, banned[part] - start)
                improve(scores[part], index[part], tile, start)
        if self.metric == "l2":
            self._rescore(scores, index)
        return ordered(scores.to(torch.float32), index)

    @property
    def can_round(self) -> bool:
        """Whether a first pass in bfloat16 has a bound here."""
        return self.metric != "l2" and self.dtype == torch.float32 and self.device.type == "cpu"

    def run_prefiltered(
        self, k: int, banned: Tensor | None, step: int, width: int
    ) -> tuple[Tensor, Tensor]:
        """Search in bfloat16, and score what can be among the best k in float32."""
        size, total = len(self.queries), len(self.corpus)
        bounds = Bounds(0.0, 0.0, 0.0)
        for start in range(0, total, width):
            rows = self._prepare(self.corpus, slice(start, start + width))
            bounds = bounds.widened(rounded(rows))
        parts: list[tuple[slice, Rounded, Tensor]] = []
        for first in range(0, size, step):
            part = slice(first, first + step)
            q = rounded(self._prepare(self.queries, part))
            parts.append((part, q, largest_error(q, bounds)))
        candidates = Candidates(size, k, min(2 * k + 64, total))
        for start in range(0, total, width):
            low = self._prepare(self.corpus, slice(start, start + width)).to(torch.bfloat16)
            for part, q, error in parts:
                candidates.add(part, q, error, low, start, None if banned is None else banned[part])
        scores = torch.empty((size, k), dtype=self.dtype, device=self.device)
        index = torch.empty((size, k), dtype=torch.int64, device=self.device)
        crowded = []
        for part, _, error in parts:
            key, found, full = candidates.found(part, error)
            best = ordered(self._rescored(part, key, found, error, k), found)
            scores[part], index[part] = best[0][:, :k], best[1][:, :k]
            crowded.append(full.nonzero()[:, 0] + part.start)
        again = torch.cat(crowded)
        if len(again):
            chosen = take(self.queries, again, self.device, self.dtype)
            search = _Search(chosen, self.corpus, self.metric, self.device, self.dtype)
            own = None if banned is None else banned[again]
            scores[again], index[again] = search.run(k, own, step, width)
        return scores, index

    def _rescored(self, part: slice, key: Tensor, found: Tensor, error: Tensor, k: int) -> Tensor:
        """Scores in float32 of what can still be among the best k; minus infinity for the rest.

        The k rows of highest rounded scores come first; the least of their scores then rules out
        most others.
        """
        q = self._prepare(self.queries, part)
        scores = torch.full(found.shape, -torch.inf, dtype=self.dtype, device=self.device)
        scores[:, :k] = self._products(q, found[:, :k]).view(-1, k)
        bar = key_below(scores[:, :k].amin(1) - error)
        left = (found[:, k:] >= 0) & (key[:, k:] >= bar[:, None])
        row, column = left.nonzero(as_tuple=True)
        scores[row, column + k] = self._products(q.index_select(0, row), found[row, column + k])
        return scores

    def _products(self, queries: Tensor, found: Tensor) -> Tensor:
        """Scores of corpus rows, [R, C] or [R] positions for [R, D] queries, flattened."""
        each = found.shape[1] if found.ndim == 2 else 1
        step = max(1, _RESCORED // (each * max(queries.shape[1], 1)))
        scores = [queries.new_zeros(0)]
        for first in range(0, len(queries), step):
            own = found[first : first + step].reshape(-1)
            rows = self._prepare(self.corpus, own).view(-1, each, queries.shape[1])
            scores.append((rows * queries[first : first + step, None]).sum(2).flatten())
        return torch.cat(scores)

    def _prepare(
        self, source: Embeddings, where: slice | Tensor, centre: Tensor | None = None
    ) -> Tensor:
        """Rows of a source as they enter the products."""
        rows = take(source, where, self.device, self.dtype)
        if centre is not None:
            return rows - centre
        if self.metric == "cosine":
            tiny = torch.finfo(self.dtype).tiny
            rows = rows / rows.abs().amax(1, keepdim=True).clamp_min(tiny)  # squares stay in range
            norms: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
            return rows / norms.clamp_min(tiny)
        return rows

    def _centre(self, width: int) -> Tensor:
        """Mean of the corpus, which is subtracted so that products round less than distances.

        It is a whole number, so that distances of whole numbers stay exact, ties included.
        """
        total = torch.zeros(self.corpus.shape[1], dtype=self.dtype, device=self.device)
        for start in range(0, len(self.corpus), width):
            part = slice(start, start + width)
            total += take(self.corpus, part, self.device, self.dtype).sum(0)
        return (total / len(self.corpus)).round()

    def _rescore(self, scores: Tensor, index: Tensor) -> None:
        """Replace scores by squared distances from differences, exactly 0 for equal rows."""
        k, dimensions = index.shape[1], self.corpus.shape[1]
        step = max(1, _RESCORED // (k * dimensions))
        for first in range(0, len(index), step):
            part = slice(first, first + step)
            found = take(self.corpus, index[part].reshape(-1), self.device, self.dtype)
            q = take(self.queries, part, self.device, self.dtype)
            difference = found.view(len(q), k, dimensions) - q[:, None]
            scores[part] = -difference.square().sum(2)


def _needs_float64(source: Embeddings) -> bool:
    name = str(source.dtype) if isinstance(source, Tensor) else source.dtype.name
    return name.removeprefix("torch.") not in ("float32", "float16", "bfloat16")


def _check_sizes(queries: Embeddings, corpus: Embeddings, k: int) -> None:
    for name, value in (("queries", queries), ("corpus", corpus)):
        if value.ndim != 2:
            raise InputError(f"{name}: expected shape [rows, D], got {list(value.shape)}")
    if queries.shape[1] != corpus.shape[1]:
        raise InputError(
            f"queries: expected {corpus.shape[1]} dimensions as the corpus has, "
            f"got {queries.shape[1]}"
        )
    if not 1 <= k <= len(corpus):
        raise InputError(f"k: expected 1 to {len(corpus)}, the size of the corpus, got {k}")


def _check_numbers(queries: Embeddings, corpus: Embeddings, metric: Metric, *steps: int) -> float:
    """Refuse numbers that cannot be scored; returns the largest absolute number."""
    largest = []
    for name, source, step in zip(("queries", "corpus"), (queries, corpus), steps, strict=True):
        largest.append(0.0)
        for start in range(0, len(source), step):
            part = source[start : start + step]
            peak = 0.0 if 0 in part.shape else float(_absolute(part).max())
            if not np.isfinite(peak):
                rows = torch.as_tensor(part).isfinite().all(1)
                row = start + int(rows.logical_not().nonzero()[0])
                raise InputError(
                    f"{name}: expected finite numbers, got nan or infinity at row {row}"
                )
            largest[-1] = max(largest[-1], peak)
    bound = (max(largest) * 2.0) ** 2 if metric == "l2" else largest[0] * largest[1]
    if metric != "cosine" and bound * queries.shape[1] > torch.finfo(torch.float32).max:
        raise InputError(
            f"embeddings: expected numbers whose scores fit float32, got up to {max(largest):.3g}"
        )
    return max(largest)


def _absolute(part: Embeddings) -> Any:
    return part.abs() if isinstance(part, Tensor) else np.abs(part)


def _check_exclude(exclude: Tensor, queries: Embeddings, corpus: Embeddings, k: int) -> Tensor:
    if exclude.ndim != 2 or len(exclude) != len(queries) or exclude.is_floating_point():
        raise InputError(
            f"exclude: expected integers of shape [{len(queries)}, E], "
            f"got {exclude.dtype} of shape {list(exclude.shape)}"
        )
    size = len(corpus)
    wrong = ((exclude < -1) | (exclude >= size)).nonzero()
    if len(wrong):
        row, column = wrong[0].tolist()
        raise InputError(
            f"exclude: expected positions from -1 to {size - 1}, "
            f"got {int(exclude[row, column])} at row {row}"
        )
    if k + exclude.shape[1] > size:
        ranked = exclude.sort(1).values
        new = torch.ones_like(ranked, dtype=torch.bool)
        new[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
        left = size - (new & (ranked >= 0)).sum(1)
        short = (left < k).nonzero()
        if len(short):
            row = int(short[0])
            raise InputError(
                f"k: expected at most {int(left[row])}, what is left of the corpus "
                f"for query {row}, got {k}"
            )
    return exclude
