"""A scikit-learn classifier that learns from few labels by clustering all rows at once."""

from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_scalar
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from gradatim.core.checks import check_choice
from gradatim.core.errors import InputError
from gradatim.targets.blockwise_kmeans import kmeans
from gradatim.targets.laplacian_assignment import Transduction, knn_affinity, transduce
from gradatim.targets.prototype_clustering import (
    class_means,
    members,
    shift_correct,
    squared_distances,
)

_LIMITS: dict[str, dict[str, Any]] = {
    "lam": {"target_type": Real, "min_val": 0},
    "knn": {"target_type": Integral, "min_val": 2},
    "tol": {"target_type": Real, "min_val": 0},
    "max_iter": {"target_type": Integral, "min_val": 1},
}


class TransductiveClustering(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    r"""Gives unlabelled rows the classes of clusters that are seeded by a few labelled ones.

    Prototypes start at the means of the labelled rows of each class. In turn they are moved to
    the means (or the modes) of their clusters, and all rows are assigned, by lowering

    .. math:: \sum_p a_p^\top s_p + \sum_p s_p^\top \log s_p
        - \frac{\lambda}{2} \sum_{pq} w_{pq} \, s_p^\top s_q

    over the rows' probabilities s, where :math:`a_{pk} = \lVert x_p - m_k \rVert^2` for "kmeans"
    and :math:`- \exp(- \lVert x_p - m_k \rVert^2 / 2 \sigma^2)` for "kmodes", and w links nearest
    neighbours. For :math:`\lambda = 0` rows go to the nearest prototype.

    Costs count against probabilities, so the scale of the columns matters: features of length
    about 1, as from ``Normalizer``, are what the default of ``lam`` is meant for. ``knn`` and
    distances between all rows make the Laplacian term and "kmodes" a matter of up to some ten
    thousand rows; "kmeans" with ``lam=0`` takes millions.

    Args:
        method: "kmeans" or "kmodes".
        lam: strength of the Laplacian term; 0 is plain clustering.
        knn: neighbours of a row, the row itself counted.
        fix_support: hold labelled rows in their classes; if not, they only seed the clusters.
        shift: move the unlabelled rows so that their mean is that of the labelled ones, as the
            paper does; right only where both have the classes in about equal shares.
        tol: relative change of the energy at which to stop.
        max_iter: most moves of the prototypes.

    Attributes:
        classes_: the classes, sorted, shape [C].
        transduction_: class of each row that was fitted, shape [n].
        assignments_: probabilities of the classes for these rows, shape [n, C].
        prototypes_: one of each class, shape [C, columns].
        energy_: of the fitted assignments.
        width_: sigma of the kernel; 1 for "kmeans".
        shift_: what is added to rows without label, shape [columns].
        n_iter_: how often prototypes were moved.
        n_features_in_: number of columns.
        feature_names_in_: names of the columns, where X had them.

    Raises:
        ValueError: from ``fit``: a table with NaN or text, labels that are no classes or all of
            one class, a number outside its range (``InputError`` is one of them).
        TypeError: from ``fit``: an argument of another type.

    Source: Ziko et al. 2021, arXiv 2106.09516.

    >>> from sklearn.datasets import load_digits
    >>> from sklearn.preprocessing import normalize
    >>> X, true = load_digits(return_X_y=True)
    >>> y = true.copy()
    >>> y[50:] = -1
    >>> model = TransductiveClustering().fit(normalize(X - X.mean(axis=0)), y)
    >>> bool((model.transduction_[50:] == true[50:]).mean() > 0.8)
    True
    """

    def __init__(
        self,
        method: Literal["kmeans", "kmodes"] = "kmeans",
        *,
        lam: float = 0.7,
        knn: int = 3,
        fix_support: bool = True,
        shift: bool = False,
        tol: float = 1e-4,
        max_iter: int = 100,
    ) -> None:
        self.method = method
        self.lam = lam
        self.knn = knn
        self.fix_support = fix_support
        self.shift = shift
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: Any, y: Any) -> Self:
        """Cluster labelled and unlabelled rows.

        Args:
            X: numbers, shape [n, columns].
            y: labels, of any type that scikit-learn takes for classes, -1 for a row without one,
                shape [n]. Where -1 and one other number are all there is, both are classes.

        Returns:
            The estimator itself.
        """
        X, y = validate_data(self, X, y, dtype=(np.float64, np.float32))
        check_classification_targets(y)
        known = np.ones(len(y), dtype=bool)
        if y.dtype.kind in "if" and len(np.unique(y)) > 2:
            known = y != -1
        return self._fit(X, y, known)

    def fit_predict(self, X: Any, y: Any) -> npt.NDArray[Any]:
        """Fit, and return the class of every row, shape [n]."""
        classes: npt.NDArray[Any] = self.fit(X, y).transduction_
        return classes

    def fit_support(self, support: Any, y: Any, query: Any) -> npt.NDArray[Any]:
        """Fit a few-shot task, and return the classes of its queries.

        Args:
            support: labelled rows, shape [S, columns].
            y: their labels, all of them classes, shape [S].
            query: rows without label, shape [Q, columns].

        Returns:
            Classes of the queries, shape [Q].

        Raises:
            ValueError: as from ``fit``.
        """
        support, y = validate_data(self, support, y, dtype=(np.float64, np.float32))
        query = validate_data(self, query, dtype=(np.float64, np.float32), reset=False)
        check_classification_targets(y)
        known = np.arange(len(support) + len(query)) < len(support)
        self._fit(np.concatenate([support, query]), y, known)
        classes: npt.NDArray[Any] = self.transduction_[len(support) :]
        return classes

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        r"""Probabilities of the classes for new rows by the prototypes alone, shape [n, C].

        .. math:: p_{k} \propto e^{- \lVert x - m_k \rVert^2} \; \text{(kmeans)}, \qquad
            p_{k} \propto e^{- \lVert x - m_k \rVert^2 / (2 \sigma^2)} \; \text{(kmodes)}

        Rows are taken one by one, without neighbours; for those that were fitted see
        ``assignments_``.
        """
        distances = squared_distances(self._new_rows(X), torch.from_numpy(self.prototypes_))
        if self.method == "kmodes":
            distances = distances / max(2.0 * self.width_**2, torch.finfo(distances.dtype).tiny)
        return np.asarray((-distances).softmax(1).numpy(), dtype=np.float64)

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The class whose prototype is nearest to each new row, shape [n]."""
        rows = self._new_rows(X)
        prototypes = torch.from_numpy(self.prototypes_)
        return np.asarray(self.classes_[squared_distances(rows, prototypes).argmin(1).numpy()])

    def _fit(self, X: npt.NDArray[Any], y: npt.NDArray[Any], known: npt.NDArray[np.bool_]) -> Self:
        """Cluster rows; y holds labels of those that are known, in their order, or of all."""
        for name, limits in _LIMITS.items():
            check_scalar(getattr(self, name), name, **limits)
        check_choice("method", self.method, ("kmeans", "kmodes"))
        given = y if len(y) < len(X) else y[known]
        self.classes_, classes = np.unique(given, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(
                f"y: expected labels of at least two classes, got one class: {self.classes_[:1]}"
            )
        labels = torch.full((len(X),), -1)
        labels[torch.from_numpy(known)] = torch.from_numpy(classes)
        rows = torch.from_numpy(X)
        shift = np.zeros(X.shape[1], dtype=X.dtype)
        if self.shift and not known.all():
            query = rows[labels < 0]
            moved = shift_correct(rows[labels >= 0], query)
            shift = (moved - query).mean(0).numpy()
            rows = rows.clone()
            rows[labels < 0] = moved
        found = self._cluster(rows, labels)
        self.shift_ = shift
        self.transduction_ = self.classes_[found.labels.numpy()]
        self.assignments_ = found.assignments.numpy()
        self.prototypes_ = found.prototypes.numpy()
        self.energy_, self.width_ = float(found.energy), float(found.width)
        self.n_iter_ = found.iterations
        return self

    def _cluster(self, rows: torch.Tensor, labels: torch.Tensor) -> Transduction:
        """By blocks where that is possible, else with the matrix of neighbours."""
        count = len(self.classes_)
        if self.method == "kmeans" and self.lam == 0:
            held = labels if self.fix_support else None
            means = class_means(rows, labels, count)
            found = kmeans(rows, means, labels=held, tol=self.tol, max_iter=self.max_iter)
            soft = (-squared_distances(rows, found.prototypes)).softmax(1)
            if held is not None:
                soft = torch.where((held >= 0)[:, None], members(held, count, rows), soft)
            energy, width = torch.tensor(found.energy, dtype=torch.float64), torch.tensor(1.0)
            return Transduction(
                found.labels, soft, found.prototypes, energy, width, found.iterations
            )
        return transduce(
            rows,
            labels,
            count,
            method=self.method,
            strength=float(self.lam),
            affinity=knn_affinity(rows, min(self.knn, len(rows)) - 1),
            fix_labels=bool(self.fix_support),
            tol=self.tol,
            max_iter=self.max_iter,
        )

    def _new_rows(self, X: Any) -> torch.Tensor:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        kind = self.prototypes_.dtype
        return torch.from_numpy((X + self.shift_).astype(kind, copy=False))
