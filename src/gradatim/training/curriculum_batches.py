"""Batches by difficulty for ``fit`` and, as one global order, for any other trainer."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gradatim.core.cache import content_hash
from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import derive_seed, numpy_generator
from gradatim.curriculum.draws import RankedDraws, order_without_replacement
from gradatim.curriculum.orders import Values, as_values
from gradatim.curriculum.rank_weights import RankWeights, easiest
from gradatim.training.batches import Index

Progress = Callable[[float], float]
OrderBy = Callable[..., npt.ArrayLike]
Remainder = Literal["keep", "drop", "merge"]


class CurriculumBatches:
    """Batches that follow difficulty, in one of three ways: give pacing, weights or an order.

    Guarantees, all of them functions of (seed, epoch, position, progress) alone:

    - ``pacing``: each batch is drawn from the easiest ``pacing(t)`` of the examples (never fewer
      than a batch), all alike; no example twice in a batch, with replacement between batches.
    - ``weights``: each batch is drawn with replacement by ``weights(t)`` over difficulty ranks.
    - either with ``replacement=False``: each example exactly once an epoch, in batches that follow
      the pacing or weights as far as what is left of the epoch allows (see
      :func:`~gradatim.curriculum.draws.order_without_replacement`). Progress is then counted
      over ``epochs``, since a batch depends on what earlier ones took.
    - ``order``: each example exactly once an epoch, in the order that the function gives; equal
      examples are shuffled anew every epoch.

    ``set_difficulty`` replaces difficulty from the next epoch on (the declared lag, also where
    workers prefetch), and what it set is part of the checkpoint; ``length`` makes epochs short.
    Draws keep 4 bytes an example, ``replacement=False`` 8, an order 8 and the difficulty.

    Args:
        difficulty: one number an example, finite, higher = harder, shape [n].
        batch_size: examples in a batch, over all processes.
        pacing: progress t in [0, 1] to the share of the easiest examples in play
            (:class:`~gradatim.curriculum.pacing.Pacing`).
        weights: progress to weights over ranks (:mod:`gradatim.curriculum.rank_weights`).
        order: ``order(difficulty, seed=...) -> permutation`` (:mod:`gradatim.curriculum.orders`),
            or a permutation, shape [n].
        replacement: False for each example once an epoch under pacing or weights.
        epochs: how many epochs progress is counted over; needed for ``replacement=False`` alone.
        length: batches in an epoch, for draws with replacement; None for ``ceil(n / batch_size)``.
        remainder: a last, smaller batch of an epoch is kept, dropped, or merged into the one
            before it; where draws have replacement there is none.
        seed: what draws and ties depend on.

    Raises:
        InputError: difficulty that is not finite, not exactly one of pacing, weights and order,
            arguments that do not belong to that one, or an order that is no permutation.

    >>> plan = CurriculumBatches([0.9, 0.1, 0.5, 0.2], 2, pacing=lambda t: 0.5 + 0.5 * t)
    >>> sorted(plan.batch(0, 0, 0.0).tolist())
    [1, 3]
    """

    def __init__(
        self,
        difficulty: Values,
        batch_size: int,
        *,
        pacing: Progress | None = None,
        weights: Callable[[float], RankWeights] | None = None,
        order: OrderBy | npt.ArrayLike | None = None,
        replacement: bool = True,
        epochs: int | None = None,
        length: int | None = None,
        remainder: Remainder = "keep",
        seed: int = 0,
    ) -> None:
        given = [
            name
            for name, value in (("pacing", pacing), ("weights", weights), ("order", order))
            if value is not None
        ]
        if len(given) != 1:
            raise InputError(
                "pacing, weights, order: expected one of the three, got "
                + (" and ".join(given) or "none")
            )
        values = as_values("difficulty", difficulty)
        if not len(values):
            raise InputError("difficulty: expected at least one example, got none")
        check_range("batch_size", batch_size, 1, len(values))
        check_choice("remainder", remainder, ("keep", "drop", "merge"))
        self.num_examples, self.batch_size, self.seed = len(values), batch_size, seed
        self.pacing, self.weights, self.order_by = pacing, weights, order
        self.remainder: Remainder = remainder
        self.draws = order is None and replacement
        self.epochs = self._checked_epochs(epochs, order is None and not replacement)
        self._length = self._checked_length(length)
        self._basis = self._prepared(values)
        self._next: npt.NDArray[Any] | None = None
        self._changed = False
        self._epoch = -1
        self._order_epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self._length

    def batch(self, epoch: int, position: int, progress: float) -> Index:
        """Positions of the examples in one batch."""
        self._enter(epoch)
        if not self.draws:
            start = position * self.batch_size
            merged = self.remainder == "merge" and position == self._length - 1
            end = self.num_examples if merged else start + self.batch_size
            return self._epoch_order(epoch)[start:end].astype(np.int64)
        generator = numpy_generator(self.seed, "curriculum", epoch, position)
        ranked = RankedDraws.of_order(self._basis)
        if self.weights is not None:
            return ranked.draw(self.weights(progress), self.batch_size, generator)
        return ranked.draw_easiest(self._share(progress), self.batch_size, generator)

    def set_difficulty(self, difficulty: Values) -> None:
        """Replace difficulty from the next epoch on.

        Args:
            difficulty: one number an example, finite, shape [n].

        Raises:
            InputError: another number of examples, or numbers that are not finite.
        """
        values = as_values("difficulty", difficulty)
        if len(values) != self.num_examples:
            raise InputError(f"difficulty: expected {self.num_examples} numbers, got {len(values)}")
        self._next, self._changed = self._prepared(values), True

    def state_dict(self) -> dict[str, Any]:
        """What ``set_difficulty`` changed; where it was not called, a hash of the difficulty."""
        return {
            "epoch": self._epoch,
            "difficulty": self._basis if self._changed else None,
            "next": self._next,
            "hash": "" if self._changed else content_hash(self._basis),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state.

        Raises:
            InputError: the state was made with other difficulties.
        """
        if state["difficulty"] is None and state["hash"] != content_hash(self._basis):
            raise InputError(
                "difficulty: expected that which the checkpoint was made with, got another"
            )
        self._epoch, self._order_epoch = int(state["epoch"]), -1
        self._changed = state["difficulty"] is not None
        if self._changed:
            self._basis = np.asarray(state["difficulty"])
        self._next = None if state["next"] is None else np.asarray(state["next"])

    def _enter(self, epoch: int) -> None:
        """Let new difficulties hold when another epoch begins."""
        if epoch != self._epoch:
            if self._next is not None:
                self._basis, self._next = self._next, None
            self._epoch, self._order_epoch = epoch, -1

    def _prepared(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What batches are made from: positions by rank, or the difficulty itself for orders."""
        if self.order_by is not None:
            return values.copy()
        return RankedDraws(values, seed=self.seed).order

    def _share(self, progress: float) -> float:
        """The share in play."""
        assert self.pacing is not None
        share = self.pacing(progress)
        check_range("pacing(progress)", share, 0.0, 1.0)
        return share

    def _epoch_order(self, epoch: int) -> npt.NDArray[Any]:
        """The permutation of an epoch (kept until another is asked for)."""
        if epoch == self._order_epoch:
            return self._order
        n, key = self.num_examples, derive_seed(self.seed, "epoch", epoch)
        if self.order_by is not None:
            made = (
                self.order_by(self._basis, seed=key) if callable(self.order_by) else self.order_by
            )
            self._order = _permutation(made, n)
        else:
            batches = -(-n // self.batch_size)
            moments = (epoch * batches + np.arange(batches)) / (self.epochs * batches)
            ranks = order_without_replacement(
                n, self.batch_size, self._weights_at, np.minimum(moments, 1.0),
                numpy_generator(key, "without replacement"),
            )  # fmt: skip
            self._order = self._basis[ranks]
        self._order_epoch = epoch
        return self._order

    def _weights_at(self, progress: float) -> RankWeights:
        """Weights over ranks, also where a pacing is given."""
        if self.weights is not None:
            return self.weights(progress)
        return easiest(max(self._share(progress), self.batch_size / self.num_examples))

    def _checked_epochs(self, epochs: int | None, needed: bool) -> int:
        if needed != (epochs is not None):
            raise InputError(
                "epochs: expected together with replacement=False (under pacing or weights), "
                f"and only there, got {epochs}"
            )
        check_range("epochs", epochs or 1, 1)
        return epochs or 1

    def _checked_length(self, length: int | None) -> int:
        whole, rest = divmod(self.num_examples, self.batch_size)
        if self.draws:
            check_range("length", 1 if length is None else length, 1)
            return length or -(-self.num_examples // self.batch_size)
        if length is not None:
            raise InputError("length: expected None where each example comes once an epoch")
        return whole + (1 if rest and self.remainder == "keep" else 0) or 1


def _permutation(order: Any, n: int) -> Index:
    """An order as an array, checked to hold each position once."""
    array = np.asarray(order, dtype=np.int64)
    if array.shape != (n,) or not _is_permutation(array):
        raise InputError(
            f"order: expected each of the positions 0 to {n - 1} once, "
            f"got {array.shape[0] if array.ndim else 1} that are not"
        )
    return array


def _is_permutation(array: Index) -> bool:
    """Whether every position stands in an array once."""
    if array.min(initial=0) < 0 or array.max(initial=-1) >= len(array):
        return False
    seen = np.zeros(len(array), dtype=bool)
    seen[array] = True
    return bool(seen.all())
