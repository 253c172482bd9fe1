"""What the measuring of a task gives: a sentence, tables, rows; to save, draw and report."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim.core.errors import InputError
from gradatim.core.side_table import SideTable
from gradatim.difficulty.task_difficulty import TaskDifficulty
from gradatim.workflows.saving import Reportable, check_files

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

REPORT_FILE, FIGURE_FILE, ROWS_FILE = "report.html", "task_difficulty.png", "difficulty.parquet"


@dataclass(frozen=True)
class TaskDifficultyResult(Reportable):
    """What the measuring of a task gives.

    Attributes:
        measured: both measures and all they rest on.
        rows: a row an example: id (of its content), row, label, difficulty (minus the distance to
            the nearest row of another class), enemy_distance, enemy_row, enemy_label,
            local_dimension; None for more than 20,000 rows.
        features: what distances are measured in, in words.
        costs: what was to be computed, as told beforehand.
        seconds: how long all took.
        notes: what makes the figures doubtful.
        source: what was read.
        is_file: whether that is a file, which is never overwritten.
    """

    measured: TaskDifficulty
    rows: "pd.DataFrame | None"
    features: str
    costs: tuple[str, ...]
    seconds: float
    notes: tuple[str, ...]
    source: str
    is_file: bool = False

    def sentence(self) -> str:
        """What was found, in words."""
        return self.measured.sentence()

    def table(self) -> "pd.DataFrame":
        """Dimension and bound by neighbours and sample; see :class:`TaskDifficulty`."""
        return self.measured.table()

    def curve(self) -> "pd.DataFrame":
        """Both measures by the error that is to be reached; see :class:`TaskDifficulty`."""
        return self.measured.curve()

    def figure(self) -> "Figure":
        """Draw dimension, bound and exact measure."""
        from gradatim.workflows.task_difficulty_figure import draw_task

        return draw_task(self)

    def side_table(self) -> SideTable:
        """The rows as a side table keyed by content id, to be joined to the examples.

        Raises:
            InputError: there were too many rows to tell of each.
        """
        if self.rows is None:
            raise InputError("rows: expected at most 20,000 rows, for each to be told of, got more")
        columns = {str(name): self.rows[name].to_numpy() for name in self.rows if name != "id"}
        return SideTable(self.rows["id"].to_list(), columns)

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write ``report.html``, ``task_difficulty.png`` and ``difficulty.parquet`` into a folder.

        Args:
            folder: where to; it is made.
            overwrite: whether files of these names that stand there may be replaced.

        Raises:
            InputError: one of them is there and may not be replaced, or is the input.
            StorageError: the folder cannot be written.
        """
        inputs = self._inputs()
        target = check_task_folder(folder, overwrite=overwrite, inputs=inputs)
        if self.rows is not None:
            self.side_table().save(target / ROWS_FILE, overwrite=overwrite, inputs=inputs)
        self._save_picture(self.figure(), target / FIGURE_FILE, overwrite=overwrite)
        self.report(target / REPORT_FILE, overwrite=overwrite)
        return target

    def _page(self) -> str:
        from gradatim.workflows.task_difficulty_report import render_task

        return render_task(self)

    def _inputs(self) -> list[str]:
        return [self.source] if self.is_file else []

    def _overview(self) -> str:
        from gradatim.workflows.task_difficulty_report import render_findings

        return render_findings(self)


def check_task_folder(
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    inputs: Iterable[str | os.PathLike[str]] = (),
) -> Path:
    """Check before long work that :meth:`TaskDifficultyResult.save` may write into a folder.

    Raises:
        InputError: one of its files is there and may not be replaced, or is the input.
        StorageError: the folder cannot be written.
    """
    names = (REPORT_FILE, FIGURE_FILE, ROWS_FILE)
    return check_files(folder, names, overwrite=overwrite, inputs=inputs)
