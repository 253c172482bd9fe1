"""Running means of what training reports, without waiting for the device at every step."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from gradatim.core.errors import GradatimError

Row = dict[str, float]


class NonFiniteLossError(GradatimError, ArithmeticError):
    """The loss became NaN or infinite; the last checkpoint is from before that."""


class History:
    """Rows of averaged figures, and the sums of the row that is being filled.

    ``rows`` is a list of dictionaries with ``step``, ``epoch``, ``loss`` and whatever the step
    logs and the evaluation returns; ``pandas.DataFrame(history.rows)`` makes a table of it.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._sums: dict[str, list[Any]] = {}

    def add(self, name: str, total: Any, count: Any) -> None:
        """Add to the sum and count of a figure."""
        pair = self._sums.get(name)
        if pair is None:
            self._sums[name] = [total, count]
        else:
            pair[0] = pair[0] + total
            pair[1] = pair[1] + count

    def close_row(
        self,
        step: int,
        epoch: int,
        metrics: Mapping[str, float],
        add_up: Callable[[torch.Tensor], torch.Tensor],
    ) -> Row:
        """Average the sums over processes, add the metrics, and start a new row.

        Args:
            step: updates done.
            epoch: current epoch.
            metrics: results of an evaluation.
            add_up: sums a tensor over processes.

        Raises:
            NonFiniteLossError: the loss is not finite.
        """
        means = {}
        if self._sums:
            pairs = [[float(total), float(count)] for total, count in self._sums.values()]
            totals = add_up(torch.tensor(pairs, dtype=torch.float64)).tolist()
            means = {
                name: total / count if count else math.nan
                for name, (total, count) in zip(self._sums, totals, strict=True)
            }
            _check_loss(dict(zip(self._sums, totals, strict=True)).get("loss", [0.0])[0], step)
        row = {"step": step, "epoch": epoch, **means, **metrics}
        self.rows.append(row)
        self._sums = {}
        return row

    def check_finite(self, step: int, add_up: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Raise if the running sum of losses, over all processes, is not finite."""
        if "loss" in self._sums:
            total = torch.tensor([float(self._sums["loss"][0])], dtype=torch.float64)
            _check_loss(float(add_up(total)), step)

    def state_dict(self) -> dict[str, Any]:
        """All rows and the sums of the open one."""
        return {"rows": self.rows, "sums": self._sums}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Take up a saved history."""
        self.rows = [dict(row) for row in state["rows"]]
        self._sums = {
            name: [_on(total, device), _on(count, device)]
            for name, (total, count) in state["sums"].items()
        }


def _check_loss(value: float, step: int) -> None:
    if not math.isfinite(value):
        raise NonFiniteLossError(f"loss: became {value} at or before step {step}")


def _on(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, torch.Tensor) else value
