"""How hard a classification task is: inductive bias by a bound and by an exact estimate."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.difficulty.class_margin import (
    N_PAIRS,
    ClassMargin,
    NearestEnemies,
    class_margin,
    margin_of,
    nearest_enemies,
)
from gradatim.difficulty.gaussian_process_bias import (
    N_TEST,
    N_TRAIN,
    GaussianProcessBias,
    gaussian_process_bias,
)
from gradatim.difficulty.inductive_bias_complexity import InductiveBias
from gradatim.difficulty.inductive_bias_tasks import classification_complexity
from gradatim.difficulty.intrinsic_dimension import (
    FRACTIONS,
    KS,
    DimensionEstimate,
    DimensionSensitivity,
    dimension_sensitivity,
)
from gradatim.difficulty.points import as_classes, as_points, distinct_rows

if TYPE_CHECKING:
    import pandas as pd

K = 5
MOST_ROWS_EXACT = 20_000
"""Rows up to which the margin is looked for among all pairs."""

_MANY_TIES = 0.1
_RISING = 0.1
_OFF_CENTRE = 3.0
_OUTLYING = 3.0
ERRORS = (0.3, 0.2, 0.1, 0.05, 0.02, 0.01)


@dataclass(frozen=True)
class TaskDifficulty:
    """How hard a task is, and what the figure rests on.

    Attributes:
        n: rows.
        features: numbers a row.
        classes: how many.
        error: error rate that is to be reached.
        radius: largest norm of a row.
        margin: smallest distance between rows of different classes.
        dimension: intrinsic dimension, from 5 neighbours in all rows (or as many as there can be).
        sensitivity: the dimension for other numbers of neighbours and smaller samples.
        complexity: the bound at that dimension, for a learner of any kind.
        exact: the exact inductive bias for a Gaussian process; None if it was left out.
        enemies: the nearest row of another class of each row; None if the margin was extrapolated.
        notes: what makes the figures doubtful.
    """

    n: int
    features: int
    classes: int
    error: float
    radius: float
    margin: ClassMargin
    dimension: DimensionEstimate
    sensitivity: DimensionSensitivity
    complexity: InductiveBias
    exact: GaussianProcessBias | None
    enemies: NearestEnemies | None
    notes: tuple[str, ...]

    def complexity_at(self, dimension: float, error: float | None = None) -> InductiveBias:
        """The bound, were the dimension (and the error) another; NaN where it says nothing."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return classification_complexity(
                error=self.error if error is None else error,
                n=self.n,
                classes=self.classes,
                dimension=dimension,
                radius=self.radius,
                resolution=self.margin.distance,
            )

    @property
    def log10_range(self) -> tuple[float, float]:
        """The bound over all estimates of the dimension, as log10 of bits."""
        low, high = (self.complexity_at(m) for m in (self.sensitivity.low, self.sensitivity.high))
        return low.log10_bits, high.log10_bits

    def table(self) -> "pd.DataFrame":
        """How dimension and bound change with the neighbours and the sample that were looked at.

        Returns:
            A row for each sample size and k: points, k, dimension with low and high, log10_bits
            with log10_low and log10_high (at the ends of the dimension's interval), and chosen.
        """
        found = self.sensitivity.table().drop(columns="ties")
        for name, source in (
            ("log10_bits", "dimension"),
            ("log10_low", "low"),
            ("log10_high", "high"),
        ):
            found[name] = [
                self.complexity_at(m).log10_bits if math.isfinite(m) else math.nan
                for m in found[source]
            ]
        found["chosen"] = [one == self.dimension for one in self.sensitivity.estimates]
        return found

    def curve(self) -> "pd.DataFrame":
        """Both measures by the error that is to be reached.

        Returns:
            A row for each error: error, log10_bits (the bound), exact_bits with exact_low and
            exact_high (NaN without).
        """
        import pandas as pd

        rows = []
        for place, error in enumerate(curve_errors(self.error)):
            exact = (math.nan,) * 3 if self.exact is None else self.exact.interval(place)
            bound = self.complexity_at(self.dimension.estimate, error).log10_bits
            rows.append((error, bound, *exact))
        columns = ["error", "log10_bits", "exact_bits", "exact_low", "exact_high"]
        return pd.DataFrame(rows, columns=columns)

    def sentence(self) -> str:
        """What was found, in words."""
        low, high = self.log10_range
        dimension = self.dimension
        told = (
            f"{self.n:,} rows of {self.classes} classes vary along {dimension.estimate:.1f} "
            f"directions ({self.sensitivity.low:.1f} to {self.sensitivity.high:.1f}, by how many "
            f"neighbours and rows are looked at). To reach an error of {self.error:.3g}, a learner "
            "of any kind must bring "
        )
        if math.isnan(self.complexity.log2_bits):
            told += "no more than the rows tell: the bound says nothing here"
        else:
            told += f"up to 10^{self.complexity.log10_bits:.1f} bits ({_powers(low, high)})"
        if self.exact is not None:
            told += f"; {self.exact.sentence(curve_errors(self.error).index(self.error))}"
        return f"{told}."


def measure_task(
    X: Any,
    y: Any,
    *,
    error: float = 0.01,
    ks: Sequence[int] = KS,
    fractions: Sequence[float] = FRACTIONS,
    margin: float | Literal["auto", "exact", "extrapolated"] = "auto",
    exact: bool = True,
    n_train: int = N_TRAIN,
    n_test: int = N_TEST,
    splits: int = 5,
    seed: int = 0,
) -> TaskDifficulty:
    """Measure how hard it is to tell the classes of a data set apart.

    Two measures, both in bits that a learner must bring beyond the rows. The *bound* holds for
    learners of any kind and rests on geometry alone: see
    :func:`~gradatim.difficulty.inductive_bias_tasks.classification_complexity`. The *exact* one
    holds for one space of hypotheses, smooth functions of a Gaussian process: see
    :func:`~gradatim.difficulty.gaussian_process_bias.gaussian_process_bias`. Neither is what some
    network needs; they put tasks in order. Distances decide, so columns must have comparable
    scales.

    Args:
        X: features, an array, tensor or data frame of numbers, shape [N, ...].
        y: class of each row, shape [N].
        error: error rate that is to be reached, in (0, 1).
        ks: numbers of neighbours that the dimension is estimated with; 5, or else the nearest to
            it, is the one that the bound takes.
        fractions: shares of the rows that it is estimated from, besides all.
        margin: the smallest distance between classes, if you know it; "exact" looks at all pairs,
            "extrapolated" at 4,000,000; "auto" looks at all up to 20,000 rows.
        exact: whether to compute the exact measure too.
        n_train: rows that its hypotheses fit.
        n_test: rows that they are tested on; keep it when you compare tasks.
        splits: random splits, for its interval.
        seed: what all draws depend on.

    Returns:
        The measures with all they rest on; ``.sentence()``, ``.table()``, ``.curve()``.

    Raises:
        InputError: constant features, one class alone, rows of different classes that are all
            equal, too few rows, or numbers that are not finite.

    Source: Boopathy et al. 2023, arXiv 2305.01034; Boopathy et al. 2024, arXiv 2406.15941.

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> task = measure_task(X, y, error=0.05)
    >>> task.classes, 1 < task.dimension.estimate < 4
    (3, True)
    """
    check_range("error", error, 0.0, 1.0, open_low=True, open_high=True)
    points = as_points("X", X)
    labels, classes = as_classes("y", y, len(points))
    _check_varies(points)
    different = len(distinct_rows(points).first)
    usable = [k for k in sorted(ks) if k < different]
    shares = sorted({*fractions, 1.0})
    sensitivity = dimension_sensitivity(
        points, ks=usable or sorted(ks), fractions=shares, seed=seed
    )
    chosen = sensitivity.at(min(usable, key=lambda k: (abs(k - K), k)))
    enemies, found = _margin(points, labels, margin, seed)
    norms = _norms(points)
    radius = float(norms.max())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        complexity = classification_complexity(
            error=error,
            n=len(points),
            classes=len(classes),
            dimension=chosen.estimate,
            radius=radius,
            resolution=found.distance,
        )
    bias = None
    if exact:
        bias = gaussian_process_bias(
            points,
            labels,
            curve_errors(error),
            n_train=n_train,
            n_test=n_test,
            splits=splits,
            seed=seed,
        )
    return TaskDifficulty(
        n=len(points),
        features=points.shape[1],
        classes=len(classes),
        error=error,
        radius=radius,
        margin=found,
        dimension=chosen,
        sensitivity=sensitivity,
        complexity=complexity,
        exact=bias,
        enemies=enemies,
        notes=(
            *_notes(len(points), different, chosen, sensitivity, found, complexity),
            *_radius_notes(norms, _norms(points - points.mean(axis=0))),
            *(bias.notes() if bias else ()),
        ),
    )


def curve_errors(error: float) -> list[float]:
    """The errors of :meth:`TaskDifficulty.curve`, falling; the given one is among them.

    >>> curve_errors(0.03)
    [0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01]
    """
    return sorted({*ERRORS, error}, reverse=True)


def _check_varies(points: NDArray[Any]) -> None:
    if (points.min(axis=0) == points.max(axis=0)).all():
        raise InputError("X: expected features that vary, got constant ones only")


def _margin(
    points: NDArray[Any],
    labels: NDArray[np.int64],
    margin: float | str,
    seed: int,
) -> tuple[NearestEnemies | None, ClassMargin]:
    if not isinstance(margin, str):
        check_range("margin", margin, 0.0, open_low=True)
        return None, ClassMargin(float(margin), "given", float(margin), math.nan, 0, 0)
    sizes = np.bincount(labels).astype(np.float64)
    pairs = (sizes * (len(labels) - sizes)).sum() / 2
    if margin == "exact" or (
        margin == "auto" and (len(points) <= MOST_ROWS_EXACT or pairs <= N_PAIRS)
    ):
        enemies = nearest_enemies(points, labels)
        return enemies, margin_of(enemies, int(pairs))
    method: Any = "extrapolated" if margin == "auto" else margin
    return None, class_margin(points, labels, method=method, n_pairs=N_PAIRS, seed=seed)


def _notes(
    rows: int,
    different: int,
    chosen: DimensionEstimate,
    sensitivity: DimensionSensitivity,
    margin: ClassMargin,
    complexity: InductiveBias,
) -> list[str]:
    """What a reader must know before believing the figures."""
    found = []
    if different < rows:
        found.append(
            f"{rows - different:,} rows are copies of others; the dimension counts each once"
        )
    if margin.contradicted:
        what = "rows equal a row" if margin.method == "exact" else "drawn pairs are equal rows"
        found.append(
            f"{margin.contradicted:,} {what} of another class: nothing tells them apart; they are "
            "left out of the margin"
        )
    if chosen.ties > _MANY_TIES:
        found.append(
            f"{chosen.ties:.0%} of the neighbours are as far as the next one, as whole numbers and "
            "categories make it: the dimension comes out too high"
        )
    smaller = [one for one in sensitivity.estimates if one.k == chosen.k and one != chosen]
    if smaller and chosen.estimate > (1.0 + _RISING) * smaller[-1].estimate:
        found.append(
            f"the dimension still rises with the sample, from {smaller[-1].estimate:.1f} in "
            f"{smaller[-1].n_points:,} rows to {chosen.estimate:.1f} in {chosen.n_points:,}: with "
            "more rows it would be larger, and so would the bound"
        )
    most = 2.0 * math.log10(max(2, different))
    if chosen.estimate > most:
        found.append(
            f"from {different:,} different rows, dimensions above about {most:.0f} come out too "
            "low (Eckmann and Ruelle 1992), and with them the bound"
        )
    if math.isnan(complexity.log2_bits):
        found.append(
            "the bound says nothing here: there are as many rows as parameters, or the rows alone "
            "reach the error"
        )
    return found


def _norms(points: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(np.sqrt((points.astype(np.float64) ** 2).sum(axis=1)))


def _radius_notes(norms: NDArray[np.float64], around_mean: NDArray[np.float64]) -> list[str]:
    """What is odd about the largest norm, on which the bound rests."""
    largest, found = float(norms.max()), []
    if largest > _OFF_CENTRE * float(around_mean.max()):
        found.append(
            f"the rows lie far from the origin: their largest norm is {largest:.4g}, and "
            f"{around_mean.max():.4g} around their mean; subtract the mean for a smaller bound"
        )
    typical = float(np.median(norms))
    if largest > _OUTLYING * typical:
        found.append(
            f"row {int(norms.argmax()):,} is an outlier of norm {largest:.4g}, where {typical:.4g} "
            "is typical: the bound grows with the largest norm, so clip or transform long tails"
        )
    return found


def _powers(low: float, high: float) -> str:
    if math.isnan(low) or math.isnan(high):
        return f"at most 10^{high:.1f}" if not math.isnan(high) else "no range can be told"
    return f"10^{low:.1f} to 10^{high:.1f}"
