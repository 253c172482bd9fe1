"""Out-of-fold predictions: every row is judged by models that saw neither it nor a copy of it."""

import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gradatim.core.errors import InputError
from gradatim.core.seeds import derive_seed, numpy_generator
from gradatim.workflows.profile_inputs import ProfileTable
from gradatim.workflows.profile_learners import Head, Rows


def grouped_folds(table: ProfileTable, folds: int, seed: int) -> Rows:
    """A fold for each row; copies share one, and classes are spread evenly.

    Rows of the test file have the number after the last fold: all of the table's own rows are
    outside of it.

    Raises:
        InputError: fewer different rows than folds.
    """
    from sklearn.model_selection import StratifiedKFold

    own = table.group[: table.trained]
    different, first, place = np.unique(own, return_index=True, return_inverse=True)
    if len(different) < 2 * folds:
        raise InputError(
            f"{table.source}: expected at least {2 * folds} rows that differ in their inputs, "
            f"got {len(different)}"
        )
    labels = table.labels[first] if table.options is None else np.zeros(len(first), np.int64)
    fold_of = np.empty(len(different), dtype=np.int64)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=derive_seed(seed, "folds") % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes with fewer rows than folds
        rare = np.bincount(labels).max() < folds
        drawn = splitter.split(labels, np.zeros_like(labels) if rare else labels)
        for number, (_, held) in enumerate(drawn):
            fold_of[held] = number
    found = np.full(len(table), folds, dtype=np.int64)
    found[: table.trained] = fold_of[place]
    return found


class CrossFit:
    """Predictions of every row by models of the other folds.

    Args:
        table: the rows.
        learner: what is trained.
        folds: how many.
        seed: what the folds depend on.

    Attributes:
        fold: of each row.
        probabilities: shape [N, C].
    """

    MEMBERS = 4

    def __init__(self, table: ProfileTable, learner: Head, folds: int, seed: int) -> None:
        self.table, self.learner, self.seed = table, learner, seed
        self.fold = grouped_folds(table, folds, seed)
        self.probabilities = np.zeros((len(table), int(table.choices.max())))
        for fold, rows in self.folds():
            outside = self.outside(fold)
            self.probabilities[rows] = learner(outside, table.labels[outside], rows)

    def folds(self) -> Iterator[tuple[int, Rows]]:
        """Each fold that has rows, with them."""
        for fold in np.unique(self.fold):
            yield int(fold), np.flatnonzero(self.fold == fold)

    def outside(self, fold: int) -> Rows:
        """The table's own rows that are not in a fold."""
        own = self.fold[: self.table.trained]
        return np.flatnonzero(own != fold)

    def members(self) -> NDArray[np.float64]:
        """An ensemble: each member was trained on half of the rows outside; shape [M, N, C]."""
        found = np.zeros((self.MEMBERS, *self.probabilities.shape))
        for fold, rows in self.folds():
            outside = self.outside(fold)
            for member in range(self.MEMBERS):
                random = numpy_generator(self.seed, "member", fold, member)
                half = np.sort(random.permutation(outside)[: max(1, len(outside) // 2)])
                found[member, rows] = self.learner(half, self.table.labels[half], rows)
        return found

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Which rows are predicted as they are labelled."""
        return np.asarray(self.probabilities.argmax(axis=1) == self.table.labels)


class GivenPredictions(CrossFit):
    """Out-of-fold predictions that the user brings; nothing is trained."""

    def __init__(self, table: ProfileTable, probabilities: NDArray[np.float64]) -> None:
        self.table = table
        self.fold = np.zeros(len(table), dtype=np.int64)
        self.probabilities = probabilities
