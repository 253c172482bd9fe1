"""Sets of positions in a corpus, one a row, as tensors filled up with -1."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from gradatim.core.checks import check_shape
from gradatim.core.errors import InputError


def pad_positions(rows: Sequence[Collection[int]]) -> Tensor:
    """Put sets of positions into one tensor, -1 standing for none.

    Args:
        rows: Q sets (or lists) of positions from 0, the relevant documents of each query for
            instance; a set is put in rising order.

    Returns:
        int64, shape [Q, E] with E the size of the largest, at least 1.

    Raises:
        InputError: a position below 0 or that is no integer.

    >>> pad_positions([{4, 2}, set(), [3]])
    tensor([[ 2,  4],
            [-1, -1],
            [ 3, -1]])
    """
    lists = [sorted(row) if isinstance(row, set | frozenset) else list(row) for row in rows]
    padded = torch.full((len(lists), max([1, *map(len, lists)])), -1)
    for place, row in enumerate(lists):
        given = torch.as_tensor(row, dtype=torch.int64 if not row else None)
        if given.is_floating_point() or given.ndim != 1 or (given < 0).any():
            raise InputError(f"rows: expected integers from 0, got {row[:8]} at row {place}")
        padded[place, : len(row)] = given
    return padded


def is_among(positions: Tensor, members: Tensor) -> Tensor:
    r"""Which positions stand in their row's set.

    .. math:: m_{qk} = [p_{qk} \in S_q]

    Args:
        positions: p, integers, below 0 = none, shape [Q, K].
        members: S, integers, below 0 = none, shape [Q, E].

    Returns:
        Booleans, False for none, shape [Q, K].

    Raises:
        InputError: shapes that do not fit, or numbers that are no integers.

    >>> is_among(torch.tensor([[5, 2, -1]]), torch.tensor([[2, -1]]))
    tensor([[False,  True, False]])
    """
    check_shape("positions", positions, "Q", "K")
    check_shape("members", members, len(positions), "E")
    for name, value in (("positions", positions), ("members", members)):
        if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
            raise InputError(f"{name}: expected integers, got {value.dtype}")
    if not positions.numel() or not members.numel():
        return torch.zeros_like(positions, dtype=torch.bool)
    ranked = members.long().sort(1).values
    place = torch.searchsorted(ranked, positions.long().contiguous())
    found = ranked.gather(1, place.clamp(max=ranked.shape[1] - 1)) == positions
    return found & (positions >= 0)
