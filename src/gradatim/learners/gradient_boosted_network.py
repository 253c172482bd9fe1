"""Scikit-learn estimators: networks whose hidden layer is grown by gradient boosting."""

from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from gradatim.core.checks import check_choice
from gradatim.core.errors import InputError
from gradatim.learners.boosted_units import (
    ACTIVATIONS,
    BoostedUnits,
    boost_hidden_units,
    linear_layer,
)

Floats = npt.NDArray[np.float64]

_LIMITS: dict[str, dict[str, Any]] = {
    "n_hidden": {"target_type": Integral, "min_val": 1},
    "units_per_step": {"target_type": Integral, "min_val": 1},
    "learning_rate": {"target_type": Real, "min_val": 0, "include_boundaries": "neither"},
    "subsample": {
        "target_type": Real,
        "min_val": 0,
        "max_val": 1,
        "include_boundaries": "right",
    },
    "alpha": {"target_type": Real, "min_val": 0},
    "max_iter": {"target_type": Integral, "min_val": 1},
}


class _GradientBoostedMLP(BaseEstimator):  # type: ignore[misc]
    """What classifier and regressor share; an output is F of the paper, times a scale."""

    def __init__(
        self,
        n_hidden: int = 200,
        *,
        units_per_step: int = 1,
        learning_rate: float = 0.1,
        subsample: float = 0.5,
        activation: str = "logistic",
        alpha: float = 0.1,
        max_iter: int = 200,
        standardize: bool = True,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_hidden = n_hidden
        self.units_per_step = units_per_step
        self.learning_rate = learning_rate
        self.subsample = subsample
        self.activation = activation
        self.alpha = alpha
        self.max_iter = max_iter
        self.standardize = standardize
        self.random_state = random_state

    def to_module(
        self, n_hidden: int | None = None, *, dtype: torch.dtype = torch.float32
    ) -> nn.Sequential:
        """The first units, or all, as one ordinary torch network on columns as they are.

        It has a hidden layer, its activation and an output layer, whose bias holds the biases of
        the stages that take part. Columns are standardized by the hidden layer's weights; where
        their means are thousands of deviations from 0, take float64.

        Args:
            n_hidden: as in ``predict``.
            dtype: of its parameters.

        Returns:
            A network from rows of shape [n, columns] to ``decision_function`` (one column for two
            classes, the logit of the second) or predictions, of shape [n, K].
        """
        grown, stages = self._boosted(), self._stages(n_hidden)
        stages = len(grown.steps) if stages is None else stages
        units = stages * grown.units_per_step
        weights, bias = grown.hidden[:-1, :units], grown.hidden[-1, :units]
        if self.scaler_ is not None:
            weights = weights / self.scaler_.scale_[:, None]
            bias = bias - self.scaler_.mean_ @ weights
        scale, offset = self._output_scale()
        output, final = grown.output[:units] * scale, grown.biases[stages] * scale + offset
        tensors = (
            torch.as_tensor(array.T, dtype=dtype) for array in (weights, bias, output, final)
        )
        first, start, last, end = tensors
        active = ACTIVATIONS[grown.activation].module()
        return nn.Sequential(linear_layer(first, start), active, linear_layer(last, end))

    def _check_arguments(self) -> None:
        for name, limits in _LIMITS.items():
            check_scalar(getattr(self, name), name, **limits)
        check_choice("activation", self.activation, ACTIVATIONS)
        if self.n_hidden < self.units_per_step:
            raise InputError(
                f"n_hidden: expected at least one step of {self.units_per_step} units, "
                f"got {self.n_hidden}"
            )

    def _boost(self, X: Floats, targets: Floats, loss: str) -> Self:
        """Grow the hidden layer on validated rows."""
        self.scaler_ = StandardScaler().fit(X) if self.standardize else None
        self.units_ = boost_hidden_units(
            self._inputs(X),
            targets,
            loss,
            stages=self.n_hidden // self.units_per_step,
            units_per_step=self.units_per_step,
            learning_rate=self.learning_rate,
            subsample=self.subsample,
            activation=self.activation,
            alpha=self.alpha,
            max_iter=self.max_iter,
            random_state=check_random_state(self.random_state),
        )
        self.n_hidden_ = len(self.units_.output)
        self.loss_curve_ = self.units_.losses
        self.difficulty_ = self.units_.difficulty
        self.n_iter_ = len(self.units_.steps) + self.units_.skipped
        return self

    def _boosted(self) -> BoostedUnits:
        check_is_fitted(self)
        units: BoostedUnits = self.units_
        return units

    def _inputs(self, X: Floats) -> Floats:
        return X if self.scaler_ is None else np.asarray(self.scaler_.transform(X))

    def _output_scale(self) -> tuple[Floats, Floats]:
        """What the boosted outputs are multiplied by, and what is added, each of shape [K]."""
        raise NotImplementedError

    def _stages(self, n_hidden: int | None) -> int | None:
        """Whole stages among the first units; None for all."""
        if n_hidden is None:
            return None
        check_scalar(n_hidden, "n_hidden", Integral, min_val=0, max_val=self.n_hidden_)
        return int(n_hidden // self.units_per_step)

    def _outputs(self, X: Any, n_hidden: int | None) -> Floats:
        """Scaled outputs, shape [n, K]."""
        units = self._boosted()
        stages = self._stages(n_hidden)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        scale, offset = self._output_scale()
        return units.outputs(self._inputs(X), stages) * scale + offset

    def _staged_outputs(self, X: Any) -> Iterator[Floats]:
        """Scaled outputs after each stage; the table is checked at once."""
        units = self._boosted()
        X = validate_data(self, X, dtype=np.float64, reset=False)
        scale, offset = self._output_scale()
        return (outputs * scale + offset for outputs in units.staged_outputs(self._inputs(X)))


class GradientBoostedMLPClassifier(ClassifierMixin, _GradientBoostedMLP):  # type: ignore[misc]
    r"""A network of one hidden layer that is grown by gradient boosting, for classes.

    Starting from the constant of least mean loss, stage after stage a few hidden units are fitted
    by least squares to the pseudo-residuals r of a share of the rows, and added with a Newton step,

    .. math:: F_t(x) = F_{t-1}(x) + \nu \rho_t h_t(x), \qquad
        r = - \partial L / \partial F_{t-1}

    What comes out is one ordinary network. Its units stand in the order in which they were learned,
    so that the last can be switched off when predicting (``n_hidden``), and the residuals of a row
    over the stages say how hard it was.

    Two classes have the loss :math:`\log (1 + e^{-2 y F})`, more the cross-entropy.

    Args:
        n_hidden: hidden units to grow; a remainder of less than a step is left out.
        units_per_step: J, units of each stage.
        learning_rate: nu, in (0, inf); a lower one asks for more units. The authors' code has 1.
        subsample: share of the rows that a stage is fitted to, in (0, 1], drawn at random.
        activation: of the hidden units, "logistic", "tanh", "relu" or "identity".
        alpha: of the L2 penalty on the weights of each stage, 1e-4 in the authors' code; without
            one, a late unit can be steep where no training row is.
        max_iter: iterations of L-BFGS in each stage at most.
        standardize: scale every column to mean 0 and deviation 1 on the training rows.
        random_state: seed of rows and initial weights; None for a fresh one each time.

    Attributes:
        classes_: the classes, sorted, shape [C].
        n_hidden_: hidden units that there are; stages that came out flat have none.
        units_: the grown layer on standardized columns, a
            :class:`gradatim.learners.boosted_units.BoostedUnits`.
        loss_curve_: mean training loss before the first stage and after each.
        difficulty_: for each training row, the mean size of its residuals over the stages, shape
            [n]; higher = harder.
        n_iter_: stages that were tried.
        scaler_: the fitted ``StandardScaler``, or None.
        n_features_in_: number of columns.
        feature_names_in_: names of the columns, where X had them.

    Raises:
        ValueError: from ``fit``: a table with NaN or text, labels that are no classes or all of
            one class, a number outside its range (``InputError`` is one of them).
        TypeError: from ``fit``: an argument of another type.

    Source: Emami and Martínez-Muñoz 2019, arXiv 1909.12098; the authors' code.

    >>> from sklearn.datasets import load_breast_cancer
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = GradientBoostedMLPClassifier(40, learning_rate=0.1, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.97), bool((model.predict(X, n_hidden=20) == y).mean() > 0.97)
    (True, True)
    >>> model.to_module(n_hidden=20)
    Sequential(
      (0): Linear(in_features=30, out_features=20, bias=True)
      (1): Sigmoid()
      (2): Linear(in_features=20, out_features=1, bias=True)
    )
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Grow the network.

        Args:
            X: numbers, shape [n, columns].
            y: labels, of any type that scikit-learn takes for classes, shape [n].

        Returns:
            The estimator itself.
        """
        self._check_arguments()
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"y: expected at least two classes, got one class: {self.classes_[0]}")
        if len(self.classes_) == 2:
            signs = np.where(labels == 0, -1.0, 1.0)
            return self._boost(X, signs[:, None], "logistic")
        one_hot = np.eye(len(self.classes_), dtype=np.float64)[labels]
        return self._boost(X, one_hot, "softmax")

    def decision_function(self, X: Any, n_hidden: int | None = None) -> Floats:
        """Logits: shape [n, C], or [n] for two classes, where positive means the second.

        Args:
            X: numbers, shape [n, columns].
            n_hidden: as in ``predict``.
        """
        outputs = self._outputs(X, n_hidden)
        return outputs[:, 0] if len(self.classes_) == 2 else outputs

    def predict_proba(self, X: Any, n_hidden: int | None = None) -> Floats:
        """Probabilities of the classes in the order of ``classes_``, shape [n, C].

        Args:
            X: numbers, shape [n, columns].
            n_hidden: as in ``predict``.
        """
        return _probabilities(self._outputs(X, n_hidden))

    def predict(self, X: Any, n_hidden: int | None = None) -> npt.NDArray[Any]:
        """The most probable class of each row, shape [n].

        Args:
            X: numbers, shape [n, columns].
            n_hidden: how many of the units are active, those learned first, from 0 to
                ``n_hidden_``; of a stage that is not whole, none. None for all.
        """
        classes = self.predict_proba(X, n_hidden).argmax(axis=1)
        return np.asarray(self.classes_[classes])

    def staged_predict_proba(self, X: Any) -> Iterator[Floats]:
        """Probabilities after each stage, shape [n, C] a stage."""
        return (_probabilities(outputs) for outputs in self._staged_outputs(X))

    def staged_predict(self, X: Any) -> Iterator[npt.NDArray[Any]]:
        """The most probable classes after each stage, shape [n] a stage."""
        stages = self.staged_predict_proba(X)
        return (np.asarray(self.classes_[one.argmax(axis=1)]) for one in stages)

    def _output_scale(self) -> tuple[Floats, Floats]:
        # with two classes F is half the logit
        outputs = 1 if len(self.classes_) == 2 else len(self.classes_)
        return np.full(outputs, 2.0 if outputs == 1 else 1.0), np.zeros(outputs)


class GradientBoostedMLPRegressor(RegressorMixin, MultiOutputMixin, _GradientBoostedMLP):  # type: ignore[misc]
    r"""A network of one hidden layer that is grown by gradient boosting, for numbers.

    Starting from the mean, stage after stage a few hidden units are fitted by least squares to what
    is missing on a share of the rows, and added,

    .. math:: F_t(x) = F_{t-1}(x) + \nu h_t(x), \qquad h_t \approx y - F_{t-1}

    What comes out is one ordinary network. Its units stand in the order in which they were learned,
    so that the last can be switched off when predicting (``n_hidden``), and the residuals of a row
    over the stages say how hard it was. Several targets share the hidden units.

    Args:
        n_hidden: hidden units to grow; a remainder of less than a step is left out.
        units_per_step: J, units of each stage.
        learning_rate: nu, in (0, inf); a lower one asks for more units. The authors' code has 1,
            with which many units overfit noise.
        subsample: share of the rows that a stage is fitted to, in (0, 1], drawn at random.
        activation: of the hidden units, "logistic", "tanh", "relu" or "identity".
        alpha: of the L2 penalty on the weights of each stage, 1e-4 in the authors' code; without
            one, a late unit can be steep where no training row is.
        max_iter: iterations of L-BFGS in each stage at most.
        standardize: scale every column and every target to mean 0 and deviation 1 on the training
            rows.
        random_state: seed of rows and initial weights; None for a fresh one each time.

    Attributes:
        n_hidden_: hidden units that there are; stages that came out flat have none.
        units_: the grown layer on standardized columns and targets, a
            :class:`gradatim.learners.boosted_units.BoostedUnits`.
        loss_curve_: half the mean squared error on the training rows, of standardized targets,
            before the first stage and after each.
        difficulty_: for each training row, the mean size of its residuals over the stages, shape
            [n]; higher = harder.
        n_iter_: stages that were tried.
        scaler_: the fitted ``StandardScaler`` of the columns, or None.
        target_scaler_: that of the targets, or None.
        n_features_in_: number of columns.
        feature_names_in_: names of the columns, where X had them.

    Raises:
        ValueError: from ``fit``: a table with NaN or text, a number outside its range
            (``InputError`` is one of them).
        TypeError: from ``fit``: an argument of another type.

    Source: Emami and Martínez-Muñoz 2019, arXiv 1909.12098; the authors' code.

    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = GradientBoostedMLPRegressor(40, learning_rate=0.1, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.5), len(list(model.staged_predict(X)))
    (True, 40)
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Grow the network.

        Args:
            X: numbers, shape [n, columns].
            y: targets, shape [n] or [n, K].

        Returns:
            The estimator itself.
        """
        self._check_arguments()
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        self._one_target = y.ndim == 1
        targets = np.asarray(y, dtype=np.float64).reshape(len(X), -1)
        self.target_scaler_ = StandardScaler().fit(targets) if self.standardize else None
        if self.target_scaler_ is not None:
            targets = self.target_scaler_.transform(targets)
        return self._boost(X, targets, "squared")

    def predict(self, X: Any, n_hidden: int | None = None) -> Floats:
        """Predicted targets, shape [n] or [n, K], as they were in ``fit``.

        Args:
            X: numbers, shape [n, columns].
            n_hidden: how many of the units are active, those learned first, from 0 to
                ``n_hidden_``; of a stage that is not whole, none. None for all.
        """
        return self._targets(self._outputs(X, n_hidden))

    def staged_predict(self, X: Any) -> Iterator[Floats]:
        """Predicted targets after each stage, shape [n] or [n, K] a stage."""
        return (self._targets(outputs) for outputs in self._staged_outputs(X))

    def _targets(self, outputs: Floats) -> Floats:
        return outputs[:, 0] if self._one_target else outputs

    def _output_scale(self) -> tuple[Floats, Floats]:
        if self.target_scaler_ is None:
            outputs = self.units_.output.shape[1]
            return np.ones(outputs), np.zeros(outputs)
        return self.target_scaler_.scale_, self.target_scaler_.mean_


def _probabilities(outputs: Floats) -> Floats:
    """Probabilities of the classes from logits, shape [n, C]."""
    if outputs.shape[1] > 1:
        return np.asarray(softmax(outputs, axis=1))
    return np.column_stack([expit(-outputs), expit(outputs)])
