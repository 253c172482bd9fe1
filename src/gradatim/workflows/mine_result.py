"""What mining gives: rows to train on, weights beside them, counts; to save and report."""

import os
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gradatim.core.files import check_writable
from gradatim.core.io.table_files import file_format
from gradatim.core.io.tables import write_table
from gradatim.core.side_table import SideTable, content_ids
from gradatim.workflows.mine_formats import Mined
from gradatim.workflows.saving import Reportable

if TYPE_CHECKING:
    import datasets
    import pandas as pd
    from matplotlib.figure import Figure

SIDE_ENDING = ".side.parquet"


@dataclass(frozen=True)
class MineCounts:
    """How much there was, and how much came out.

    Attributes:
        queries: different queries.
        documents: different documents.
        positives: different pairs of both.
        negatives: negatives that were chosen.
        rows: rows of the output.
        lost_rows: rows it would have more if no query were short of negatives.
        candidates: documents looked at for each query.
    """

    queries: int
    documents: int
    positives: int
    negatives: int
    rows: int
    lost_rows: int
    candidates: int

    def record(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)


@dataclass(frozen=True)
class MineResult(Reportable):
    """What mining gives.

    Attributes:
        table: rows as a sentence-transformers trainer takes them.
        beside: values for each row: ``difficulty`` (score of the hardest negative less that of the
            positive), and, where they were estimated, ``false_negative`` (probability, a column a
            negative in n-tuples) and ``weight`` (one minus that, its mean in n-tuples).
        output_format: of the rows.
        scores: mean, spread and quantiles of the scores.
        skipped: a row a reason why candidates were passed over.
        short: queries with fewer negatives than wanted, and why (the first 1,000).
        sample: some queries with their positives and negatives.
        counts: how much there was.
        mined: negatives as positions of different documents and queries.
        ranks: of the negatives among the candidates that passed the tests, [Q, n].
        notes: what a reader should know.
        recall: of the approximate search, None for an exact one.
        seconds: how long all took.
        source: what was read.
        files: files that were read, which are never overwritten.
    """

    table: pa.Table
    beside: dict[str, NDArray[Any]]
    output_format: str
    scores: "pd.DataFrame"
    skipped: "pd.DataFrame"
    short: "pd.DataFrame"
    sample: "pd.DataFrame"
    counts: MineCounts
    mined: Mined
    ranks: NDArray[np.int32]
    notes: tuple[str, ...]
    recall: float | None
    seconds: float
    source: str
    files: tuple[str, ...] = ()

    @cached_property
    def side(self) -> SideTable:
        """The values beside the rows, by the content id of each row."""
        return SideTable(content_ids(self.table), self.beside)

    @property
    def rows(self) -> "pd.DataFrame":
        """The rows as a data frame."""
        frame: pd.DataFrame = self.table.to_pandas()
        return frame

    def dataset(self) -> "datasets.Dataset":
        """The rows as ``datasets.Dataset``, ready for a trainer."""
        import datasets

        return datasets.Dataset(self.table)

    def sentence(self) -> str:
        """What was done, in one sentence."""
        counts = self.counts
        return (
            f"{counts.negatives:,} negatives for {counts.queries:,} queries from "
            f"{counts.documents:,} documents ({counts.rows:,} rows, {self.output_format})"
        )

    def figure(self) -> "Figure":
        """Draw the scores of positives and negatives, and the doubts by rank."""
        from gradatim.workflows.mine_figure import draw_scores

        return draw_scores(self.mined, self.ranks)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the rows to a Parquet, CSV or JSON Lines file, and the side table beside it.

        The side table of ``mined.parquet`` is ``mined.side.parquet``.

        Raises:
            InputError: a file stands there and may not be replaced, is an input, or its format
                cannot hold a column.
            StorageError: it cannot be written.
        """
        check_save(path, overwrite=overwrite, inputs=self.files)
        written = write_table(self.table, path, overwrite=overwrite, inputs=self.files)
        self.side.save(side_path(path), overwrite=overwrite, inputs=self.files)
        return written

    def _page(self) -> str:
        from gradatim.workflows.mine_report import render_page

        return render_page(self)

    def _inputs(self) -> tuple[str, ...]:
        return self.files

    def _overview(self) -> str:
        from gradatim.workflows.mine_report import render_tables

        return render_tables(self)


def side_path(path: str | os.PathLike[str]) -> Path:
    """Where the side table of an output stands.

    >>> side_path("mined.jsonl.gz").name
    'mined.side.parquet'
    """
    target = Path(path)
    return target.with_name(target.name.split(".")[0] + SIDE_ENDING)


def check_save(path: str | os.PathLike[str], *, overwrite: bool = False, inputs: Any = ()) -> None:
    """Check before long work that :meth:`MineResult.save` may write a file and its side table.

    Raises:
        InputError: one is there and may not be replaced, is an input, or is of no known format.
    """
    file_format(Path(path))
    for one in (Path(path), side_path(path)):
        check_writable(one, overwrite=overwrite, inputs=inputs)
