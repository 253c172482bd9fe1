"""What a model scores when only a share of its hidden units is active."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError


class Resizable(Protocol):
    """A fitted model that can predict with its first hidden units alone."""

    n_hidden_: int

    def predict(self, X: Any, n_hidden: int | None = None) -> Any:
        """Predictions by the first units."""


@dataclass(frozen=True, slots=True)
class BudgetPoint:
    """The score of a part of a model.

    Attributes:
        fraction: the share of hidden units that was asked for.
        units: how many were active at most.
        score: what the model scores with them.
    """

    fraction: float
    units: int
    score: float


def budget_curve(
    model: Resizable,
    X: Any,
    y: Any,
    score: Callable[[Any, Any], float],
    *,
    fractions: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
) -> list[BudgetPoint]:
    r"""Scores of a model at several budgets of hidden units.

    .. math:: s_f = \mathrm{score}(y, \mathrm{predict}(X, \lfloor f H \rfloor))

    Args:
        model: fitted, with ``n_hidden_`` units H and ``predict(X, n_hidden=...)``, as
            :class:`gradatim.learners.gradient_boosted_network.GradientBoostedMLPClassifier`.
        X: rows to predict.
        y: their true values.
        score: from true values and predictions to a number, as scikit-learn's metrics.
        fractions: shares of the units, each in [0, 1].

    Returns:
        One point a fraction, in their order.

    Raises:
        InputError: no fraction, or one outside [0, 1].

    Source: Emami and Martínez-Muñoz 2019, arXiv 1909.12098 (units switched off when predicting).

    >>> class Sum:
    ...     n_hidden_ = 4
    ...     def predict(self, X, n_hidden=None):
    ...         return [x * n_hidden for x in X]
    >>> right = lambda y, predicted: sum(a == b for a, b in zip(y, predicted)) / len(y)
    >>> [one.score for one in budget_curve(Sum(), [0, 1], [0, 4], right, fractions=(0.5, 1.0))]
    [0.5, 1.0]
    """
    if not len(fractions):
        raise InputError("fractions: expected at least one share of the units, got none")
    for fraction in fractions:
        check_range("fractions", fraction, 0, 1)
    units = [int(fraction * model.n_hidden_ + 1e-9) for fraction in fractions]
    return [
        BudgetPoint(float(fraction), count, float(score(y, model.predict(X, n_hidden=count))))
        for fraction, count in zip(fractions, units, strict=True)
    ]
