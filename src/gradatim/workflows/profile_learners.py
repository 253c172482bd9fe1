"""What a profile asks of its models; the probe and the user's estimator, on features."""

import warnings
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from gradatim.core.errors import InputError
from gradatim.workflows.profile_features import Features
from gradatim.workflows.profile_inputs import ProfileTable

Rows = NDArray[np.int64]
_OPTION_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
_SPARSE_STRENGTHS = (1e-1, 1.0, 10.0, 100.0)
_FOLDS = 3
_MOST_ROWS = 2000


class Head(Protocol):
    """What is trained on some rows and gives class probabilities of others."""

    @property
    def name(self) -> str:
        """What is trained, in words."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What was out of the ordinary so far."""
        ...

    def __call__(self, rows: Rows, labels: Rows, queries: Rows) -> NDArray[np.float64]:
        """Train on rows with labels; returns probabilities of the queries, shape [Q, C]."""
        ...


class Learner:
    """Trains on some rows and gives class probabilities of others.

    Args:
        table: the rows.
        features: their features.
        estimator: a scikit-learn classifier with ``predict_proba``; None takes a linear probe.

    Attributes:
        fits: how many models were trained.
        name: what is trained.
        notes: nothing is out of the ordinary.

    Raises:
        InputError: an estimator that cannot give probabilities, or one for questions.
    """

    notes: tuple[str, ...] = ()

    def __init__(self, table: ProfileTable, features: Features, estimator: Any = None) -> None:
        self._table, self._matrix = table, features.matrix
        self._classes = int(table.choices.max())
        self._sizes = table.choices
        self.fits = 0
        self.strength: float | None = None
        if estimator is not None:
            if table.options is not None:
                raise InputError("estimator: expected none for questions with options")
            if not hasattr(estimator, "fit") or not hasattr(estimator, "predict_proba"):
                raise InputError(
                    "estimator: expected a classifier with fit and predict_proba, got "
                    f"{type(estimator).__name__}"
                )
        self._estimator = estimator
        self._threads = ThreadpoolController()
        self.name = "linear probe" if estimator is None else type(estimator).__name__

    def choose(self, rows: Rows, seed: int) -> None:
        """Choose the strength of the probe's penalty by cross-validation on some rows."""
        if self._estimator is None:
            with self._one_thread():
                self._choose(rows, seed)

    def _choose(self, rows: Rows, seed: int) -> None:
        random = np.random.default_rng(seed)
        some = np.sort(random.permutation(rows)[:_MOST_ROWS])
        if self._table.options is None:
            from gradatim.learners.linear_probe import STRENGTHS, LinearProbe

            strengths = _SPARSE_STRENGTHS if hasattr(self._matrix, "tocsr") else STRENGTHS
            probe = LinearProbe(strengths, folds=_FOLDS, most_rows=_MOST_ROWS)
            labels, groups = self._table.labels[some], self._table.group[some]
            if len(np.unique(labels)) > 1 and len(np.unique(groups)) >= _FOLDS:
                probe.fit(self._matrix[some], labels, groups=groups)
                self.strength = probe.strength_
            return
        place = np.unique(self._table.group[some], return_inverse=True)[1]
        fold = random.permutation(int(place.max()) + 1)[place] % _FOLDS
        scores = [self._option_score(some, fold, strength) for strength in _OPTION_STRENGTHS]
        self.strength = _OPTION_STRENGTHS[int(np.argmax(scores))]

    def _option_score(self, rows: Rows, fold: Rows, strength: float) -> float:
        """Mean log-probability of the answers in cross-validation."""
        self.strength = strength
        total = 0.0
        for number in range(_FOLDS):
            held = rows[fold == number]
            if not len(held) or len(held) == len(rows):
                continue
            kept = rows[fold != number]
            p = self(kept, self._table.labels[kept], held)
            own = p[np.arange(len(held)), self._table.labels[held]]
            total += float(np.log(own.clip(1e-6)).sum())
        return total

    def __call__(self, rows: Rows, labels: Rows, queries: Rows) -> NDArray[np.float64]:
        """Train on rows with labels; returns probabilities of the queries, shape [Q, C]."""
        self.fits += 1
        if self._estimator is not None:
            return self._fit_predict(rows, labels, queries)
        with self._one_thread():
            return self._fit_predict(rows, labels, queries)

    def _one_thread(self) -> Any:
        """Many small fits: threads would wait for each other longer than they work."""
        return self._threads.limit(limits=1)

    def _fit_predict(self, rows: Rows, labels: Rows, queries: Rows) -> NDArray[np.float64]:
        if self._table.options is not None:
            from gradatim.evaluators.option_probe import OptionProbe

            probe = OptionProbe(strength=self.strength or _OPTION_STRENGTHS[1])
            probe.fit(self._matrix[rows], labels, self._sizes[rows])
            return probe.predict_proba(self._matrix[queries], self._sizes[queries])
        found = np.zeros((len(queries), self._classes))
        there = np.unique(labels)
        if len(there) == 1:
            found[:, there[0]] = 1.0
            return found
        model = self._model()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # small samples: rare classes, no convergence
            model.fit(self._take(rows), labels)
            p = np.asarray(model.predict_proba(self._take(queries)), dtype=np.float64)
        found[:, np.asarray(model.classes_, dtype=np.int64)] = p
        return found

    def _model(self) -> Any:
        if self._estimator is not None:
            from sklearn.base import clone

            return clone(self._estimator)
        from gradatim.learners.linear_probe import LinearProbe

        return LinearProbe((self.strength or 1e-2,))

    def _take(self, rows: Rows) -> Any:
        return self._matrix.iloc[rows] if hasattr(self._matrix, "iloc") else self._matrix[rows]
