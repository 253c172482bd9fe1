"""Make a classifier forget examples, with the labels of what it forgets and of what remains.

Two methods to compare with, or to use where labels are at hand, on any PyTorch classifier::

    unlearner = NegativeGradient(model, epochs=5).fit((x_forget, y_forget), (x_remain, y_remain))
    unlearner.model_(x)

Data are a pair of tensors, a torch ``Dataset`` of pairs, a ``datasets.Dataset``, or anything else
with a column of inputs and one of labels. Without labels see
:mod:`gradatim.recipes.label_agnostic_forgetting`.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch.nn import functional

from gradatim.core.checks import check_range
from gradatim.core.seeds import derive_seed
from gradatim.objectives.soft_targets import soft_target_cross_entropy
from gradatim.recipes.unlearning_pairs import (
    ConsecutivePasses,
    EvaluationMode,
    JoinedExamples,
    PairedBatches,
    unlearning_examples,
)
from gradatim.training.fit import FitResult, fit
from gradatim.training.step import Loss, State

Batch = Mapping[str, Any]


class ClassifierUnlearner:
    """What the methods with labels share: data in, a model that has forgotten out.

    Args:
        model: from inputs to logits [B, C].
        lr: learning rate of Adam.
        epochs: passes, over what the method says.
        batch_size: examples of one kind in a batch.
        x: name of the column of inputs.
        label: name of the column of labels.
        in_place: train the model itself; else a copy, and the model stays as it is.
        checkpoint: folder for the checkpoints of a run that can be taken up again; None for none.
        seed: what batches depend on.

    Attributes:
        model_: the model that has forgotten, in evaluation mode.

    Raises:
        InputError: a number outside its range.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        lr: float = 1e-4,
        epochs: int = 5,
        batch_size: int = 32,
        x: str = "x",
        label: str = "label",
        in_place: bool = False,
        checkpoint: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        check_range("lr", lr, 0, open_low=True)
        check_range("epochs", epochs, 1)
        check_range("batch_size", batch_size, 1)
        self.model, self.lr, self.epochs, self.batch_size = model, lr, epochs, batch_size
        self.x, self.label, self.in_place, self.seed = x, label, in_place, seed
        self.checkpoint = None if checkpoint is None else Path(checkpoint)

    def fit(self, forget: Any, remain: Any) -> Self:
        """Forget.

        Args:
            forget: labelled examples to forget.
            remain: labelled examples to remember.

        Raises:
            InputError: no examples, or no such columns.
        """
        first = unlearning_examples("forget", forget, x=self.x, label=self.label)
        second = unlearning_examples("remain", remain, x=self.x, label=self.label)
        self.num_forgotten = len(first)
        self.model_ = self.model if self.in_place else copy.deepcopy(self.model)
        self._train(JoinedExamples(first, second, (self.x, self.label)), len(second))
        self.model_.eval()
        return self

    def _train(self, examples: JoinedExamples, remaining: int) -> None:
        """Train ``model_`` in place."""
        raise NotImplementedError

    def _forgotten(self, state: State) -> torch.Tensor:
        """Which examples of the batch are to be forgotten."""
        return state.index < self.num_forgotten

    def _optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model_.parameters(), self.lr)

    def _options(self, phase: str) -> dict[str, Any]:
        """Options of every call of ``fit``."""
        return {
            "callbacks": (EvaluationMode(),),
            "checkpoint": None if self.checkpoint is None else self.checkpoint / phase,
            "seed": self.seed,
            "progress_bar": False,
        }


class NegativeGradient(ClassifierUnlearner):
    r"""Ascend the loss of what is forgotten while descending that of what remains.

    .. math:: L = w \, \mathrm{CE}(\text{remaining}) - (1 - w) \, \mathrm{CE}(\text{forgotten})

    Every update sees as many examples of one kind as of the other; an epoch is a pass over the
    smaller set. The loss has no lower bound: with many updates, take w near 1.

    Args:
        model: from inputs to logits [B, C].
        weight: w, in [0, 1]; 0 is ascent alone.
        options: those of :class:`ClassifierUnlearner`.

    Source: the baseline of Kurmanji et al. 2023, arXiv 2302.09880 (NegGrad+), after Golatkar et
    al. 2020, arXiv 1911.04933.

    >>> x, y = torch.eye(4), torch.tensor([0, 0, 1, 1])
    >>> model = torch.nn.Linear(4, 2)
    >>> unlearner = NegativeGradient(model, lr=0.1, epochs=20).fit((x[:1], y[:1]), (x[1:], y[1:]))
    >>> bool(unlearner.model_(x)[0].softmax(0)[0] < model(x)[0].softmax(0)[0])
    True
    """

    def __init__(self, model: torch.nn.Module, *, weight: float = 0.95, **options: Any) -> None:
        super().__init__(model, **options)
        check_range("weight", weight, 0, 1)
        self.weight = weight

    def step(self, model: torch.nn.Module, batch: Batch, state: State) -> Loss:
        """The weighted difference of both losses, pair by pair."""
        losses = functional.cross_entropy(model(batch[self.x]), batch[self.label], reduction="none")
        forgotten = self._forgotten(state)
        kept, lost = losses[~forgotten], losses[forgotten]
        values = self.weight * kept - (1 - self.weight) * lost
        return Loss.of(values, remaining=kept, forgotten=lost)

    def _train(self, examples: JoinedExamples, remaining: int) -> None:
        batches = PairedBatches(self.num_forgotten, remaining, self.batch_size, seed=self.seed)
        self.result_: FitResult = fit(
            self.model_, examples, self.step, optimizer=self._optimizer(),
            batches=batches, epochs=self.epochs, **self._options("unlearning"),
        )  # fmt: skip


class Scrub(ClassifierUnlearner):
    r"""Obey the original model on what remains, and disobey it on what is forgotten.

    .. math:: L_{\mathrm{max}} = - \mathrm{KL}(p^0 \Vert p) \text{ on the forgotten}, \qquad
        L_{\mathrm{min}} = \alpha \, \mathrm{KL}(p^0 \Vert p) + \gamma \, \mathrm{CE}
        \text{ on the remaining}

    with p and the original model's :math:`p^0` at a temperature. In each of the first epochs a
    pass over the forgotten with the first loss comes before the pass over the remaining with the
    second; the later epochs have the second alone.

    Args:
        model: from inputs to logits [B, C].
        max_epochs: epochs that begin with a pass over the forgotten, at most ``epochs``.
        alpha: weight of the divergence.
        gamma: weight of cross-entropy.
        temperature: divides the logits of both models in the divergence.
        options: those of :class:`ClassifierUnlearner`.

    Raises:
        InputError: a number outside its range.

    Source: Kurmanji et al. 2023, arXiv 2302.09880, section 3, without its rewinding.

    >>> x, y = torch.eye(4), torch.tensor([0, 0, 1, 1])
    >>> model = torch.nn.Linear(4, 2)
    >>> unlearner = Scrub(model, lr=0.1, epochs=9).fit((x[:1], y[:1]), (x[1:], y[1:]))
    >>> unlearner.model_(x)[1:].argmax(dim=1).tolist()
    [0, 1, 1]
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        max_epochs: int = 2,
        alpha: float = 0.5,
        gamma: float = 1.0,
        temperature: float = 4.0,
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        check_range("max_epochs", max_epochs, 0, self.epochs)
        check_range("alpha", alpha, 0)
        check_range("gamma", gamma, 0)
        check_range("temperature", temperature, 0, open_low=True)
        self.max_epochs, self.alpha, self.gamma = max_epochs, alpha, gamma
        self.temperature = temperature

    def step(self, model: torch.nn.Module, batch: Batch, state: State) -> Loss:
        """The first loss for a batch of forgotten examples, the second for one of remaining."""
        x, labels = batch[self.x], batch[self.label]
        with torch.no_grad():
            target = (self.teacher.to(x.device)(x) / self.temperature).softmax(dim=1)
        logits = model(x)
        divergence = self.temperature**2 * soft_target_cross_entropy(
            logits, target, temperature=self.temperature, reduction="none"
        )
        losses = functional.cross_entropy(logits, labels, reduction="none")
        obeying = self.alpha * divergence + self.gamma * losses
        return Loss.of(torch.where(self._forgotten(state), -divergence, obeying))

    def _train(self, examples: JoinedExamples, remaining: int) -> None:
        self.teacher = copy.deepcopy(self.model_).eval()
        optimizer = self._optimizer()
        for phase, epochs in (("scrub", self.max_epochs), ("keep", self.epochs - self.max_epochs)):
            if not epochs:
                continue
            batches = ConsecutivePasses(
                self.num_forgotten, remaining, self.batch_size,
                skip_first=phase == "keep", seed=derive_seed(self.seed, phase),
            )  # fmt: skip
            fit(
                self.model_, examples, self.step, optimizer=optimizer,
                batches=batches, epochs=epochs, **self._options(phase),
            )  # fmt: skip
