"""Exact inductive bias of a data set: what a Gaussian process lacks to predict its classes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator
from gradatim.core.statistics import mean_interval
from gradatim.difficulty.gaussian_process_losses import (
    gaussian_process_losses,
    median_distance,
    rbf_kernel,
)
from gradatim.difficulty.points import as_classes, as_points

N_TRAIN = 1000
N_TEST = 200


@dataclass(frozen=True)
class GaussianProcessBias:
    """Exact inductive bias of several random splits.

    Attributes:
        bits: at each error, of each split, shape [E, splits]; infinity where no function of the
            space reaches it.
        losses: squared errors that the error rates stand for, shape [E].
        typical: mean squared error of the functions that fit, mean over the splits.
        guessing: squared error of predicting the classes' shares, mean over the splits.
        n_train: rows that functions fit.
        n_test: rows that they are tested on.
        length_scale: of the kernel, mean over the splits.
    """

    bits: NDArray[np.float64]
    losses: NDArray[np.float64]
    typical: float
    guessing: float
    n_train: int
    n_test: int
    length_scale: float

    def interval(self, place: int) -> tuple[float, float, float]:
        """Mean over splits and its 95% t interval, in bits, at one of the errors."""
        values = self.bits[place]
        if not np.isfinite(values).all():
            return math.inf, float(values.min()), math.inf
        if len(values) < 2:
            return float(values[0]), math.nan, math.nan
        found = mean_interval(values)
        return found.estimate, max(0.0, found.low), found.high

    def sentence(self, place: int) -> str:
        """What is needed at one of the errors, in words."""
        bits, low, high = self.interval(place)
        told = (
            f"among smooth random functions that fit {self.n_train:,} rows, the good ones for "
            f"{self.n_test:,} others "
        )
        if math.isinf(bits):
            return f"{told}are so rare that no number can be told"
        return f"{told}are told apart by {bits:,.0f} bits [{low:,.0f}, {high:,.0f}]"

    def notes(self) -> list[str]:
        """What makes the figures doubtful."""
        if self.typical <= self.guessing:
            return []
        return [
            "functions that fit the training rows predict worse than the classes' shares do: "
            "classes overlap or labels are wrong, and the exact measure counts that as bias"
        ]


def gaussian_process_bias(
    X: Any,
    y: Any,
    errors: Sequence[float],
    *,
    n_train: int = N_TRAIN,
    n_test: int = N_TEST,
    splits: int = 5,
    seed: int = 0,
) -> GaussianProcessBias:
    r"""How rare, among functions of a Gaussian process that fit, those are that predict well.

    .. math:: I(\varepsilon) = - \log_2 \Pr [ e \le 2 \varepsilon / C ]

    with e the squared error of functions of unit variance, with a squared-exponential kernel whose
    length is the median distance of the training rows, fitted to centred one-hot classes. What is
    to be reached is the squared error of predictions that are sure, and wrong at rate
    :math:`\varepsilon`. Nothing is sampled: the probability is that of
    :meth:`~gradatim.difficulty.gaussian_process_losses.GaussianProcessLosses.logcdf`. It grows
    with the number of test rows, all of which must be predicted well together.

    Args:
        X: features, shape [N, ...].
        y: classes, shape [N].
        errors: error rates, in (0, 1), shape [E].
        n_train: rows that functions fit, at most; there must be other rows for the test.
        n_test: rows that they are tested on; at most half of all.
        splits: random splits.
        seed: what the splits depend on.

    Returns:
        Bits for each error and split. O(splits (n_train³ + n_test³)) time.

    Raises:
        InputError: fewer than 4 rows, one class alone, or equal rows only.

    Source: Boopathy et al. 2024, arXiv 2406.15941.

    >>> X = np.linspace(0, 1, 60)[:, None]
    >>> found = gaussian_process_bias(X, X[:, 0] > 0.5, [0.2, 0.01], n_test=20)
    >>> bool((found.bits[0] <= found.bits[1]).all())
    True
    """
    check_range("n_train", n_train, 1)
    check_range("n_test", n_test, 1)
    check_range("splits", splits, 1)
    for error in errors:
        check_range("errors", error, 0.0, 1.0, open_low=True, open_high=True)
    points = as_points("X", X).astype(np.float64)
    labels, classes = as_classes("y", y, len(points))
    if len(points) < 4:
        raise InputError(f"X: expected at least 4 rows to split, got {len(points)}")
    tested = min(n_test, len(points) // 2)
    trained = min(n_train, len(points) - tested)
    targets = np.eye(len(classes))[labels]
    losses = 2.0 * np.asarray(errors) / len(classes)
    bits = np.empty((len(errors), splits))
    typical, guessing, lengths = [], [], []
    for split in range(splits):
        order = numpy_generator(seed, "gaussian process", split).permutation(len(points))
        train, test = order[:trained], order[trained : trained + tested]
        share = targets[train].mean(axis=0)
        lengths.append(median_distance(points[train]))
        found = gaussian_process_losses(
            points[train],
            targets[train] - share,
            points[test],
            targets[test] - share,
            kernel=rbf_kernel(lengths[-1]),
        )
        bits[:, split] = [-found.logcdf(loss) / math.log(2.0) for loss in losses]
        typical.append(found.mean)
        guessing.append(float(((targets[test] - share) ** 2).mean()))
    return GaussianProcessBias(
        bits=np.maximum(bits, 0.0),
        losses=losses,
        typical=float(np.mean(typical)),
        guessing=float(np.mean(guessing)),
        n_train=trained,
        n_test=tested,
        length_scale=float(np.mean(lengths)),
    )
