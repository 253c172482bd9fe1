"""Curricula for the trainers of transformers, TRL and sentence-transformers, in one line."""

import functools
import math
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from gradatim.core.errors import InputError
from gradatim.core.lazy import require
from gradatim.curriculum.orders import Values, as_values
from gradatim.integrations.feedback import (
    Feedback,
    load_curriculum,
    plan_and_feedback,
    save_curriculum,
)
from gradatim.integrations.positions import (
    PositionCollator,
    PositionedDataset,
    take_positions,
)
from gradatim.integrations.trainer_checks import (
    check_data,
    check_difficulty,
    check_plan,
    check_trainer,
    read_settings,
)
from gradatim.integrations.trainer_order import TrainerSampler, TrainerSequence
from gradatim.training.batches import Batches
from gradatim.training.curriculum_batches import CurriculumBatches, OrderBy, Progress, Remainder
from gradatim.training.processes import gather_rows


def attach_curriculum(
    trainer: Any,
    difficulty: Values | Batches | Feedback,
    *,
    pacing: Progress | None = None,
    weights: Callable[[float], Any] | None = None,
    order: OrderBy | Any | None = None,
    replacement: bool = True,
    length: int | None = None,
    seed: int | None = None,
) -> "AttachedCurriculum":
    """Let a trainer see its examples in a curriculum's order.

    One line between making the trainer and ``trainer.train()``. It works with ``Trainer`` and what
    derives from it (TRL's SFT, DPO, GRPO, RLOO, reward trainers; sentence-transformers'), and
    changes neither data nor model nor the number of steps:

    - one global order is emitted, which Accelerate shards among processes as it is told
      (``dispatch_batches``, ``split_batches``);
    - progress is the share of the trainer's updates that are done, whatever workers prefetched;
    - ``resume_from_checkpoint`` takes the order up where it stood; the curriculum's state stands in
      each checkpoint, and other difficulties or another batch size are refused;
    - groups (GRPO) are kept whole: a prompt comes with all its generations, as often as the trainer
      repeats it;
    - where a sentence-transformers trainer asks for batches without duplicates, they have none;
    - what would break the order (packing, grouping by length) is refused.

    Args:
        trainer: the trainer, with its training data.
        difficulty: one number an example of ``trainer.train_dataset``, in its order, higher =
            harder, shape [n]; or a ready plan of batches (then nothing else is given).
        pacing: progress to the share of the easiest in play; one of pacing, weights and order, as
            for :class:`~gradatim.training.curriculum_batches.CurriculumBatches`.
        weights: progress to weights over difficulty ranks.
        order: a function of difficulty that gives a permutation, or a permutation.
        replacement: False for each example once an epoch under pacing or weights.
        length: batches in an epoch, for draws with replacement; None for as many as hold n.
        seed: what draws and ties depend on; None for the trainer's ``data_seed`` or ``seed``.

    Returns:
        The attached curriculum: its ``plan``, the ``index`` of the current batch, ``progress``.

    Raises:
        InputError: settings that break the order, difficulties of another number of examples, or a
            plan of another batch size.
        MissingPackageError: transformers is not installed.
    """
    check_trainer(trainer)
    settings = read_settings(trainer, trainer._get_train_sampler())
    if isinstance(difficulty, Batches | Feedback):
        if any(value is not None for value in (pacing, weights, order, length, seed)):
            raise InputError(
                "pacing, weights, order, length, seed: expected none beside a plan of batches"
            )
        return AttachedCurriculum(trainer, difficulty)
    values = as_values("difficulty", difficulty)
    check_difficulty(trainer, values)
    remainder: Remainder = "drop" if settings.drop_last else "keep"
    once = not replacement and order is None
    plan = CurriculumBatches(
        values,
        settings.batch_size,
        pacing=pacing,
        weights=weights,
        order=order,
        replacement=replacement,
        epochs=settings.total_epochs(len(values)) if once else None,
        length=length,
        remainder=remainder,
        seed=trainer_seed(trainer) if seed is None else seed,
    )
    return AttachedCurriculum(trainer, plan)


def trainer_seed(trainer: Any) -> int:
    """The seed a trainer orders its data by."""
    args = trainer.args
    return int(args.seed if args.data_seed is None else args.data_seed)


class AttachedCurriculum:
    """A curriculum inside a trainer; :func:`attach_curriculum` makes one.

    Args:
        trainer: the trainer; some of its methods are wrapped on this object, not on its class.
        curriculum: a plan of batches, or what learns from training and has one.
    """

    def __init__(self, trainer: Any, curriculum: Any) -> None:
        transformers = require("transformers", extra="llm", why="to attach a curriculum")
        check_trainer(trainer)
        self.trainer = trainer
        self.plan, self.feedback = plan_and_feedback(curriculum)
        check_plan(trainer, self.plan)
        self.settings = read_settings(trainer, trainer._get_train_sampler())
        self.sequence = TrainerSequence(self.plan, self.settings)
        self.sampler: Any = TrainerSampler(self.sequence)
        self.index: torch.Tensor | None = None
        self.in_step = False
        self.before_step: Callable[[Any], None] | None = None
        self._source: Path | None = None
        self._resumed: int | None = None
        self._wrap()
        trainer.add_callback(_callback_class(transformers)(self))
        trainer.gradatim_curriculum = self

    @property
    def progress(self) -> float:
        """Share of the run's updates that are done, in [0, 1]."""
        return min(1.0, float(self.trainer.state.global_step) / self.sequence.total_updates)

    def train_begins(self, state: Any) -> None:
        """Take up a checkpoint, if training resumes from one."""
        step = int(state.global_step)
        self.sampler.current_epoch = step // self.sequence.updates_in_epoch - 1
        if step == 0 or self._source is None:
            return
        load_curriculum(self._source, self.plan, self.feedback, self._kept())
        epochs, updates = divmod(step, self.sequence.updates_in_epoch)
        inside = updates * self.settings.accumulate
        self._resumed = epochs * len(self.plan) + inside // self.settings.repeats
        accelerator = self.trainer.accelerator
        if accelerator.dispatch_batches and not accelerator.split_batches:
            # there Accelerate skips as many batches in all as each process has had
            others = accelerator.num_processes - 1
            self.sampler.leave_out(inside * others * self.trainer.args.train_batch_size)
        if hasattr(self.trainer, "_step") and hasattr(self.trainer, "_buffered_inputs"):
            epoch = self.settings.batches_in_epoch(self.sequence.examples)
            self._align_generations(step, epochs * epoch + inside)

    def _align_generations(self, step: int, batches: int) -> None:
        """Let TRL count the steps that share generations as if it had not been interrupted."""
        self.trainer._step = batches
        repeats = self.settings.repeats
        if batches % repeats:
            warnings.warn(
                f"save_steps: expected a multiple of "
                f"{repeats // math.gcd(repeats, self.settings.accumulate)}, because the checkpoint "
                f"of step {step} lies between steps that share generations; these are sampled "
                "anew, so the run is not exactly the one that was interrupted",
                stacklevel=2,
            )

    def _check_resumed(self) -> None:
        """Stop where the first batch after a resume is not the one that comes next."""
        number, self._resumed = self._resumed, None
        last = number is not None and number % len(self.plan) == len(self.plan) - 1
        if number is None or self.index is None or last:  # a last batch may be filled up
            return
        foreign = set(self.index.tolist()) - set(self.sequence[number].tolist())
        if foreign:
            raise InputError(
                f"resume_from_checkpoint: expected examples of batch {number} of the curriculum, "
                f"got example {min(foreign)}; this version of accelerate or transformers skips "
                "other batches on a resume than those tested"
            )

    def epoch_begins(self) -> None:
        """Go on to the next epoch."""
        self.sampler.current_epoch += 1

    def step_ended(self, state: Any) -> None:
        """Merge what was recorded, and let it count when an epoch is done."""
        if self.feedback is None:
            return
        self.feedback.synchronize(self._gather)
        # not at the event of an epoch's end, which comes after the last step's checkpoint
        if int(state.global_step) % self.sequence.updates_in_epoch == 0:
            self.feedback.refresh()

    def saved(self, state: Any) -> None:
        """Keep the curriculum beside the trainer's checkpoint."""
        if self.trainer.args.should_save:
            name = f"checkpoint-{state.global_step}"
            folder = Path(self.trainer._get_output_dir(trial=self._trial)) / name
            save_curriculum(folder, self.plan, self.feedback, self._kept())

    def _kept(self) -> dict[str, Any]:
        """What must be the same in a resumed run."""
        return {
            "examples": check_data(self.trainer),
            "batch_size": self.settings.batch_size,
            "gradient_accumulation_steps": self.settings.accumulate,
            "max_steps": self.sequence.total_updates,
        }

    def _gather(self, rows: torch.Tensor) -> torch.Tensor:
        return gather_rows(self.trainer.accelerator, rows)

    def _wrap(self) -> None:
        """Put the curriculum in the place of the trainer's own order."""
        trainer = self.trainer
        load, step, train = trainer.get_train_dataloader, trainer.training_step, trainer.train
        self._trial: Any = None

        @functools.wraps(load)
        def get_train_dataloader() -> Any:
            self._check_unchanged()
            if hasattr(trainer, "get_batch_sampler"):
                return self._load_pairs(load)
            data, collate = trainer.train_dataset, trainer.data_collator
            trainer.train_dataset, trainer.data_collator = self._positioned(data, collate)
            try:
                return load()
            finally:
                trainer.train_dataset, trainer.data_collator = data, collate

        @functools.wraps(step)
        def training_step(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            self.index, self.in_step = take_positions(inputs), True
            self._check_resumed()
            if self.before_step is not None:
                self.before_step(inputs)
            try:
                return step(model, inputs, *args, **kwargs)
            finally:
                self.in_step = False

        @functools.wraps(train)
        def train_from(
            resume_from_checkpoint: Any = None, trial: Any = None, *args: Any, **kwargs: Any
        ) -> Any:
            self._source, self._trial = self._checkpoint(resume_from_checkpoint), trial
            return train(resume_from_checkpoint, trial, *args, **kwargs)

        trainer._get_train_sampler = lambda *_: self.sampler
        trainer.get_train_dataloader = get_train_dataloader
        trainer.training_step, trainer.train = training_step, train_from

    def _check_unchanged(self) -> None:
        """Refuse to train on data or under settings the curriculum was not made for."""
        check_plan(self.trainer, self.plan)
        own_sampler = type(self.trainer)._get_train_sampler(self.trainer)
        now = asdict(read_settings(self.trainer, own_sampler))
        then = asdict(self.settings)
        for name, value in now.items():
            if value != then[name]:
                raise InputError(
                    f"{name}: expected {then[name]}, under which the curriculum was attached, got "
                    f"{value}; change the trainer's arguments before attach_curriculum"
                )

    def _positioned(self, data: Any, collate: Any) -> tuple[Any, Any]:
        """Data and collator that carry positions, after the trainer's own columns are chosen."""
        import datasets

        if isinstance(data, datasets.Dataset):
            data = self.trainer._remove_unused_columns(data, description="training")
        else:
            collate = self.trainer._get_collator_with_removed_columns(
                collate, description="training"
            )
        return PositionedDataset(data), PositionCollator(collate)

    def _load_pairs(self, load: Callable[[], Any]) -> Any:
        """The loader of a sentence-transformers trainer, which asks for a sampler of batches."""
        from gradatim.integrations.sentence_batches import pair_sampler

        trainer = self.trainer
        inherited = trainer.get_batch_sampler

        def get_batch_sampler(dataset: Any, *args: Any, **kwargs: Any) -> Any:
            self.sampler = pair_sampler(trainer, self.sequence, dataset, *args, **kwargs)
            return self.sampler

        trainer.get_batch_sampler = get_batch_sampler
        try:
            return load()
        finally:
            trainer.get_batch_sampler = inherited

    def _checkpoint(self, resume: Any) -> Path | None:
        """The folder that training resumes from, found as the trainer finds it."""
        if resume is None or resume is False:
            return None
        if resume is True:
            from transformers.trainer_utils import get_last_checkpoint

            resume = get_last_checkpoint(  # type: ignore[no-untyped-call]
                self.trainer.args.output_dir
            )
        return None if resume is None else Path(resume)


@functools.cache
def _callback_class(transformers: Any) -> Any:
    """A callback that tells an attached curriculum how training goes."""

    class CurriculumCallback(transformers.TrainerCallback):  # type: ignore[misc]
        def __init__(self, curriculum: AttachedCurriculum) -> None:
            self.curriculum = curriculum

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.curriculum.train_begins(state)

        def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.curriculum.epoch_begins()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.curriculum.step_ended(state)

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.curriculum.saved(state)

    return CurriculumCallback
