"""Progressive self-distillation: targets that lean more and more on the model's own past.

For ``fit``::

    recipe = ProgressiveSelfDistillation(len(examples), num_classes=10)
    fit(model, examples, recipe.step, callbacks=recipe.callbacks, stateful=recipe.stateful, ...)

In a loop of your own, whose batches tell the positions of their examples::

    loss = recipe.loss(index, model(x), labels, recipe.share(epoch, epochs))

For a ``Trainer`` of transformers see :mod:`gradatim.integrations.past_targets`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch

from gradatim.core.checks import check_range, check_shape
from gradatim.core.errors import InputError
from gradatim.core.memory import ExampleMemory
from gradatim.curriculum.ramps import linear_ramp
from gradatim.objectives.soft_targets import soft_target_cross_entropy
from gradatim.recipes.input_mixing import InputMixing, mix_targets
from gradatim.recipes.noisy_labels import Batch, Logits, model_of_x
from gradatim.targets.mixup import Mixed
from gradatim.targets.past_predictions import PastPredictions
from gradatim.training.callbacks import Callback
from gradatim.training.fit import Stateful
from gradatim.training.step import Loss, State

IGNORED = -100


class Predictions(Protocol):
    """Where the latest predictions are kept: ``PastPredictions`` or ``CompactPredictions``."""

    num_classes: int
    memory: ExampleMemory

    def update(self, index: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
        """Keep the predictions of a batch."""
        ...

    def targets(self, index: torch.Tensor) -> torch.Tensor:
        """The kept predictions of a batch, shape [B, C]."""
        ...

    def synchronize(self, gather: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Merge what several processes have seen."""
        ...

    def state_dict(self) -> Mapping[str, Any]:
        """All that is kept."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state."""
        ...


class ProgressiveSelfDistillation(Callback):
    r"""Mix each label with what the model predicted when it met the example before.

    .. math:: L_i = H\bigl( (1 - s_e) \, \mathrm{onehot}(y_i) + s_e \, p^{\mathrm{past}}_i,\; p_i
        \bigr), \qquad s_e = \alpha \, e / E

    in epoch e of E. The first epoch is plain cross-entropy, and so is any example that has not
    been met before. Predictions are those of the training pass itself, at no further pass, and are
    read before they are written. Mixed inputs (mixup, CutMix) get the mixed targets of both
    sources; what is predicted for them belongs to no example and is not kept, so leave some
    batches unmixed. Labels of -100 take no part in the loss.

    Args:
        num_examples: how many examples there are.
        num_classes: C.
        alpha: share of the past prediction in the last epoch, in [0, 1].
        past: where predictions are kept; None keeps all probabilities in float32, and
            :class:`~gradatim.targets.compact_predictions.CompactPredictions` needs less memory.
        mixing: how inputs are mixed; None leaves them alone.
        label: name of the column of labels, integers.
        logits: how logits [B, C] come from a model and a batch.
        device: where predictions are kept if ``past`` is None; give the device that is trained
            on, if they fit there, so that no batch waits for a copy.

    Raises:
        InputError: alpha outside [0, 1], ``past`` for another number of examples or classes, or
            a mixing that mixes every batch.

    Source: Kim et al. 2021, arXiv 2006.12000, equations 2 and 4, with the memory of predictions
    of the authors' code in the place of the weights of the epoch before.

    >>> distill = ProgressiveSelfDistillation(num_examples=4, num_classes=3, alpha=0.8)
    >>> index, labels = torch.tensor([2]), torch.tensor([0])
    >>> logits = torch.tensor([[0.6, 0.3, 0.1]]).log()
    >>> round(float(distill.loss(index, logits, labels, distill.share(epoch=0, epochs=10))), 4)
    0.5108
    >>> distill.targets(index, labels, share=0.5)
    tensor([[0.8000, 0.1500, 0.0500]])
    """

    def __init__(
        self,
        num_examples: int,
        num_classes: int,
        *,
        alpha: float = 0.8,
        past: Predictions | None = None,
        mixing: InputMixing | None = None,
        label: str = "label",
        logits: Logits = model_of_x,
        device: torch.device | str = "cpu",
    ) -> None:
        check_range("alpha", alpha, 0, 1)
        made = past or PastPredictions(num_examples, num_classes, momentum=0.0, device=device)
        if (len(made.memory), made.num_classes) != (num_examples, num_classes):
            raise InputError(
                f"past: expected predictions for {num_examples} examples of {num_classes} "
                f"classes, got {len(made.memory)} of {made.num_classes}"
            )
        if mixing is not None and mixing.probability == 1:
            raise InputError(
                "mixing: expected a probability below 1, because predictions are kept from "
                "batches that are not mixed"
            )
        self.alpha, self.past, self.mixing = alpha, made, mixing
        self.label, self.logits = label, logits
        self.updates_in_epoch = 0
        self.callbacks: tuple[Callback, ...] = (self,)
        self.stateful: Mapping[str, Stateful] = {"past predictions": made}

    def share(self, epoch: int, epochs: float) -> float:
        """Share of the past prediction in an epoch: 0 in the first, alpha in the last.

        Args:
            epoch: from 0.
            epochs: how many there are.
        """
        return linear_ramp((epoch + 1) / epochs, end=self.alpha) if epoch else 0.0

    def targets(self, index: torch.Tensor, labels: torch.Tensor, share: float) -> torch.Tensor:
        """The targets of a batch, float32, shape [B, C]; zeros for labels of -100.

        Args:
            index: position of each example, integers, shape [B].
            labels: given classes, integers, shape [B].
            share: of the past prediction, in [0, 1].
        """
        check_shape("index", index, "B")
        check_shape("labels", labels, len(index))
        check_range("share", share, 0, 1)
        known = labels != IGNORED
        count = self.past.memory.count
        seen = count.index_select(0, index.to(count.device)).to(labels.device) > 0
        lent = share * (seen & known)
        targets = self.past.targets(index).to(labels.device) * lent[:, None]
        place = labels.where(known, 0)[:, None]
        return targets.scatter_add_(1, place, (known.float() - lent)[:, None])

    def loss(
        self,
        index: torch.Tensor,
        logits: torch.Tensor,
        labels: torch.Tensor,
        share: float,
        *,
        mixed: Mixed | None = None,
    ) -> torch.Tensor:
        """The mean loss of a batch; its predictions are kept for the next epoch.

        Args:
            index: position of each example, integers, shape [B].
            logits: of the training pass, shape [B, C].
            labels: given classes, integers, -100 for none, shape [B].
            share: of the past prediction, as :meth:`share` gives it.
            mixed: how the inputs were mixed, if they were.

        Raises:
            InputError: the shapes do not fit.
        """
        values, weights = self.losses(index, logits, labels, share, mixed=mixed)
        return values.sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)

    def losses(
        self,
        index: torch.Tensor,
        logits: torch.Tensor,
        labels: torch.Tensor,
        share: float,
        *,
        mixed: Mixed | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss and the weight of each example, shape [B]; arguments as for :meth:`loss`."""
        check_shape("logits", logits, len(index), self.past.num_classes)
        targets = mix_targets(self.targets(index, labels, share), mixed)
        weights = mix_targets((labels != IGNORED).float(), mixed)
        values = soft_target_cross_entropy(logits, targets, reduction="none")
        if mixed is None:
            self.past.update(index, logits.detach().float().softmax(dim=1))
        return values, weights

    def step(self, model: torch.nn.Module, batch: Batch, state: State) -> Loss:
        """Cross-entropy with the mixed targets."""
        mixed = None
        if self.mixing is not None:
            batch, mixed = self.mixing.apply(batch, state.generator)
        logits, labels = self.logits(model, batch), batch[self.label]
        share = self.share_of(state)
        values, weights = self.losses(state.index, logits, labels, share, mixed=mixed)
        return Loss(values.sum(), weights.sum())

    def share_of(self, state: State) -> float:
        """The share in the current epoch of ``fit``: how many there are shows after the first."""
        if not self.updates_in_epoch:
            return 0.0
        return self.share(state.epoch, state.total_steps / self.updates_in_epoch)

    def epoch_end(self, state: State) -> None:
        """Note how many updates an epoch has."""
        self.updates_in_epoch = state.step // (state.epoch + 1)

    def state_dict(self) -> Mapping[str, Any]:
        """How many updates an epoch has; the predictions are kept beside it."""
        return {"updates_in_epoch": self.updates_in_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what was kept."""
        self.updates_in_epoch = int(state["updates_in_epoch"])
