"""Self-paced training inside a trainer, by losses read from the outputs of its model."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from gradatim.core.errors import InputError
from gradatim.integrations.trainer_checks import check_data, check_trainer, read_settings
from gradatim.integrations.transformers_trainer import AttachedCurriculum, trainer_seed
from gradatim.training.self_paced import SelfPaced

IGNORED = -100
Losses = Callable[[Any, Mapping[str, Any]], torch.Tensor]


def example_losses(
    outputs: Any, labels: torch.Tensor | None, *, shift: bool = False
) -> torch.Tensor:
    r"""The loss of each example, from what a model of transformers or TRL gives out.

    .. math:: \ell_i = -\frac{1}{|M_i|} \sum_{t \in M_i} \log p(y_{it})

    where :math:`M_i` are the positions of example i whose label is not -100; one position for
    classification, squared error for regression (one output and labels that are no integers).

    Args:
        outputs: an object with ``logits`` [B, C] or [B, T, V], or with ``log_probs`` [B, T] of the
            labels and a ``label_mask`` [B, T], as TRL's SFT has them.
        labels: [B] or [B, T]; not needed where there are ``log_probs``.
        shift: whether position t predicts label t + 1 (causal language models).

    Returns:
        Losses, shape [B], without gradient.

    Raises:
        InputError: outputs that do not tell the losses of examples apart.

    >>> class Outputs:
    ...     logits = torch.tensor([[9.0, 0.0], [0.0, 0.0]])
    >>> example_losses(Outputs, torch.tensor([0, 1])).round(decimals=3)
    tensor([0.0000, 0.6930])
    """
    log_probs = _field(outputs, "log_probs")
    mask = _field(outputs, "label_mask")
    if log_probs is not None and mask is not None:
        return _mean(-log_probs.detach().float(), mask)
    logits: torch.Tensor | None = _field(outputs, "logits")
    if logits is None or labels is None or len(labels) != len(logits):
        raise InputError(
            "losses: expected a model whose outputs tell each example's loss (logits and labels of "
            "the same examples); give losses=function(outputs, inputs) -> tensor [B]"
        )
    logits = logits.detach().float()
    if logits.ndim == 2 and (logits.shape[1] == 1 or labels.is_floating_point()):
        return (logits - labels.reshape(len(logits), -1).float()).square().mean(dim=1)
    if logits.ndim == 2:
        return torch.nn.functional.cross_entropy(logits, labels.reshape(-1), reduction="none")
    if shift:
        logits, labels = logits[:, :-1], labels[:, 1:]
    values = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), reduction="none", ignore_index=IGNORED
    )
    return _mean(values.view(labels.shape), labels != IGNORED)


def attach_self_paced(
    trainer: Any,
    *,
    pacing: Callable[[float], float] | None = None,
    momentum: float = 0.0,
    length: int | None = None,
    hardest: bool = False,
    losses: Losses | None = None,
    seed: int | None = None,
) -> AttachedCurriculum:
    """Let a trainer draw from the examples whose losses are now smallest.

    Losses are read where training goes through the model anyway, at no further pass: they are one
    epoch old when they count (``length`` makes epochs, and so the trainer's, as short as you like),
    and an example that has not come up yet counts as the hardest. See
    :class:`~gradatim.training.self_paced.SelfPaced`.

    Limits: it works with ``Trainer`` and ``SFTTrainer``. DPO, reward and GRPO trainers keep the
    losses of their pairs or groups to themselves: give ``losses``, or use
    :func:`~gradatim.integrations.group_rewards.attach_target_success`. One device a process (not
    ``DataParallel``), no padding-free batches.

    Args:
        trainer: the trainer, with its training data.
        pacing: progress to the share of examples in play; None rises from 30% to all at t = 0.8.
        momentum: how much the losses are smoothed over time, in [0, 1).
        length: batches in an epoch; None for as many as hold all examples.
        hardest: draw from the largest losses instead.
        losses: ``losses(outputs, inputs) -> tensor [B]``, from the model's outputs and the batch;
            None for :func:`example_losses`.
        seed: what draws depend on; None for the trainer's.

    Raises:
        InputError: as for :func:`~gradatim.integrations.transformers_trainer.attach_curriculum`, or
            a trainer whose losses of examples cannot be read.
        MissingPackageError: transformers is not installed.
    """
    check_trainer(trainer)
    _check_readable(trainer, losses)
    settings = read_settings(trainer, trainer._get_train_sampler())
    paced = SelfPaced(
        check_data(trainer),
        settings.batch_size,
        pacing=pacing,
        momentum=momentum,
        length=length,
        hardest=hardest,
        seed=trainer_seed(trainer) if seed is None else seed,
    )
    attached = AttachedCurriculum(trainer, paced)
    _Reader(attached, paced, losses or _default_losses(trainer))
    return attached


class _Reader:
    """Records the losses of each training step's first pass through the model."""

    def __init__(self, attached: AttachedCurriculum, paced: SelfPaced, losses: Losses) -> None:
        self.attached, self.paced, self.losses = attached, paced, losses
        attached.before_step = self.step_begins
        self.inputs: Mapping[str, Any] | None = None
        attached.trainer.model.register_forward_hook(self._after_forward)

    def step_begins(self, inputs: Any) -> None:
        """Keep the batch, whose labels a trainer may take out before the model sees it."""
        self.inputs = dict(inputs)

    def _after_forward(self, module: torch.nn.Module, args: Any, outputs: Any) -> None:
        index, inputs = self.attached.index, self.inputs
        if not self.attached.in_step or inputs is None:
            return
        self.inputs = None
        if index is None:
            raise InputError("data_collator: expected one that gives dictionaries")
        with torch.no_grad():
            values = self.losses(outputs, inputs)
        if values.shape != index.shape:
            raise InputError(
                f"losses: expected one for each of {len(index)} examples, "
                f"got shape {list(values.shape)}"
            )
        # Accelerate fills a last batch up with examples that may stand in it already
        own, first = np.unique(index.cpu().numpy(), return_index=True)
        self.paced.record(torch.from_numpy(own), values.detach().cpu()[first])


def _default_losses(trainer: Any) -> Losses:
    """Losses from outputs and labels, shifted where the model is a causal language model."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    model = trainer.model.get_base_model() if _is_adapted(trainer.model) else trainer.model
    shift = type(model).__name__ in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()

    def read(outputs: Any, inputs: Mapping[str, Any]) -> torch.Tensor:
        return example_losses(outputs, inputs.get("labels"), shift=shift)

    return read


def _is_adapted(model: Any) -> bool:
    return hasattr(model, "get_base_model")


def _check_readable(trainer: Any, losses: Losses | None) -> None:
    """Refuse trainers whose passes through the model do not show the losses of examples."""
    if getattr(trainer.args, "n_gpu", 1) > 1:
        raise InputError("trainer: expected one device a process, got DataParallel")
    if getattr(trainer, "padding_free", False):
        raise InputError("padding_free: expected False, to tell the losses of examples apart")
    kinds = {base.__name__ for base in type(trainer).__mro__}
    hidden = kinds & {"DPOTrainer", "RewardTrainer", "KTOTrainer", "GRPOTrainer", "RLOOTrainer"}
    if hidden & {"GRPOTrainer", "RLOOTrainer"}:
        raise InputError(
            "trainer: expected Trainer or SFTTrainer; groups of generations have rewards, not "
            "losses of their own: use attach_target_success"
        )
    if hidden and losses is None:
        raise InputError(
            f"losses: expected a function(outputs, inputs) -> tensor [B], because {hidden.pop()} "
            "keeps the losses of its examples to itself"
        )
    if hasattr(trainer, "get_batch_sampler"):
        raise InputError(
            "trainer: expected Trainer or SFTTrainer; losses among in-batch negatives belong to "
            "batches, not to examples"
        )


def _field(outputs: Any, name: str) -> Any:
    return outputs.get(name) if isinstance(outputs, Mapping) else getattr(outputs, name, None)


def _mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    total: torch.Tensor = (values * mask).sum(dim=1)
    return total / mask.sum(dim=1).clamp(min=1)
