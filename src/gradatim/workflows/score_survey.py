"""A first look at a data set, before anything costs: is it sound, and how much is there?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gradatim.core.io.columns import is_number, is_text, show
from gradatim.workflows.level_column import parse_levels
from gradatim.workflows.score_blocks import TableReader
from gradatim.workflows.score_inputs import Layout, ScoreColumns
from gradatim.workflows.score_texts import TextRow, text_rows

MOST_CLASSES = 1000
FEWEST_ROWS = 10
_BLOCK = 4096
_SAMPLED = 64


@dataclass(frozen=True)
class Survey:
    """What there is.

    Attributes:
        rows: how many.
        characters: of all texts, rejected ones included.
        sample: some rows, spread over the first ones.
    """

    rows: int
    characters: int
    sample: tuple[TextRow, ...]


def survey_rows(
    reader: TableReader, layout: Layout, columns: ScoreColumns, *, text: bool
) -> Survey:
    """Go through all rows once: check the texts and levels, and count.

    Args:
        reader: the data.
        layout: where text stands.
        columns: which columns were named.
        text: whether texts are needed.

    Raises:
        InputError: a text or a level that cannot be read (the row is named).
    """
    wanted = [*(layout.columns if text else ()), *([columns.level] if columns.level else ())]
    if not wanted and reader.count is not None:
        return Survey(reader.count, 0, ())
    rows, characters = 0, 0
    sample: list[TextRow] = []
    for part in reader.blocks(_BLOCK, select=wanted or reader.columns[:1]):

        def place(row: int, offset: int = rows) -> str:
            return reader.place(offset, row)

        if columns.level:
            parse_levels(part[columns.level], columns.level, place)
        if text:
            for row in text_rows(layout, part, place):
                characters += row.size + sum(len(said) for _, said in row.rejected or ())
                if len(sample) < _SAMPLED:
                    sample.append(row)
        rows += part.num_rows
    return Survey(rows, characters, tuple(sample))


def survey_labels(reader: TableReader, columns: ScoreColumns) -> tuple[str | None, int]:
    """Whether models of classes can be trained on a table.

    Args:
        reader: the data.
        columns: which columns were named.

    Returns:
        Why not, or None if they can; and how many rows there are, as far as they were counted.
    """
    if columns.label is None:
        return "needs labels; name their column with label (--label)", 0
    if not _has_inputs(reader.head, columns):
        told = "needs columns of numbers, categories or text that the label can be predicted from"
        return told, 0
    counts: dict[Any, int] = {}
    rows = 0
    for part in reader.blocks(_BLOCK, select=[columns.label]):
        for entry in part[columns.label].value_counts().to_pylist():
            counts[entry["values"]] = counts.get(entry["values"], 0) + entry["counts"]
        rows += part.num_rows
        if len(counts) > MOST_CLASSES and columns.options is None:
            told = f"needs classes as labels, of which there are at most {MOST_CLASSES:,}, got more"
            return told, rows
    return _label_fault(counts, rows, columns), rows


def _label_fault(counts: dict[Any, int], rows: int, columns: ScoreColumns) -> str | None:
    if None in counts:
        return f"needs a label in every row, but {counts[None]:,} have none"
    if rows < FEWEST_ROWS:
        return f"needs at least {FEWEST_ROWS} rows, got {rows}"
    if columns.options is not None:
        return None
    once = [label for label, number in counts.items() if number == 1]
    if once:
        told = f"{len(once):,} occur once, as {show(once[0])}"
        return f"needs labels that occur at least twice each, but {told}"
    if len(counts) < 2:
        return f"needs at least two classes, got {show(next(iter(counts)))} in every row"
    return None


def _has_inputs(head: pa.Table, columns: ScoreColumns) -> bool:
    names: Sequence[str] = columns.inputs or [
        name for name in head.column_names if name not in columns.special
    ]
    kinds = [head[name].type for name in names]
    return columns.options is not None or any(
        is_number(kind) or is_text(kind) or pa.types.is_boolean(kind) for kind in kinds
    )
