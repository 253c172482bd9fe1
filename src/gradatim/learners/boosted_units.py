"""Growing a hidden layer by gradient boosting: a few units at a time, fitted to what is wrong."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from torch import nn

from gradatim.core.checks import check_choice
from gradatim.core.errors import InputError
from gradatim.difficulty.boosting_stages import residual_difficulty
from gradatim.objectives.boosting_steps import (
    boosting_loss,
    initial_outputs,
    newton_step,
    pseudo_residuals,
)

Floats: TypeAlias = NDArray[np.float64]

_ROWS_AT_ONCE = 4096
_COLLAPSED = (
    1e-6  # deviation of a stage's outputs, in sizes of the residuals, below which it is flat
)


@dataclass(frozen=True)
class Activation:
    """A non-linearity of hidden units.

    Attributes:
        value: of the weighted inputs.
        slope: its derivative, from its value.
        module: makes the same as a torch module.
        initial: the numerator of the bound of initial weights, 6 by Glorot, less where saturated.
    """

    value: Callable[[Floats], Floats]
    slope: Callable[[Floats], Floats]
    module: Callable[[], nn.Module]
    initial: float = 6.0


ACTIVATIONS = {
    "logistic": Activation(expit, lambda h: h * (1 - h), nn.Sigmoid, initial=2.0),
    "tanh": Activation(np.tanh, lambda h: 1 - h * h, nn.Tanh),
    "relu": Activation(lambda z: np.maximum(z, 0), lambda h: (h > 0).astype(float), nn.ReLU),
    "identity": Activation(lambda z: z, np.ones_like, nn.Identity),
}


@dataclass(frozen=True)
class BoostedUnits:
    """A hidden layer that was grown in stages, and its output layer.

    Attributes:
        hidden: weights and, in the last row, biases of the hidden units, shape [d + 1, H].
        output: weights of the output layer, times learning rates and steps, shape [H, K].
        biases: of the output layer after each number of stages, shape [T + 1, K].
        activation: a name in ``ACTIVATIONS``.
        steps: the Newton step of each stage, shape [T].
        losses: mean training loss after each number of stages, shape [T + 1].
        difficulty: mean size of each row's residuals at the stages' starts, shape [N].
        skipped: how many stages came out flat and were left out.
    """

    hidden: Floats
    output: Floats
    biases: Floats
    activation: str
    steps: Floats
    losses: Floats
    difficulty: Floats
    skipped: int

    @property
    def units_per_step(self) -> int:
        """Hidden units of one stage; 0 if there is no stage."""
        return len(self.output) // max(1, len(self.steps))

    def outputs(self, X: Floats, stages: int | None = None) -> Floats:
        """Outputs of the first stages, or of all, for rows of shape [N, d]: shape [N, K]."""
        stages = len(self.steps) if stages is None else stages
        units = stages * self.units_per_step
        value, found = ACTIVATIONS[self.activation].value, np.empty((len(X), self.output.shape[1]))
        for start in range(0, len(X), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            active = value(X[part] @ self.hidden[:-1, :units] + self.hidden[-1, :units])
            found[part] = active @ self.output[:units] + self.biases[stages]
        return found

    def staged_outputs(self, X: Floats) -> Iterator[Floats]:
        """Outputs after each stage, one array of shape [N, K] a stage."""
        value, width = ACTIVATIONS[self.activation].value, self.units_per_step
        weighted = np.zeros((len(X), self.output.shape[1]))
        for stage, bias in enumerate(self.biases[1:]):
            units = slice(stage * width, (stage + 1) * width)
            active = value(X @ self.hidden[:-1, units] + self.hidden[-1, units])
            weighted = weighted + active @ self.output[units]
            yield weighted + bias


def linear_layer(weight: torch.Tensor, bias: torch.Tensor) -> nn.Linear:
    """A layer of given weights, shape [out, in], that draws no random numbers.

    >>> linear_layer(torch.tensor([[2.0]]), torch.tensor([1.0]))(torch.tensor([3.0])).item()
    7.0
    """
    layer = nn.Linear(1, 1, device="meta")
    layer.out_features, layer.in_features = weight.shape
    layer.weight, layer.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
    return layer


def fit_hidden_units(
    X: Floats,
    targets: Floats,
    units: int,
    *,
    activation: str = "logistic",
    alpha: float = 1e-4,
    max_iter: int = 200,
    random_state: np.random.RandomState,
) -> tuple[Floats, Floats]:
    r"""Fit a network of a few hidden units to several targets by least squares, with L-BFGS.

    .. math:: \min_{A, B} \; \frac{1}{2 N} \sum_i \lVert B^\top [\sigma(A^\top [x_i, 1]), 1] -
        t_i \rVert^2 + \frac{\alpha}{2 N} \lVert \text{weights} \rVert^2

    With one target this is what scikit-learn's ``MLPRegressor`` fits, from the same initial
    weights; with K targets that class divides the loss, but not its gradient, by K.

    Args:
        X: rows, shape [N, d].
        targets: shape [N, K].
        units: J.
        activation: sigma, a name in ``ACTIVATIONS``.
        alpha: of the penalty on weights, not biases.
        max_iter: iterations at most.
        random_state: draws the initial weights.

    Returns:
        A of shape [d + 1, J] and B of shape [J + 1, K], with the biases in their last rows.

    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> A, B = fit_hidden_units(x, np.tanh(2 * x), 1, random_state=np.random.RandomState(0))
    >>> bool(abs(expit(x @ A[:-1] + A[-1]) @ B[:-1] + B[-1] - np.tanh(2 * x)).max() < 0.01)
    True
    """
    check_choice("activation", activation, ACTIVATIONS)
    kind, (size, columns), outputs = ACTIVATIONS[activation], X.shape, targets.shape[1]
    start = []
    for rows, width in ((columns, units), (units, outputs)):
        bound = np.sqrt(kind.initial / (rows + width))
        # weights before biases, in row order: the draws of scikit-learn's MLPRegressor
        start.append(random_state.uniform(-bound, bound, (rows + 1) * width))
    border = len(start[0])
    penalized = np.ones(border + len(start[1]))
    penalized[border - units : border] = 0
    penalized[len(penalized) - outputs :] = 0
    inputs = np.column_stack([X, np.ones(size)])
    active = np.ones((size, units + 1))

    def objective(weights: Floats) -> tuple[float, Floats]:
        first, last = weights[:border].reshape(-1, units), weights[border:].reshape(-1, outputs)
        active[:, :-1] = hidden = kind.value(inputs @ first)
        error = active @ last - targets
        back = (error @ last[:-1].T) * kind.slope(hidden)
        gradient = np.concatenate([(inputs.T @ back).ravel(), (active.T @ error).ravel()])
        shrunk = alpha * penalized * weights
        loss = np.vdot(error, error) + shrunk @ weights
        return float(loss) / (2 * size), (gradient + shrunk) / size

    with np.errstate(over="ignore", invalid="ignore"):
        found = minimize(
            objective,
            np.concatenate(start),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": max_iter, "gtol": 0.0},
        ).x
    return found[:border].reshape(-1, units), found[border:].reshape(-1, outputs)


def boost_hidden_units(
    X: Floats,
    targets: Floats,
    loss: str,
    *,
    stages: int,
    units_per_step: int,
    learning_rate: float,
    subsample: float,
    random_state: np.random.RandomState,
    **options: Any,
) -> BoostedUnits:
    r"""Grow a hidden layer: at each stage, a few units are fitted to the residuals and added.

    .. math:: F_t(x) = F_{t-1}(x) + \nu \rho_t h_t(x)

    Args:
        X: rows, shape [N, d].
        targets: shape [N, K], as in :func:`gradatim.objectives.boosting_steps.boosting_loss`.
        loss: "squared", "logistic" or "softmax".
        stages: T.
        units_per_step: hidden units of each stage.
        learning_rate: nu.
        subsample: share of the rows that a stage is fitted to, drawn without replacement.
        random_state: draws rows and initial weights.
        **options: of :func:`fit_hidden_units`.

    Returns:
        The layer. A stage that comes out flat, or not finite, has no part in it.

    Raises:
        InputError: the training loss is no longer finite.

    Source: Emami and Martínez-Muñoz 2019, arXiv 1909.12098.

    >>> x = np.linspace(-3, 3, 200)[:, None]
    >>> settings = {"stages": 40, "units_per_step": 1, "learning_rate": 1.0, "subsample": 1.0}
    >>> grown = boost_hidden_units(
    ...     x, np.sin(2 * x), "squared", random_state=np.random.RandomState(0), **settings
    ... )
    >>> bool(grown.losses[-1] < 0.1 * grown.losses[0])
    True
    """
    y = torch.from_numpy(targets)
    bias = initial_outputs(y, loss).numpy()
    outputs = np.tile(bias, (len(X), 1))
    hidden, output, biases, steps = [], [], [bias], []
    losses = [_mean_loss(y, outputs, loss)]
    difficulty, skipped = np.zeros(len(X)), 0
    drawn, activation = max(1, int(subsample * len(X))), options.get("activation", "logistic")
    for _ in range(stages):
        now = torch.from_numpy(outputs)
        residuals = pseudo_residuals(y, now, loss).numpy()
        rows = random_state.permutation(len(X))[:drawn] if drawn < len(X) else slice(None)
        fit = fit_hidden_units(
            X[rows], residuals[rows], units_per_step, random_state=random_state, **options
        )
        fitted = _network(X, *fit, activation)
        if _is_flat(fitted, residuals):
            skipped += 1
            continue
        step = newton_step(y, now, torch.from_numpy(fitted), loss).item()
        difficulty += residual_difficulty(y, now, loss).numpy()
        scale = learning_rate * step
        outputs = outputs + scale * fitted
        hidden.append(fit[0])
        output.append(scale * fit[1][:-1])
        biases.append(biases[-1] + scale * fit[1][-1])
        steps.append(step)
        losses.append(_mean_loss(y, outputs, loss))
    empty_hidden, empty_output = np.zeros((X.shape[1] + 1, 0)), np.zeros((0, targets.shape[1]))
    return BoostedUnits(
        hidden=np.concatenate([empty_hidden, *hidden], axis=1),
        output=np.concatenate([empty_output, *output]),
        biases=np.stack(biases),
        activation=activation,
        steps=np.array(steps),
        losses=np.array(losses),
        difficulty=difficulty / max(1, len(steps)),
        skipped=skipped,
    )


def _network(X: Floats, first: Floats, last: Floats, activation: str) -> Floats:
    """Outputs of what :func:`fit_hidden_units` fitted, shape [N, K]."""
    with np.errstate(over="ignore", invalid="ignore"):
        active = ACTIVATIONS[activation].value(X @ first[:-1] + first[-1])
        return np.asarray(active @ last[:-1] + last[-1])


def _is_flat(fitted: Floats, residuals: Floats) -> bool:
    """Whether a stage says the same of every row, or nothing, or is not finite."""
    size = np.sqrt(np.square(residuals).mean())
    if size == 0 or not np.isfinite(fitted).all():
        return True
    return bool(fitted.std(axis=0).max() <= _COLLAPSED * size)


def _mean_loss(targets: torch.Tensor, outputs: Floats, loss: str) -> float:
    """The training loss, which must be finite."""
    value = boosting_loss(targets, torch.from_numpy(outputs), loss).item()
    if not np.isfinite(value):
        raise InputError(
            "learning_rate: expected one with which the training loss stays finite, "
            f"but it is {value}; a lower one, or standardized columns, may help"
        )
    return value
