"""A long table of candidates as one padded pool: a row a problem, a place a candidate."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gradatim.core.errors import InputError
from gradatim.core.io.columns import show
from gradatim.core.io.table_sources import open_source
from gradatim.core.io.tables import read_table
from gradatim.evaluators.answers import AnswerVerifier, extract_answer
from gradatim.evaluators.voting import PADDING

if TYPE_CHECKING:
    import pandas as pd

_BOOLEANS = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}


@dataclass(frozen=True)
class CandidateColumns:
    """Which columns of a table hold what; None and () for what it does not hold."""

    problem: str
    answer: str
    scores: tuple[str, ...] = ()
    level: str | None = None
    correct: str | None = None
    reference: str | None = None


@dataclass(frozen=True)
class CandidatePool:
    """All candidates of all problems, P of them with at most N candidates each.

    Attributes:
        source: what messages call the table.
        problems: each problem's name, in the order in which they occur first.
        rows: the row of the table, shape [P, N]; -1 where there is no candidate.
        codes: equal answers to a problem have equal codes, shape [P, N]; -1 unparsable, -2 none.
        scores: column -> scores, shape [P, N], 0 where there is no candidate.
        levels: each problem's level, or None.
        correct: whether each candidate is right, shape [P, N], or None if that is not known.
        answers: the answer in each row of the table, None if unparsable.
        given: what stood in each row of the answer column.
    """

    source: str
    problems: list[Any]
    rows: NDArray[np.int64]
    codes: NDArray[np.int64]
    scores: Mapping[str, NDArray[np.float64]]
    levels: list[Any] | None
    correct: NDArray[np.bool_] | None
    answers: list[str | None]
    given: list[Any]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """How many candidates each problem has, shape [P]."""
        return np.asarray((self.rows >= 0).sum(axis=1))


def column_names(source: Any) -> list[str]:
    """The columns of a table, without reading more of it than that needs."""
    if not isinstance(source, str | os.PathLike):
        for names in ("column_names", "columns", "keys"):
            found = getattr(source, names, None)
            if found is not None:
                return [str(name) for name in (found() if callable(found) else found)]
    part = next(open_source(source).parts(rows=1), None)
    return [] if part is None else list(part.table.column_names)


def load_pool(
    source: Any,
    columns: CandidateColumns,
    verifier: AnswerVerifier,
    *,
    extract: bool = False,
    last_number: bool = False,
) -> CandidatePool:
    """Read and check a long table of candidates, and group its answers.

    Args:
        source: whatever :func:`~gradatim.core.io.tables.read_table` reads.
        columns: which columns hold what.
        verifier: decides which answers are equal, and which equal the reference.
        extract: whether the answer column holds whole responses.
        last_number: as in :func:`~gradatim.evaluators.answers.extract_answer`.

    Raises:
        InputError: a column is missing, a value is not what it should be (the row is named), or a
            problem's level or reference changes between its rows.
    """
    import pandas as pd

    opened = open_source(source)
    table = read_table(source, _kinds(columns, untyped=opened.untyped), select=())
    index, problems = pd.factorize(table[columns.problem].to_pandas())
    rows = _padded(index, len(problems))
    given = table[columns.answer].to_pylist()
    answers = [_as_text(value) for value in given]
    if extract:
        answers = [extract_answer(text, last_number=last_number) for text in answers]
    grouped = _Grouped.of(index, answers, len(problems))
    names = [value.item() if hasattr(value, "item") else value for value in problems]
    place = _Place(opened.name, names, index)
    correct = None
    if columns.correct:
        correct = _booleans(table[columns.correct], columns.correct, place)
    elif columns.reference:
        texts = [_as_text(value) for value in table[columns.reference].to_pylist()]
        correct = grouped.matches(verifier, place.constant(columns.reference, texts))
    levels = None
    if columns.level:
        levels = place.constant(columns.level, table[columns.level].to_pylist())
    there = rows >= 0
    return CandidatePool(
        source=opened.name,
        problems=names,
        rows=rows,
        codes=np.where(there, grouped.codes(verifier)[rows], PADDING),
        scores={
            name: np.where(there, table[name].to_numpy()[rows], 0.0) for name in columns.scores
        },
        levels=levels,
        correct=None if correct is None else there & correct[rows],
        answers=answers,
        given=given,
    )


def _kinds(columns: CandidateColumns, *, untyped: bool) -> dict[str, str]:
    """What each column must hold; what a text file holds of answers stays as it is written."""
    as_written = "text" if untyped else "any"
    kinds = {columns.problem: "label", columns.answer: as_written}
    kinds |= dict.fromkeys(columns.scores, "number")
    optional = ((columns.level, "label"), (columns.correct, "any"), (columns.reference, as_written))
    return kinds | {name: kind for name, kind in optional if name is not None}


def _padded(index: NDArray[np.int64], problems: int) -> NDArray[np.int64]:
    """The rows of each problem in their order, shape [P, N]; -1 where there is none."""
    order = np.argsort(index, kind="stable")
    sizes = np.bincount(index, minlength=problems)
    starts = np.cumsum(sizes) - sizes
    rows = np.full((problems, int(sizes.max())), -1, dtype=np.int64)
    rows[index[order], np.arange(len(order)) - np.repeat(starts, sizes)] = order
    return rows


@dataclass(frozen=True)
class _Place:
    """How to name a row, and what must not change within a problem."""

    source: str
    problems: list[Any]
    index: NDArray[np.int64]

    def of(self, row: int, column: str) -> str:
        return f"{self.source}, row {row}, column {column!r}"

    def constant(self, column: str, values: Sequence[Any]) -> list[Any]:
        """One value a problem, from the rows of a column."""
        found: dict[int, Any] = {}
        for row, (problem, value) in enumerate(zip(self.index.tolist(), values, strict=True)):
            if value is None:
                raise InputError(f"{self.of(row, column)}: expected a value, got none")
            before = found.setdefault(problem, value)
            if value != before:
                raise InputError(
                    f"{self.of(row, column)}: expected {show(before)} as in the rows before of "
                    f"problem {show(self.problems[problem])}, got {show(value)}"
                )
        return [found[problem] for problem in range(len(self.problems))]


@dataclass(frozen=True)
class _Grouped:
    """Each different answer of each problem once, by problem and first occurrence.

    Attributes:
        answers: the different answers of each problem.
        entry: for each row of the table its problem's and answer's entry, numbered throughout.
    """

    answers: list[list[str | None]]
    entry: NDArray[np.int64]

    @classmethod
    def of(cls, index: NDArray[np.int64], answers: Sequence[str | None], count: int) -> "_Grouped":
        known: list[dict[str | None, int]] = [{} for _ in range(count)]
        within = [
            known[problem].setdefault(answer, len(known[problem]))
            for problem, answer in zip(index.tolist(), answers, strict=True)
        ]
        sizes = np.array([len(one) for one in known])
        starts = np.cumsum(sizes) - sizes
        return cls([list(one) for one in known], starts[index] + np.array(within))

    def codes(self, verifier: AnswerVerifier) -> NDArray[np.int64]:
        """The code of each row's answer."""
        return np.concatenate([verifier.codes(one) for one in self.answers])[self.entry]

    def matches(self, verifier: AnswerVerifier, references: Sequence[str]) -> NDArray[np.bool_]:
        """Whether each row's answer equals its problem's reference."""
        told = zip(references, self.answers, strict=True)
        return np.concatenate([verifier.matches(gold, one) for gold, one in told])[self.entry]


def _as_text(value: Any) -> str | None:
    """An answer as text; blank text and missing values are None."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    text = value if isinstance(value, str) else repr(value)
    return text if text.strip() else None


def _booleans(column: pa.ChunkedArray, name: str, place: _Place) -> NDArray[np.bool_]:
    """A column of true and false, 1 and 0, or these as text."""
    if pa.types.is_boolean(column.type) and not column.null_count:
        return np.asarray(column.to_numpy(), dtype=bool)
    values = column.to_pylist()
    found = [None if value is None else _BOOLEANS.get(str(value).lower()) for value in values]
    for row, (value, given) in enumerate(zip(found, values, strict=True)):
        if value is None:
            raise InputError(
                f"{place.of(row, name)}: expected true or false (or 1 or 0), got {show(given)}"
            )
    return np.array(found, dtype=bool)


def unparsable_rows(pool: CandidatePool) -> "pd.DataFrame":
    """The candidates whose answer could not be read: problem, row, and what stood there."""
    import pandas as pd

    problem, place = np.nonzero(pool.codes == -1)
    rows = pool.rows[problem, place]
    return pd.DataFrame(
        {
            "problem": [pool.problems[p] for p in problem],
            "row": rows,
            "given": [None if (g := pool.given[row]) is None else str(g)[:200] for row in rows],
        }
    )
