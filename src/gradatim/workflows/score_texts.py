"""The rows of a data set as turns of a conversation, whatever the columns look like."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa

from gradatim.core.errors import InputError
from gradatim.core.io.columns import show
from gradatim.workflows.level_column import Place
from gradatim.workflows.score_inputs import Layout

Message: TypeAlias = tuple[str, str]
"""A role ("system", "user", "assistant"...) and what it says."""

_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant"}


@dataclass(frozen=True)
class TextRow:
    """One example as turns.

    Attributes:
        turns: what is said; what the assistant says is what counts.
        form: "chat" (through the chat template), "question" (so if there is a template), or
            "joined" (the texts one behind the other, as they are).
        only_last: whether only the last turn counts, and the assistant's earlier ones belong to
            the prompt.
        rejected: the turns of a rejected conversation, of which the last counts.
    """

    turns: tuple[Message, ...]
    form: str
    only_last: bool = False
    rejected: tuple[Message, ...] | None = None

    @property
    def counted(self) -> tuple[int, ...]:
        """Which turns count."""
        places = tuple(
            place for place, (role, text) in enumerate(self.turns) if role == "assistant" and text
        )
        return places[-1:] if self.only_last else places

    @property
    def prompt(self) -> str:
        """What stands before the completion; the whole text if there is nothing before it."""
        counted = self.counted
        said = [
            text
            for place, (role, text) in enumerate(self.turns)
            if place not in counted and role != "system"
        ]
        return "\n".join(said) if any(said) else self.completion

    @property
    def completion(self) -> str:
        """What counts, a turn a line."""
        return "\n".join(self.turns[place][1] for place in self.counted)

    @property
    def size(self) -> int:
        """Characters of all that is said."""
        return sum(len(text) for _, text in self.turns)


def text_rows(layout: Layout, table: pa.Table, place: Place) -> Iterator[TextRow]:
    """The examples of a part of the table as turns.

    Args:
        layout: where the text stands.
        table: the part.
        place: names a row of it for messages.

    Raises:
        InputError: something else than text or turns, a conversation without an assistant's turn,
            an empty completion (the row is named).
    """
    columns = {name: table[name].to_pylist() for name in layout.columns}
    for row in range(table.num_rows):
        values = {name: column[row] for name, column in columns.items()}
        yield _text_row(layout, values, _Where(place, row))


@dataclass(frozen=True)
class _Where:
    """A row, and how messages call it."""

    place: Place
    row: int

    def error(self, column: str | None, problem: str) -> InputError:
        return InputError(f"{self.place(self.row)}, column {column!r}: {problem}")


def _text_row(layout: Layout, values: Mapping[str, Any], where: _Where) -> TextRow:
    completion = layout.completion
    assert completion is not None
    if layout.kind == "messages":
        return TextRow(_conversation(values[completion], completion, where), "chat")
    if layout.kind == "text":
        parts = [_text_or_nothing(values[name], name, where) for name in layout.columns]
        text = "\n".join(part for part in parts if part.strip())
        if not text:
            raise where.error(completion, "expected text, got an empty one")
        return TextRow((("assistant", text),), "joined")
    if layout.kind == "question":
        asked = [_text_or_nothing(values[name], name, where) for name in layout.prompt]
        question = "\n\n".join(part for part in asked if part.strip())
        if not question:
            raise where.error(layout.prompt[0], "expected a question, got an empty one")
        answer = _filled(values[completion], completion, where)
        return TextRow((("user", question), ("assistant", answer)), "question")
    given = values[layout.prompt[0]] if layout.prompt else None
    turns = _pair(given, values[completion], layout.prompt, completion, where)
    if layout.rejected is None:
        return turns
    other = _pair(given, values[layout.rejected], layout.prompt, layout.rejected, where)
    if given is None and turns.form == "joined":
        turns, other = _without_beginning(turns, other)
    return TextRow(turns.turns, turns.form, turns.only_last, other.turns)


def _pair(prompt: Any, value: Any, names: Sequence[str], column: str, where: _Where) -> TextRow:
    """A completion behind its prompt, each of them text or turns."""
    turns_before = prompt if prompt is not None and not isinstance(prompt, str) else None
    if isinstance(value, str) and turns_before is None:
        before = "" if prompt is None else _text(prompt, names[0], where)
        said = (("user", before), ("assistant", _filled(value, column, where)))
        return TextRow(said, "joined")
    own: tuple[Message, ...]
    if isinstance(value, str):
        own = (("assistant", _filled(value, column, where)),)
    else:
        own = _conversation(value, column, where)
    if turns_before is not None:
        own = (*_turns(turns_before, names[0], where), *own)
    elif isinstance(prompt, str) and prompt.strip() and own[0][0] != "user":
        own = (("user", prompt), *own)
    last = max(place for place, (role, _) in enumerate(own) if role == "assistant")
    return TextRow(own[: last + 1], "chat", only_last=True)


def _without_beginning(one: TextRow, other: TextRow) -> tuple[TextRow, TextRow]:
    """Two texts that begin alike, with what they share as their prompt, cut at a blank."""
    a, b = one.turns[-1][1], other.turns[-1][1]
    length = next(
        (place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y),
        min(len(a), len(b)),
    )
    while length and not a[length - 1].isspace():
        length -= 1
    parts = []
    for text in (a, b):
        shared = length if text[length:].strip() else 0
        parts.append(TextRow((("user", text[:shared]), ("assistant", text[shared:])), "joined"))
    return parts[0], parts[1]


def _text(value: Any, column: str, where: _Where) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float | bool) and value == value:
        return str(value)
    raise where.error(column, f"expected text, got {show(value)}")


def _text_or_nothing(value: Any, column: str, where: _Where) -> str:
    return "" if value is None else _text(value, column, where)


def _filled(value: Any, column: str, where: _Where) -> str:
    text = _text(value, column, where)
    if not text.strip():
        raise where.error(column, "expected a completion, got an empty one")
    return text


def _conversation(value: Any, column: str, where: _Where) -> tuple[Message, ...]:
    """Turns of which at least one is the assistant's, and says something."""
    turns = _turns(value, column, where)
    said = [text for role, text in turns if role == "assistant"]
    if not said:
        roles = ", ".join(role for role, _ in turns)
        raise where.error(column, f"expected a turn of the assistant, got only {roles}")
    if not any(text.strip() for text in said):
        raise where.error(column, "expected a turn of the assistant with text, got an empty one")
    return turns


def _turns(value: Any, column: str, where: _Where) -> tuple[Message, ...]:
    """Turns as lists of role and content, or from and value, or JSON text of such."""
    given = value
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            given = None
    if isinstance(given, dict) and all(isinstance(one, list) for one in given.values()):
        given = [dict(zip(given, one, strict=False)) for one in zip(*given.values(), strict=False)]
    if not isinstance(given, list) or not given:
        raise where.error(
            column, f"expected a list of turns with role and content, got {show(value)}"
        )
    found = []
    for turn in given:
        role = (turn.get("role") or turn.get("from")) if isinstance(turn, dict) else None
        if not isinstance(role, str):
            raise where.error(column, f"expected turns with role and content, got {show(turn)}")
        text = _content(turn.get("content", turn.get("value")), turn, column, where)
        found.append((_ROLES.get(role, role), text))
    return tuple(found)


def _content(value: Any, turn: Any, column: str, where: _Where) -> str:
    """What a turn says: text, or a list of parts of which those that are text count."""
    if value is None:
        return ""
    if isinstance(value, list):
        parts = [one.get("text") if isinstance(one, dict) else one for one in value]
        return "\n".join(part for part in parts if isinstance(part, str))
    if not isinstance(value, str):
        raise where.error(column, f"expected turns with text as content, got {show(turn)}")
    return value
