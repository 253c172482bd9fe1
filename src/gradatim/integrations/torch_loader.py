"""Curricula for loops over batches: PyTorch's own ``DataLoader``, and Lightning."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.integrations.feedback import (
    gather_over_processes,
    plan_and_feedback,
    read_curriculum,
    write_curriculum,
)
from gradatim.training.batch_sequence import BatchSequence
from gradatim.training.batches import Batches, Index
from gradatim.training.serialization import flatten_state, restore_state


class CurriculumBatchSampler(Sampler[list[int]]):
    """A plan of batches as ``DataLoader(data, batch_sampler=...)`` takes it.

    Each time it is iterated it gives one epoch of the plan: the first by default, another after
    ``set_epoch``. Under ``torch.distributed`` each process gets its share of every batch, as in
    :func:`~gradatim.training.fit.fit`. It can be resumed by ``from_batch``, or by any tool that
    skips as many batches as were consumed.

    Args:
        plan: a plan of batches over all processes, such as
            :class:`~gradatim.training.curriculum_batches.CurriculumBatches`.
        epochs: epochs of the whole run, over which progress is counted; this or ``total``.
        total: batches of the whole run.
        accumulate: batches in an update, which share one progress.
        processes: None to share each batch among the processes of ``torch.distributed``; a number
            to emit as many shares of each batch one after another, as ``accelerator.prepare``
            deals them out.

    Raises:
        InputError: not exactly one of epochs and total, or a number below 1.

    >>> from gradatim.training.batches import OrderedBatches
    >>> sampler = CurriculumBatchSampler(OrderedBatches([3, 1, 2], 2), epochs=2)
    >>> list(sampler), len(sampler)
    ([[3, 1], [2]], 2)
    """

    def __init__(
        self,
        plan: Batches,
        *,
        epochs: int | None = None,
        total: int | None = None,
        accumulate: int = 1,
        processes: int | None = None,
    ) -> None:
        check_range("processes", 1 if processes is None else processes, 1)
        self.sequence = BatchSequence(plan, epochs=epochs, total=total, accumulate=accumulate)
        self.processes = processes
        self.current_epoch = 0

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.sequence.plan) * (self.processes or 1)

    def __iter__(self) -> Iterator[list[int]]:
        return self.from_batch(self.current_epoch * len(self.sequence.plan))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that is gone through next, from 0."""
        self.current_epoch = epoch

    def from_batch(self, number: int) -> Iterator[list[int]]:
        """What is left of an epoch, from a batch of the whole run on."""
        epoch, start = divmod(number, len(self.sequence.plan))
        for index in self.sequence.epoch(epoch, start):
            for share in self._shares(index):
                yield share.tolist()

    def _shares(self, index: Index) -> list[Index]:
        """The shares of a batch that this process emits."""
        distributed = torch.distributed
        if self.processes is not None:
            return _split(index, self.processes)
        if distributed.is_available() and distributed.is_initialized():
            return [_split(index, distributed.get_world_size())[distributed.get_rank()]]
        return [index]


class CurriculumLoader:
    """A loader whose batches follow a curriculum, and which takes up training where it stood.

    Each ``for batch in loader`` gives one epoch, or what is left of it: the loader counts the
    batches that were handed out, whatever was prefetched, and ``state_dict`` keeps the count with
    the state of the curriculum. Lightning keeps and restores it with its own checkpoints and
    shares nothing out a second time, since this is no ``DataLoader``::

        trainer.fit(module, CurriculumLoader(data, plan, epochs=10))

    Args:
        data: a dataset with ``len`` and ``data[position]``.
        curriculum: a plan of batches over all processes, or ``SelfPaced`` or ``TargetSuccess``,
            which learn at the end of each epoch from what ``record`` was given; use
            ``loader.index`` to say whose losses they are.
        epochs: epochs of the whole run, over which progress is counted; this or ``total``.
        total: batches of the whole run.
        accumulate: batches in an update, which share one progress.
        options: further arguments of ``DataLoader``: ``collate_fn``, ``num_workers``...

    Raises:
        InputError: another object than a curriculum, arguments of ``DataLoader`` that choose
            batches, or as for :class:`CurriculumBatchSampler`.

    >>> from gradatim.training.batches import OrderedBatches
    >>> loader = CurriculumLoader(list("abc"), OrderedBatches([2, 1, 0], 2), epochs=1)
    >>> [batch for batch in loader]
    [['c', 'b'], ['a']]
    """

    def __init__(
        self,
        data: Any,
        curriculum: Any,
        *,
        epochs: int | None = None,
        total: int | None = None,
        accumulate: int = 1,
        **options: Any,
    ) -> None:
        taken = ("batch_size", "shuffle", "sampler", "batch_sampler", "drop_last")
        wrong = [name for name in taken if name in options]
        if wrong:
            raise InputError(f"{wrong[0]}: expected to be left out, the curriculum decides it")
        self.plan, self.feedback = plan_and_feedback(curriculum)
        self.batch_sampler = CurriculumBatchSampler(
            self.plan, epochs=epochs, total=total, accumulate=accumulate
        )
        self.dataset, self.options = data, options
        self.consumed = 0
        self._refreshed = 0
        self._index: torch.Tensor | None = None

    @property
    def index(self) -> torch.Tensor:
        """Positions of the examples of the batch that was handed out last, shape [B].

        Raises:
            InputError: no batch was handed out yet.
        """
        if self._index is None:
            raise InputError("index: expected a batch to have been handed out before")
        return self._index

    @property
    def progress(self) -> float:
        """Share of the run that was done when the last batch's update began, in [0, 1]."""
        return self.batch_sampler.sequence.progress(max(0, self.consumed - 1))

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.plan)

    def __iter__(self) -> Iterator[Any]:
        epoch = self.consumed // len(self)
        self._synchronize()
        if self.feedback is not None and self._refreshed < epoch:
            self.feedback.refresh()
            self._refreshed = epoch
        drawn: deque[list[int]] = deque()
        loader = DataLoader(
            self.dataset,
            batch_sampler=_noted(self.batch_sampler.from_batch(self.consumed), drawn),
            # the base seed of workers is otherwise drawn from the global generator, which would
            # make resumed runs differ from uninterrupted ones
            generator=self.options.get("generator", torch.Generator()),
            **{name: value for name, value in self.options.items() if name != "generator"},
        )
        for batch in loader:
            self._index = torch.tensor(drawn.popleft())
            self.consumed += 1
            yield batch
            self._synchronize()

    def state_dict(self) -> dict[str, Any]:
        """How many batches were handed out, and the curriculum's state; all processes call it.

        It holds tensors, numbers and text alone, so that ``torch.load`` reads it safely.
        """
        self._synchronize()
        skeleton, tensors = flatten_state(read_curriculum(self.plan, self.feedback))
        return {
            "consumed": self.consumed,
            "refreshed": self._refreshed,
            "total": len(self.batch_sampler.sequence),
            "curriculum": skeleton,
            "tensors": tensors,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state; the next iteration gives what is left of its epoch.

        Raises:
            InputError: the state is that of a run of another length or of another curriculum.
        """
        total = len(self.batch_sampler.sequence)
        if state["total"] != total:
            raise InputError(
                f"checkpoint: was made in a run of {state['total']} batches, this one has {total}"
            )
        curriculum = restore_state(state["curriculum"], state["tensors"])
        write_curriculum(self.plan, self.feedback, curriculum)
        self.consumed, self._refreshed = int(state["consumed"]), int(state["refreshed"])

    def _synchronize(self) -> None:
        """Merge what was recorded, after each batch: when a state is read changes nothing then."""
        if self.feedback is not None:
            self.feedback.synchronize(gather_over_processes)


def _noted(batches: Iterator[list[int]], drawn: deque[list[int]]) -> Iterator[list[int]]:
    """The same batches, each noted when it is drawn."""
    for batch in batches:
        drawn.append(batch)
        yield batch


def _split(index: Index, processes: int) -> list[Index]:
    """A global batch as one share a process, the first of them longer where it must be."""
    if len(index) < processes:
        raise InputError(
            f"batch: has {len(index)} examples, fewer than the {processes} processes; choose "
            "remainder='merge' or 'drop', or a larger batch_size"
        )
    return np.array_split(index, processes)
