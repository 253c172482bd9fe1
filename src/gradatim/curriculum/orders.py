"""Orders by difficulty: permutations of all examples, for one pass from first to last.

Every function returns positions, int64 of shape [n], each exactly once. Equal examples are
shuffled among themselves by the seed, so that no order leans on that of the data.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_finite, check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator

Order = NDArray[np.int64]
Ranking = NDArray[np.signedinteger]
Numbers = NDArray[np.int64 | np.float64]
Values = ArrayLike | torch.Tensor

_CHUNK = 1 << 20  # examples whose ties are shuffled at a time


def random_order(n: int, *, seed: int = 0) -> Order:
    """All examples in random order: the baseline of every other order.

    Args:
        n: how many examples there are.
        seed: what the order depends on.

    Returns:
        Positions, shape [n].

    Raises:
        InputError: a negative n.

    >>> sorted(random_order(4, seed=1).tolist())
    [0, 1, 2, 3]
    """
    check_range("n", n, 0)
    return numpy_generator(seed, "random order").permutation(n)


def easy_to_hard(difficulty: Values, *, seed: int = 0) -> Order:
    """The easiest example first, the hardest last.

    Args:
        difficulty: d, finite, higher = harder, shape [n].
        seed: what the order of equally difficult examples depends on.

    Returns:
        Positions, shape [n].

    Raises:
        InputError: difficulty that is not finite or not of shape [n].

    >>> easy_to_hard([0.5, 0.1, 0.9]).tolist()
    [1, 0, 2]
    """
    return difficulty_ranking(difficulty, seed=seed).astype(np.int64)


def hard_to_easy(difficulty: Values, *, seed: int = 0) -> Order:
    """The hardest example first: the control of every curriculum.

    Args:
        difficulty: d, finite, higher = harder, shape [n].
        seed: what the order of equally difficult examples depends on.

    Returns:
        Positions, shape [n].

    Raises:
        InputError: difficulty that is not finite or not of shape [n].

    >>> hard_to_easy([0.5, 0.1, 0.9]).tolist()
    [2, 0, 1]
    """
    return easy_to_hard(difficulty, seed=seed)[::-1].copy()


def staged(
    difficulty: Values,
    stages: int = 3,
    *,
    thresholds: Sequence[float] | None = None,
    seed: int = 0,
) -> Order:
    """Easy, then medium, then hard examples, shuffled inside each stage.

    Args:
        difficulty: d, finite, higher = harder, shape [n].
        stages: how many stages of equal size (see :func:`difficulty_bins`).
        thresholds: bounds of the stages instead: the first holds d <= thresholds[0].
        seed: what the order inside a stage depends on.

    Returns:
        Positions, shape [n].

    Raises:
        InputError: as for :func:`difficulty_bins`.

    Source: Yang et al. 2024, arXiv 2408.07888 (easy, medium, hard by thresholds).

    >>> staged([0.9, 0.1, 0.2, 0.8], 2)[:2].tolist() in ([1, 2], [2, 1])
    True
    """
    bins = difficulty_bins(difficulty, stages, thresholds=thresholds, seed=seed)
    return easy_to_hard(bins, seed=seed)


def cyclic(difficulty: Values, cycles: int = 3, *, alternate: bool = False, seed: int = 0) -> Order:
    """Several sweeps from easy to hard, each over a like sample of all difficulties.

    Of every ``cycles`` examples next to one another in difficulty, each sweep takes one at random.

    Args:
        difficulty: d, finite, higher = harder, shape [n].
        cycles: how many sweeps; 1 is :func:`easy_to_hard`.
        alternate: every second sweep goes from hard to easy instead.
        seed: what the order depends on.

    Returns:
        Positions, shape [n].

    Raises:
        InputError: difficulty as for :func:`easy_to_hard`, or fewer than one cycle.

    >>> d = np.array([0.1, 0.9, 0.2, 0.8])
    >>> order = cyclic(d, 2)
    >>> bool(d[order[0]] < d[order[1]] and d[order[2]] < d[order[3]])
    True
    """
    check_range("cycles", cycles, 1)
    ranked = easy_to_hard(difficulty, seed=seed)
    rank = np.arange(len(ranked))
    draws = numpy_generator(seed, "cyclic").random(len(ranked))
    dealt = ranked[np.lexsort((draws, rank // cycles))]
    sweeps = [dealt[start::cycles] for start in range(cycles)]
    return np.concatenate(
        [sweep[::-1] if alternate and i % 2 else sweep for i, sweep in enumerate(sweeps)]
    )


def difficulty_bins(
    difficulty: Values,
    bins: int = 3,
    *,
    thresholds: Sequence[float] | None = None,
    group: Values | Sequence[str] | None = None,
    seed: int = 0,
) -> Order:
    r"""The stage that each example belongs to, 0 = easiest.

    With thresholds, the stage is the number of :math:`\theta_j < d_i`. Otherwise the examples are
    ranked and cut into ``bins`` parts of equal size, the first parts getting one more where the
    number does not divide (``numpy.array_split``); with ``group``, each group is ranked and cut by
    itself, so that every group gives as many examples to each stage.

    Args:
        difficulty: d, finite, higher = harder, shape [n].
        bins: how many stages, at least 1.
        thresholds: :math:`\theta`, ascending.
        group: label of each example's group (a prompt with several pairs, say), shape [n].
        seed: which of equally difficult examples at a cut go where depends on it.

    Returns:
        Stages from 0, int64, shape [n].

    Raises:
        InputError: difficulty that is not finite or not of shape [n], fewer than one bin,
            thresholds that do not ascend, or thresholds together with a group.

    Source: Yang et al. 2024, arXiv 2408.07888 (thresholds); Pattnaik et al. 2024, arXiv
    2403.07230 (stages within the pairs of one prompt, or over all).

    >>> difficulty_bins([0.5, 0.66, 0.7, 0.9], thresholds=(0.66, 0.8)).tolist()
    [0, 0, 1, 2]
    >>> difficulty_bins([1, 2, 3, 10, 20, 30], 3, group=[0, 0, 0, 1, 1, 1]).tolist()
    [0, 1, 2, 0, 1, 2]
    """
    values = as_values("difficulty", difficulty)
    check_range("bins", bins, 1)
    if thresholds is not None:
        if group is not None:
            raise InputError("thresholds, group: expected one of the two, got both")
        bounds = np.asarray(thresholds, dtype=np.float64)
        if bounds.ndim != 1 or (np.diff(bounds) <= 0).any():
            raise InputError(f"thresholds: expected ascending numbers, got {list(thresholds)}")
        return np.searchsorted(bounds, values, side="left").astype(np.int64)
    codes = np.zeros(len(values), dtype=np.int64) if group is None else group_codes("group", group)
    check_same_length(difficulty=values, group=codes)
    order = lexicographic_order(codes, values, seed=seed)
    sizes = np.bincount(codes) if len(codes) else np.zeros(0, dtype=np.int64)
    starts = np.cumsum(sizes) - sizes
    stage = np.empty(len(values), dtype=np.int64)
    stage[order] = part_of(np.arange(len(values)) - starts[codes[order]], sizes[codes[order]], bins)
    return stage


def lexicographic_order(*keys: Values, seed: int | None = 0) -> Order:
    """Sort by several keys, the first of them the most significant.

    Args:
        keys: numbers, each of shape [n], ascending.
        seed: what the order of examples with all keys equal depends on; None leaves them as they
            stand.

    Returns:
        Positions, shape [n].

    Raises:
        InputError: no key, keys of different lengths, or numbers that are not finite.

    >>> lexicographic_order([1, 0, 1, 0], [3, 2, 1, 0]).tolist()
    [3, 1, 2, 0]
    """
    if not keys:
        raise InputError("keys: expected at least one")
    columns = [as_values(f"keys[{i}]", key) for i, key in enumerate(keys)]
    check_same_length(**{f"keys[{i}]": column for i, column in enumerate(columns)})
    if seed is None:
        return np.lexsort(columns[::-1])
    start = numpy_generator(seed, "lexicographic order").permutation(len(columns[0]))
    return start[np.lexsort([column[start] for column in columns[::-1]])]


def difficulty_ranking(difficulty: Values, *, seed: int = 0) -> Ranking:
    """Positions from easiest to hardest in 4 bytes an example, for draws by rank.

    Sorting takes a further 8 bytes an example while it lasts.

    Args:
        difficulty: d, finite, higher = harder, shape [n].
        seed: what the order of equally difficult examples depends on.

    Returns:
        Positions, shape [n]: int32, or int64 from 2^31 examples on.

    Raises:
        InputError: difficulty that is not finite or not of shape [n].

    >>> difficulty_ranking([0.5, 0.1, 0.9])
    array([1, 0, 2], dtype=int32)
    """
    values = as_values("difficulty", difficulty)
    kind = np.int32 if len(values) < 2**31 else np.int64
    order: Ranking = np.argsort(values, kind="stable").astype(kind)
    _shuffle_ties(order, values, numpy_generator(seed, "ties"))
    return order


def as_values(name: str, values: Values) -> Numbers:
    """One number an example as an array [n], checked to be finite; not copied if it is one.

    Args:
        name: what the error calls it.
        values: numbers, booleans or a tensor of them.

    Raises:
        InputError: another shape, no numbers, or a number that is not finite.

    >>> as_values("level", torch.tensor([2, 1]))
    array([2, 1])
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
        values = values.numpy()
    array = np.asarray(values)
    if array.ndim != 1:
        raise InputError(f"{name}: expected one number an example, got shape {list(array.shape)}")
    if array.dtype.kind not in "biuf" and len(array):
        raise InputError(f"{name}: expected numbers, got {array.dtype}")
    if array.dtype.kind == "f":
        for start in range(0, len(array), _CHUNK):
            if not np.isfinite(array[start : start + _CHUNK]).all():
                check_finite(name, array)
    return array


def group_codes(name: str, labels: Values | Sequence[str]) -> Order:
    """Labels as numbers from 0 in the sorted order of the labels.

    Args:
        name: what the error calls them.
        labels: numbers or text, shape [n].

    Raises:
        InputError: another shape.

    >>> group_codes("subject", ["music", "art", "music"]).tolist()
    [1, 0, 1]
    """
    array = labels.detach().cpu().numpy() if isinstance(labels, torch.Tensor) else labels
    array = np.asarray(array)
    if array.ndim != 1:
        raise InputError(f"{name}: expected one label an example, got shape {list(array.shape)}")
    return np.unique(array, return_inverse=True)[1].astype(np.int64)


def part_of(place: Order, size: Order, parts: int) -> Order:
    """Which part a place in a list falls into when the list is cut as ``numpy.array_split`` cuts.

    Args:
        place: places from 0, shape [n].
        size: length of the list that each place belongs to, shape [n].
        parts: how many parts.

    >>> part_of(np.arange(4), np.full(4, 4), 3).tolist()
    [0, 0, 1, 2]
    """
    short, longer = np.divmod(size, parts)
    in_longer = place < longer * (short + 1)
    later = longer + (place - longer * (short + 1)) // np.maximum(short, 1)
    parts_of: Order = np.where(in_longer, place // (short + 1), later)
    return parts_of


def _shuffle_ties(
    order: Ranking,
    values: Numbers,
    generator: np.random.Generator,
) -> None:
    """Shuffle runs of equal values in place, a chunk of whole runs at a time."""
    start, n = 0, len(order)
    while start < n:
        end = min(start + _CHUNK, n)
        here = values[order[start:end]]
        changes = np.flatnonzero(here[1:] != here[:-1]) + 1
        last = here[-1]
        if end < n and values[order[end]] == last:  # the chunk's last run goes on
            if len(changes):
                end = start + int(changes[-1])
                changes = changes[:-1]
            else:  # in a sorted list, the end of one run can be found by halving
                end = _end_of_run(order, values, start)
                generator.shuffle(order[start:end])
                start = end
                continue
        if len(changes) + 1 < end - start:
            run = np.zeros(end - start, dtype=np.int32)
            run[changes] = 1
            shuffled = np.lexsort((generator.random(end - start), np.cumsum(run)))
            order[start:end] = order[start:end][shuffled]
        start = end


def _end_of_run(order: Ranking, values: Numbers, start: int) -> int:
    """Where the run of equal values that begins at a place of the sorted order ends."""
    low, high, value = start, len(order), values[order[start]]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if values[order[middle]] == value else (low, middle)
    return high
