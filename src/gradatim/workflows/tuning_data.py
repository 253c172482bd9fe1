"""A data set as what a language model is tuned on: conversations, completions, preferences."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.language.loading import LanguageModel
from gradatim.language.masked_examples import MaskedExamples
from gradatim.language.response_examples import PreferenceExamples, ResponseExamples
from gradatim.language.sampling import as_responses
from gradatim.workflows.score_blocks import TableReader
from gradatim.workflows.score_inputs import Layout, ScoreColumns, find_layout
from gradatim.workflows.score_texts import TextRow, text_rows
from gradatim.workflows.text_encoding import Encoded, encode_rows

OVERFLOWS = ("error", "skip", "cut")
_BLOCK = 4096


@dataclass(frozen=True)
class TuningData:
    """What a model is tuned on.

    Attributes:
        examples: ready for ``fit``: conversations and completions with what is learned marked, or
            pairs of preferences.
        lengths: tokens of each example, of a pair those of both; for
            :class:`~gradatim.training.token_batches.TokenBatches`.
        rows: which row of the data each example is.
        skipped: rows that were too long.
        cut: rows that were shortened.
        layout: in words, what was found where.
    """

    examples: ResponseExamples | PreferenceExamples
    lengths: torch.Tensor
    rows: list[int]
    skipped: list[int]
    cut: list[int]
    layout: str

    @property
    def preferences(self) -> bool:
        """Whether the examples are pairs."""
        return isinstance(self.examples, PreferenceExamples)


def tuning_data(
    data: Any,
    model: LanguageModel,
    *,
    inputs: Sequence[str] | None = None,
    answer: str | None = None,
    longest: int | None = None,
    overflow: str = "error",
) -> TuningData:
    """Read a data set in any of the usual forms, and turn it into tokens with completion masks.

    The form is found by the names of the columns, as in transformers and TRL: ``messages`` (or
    ``conversations``); ``prompt`` with ``completion``; ``prompt`` with ``chosen`` and ``rejected``,
    or these two alone, which then begin alike; questions with answers; ``text``. Prompts and
    completions are text or turns. Turns go through the chat template; of a conversation every turn
    of the assistant is learned with the token that ends it, of the other forms the completion. Text
    is read as it is and closed with the tokenizer's end token.

    Args:
        data: a DataFrame, a ``datasets.Dataset``, a table of pyarrow, or a path.
        model: the model with its tokenizer, from
            :func:`~gradatim.language.loading.load_language_model`.
        inputs: columns of the question, or of the conversation; None takes what is usual.
        answer: the column of the answer; None takes what is usual.
        longest: tokens of an example at most; None takes the model's context.
        overflow: what to do with longer ones: "error", "skip", or "cut", which leaves out the front
            of what stands before the completion and then the end of the completion (not for
            preferences, whose responses answer one prompt).

    Returns:
        The examples, and which rows they are.

    Raises:
        InputError: no text in the data, a row that cannot be read or is too long, a pair whose
            responses are equal (the row and the column are named).

    >>> tuning_data("conversations.jsonl", ..., overflow="keep")
    Traceback (most recent call last):
    gradatim.core.errors.InputError: overflow: expected one of error, skip, cut, got 'keep'
    """
    check_choice("overflow", overflow, OVERFLOWS)
    context = model.model.context_length
    limit = min((one for one in (longest, context) if one is not None), default=None)
    if longest is not None:
        check_range("longest", longest, 2, context or longest)
    reader = TableReader(data)
    named = None if inputs is None else tuple(inputs)
    layout = find_layout(reader.head, ScoreColumns(answer, named), reader.name)
    if layout.kind == "none":
        raise InputError(
            f"{reader.name}: expected messages, prompt and completion, chosen and rejected, "
            f"question and answer, or text among the columns {', '.join(reader.columns)}; "
            "name them with inputs= and answer="
        )
    if layout.rejected is not None and overflow == "cut":
        raise InputError("overflow: expected 'error' or 'skip' for preferences, got 'cut'")
    maker = _Maker(model.tokenizer, reader, layout, limit, overflow)
    for offset, table in enumerate(reader.blocks(_BLOCK, select=layout.columns)):
        maker.add(table, offset * _BLOCK)
    return maker.made()


class _Maker:
    """Collects examples block by block."""

    def __init__(
        self, tokenizer: Any, reader: TableReader, layout: Layout, limit: int | None, overflow: str
    ) -> None:
        self.tokenizer, self.reader, self.layout = tokenizer, reader, layout
        self.limit, self.overflow = limit, overflow
        self.end = getattr(tokenizer, "eos_token_id", None)
        self.sides: list[Encoded] = [Encoded([], [], []) for _ in range(1 + self.pairs)]
        self.rows: list[int] = []
        self.skipped: list[int] = []
        self.cut: list[int] = []

    @property
    def pairs(self) -> bool:
        return self.layout.rejected is not None

    def add(self, table: Any, offset: int) -> None:
        """Take the rows of a block."""

        def place(row: int) -> str:
            return self.reader.place(offset, row)

        texts = list(text_rows(self.layout, table, place))
        sides = [texts]
        if self.pairs:
            for row, one in enumerate(texts):
                if one.turns == one.rejected:
                    raise InputError(
                        f"{place(row)}, columns {self.layout.completion!r} and "
                        f"{self.layout.rejected!r}: expected two responses, got equal ones"
                    )
            sides.append([TextRow(t.rejected or (), t.form, only_last=True) for t in texts])
        limit = self.limit if self.overflow == "cut" else None
        encoded = [
            encode_rows(self.tokenizer, side, place, limit=limit, end=self.end) for side in sides
        ]
        for row in range(len(texts)):
            longest = max(len(one.ids[row]) for one in encoded)
            if self.limit is not None and longest > self.limit:
                if self.overflow == "error":
                    raise InputError(
                        f"{place(row)}: has {longest} tokens, more than the {self.limit} that are "
                        "allowed; shorten it, or pass overflow='skip' or 'cut'"
                    )
                self.skipped.append(offset + row)
                continue
            if any(one.cut[row] for one in encoded):
                self.cut.append(offset + row)
            self.rows.append(offset + row)
            for kept, read in zip(self.sides, encoded, strict=True):
                kept.ids.append(read.ids[row])
                kept.counted.append(read.counted[row])

    def made(self) -> TuningData:
        """All of them."""
        if not self.rows:
            raise InputError(
                f"{self.reader.name}: every row has more than the {self.limit} tokens allowed"
            )
        examples = self._preferences() if self.pairs else self._masked()
        lengths = torch.tensor([[len(ids) for ids in side.ids] for side in self.sides]).sum(dim=0)
        return TuningData(
            examples, lengths, self.rows, self.skipped, self.cut, self.layout.describe()
        )

    def _masked(self) -> MaskedExamples:
        (side,) = self.sides
        return MaskedExamples(side.ids, side.counted)

    def _preferences(self) -> PreferenceExamples:
        """Pairs, whose prompt is what both responses have before them."""
        prompts: list[list[int]] = []
        responses: tuple[list[list[int]], ...] = ([], [])
        for row, number in enumerate(self.rows):
            spans = [_span(side.counted[row]) for side in self.sides]
            begins = [
                side.ids[row][: span.start] for side, span in zip(self.sides, spans, strict=True)
            ]
            if begins[0] != begins[1]:
                raise InputError(
                    f"{self.reader.place(0, number)}: expected chosen and rejected to answer the "
                    "same prompt, but what stands before them differs"
                )
            prompts.append(begins[0])
            for own, side, span in zip(responses, self.sides, spans, strict=True):
                own.append(side.ids[row][span])
        return PreferenceExamples(prompts, as_responses(responses[0]), as_responses(responses[1]))


def _span(counted: Sequence[bool]) -> slice:
    """From the first token that counts to the last: templates write more behind an end."""
    return slice(counted.index(True), len(counted) - counted[::-1].index(True))
