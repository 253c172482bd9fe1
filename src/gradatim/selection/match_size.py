"""Sets of responses made comparable: equal in size, or equal in trials."""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_finite, check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator
from gradatim.selection.rejection_sampling import Kept, RejectionSet

Response = TypeVar("Response")


def match_size(sizes: ArrayLike, total: float, seed: int = 0) -> NDArray[np.int64]:
    """A random part of a set whose sizes add up to a total.

    Args:
        sizes: what each response counts: 1, or its tokens; above 0, shape [R].
        total: what they shall add up to; the part falls short of it by less than the size of one
            response.
        seed: what the choice depends on. With another total the same seed gives a part of the
            larger one, or one that holds it.

    Returns:
        Positions, ascending.

    Raises:
        InputError: the whole set is smaller than the total, or a size is not above 0.

    >>> len(match_size([1] * 100, 40))
    40
    """
    weights = np.asarray(sizes, dtype=np.float64)
    if weights.ndim != 1:
        raise InputError(f"sizes: expected shape [R], got {list(weights.shape)}")
    check_finite("sizes", weights)
    check_range("total", total, 0)
    bad = np.flatnonzero(weights <= 0)
    if len(bad):
        raise InputError(
            f"sizes: expected numbers above 0, got {weights[bad[0]]:g} at row {bad[0]}"
        )
    if weights.sum() < total:
        raise InputError(f"total: expected at most {weights.sum():g}, what there is, got {total:g}")
    order = numpy_generator(seed, "match size").permutation(len(weights))
    return np.sort(order[: int((weights[order].cumsum() <= total).sum())])


def match_sizes(
    arms: Mapping[str, ArrayLike], total: float | None = None, seed: int = 0
) -> dict[str, NDArray[np.int64]]:
    """Random parts of several sets, all of one size.

    Args:
        arms: name -> what each of its responses counts, as in :func:`match_size`.
        total: the common size; None takes that of the smallest.
        seed: what the choices depend on.

    Returns:
        Name -> positions, ascending.

    Raises:
        InputError: as in :func:`match_size`; the set is named.

    >>> parts = match_sizes({"vanilla": [1] * 9, "uniform": [1] * 5})
    >>> {name: len(rows) for name, rows in parts.items()}
    {'vanilla': 5, 'uniform': 5}
    """
    smallest = min(float(np.sum(np.asarray(sizes))) for sizes in arms.values()) if arms else 0.0
    found = {}
    for name, sizes in arms.items():
        try:
            found[name] = match_size(sizes, smallest if total is None else total, seed)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
    return found


def match_trials(
    found: RejectionSet[Response], trials: int, seed: int = 0
) -> RejectionSet[Response]:
    """The set as it would be if only so many trials had been made in all.

    Every question keeps its first trials, equally many wherever it had them; those that do not
    go up evenly are given to random questions. ``n_correct`` of the result counts what is kept.

    Args:
        found: a set.
        trials: of all questions together, at most those that were made.
        seed: what the questions depend on that get one trial more.

    Returns:
        A new set.

    Raises:
        InputError: more trials than were made.

    >>> whole = RejectionSet.begin([9, 9])
    >>> whole.n_trials[:] = [4, 10]
    >>> match_trials(whole, 7).n_trials.sum()
    np.int64(7)
    """
    check_range("trials", trials, 0, int(found.n_trials.sum()))
    low, high = 0, int(found.n_trials.max(initial=0)) + 1  # the largest even cap that fits
    while high - low > 1:
        middle = (low + high) // 2
        fits = int(np.minimum(found.n_trials, middle).sum()) <= trials
        low, high = (middle, high) if fits else (low, middle)
    made = np.minimum(found.n_trials, low)
    more = np.flatnonzero(found.n_trials > low)
    order = numpy_generator(seed, "match trials").permutation(more)
    made[order[: trials - int(made.sum())]] += 1
    kept = [one for one in found.kept if one.trial < made[one.question]]
    return RejectionSet(found.targets, made, _count(kept, len(made)), kept, found.calls)


def _count(kept: list[Kept[Response]], questions: int) -> NDArray[np.int64]:
    rows = np.array([one.question for one in kept], dtype=np.int64)
    return np.bincount(rows, minlength=questions)
