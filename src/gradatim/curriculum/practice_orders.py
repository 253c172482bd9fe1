"""Orders by subject and difficulty, as practice is arranged in schools.

Each example has a group (its subject or category), and may have a difficulty (the level of the
question), a unit (the lesson or concept, in course order) and a stage (the school year of its
group). Groups follow one another in the sorted order of their labels. Every function returns
positions, int64 of shape [n], each exactly once; what the keys leave open is shuffled by the seed.
An order survives only what keeps it: one epoch, no shuffling, no packing or bucketing by length.
"""

from collections.abc import Sequence

import numpy as np

from gradatim.core.checks import check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator
from gradatim.curriculum.orders import (
    Numbers,
    Order,
    Values,
    as_values,
    difficulty_bins,
    group_codes,
    lexicographic_order,
    part_of,
)

Labels = Values | Sequence[str]


def blocked(
    group: Labels,
    difficulty: Values | None = None,
    *,
    unit: Values | None = None,
    stage: Values | None = None,
    seed: int = 0,
) -> Order:
    """One group after the other; inside each by unit and then by difficulty, if they are given.

    With difficulty alone this is the blocked curriculum; with units too, difficulty rises anew
    inside every unit (local progression).

    Args:
        group: label of each example, numbers or text, shape [n].
        difficulty: higher = harder, shape [n].
        unit: place of each example's lesson in the course of its group, shape [n].
        stage: what comes before all else, such as the school year, shape [n].
        seed: what the order of examples that agree in all of them depends on.

    Returns:
        Positions, shape [n].

    Raises:
        InputError: arguments of different lengths, or numbers that are not finite.

    Source: Lee et al. 2023, arXiv 2310.09518 (blocking); Yang et al. 2024, arXiv 2408.07888.

    >>> blocked(["b", "a", "b", "a"], [1, 2, 0, 1]).tolist()
    [3, 1, 2, 0]
    """
    return _by_keys(stage, group_codes("group", group), unit, difficulty, seed=seed)


def clustered(
    group: Labels,
    difficulty: Values,
    *,
    unit: Values | None = None,
    stage: Values | None = None,
    seed: int = 0,
) -> Order:
    """One group after the other; inside each level by level, and then by unit.

    Args:
        group: label of each example, numbers or text, shape [n].
        difficulty: the level of each example, higher = harder, shape [n].
        unit: place of each example's lesson in the course of its group, shape [n].
        stage: what comes before all else, shape [n].
        seed: what the order of examples that agree in all of them depends on.

    Returns:
        Positions, shape [n].

    Raises:
        InputError: arguments of different lengths, or numbers that are not finite.

    Source: Lee et al. 2023, arXiv 2310.09518.

    >>> clustered(["a"] * 4, [0, 1, 0, 1], unit=[0, 0, 1, 1]).tolist()
    [0, 2, 1, 3]
    """
    return _by_keys(stage, group_codes("group", group), difficulty, unit, seed=seed)


def spiral(
    group: Labels,
    difficulty: Values,
    unit: Values,
    *,
    stage: Values | None = None,
    seed: int = 0,
) -> Order:
    """The first unit of every group, then the second of every group, and so on.

    Difficulty rises inside each unit; each group comes back with its next unit.

    Args:
        group: label of each example, numbers or text, shape [n].
        difficulty: higher = harder, shape [n].
        unit: place of each example's lesson in the course of its group, shape [n].
        stage: what comes before all else, shape [n].
        seed: what the order of examples that agree in all of them depends on.

    Returns:
        Positions, shape [n].

    Raises:
        InputError: arguments of different lengths, or numbers that are not finite.

    Source: Lee et al. 2023, arXiv 2310.09518.

    >>> spiral(["a", "b", "a", "b"], [0, 0, 0, 0], [0, 0, 1, 1]).tolist()
    [0, 1, 2, 3]
    """
    return _by_keys(stage, unit, group_codes("group", group), difficulty, seed=seed)


def interleaved(
    group: Labels,
    difficulty: Values | None = None,
    *,
    cycles: int = 3,
    thresholds: Sequence[float] | None = None,
    seed: int = 0,
) -> Order:
    """The first part of every group, then the second part of every group, and so on.

    Each group, shuffled or from easy to hard, is cut into ``cycles`` consecutive parts of nearly
    equal size (the first ones get one more where the size does not divide). With thresholds, the
    parts are the examples between them instead: all easy examples group by group, then all of
    medium difficulty, then all hard ones, shuffled inside.

    Args:
        group: label of each example, numbers or text, shape [n].
        difficulty: higher = harder, shape [n]; None shuffles inside each group.
        cycles: how many parts; 1 is :func:`blocked`.
        thresholds: ascending bounds of difficulty (see
            :func:`~gradatim.curriculum.orders.difficulty_bins`).
        seed: what the shuffling depends on.

    Returns:
        Positions, shape [n].

    Raises:
        InputError: arguments of different lengths, numbers that are not finite, fewer than one
            cycle, or thresholds without difficulty.

    Source: Yang et al. 2024, arXiv 2408.07888.

    >>> interleaved([*"aaaabbb"], [0, 1, 2, 3, 0, 1, 2]).tolist()
    [0, 1, 4, 2, 5, 3, 6]
    """
    codes = group_codes("group", group)
    check_range("cycles", cycles, 1)
    if thresholds is not None:
        if difficulty is None:
            raise InputError("thresholds: expected difficulty beside them")
        bins = difficulty_bins(difficulty, thresholds=thresholds)
        check_same_length(group=codes, difficulty=bins)
        return lexicographic_order(bins, codes, seed=seed)
    order = blocked(codes, difficulty, seed=seed)
    sizes = np.bincount(codes, minlength=1)
    place = np.arange(len(codes)) - (np.cumsum(sizes) - sizes)[codes[order]]
    part = part_of(place, sizes[codes[order]], cycles)
    return order[np.argsort(part, kind="stable")]


def round_robin(
    group: Labels,
    difficulty: Values,
    *,
    unit: Values | None = None,
    stage: Values | None = None,
    stage_first: bool = False,
    whole_units: bool = False,
    shuffle_groups: bool = False,
    seed: int = 0,
) -> Order:
    """Level by level over the whole run; inside a level one example of each group in turn.

    Examples are sorted into buckets of equal (difficulty, stage). In a bucket every group has a
    list in course order; the first of each list are taken, then the second of each, and lists that
    have run out are passed over. Difficulty is a level here (few values): with all values
    different this is :func:`~gradatim.curriculum.orders.easy_to_hard`.

    Args:
        group: label of each example, numbers or text, shape [n].
        difficulty: the level of each example, higher = harder, shape [n].
        unit: place of each example's lesson in the course of its group, shape [n].
        stage: second key of the buckets, such as the school year, shape [n].
        stage_first: stage is the first key and difficulty the second.
        whole_units: in its turn a group gives all examples of its next unit.
        shuffle_groups: the turns of the groups are permuted anew in each bucket, by the seed.
        seed: what the order of examples of one group and unit depends on.

    Returns:
        Positions, shape [n].

    Raises:
        InputError: arguments of different lengths, or numbers that are not finite.

    Source: Lee et al. 2023, arXiv 2310.09518 (interleaving; whether stage or level is the outer
    key is not told there).

    >>> round_robin([*"aabb"], [0, 0, 0, 0], unit=[0, 1, 0, 1]).tolist()
    [0, 2, 1, 3]
    """
    codes, level = group_codes("group", group), as_values("difficulty", difficulty)
    lesson = np.zeros(len(codes)) if unit is None else as_values("unit", unit)
    year = np.zeros(len(codes)) if stage is None else as_values("stage", stage)
    check_same_length(group=codes, difficulty=level, unit=lesson, stage=year)
    outer, inner = (year, level) if stage_first else (level, year)
    order = lexicographic_order(outer, inner, codes, lesson, seed=seed)
    new_bucket = _changes(outer[order], inner[order])
    new_list = new_bucket | _changes(codes[order])
    turn = np.cumsum(new_list | _changes(lesson[order]) if whole_units else np.ones(len(order)))
    turn = turn - np.maximum.accumulate(np.where(new_list, turn, 0))
    bucket = np.cumsum(new_bucket) - 1
    seat = codes[order]
    if shuffle_groups and len(order):
        generator = numpy_generator(seed, "round robin")
        draws = generator.random(int(np.count_nonzero(new_list)))[np.cumsum(new_list) - 1]
        return order[np.lexsort((seat, draws, turn, bucket))]
    return order[np.lexsort((seat, turn, bucket))]


def _by_keys(*keys: Values | None, seed: int) -> Order:
    """Sort by the keys that are given."""
    return lexicographic_order(*[key for key in keys if key is not None], seed=seed)


def _changes(*columns: Numbers) -> np.ndarray:
    """Where a row differs from the one before it; the first row does."""
    changed = np.zeros(len(columns[0]), dtype=bool)
    changed[:1] = True
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    return changed
