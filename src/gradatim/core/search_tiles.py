"""Tiles of scores: rows of a source, the best of a tile, and lists that a tile improves."""

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Embeddings: TypeAlias = Tensor | NDArray[Any]

_GROUP_SIZES = (64, 32, 16, 8)  # neighbouring scores first looked at by their peak alone


def take(
    source: Embeddings, where: slice | Tensor, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Rows of a tensor or array (which may be mapped, read-only or of any number type)."""
    if isinstance(source, Tensor):
        if isinstance(where, Tensor):
            return source.index_select(0, where.to(source.device)).to(device, dtype)
        return source[where].to(device, dtype)
    chosen = source[where.cpu().numpy() if isinstance(where, Tensor) else where]
    kind = np.float64 if dtype == torch.float64 else np.float32
    return torch.from_numpy(chosen.astype(kind)).to(device)


def ban(tile: Tensor, columns: Tensor) -> None:
    """Set the given columns of each row to minus infinity, in place, where they are in range."""
    row, entry = ((columns >= 0) & (columns < tile.shape[1])).nonzero(as_tuple=True)
    tile[row, columns[row, entry]] = -torch.inf


def improve(
    scores: Tensor, index: Tensor, tile: Tensor, start: int, bar: Tensor | None = None
) -> None:
    """Merge a tile of scores into the running best of its queries, in place.

    Most scores are never looked at alone: only groups of neighbours whose peak is above the
    query's bar are opened. A later row of equal score loses, hence strictly above.

    Args:
        scores: [R, k] the running best, descending.
        index: [R, k] int64 where they stand; -1 for none.
        tile: [R, W] scores of the rows from ``start`` on, of the same type.
        start: row of the tile's first column.
        bar: [R] what a score must exceed; the running k-th best if not given. At least that.
    """
    k = scores.shape[1]
    lowest = -torch.inf if tile.is_floating_point() else torch.iinfo(tile.dtype).min
    groups = _grouped(tile, k, lowest)
    peaks = groups.amax(2)
    bar = scores[:, -1] if bar is None else bar
    opened = peaks > bar[:, None]
    floor = torch.full_like(bar, lowest)
    if peaks.shape[1] > k and int(opened.sum()) > k * len(tile):
        floor = peaks.topk(k, 1).values[:, -1]  # k groups reach this, so the tile's best k do
        opened &= peaks >= floor[:, None]
    row, group = opened.nonzero(as_tuple=True)
    inner = groups.flatten(0, 1).index_select(0, row * groups.shape[1] + group)
    entry, place = ((inner > bar[row, None]) & (inner >= floor[row, None])).nonzero(as_tuple=True)
    if len(entry) == 0:
        return
    counts = row[entry].bincount(minlength=len(tile))
    rows = counts.nonzero().squeeze(1)
    local = ((counts > 0).cumsum(0) - 1)[row[entry]]
    before = (counts.cumsum(0) - counts)[row[entry]]
    column = torch.arange(len(entry), device=tile.device) - before
    found = scores.new_full((len(rows), int(counts.max())), lowest)
    found[local, column] = inner[entry, place]
    where = index.new_full(found.shape, -1)
    where[local, column] = group[entry] * groups.shape[2] + place + start
    merged = torch.cat([scores[rows], found], 1).sort(dim=1, descending=True, stable=True)
    scores[rows] = merged.values[:, :k]
    index[rows] = torch.cat([index[rows], where], 1).gather(1, merged.indices[:, :k])


def ordered(scores: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Sort each row by descending score, then ascending index."""
    index, order = index.sort(1)
    scores, order = scores.gather(1, order).sort(dim=1, descending=True, stable=True)
    return scores, index.gather(1, order)


def _grouped(tile: Tensor, k: int, lowest: float) -> Tensor:
    """View a tile as [rows, groups, size], with many more groups than k, padded at its end."""
    width = tile.shape[1]
    size = next((size for size in _GROUP_SIZES if width >= 2 * k * size), 1)
    if width % size:
        tile = torch.nn.functional.pad(tile, (0, size - width % size), value=lowest)
    return tile.view(len(tile), -1, size)
