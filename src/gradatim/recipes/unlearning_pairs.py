"""Examples to forget and examples that remain, in one source and in common batches."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.examples import Examples, TensorExamples, as_examples, collate
from gradatim.core.seeds import derive_seed, numpy_generator
from gradatim.training.batches import Index, ShuffledBatches
from gradatim.training.callbacks import Callback
from gradatim.training.step import State


class _Rows:
    """A torch ``Dataset`` whose rows are tuples, the first entries of which are columns."""

    def __init__(self, source: Any, names: tuple[str, ...]) -> None:
        self.source, self.names = source, names

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: list[int]) -> dict[str, list[Any]]:
        rows = [self.source[i] for i in index]
        return {
            name: [torch.as_tensor(row[place]) for row in rows]
            for place, name in enumerate(self.names)
            if place < len(rows[0])
        }


def unlearning_examples(
    name: str, source: Any, *, x: str = "x", label: str = "label", labelled: bool = True
) -> Examples:
    """See a user's data as examples with a column of inputs, and one of labels.

    Args:
        name: the argument's name, for errors.
        source: a tensor of inputs, a pair (inputs, labels), a torch ``Dataset`` whose rows are
            (input, label), or what :func:`gradatim.core.examples.as_examples` takes.
        x: name of the column of inputs.
        label: name of the column of labels.
        labelled: whether labels are needed.

    Returns:
        The examples.

    Raises:
        InputError: there are no examples, or a column that is needed is missing.

    >>> len(unlearning_examples("forget", (torch.zeros(3, 2), torch.zeros(3, dtype=torch.long))))
    3
    """
    if isinstance(source, torch.Tensor | np.ndarray):
        source = {x: source}
    elif isinstance(source, tuple) and len(source) == 2:
        source = {x: source[0], label: source[1]}
    if hasattr(source, "__len__") and not len(source):
        raise InputError(f"{name}: expected at least one example, got none")
    row = None if isinstance(source, Mapping | TensorExamples) else _first_row(source)
    if isinstance(row, tuple | list):
        source = _Rows(source, (x, label) if labelled else (x,))
    examples: Examples = source if isinstance(source, _Rows) else as_examples(source)
    if not len(examples):
        raise InputError(f"{name}: expected at least one example, got none")
    columns = examples[[0]]
    for column in (x, label) if labelled else (x,):
        if column not in columns:
            known = ", ".join(columns)
            raise InputError(f"{name}: expected a column {column!r}, got the columns {known}")
    return examples


def _first_row(source: Any) -> Any:
    """The first row of a torch ``Dataset``; None for other sources."""
    return source[0] if isinstance(source, torch.utils.data.Dataset) else None


class JoinedExamples:
    """Two sources of examples, one behind the other.

    Args:
        first: examples of the positions from 0.
        second: those that follow.
        columns: names of the columns to give, numbers in both sources.

    >>> joined = JoinedExamples(TensorExamples(x=[1, 2]), TensorExamples(x=[3]), ("x",))
    >>> joined[[2, 0]]["x"]
    tensor([3, 1])
    """

    def __init__(self, first: Examples, second: Examples, columns: tuple[str, ...]) -> None:
        self.sources, self.columns = (first, second), columns

    def __len__(self) -> int:
        return len(self.sources[0]) + len(self.sources[1])

    def __getitem__(self, index: list[int]) -> dict[str, torch.Tensor]:
        """The columns of the examples at some positions."""
        rows, start = np.asarray(index, dtype=np.int64), len(self.sources[0])
        places = (rows < start, rows >= start)
        parts = [
            collate(source[(rows[where] - offset).tolist()])
            for source, where, offset in zip(self.sources, places, (0, start), strict=True)
            if where.any()
        ]
        back = torch.from_numpy(np.argsort(np.concatenate([np.flatnonzero(w) for w in places])))
        return {name: torch.cat([part[name] for part in parts])[back] for name in self.columns}


class PairedBatches:
    """Batches of as many examples of a first set as of a second, which follows it in the data.

    Guarantee: each example of the smaller set exactly once an epoch, and as many of the larger
    set, without repetition inside an epoch. First and second alternate within a batch.

    Args:
        first: size of the first set.
        second: size of the second set.
        pairs: of examples in a batch.
        repeats: batches in a row that are the same.
        seed: what the draws depend on, with the epoch.

    >>> PairedBatches(2, 3, pairs=2).batch(0, 0, 0.0) < 2
    array([ True, False,  True, False])
    """

    def __init__(
        self, first: int, second: int, pairs: int, *, repeats: int = 1, seed: int = 0
    ) -> None:
        for name, value in {
            "first": first, "second": second, "pairs": pairs, "repeats": repeats,
        }.items():  # fmt: skip
            check_range(name, value, 1)
        self.sizes, self.pairs, self.repeats, self.seed = (first, second), pairs, repeats, seed
        self._epoch, self._order = -1, np.empty((0, 2), dtype=np.int64)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self.repeats * -(-min(self.sizes) // self.pairs)

    def batch(self, epoch: int, position: int, progress: float) -> Index:
        """Positions of the examples in one batch."""
        if epoch != self._epoch:
            generator = numpy_generator(self.seed, "pairs", epoch)
            first, second = (generator.permutation(size) for size in self.sizes)
            count = min(self.sizes)
            self._order = np.stack([first[:count], self.sizes[0] + second[:count]], axis=1)
            self._epoch = epoch
        start = position // self.repeats * self.pairs
        return self._order[start : start + self.pairs].ravel()


class ConsecutivePasses:
    """A pass over a first set, then one over a second, which follows it in the data.

    Guarantee: each example of both sets exactly once an epoch.

    Args:
        first: size of the first set.
        second: size of the second set.
        batch_size: examples in a batch, all of one set.
        skip_first: leave the pass over the first set out.
        seed: what the permutations depend on, with the epoch.

    >>> plan = ConsecutivePasses(2, 3, batch_size=2)
    >>> [bool((plan.batch(0, place, 0.0) < 2).all()) for place in range(len(plan))]
    [True, False, False]
    """

    def __init__(
        self, first: int, second: int, batch_size: int, *, skip_first: bool = False, seed: int = 0
    ) -> None:
        self.first = ShuffledBatches(first, batch_size, seed=derive_seed(seed, "first"))
        self.second = ShuffledBatches(second, batch_size, seed=derive_seed(seed, "second"))
        self.skipped = len(self.first) if skip_first else 0

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.first) + len(self.second) - self.skipped

    def batch(self, epoch: int, position: int, progress: float) -> Index:
        """Positions of the examples in one batch."""
        place = position + self.skipped
        if place < len(self.first):
            return self.first.batch(epoch, place, progress)
        rest = self.second.batch(epoch, place - len(self.first), progress)
        return self.first.num_examples + rest


class EvaluationMode(Callback):
    """Train in evaluation mode: batch normalization keeps its statistics, nothing is dropped.

    What is forgotten must not come back through a running mean, and small batches of one kind
    must not replace what all data have made of it.
    """

    def fit_start(self, state: State) -> None:
        """Leave training mode."""
        for model in state.models.values():
            model.eval()
