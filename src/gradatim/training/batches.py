"""Which examples form which batch: functions of (seed, epoch, position, progress) alone.

Since no batch depends on one drawn before it, training resumes at any batch without replaying the
earlier ones, and workers that prefetch cannot run ahead of the curriculum.
"""

from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from gradatim.core.checks import check_choice, check_finite, check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator

Index = npt.NDArray[np.int64]


@runtime_checkable
class Batches(Protocol):
    """A plan of batches. Each implementation states its guarantee in its docstring."""

    def __len__(self) -> int:
        """Batches in an epoch."""
        ...

    def batch(self, epoch: int, position: int, progress: float) -> Index:
        """Positions of the examples in one batch, over all processes.

        Args:
            epoch: from 0.
            position: from 0 to ``len(self) - 1``.
            progress: share of all updates that are done before this batch, in [0, 1].
        """
        ...


class ShuffledBatches:
    """Every epoch is a fresh random permutation of all examples.

    Guarantee: each example exactly once an epoch (with ``remainder="drop"``, at most once).

    Args:
        num_examples: how many examples there are.
        batch_size: examples in a batch, over all processes.
        seed: what the permutations depend on, with the epoch.
        remainder: a last, smaller batch is kept, dropped, or merged into the one before it.
        shuffle: False for the order of the data, in every epoch.

    >>> plan = ShuffledBatches(10, 4, seed=0)
    >>> sorted(int(i) for p in range(len(plan)) for i in plan.batch(0, p, 0.0))
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """

    def __init__(
        self,
        num_examples: int,
        batch_size: int,
        *,
        seed: int = 0,
        remainder: Literal["keep", "drop", "merge"] = "keep",
        shuffle: bool = True,
    ) -> None:
        check_range("num_examples", num_examples, 1)
        check_range("batch_size", batch_size, 1)
        check_choice("remainder", remainder, ("keep", "drop", "merge"))
        self.num_examples, self.batch_size = num_examples, batch_size
        self.seed, self.shuffle, self.remainder = seed, shuffle, remainder
        whole, rest = divmod(num_examples, batch_size)
        self._length = whole + (1 if rest and remainder == "keep" else 0) or 1
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self._length

    def order(self, epoch: int) -> Index:
        """The permutation of an epoch (kept until another epoch is asked for)."""
        if epoch != self._epoch:
            self._epoch, self._order = epoch, np.arange(self.num_examples)
            if self.shuffle:
                numpy_generator(self.seed, "shuffled", epoch).shuffle(self._order)
        return self._order

    def batch(self, epoch: int, position: int, progress: float) -> Index:
        """Positions of the examples in one batch."""
        start = position * self.batch_size
        last = position == self._length - 1
        end = self.num_examples if last and self.remainder == "merge" else start + self.batch_size
        return self.order(epoch)[start:end]


class OrderedBatches:
    """A given order of the examples, the same in every epoch: easy first, say, or any list.

    Guarantee: each entry of ``order`` exactly once an epoch, in that order.

    >>> OrderedBatches([3, 1, 2], 2).batch(0, 0, 0.0).tolist()
    [3, 1]
    """

    def __init__(self, order: npt.ArrayLike, batch_size: int) -> None:
        self.order = np.asarray(order, dtype=np.int64)
        if self.order.ndim != 1 or not len(self.order):
            raise InputError(f"order: expected a list of positions, got shape {self.order.shape}")
        check_range("batch_size", batch_size, 1)
        self.batch_size = batch_size

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.order) // self.batch_size)

    def batch(self, epoch: int, position: int, progress: float) -> Index:
        """Positions of the examples in one batch."""
        return self.order[position * self.batch_size : (position + 1) * self.batch_size]


class PacedBatches:
    """Draws from the easiest share of the examples, a share that grows with progress.

    Guarantee: draws with replacement between batches, without replacement inside one; the batch
    at progress t holds only examples among the easiest ``pacing(t)``, but never fewer than a
    batch (the pool is the easiest ``max(batch_size, ceil(pacing(t) * n))``).

    Args:
        difficulty: one number an example, higher = harder, shape [n].
        batch_size: examples in a batch, over all processes.
        pacing: progress t in [0, 1] to the share of examples in play, in (0, 1].
        seed: what the draws depend on, with epoch and position.
        length: batches in an epoch; None for ``ceil(n / batch_size)``.

    >>> plan = PacedBatches([0.9, 0.1, 0.5, 0.2], 2, pacing=lambda t: 0.5 + 0.5 * t)
    >>> sorted(plan.batch(0, 0, 0.0).tolist())
    [1, 3]
    """

    def __init__(
        self,
        difficulty: npt.ArrayLike,
        batch_size: int,
        pacing: Callable[[float], float],
        *,
        seed: int = 0,
        length: int | None = None,
    ) -> None:
        values = np.asarray(difficulty, dtype=np.float64)
        check_finite("difficulty", values)
        check_range("batch_size", batch_size, 1, len(values))
        self.order = np.argsort(values, kind="stable")
        self.batch_size, self.pacing, self.seed = batch_size, pacing, seed
        self._length = length or -(-len(values) // batch_size)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self._length

    def batch(self, epoch: int, position: int, progress: float) -> Index:
        """Positions of the examples in one batch."""
        share = self.pacing(progress)
        check_range("pacing(progress)", share, 0, 1, open_low=True)
        pool = max(self.batch_size, int(np.ceil(share * len(self.order))))
        generator = numpy_generator(self.seed, "paced", epoch, position)
        return self.order[generator.choice(pool, self.batch_size, replace=False)]


class WeightedBatches:
    """Draws with given probabilities, which may be changed while training runs.

    Guarantee: draws with replacement. New weights hold from the next epoch on (the declared lag),
    also where workers prefetch, and they are part of the checkpoint.

    Args:
        weights: one non-negative number an example, shape [n]; they need not sum to one.
        batch_size: examples in a batch, over all processes.
        seed: what the draws depend on, with epoch and position.
        length: batches in an epoch; None for ``ceil(n / batch_size)``.

    >>> WeightedBatches([0.0, 1.0, 0.0], 3).batch(0, 0, 0.0).tolist()
    [1, 1, 1]
    """

    def __init__(
        self,
        weights: npt.ArrayLike,
        batch_size: int,
        *,
        seed: int = 0,
        length: int | None = None,
    ) -> None:
        check_range("batch_size", batch_size, 1)
        self.batch_size, self.seed = batch_size, seed
        self._next = self._checked(weights)
        self._length = length or -(-len(self._next) // batch_size)
        self._epoch, self._cumulative = -1, np.empty(0)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self._length

    def set_weights(self, weights: npt.ArrayLike) -> None:
        """Replace the weights from the next epoch on."""
        new = self._checked(weights)
        if len(new) != len(self._next):
            raise InputError(f"weights: expected {len(self._next)} numbers, got {len(new)}")
        self._next = new

    def batch(self, epoch: int, position: int, progress: float) -> Index:
        """Positions of the examples in one batch."""
        if epoch != self._epoch:
            self._epoch, self._cumulative = epoch, np.cumsum(self._next)
        draws = numpy_generator(self.seed, "weighted", epoch, position).random(self.batch_size)
        below_total = np.nextafter(self._cumulative[-1], 0.0)
        scaled = np.minimum(draws * self._cumulative[-1], below_total)
        found: Index = np.searchsorted(self._cumulative, scaled, side="right").astype(np.int64)
        return found

    def state_dict(self) -> dict[str, object]:
        """The weights in force and those of the next epoch."""
        return {"next": self._next, "epoch": self._epoch, "cumulative": self._cumulative}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Take up a saved state."""
        self.set_weights(state["next"])  # type: ignore[arg-type]
        self._epoch = int(state["epoch"])  # type: ignore[call-overload]
        self._cumulative = np.asarray(state["cumulative"])

    @staticmethod
    def _checked(weights: npt.ArrayLike) -> npt.NDArray[np.float64]:
        values = np.array(weights, dtype=np.float64)
        if values.ndim != 1:
            raise InputError(f"weights: expected one number an example, got shape {values.shape}")
        check_finite("weights", values)
        if (values < 0).any() or values.sum() <= 0:
            raise InputError("weights: expected non-negative numbers that are not all zero")
        return values
