"""State that is kept for every example: a dense array over positions, one row an example."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, distributed

from gradatim.core.cache import content_hash
from gradatim.core.checks import check_range
from gradatim.core.errors import InputError


class ExampleMemory:
    """A row of numbers for every example, read and written by dense position.

    The memory never takes part in autograd. An index is expected at most once in a batch; on the
    CPU the last of equal ones wins. An index out of range raises torch's own ``IndexError`` on
    the CPU. Rows are kept in ``dtype`` and returned in it.

    Under several processes each rank writes its own examples, and :meth:`synchronize` brings all
    ranks to one state.

    Args:
        num_examples: how many examples there are.
        shape: shape of one example's row; ``()`` for one number.
        dtype: what the rows are kept in.
        fill: what every row holds at first.
        device: where the rows are kept; batches may live elsewhere.
        ids: one name an example, all different, for :meth:`position`.

    Raises:
        InputError: a negative size, or ids of another number or not all different.

    >>> memory = ExampleMemory(3, (2,))
    >>> memory.average(torch.tensor([2]), torch.tensor([[1.0, 3.0]]), momentum=0.5)
    tensor([[0.5000, 1.5000]])
    >>> memory.values.tolist(), memory.count.tolist()
    ([[0.0, 0.0], [0.0, 0.0], [0.5, 1.5]], [0, 0, 1])
    """

    def __init__(
        self,
        num_examples: int,
        shape: tuple[int, ...] = (),
        *,
        dtype: torch.dtype = torch.float32,
        fill: float = 0.0,
        device: torch.device | str = "cpu",
        ids: Sequence[str] | None = None,
    ) -> None:
        if min(num_examples, *shape, 0) < 0:
            raise InputError(f"expected sizes of at least 0, got {num_examples} of shape {shape}")
        self._values = torch.full((num_examples, *shape), fill, dtype=dtype, device=device)
        self._count = torch.zeros(num_examples, dtype=torch.int64, device=device)
        self._one = torch.ones((), dtype=torch.int64, device=device)
        self._unshared: Tensor | None = None  # writes since the last call of synchronize
        self._positions: dict[str, int] | None = None
        self._ids_hash = ""
        if ids is not None:
            self._positions = {name: i for i, name in enumerate(ids)}
            if not len(self._positions) == len(ids) == num_examples:
                raise InputError(
                    f"ids: expected {num_examples} different names, "
                    f"got {len(ids)}, of which {len(self._positions)} are different"
                )
            self._ids_hash = content_hash(ids)

    @property
    def values(self) -> Tensor:
        """[num_examples, *shape] All rows: the memory itself, not a copy."""
        return self._values

    @property
    def count(self) -> Tensor:
        """[num_examples] How often each example was written, int64: the memory's own tensor."""
        return self._count

    def __len__(self) -> int:
        return len(self._values)

    def position(self, name: str) -> int:
        """Dense position of the example with an id.

        Raises:
            InputError: no example has this id, or the memory was made without ids.
        """
        if self._positions is None:
            raise InputError("ids: this memory was made without ids")
        if name not in self._positions:
            raise InputError(f"id: expected one of the {len(self)} known ids, got {name!r}")
        return self._positions[name]

    def get(self, index: Tensor) -> Tensor:
        """Read rows.

        Args:
            index: [B] integer positions.

        Returns:
            [B, *shape] A copy of the rows, on the index's device.

        Raises:
            InputError: the index is not one-dimensional or not of an integer type.
        """
        return self._values.index_select(0, self._check_index(index)).to(index.device)

    def set(self, index: Tensor, values: Tensor) -> None:
        """Write rows.

        Args:
            index: [B] integer positions.
            values: [B, *shape] the new rows; they are detached.

        Raises:
            InputError: an index as in :meth:`get`, or values of another shape.
        """
        index = self._check_index(index)
        self._check_rows(index, values)
        self._write(index, values.detach().to(self._values.device, self._values.dtype))

    def average(self, index: Tensor, values: Tensor, momentum: float) -> Tensor:
        """Move rows towards values by an exponential moving average.

        ``row <- momentum * row + (1 - momentum) * value``, in the wider of both types.

        Args:
            index: [B] integer positions.
            values: [B, *shape] of floating point; they are detached.
            momentum: weight of the old row, in [0, 1].

        Returns:
            [B, *shape] A copy of the new rows, on the device of ``values``.

        Raises:
            InputError: an index as in :meth:`get`, values of another shape, a memory or values of
                integers, or momentum outside [0, 1].
        """
        check_range("momentum", momentum, 0.0, 1.0)
        place = self._check_index(index)
        self._check_rows(place, values)
        if not (self._values.is_floating_point() and values.is_floating_point()):
            raise InputError(
                "values: expected floating point to average, "
                f"got {values.dtype} for a memory of {self._values.dtype}"
            )
        old, new = self._values.index_select(0, place), values.detach().to(self._values.device)
        if old.dtype != new.dtype:
            wider = torch.promote_types(old.dtype, new.dtype)
            old, new = old.to(wider), new.to(wider)
        rows = torch.lerp(new, old, momentum).to(self._values.dtype)
        self._write(place, rows)
        return rows.to(values.device)

    def synchronize(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Bring the memories of all processes to one state; every rank calls it.

        Rows written since the last call are exchanged. If several ranks wrote one example, the
        highest rank's row is kept; counts are summed. Without ``torch.distributed``, or in a
        single process, there is nothing to do.

        Args:
            gather: concatenates a tensor over the ranks in rank order along the first dimension,
                whose size may differ between ranks.
        """
        if not _is_distributed():
            return
        device, size = self._values.device, len(self)
        mine = self._unshared if self._unshared is not None else torch.zeros_like(self._count)
        own = mine.nonzero().squeeze(1)
        index = gather(own).to(device)
        rows = gather(self._values.index_select(0, own)).to(device)
        writes = gather(mine.index_select(0, own)).to(device)
        order = torch.arange(len(index), device=device)
        # the last of equal indices, on every device alike
        last = order.new_full((size,), -1).scatter_reduce_(0, index, order, "amax")
        kept = last[last >= 0]
        self._values.index_copy_(0, index[kept], rows[kept])
        self._count.sub_(mine).index_add_(0, index, writes)
        self._unshared = None

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors (the memory's own, as in torch; clone them to keep a moment's).

        Raises:
            InputError: there are writes that :meth:`synchronize` has not yet shared.
        """
        if self._unshared is not None:
            raise InputError("memory: expected synchronize() before state_dict()")
        return {"values": self._values, "count": self._count, "ids": self._ids_hash}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the state of another memory of the same examples.

        Args:
            state: what :meth:`state_dict` returned.

        Raises:
            InputError: the state is of another size, shape, type, or other ids.
        """
        if missing := {"values", "count", "ids"} - set(state):
            raise InputError(f"memory: expected a state with {', '.join(sorted(missing))}")
        values, count = state["values"], state["count"]
        here = f"{list(self._values.shape)} of {self._values.dtype}"
        there = f"{list(values.shape)} of {values.dtype}"
        if here != there or count.shape != self._count.shape:
            raise InputError(f"memory: expected a state of shape {here}, got {there}")
        if self._ids_hash and state["ids"] and self._ids_hash != state["ids"]:
            raise InputError("memory: expected a state of the same ids in the same order")
        self._values.copy_(values.detach())
        self._count.copy_(count)
        self._unshared = None

    def _check_index(self, index: Tensor) -> Tensor:
        """Return the index as int64 on the memory's device; its range is left to torch."""
        kind = index.dtype
        if index.ndim != 1 or kind.is_floating_point or kind.is_complex or kind == torch.bool:
            raise InputError(
                f"index: expected integers of shape [B], got {kind} of shape {list(index.shape)}"
            )
        return index.to(self._values.device, torch.int64)

    def _check_rows(self, index: Tensor, values: Tensor) -> None:
        if values.shape != (len(index), *self._values.shape[1:]):
            expected = [len(index), *self._values.shape[1:]]
            raise InputError(
                f"values: expected shape {expected} as the index and the memory have, "
                f"got {list(values.shape)}"
            )

    def _write(self, index: Tensor, rows: Tensor) -> None:
        self._values.index_copy_(0, index, rows)
        ones = self._one.expand(len(index))
        self._count.index_add_(0, index, ones)
        if _is_distributed():
            if self._unshared is None:
                self._unshared = torch.zeros_like(self._count)
            self._unshared.index_add_(0, index, ones)


def _is_distributed() -> bool:
    return (
        distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
    )
