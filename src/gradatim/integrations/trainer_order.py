"""One global order of examples for trainers that shard it themselves (Accelerate)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from torch.utils.data import Sampler

from gradatim.core.errors import InputError
from gradatim.training.batch_sequence import BatchSequence
from gradatim.training.batches import Batches


@dataclass(frozen=True)
class TrainerSettings:
    """What a trainer does with a stream of examples.

    Args:
        batch_size: examples, all different prompts where there are groups, that all processes
            take together.
        accumulate: batches in an update.
        epochs: epochs, whole or not, when ``updates`` is None.
        updates: updates of the whole run, or None.
        drop_last: whether a last, smaller batch of an epoch is left out.
        group: how often each example is repeated in a row (the generations of a prompt).
        repeats: how often each batch is repeated (steps that share generations).
    """

    batch_size: int
    accumulate: int
    epochs: float
    updates: int | None
    drop_last: bool
    group: int = 1
    repeats: int = 1

    def batches_in_epoch(self, examples: int) -> int:
        """Batches that a process goes through in an epoch of so many examples.

        >>> TrainerSettings(4, 2, 1.0, None, drop_last=False).batches_in_epoch(9)
        3
        """
        whole, rest = divmod(examples, self.batch_size)
        return (whole + bool(rest and not self.drop_last)) * self.repeats

    def updates_in_epoch(self, examples: int) -> int:
        """Updates in an epoch: the last may be of fewer batches."""
        return max(1, -(-self.batches_in_epoch(examples) // self.accumulate))

    def total_updates(self, examples: int) -> int:
        """Updates of the whole run."""
        return self.updates or math.ceil(self.epochs * self.updates_in_epoch(examples))

    def total_epochs(self, examples: int) -> int:
        """Epochs of the whole run, begun ones counted."""
        return math.ceil(self.total_updates(examples) / self.updates_in_epoch(examples))


class TrainerSequence(BatchSequence):
    """All batches of a trainer's run, where an epoch ends with an update, whole or not.

    The trainer's epoch is the plan's epoch. Progress is the share of updates that are done, as the
    trainer counts its steps.

    Args:
        plan: a plan of batches over all processes.
        settings: what the trainer does with them.

    Raises:
        InputError: the plan's batches have another size than the trainer's.

    >>> from gradatim.training.batches import OrderedBatches
    >>> settings = TrainerSettings(2, 2, 2.0, None, drop_last=False)
    >>> sequence = TrainerSequence(OrderedBatches(range(6), 2), settings)
    >>> [sequence.progress(k) for k in range(6)]
    [0.0, 0.0, 0.25, 0.5, 0.5, 0.75]
    """

    def __init__(self, plan: Batches, settings: TrainerSettings) -> None:
        first = plan.batch(0, 0, 0.0)
        if len(plan) > 1 and len(first) != settings.batch_size:
            raise InputError(
                f"batch_size: expected a plan of batches of {settings.batch_size} examples, as the "
                f"trainer's processes take together, got one of {len(first)}"
            )
        last = plan.batch(0, len(plan) - 1, 0.0)
        self.examples = (len(plan) - 1) * settings.batch_size + len(last)
        if settings.drop_last:
            self.examples -= self.examples % settings.batch_size
        if not self.examples:
            raise InputError(
                f"batch_size: expected at most as many examples as there are ({len(last)}), "
                f"got {settings.batch_size}"
            )
        self.settings = settings
        self.updates_in_epoch = settings.updates_in_epoch(self.examples)
        self.total_updates = settings.total_updates(self.examples)
        super().__init__(plan, epochs=settings.total_epochs(self.examples))

    def progress(self, number: int) -> float:
        """Share of the run's updates that are done when a batch begins, in [0, 1]."""
        epoch, position = divmod(number, len(self.plan))
        inside = position * self.settings.repeats // self.settings.accumulate
        return min(1.0, (epoch * self.updates_in_epoch + inside) / self.total_updates)


class TrainerSampler(Sampler[int]):
    """The examples of one epoch as a single stream, which Accelerate cuts into shares.

    >>> from gradatim.training.batches import OrderedBatches
    >>> settings = TrainerSettings(2, 1, 1.0, None, drop_last=True, group=2, repeats=2)
    >>> sampler = TrainerSampler(TrainerSequence(OrderedBatches([3, 1, 2], 2), settings))
    >>> list(sampler)
    [3, 3, 1, 1, 3, 3, 1, 1]
    """

    def __init__(self, sequence: TrainerSequence) -> None:
        self.sequence = sequence
        self.current_epoch = 0
        self.left_out = 0

    def __len__(self) -> int:
        """Examples in an epoch, repeated ones counted."""
        return (
            self.sequence.examples * self.sequence.settings.group * self.sequence.settings.repeats
        )

    def leave_out(self, examples: int) -> None:
        """Begin the next epoch after so many examples."""
        self.left_out = examples

    def __iter__(self) -> Iterator[int]:
        skipped, self.left_out = self.left_out, 0
        return islice(self._whole_epoch(), skipped, None)

    def _whole_epoch(self) -> Iterator[int]:
        settings, left = self.sequence.settings, self.sequence.examples
        for batch in self.sequence.epoch(self.current_epoch):
            chosen = list(islice(batch.tolist(), left))
            left -= len(chosen)
            grouped = [i for i in chosen for _ in range(settings.group)]
            for _ in range(settings.repeats):
                yield from grouped
