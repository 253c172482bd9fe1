"""The positions of a batch's examples, carried by the adapter's own collator.

No column is added to the data: a trainer would strip it, or tokenize it.
"""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import torch

from gradatim.core.errors import InputError

KEY = "example_index"


class PositionedDataset(torch.utils.data.Dataset[tuple[int, Any]]):
    """A dataset whose items come with their positions.

    >>> PositionedDataset(["a", "b"]).__getitems__([1, 0])
    [(1, 'b'), (0, 'a')]
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, position: int) -> tuple[int, Any]:
        return position, self.dataset[position]

    def __getitems__(self, positions: list[int]) -> list[tuple[int, Any]]:
        """Several items at once, as the dataset itself gives them if it can."""
        fetch = getattr(self.dataset, "__getitems__", None)
        items = fetch(positions) if fetch else [self.dataset[i] for i in positions]
        return list(zip(positions, items, strict=True))


class PositionCollator:
    """Collates items as another collator does, and adds their positions to the batch.

    A batch that is a dictionary gets a tensor, each item of a list of dictionaries (GRPO) its own
    number; other batches come as they are.

    >>> PositionCollator(lambda items: {"x": items})([(7, "a"), (3, "b")])
    {'x': ['a', 'b'], 'example_index': tensor([7, 3])}
    """

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, pairs: Sequence[tuple[int, Any]]) -> Any:
        """The batch of some items and their positions."""
        positions = [position for position, _ in pairs]
        batch = self.collate([item for _, item in pairs])
        if isinstance(batch, MutableMapping):
            _check_free(batch)
            batch[KEY] = torch.tensor(positions)
        elif isinstance(batch, list) and all(isinstance(item, Mapping) for item in batch):
            _check_free(batch[0] if batch else {})
            return [
                {**item, KEY: position} for position, item in zip(positions, batch, strict=True)
            ]
        return batch


def take_positions(batch: Any) -> torch.Tensor | None:
    """Remove the positions from a batch and return them, shape [B]; None where there are none.

    >>> batch = [{"prompt": "a", "example_index": 4}]
    >>> take_positions(batch), batch
    (tensor([4]), [{'prompt': 'a'}])
    """
    if isinstance(batch, MutableMapping) and KEY in batch:
        return torch.as_tensor(batch.pop(KEY)).reshape(-1)
    if isinstance(batch, list) and batch and isinstance(batch[0], dict) and KEY in batch[0]:
        return torch.tensor([item.pop(KEY) for item in batch])
    return None


def _check_free(item: Mapping[str, Any]) -> None:
    if KEY in item:
        raise InputError(f"train_dataset: expected no column {KEY!r}, which the adapter adds")
