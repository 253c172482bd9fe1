"""What is to be forgotten and what is to be kept: documents, or questions with answers."""

import ast
import os
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from gradatim.core.cache import content_hash
from gradatim.core.errors import InputError, StorageError
from gradatim.core.io.columns import count, is_list, is_text
from gradatim.core.io.table_sources import open_source
from gradatim.core.io.tables import read_table

QUESTION_COLUMNS = ("question", "prompt", "query", "instruction")
ANSWER_COLUMNS = ("answer", "completion", "response", "gt")
TEXT_COLUMNS = ("text", "document", "content")
PARAPHRASED, PERTURBED = "paraphrased_answer", "perturbed_answer"
REPHRASED = "paraphrased_question"

REFUSALS = (
    "I don't know.",
    "I have no information about that.",
    "I can't answer that.",
    "That is not something I know.",
    "I'm not able to say.",
    "I have never learned about this.",
    "I'm afraid I don't have the answer.",
    "This is unknown to me.",
)
"""What is said instead, where no refusals are given."""

_LIBRARY = ("argparse", "difflib", "heapq", "textwrap", "statistics", "sched", "shelve", "zipfile")
_LEAST = 200
"""Characters of a documentation that is worth reading."""

_TEXT_FILES = (".txt", ".md")
_NAMED = 3


@dataclass(frozen=True)
class UnlearnTexts:
    """Documents, or questions with answers.

    Attributes:
        source: what messages call it.
        answers: the texts that a model says: answers, or whole documents.
        questions: a question for each answer; None for documents.
        paraphrased: right answers in other words; None if there are none.
        perturbed: wrong answers of the same form, at least one a row; None if there are none.
        rephrased: questions in other words; None if there are none.
        files: files that were read.
    """

    source: str
    answers: tuple[str, ...]
    questions: tuple[str, ...] | None = None
    paraphrased: tuple[str, ...] | None = None
    perturbed: tuple[tuple[str, ...], ...] | None = None
    rephrased: tuple[str, ...] | None = None
    files: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.answers)

    def place(self, row: int) -> str:
        """How messages call a row."""
        return f"{self.source}, row {row}"

    def question(self, row: int) -> str:
        """A row's question; empty for documents."""
        return self.questions[row] if self.questions is not None else ""

    def mark(self) -> str:
        """A hash of all texts."""
        parts = [repr(one) for one in (self.questions, self.answers, self.paraphrased)]
        return content_hash([*parts, repr(self.perturbed), repr(self.rephrased)])


def load_texts(
    name: str,
    source: Any,
    *,
    question: str | None = None,
    answer: str | None = None,
    text: str | None = None,
) -> UnlearnTexts:
    """Read documents, or questions with answers.

    Args:
        name: the argument, for messages about data in memory.
        source: a table (pandas, datasets, pyarrow, a mapping, or the path of Parquet, CSV or JSON
            Lines) with a question and an answer a row, as TOFU's files, or a text a row, as
            MUSE's; a ``.txt`` or ``.md`` file, which is one document, or a folder of such; or a
            list of documents.
        question: its column; None for one of :data:`QUESTION_COLUMNS`.
        answer: its column; None for one of :data:`ANSWER_COLUMNS`.
        text: the column of documents; None for one of :data:`TEXT_COLUMNS`.

    Raises:
        InputError: no such columns, or a row without text.
        StorageError: a file cannot be read.

    >>> load_texts("forget", {"question": ["Who?"], "answer": ["Nobody."]}).answers
    ('Nobody.',)
    """
    if isinstance(source, UnlearnTexts):
        return source
    if (found := _documents(name, source)) is not None:
        return found
    opened = open_source(source)
    told = opened.name if isinstance(source, str | os.PathLike) else name
    table = read_table(source)
    there = table.column_names
    asked = _find(question, QUESTION_COLUMNS, there)
    answered = _find(answer, ANSWER_COLUMNS, there)
    written = _find(text, TEXT_COLUMNS, there)
    for chosen in (question, answer, text):
        if chosen is not None and chosen not in there:
            raise InputError(
                f"{told}: expected a column {chosen!r}, got the columns {', '.join(there)}"
            )
    files = (str(source),) if isinstance(source, str | os.PathLike) else ()
    if text is None and asked is not None and answered is not None:
        return UnlearnTexts(
            told,
            _column(table, answered, told),
            _column(table, asked, told),
            _column(table, PARAPHRASED, told) if PARAPHRASED in there else None,
            _wrong(table, told) if PERTURBED in there else None,
            _column(table, REPHRASED, told) if REPHRASED in there else None,
            files,
        )
    if written is None:
        raise InputError(
            f"{told}: expected a column 'question' and one 'answer', or a column 'text', "
            f"got the columns {', '.join(there)}"
        )
    return UnlearnTexts(told, _column(table, written, told), files=files)


def load_refusals(source: Any, count_needed: int, seed: int) -> tuple[str, ...]:
    """Refusals, one for each answer to forget: drawn from a list, the given one or our own.

    Args:
        source: a list of texts, a text file with one a line, or a table as for
            :func:`load_texts`; None for :data:`REFUSALS`.
        count_needed: how many.
        seed: what the draw depends on.

    Raises:
        InputError: there are none.
    """
    from gradatim.core.seeds import numpy_generator

    if source is None:
        known: Sequence[str] = REFUSALS
    elif isinstance(source, str | os.PathLike) and Path(source).suffix in _TEXT_FILES:
        known = [line.strip() for line in _read(Path(source)).splitlines() if line.strip()]
    else:
        known = load_texts("refusals", source).answers
    if not known:
        raise InputError("refusals: expected at least one, got none")
    drawn = numpy_generator(seed, "refusals").integers(len(known), size=count_needed)
    return tuple(known[place] for place in drawn)


def library_texts() -> UnlearnTexts:
    """Documentation of modules of Python's standard library: text that has to do with nothing."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found = []
    for name in _LIBRARY:
        path = root / f"{name}.py"
        if path.is_file():
            found.append(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")
    texts = tuple(text for text in found if len(text) >= _LEAST)
    return UnlearnTexts("documentation of Python's standard library", texts)


def check_apart(forget: UnlearnTexts, retain: UnlearnTexts) -> None:
    """Refuse to keep what is to be forgotten.

    Raises:
        InputError: rows of both are equal but for case and blanks; they are named.
    """
    places = {_key(forget, row): row for row in reversed(range(len(forget)))}
    shared = [
        (places[key], row) for row in range(len(retain)) if (key := _key(retain, row)) in places
    ]
    if shared:
        named = ", ".join(
            f"{row} (row {first} of what to forget)" for first, row in shared[:_NAMED]
        )
        more = f" and {len(shared) - _NAMED} more" if len(shared) > _NAMED else ""
        rows = count(len(shared), "row") + (" is" if len(shared) == 1 else " are")
        raise InputError(
            f"{retain.source}: {rows} to be kept and to be forgotten: row {named}{more}; "
            "take what is in both out of one of the two"
        )


def _key(texts: UnlearnTexts, row: int) -> tuple[str, str]:
    return _plain(texts.question(row)), _plain(texts.answers[row])


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _find(chosen: str | None, known: Sequence[str], there: Sequence[str]) -> str | None:
    return chosen or next((name for name in known if name in there), None)


def _column(table: pa.Table, name: str, source: str) -> tuple[str, ...]:
    """A column of texts, none of them empty."""
    values = table[name]
    if not is_text(values.type):
        raise InputError(f"{source}, column {name!r}: expected text, got {values.type}")
    texts = tuple(values.to_pylist())
    for row, text in enumerate(texts):
        if text is None or not text.strip():
            raise InputError(f"{source}, row {row}, column {name!r}: expected a text, got none")
    return texts


def _wrong(table: pa.Table, source: str) -> tuple[tuple[str, ...], ...]:
    """Wrong answers, a list a row or one."""
    values = table[PERTURBED]
    if is_text(values.type):
        return tuple((text,) for text in _column(table, PERTURBED, source))
    if not is_list(values.type):
        raise InputError(f"{source}, column {PERTURBED!r}: expected lists of text")
    rows = values.to_pylist()
    for row, texts in enumerate(rows):
        if not texts or not all(isinstance(one, str) and one.strip() for one in texts):
            raise InputError(
                f"{source}, row {row}, column {PERTURBED!r}: expected wrong answers, got none"
            )
    return tuple(tuple(texts) for texts in rows)


def _documents(name: str, source: Any) -> UnlearnTexts | None:
    """Documents that no table holds; None for tables."""
    if isinstance(source, str | os.PathLike):
        path = Path(source).expanduser()
        if path.is_dir():
            files = sorted(one for one in path.iterdir() if one.suffix in _TEXT_FILES)
        else:
            files = [path] if path.suffix in _TEXT_FILES else []
        if not files:
            return None
        texts, told = [_read(one) for one in files], str(path)
        named = tuple(map(str, files))
    elif isinstance(source, Sequence) and not isinstance(source, Mapping):
        if not all(isinstance(one, str) for one in source):
            raise InputError(f"{name}: expected a table, or a list of documents")
        texts, told, named = list(source), name, ()
    else:
        return None
    if not texts:
        raise InputError(f"{told}: expected at least one document, got none")
    for row, text in enumerate(texts):
        if not text.strip():
            where = named[row] if named else f"{told}, row {row}"
            raise InputError(f"{where}: expected a text, got none")
    return UnlearnTexts(told, tuple(texts), files=named)


def _read(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8 text, got other bytes") from error
    except OSError as error:
        raise StorageError(f"{path}: reading failed: {error.strerror}") from error
