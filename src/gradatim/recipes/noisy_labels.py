"""Training when some labels are false: the steps, states and callbacks that ``fit`` needs.

Each recipe is used alike, on any model and any batch with a column of labels::

    recipe = EarlyLearning(len(examples), num_classes=10)
    fit(model, examples, recipe.step, callbacks=recipe.callbacks, stateful=recipe.stateful, ...)

``logits`` says how outputs come from a model and a batch; by default ``model(batch["x"])``.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import torch
from torch.nn import functional

from gradatim.core.checks import check_choice, check_range
from gradatim.core.memory import ExampleMemory
from gradatim.curriculum.ramps import sigmoid_ramp
from gradatim.objectives.bootstrapping import hard_bootstrapping, soft_bootstrapping
from gradatim.objectives.early_learning import early_learning_loss
from gradatim.targets.mixup import interpolate, mixup
from gradatim.targets.past_predictions import PastPredictions
from gradatim.targets.weight_average import WeightAverage
from gradatim.training.callbacks import Averaging, Callback
from gradatim.training.fit import Stateful
from gradatim.training.step import Loss, State

Batch = Mapping[str, Any]
Logits = Callable[[torch.nn.Module, Batch], torch.Tensor]


class Recipe(Protocol):
    """What a recipe gives to ``fit``."""

    callbacks: tuple[Callback, ...]
    stateful: Mapping[str, Stateful]

    def step(self, model: Any, batch: Batch, state: State) -> Loss:
        """The training step."""
        ...


def model_of_x(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """The model applied to column ``x``."""
    outputs: torch.Tensor = model(batch["x"])
    return outputs


class CrossEntropy:
    """Trust every label.

    Args:
        label: name of the column of labels, integers.
        logits: how logits come from a model and a batch.
    """

    def __init__(self, *, label: str = "label", logits: Logits = model_of_x) -> None:
        self.label, self.logits = label, logits
        self.callbacks: tuple[Callback, ...] = ()
        self.stateful: Mapping[str, Stateful] = {}

    def step(self, model: torch.nn.Module, batch: Batch, state: State) -> Loss:
        """Cross-entropy."""
        logits = self.logits(model, batch)
        return Loss.of(functional.cross_entropy(logits, batch[self.label], reduction="none"))


class Bootstrapping:
    """Correct labels by the prediction itself, after epochs of plain cross-entropy.

    Args:
        beta: share that the given label keeps, in [0, 1].
        kind: correct towards the predicted class ("hard") or the probabilities ("soft").
        warmup: epochs of plain cross-entropy.
        label: name of the column of labels.
        logits: how logits come from a model and a batch.

    Source: Reed et al. 2015, arXiv 1412.6596.
    """

    def __init__(
        self,
        beta: float = 0.8,
        *,
        kind: Literal["hard", "soft"] = "hard",
        warmup: int = 10,
        label: str = "label",
        logits: Logits = model_of_x,
    ) -> None:
        check_range("beta", beta, 0, 1)
        check_range("warmup", warmup, 0)
        check_choice("kind", kind, ("hard", "soft"))
        self.beta, self.warmup, self.label, self.logits = beta, warmup, label, logits
        self.objective = hard_bootstrapping if kind == "hard" else soft_bootstrapping
        self.callbacks: tuple[Callback, ...] = ()
        self.stateful: Mapping[str, Stateful] = {}

    def step(self, model: torch.nn.Module, batch: Batch, state: State) -> Loss:
        """Cross-entropy, then bootstrapping."""
        beta = 1.0 if state.epoch < self.warmup else self.beta
        logits = self.logits(model, batch)
        return Loss.of(self.objective(logits, batch[self.label], beta=beta, reduction="none"))


class SmallLoss(Callback):
    """Ignore the examples whose loss was largest in the epoch before.

    Args:
        num_examples: how many examples there are.
        ignored: share of them to ignore, in [0, 1): an estimate of the share of false labels.
        warmup: epochs in which none is ignored.
        label: name of the column of labels.
        logits: how logits come from a model and a batch.

    Source: the selection rule of Han et al. 2018, arXiv 1804.06872, over whole epochs, with one
    network.
    """

    def __init__(
        self,
        num_examples: int,
        ignored: float,
        *,
        warmup: int = 10,
        label: str = "label",
        logits: Logits = model_of_x,
    ) -> None:
        check_range("ignored", ignored, 0, 1, open_high=True)
        check_range("warmup", warmup, 0)
        self.ignored, self.warmup, self.label, self.logits = ignored, warmup, label, logits
        self.losses = ExampleMemory(num_examples)
        self.kept = ExampleMemory(num_examples, fill=1.0)
        self.callbacks: tuple[Callback, ...] = (self,)
        self.stateful: Mapping[str, Stateful] = {"losses": self.losses, "kept": self.kept}

    def step(self, model: torch.nn.Module, batch: Batch, state: State) -> Loss:
        """Cross-entropy of what is kept; the loss of all is remembered."""
        logits = self.logits(model, batch)
        losses = functional.cross_entropy(logits, batch[self.label], reduction="none")
        self.losses.set(state.index, losses)
        return Loss.of(losses, weights=self.kept.get(state.index).to(losses.device))

    def epoch_end(self, state: State) -> None:
        """Choose what the next epoch keeps."""
        if state.epoch + 1 < self.warmup:
            return
        losses = self.losses.values
        kept = torch.zeros_like(losses)
        count = len(losses) - round(self.ignored * len(losses))
        kept[losses.topk(count, largest=False).indices] = 1.0
        self.kept.set(torch.arange(len(losses), device=losses.device), kept)


class EarlyLearning:
    """Early-learning regularization (ELR): stay with what was learned before false labels are.

    ``past.values`` holds the running predictions; one minus their entry for the given label
    (:func:`gradatim.difficulty.label_disagreement.label_disagreement`) tells false labels.

    Args:
        num_examples: how many examples there are.
        num_classes: C.
        momentum: beta of the running predictions.
        strength: lambda of the regularizer.
        label: name of the column of labels.
        logits: how logits come from a model and a batch.

    Source: Liu et al. 2020, arXiv 2007.00151, section 4.
    """

    def __init__(
        self,
        num_examples: int,
        num_classes: int,
        *,
        momentum: float = 0.7,
        strength: float = 3.0,
        label: str = "label",
        logits: Logits = model_of_x,
    ) -> None:
        check_range("strength", strength, 0)
        self.past = PastPredictions(num_examples, num_classes, momentum, floor=1e-4)
        self.strength, self.label, self.logits = strength, label, logits
        self.callbacks: tuple[Callback, ...] = ()
        self.stateful: Mapping[str, Stateful] = {"past predictions": self.past}

    def step(self, model: torch.nn.Module, batch: Batch, state: State) -> Loss:
        """The regularized loss; the target moves before it is used."""
        logits = self.logits(model, batch)
        target = self.past.update(state.index, logits.softmax(dim=1))
        values = early_learning_loss(
            logits, batch[self.label], target, strength=self.strength, reduction="none"
        )
        return Loss.of(values)


class EarlyLearningPlus:
    """ELR+: two networks, each following the weight average of the other, with mixup.

    ``fit`` is given ``recipe.networks`` as its models; predict with the mean of their logits.

    Args:
        networks: two networks that differ in their initialization.
        num_examples: how many examples there are.
        num_classes: C.
        momentum: beta of the running predictions.
        strength: lambda of the regularizer.
        decay: what the decay of the weight averages rises to.
        ramp_steps: updates until the decay has risen; at first the averages follow at once.
        alpha: parameter of mixup.
        inputs: name of the column of inputs, floating point: mixup mixes them.
        label: name of the column of labels.

    Source: Liu et al. 2020, arXiv 2007.00151, section 4 and its supplement.
    """

    def __init__(
        self,
        networks: tuple[torch.nn.Module, torch.nn.Module],
        num_examples: int,
        num_classes: int,
        *,
        momentum: float = 0.7,
        strength: float = 3.0,
        decay: float = 0.997,
        ramp_steps: int = 40_000,
        alpha: float = 1.0,
        inputs: str = "x",
        label: str = "label",
    ) -> None:
        check_range("strength", strength, 0)
        check_range("ramp_steps", ramp_steps, 1)
        self.networks = {"first": networks[0], "second": networks[1]}
        self.classes, self.strength, self.alpha = num_classes, strength, alpha
        self.inputs, self.label = inputs, label
        self.averages = {
            name: WeightAverage(network, lambda k: sigmoid_ramp((k + 1) / ramp_steps, end=decay))
            for name, network in self.networks.items()
        }
        self.past = {
            name: PastPredictions(num_examples, num_classes, momentum) for name in self.networks
        }
        self.callbacks: tuple[Callback, ...] = tuple(
            Averaging(average, name) for name, average in self.averages.items()
        )
        self.stateful: Mapping[str, Stateful] = {
            f"past predictions of {name}": past for name, past in self.past.items()
        }

    def step(self, models: Mapping[str, torch.nn.Module], batch: Batch, state: State) -> Loss:
        """The sum of both networks' losses."""
        first = self._losses("first", "second", models, batch, state)
        return Loss.of(first + self._losses("second", "first", models, batch, state))

    def predict(self, inputs: torch.Tensor) -> torch.Tensor:
        """Mean logits of the two networks, shape [B, C]."""
        both = [network(inputs) for network in self.networks.values()]
        return torch.stack(both).mean(dim=0)

    def past_predictions(self) -> torch.Tensor:
        """Mean running predictions of the two networks, shape [n, C]."""
        return torch.stack([past.values for past in self.past.values()]).mean(dim=0)

    def _losses(
        self,
        name: str,
        other: str,
        models: Mapping[str, torch.nn.Module],
        batch: Batch,
        state: State,
    ) -> torch.Tensor:
        inputs = batch[self.inputs]
        with torch.no_grad():
            seen = self.averages[other].module(inputs).softmax(dim=1)
        target = self.past[name].update(state.index, seen)
        labels = functional.one_hot(batch[self.label], self.classes).to(inputs.dtype)
        mixed = mixup(inputs, labels, alpha=self.alpha, generator=state.generator)
        target = interpolate("target", target, mixed.partner, mixed.coefficient)
        return early_learning_loss(
            models[name](mixed.inputs),
            mixed.targets[0],
            target,
            strength=self.strength,
            reduction="none",
        )
