"""A linear probe: logistic regression on given features, its penalty chosen by cross-validation."""

import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths of the L2 penalty that are tried."""


class LinearProbe(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    r"""Logistic regression on standardized features with an L2 penalty.

    .. math:: p_{ic} \propto e^{w_c^\top z_i + b_c}, \qquad
        \min_{w, b} \; - \sum_i \log p_{i y_i} + \frac{1}{2 \lambda} \lVert w \rVert^2

    Of several strengths the one with the best log-likelihood in cross-validation is taken, with
    whole groups held out if there are groups. Sparse features are taken as they are.

    Args:
        strengths: values of lambda to choose from; with a single one nothing is chosen.
        folds: of the cross-validation; fewer where a class has fewer rows.
        most_rows: rows that the choice is made on at most, drawn at random.
        max_iter: steps of the solver.
        random_state: seed of the folds.

    Attributes:
        classes_: the classes, sorted, shape [C].
        strength_: the lambda that was chosen.
        model_: the fitted pipeline.
        n_iter_: steps that the solver took.
        n_features_in_: number of columns.
        feature_names_in_: names of the columns, where X had them.

    Source: Hase et al. 2024, arXiv 2401.06751 (linear probes).

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> probe = LinearProbe().fit(X, y)
    >>> bool(probe.score(X, y) > 0.95), probe.predict_proba(X[:1]).shape
    (True, (1, 3))
    """

    def __init__(
        self,
        strengths: Sequence[float] = STRENGTHS,
        *,
        folds: int = 3,
        most_rows: int = 2000,
        max_iter: int = 200,
        random_state: int | None = 0,
    ) -> None:
        self.strengths = strengths
        self.folds = folds
        self.most_rows = most_rows
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, X: Any, y: Any, groups: npt.ArrayLike | None = None) -> Self:
        """Choose the penalty and fit.

        Args:
            X: features, an array or a sparse matrix, shape [n, columns].
            y: labels, of any type that scikit-learn takes for classes, shape [n].
            groups: what must not be on both sides of a split, shape [n].

        Returns:
            Itself.
        """
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=(np.float64, np.float32))
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y: expected at least two classes, got one class: {self.classes_[0]!r}"
            )
        self.strength_ = self._choose(X, y, None if groups is None else np.asarray(groups))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model_ = self._pipeline(X, self.strength_).fit(X, y)
        self.n_iter_ = int(np.max(self.model_["model"].n_iter_))
        return self

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Probabilities of the classes, shape [n, C]."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=(np.float64, np.float32), reset=False)
        return np.asarray(self.model_.predict_proba(X), dtype=np.float64)

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The likeliest class of each row, shape [n]."""
        check_is_fitted(self)
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _pipeline(self, X: Any, strength: float) -> Pipeline:
        scaler = "passthrough" if hasattr(X, "tocsr") else StandardScaler()
        model = LogisticRegression(C=strength, max_iter=self.max_iter)
        return Pipeline([("scaler", scaler), ("model", model)])

    def _choose(self, X: Any, y: npt.NDArray[Any], groups: npt.NDArray[Any] | None) -> float:
        strengths = [float(one) for one in self.strengths]
        random = np.random.default_rng(self.random_state)
        rows = np.sort(random.permutation(len(y))[: self.most_rows])
        X, y = X[rows], y[rows]
        groups = None if groups is None else groups[rows]
        counts = np.unique(y, return_counts=True)[1]
        folds = min(self.folds, int(counts.max()))
        if len(strengths) == 1 or folds < 2 or len(counts) < 2:
            return strengths[len(strengths) // 2]
        kind = StratifiedKFold if groups is None else StratifiedGroupKFold
        splits = kind(folds, shuffle=True, random_state=self.random_state)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # rare classes, and folds without one of them
            cv = [
                (train, test)
                for train, test in splits.split(X, y, groups)
                if len(np.unique(y[train])) > 1
            ]
            if not cv:
                return strengths[len(strengths) // 2]
            search = GridSearchCV(
                self._pipeline(X, 1.0),
                {"model__C": strengths},
                scoring=_log_likelihood,
                cv=cv,
                refit=False,
            ).fit(X, y)
        means = np.asarray(search.cv_results_["mean_test_score"])
        return strengths[int(np.nanargmax(means))] if np.isfinite(means).any() else strengths[0]


def _log_likelihood(model: Any, X: Any, y: npt.NDArray[Any]) -> float:
    """Mean log-probability of the labels; a class that the model has not met has 1e-6."""
    p = model.predict_proba(X)
    place = np.searchsorted(model.classes_, y).clip(max=len(model.classes_) - 1)
    own = np.where(model.classes_[place] == y, p[np.arange(len(y)), place], 0.0)
    return float(np.log(own.clip(1e-6)).mean())
