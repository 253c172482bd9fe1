"""Batches of sequences by a budget of tokens, and the budget that memory allows."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator
from gradatim.training.batches import Index, OrderedBatches
from gradatim.training.fit import Step, fit

T = TypeVar("T")


class TokenBatches:
    """Sequences of like length together, so many that padded they stay within a budget.

    Lengths are rounded up to multiples of ``rounding``; among sequences of one rounded length the
    order is random, as is that of the batches, in every epoch anew.

    Guarantee: each sequence exactly once an epoch; rows times the longest rounded length of a batch
    are at most ``tokens``. The number of batches is the same in every epoch.

    Args:
        lengths: tokens of each sequence.
        tokens: the budget of a batch, over all processes.
        rounding: the coarser, the more the batches differ between epochs, and the more padding.
        seed: what the orders depend on, with the epoch.
        most_rows: sequences in a batch at most; None for no limit.
        least_rows: sequences in a batch at least, as many as there are processes.

    Raises:
        InputError: no sequence, fewer than ``least_rows``, one that alone exceeds the budget, or a
            number out of range.

    >>> plan = TokenBatches([10, 300, 12, 290, 11], tokens=640, rounding=16)
    >>> sorted(sorted(plan.batch(0, p, 0.0).tolist()) for p in range(len(plan)))
    [[0, 2, 4], [1, 3]]
    """

    def __init__(
        self,
        lengths: npt.ArrayLike,
        tokens: int,
        *,
        rounding: int = 16,
        seed: int = 0,
        most_rows: int | None = None,
        least_rows: int = 1,
    ) -> None:
        sizes = np.asarray(lengths, dtype=np.int64)
        if sizes.ndim != 1 or not len(sizes):
            raise InputError(f"lengths: expected a list of numbers, got shape {sizes.shape}")
        check_range("rounding", rounding, 1)
        check_range("tokens", tokens, 1)
        if most_rows is not None:
            check_range("most_rows", most_rows, 1)
        rounded = np.maximum(-(-sizes // rounding) * rounding, 1)
        longest = int(rounded.argmax())
        if rounded[longest] > tokens:
            raise InputError(
                f"tokens: expected at least the {rounded[longest]} that sequence {longest} takes "
                f"({sizes[longest]} tokens, rounded up to a multiple of {rounding}), got {tokens}"
            )
        self._check_least(least_rows, sizes, int(rounded[longest]), tokens, most_rows)
        self.seed, self._rounded = seed, rounded
        self.bounds = _at_least(_cuts(np.sort(rounded), tokens, most_rows), least_rows)
        self._epoch, self._batches = -1, list[Index]()

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.bounds) - 1

    def batch(self, epoch: int, position: int, progress: float) -> Index:
        """Positions of the sequences in one batch."""
        if epoch != self._epoch:
            generator = numpy_generator(self.seed, "token batches", epoch)
            order = np.lexsort((generator.random(len(self._rounded)), self._rounded))
            parts = np.split(order, self.bounds[1:-1])
            self._batches = [parts[place] for place in generator.permutation(len(parts))]
            self._epoch = epoch
        return self._batches[position]

    @staticmethod
    def _check_least(
        least: int, sizes: Index, longest: int, tokens: int, most_rows: int | None
    ) -> None:
        check_range("least_rows", least, 1, len(sizes))
        if least > 1 and (2 * least * longest > tokens or 2 * least > (most_rows or 2 * least)):
            raise InputError(
                f"least_rows: with {least} rows a batch expected tokens of at least "
                f"{2 * least * longest} (twice as many rows of the longest sequence) and most_rows "
                f"of at least {2 * least}, got {tokens} and {most_rows}"
            )

    @property
    def fullest(self) -> Index:
        """The batch that takes the most tokens, padding included; of those of the first epoch."""
        batches = [self.batch(0, place, 0.0) for place in range(len(self))]
        return max(batches, key=lambda rows: len(rows) * int(self._rounded[rows].max()))


def _cuts(rising: npt.NDArray[np.int64], tokens: int, most_rows: int | None) -> list[int]:
    """Where batches begin and end in sequences of rising length."""
    bounds, start = [0], 0
    for place, length in enumerate(rising.tolist()):
        count = place + 1 - start
        if count * length > tokens or (most_rows is not None and count > most_rows):
            bounds.append(place)
            start = place
    return [*bounds, len(rising)]


def _at_least(bounds: list[int], least: int) -> list[int]:
    """The same bounds, where a batch with too few rows takes the longest of the one before it."""
    for place in range(len(bounds) - 2, 0, -1):
        bounds[place] = min(bounds[place], bounds[place + 1] - least)
    first = next(place for place, bound in enumerate(bounds) if bound >= least)
    return [0, *bounds[first:]]


def halving(run: Callable[[int], T], start: int) -> T:
    """Run something with a budget, and with half of it each time memory does not suffice.

    What it has allocated is given back in between. As for reading with as many tokens at once as
    fit: ``halving(lambda tokens: read_responses(..., batch_tokens=tokens), 65536)``.

    Args:
        run: takes the budget; it must leave nothing half done when it is interrupted.
        start: the first budget.

    Returns:
        What ``run`` returns.

    Raises:
        InputError: ``start`` below 1, or memory does not suffice for a budget of 1.

    >>> def needs_little(tokens):
    ...     if tokens > 100:
    ...         raise torch.OutOfMemoryError("CUDA out of memory.")
    ...     return tokens
    >>> halving(needs_little, 512)
    64
    """
    from accelerate.utils.memory import find_executable_batch_size

    check_range("start", start, 1)
    tried: list[int] = []

    def attempt(batch_size: int) -> T:
        tried.append(batch_size)
        return run(batch_size)

    attempt_all: Callable[[], T] = find_executable_batch_size(
        attempt, starting_batch_size=start, reduce_batch_size_fn=lambda: tried[-1] // 2
    )
    try:
        return attempt_all()
    except RuntimeError as error:
        if tried[-1] > 1:
            raise
        raise InputError(
            f"start: memory does not suffice even for a budget of 1 ({error})"
        ) from error


def fitting_token_budget(
    model: torch.nn.Module,
    examples: Any,
    step: Step,
    lengths: Sequence[int] | torch.Tensor,
    *,
    start: int,
    precision: str = "float32",
    rounding: int = 16,
) -> int:
    """The largest budget, from ``start`` down by halves, whose fullest batch can be trained on.

    Losses and gradients of that batch are computed as :func:`~gradatim.training.fit.fit` does, and
    dropped: weights stay as they are. Memory of the optimizer's state is not part of the trial.

    Args:
        model: what is to be trained.
        examples: a source of batches.
        step: the losses.
        lengths: tokens of each sequence.
        start: the first budget.
        precision: as ``fit`` takes it.
        rounding: as :class:`TokenBatches` takes it.

    Returns:
        The budget.

    Raises:
        InputError: a sequence that exceeds the budget, or does not fit into memory alone.

    >>> from gradatim.core.examples import TensorExamples
    >>> from gradatim.training.step import Loss
    >>> examples = TensorExamples(x=torch.ones(4, 3))
    >>> def step(model, batch, state):
    ...     return Loss.of(model(batch["x"])[:, 0])
    >>> fitting_token_budget(torch.nn.Linear(3, 1), examples, step, [3, 3, 3, 3], start=64)
    64
    """
    sizes = np.asarray(lengths, dtype=np.int64)

    def trial(tokens: int) -> int:
        plan = TokenBatches(sizes, tokens, rounding=rounding)
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        fit(
            model, examples, step, optimizer=_NoUpdate(trained, lr=0.0),
            batches=OrderedBatches(plan.fullest, len(plan.fullest)), steps=1,
            precision=precision, progress_bar=False,
        )  # fmt: skip
        return tokens

    training = [module for module in model.modules() if module.training]
    try:
        return halving(trial, start)
    finally:
        model.zero_grad(set_to_none=True)
        model.eval()
        for module in training:
            module.training = True


class _NoUpdate(torch.optim.SGD):
    """An optimizer that leaves the weights as they are, even where a gradient is not finite."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Do nothing."""
