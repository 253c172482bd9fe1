"""From positions to batches on the device, for this process's share of each global batch."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from gradatim.core.errors import InputError
from gradatim.core.examples import collate
from gradatim.training.batches import Batches, Index

Batch = dict[str, Any]
Collate = Callable[[Mapping[str, Any]], Batch]


class Loader:
    """Yields (positions, batch) from any place of an epoch on.

    Args:
        examples: anything with ``len`` and ``examples[list of positions] -> columns``.
        batches: the plan of global batches.
        collate: columns to tensors; None for :func:`gradatim.core.examples.collate`.
        workers: processes that prefetch; 0 to fetch in this one.
        rank: which share of each batch is this process's.
        world: how many processes share each batch.
        device: where tensors go.
    """

    def __init__(
        self,
        examples: Any,
        batches: Batches,
        *,
        collate: Collate | None,
        workers: int,
        rank: int,
        world: int,
        device: torch.device,
    ) -> None:
        self.examples, self.batches, self.workers = examples, batches, workers
        self.rank, self.world, self.device = rank, world, device
        self.collate = collate or _collate_if_needed

    def epoch(
        self, epoch: int, start: int, progress: Callable[[int, int], float]
    ) -> Iterator[tuple[torch.Tensor, Batch]]:
        """Batches of an epoch from position ``start`` on.

        Args:
            epoch: from 0.
            start: position of the first batch wanted.
            progress: (epoch, position) to the share of updates done before that batch.
        """
        shares = (
            self._share(self.batches.batch(epoch, position, progress(epoch, position)), position)
            for position in range(start, len(self.batches))
        )
        if self.workers:
            yield from self._prefetched(shares)
            return
        move = self.device.type != "cpu"
        for index in shares:
            positions = torch.from_numpy(index)
            batch = self.collate(self.examples[index.tolist()])
            yield (
                (positions.to(self.device), _to(batch, self.device)) if move else (positions, batch)
            )

    def _prefetched(self, shares: Iterator[Index]) -> Iterator[tuple[torch.Tensor, Batch]]:
        """The same through a ``DataLoader`` with worker processes."""
        loader = torch.utils.data.DataLoader(
            _Fetching(self.examples, self.collate),
            batch_sampler=(index.tolist() for index in shares),
            num_workers=self.workers,
            collate_fn=_as_is,
            pin_memory=self.device.type == "cuda",
            # the base seed of workers is otherwise drawn from the global generator, which would
            # make resumed runs differ from uninterrupted ones
            generator=torch.Generator(),
        )
        for positions, batch in loader:
            yield positions.to(self.device, non_blocking=True), _to(batch, self.device)

    def _share(self, index: Index, position: int) -> Index:
        """This process's share of a global batch."""
        if self.world == 1:
            return np.ascontiguousarray(index)
        if len(index) < self.world:
            raise InputError(
                f"batch {position} has {len(index)} examples, fewer than the {self.world} "
                f"processes; choose remainder='merge' or 'drop', or a larger batch_size"
            )
        return np.ascontiguousarray(np.array_split(index, self.world)[self.rank])


class _Fetching(torch.utils.data.Dataset[Any]):
    """Lets a ``DataLoader`` fetch a whole batch at once and keep its positions."""

    def __init__(self, examples: Any, collate: Collate) -> None:
        self.examples, self.collate = examples, collate

    def __len__(self) -> int:
        return len(self.examples)

    def __getitems__(self, positions: list[int]) -> tuple[torch.Tensor, Batch]:
        return torch.tensor(positions), self.collate(self.examples[positions])


def _as_is(batch: Any) -> Any:
    return batch


def _collate_if_needed(columns: Mapping[str, Any]) -> Batch:
    """Collate unless every column is a tensor already."""
    if all(isinstance(column, torch.Tensor) for column in columns.values()):
        return dict(columns)
    return dict(collate(columns))


def _to(value: Any, device: torch.device) -> Any:
    """Move tensors in nested dictionaries and lists to a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {key: _to(item, device) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_to(item, device) for item in value)
    return value
