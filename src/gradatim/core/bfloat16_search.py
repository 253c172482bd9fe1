"""A first pass in bfloat16 that keeps every row which can be among the best k, with a bound."""

from typing import NamedTuple

import torch
from torch import Tensor

from gradatim.core.search_tiles import ban

_ROUNDOFF = 2.0**-8  # of bfloat16: the largest relative error of rounding to the nearest
_SUM_ROUNDOFF = 2.0**-23  # of one float32 addition, whichever way the processor rounds
_LOWEST = -0x7F81  # the key of minus infinity
_BITS = 0x7FFF
_SHIFT = 40
_LAST = (1 << _SHIFT) - 1
_NONE = (-_LOWEST << _SHIFT) + _LAST  # stands after every candidate
_GROUP = 16


class Rounded(NamedTuple):
    """Rows in bfloat16, and what rounding did to them.

    Attributes:
        rows: [R, D] bfloat16.
        norm: [R] float32 length of the rounded rows.
        error: [R] float32 length of what was rounded away.
        length: [R] float32 length of the rows.
    """

    rows: Tensor
    norm: Tensor
    error: Tensor
    length: Tensor


class Bounds(NamedTuple):
    """The largest norm, rounded norm and rounding error of a corpus.

    Attributes:
        length: of the rows.
        norm: of the rounded rows.
        error: of what was rounded away.
    """

    length: float
    norm: float
    error: float

    def widened(self, other: Rounded) -> "Bounds":
        """The bounds of these rows and of others."""
        return Bounds(
            max(self.length, float(other.length.amax())),
            max(self.norm, float(other.norm.amax())),
            max(self.error, float(other.error.amax())),
        )


def has_matrix_instructions() -> bool:
    """Whether this processor multiplies bfloat16 matrices by instructions of their own (AMX)."""
    asked = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(asked is not None and asked())


def rounded(rows: Tensor) -> Rounded:
    """Round float32 rows to bfloat16."""
    low = rows.to(torch.bfloat16)
    back = low.to(torch.float32)
    norm = torch.linalg.vector_norm
    return Rounded(low, norm(back, dim=1), norm(rows - back, dim=1), norm(rows, dim=1))


def largest_error(queries: Rounded, corpus: Bounds) -> Tensor:
    """Bound how far a product of rounded rows, summed in float32, is from the exact product.

    ``|q·c - q̂·ĉ| <= |q - q̂| |c| + |q̂| |c - ĉ|`` by Cauchy and Schwarz, and a float32 sum of D
    products is within ``D ε |q̂| |ĉ|`` of ``q̂·ĉ``. Rounding the result to bfloat16 is not in here.

    Returns:
        [R] float32, one bound for all products of a query.
    """
    dimensions = queries.rows.shape[1]
    sums = (dimensions + 2) * _SUM_ROUNDOFF * corpus.norm
    bound = queries.error * corpus.length + queries.norm * (corpus.error + sums)
    tiny = dimensions * torch.finfo(torch.float32).tiny  # products that are flushed to zero
    return bound * (1.0 + 1e-5) + tiny  # the norms themselves are rounded


def candidate_bar(best: Tensor, error: Tensor) -> Tensor:
    """The bfloat16 score below which no row can be among the best k.

    Let a be a query's k-th best rounded score. At least k rows have exact scores of
    ``a - u|a| - E`` or more (u the rounding of the score, E the `largest_error`), so one of the
    best k has a score before rounding of at least ``a - u|a| - 2E``; rounding keeps order.

    Args:
        best: [R] keys (see `keys`) of the k-th best score so far.
        error: [R] the `largest_error`.

    Returns:
        [R] keys; a row whose key is below cannot be among the best k.
    """
    bits = best ^ ((best >> 15) & _BITS)
    score = bits.view(torch.bfloat16).to(torch.float32)
    bar = score - _ROUNDOFF * (1.0 + _ROUNDOFF) * score.abs() - 2.0 * error
    return torch.where(best == _LOWEST, _LOWEST, key_below(bar))


def key_below(score: Tensor) -> Tensor:
    """The key of the largest bfloat16 number that is not above a float32 number."""
    low = score.to(torch.bfloat16)
    return keys(low) - (low.to(torch.float32) > score).to(torch.int16)


def keys(tile: Tensor) -> Tensor:
    """Whole numbers in the order of bfloat16 numbers: int16, whose peaks are faster to find."""
    bits = tile.view(torch.int16)
    return bits ^ ((bits >> 15) & _BITS)


class Candidates:
    """The running best rows of all queries by rounded scores: room for more than the best k.

    A candidate is one whole number, its negated key above 40 bits of position: ascending order is
    that of descending score and then of position.

    Args:
        size: number of queries.
        k: how many are wanted.
        room: how many are kept for each query.
    """

    def __init__(self, size: int, k: int, room: int) -> None:
        self.k = k
        self.best = torch.full((size, room), _NONE, dtype=torch.int64)

    def add(
        self,
        where: slice,
        queries: Rounded,
        error: Tensor,
        corpus: Tensor,
        start: int,
        banned: Tensor | None,
    ) -> None:
        """Take up what may be among the best k of some queries in a block of the corpus."""
        scores = queries.rows @ corpus.T
        if banned is not None:
            ban(scores, banned - start)
        best = self.best[where]
        bar = candidate_bar(_key(best[:, self.k - 1]), error) - 1
        bar = torch.maximum(bar, _key(best[:, -1]))
        positive = bool((bar >= 0).all())  # then every key that counts is the number's own bits
        tile = scores.view(torch.int16) if positive else keys(scores)
        row, column, key = _above(tile, bar, best.shape[1])
        if len(row) == 0:
            return
        counts = row.bincount(minlength=len(best))
        slot = torch.arange(len(row)) - (counts.cumsum(0) - counts).index_select(0, row)
        merged = best.new_full((len(best), best.shape[1] + int(counts.max())), _NONE)
        merged[:, : best.shape[1]] = best
        merged[row, slot + best.shape[1]] = (-key.to(torch.int64) << _SHIFT) + (column + start)
        merged.numpy().sort(axis=1)  # many times faster than torch's
        best.copy_(merged[:, : best.shape[1]])

    def found(self, where: slice, error: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What some queries have kept.

        Returns:
            [R, C] keys in descending order, [R, C] positions, -1 where there is none, and [R] bool,
            whether a query had more candidates than there is room.
        """
        best = self.best[where]
        key = _key(best)
        kept = key >= candidate_bar(key[:, self.k - 1], error)[:, None]
        kept &= best != _NONE
        width = max(self.k, int(kept.sum(1).max()))
        return key[:, :width], torch.where(kept, best & _LAST, -1)[:, :width], kept[:, -1]


def _key(best: Tensor) -> Tensor:
    return (-(best >> _SHIFT)).to(torch.int16)


def _above(tile: Tensor, bar: Tensor, room: int) -> tuple[Tensor, Tensor, Tensor]:
    """Row, column and key of what stands above each row's bar, or of at least its best ``room``.

    Columns are looked at by the peak of a group first: every ``W / size``-th column is a group.
    """
    width = tile.shape[1]
    if width % _GROUP:
        tile = torch.nn.functional.pad(tile, (0, _GROUP - width % _GROUP), value=_LOWEST)
    groups = tile.shape[1] // _GROUP
    peaks = tile.view(len(tile), _GROUP, groups).amax(1)
    opened = peaks > bar[:, None]
    if groups > room and int(opened.sum()) > room * len(tile):
        floor = peaks.topk(room, 1, sorted=False).values.amin(1)  # so many groups reach this
        bar = torch.maximum(bar, floor - 1)
        opened = peaks > bar[:, None]
    row, group = opened.nonzero(as_tuple=True)
    inside = torch.arange(_GROUP) * groups
    place = (row * tile.shape[1] + group)[:, None] + inside
    key = tile.flatten().index_select(0, place.flatten()).view(place.shape)
    entry, member = (key > bar[row, None]).nonzero(as_tuple=True)
    return row[entry], group[entry] + member * groups, key[entry, member]
