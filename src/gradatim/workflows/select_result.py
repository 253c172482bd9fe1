"""What a selection gives: rows with reasons, strata, notes; to save and report."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gradatim.core.io.tables import write_table
from gradatim.workflows.saving import Reportable

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class SelectResult(Reportable):
    """What a selection gives.

    Attributes:
        rows: the chosen rows with all columns of the pool, and behind them ``pool_row`` (position
            in the pool), ``stratum`` (if there are strata), ``probability`` (with which the row
            was in the choice; 1 where nothing was drawn) or ``target`` and ``expected_trials``
            (for a budget of responses), and ``reason``. A name that the pool has already gets a
            number.
        strata: a row a stratum: what it is made of (told), rows of the pool, rows chosen (or
            responses), their shares, mean difficulty of the chosen.
        method: how was chosen.
        budget: how much was asked for.
        unit: "rows" or "responses".
        by: the column with the difficulty, or None.
        size: rows of the pool.
        positions: ``pool_row`` as an array.
        notes: what a reader should know.
        source: what was read.
        is_file: whether that is a file, which is never overwritten.
    """

    rows: "pd.DataFrame"
    strata: "pd.DataFrame"
    method: str
    budget: int
    unit: str
    by: str | None
    size: int
    positions: NDArray[np.int64]
    notes: tuple[str, ...]
    source: str
    is_file: bool = False

    def sentence(self) -> str:
        """What was done, in one sentence."""
        by = f" by {self.by}" if self.by is not None else ""
        if self.unit == "responses":
            return (
                f"{self.budget:,} responses shared out over {self.size:,} rows{by} ({self.method})"
            )
        return f"{len(self.rows):,} of {self.size:,} rows chosen{by} ({self.method})"

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the chosen rows to a Parquet, CSV or JSON Lines file, by its ending.

        Raises:
            InputError: a file stands there and may not be replaced, is the pool, or its format
                cannot hold a column.
            StorageError: it cannot be written.
        """
        return write_table(self.rows, path, overwrite=overwrite, inputs=self._inputs())

    def _page(self) -> str:
        from gradatim.workflows.select_report import render_page

        return render_page(self)

    def _inputs(self) -> list[str]:
        return [self.source] if self.is_file else []

    def _overview(self) -> str:
        from gradatim.workflows.select_report import render_tables

        return render_tables(self)
