"""Description length: how late, with a growing number of examples, a label is learned."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_choice, check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator

FitPredict: TypeAlias = Callable[[Any, NDArray[np.int64], Any], ArrayLike]
"""Train on (inputs, labels) and give class probabilities, shape [Q, C], of further inputs."""

SIZES = (5, 20, 80, 340, 900)
"""The sizes of the training sets in the paper."""

_SMOOTHING = 0.01


def mdl_difficulty(
    fit_predict: FitPredict,
    X_reference: Any,
    y_reference: ArrayLike,
    X: Any,
    y: ArrayLike,
    *,
    sizes: Sequence[int] = SIZES,
    n_bootstrap: int = 5,
    code: Literal["probability", "bits"] = "probability",
    seed: int = 0,
) -> NDArray[np.float64]:
    r"""Difficulty of labelled examples by learners of growing training sets.

    With :math:`p_{bn}` the class probabilities of a learner of n reference examples in resample b,

    .. math:: d_i = 1 - \operatorname*{mean}_{b, n} p_{bn}(y_i \mid x_i)
        \quad \text{("probability")}, \qquad
        d_i = - \operatorname*{mean}_{b, n} \log_2 \bigl( (1 - \epsilon) \, p_{bn}(y_i \mid x_i)
        + \epsilon / C \bigr) \quad \text{("bits")}

    An example is easy if few examples suffice to predict its label. "probability" is what the
    paper computes and calls minimum description length; "bits" is an online code: the mean number
    of bits that the label costs while the learner grows (smoothed by 0.01, so that it is finite).
    The reference must not hold the examples that are scored.

    Args:
        fit_predict: trains and predicts; a class that the training labels lack gets 0.
        X_reference: inputs of the reference, an array with examples along the first dimension.
        y_reference: their classes, integers from 0, shape [R].
        X: inputs to be scored, handed to ``fit_predict`` as they are.
        y: their classes, shape [N].
        sizes: training set sizes n. Those larger than the reference are cut to it, once.
        n_bootstrap: resamples of the reference, each in an order whose first n are nested.
        code: "probability" or "bits".
        seed: what the resamples depend on.

    Returns:
        Difficulty, shape [N]; in [0, 1] for "probability". Probabilities that are NaN are passed
        over; an example that has no other gets NaN.

    Raises:
        InputError: unequal lengths, no reference, a size below 1, or probabilities whose shape
            does not fit the labels.

    Source: Hase et al. 2024, arXiv 2401.06751; online codes: Voita and Titov 2020,
    arXiv 2003.12298.

    >>> def constant(X, y, queries):
    ...     return np.full((len(queries), 4), 0.25)
    >>> mdl_difficulty(constant, np.zeros((9, 1)), [0] * 9, np.zeros((2, 1)), [1, 3]).tolist()
    [0.75, 0.75]
    """
    check_choice("code", code, ("probability", "bits"))
    check_range("n_bootstrap", n_bootstrap, 1)
    known, labels = np.asarray(y_reference, dtype=np.int64), np.asarray(y, dtype=np.int64)
    check_same_length(y_reference=known, X_reference=_Sized(X_reference))
    check_same_length(y=labels, X=_Sized(X))
    if not len(known):
        raise InputError("X_reference: expected at least one example, got none")
    total, seen = np.zeros(len(labels)), np.zeros(len(labels))
    for resample in range(n_bootstrap):
        order = numpy_generator(seed, "mdl", resample).permutation(len(known))
        for size in usable_sizes(sizes, len(known)):
            rows = order[:size]
            guess = np.asarray(fit_predict(X_reference[rows], known[rows], X), dtype=np.float64)
            own = _own(guess, labels)
            if code == "bits":
                own = -np.log2((1 - _SMOOTHING) * own + _SMOOTHING / guess.shape[1])
            there = ~np.isnan(own)
            total += np.where(there, own, 0.0)
            seen += there
    mean = np.divide(total, seen, out=np.full(len(labels), np.nan), where=seen > 0)
    return np.asarray(mean if code == "bits" else 1.0 - mean)


def usable_sizes(sizes: Sequence[int], available: int) -> list[int]:
    """Training set sizes, ascending and different, cut to what there is.

    Raises:
        InputError: no size, or one below 1.

    >>> usable_sizes((5, 20, 80), 30)
    [5, 20, 30]
    """
    if not len(sizes):
        raise InputError("sizes: expected at least one size, got none")
    for size in sizes:
        check_range("sizes", size, 1)
    return sorted({min(int(size), available) for size in sizes})


class _Sized:
    """The number of examples of an input, which for a sparse matrix is not its ``len``."""

    def __init__(self, inputs: Any) -> None:
        self._length = int(inputs.shape[0]) if hasattr(inputs, "shape") else len(inputs)

    def __len__(self) -> int:
        return self._length


def _own(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """What each example's own class is given."""
    if probabilities.ndim != 2 or len(probabilities) != len(labels):
        raise InputError(
            f"fit_predict: expected probabilities of shape [{len(labels)}, C], "
            f"got {list(probabilities.shape)}"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < probabilities.shape[1]:
        raise InputError(
            f"y: expected classes from 0 to {probabilities.shape[1] - 1}, "
            f"got {labels.min()} to {labels.max()}"
        )
    return probabilities[np.arange(len(labels)), labels]
