"""Random networks that fit the training data: many initializations, trained side by side."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gradatim.core.checks import check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.core.seeds import derive_seed, torch_generator

_LOOK = 5  # steps between looks at whether all fit


@dataclass(frozen=True)
class RandomHypotheses:
    """What was trained.

    Attributes:
        losses: test loss of each network that fits the training data, shape [K].
        training_losses: training loss of every network, shape [n].
        steps: how many steps were taken.
    """

    losses: NDArray[np.float64]
    training_losses: NDArray[np.float64]
    steps: int


def train_hypotheses(
    make_model: Callable[[], nn.Module],
    X: torch.Tensor,
    Y: torch.Tensor,
    X_test: torch.Tensor,
    Y_test: torch.Tensor,
    *,
    n: int = 30,
    steps: int = 1000,
    lr: float = 1e-3,
    tolerance: float = 1e-3,
    batch_size: int | None = None,
    at_once: int = 64,
    seed: int = 0,
) -> RandomHypotheses:
    r"""Draw networks from the distribution of those that fit the training data.

    .. math:: e_s = \frac{1}{N C} \lVert f_{\theta_s}(X_*) - Y_* \rVert^2, \qquad
        \theta_s = \text{Adam from a random initialization, until }
        \frac{1}{n C} \lVert f_\theta(X) - Y \rVert^2 \le \tau

    All networks of a group take their steps in one batched computation (``torch.func.vmap``), each
    as if it were trained alone, until all of them fit or the steps are over. Those that do not
    fit are no draws from the distribution and are left out of ``losses``.

    Args:
        make_model: makes a network with fresh random parameters from torch's generator, which is
            seeded for it and restored. It may have no buffers (no batch normalization), and runs in
            evaluation mode (no dropout).
        X: training inputs, shape [m, ...].
        Y: training targets, such as one-hot classes, shape [m, C].
        X_test: test inputs, shape [N, ...].
        Y_test: test targets, shape [N, C].
        n: networks.
        steps: of Adam, at most.
        lr: its learning rate.
        tolerance: training loss from which on a network fits.
        batch_size: examples a step, drawn anew for each network; None takes all.
        at_once: networks trained in one computation.
        seed: what initializations and orders depend on; network s is the same for every ``n``.

    Returns:
        The test losses, for
        :func:`~gradatim.difficulty.exact_inductive_bias.required_bias`.

    Raises:
        InputError: shapes that do not fit, buffers, or no network that fits.

    Source: Boopathy et al. 2024, arXiv 2406.15941 (the space of neural networks).

    >>> X = torch.linspace(-1, 1, 8)[:, None]
    >>> found = train_hypotheses(lambda: nn.Linear(1, 1), X, 2 * X, X, 2 * X, n=3, lr=0.05)
    >>> len(found.losses), bool((found.losses < 1e-3).all())
    (3, True)
    """
    check_range("n", n, 1)
    check_range("steps", steps, 1)
    check_range("lr", lr, 0.0, open_low=True)
    check_range("tolerance", tolerance, 0.0, open_low=True)
    check_range("at_once", at_once, 1)
    rows = check_same_length(X=X, Y=Y)
    check_same_length(X_test=X_test, Y_test=Y_test)
    if batch_size is not None:
        check_range("batch_size", batch_size, 1, rows)
    training, testing, longest = [], [], 0
    for first in range(0, n, at_once):
        group = _Group(make_model, range(first, min(n, first + at_once)), seed, lr, X.device)
        longest = max(longest, group.train(X, Y, steps, tolerance, batch_size))
        training.append(group.losses(X, Y))
        testing.append(group.losses(X_test, Y_test))
    train, test = (np.concatenate(parts) for parts in (training, testing))
    fits = train <= tolerance
    if not fits.any():
        raise InputError(
            f"steps: expected enough for a network to fit the training data to {tolerance:g}, "
            f"got {steps} and a smallest training loss of {np.nanmin([*train, math.inf]):.3g}"
        )
    return RandomHypotheses(test[fits], train, longest)


class _Group:
    """Networks whose parameters are stacked along a first dimension."""

    def __init__(
        self,
        make_model: Callable[[], nn.Module],
        numbers: range,
        seed: int,
        lr: float,
        device: torch.device,
    ) -> None:
        models = []
        for number in numbers:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive_seed(seed, "hypotheses", number))
                models.append(make_model().eval())
        if list(models[0].buffers()):
            raise InputError(
                "make_model: expected a network without buffers, such as those of batch "
                f"normalization, got {next(name for name, _ in models[0].named_buffers())!r}"
            )
        stacked, _ = torch.func.stack_module_state(models)
        self._parameters = {
            name: value.detach().to(device).requires_grad_() for name, value in stacked.items()
        }
        self._shape = copy.deepcopy(models[0]).to("meta")
        self._numbers, self._seed = numbers, seed
        self._adam = torch.optim.Adam(self._parameters.values(), lr)  # is elementwise

    def train(
        self, X: torch.Tensor, Y: torch.Tensor, steps: int, tolerance: float, size: int | None
    ) -> int:
        """Step until all fit; returns how many steps were taken."""
        for step in range(steps):
            if step % _LOOK == 0 and float(self.losses(X, Y).max()) <= tolerance:
                return step
            inputs, targets = (X, Y) if size is None else self._batch(X, Y, step, size)
            outputs = self._outputs(inputs, own_inputs=size is not None)
            loss = _squared_error(outputs, targets)
            self._adam.zero_grad()
            loss.sum().backward()  # type: ignore[no-untyped-call]
            self._adam.step()
        return steps

    @torch.no_grad()
    def losses(self, X: torch.Tensor, Y: torch.Tensor) -> NDArray[np.float64]:
        """Mean squared error of each network, shape [S]."""
        return _squared_error(self._outputs(X), Y).double().cpu().numpy()

    def _batch(
        self, X: torch.Tensor, Y: torch.Tensor, step: int, size: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows = torch.stack(
            [
                torch.randperm(
                    len(X), generator=torch_generator(self._seed, "order", number, step)
                )[:size]
                for number in self._numbers
            ]
        ).to(X.device)
        return X[rows], Y[rows]

    def _outputs(self, X: torch.Tensor, *, own_inputs: bool = False) -> torch.Tensor:
        def one(parameters: dict[str, Any], inputs: torch.Tensor) -> Any:
            return torch.func.functional_call(self._shape, parameters, (inputs,))

        outputs: torch.Tensor = torch.func.vmap(one, in_dims=(0, 0 if own_inputs else None))(
            self._parameters, X
        )
        return outputs


def _squared_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    if outputs.shape[1:] != targets.shape[-outputs.ndim + 1 :]:
        raise InputError(
            f"Y: expected the shape of the network's outputs {list(outputs.shape[1:])}, "
            f"got {list(targets.shape)}"
        )
    return (outputs - targets).square().flatten(1).mean(1)
