"""Repeated draws of training and test examples from every stratum of difficulty."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class StratifiedDraw:
    """One draw.

    Attributes:
        train: stratum -> positions of its training examples, equally many for each, and "all":
            as many from all strata together.
        test: stratum -> positions of its test examples; no group is on both sides.
    """

    train: Mapping[str, Rows]
    test: Mapping[str, Rows]


def stratified_draws(
    strata: Mapping[str, ArrayLike],
    n_train: int,
    n_draws: int,
    *,
    groups: ArrayLike | None = None,
    test: Mapping[str, ArrayLike] | None = None,
    most_test: int | None = None,
    seed: int = 0,
) -> list[StratifiedDraw]:
    """Draw, several times, equally many training examples of every stratum, and test examples.

    In each draw one half of every stratum's groups is for training and the other for testing, or
    all are for training if there are test examples of their own. Draws are without replacement.

    Args:
        strata: name -> positions of its examples; none is in two of them.
        n_train: training examples of each stratum.
        n_draws: how many draws.
        groups: what must stay on one side together, such as copies of one example: a number from 0
            for each position, shape [N]; None lets each example be a group.
        test: name -> positions of test examples, the same in every draw; None takes them from the
            strata.
        most_test: test examples of a stratum at most; None takes all.
        seed: what the draws depend on.

    Returns:
        The draws.

    Raises:
        InputError: a stratum that has not enough examples for training and testing.

    Source: Hase et al. 2024, arXiv 2401.06751 (equal training sizes, tests on what
    remains).

    >>> draw = stratified_draws({"easy": range(4), "hard": range(4, 8)}, 2, 1)[0]
    >>> {name: len(rows) for name, rows in draw.train.items()}
    {'easy': 2, 'hard': 2, 'all': 2}
    >>> np.union1d(draw.train["easy"], draw.test["easy"]).tolist()
    [0, 1, 2, 3]
    """
    check_range("n_train", n_train, 1)
    check_range("n_draws", n_draws, 1)
    parts, group = _parts(strata, groups)
    fixed = None
    if test is not None:
        fixed = {name: np.asarray(rows, dtype=np.int64) for name, rows in test.items()}
    draws = []
    for number in range(n_draws):
        random = numpy_generator(seed, "stratified draws", number)
        pools, held = (parts, fixed) if fixed is not None else _halves(parts, group, random)
        assert held is not None
        _check_sizes(pools, held, n_train)
        train = {name: _some(rows, n_train, random) for name, rows in pools.items()}
        train["all"] = _some(np.concatenate(list(pools.values())), n_train, random)
        tested = {name: _some(rows, most_test, random) for name, rows in held.items()}
        draws.append(StratifiedDraw(train, tested))
    return draws


def largest_training_size(
    strata: Mapping[str, ArrayLike],
    n_draws: int,
    *,
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> int:
    """The largest ``n_train`` for which :func:`stratified_draws` has enough in every draw.

    Args:
        strata: as for :func:`stratified_draws`, as are all arguments.
        n_draws: how many draws.
        groups: what must stay together.
        seed: what the draws depend on.

    Returns:
        The number of training examples in the smallest half of a stratum.

    >>> largest_training_size({"easy": range(10), "hard": range(10, 18)}, 3)
    4
    """
    parts, group = _parts(strata, groups)
    sizes = []
    for number in range(n_draws):
        pools, _ = _halves(parts, group, numpy_generator(seed, "stratified draws", number))
        sizes += [len(rows) for rows in pools.values()]
    return min(sizes)


def _parts(
    strata: Mapping[str, ArrayLike], groups: ArrayLike | None
) -> tuple[dict[str, Rows], Rows]:
    """Positions of each stratum, and a group for every position."""
    parts = {name: np.asarray(rows, dtype=np.int64) for name, rows in strata.items()}
    size = 1 + max((int(rows.max()) for rows in parts.values() if len(rows)), default=-1)
    return parts, np.arange(size) if groups is None else np.asarray(groups, dtype=np.int64)


def _halves(
    parts: Mapping[str, Rows], group: Rows, random: np.random.Generator
) -> tuple[dict[str, Rows], dict[str, Rows]]:
    """Training and test positions of each stratum; a group is split where its first member is."""
    trains = np.zeros(int(group.max()) + 1, dtype=bool)
    decided = np.zeros(len(trains), dtype=bool)
    for rows in parts.values():
        fresh = np.unique(group[rows])
        fresh = random.permutation(fresh[~decided[fresh]])
        trains[fresh[: len(fresh) // 2]] = True
        decided[fresh] = True
    train = {name: rows[trains[group[rows]]] for name, rows in parts.items()}
    return train, {name: rows[~trains[group[rows]]] for name, rows in parts.items()}


def _some(rows: Rows, most: int | None, random: np.random.Generator) -> Rows:
    if most is None or most >= len(rows):
        return rows
    return np.sort(random.permutation(rows)[:most])


def _check_sizes(pools: Mapping[str, Rows], held: Mapping[str, Rows], n_train: int) -> None:
    for name, rows in pools.items():
        if len(rows) < n_train:
            raise InputError(
                f"strata: expected at least {n_train} examples to train on in {name!r}, got "
                f"{len(rows)} (half of a stratum is kept for testing)"
            )
    for name, rows in held.items():
        if not len(rows):
            raise InputError(f"strata: expected examples to test on in {name!r}, got none")


def cutoffs_by_quantiles(
    difficulty: ArrayLike, quantiles: Sequence[float] = (0.3, 0.7)
) -> tuple[float, float]:
    """Cutoffs for easy and hard at quantiles, moved to the next value where ties leave no room.

    Args:
        difficulty: of each example, finite, shape [N].
        quantiles: of the largest easy and the smallest hard difficulty.

    Returns:
        The largest difficulty that is easy, and the smallest that is hard, for
        :func:`~gradatim.selection.difficulty_split.split_by_difficulty`.

    Raises:
        InputError: all difficulties are equal, or there is none.

    Source: Hase et al. 2024, arXiv 2401.06751 (30% and 70%).

    >>> cutoffs_by_quantiles([0, 0, 0, 0, 1])
    (0.0, 1.0)
    """
    values = np.asarray(difficulty, dtype=np.float64)
    different = np.unique(values)
    if len(different) < 2:
        told = f"{different[0]:g} throughout" if len(different) else "no example"
        raise InputError(f"difficulty: expected at least two different values, got {told}")
    low, high = (float(cut) for cut in np.quantile(values, quantiles))
    if low < high:
        return low, high
    above = different[different > low]
    if len(above):
        return low, float(above[0])
    return float(different[-2]), float(different[-1])
