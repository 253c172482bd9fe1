"""How far easy training reaches: strata, the matrix between them, and what noise changes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gradatim.core.errors import InputError
from gradatim.metrics.accuracy_by_difficulty import accuracy_by_difficulty
from gradatim.metrics.noise_crossing import NoiseCrossing, noise_crossing
from gradatim.metrics.strata_matrix import accuracy_under_noise, easy_to_hard_matrix
from gradatim.metrics.supervision_gap import SupervisionGap, supervision_gap_recovered
from gradatim.selection.difficulty_split import split_by_difficulty
from gradatim.selection.stratified_draws import (
    cutoffs_by_quantiles,
    largest_training_size,
    stratified_draws,
)
from gradatim.workflows.profile_features import Features
from gradatim.workflows.profile_heads import HeadSettings
from gradatim.workflows.profile_inputs import ProfileTable
from gradatim.workflows.profile_learners import Head, Rows

if TYPE_CHECKING:
    import pandas as pd

STRATA = ("easy", "medium", "hard")
SMALLEST_STRATUM = 20


@dataclass(frozen=True)
class Strata:
    """Easy, medium and hard rows by one measure.

    Attributes:
        measure: its name.
        cutoffs: the largest easy and the smallest hard difficulty.
        names: the stratum of each row.
        own: stratum -> rows of the table; a medium stratum that is too small is not there.
        test: stratum -> rows of the test file, those left out that also stand in the table; None
            if there is no test file.
    """

    measure: str
    cutoffs: tuple[float, float]
    names: NDArray[np.str_]
    own: Mapping[str, Rows]
    test: Mapping[str, Rows] | None


def make_strata(table: ProfileTable, measure: str, difficulty: NDArray[np.float64]) -> Strata:
    """Cut at the 30% and 70% quantiles of the table's own rows.

    Raises:
        InputError: all rows are equally hard, or the easy or hard stratum is too small.
    """
    try:
        cutoffs = cutoffs_by_quantiles(difficulty[: table.trained])
    except InputError as error:
        raise InputError(f"measure {measure!r}: {error}") from error
    split = split_by_difficulty(difficulty, cutoffs=cutoffs)
    names = np.full(len(table), "medium", dtype="<U6")
    for name, rows in split._asdict().items():
        names[rows.numpy()] = name
    own = {name: np.flatnonzero(names[: table.trained] == name) for name in STRATA}
    for name in ("easy", "hard"):
        different = len(np.unique(table.group[own[name]]))
        if different < SMALLEST_STRATUM:
            raise InputError(
                f"measure {measure!r}: expected at least {SMALLEST_STRATUM} different rows in the "
                f"{name} stratum ({_bounds(name, cutoffs)}), got {different}; a larger table or "
                "another measure helps"
            )
    if len(np.unique(table.group[own["medium"]])) < SMALLEST_STRATUM:
        del own["medium"]
    test = None
    if len(table) > table.trained:
        fresh = tested_rows(table)
        test = {name: fresh[names[fresh] == name] for name in own}
        for name, rows in test.items():
            if not len(rows):
                raise InputError(
                    f"test: expected rows in the {name} stratum ({_bounds(name, cutoffs)}), "
                    "got none"
                )
    return Strata(measure, cutoffs, names, own, test)


def tested_rows(table: ProfileTable) -> Rows:
    """The rows that results are told of: those of the test file, or of the table without one."""
    if len(table) == table.trained:
        return np.arange(len(table))
    fresh = ~np.isin(table.group[table.trained :], table.group[: table.trained])
    if not fresh.any():
        raise InputError("test: expected rows that do not also stand in the table, got none")
    return table.trained + np.flatnonzero(fresh)


def _bounds(name: str, cutoffs: tuple[float, float]) -> str:
    if name == "medium":
        return f"between {cutoffs[0]:.4g} and {cutoffs[1]:.4g}"
    return f"up to {cutoffs[0]:.4g}" if name == "easy" else f"from {cutoffs[1]:.4g} on"


@dataclass(frozen=True)
class Reach:
    """What training on one stratum is worth on another.

    Attributes:
        matrix: columns train, test, accuracy, low, high (95% t interval over draws); a row of
            train "none" is the unsupervised baseline.
        noise: columns rate, accuracy, low, high of training on hard rows with wrong labels, and
            easy_accuracy, the same at every rate.
        gap: the supervision gap recovered.
        crossing: the share of wrong hard labels at which easy ones are as good.
        inverted: in words, that hard rows teach the opposite of easy ones; None if they do not.
        trained: rows that each model was trained on.
        draws: how many draws.
    """

    matrix: "pd.DataFrame"
    noise: "pd.DataFrame"
    gap: SupervisionGap
    crossing: NoiseCrossing
    inverted: str | None
    trained: int
    draws: int


def measure_reach(
    table: ProfileTable,
    strata: Strata,
    features: Features,
    learner: Head,
    settings: HeadSettings,
    *,
    n_draws: int,
    seed: int,
) -> Reach:
    """Train on each stratum with equally many rows, and test on each.

    Args:
        table: the rows.
        strata: from :func:`make_strata`.
        features: what each row is predicted as without training.
        learner: what is trained.
        settings: how many rows are trained on and tested, and with which shares of wrong labels.
        n_draws: how many draws.
        seed: what the draws depend on.

    Raises:
        InputError: strata that are too small.
    """
    import pandas as pd

    rates = settings.rates
    trained = _training_size(table, strata, settings.most_trained, n_draws, seed)
    draws = stratified_draws(
        strata.own,
        trained,
        n_draws,
        groups=table.group,
        test=strata.test,
        most_test=settings.most_tested,
        seed=seed,
    )
    found = easy_to_hard_matrix(learner, table.labels, draws)
    baseline = _unsupervised(table, features)
    rows = []
    for test in found.test:
        hits = np.array([baseline[draw.test[test]].mean() for draw in draws])
        rows.append(("none", test, *_three(hits)))
    for row, train in enumerate(found.train):
        for column, test in enumerate(found.test):
            rows.append((train, test, *_three(found.accuracy[:, row, column])))
    hard = found.tested["hard"]
    gap = supervision_gap_recovered(
        baseline[hard], found.correct["easy"][hard], found.correct["hard"][hard], seed=seed
    )
    noisy = accuracy_under_noise(
        learner, table.labels, draws, rates, classes=table.choices, seed=seed
    )
    easy = found.accuracy[:, found.train.index("easy"), found.test.index("hard")]
    noise = pd.DataFrame(
        [(rate, *_three(noisy[:, place]), easy.mean()) for place, rate in enumerate(rates)],
        columns=["rate", "accuracy", "low", "high", "easy_accuracy"],
    )
    matrix = pd.DataFrame(rows, columns=["train", "test", "accuracy", "low", "high"])
    crossing = noise_crossing(rates, easy, noisy, seed=seed)
    return Reach(matrix, noise, gap, crossing, _inverted(matrix), trained, n_draws)


def _inverted(matrix: "pd.DataFrame") -> str | None:
    """Whether training on hard rows makes a model worse on easy ones than no training.

    A measure that knows the label calls rows hard whose labels are wrong or against the odds; a
    model of such rows alone learns the opposite of the rule.
    """
    cells = {row["train"]: row for row in matrix.to_dict("records") if row["test"] == "easy"}
    hard, none = cells["hard"], cells["none"]
    if float(hard["high"]) >= float(none["low"]):
        return None
    return (
        "trained on hard rows, easy rows are solved less often than without training "
        f"({float(hard['accuracy']):.2f} against {float(none['accuracy']):.2f}), so the labels of "
        "the hard rows contradict those of the others"
    )


def _training_size(table: ProfileTable, strata: Strata, most: int, n_draws: int, seed: int) -> int:
    """Equally many for every stratum: what the smallest has for training, and at most ``most``."""
    if strata.test is not None:
        return min(most, *(len(rows) for rows in strata.own.values()))
    largest = largest_training_size(strata.own, n_draws, groups=table.group, seed=seed)
    return min(most, largest)


def _unsupervised(table: ProfileTable, features: Features) -> NDArray[np.float64]:
    """Whether each row is solved without training on any stratum."""
    guess = features.zero_shot
    if guess is None:
        frequent = np.bincount(table.labels[: table.trained]).argmax()
        guess = np.full(len(table), frequent, dtype=np.int64)
    return np.asarray(guess == table.labels, dtype=np.float64)


def _three(values: NDArray[np.float64]) -> tuple[float, float, float]:
    from gradatim.core.statistics import mean_interval

    interval = mean_interval(values)
    return interval.estimate, max(0.0, interval.low), min(1.0, interval.high)


def accuracy_curve(
    correct: NDArray[np.bool_], values: Mapping[str, NDArray[np.float64]], rows: Rows
) -> "pd.DataFrame":
    """Out-of-fold accuracy in tenths of each measure.

    Returns:
        Columns measure, difficulty (the mean of the bin), rows, accuracy, low, high.
    """
    import pandas as pd

    found = []
    for name, difficulty in values.items():
        for one in accuracy_by_difficulty(correct[rows], difficulty[rows]):
            rate = one.accuracy
            found.append((name, one.mean, rate.n, rate.estimate, rate.low, rate.high))
    columns = ["measure", "difficulty", "rows", "accuracy", "low", "high"]
    return pd.DataFrame(found, columns=columns)
