"""Exact nearest neighbours: the best k of a corpus for every query, in bounded memory."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError

Metric: TypeAlias = Literal["dot", "cosine", "l2"]
Embeddings: TypeAlias = Tensor | NDArray[Any]

_GROUP_SIZES = (64, 32, 16, 8)  # neighbouring scores first looked at by their peak alone
_RESCORED = 1 << 21  # numbers gathered at a time to compute distances from differences


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
) -> TopK:
    """Find the k corpus rows of highest score for every query, exactly.

    ``dot``: ``q · c``; ``cosine``: ``q · c / (|q| |c|)``, 0 if either is zero; ``l2``:
    ``-|q - c|²``, the negative squared distance. Products are summed in float32, and in float64
    for ``l2`` and for float64 or integer input (but not on "mps", which has none). Equal scores
    are in the order of the corpus; scores that differ by rounding alone count as different.

    Beside input and output, memory holds one tile of scores (512 queries by ``block`` rows on a
    CPU, 1024 by ``block`` elsewhere) and the rows of one tile; a memory-mapped corpus is read a
    block at a time.

    Args:
        queries: [Q, D] tensor or array of numbers; half precision is allowed.
        corpus: [N, D] tensor or array of numbers.
        k: how many to return, at most N.
        metric: what a score is.
        exclude: [Q, E] integer positions that a query must not find (its own, its positives); -1
            stands for none.
        block: corpus rows at a time; by default 8192 on a CPU, 65536 elsewhere, more for large k.
        device: where to compute; by default where the queries are.

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
    home = queries.device if isinstance(queries, Tensor) else torch.device("cpu")
    place = torch.device(device) if device is not None else home
    step = 512 if place.type == "cpu" else 1024
    width = block if block is not None else max(8192 if place.type == "cpu" else 65536, 16 * k)
    check_range("block", width, 1)
    _check_sizes(queries, corpus, k)
    _check_numbers(queries, corpus, metric, step * 16, width)
    banned = None if exclude is None else _check_exclude(exclude, queries, corpus, k).to(place)
    wide = metric == "l2" or _needs_float64(queries) or _needs_float64(corpus)
    dtype = torch.float64 if wide and place.type != "mps" else torch.float32
    search = _Search(queries, corpus, metric, place, dtype)
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
                    _ban(tile, banned[part] - start)
                _improve(scores[part], index[part], tile, start)
        if self.metric == "l2":
            self._rescore(scores, index)
        return _ordered(scores.to(torch.float32), index)

    def _prepare(
        self, source: Embeddings, where: slice | Tensor, centre: Tensor | None = None
    ) -> Tensor:
        """Rows of a source as they enter the products."""
        rows = _take(source, where, self.device, self.dtype)
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
            total += _take(self.corpus, part, self.device, self.dtype).sum(0)
        return (total / len(self.corpus)).round()

    def _rescore(self, scores: Tensor, index: Tensor) -> None:
        """Replace scores by squared distances from differences, exactly 0 for equal rows."""
        k, dimensions = index.shape[1], self.corpus.shape[1]
        step = max(1, _RESCORED // (k * dimensions))
        for first in range(0, len(index), step):
            part = slice(first, first + step)
            found = _take(self.corpus, index[part].reshape(-1), self.device, self.dtype)
            q = _take(self.queries, part, self.device, self.dtype)
            difference = found.view(len(q), k, dimensions) - q[:, None]
            scores[part] = -difference.square().sum(2)


def _improve(scores: Tensor, index: Tensor, tile: Tensor, start: int) -> None:
    """Merge a tile of scores into the running best of its queries, in place.

    Most scores are never looked at alone: only groups of neighbours whose peak is above the
    query's running k-th best are opened. A later row of equal score loses, hence strictly above.
    """
    k = scores.shape[1]
    groups = _grouped(tile, k)
    peaks = groups.amax(2)
    bar = scores[:, -1]
    opened = peaks > bar[:, None]
    floor = torch.full_like(bar, -torch.inf)
    if peaks.shape[1] > k and int(opened.sum()) > k * len(tile):
        floor = peaks.topk(k, 1).values[:, -1]  # k groups reach this, so the tile's best k do
        opened &= peaks >= floor[:, None]
    row, group = opened.nonzero(as_tuple=True)
    inner = groups[row, group]
    entry, place = ((inner > bar[row, None]) & (inner >= floor[row, None])).nonzero(as_tuple=True)
    if len(entry) == 0:
        return
    counts = row[entry].bincount(minlength=len(tile))
    rows = counts.nonzero().squeeze(1)
    local = ((counts > 0).cumsum(0) - 1)[row[entry]]
    before = (counts.cumsum(0) - counts)[row[entry]]
    column = torch.arange(len(entry), device=tile.device) - before
    found = scores.new_full((len(rows), int(counts.max())), -torch.inf)
    found[local, column] = inner[entry, place]
    where = index.new_full(found.shape, -1)
    where[local, column] = group[entry] * groups.shape[2] + place + start
    merged = torch.cat([scores[rows], found], 1).sort(dim=1, descending=True, stable=True)
    scores[rows] = merged.values[:, :k]
    index[rows] = torch.cat([index[rows], where], 1).gather(1, merged.indices[:, :k])


def _grouped(tile: Tensor, k: int) -> Tensor:
    """View a tile as [rows, groups, size], with many more groups than k, padded at its end."""
    width = tile.shape[1]
    size = next((size for size in _GROUP_SIZES if width >= 2 * k * size), 1)
    if width % size:
        tile = torch.nn.functional.pad(tile, (0, size - width % size), value=-torch.inf)
    return tile.view(len(tile), -1, size)


def _ordered(scores: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Sort each row by descending score, then ascending index."""
    index, order = index.sort(1)
    scores, order = scores.gather(1, order).sort(dim=1, descending=True, stable=True)
    return scores, index.gather(1, order)


def _ban(tile: Tensor, columns: Tensor) -> None:
    """Set the given columns of each row to minus infinity, in place, where they are in range."""
    row, entry = ((columns >= 0) & (columns < tile.shape[1])).nonzero(as_tuple=True)
    tile[row, columns[row, entry]] = -torch.inf


def _take(
    source: Embeddings, where: slice | Tensor, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Rows of a tensor or array (which may be mapped, read-only or of any number type)."""
    if isinstance(source, Tensor):
        where = where.to(source.device) if isinstance(where, Tensor) else where
        return source[where].to(device, dtype)
    chosen = source[where.cpu().numpy() if isinstance(where, Tensor) else where]
    kind = np.float64 if dtype == torch.float64 else np.float32
    return torch.from_numpy(chosen.astype(kind)).to(device)


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


def _check_numbers(queries: Embeddings, corpus: Embeddings, metric: Metric, *steps: int) -> None:
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
