"""Whether comparisons, as games or responses, connect everybody, and warnings if they do not."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

_CHUNK = 1 << 22


class DisconnectedWarning(UserWarning):
    """Comparisons fall into parts that share nobody: between them there is no common scale."""


class ExtremeItemWarning(UserWarning):
    """Items were solved by all or by none: only bounds and priors say how easy or hard they are."""


def components(
    first: NDArray[np.integer[Any]], second: NDArray[np.integer[Any]], count: int
) -> NDArray[np.int64]:
    """Connected components of an undirected graph, in linear time and bounded memory.

    Edges are taken in growing chunks, and no further once all is connected.

    Args:
        first: one end of each edge, positions from 0, shape [N].
        second: the other end, shape [N].
        count: number of nodes.

    Returns:
        The component of each node, shape [count], by falling size; of equal ones that of the
        smallest position first.

    >>> components(np.array([0, 3]), np.array([1, 4]), 6).tolist()
    [0, 0, 2, 1, 1, 3]
    """
    label, parts, start = np.arange(count), count, 0
    size = min(4 * count, _CHUNK)
    while start < len(first) and parts > 1:
        a, b = label[first[start : start + size]], label[second[start : start + size]]
        apart = a != b
        if apart.any():
            edges = sparse.coo_array(
                (np.ones(int(apart.sum()), bool), (a[apart], b[apart])), shape=(parts, parts)
            )
            parts, merged = connected_components(edges, directed=False)
            label = merged[label]
        start, size = start + size, min(2 * size, _CHUNK)
    _, place, sizes = np.unique(label, return_index=True, return_counts=True)
    rank = np.empty(parts, dtype=np.int64)
    rank[np.lexsort((place, -sizes))] = np.arange(parts)
    return np.asarray(rank[label])


def listed(names: Sequence[Any], positions: NDArray[np.integer[Any]], most: int = 5) -> str:
    """Name the first of many.

    >>> listed(["a", "b", "c"], np.array([0, 2]), most=1)
    'a and 1 more'
    """
    shown = ", ".join(str(names[one]) for one in positions[:most])
    return shown + (f" and {len(positions) - most} more" if len(positions) > most else "")


def warn_disconnected(
    part: NDArray[np.int64], names: Sequence[Any], what: str, follows: str, stacklevel: int = 3
) -> None:
    """Warn if there is more than one component, and name some members of each.

    Args:
        part: component of each node, from :func:`components`.
        names: of each node.
        what: what falls apart, as "the games".
        follows: what that means for the result.
        stacklevel: of the warning.
    """
    count = int(part.max(initial=0)) + 1
    if count < 2:
        return
    told = []
    for one in range(min(count, 4)):
        members = np.flatnonzero(part == one)
        told.append(f"{len(members)} ({listed(names, members, 3)})")
    more = f"; and {count - 4} more" if count > 4 else ""
    warnings.warn(
        f"{what} fall into {count} parts that share nobody, of {'; '.join(told)}{more}: {follows}",
        DisconnectedWarning,
        stacklevel=stacklevel,
    )


def warn_extreme(
    answered: NDArray[np.int64], right: NDArray[np.int64], names: Sequence[Any], stacklevel: int = 3
) -> NDArray[np.int64]:
    """Warn of items that all or none solved, or that nobody was given, and name them.

    Args:
        answered: responses to each item, shape [I].
        right: right ones among them, shape [I].
        names: of the items, shape [I].
        stacklevel: of the warning.

    Returns:
        Positions of these items.
    """
    kinds = (
        ("was solved by all", (answered > 0) & (right == answered)),
        ("was solved by none", (answered > 0) & (right == 0)),
        ("was answered by none", answered == 0),
    )
    told = [
        f"{int(which.sum())} {verb} ({listed(names, np.flatnonzero(which))})"
        for verb, which in kinds
        if which.any()
    ]
    if told:
        warnings.warn(
            f"of {len(answered)} items {'; '.join(told)}: their difficulty is known only within "
            "bounds, and its standard deviation is large",
            ExtremeItemWarning,
            stacklevel=stacklevel,
        )
    return np.flatnonzero(np.logical_or.reduce([which for _, which in kinds]))
