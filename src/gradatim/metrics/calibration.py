"""Whether confidence is to be trusted: expected calibration error, area under risk-coverage."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_finite, check_range, check_same_length
from gradatim.core.errors import InputError

Floats = NDArray[np.float64]


def expected_calibration_error(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = 10
) -> float:
    r"""How far confidence is from accuracy, on average over bins of confidence.

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{n}
        \bigl| \operatorname{acc}_b - \operatorname{conf}_b \bigr|

    Bins have equal width, and a confidence on an edge belongs to the bin below it. Fewer examples
    make the error larger by chance, so compare arms on the same number.

    Args:
        confidence: probability of the predicted class, in [0, 1], shape [n]
            (:func:`confidence_and_correctness` reads it from class probabilities).
        correct: whether each prediction is right, booleans or 0 and 1, shape [n].
        bins: how many bins.

    Returns:
        The error in [0, 1]; papers often give it in per cent.

    Raises:
        InputError: no example, unequal lengths, or values outside their range.

    Source: Naeini et al. 2015 (AAAI), equation 3; Guo et al. 2017, arXiv 1706.04599.

    >>> round(expected_calibration_error([0.9, 0.9, 0.6], [True, False, True]), 3)
    0.4
    """
    check_range("bins", bins, 1)
    sure, right = _checked(confidence, correct)
    if sure.min() < 0 or sure.max() > 1:
        raise InputError(
            f"confidence: expected probabilities in [0, 1], got {sure.min():g} to {sure.max():g}"
        )
    place = np.digitize(sure, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    return float(np.abs(np.bincount(place, right - sure)).sum() / len(sure))


def overconfidence(confidence: ArrayLike, correct: ArrayLike) -> float:
    r"""Mean confidence minus accuracy: above 0 for a model that is too sure of itself.

    .. math:: \frac{1}{n} \sum_i (c_i - [\hat y_i = y_i])

    Args:
        confidence: probability of the predicted class, shape [n].
        correct: whether each prediction is right, shape [n].

    Returns:
        The difference, in [-1, 1] for probabilities. Its size is at most the calibration error.

    Raises:
        InputError: no example, unequal lengths, or values that are not finite.

    >>> overconfidence([1.0, 0.5], [True, False])
    0.25
    """
    sure, right = _checked(confidence, correct)
    return float((sure - right).mean())


def aurc(confidence: ArrayLike, correct: ArrayLike) -> float:
    r"""Area under the risk-coverage curve: the error among the surest, over all coverages.

    .. math:: \mathrm{AURC} = \frac{1}{n} \sum_{k=1}^{n} \frac{e_k}{k}

    where :math:`e_k` counts the errors among the k examples of highest confidence. Equal
    confidences have no order: there :math:`e_k` is its mean over all orders, so that the order of
    the data does not matter.

    Args:
        confidence: any number that is higher where the model is surer, shape [n].
        correct: whether each prediction is right, booleans or 0 and 1, shape [n].

    Returns:
        The area in [0, 1], lower is better; papers often give a thousand times as much.

    Raises:
        InputError: no example, unequal lengths, or values that are not finite.

    Source: Geifman et al. 2019, arXiv 1805.08206, section 3.

    >>> aurc([0.9, 0.8, 0.7], [True, True, False])
    0.1111111111111111
    """
    sure, right = _checked(confidence, correct)
    order = np.argsort(-sure, kind="stable")
    _, start, size = np.unique(-sure[order], return_index=True, return_counts=True)
    errors = np.repeat(np.add.reduceat(1 - right[order], start) / size, size)
    return float((errors.cumsum() / np.arange(1, len(sure) + 1)).mean())


def excess_aurc(confidence: ArrayLike, correct: ArrayLike) -> float:
    r"""What the ranking by confidence costs over the best ranking at the same accuracy.

    .. math:: \mathrm{AURC} - \frac{1}{n} \sum_{j=1}^{e} \frac{j}{n - e + j}

    with e errors in all, which the best ranking puts last.

    Args:
        confidence: any number that is higher where the model is surer, shape [n].
        correct: whether each prediction is right, booleans or 0 and 1, shape [n].

    Returns:
        The excess, 0 for a ranking that puts every error last.

    Raises:
        InputError: as for :func:`aurc`.

    Source: Geifman et al. 2019, arXiv 1805.08206, equation 5, with its exact sum.

    >>> excess_aurc([0.9, 0.8, 0.7], [True, True, False])
    0.0
    """
    _, right = _checked(confidence, correct)
    best = -np.arange(len(right))
    return aurc(confidence, correct) - aurc(best, np.sort(right)[::-1])


def confidence_and_correctness(
    probabilities: ArrayLike, labels: ArrayLike
) -> tuple[Floats, NDArray[np.bool_]]:
    """The probability of the predicted class, and whether that class is right.

    Args:
        probabilities: of each class, shape [n, C]; the first of equal ones is predicted.
        labels: right classes, integers, shape [n].

    Returns:
        Confidence and correctness, each of shape [n].

    Raises:
        InputError: shapes that do not fit.

    >>> confidence_and_correctness([[0.7, 0.3], [0.4, 0.6]], [0, 0])
    (array([0.7, 0.6]), array([ True, False]))
    """
    values, classes = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if values.ndim != 2 or not values.shape[1]:
        raise InputError(f"probabilities: expected shape [n, C], got {list(values.shape)}")
    if classes.shape != (len(values),):
        raise InputError(f"labels: expected shape [{len(values)}], got {list(classes.shape)}")
    return values.max(axis=1), values.argmax(axis=1) == classes


def _checked(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, Floats]:
    sure, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct)
    if sure.ndim != 1 or right.ndim != 1:
        shapes = f"{list(sure.shape)} and {list(right.shape)}"
        raise InputError(f"confidence, correct: expected shape [n], got {shapes}")
    if not check_same_length(confidence=sure, correct=right):
        raise InputError("confidence: expected at least one example, got none")
    check_finite("confidence", sure)
    if not np.isin(right, (0, 1)).all():
        raise InputError("correct: expected booleans, or 0 and 1")
    return sure, right.astype(np.float64)
