"""Callbacks: what plugs into training, at named events.

Order of the events of one update::

    step_start                      before the forward pass of the update's first batch
    gradients_ready                 gradients are complete and averaged, not yet clipped
    optimizer_step_start            gradients are clipped; what is added here is not clipped
    step_end                        the optimizers and schedulers have stepped

around them ``fit_start``, ``epoch_start``, ``evaluated``, ``epoch_end`` and ``fit_end``.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.core.memory import ExampleMemory
from gradatim.core.seeds import torch_generator
from gradatim.training.step import State

EVENTS = (
    "fit_start",
    "epoch_start",
    "step_start",
    "gradients_ready",
    "optimizer_step_start",
    "step_end",
    "evaluated",
    "epoch_end",
    "fit_end",
)


class Callback:
    """Base of callbacks: override the events you need.

    A callback with state returns it from ``state_dict`` (tensors, numbers, text, None, lists,
    tuples, dictionaries) and takes it up in ``load_state_dict``; it is then part of every
    checkpoint.
    """

    def fit_start(self, state: State) -> None:
        """Training begins, after a checkpoint was taken up, if there was one."""

    def epoch_start(self, state: State) -> None:
        """An epoch begins (not called again when training resumes inside one)."""

    def step_start(self, state: State) -> None:
        """An update begins."""

    def gradients_ready(self, state: State) -> None:
        """Gradients are complete and averaged over batches and processes, not yet clipped."""

    def optimizer_step_start(self, state: State) -> None:
        """Gradients are clipped; the optimizers step next."""

    def step_end(self, state: State) -> None:
        """An update is done; ``state.step`` counts it."""

    def evaluated(self, state: State) -> None:
        """``state.metrics`` holds new results of the evaluation."""

    def epoch_end(self, state: State) -> None:
        """An epoch is done."""

    def fit_end(self, state: State) -> None:
        """Training is done."""

    def state_dict(self) -> Mapping[str, Any]:
        """What a checkpoint must keep."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` returned."""


class Averaging(Callback):
    """Moves a weight average (momentum teacher) after every update.

    Args:
        average: anything with ``update(model)``, ``state_dict`` and ``load_state_dict``, such as
            :class:`gradatim.targets.weight_average.WeightAverage`; its ``module``, if it has one,
            is brought to the device that is trained on.
        model: the name of the model it follows.
    """

    def __init__(self, average: Any, model: str = "model") -> None:
        self.average, self.model = average, model

    def fit_start(self, state: State) -> None:
        """Bring the average to the device."""
        if isinstance(module := getattr(self.average, "module", None), torch.nn.Module):
            module.to(state.device)

    def step_end(self, state: State) -> None:
        """Move the average."""
        self.average.update(state.unwrap(self.model))

    def state_dict(self) -> Mapping[str, Any]:
        """The average."""
        return dict(self.average.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the average."""
        self.average.load_state_dict(state)


class GradientNoise(Callback):
    r"""Adds Gaussian noise of decaying variance to every gradient, after clipping.

    .. math:: g_t \leftarrow g_t + \xi_t, \quad \xi_t \sim N(0, \sigma_t^2 I), \quad
        \sigma_t^2 = \eta / (1 + t)^\gamma

    The draw of an update depends on (seed, update) alone, so it survives a resume, and is the
    same in all processes, so that their weights stay equal.

    Args:
        eta: variance at the first update.
        gamma: exponent of the decay.

    Source: Neelakantan et al. 2015, arXiv 1511.06807, equation 1.
    """

    def __init__(self, eta: float = 0.3, gamma: float = 0.55) -> None:
        check_range("eta", eta, 0)
        check_range("gamma", gamma, 0)
        self.eta, self.gamma = eta, gamma

    def deviation(self, step: int) -> float:
        """Standard deviation of the noise at an update, from 0.

        >>> GradientNoise(eta=0.25, gamma=1.0).deviation(0)
        0.5
        """
        return math.sqrt(self.eta / (1 + step) ** self.gamma)

    def optimizer_step_start(self, state: State) -> None:
        """Add the noise."""
        deviation = self.deviation(state.step)
        generator = torch_generator(state.seed, "gradient noise", state.step, device=state.device)
        for model in state.models.values():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    noise = torch.empty_like(parameter.grad)
                    parameter.grad.add_(noise.normal_(0.0, deviation, generator=generator))


class EpochHook(Callback):
    """Calls a function with the state at the end of every epoch.

    For moving curricula whose weights follow what the model learned:
    ``EpochHook(lambda state: batches.set_weights(new_weights()))``.
    """

    def __init__(self, function: Callable[[State], None]) -> None:
        self.function = function

    def epoch_end(self, state: State) -> None:
        """Call the function."""
        self.function(state)


class TrainingDynamics(Callback):
    """Records, epoch by epoch, how the model did on each example when it trained on it.

    The step reports with ``dynamics.record(state, loss=..., confidence=...)``; afterwards
    ``values("confidence")`` has shape [epochs, n], NaN where an example did not come up.

    Args:
        num_examples: how many examples there are.
        epochs: how many epochs to keep.
        figures: names of what is recorded, each one number an example.
    """

    def __init__(
        self, num_examples: int, epochs: int, figures: tuple[str, ...] = ("loss",)
    ) -> None:
        check_range("epochs", epochs, 1)
        self.epochs = epochs
        shape = (epochs,)
        self.memories = {
            figure: ExampleMemory(num_examples, shape, fill=math.nan) for figure in figures
        }

    def record(self, state: State, **figures: torch.Tensor) -> None:
        """Keep one number for each example of the current batch.

        Raises:
            InputError: a figure that was not named in the constructor, or an epoch too many.
        """
        if state.epoch >= self.epochs:
            raise InputError(
                f"epochs: dynamics keep {self.epochs} epochs, this is epoch {state.epoch}"
            )
        for figure, values in figures.items():
            check_choice("figure", figure, tuple(self.memories))
            memory = self.memories[figure]
            index = state.index.to(memory.values.device)
            rows = memory.get(index)
            rows[:, state.epoch] = values.detach().to(rows)
            memory.set(index, rows)

    def values(self, figure: str) -> torch.Tensor:
        """What was recorded, shape [epochs, n]."""
        check_choice("figure", figure, tuple(self.memories))
        return self.memories[figure].values.T

    def synchronize(self, gather: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Merge what the processes recorded."""
        for memory in self.memories.values():
            memory.synchronize(gather)

    def state_dict(self) -> Mapping[str, Any]:
        """All that was recorded."""
        return {figure: memory.state_dict() for figure, memory in self.memories.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what was recorded."""
        for figure, memory in self.memories.items():
            memory.load_state_dict(state[figure])


class EarlyStopping(Callback):
    """Ends training when a metric of the evaluation no longer improves.

    Args:
        metric: its name in what ``evaluate`` returns.
        patience: evaluations without improvement before training ends; None never ends it (and
            only keeps the best weights).
        goal: whether larger or smaller is better.
        restore_best: put the best weights back when training ends.
    """

    def __init__(
        self,
        metric: str,
        *,
        patience: int | None = 5,
        goal: Literal["max", "min"] = "max",
        restore_best: bool = True,
    ) -> None:
        check_choice("goal", goal, ("max", "min"))
        self.metric, self.patience, self.goal, self.restore_best = (
            metric,
            patience,
            goal,
            restore_best,
        )
        self.best = -math.inf
        self.best_step = -1
        self.waited = 0
        self.weights: dict[str, dict[str, torch.Tensor]] = {}

    def evaluated(self, state: State) -> None:
        """Compare, and keep the weights if they are the best so far."""
        if self.metric not in state.metrics:
            known = ", ".join(state.metrics) or "nothing"
            raise InputError(f"metric: expected {self.metric!r} among the results, got {known}")
        value = state.metrics[self.metric] * (1 if self.goal == "max" else -1)
        if value > self.best:
            self.best, self.best_step, self.waited = value, state.step, 0
            if self.restore_best:
                self.weights = {
                    name: {
                        key: tensor.clone()
                        for key, tensor in state.unwrap(name).state_dict().items()
                    }
                    for name in state.models
                }
        else:
            self.waited += 1
            state.stop = state.stop or (self.patience is not None and self.waited >= self.patience)

    def fit_end(self, state: State) -> None:
        """Put the best weights back."""
        for name, weights in self.weights.items():
            state.unwrap(name).load_state_dict(weights)

    def state_dict(self) -> Mapping[str, Any]:
        """The best result, its weights, and how long ago it was."""
        return {
            "best": self.best,
            "best_step": self.best_step,
            "waited": self.waited,
            "weights": self.weights,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state."""
        self.best, self.best_step = float(state["best"]), int(state["best_step"])
        self.waited, self.weights = int(state["waited"]), dict(state["weights"])


class StopWhenReached(Callback):
    """Ends training once a figure of the evaluation is high enough.

    Args:
        metric: name of the figure that ``evaluate`` returns.
        threshold: the value that ends training.

    Raises:
        InputError: a threshold that is not finite; at the first evaluation, if it has no such
            figure.
    """

    def __init__(self, metric: str, threshold: float) -> None:
        check_range("threshold", threshold)
        self.metric, self.threshold = metric, threshold

    def evaluated(self, state: State) -> None:
        """Look at the figure."""
        if self.metric not in state.metrics:
            known = ", ".join(state.metrics) or "nothing"
            raise InputError(f"metric: expected {self.metric!r} among the results, got {known}")
        if state.metrics[self.metric] >= self.threshold:
            state.stop = True
