"""Batches of examples of like length, so that little of a batch is padding."""

import numpy as np
import numpy.typing as npt

from gradatim.core.checks import check_finite, check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator
from gradatim.training.batches import Index


class LengthGroupedBatches:
    """Random batches whose examples are of like length.

    Every epoch a fresh permutation is cut into windows; inside a window examples are sorted by
    length and cut into batches, whose order is then shuffled over the whole epoch.

    Guarantee: each example exactly once an epoch.

    Args:
        lengths: one number an example, shape [n].
        batch_size: examples in a batch, over all processes; the last may have fewer.
        seed: what the permutations depend on, with the epoch.
        window: batches in a window; 1 is plain shuffling.

    Raises:
        InputError: no examples, a length that is not finite, or a number below 1.

    >>> plan = LengthGroupedBatches([5, 1, 5, 1], 2, window=2)
    >>> sorted(sorted(plan.batch(0, p, 0.0).tolist()) for p in range(2))
    [[0, 2], [1, 3]]
    """

    def __init__(
        self, lengths: npt.ArrayLike, batch_size: int, *, seed: int = 0, window: int = 16
    ) -> None:
        self.lengths = np.asarray(lengths)
        if self.lengths.ndim != 1 or not len(self.lengths):
            raise InputError(f"lengths: expected shape [n], got {list(self.lengths.shape)}")
        check_finite("lengths", self.lengths)
        check_range("batch_size", batch_size, 1)
        check_range("window", window, 1)
        self.batch_size, self.seed, self.window = batch_size, seed, window
        self._epoch, self._batches = -1, list[Index]()

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.lengths) // self.batch_size)

    def batch(self, epoch: int, position: int, progress: float) -> Index:
        """Positions of the examples in one batch."""
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._cut(epoch)
        return self._batches[position]

    def _cut(self, epoch: int) -> list[Index]:
        generator = numpy_generator(self.seed, "length-grouped", epoch)
        order = generator.permutation(len(self.lengths))
        size = self.window * self.batch_size
        windows = [order[start : start + size] for start in range(0, len(order), size)]
        ranked = [one[np.argsort(self.lengths[one], kind="stable")] for one in windows]
        batches = [
            one[start : start + self.batch_size]
            for one in ranked
            for start in range(0, len(one), self.batch_size)
        ]
        return [batches[place] for place in generator.permutation(len(batches))]
