"""Progressive self-distillation inside a ``Trainer`` of transformers, in one line."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.integrations.trainer_checks import check_data, check_trainer, read_settings
from gradatim.integrations.transformers_trainer import AttachedCurriculum, trainer_seed
from gradatim.recipes.self_distillation import Predictions, ProgressiveSelfDistillation
from gradatim.training.batches import Batches, ShuffledBatches


def attach_self_distillation(
    trainer: Any,
    alpha: float = 0.8,
    *,
    past: Predictions | None = None,
    num_classes: int | None = None,
    batches: Batches | None = None,
) -> AttachedCurriculum:
    """Let a trainer of a classifier mix each label with the model's own past prediction.

    One line between making the trainer and ``trainer.train()``; see
    :class:`~gradatim.recipes.self_distillation.ProgressiveSelfDistillation` for the loss. The first
    epoch is plain cross-entropy, as is evaluation. Predictions are those of the training pass, at
    no further pass. They stand in each checkpoint, and ``resume_from_checkpoint`` goes on exactly;
    under several processes they are merged after every update. Each epoch is a random order of
    all examples that depends on the trainer's seed, so train for several.

    Args:
        trainer: a ``Trainer`` of a model with logits [B, C] and one label an example.
        alpha: share of the past prediction in the last epoch, in [0, 1].
        past: where predictions are kept; None keeps all in float32, and
            :class:`~gradatim.targets.compact_predictions.CompactPredictions` needs less memory.
        num_classes: C; None takes ``num_labels`` from the model's configuration.
        batches: a plan of batches to train on, such as a curriculum; None shuffles.

    Returns:
        The attached plan; its ``feedback.recipe.past`` holds the predictions.

    Raises:
        InputError: no positions of examples (a stream), a loss that is not the trainer's own
            cross-entropy (label smoothing, ``compute_loss_func``, TRL's trainers), several labels
            an example, regression, or what
            :func:`~gradatim.integrations.transformers_trainer.attach_curriculum` refuses.
        MissingPackageError: transformers is not installed.
    """
    check_trainer(trainer)
    _check_loss(trainer)
    settings = read_settings(trainer, trainer._get_train_sampler())
    examples = check_data(trainer)
    recipe = ProgressiveSelfDistillation(
        examples, _num_classes(trainer, num_classes), alpha=alpha, past=past
    )
    if batches is None:
        batches = ShuffledBatches(examples, settings.batch_size, seed=trainer_seed(trainer))
    targets = PastTargets(recipe, batches)
    attached = AttachedCurriculum(trainer, targets)
    trainer.compute_loss_func = _Loss(attached, recipe)
    return attached


class PastTargets:
    """A plan of batches with the predictions that a checkpoint must keep beside it.

    Args:
        recipe: the self-distillation.
        batches: the plan.
    """

    def __init__(self, recipe: ProgressiveSelfDistillation, batches: Batches) -> None:
        self.recipe, self.batches = recipe, batches

    def refresh(self) -> None:
        """Predictions count at once; nothing waits for the end of an epoch."""

    def synchronize(self, gather: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Merge what the processes predicted."""
        self.recipe.past.synchronize(gather)

    def state_dict(self) -> Mapping[str, Any]:
        """All predictions, and alpha."""
        return {"alpha": self.recipe.alpha, "past": dict(self.recipe.past.state_dict())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` returned.

        Raises:
            InputError: the state of a run with another alpha, or of other predictions.
        """
        if state["alpha"] != self.recipe.alpha:
            raise InputError(
                f"alpha: expected {state['alpha']}, with which the checkpoint was made, "
                f"got {self.recipe.alpha}"
            )
        self.recipe.past.load_state_dict(state["past"])


class _Loss:
    """What a trainer calls with the outputs of its model and the labels of the batch."""

    def __init__(self, attached: AttachedCurriculum, recipe: ProgressiveSelfDistillation) -> None:
        self.attached, self.recipe = attached, recipe

    def __call__(
        self, outputs: Any, labels: torch.Tensor | None, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        logits = outputs.get("logits") if isinstance(outputs, Mapping) else outputs[0]
        if labels is None or logits is None or logits.ndim != 2 or labels.ndim != 1:
            raise InputError(
                "trainer: expected a classifier with logits [B, C] and labels [B], got "
                f"{_shape(logits)} and {_shape(labels)}; tokens have no positions of their own"
            )
        if not self.attached.in_step:
            return functional.cross_entropy(logits.float(), labels)
        if self.attached.index is None:
            raise InputError("data_collator: expected one that gives dictionaries")
        index = self.attached.index.to(labels.device)
        values, weights = self.recipe.losses(index, logits, labels, self._share())
        count = weights.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
        loss: torch.Tensor = values.sum() / count
        return loss

    def _share(self) -> float:
        """The share of past predictions in the trainer's current epoch."""
        sequence = self.attached.sequence
        epoch = int(self.attached.trainer.state.global_step) // sequence.updates_in_epoch
        return self.recipe.share(epoch, sequence.total_updates / sequence.updates_in_epoch)


def _shape(values: Any) -> str:
    return str(list(values.shape)) if isinstance(values, torch.Tensor) else "none"


def _num_classes(trainer: Any, given: int | None) -> int:
    config = getattr(trainer.model, "config", None)
    told = getattr(config, "num_labels", None)
    if getattr(config, "problem_type", None) == "multi_label_classification":
        raise InputError("trainer: expected one label an example, got multi_label_classification")
    number = given if given is not None else told
    if number is None:
        raise InputError(
            "num_classes: expected the number of classes, because the model has no configuration "
            "with num_labels"
        )
    if number < 2:
        raise InputError(f"num_classes: expected at least 2 classes, got {number} (regression?)")
    return int(number)


def _check_loss(trainer: Any) -> None:
    """Refuse trainers whose loss would be replaced unnoticed."""
    from transformers import Trainer

    if getattr(trainer.args, "label_smoothing_factor", 0.0):
        raise InputError(
            "label_smoothing_factor: expected 0, because past predictions already soften the "
            f"targets, got {trainer.args.label_smoothing_factor}"
        )
    if getattr(trainer, "compute_loss_func", None) is not None:
        raise InputError("compute_loss_func: expected none, because the trainer's loss is replaced")
    if type(trainer).compute_loss is not Trainer.compute_loss:
        raise InputError(
            f"trainer: expected the loss of transformers' Trainer, got {type(trainer).__name__} "
            "with a loss of its own"
        )
    if getattr(trainer.args, "n_gpu", 1) > 1:
        raise InputError("trainer: expected one device a process, got DataParallel")
