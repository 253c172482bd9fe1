"""A plan of batches as one global sequence of index batches, for trainers that are not ``fit``."""

from collections.abc import Iterator

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.training.batches import Batches, Index


class BatchSequence:
    """All batches of a run, numbered through: batch k of K, over all processes.

    Batch k is batch ``k % len(plan)`` of epoch ``k // len(plan)``, at the progress
    ``(k // accumulate * accumulate) / K``, as :func:`~gradatim.training.fit.fit` counts it where
    epochs are whole updates. It depends on k alone (and on what a loss-driven plan was told before
    its epoch began), so a run is taken up again by the number of batches consumed.

    Args:
        plan: any plan of batches.
        epochs: how many times the plan's epoch is gone through; give this or ``total``.
        total: K, the number of batches of the whole run.
        accumulate: batches in an update, which share one progress.

    Raises:
        InputError: not exactly one of epochs and total, or a number below 1.

    >>> from gradatim.training.batches import OrderedBatches
    >>> sequence = BatchSequence(OrderedBatches([3, 1, 2], 2), epochs=2)
    >>> [batch.tolist() for batch in sequence]
    [[3, 1], [2], [3, 1], [2]]
    >>> [batch.tolist() for batch in sequence.from_batch(3)]
    [[2]]
    """

    def __init__(
        self,
        plan: Batches,
        *,
        epochs: int | None = None,
        total: int | None = None,
        accumulate: int = 1,
    ) -> None:
        if (epochs is None) == (total is None):
            raise InputError("epochs, total: expected one of the two")
        check_range(
            "epochs" if total is None else "total", (epochs if total is None else total) or 0, 1
        )
        check_range("accumulate", accumulate, 1)
        self.plan, self.accumulate = plan, accumulate
        self.total = total or (epochs or 0) * len(plan)

    def __len__(self) -> int:
        """Batches in the whole run."""
        return self.total

    def __getitem__(self, number: int) -> Index:
        """Positions of the examples in one batch.

        Raises:
            IndexError: no batch of this number.
        """
        if not 0 <= number < self.total:
            raise IndexError(f"batch {number} is out of range for {self.total} batches")
        epoch, position = divmod(number, len(self.plan))
        return self.plan.batch(epoch, position, self.progress(number))

    def __iter__(self) -> Iterator[Index]:
        return self.from_batch(0)

    def progress(self, number: int) -> float:
        """Share of the run that is done when a batch's update begins, in [0, 1]."""
        return number // self.accumulate * self.accumulate / self.total

    def from_batch(self, number: int) -> Iterator[Index]:
        """The batches from a number on: those that are left after as many were consumed."""
        return (self[k] for k in range(number, self.total))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Index]:
        """The batches of one epoch of the plan, from a position on, as far as the run goes."""
        first = epoch * len(self.plan)
        return (self[k] for k in range(first + start, min(first + len(self.plan), self.total)))
