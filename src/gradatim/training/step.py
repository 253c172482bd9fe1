"""What a training step receives and returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from gradatim.core.checks import check_same_shape, check_shape

if TYPE_CHECKING:
    from accelerate import Accelerator

Models = torch.nn.Module | Mapping[str, torch.nn.Module]


@dataclass(frozen=True, slots=True)
class Loss:
    """A sum and a count, so that the mean is right under accumulation, masks and processes.

    The gradient of an update is that of ``sum of sums / sum of counts`` over all micro-batches
    and processes: a batch in which half of the tokens are masked weighs half as much.

    Attributes:
        sum: scalar tensor with a gradient: the loss summed over what was counted.
        count: how many examples (or tokens, or total weight) the sum covers.
        logs: figures to average into the history, each the mean over this batch.
        optimizers: names of the optimizers that step after this loss; None for all of them.
    """

    sum: torch.Tensor
    count: torch.Tensor | float
    logs: Mapping[str, torch.Tensor | float] = field(default_factory=dict)
    optimizers: tuple[str, ...] | None = None

    @classmethod
    def of(
        cls,
        values: torch.Tensor,
        *,
        weights: torch.Tensor | None = None,
        optimizers: tuple[str, ...] | None = None,
        **logs: torch.Tensor | float,
    ) -> "Loss":
        """The weighted mean of per-example losses.

        Args:
            values: loss of each example, shape [B].
            weights: weight of each example, shape [B]; None weighs all alike.
            optimizers: names of the optimizers that step; None for all.
            logs: figures for the history; tensors are averaged over their elements.

        >>> loss = Loss.of(torch.tensor([1.0, 3.0]), weights=torch.tensor([1.0, 0.0]))
        >>> float(loss.sum), float(loss.count)
        (1.0, 1.0)
        """
        check_shape("values", values, "B")
        means = {
            name: log.detach().float().mean() if isinstance(log, torch.Tensor) else log
            for name, log in logs.items()
        }
        if weights is None:
            return cls(values.sum(), len(values), means, optimizers)
        check_same_shape("weights", weights, "values", values)
        return cls((values * weights).sum(), weights.sum(), means, optimizers)


@dataclass
class State:
    """Where training stands; handed to the step, the callbacks and the evaluation.

    Attributes:
        step: updates done so far.
        epoch: current epoch, from 0.
        position: batches consumed in this epoch.
        total_steps: updates that the whole call of ``fit`` makes.
        seed: the seed given to ``fit``.
        index: positions of the current batch's examples, shape [B], on the device.
        generator: CPU generator reseeded for every batch from (seed, process, epoch, position):
            what a step draws from it does not depend on what was drawn before.
        metrics: the latest results of the evaluation.
        stop: set it to end training after the current update.
        accelerator: the Accelerate object (device, processes, gathering).
        models: the prepared models by name ("model" where one was given).
        optimizers: the optimizers by name ("optimizer" where one was given).
    """

    total_steps: int
    seed: int
    accelerator: "Accelerator"
    models: Mapping[str, torch.nn.Module]
    optimizers: Mapping[str, torch.optim.Optimizer]
    step: int = 0
    epoch: int = 0
    position: int = 0
    index: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    generator: torch.Generator = field(default_factory=torch.Generator)
    metrics: dict[str, float] = field(default_factory=dict)
    stop: bool = False

    @property
    def progress(self) -> float:
        """Share of the updates that are done, in [0, 1]: the t of every curriculum."""
        return self.step / self.total_steps

    @property
    def device(self) -> torch.device:
        """The device that this process trains on."""
        device: torch.device = self.accelerator.device
        return device

    def unwrap(self, name: str = "model") -> torch.nn.Module:
        """A model without its data-parallel wrapper."""
        return unwrap(self.models[name])


def unwrap(model: torch.nn.Module) -> torch.nn.Module:
    """A model without its data-parallel wrapper."""
    inner: Any = (
        model.module if isinstance(model, torch.nn.parallel.DistributedDataParallel) else model
    )
    return inner  # type: ignore[no-any-return]


def as_mapping(value: Any, name: str) -> dict[str, Any]:
    """One object under its default name, or several under theirs."""
    return dict(value) if isinstance(value, Mapping) else {name: value}
