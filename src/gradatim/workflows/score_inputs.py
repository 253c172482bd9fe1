"""Which columns of a data set hold what: conversations, prompts, pairs, texts, levels."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gradatim.core.errors import InputError
from gradatim.core.io.columns import is_list, is_text, missing_column

CONVERSATIONS = ("messages", "conversations")
QUESTIONS = ("question", "problem", "instruction", "query", "prompt", "input", "text", "sentence")
ANSWERS = ("solution", "answer", "response", "output", "completion", "target")


@dataclass(frozen=True)
class ScoreColumns:
    """Which columns were named.

    Attributes:
        label: the class, or the answer.
        inputs: what a prediction is made from; None takes what is usual.
        level: a level of difficulty that people gave.
        id: the user's own id of each row; None makes ids of the content.
        options: the list of options, for multiple choice.
    """

    label: str | None = None
    inputs: tuple[str, ...] | None = None
    level: str | None = None
    id: str | None = None
    options: str | None = None

    @property
    def special(self) -> tuple[str, ...]:
        """The columns that are no inputs."""
        named = (self.label, self.level, self.id, self.options)
        return tuple(name for name in named if name is not None)


@dataclass(frozen=True)
class Layout:
    """How the text of a row is laid out.

    Attributes:
        kind: "messages", "completion" (a prompt and what goes on with it), "preference" (chosen and
            rejected), "question" (and its answer), "text", or "none".
        prompt: the columns of the prompt.
        completion: the column of what is to be produced (of "messages" the conversation).
        rejected: the column of the rejected one.
    """

    kind: str
    prompt: tuple[str, ...] = ()
    completion: str | None = None
    rejected: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are read."""
        rest = tuple(one for one in (self.completion, self.rejected) if one is not None)
        return tuple(dict.fromkeys((*self.prompt, *rest)))

    def describe(self) -> str:
        """In words, with the names of the columns."""
        prompt = " and ".join(map(repr, self.prompt))
        if self.kind == "messages":
            return f"conversations in {self.completion!r}, of which the assistant's turns count"
        if self.kind == "preference":
            given = f", prompts in {prompt}" if self.prompt else ""
            return f"preference pairs in {self.completion!r} and {self.rejected!r}{given}"
        if self.kind == "text":
            return f"texts in {' and '.join(map(repr, self.columns))}"
        if self.kind == "none":
            return "no text"
        what = "prompts" if self.kind == "completion" else "questions"
        return f"{what} in {prompt}, completed by {self.completion!r}"


def find_layout(table: pa.Table, columns: ScoreColumns, source: str) -> Layout:
    """Find the text in a table, by the names of its columns and what the first rows hold.

    Args:
        table: some first rows.
        columns: what was named.
        source: the table's name.

    Raises:
        InputError: a named column that is not there.
    """
    there = table.column_names
    for name in (*(columns.inputs or ()), *columns.special):
        if name not in there:
            raise missing_column(source, name, there)
    if columns.label is not None and columns.label in (columns.inputs or ()):
        raise InputError(f"input: expected columns other than the label, got {columns.label!r}")
    if columns.inputs is not None:
        return _given_layout(table, columns)
    for name in CONVERSATIONS:
        if name in there and columns.label is None:
            return Layout("messages", completion=name)
    if {"chosen", "rejected"} <= set(there) and columns.label is None:
        prompt = ("prompt",) if "prompt" in there else ()
        return Layout("preference", prompt, "chosen", "rejected")
    if {"prompt", "completion"} <= set(there) and columns.label in (None, "completion"):
        return Layout("completion", ("prompt",), "completion")
    return _usual_layout(table, columns)


def _given_layout(table: pa.Table, columns: ScoreColumns) -> Layout:
    assert columns.inputs is not None
    first = columns.inputs[0]
    if len(columns.inputs) == 1 and _holds_turns(table, first) and columns.label is None:
        return Layout("messages", completion=first)
    texts = tuple(name for name in columns.inputs if is_text(table[name].type))
    if not texts:
        return Layout("none")
    if columns.label is not None:
        return Layout("question", texts, columns.label)
    return Layout("text", texts[:-1], texts[-1])


def _usual_layout(table: pa.Table, columns: ScoreColumns) -> Layout:
    """Questions with answers, or a text, by the names that such columns usually have."""
    free = [name for name in table.column_names if name not in columns.special]
    texts = [name for name in free if is_text(table[name].type)]
    known = [name for name in QUESTIONS if name in texts]
    if columns.label is not None:
        long = [name for name in texts if _words(table[name]) >= 3]
        chosen = known[:1] or long
        return Layout("question", tuple(chosen), columns.label) if chosen else Layout("none")
    for question in known:
        answers = [name for name in ANSWERS if name in free and name != question]
        if answers:
            more = ("input",) if question == "instruction" and "input" in texts else ()
            return Layout("question", (question, *more), answers[0])
    if "text" in texts:
        return Layout("text", (), "text")
    chosen = known[:1] or (texts if len(texts) == 1 else [])
    return Layout("text", (), chosen[0]) if chosen else Layout("none")


def _words(column: pa.ChunkedArray) -> float:
    told = [text for text in column.to_pylist() if text]
    return float(np.mean([len(text.split()) for text in told])) if told else 0.0


def _holds_turns(table: pa.Table, name: str) -> bool:
    kind = table[name].type
    if is_list(kind):
        return bool(pa.types.is_struct(kind.value_type))
    first = next((one for one in table[name].to_pylist() if one), None)
    return is_text(kind) and isinstance(first, str) and first.lstrip().startswith("[{")
