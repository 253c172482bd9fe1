"""What scoring gives: a side table of measures, what they look like, and how they agree."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gradatim.core.errors import InputError
from gradatim.core.files import check_output_folder, check_writable
from gradatim.core.io.table_files import file_format
from gradatim.core.side_table import SideTable
from gradatim.workflows.saving import Reportable, check_files

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TABLE_FILE, REPORT_FILE, FIGURE_FILE = "difficulty.parquet", "report.html", "score.png"


@dataclass(frozen=True)
class ScoreResult(Reportable):
    """How hard each row is. All measures are higher where a row is harder.

    Attributes:
        table: id, difficulty (the values of ``measure``), a column a measure, and ``name_std``
            with the uncertainty of those that have one; a row an example, in the data's order;
            NaN where a measure has no value.
        measure: the measure that ``difficulty`` is taken from.
        measures: a row a measure: its quantiles, meaning, and the seconds that its group took.
        deciles: examples from the easiest to the hardest of each measure.
        agreement: Spearman's rank correlation of each pair of measures; None unless compared.
        foretelling: how well each ranks failures that none has seen; None unless compared, or if
            nothing is known of failures.
        points: rows to draw measures against one another; None unless compared.
        failures: what these failures are, in words.
        costs: what was to be computed, as told beforehand.
        seconds: how long all took.
        notes: what was out of the ordinary.
        layout: where the text was found, in words.
        source: what was read.
        inputs: the files that were read, none of which is ever overwritten.
    """

    table: pa.Table
    measure: str
    measures: "pd.DataFrame"
    deciles: "pd.DataFrame"
    agreement: "pd.DataFrame | None"
    foretelling: "pd.DataFrame | None"
    points: "pd.DataFrame | None"
    failures: str | None
    costs: tuple[str, ...]
    seconds: float
    notes: tuple[str, ...]
    layout: str
    source: str
    inputs: tuple[str, ...] = ()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def names(self) -> list[str]:
        """The measures, in the order of their columns."""
        return [str(name) for name in self.measures["measure"]]

    @property
    def rows(self) -> "pd.DataFrame":
        """The table as a data frame."""
        frame: pd.DataFrame = self.table.to_pandas()
        return frame

    def values(self, name: str) -> NDArray[np.float64]:
        """One column, shape [N].

        Raises:
            InputError: there is none of this name.
        """
        if name not in self.table.column_names:
            from gradatim.core.io.columns import missing_column

            raise missing_column("scores", name, self.table.column_names)
        return np.asarray(self.table[name].to_numpy(), dtype=np.float64)

    def side_table(self) -> SideTable:
        """The scores keyed by id, to be joined to the examples."""
        columns: Mapping[str, Any] = {
            name: self.table[name].to_numpy() for name in self.table.column_names if name != "id"
        }
        return SideTable(self.table["id"], columns, allow_missing=True)

    def figure(self) -> "Figure":
        """Draw the histograms, and if measures were compared, how they agree."""
        from gradatim.workflows.score_figure import draw_scores

        return draw_scores(self)

    def save(self, out: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the side table to a file, or with report and picture into a folder.

        Args:
            out: a file (.parquet, .jsonl, .csv, .tsv), or a folder, which gets
                ``difficulty.parquet``, ``report.html`` and ``score.png``.
            overwrite: whether files that stand there may be replaced.

        Returns:
            The file or the folder.

        Raises:
            InputError: a file is there and may not be replaced, or is an input.
            StorageError: it cannot be written.
        """
        table = check_output(out, overwrite=overwrite, inputs=self.inputs)
        self.side_table().save(table, overwrite=overwrite, inputs=self.inputs)
        if is_file(out):
            return table
        folder = table.parent
        picture = folder / FIGURE_FILE
        self._save_picture(self.figure(), picture, overwrite=overwrite)
        self.report(folder / REPORT_FILE, overwrite=overwrite)
        return folder

    def _inputs(self) -> tuple[str, ...]:
        return self.inputs

    def _page(self) -> str:
        from gradatim.workflows.score_report import render_scores

        return render_scores(self)

    def _overview(self) -> str:
        from gradatim.workflows.score_report import render_overview

        return render_overview(self)


def is_file(out: str | os.PathLike[str]) -> bool:
    """Whether an output is meant as a file: it has the ending of a table, and is no folder.

    >>> is_file("scores.parquet"), is_file("scored")
    (True, False)
    """
    path = Path(out).expanduser()
    if path.is_dir():
        return False
    try:
        file_format(path)
    except InputError:
        if path.suffix in ("", ".d") or not path.suffix[1:].isalpha():
            return False
        raise
    return True


def check_output(
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    inputs: Iterable[str | os.PathLike[str]] = (),
) -> Path:
    """Check before long work that :meth:`ScoreResult.save` may write.

    Args:
        out: a file or a folder.
        overwrite: whether files that stand there may be replaced.
        inputs: files that are never replaced.

    Returns:
        Where the side table will stand.

    Raises:
        InputError: a file is there and may not be replaced, or is an input.
        StorageError: the folder cannot be written.
    """
    inputs = list(inputs)
    if not is_file(out):
        names = (TABLE_FILE, REPORT_FILE, FIGURE_FILE)
        folder = Path(out).expanduser()
        return check_files(folder, names, overwrite=overwrite, inputs=inputs) / TABLE_FILE
    path = Path(out).expanduser()
    check_output_folder(path.parent)
    check_writable(path, overwrite=overwrite, inputs=inputs)
    return path
