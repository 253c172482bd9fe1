"""The table that is profiled: read, checked, and brought into one form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gradatim.core.checks import check_finite
from gradatim.core.content_ids import content_ids
from gradatim.core.errors import InputError
from gradatim.core.io.columns import count, is_number, is_text, missing_column, show
from gradatim.core.io.table_sources import open_source
from gradatim.core.io.tables import read_table
from gradatim.workflows.level_column import parse_levels
from gradatim.workflows.profile_options import Question, answer_positions, parse_options

if TYPE_CHECKING:
    import pandas as pd

_CATEGORIES = 50  # text of more different values, or of several words, is read as text
_WORDS = 3.0
_ID_DIGITS = 32


@dataclass(frozen=True)
class ProfileColumns:
    """Which column holds what.

    Attributes:
        label: the class, or the right option.
        inputs: what predictions are made from; None takes all that are left.
        options: the list of options, if questions are multiple-choice.
        level: a level of difficulty that people gave.
    """

    label: str
    inputs: tuple[str, ...] | None = None
    options: str | None = None
    level: str | None = None

    @property
    def special(self) -> tuple[str, ...]:
        """The columns that are no inputs."""
        return tuple(name for name in (self.label, self.options, self.level) if name is not None)


@dataclass(frozen=True)
class ProfileTable:
    """Rows to be profiled, and after them those of the test file if there is one.

    Attributes:
        source: what the table was read from.
        frame: the inputs, one row an example.
        kinds: input column -> "number", "category" or "text".
        labels: class of each row as a number from 0; of a question, the position of the answer.
        classes: the labels as they stand in the table, by number.
        options: the options of each question, or None.
        level: the level of each row, or None.
        group: rows with equal inputs have equal numbers.
        trained: how many rows are the table's own; the others are the test file's.
        ids: a content id of each row.
        notes: what was left out or is out of the ordinary.
    """

    source: str
    frame: "pd.DataFrame"
    kinds: Mapping[str, str]
    labels: NDArray[np.int64]
    classes: tuple[Any, ...]
    options: tuple[tuple[str, ...], ...] | None
    level: NDArray[np.float64] | None
    group: NDArray[np.int64]
    trained: int
    ids: tuple[str, ...]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def names(self) -> list[str]:
        """Each row's label as text."""
        if self.options is not None:
            return [own[place] for own, place in zip(self.options, self.labels, strict=True)]
        return [str(self.classes[label]) for label in self.labels]

    @property
    def choices(self) -> NDArray[np.int64]:
        """How many classes, or options, each row has to choose from."""
        if self.options is not None:
            return np.array([len(own) for own in self.options])
        return np.full(len(self), len(self.classes))

    def texts(self) -> list[str] | None:
        """The text columns of each row as one text, or None if there is none."""
        names = [name for name, kind in self.kinds.items() if kind == "text"]
        if not names:
            return None
        if len(names) == 1:
            return list(self.frame[names[0]])
        return ["\n".join(row) for row in self.frame[names].itertuples(index=False)]


def load_table(
    source: Any, columns: ProfileColumns, test: Any = None, *, needs_inputs: bool = True
) -> ProfileTable:
    """Read the table, and the test file if there is one, and check both.

    Args:
        source: whatever :func:`~gradatim.core.io.tables.read_table` reads.
        columns: which column holds what.
        test: another source with the same columns.
        needs_inputs: whether there must be an input column.

    Raises:
        InputError: a missing column or label, a label that occurs once, a level that is no number,
            options without the answer, constant inputs, a test file with other columns.
    """
    tables, names = [_read(source, columns)], [open_source(source).name]
    if test is not None:
        try:
            tables.append(_read(test, columns))
        except InputError as error:
            raise InputError(f"test: {error}") from error
        names.append(f"test: {open_source(test).name}")
        _check_same_columns(tables, columns, names[1])
    notes: list[str] = []
    kinds = _kinds(tables[0], columns, names[0], notes, needs_inputs=needs_inputs)
    frame = _frame(tables, kinds, names)
    raw = [table[columns.label].to_pylist() for table in tables]
    options = None
    if columns.options is not None:
        questions = [
            parse_options(table[columns.options].to_pylist(), columns.options, name)
            for table, name in zip(tables, names, strict=True)
        ]
        options = tuple(own for part in questions for own in part)
        labels = _answers(raw, questions, columns, names)
        classes: tuple[Any, ...] = tuple(range(max(map(len, options))))
    else:
        labels, classes = _classes(raw, columns.label, names)
    group = _groups(frame, options, columns)
    trained = len(raw[0])
    notes += _duplicate_notes(group, labels, trained)
    return ProfileTable(
        source=names[0],
        frame=frame,
        kinds=kinds,
        labels=labels,
        classes=classes,
        options=options,
        level=_levels(tables, columns.level, names),
        group=group,
        trained=trained,
        ids=tuple(name for table in tables for name in content_ids(table)),
        notes=tuple(notes),
    )


def _read(source: Any, columns: ProfileColumns) -> pa.Table:
    there = open_source(source)
    declared = {columns.label: "label"}
    declared |= {name: "any" for name in (columns.inputs or ()) if name not in declared}
    if columns.options is not None:
        declared[columns.options] = "any"
    if columns.level is not None:
        declared[columns.level] = "any"
    if columns.label in (columns.inputs or ()):
        raise InputError(f"input: expected columns other than the label, got {columns.label!r}")
    table = read_table(source, declared)
    if len(table) < 2:
        raise InputError(f"{there.name}: expected at least 2 rows, got {len(table)}")
    return table


def _check_same_columns(tables: Sequence[pa.Table], columns: ProfileColumns, name: str) -> None:
    there = tables[1].column_names
    wanted = columns.inputs if columns.inputs is not None else tables[0].column_names
    for column in (*wanted, *columns.special):
        if column not in there:
            raise missing_column(name, column, there)
    for column in wanted:
        kinds = [_kind_of_type(table[column].type) for table in tables]
        if kinds[0] != kinds[1] and None not in kinds:
            raise InputError(
                f"{name}, column {column!r}: expected {kinds[0]} as in the table, got {kinds[1]}"
            )


def _kind_of_type(kind: pa.DataType) -> str | None:
    if is_number(kind):
        return "numbers"
    if is_text(kind):
        return "text"
    return "true/false" if pa.types.is_boolean(kind) else None


def _kinds(
    table: pa.Table,
    columns: ProfileColumns,
    name: str,
    notes: list[str],
    *,
    needs_inputs: bool,
) -> dict[str, str]:
    """What each input column is read as; those that cannot be used are left out, with a note."""
    chosen = columns.inputs
    names = chosen or [one for one in table.column_names if one not in columns.special]
    found: dict[str, str] = {}
    constant = []
    for one in names:
        kind = _kind_of_type(table[one].type)
        if kind is None:
            if chosen:
                raise InputError(
                    f"{name}, column {one!r}: expected numbers, true/false or text as input, got "
                    f"{table[one].type}"
                )
            notes.append(f"column {one!r} is left out: it holds {table[one].type}")
        elif len(table[one].unique()) < 2:
            if chosen:
                raise InputError(
                    f"{name}, column {one!r}: expected a feature that varies, got "
                    f"{show(table[one][0].as_py())} in every row"
                )
            constant.append(one)
        else:
            found[one] = {"numbers": "number", "true/false": "category"}.get(kind) or _text_kind(
                table[one]
            )
    notes += [_number_note(one, table[one]) for one in found if _nearly_numbers(table[one])]
    if constant:
        told = ", ".join(repr(one) for one in constant[:5])
        more = f" and {len(constant) - 5} more" if len(constant) > 5 else ""
        notes.append(f"constant features are left out: {told}{more}")
    if not found and needs_inputs:
        told = f"only constant ones ({', '.join(constant[:5])})" if constant else "none"
        raise InputError(f"{name}: expected input columns that vary, got {told}")
    return found


def _nearly_numbers(column: pa.ChunkedArray) -> bool:
    """Whether text is a number in nine of ten places where something stands."""
    if not is_text(column.type):
        return False
    told = [text for text in column.to_pylist() if text]
    return sum(_is_number(text) for text in told[:1000]) > 0.9 * len(told[:1000])


def _number_note(name: str, column: pa.ChunkedArray) -> str:
    texts = enumerate(column.to_pylist())
    odd = next((f"row {row} holds {show(one)}" for row, one in texts if not _is_number(one)), None)
    told = f", since {odd}" if odd else ""
    return f"column {name!r} holds numbers as text and is read as text{told}"


def _is_number(text: str | None) -> bool:
    try:
        return text is not None and bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _text_kind(column: pa.ChunkedArray) -> str:
    different = [text for text in column.unique().to_pylist() if text]
    words = float(np.mean([len(text.split()) for text in different])) if different else 0.0
    return "text" if len(different) > _CATEGORIES or words >= _WORDS else "category"


def _frame(
    tables: Sequence[pa.Table], kinds: Mapping[str, str], names: Sequence[str]
) -> "pd.DataFrame":
    """The inputs of all rows: numbers as float64, categories and text as text."""
    import pandas as pd

    parts: dict[str, Any] = {}
    for column, kind in kinds.items():
        values: list[Any] = []
        for table, name in zip(tables, names, strict=True):
            if kind == "number":
                numbers = np.array(
                    table[column].cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64
                )
                check_finite(
                    f"{name}, column {column!r}", np.where(np.isnan(numbers), 0.0, numbers)
                )
                values.append(numbers)
            else:
                fill = "" if kind == "text" else "(missing)"
                texts = [fill if one is None else str(one) for one in table[column].to_pylist()]
                values.append(np.array(texts, dtype=object))
        parts[column] = np.concatenate(values)
    return pd.DataFrame(parts, index=range(sum(len(table) for table in tables)))


def _classes(
    raw: Sequence[Sequence[Any]], label: str, names: Sequence[str]
) -> tuple[NDArray[np.int64], tuple[Any, ...]]:
    classes = sorted(set(raw[0]), key=lambda one: (isinstance(one, str), one))
    if len(classes) < 2:
        raise InputError(
            f"{names[0]}, column {label!r}: expected at least two classes, got {show(classes[0])} "
            "in every row"
        )
    place = {name: number for number, name in enumerate(classes)}
    counts = np.bincount([place[one] for one in raw[0]])
    once = np.flatnonzero(counts == 1)
    if len(once):
        lonely = classes[int(once[0])]
        more = f" (and {count(len(once) - 1, 'more label')})" if len(once) > 1 else ""
        raise InputError(
            f"{names[0]}, row {raw[0].index(lonely)}, column {label!r}: expected every label at "
            f"least twice, got {show(lonely)} once{more}"
        )
    for row, one in enumerate(raw[1] if len(raw) > 1 else ()):
        if one not in place:
            raise InputError(
                f"{names[1]}, row {row}, column {label!r}: expected a label of the table "
                f"({', '.join(map(str, classes[:5]))}{', ...' if len(classes) > 5 else ''}), "
                f"got {show(one)}"
            )
    return np.array([place[one] for part in raw for one in part], dtype=np.int64), tuple(classes)


def _answers(
    raw: Sequence[Sequence[Any]],
    questions: Sequence[Sequence[Question]],
    columns: ProfileColumns,
    names: Sequence[str],
) -> NDArray[np.int64]:
    return np.concatenate(
        [
            answer_positions(labels, own, columns.label, name)
            for labels, own, name in zip(raw, questions, names, strict=True)
        ]
    )


def _levels(
    tables: Sequence[pa.Table], level: str | None, names: Sequence[str]
) -> NDArray[np.float64] | None:
    if level is None:
        return None
    levels = np.concatenate(
        [
            parse_levels(table[level], level, partial("{}, row {}".format, name))
            for table, name in zip(tables, names, strict=True)
        ]
    )
    if len(np.unique(levels)) < 2:
        raise InputError(
            f"{names[0]}, column {level!r}: expected at least two levels, got {levels[0]:g} in "
            "every row"
        )
    return levels


def _groups(
    frame: "pd.DataFrame",
    options: tuple[tuple[str, ...], ...] | None,
    columns: ProfileColumns,
) -> NDArray[np.int64]:
    """A number for each row, the same for rows with equal inputs (and options)."""
    if not len(frame.columns) and options is None:
        return np.arange(len(frame))
    inputs: dict[str, Any] = {str(name): frame[name].to_numpy() for name in frame.columns}
    if options is not None and columns.options is not None:
        inputs[columns.options] = [list(own) for own in options]
    keys = [name[:_ID_DIGITS] for name in content_ids(inputs)]
    return np.unique(keys, return_inverse=True)[1].astype(np.int64)


def _duplicate_notes(
    group: NDArray[np.int64], labels: NDArray[np.int64], trained: int
) -> list[str]:
    own, mine = group[:trained], labels[:trained]
    copies = trained - len(np.unique(own))
    notes = []
    if copies:
        order = np.lexsort((mine, own))
        same = np.diff(own[order]) == 0
        disputed = len(np.unique(own[order][1:][same & (np.diff(mine[order]) != 0)]))
        told = f", {disputed} of them with contradicting labels" if disputed else ""
        notes.append(
            f"{count(copies, 'duplicated row')}{told}: copies stay together in every split, so "
            "that none is tested by a model that was trained on its twin"
        )
    shared = int(np.isin(group[trained:], own).sum())
    if shared:
        notes.append(
            f"{count(shared, 'test row')} also stand in the table and are left out of the tests"
        )
    return notes
