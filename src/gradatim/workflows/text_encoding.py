"""Rows of text as a language model reads them: tokens, and which of them are the completion's."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gradatim.core.errors import InputError
from gradatim.workflows.level_column import Place
from gradatim.workflows.score_texts import TextRow


@dataclass(frozen=True)
class Rendered:
    """A row as the model reads it.

    Attributes:
        text: the whole.
        spans: from where to where the completion stands in it.
        special: whether the tokenizer adds its own beginning.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    special: bool


@dataclass(frozen=True)
class Encoded:
    """Rows as tokens.

    Attributes:
        ids: tokens of each row.
        counted: which of them are the completion's.
        cut: which rows were too long for the model's context.
    """

    ids: list[list[int]]
    counted: list[list[bool]]
    cut: list[bool]


def encode_rows(
    tokenizer: Any,
    rows: Sequence[TextRow],
    place: Place,
    *,
    limit: int | None = None,
    end: int | None = None,
) -> Encoded:
    """Rows as tokens, each with what counts, shortened to a limit.

    Of a row that is too long, the front of what stands before the completion is left out; if that
    is not enough, the end of the completion.

    Args:
        tokenizer: a tokenizer of transformers.
        rows: examples.
        place: names a row for messages.
        limit: tokens of a row at most; None for no limit.
        end: a token that closes, as part of the completion, what no chat template has closed; None
            for none.

    Raises:
        InputError: a conversation that the chat template refuses (the row is named).
    """
    rendered = [render(tokenizer, row, place, number) for number, row in enumerate(rows)]
    ids, counted, cut = [], [], []
    for one, (row_ids, row_counted) in zip(rendered, _tokens(tokenizer, rendered), strict=True):
        if end is not None and one.special:
            row_ids, row_counted = [*row_ids, end], [*row_counted, True]
        cut.append(limit is not None and len(row_ids) > limit)
        if limit is not None and len(row_ids) > limit:
            row_ids, row_counted = _shortened(row_ids, row_counted, limit)
        ids.append(row_ids)
        counted.append(row_counted)
    return Encoded(ids, counted, cut)


def render(tokenizer: Any, row: TextRow, place: Place, number: int) -> Rendered:
    """A row as the text that the model reads, and where its completion stands.

    Raises:
        InputError: the chat template refuses the conversation, or changes what is said.
    """
    template = getattr(tokenizer, "chat_template", None) is not None
    if row.form == "joined" or not template:
        return _joined(row)
    messages = [{"role": role, "content": text} for role, text in row.turns]

    def through(turns: Sequence[dict[str, str]], *, waiting: bool = False) -> str:
        try:
            return str(
                tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=waiting)
            )
        except Exception as error:  # templates raise errors of their own kinds
            raise InputError(
                f"{place(number)}: the model's chat template refuses this conversation: {error}"
            ) from error

    whole = through(messages)
    spans = []
    for turn in row.counted:
        before = through(messages[:turn], waiting=True)
        behind = through(messages[: turn + 1]).rstrip()
        if whole.startswith(before) and whole.startswith(behind) and len(before) < len(behind):
            spans.append((len(before), len(behind)))
        elif turn == row.counted[-1]:
            said = row.turns[turn][1].strip()
            start = whole.rfind(said)
            if start < 0:
                raise InputError(
                    f"{place(number)}: the model's chat template changes what the assistant says"
                )
            spans.append((start, start + len(said)))
    return Rendered(whole, tuple(spans), special=False)


def _joined(row: TextRow) -> Rendered:
    """Texts one behind the other; conversations with the names of who speaks."""
    text, spans = "", []
    for place, (role, said) in enumerate(row.turns):
        if row.form == "chat":
            text += f"{role}: "
        elif row.form == "question" and text:
            text += "\n"
        if place in row.counted:
            spans.append((len(text), len(text) + len(said)))
        text += f"{said}\n" if row.form == "chat" and place + 1 < len(row.turns) else said
    return Rendered(text, tuple(spans), special=True)


def _tokens(tokenizer: Any, rendered: Sequence[Rendered]) -> list[tuple[list[int], list[bool]]]:
    """Tokens, and which of them reach into the completion."""
    if not getattr(tokenizer, "is_fast", False):
        return [_in_pieces(tokenizer, one) for one in rendered]
    found: list[Any] = [None] * len(rendered)
    for special in (False, True):
        places = [place for place, one in enumerate(rendered) if one.special == special]
        if not places:
            continue
        read = tokenizer(
            [rendered[place].text for place in places],
            add_special_tokens=special,
            return_offsets_mapping=True,
        )
        for place, ids, offsets in zip(
            places, read["input_ids"], read["offset_mapping"], strict=True
        ):
            spans = rendered[place].spans
            counted = [
                any(low < end and start < high for low, high in spans) for start, end in offsets
            ]
            found[place] = list(ids), counted
    return found


def _in_pieces(tokenizer: Any, one: Rendered) -> tuple[list[int], list[bool]]:
    """Tokens of each piece by itself, for tokenizers that do not say where tokens stand."""
    ids: list[int] = []
    counted: list[bool] = []
    ends = [0, *(end for span in one.spans for end in span), len(one.text)]
    for number, (start, end) in enumerate(itertools.pairwise(ends)):
        piece = one.text[start:end]
        read = tokenizer(piece, add_special_tokens=one.special and not number)["input_ids"]
        ids += read
        counted += [number % 2 == 1] * len(read)
    return ids, counted


def _shortened(ids: list[int], counted: list[bool], limit: int) -> tuple[list[int], list[bool]]:
    first = counted.index(True) if True in counted else 0
    start = min(len(ids) - limit, max(0, first - 1))
    return ids[start : start + limit], counted[start : start + limit]
