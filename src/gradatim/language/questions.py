"""From questions with options to tokens: prompts, worked examples before them, and options."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gradatim.core.checks import check_choice, check_same_length
from gradatim.core.errors import InputError

QUESTION = "Question: {}\nAnswer:"
"""How a question with options is asked; ``{}`` is the question."""

OVERFLOWS = ("error", "drop")

_GAP = "\n\n"


@dataclass(frozen=True)
class EncodedQuestions:
    """Questions as tokens.

    Attributes:
        prompts: tokens of each question, with the exemplars before it.
        options: tokens of each option of each question, as they follow a prompt.
        unconditional: tokens of a prompt that ends like all but does not ask anything.
        dropped: how many exemplars were left out of each prompt for lack of room.
    """

    prompts: list[list[int]]
    options: list[list[list[int]]]
    unconditional: list[int]
    dropped: list[int]


def encode_questions(
    tokenizer: Any,
    questions: Sequence[str],
    options: Sequence[Sequence[str]],
    exemplars: Sequence[tuple[str, str]] = (),
    *,
    template: str = QUESTION,
    context_length: int | None = None,
    overflow: str = "error",
) -> EncodedQuestions:
    r"""Make a prompt of each question, and tokens of its options.

    A prompt is ``Question: ...\nAnswer: ...\n\n`` for each exemplar, then
    ``Question: ...\nAnswer:``; an option follows after a space. What stands before the question has
    the same tokens in all prompts, so that it can be read once.

    Args:
        tokenizer: a tokenizer of transformers.
        questions: the texts.
        options: the options of each.
        exemplars: questions with their right answers, shown before each question.
        template: how a question is asked, with one ``{}`` for its text, ending in what options
            follow.
        context_length: the longest sequence that the model reads; None if there is no limit.
        overflow: what to do with a prompt that is too long: "error", or "drop", which leaves out
            as many exemplars as needed, the last ones first.

    Returns:
        The tokens.

    Raises:
        InputError: a template without one ``{}`` or that ends with it, an empty option, unequal
            numbers, or a question that is too long (it is named).

    Source: Hase et al. 2024, arXiv 2401.06751, and the authors' code (the form of prompts).
    """
    check_choice("overflow", overflow, OVERFLOWS)
    check_same_length(questions=questions, options=options)
    before, mark, cue = template.partition("{}")
    if not mark or "{}" in cue or not cue.strip():
        raise InputError(
            "template: expected one {} for the question and something behind it, "
            f"got {template!r}"
        )
    code = _Code(tokenizer, cue)
    shown = [code.plain(f"{before}{asked}{cue} {told}{_GAP}") for asked, told in exemplars]
    encoded = EncodedQuestions([], [], [*code.start, *code.plain(cue.lstrip())], [])
    for place, (question, own) in enumerate(zip(questions, options, strict=True)):
        tokens = [code.option(text, place) for text in own]
        asked = code.plain(f"{before}{question}{cue}")
        longest = max(map(len, tokens), default=0)
        room = None
        if context_length is not None:
            room = context_length - len(code.start) - len(asked) - longest
        kept = _fitting(shown, room, overflow, question, place)
        beginning = [token for one in shown[:kept] for token in one]
        encoded.prompts.append([*code.start, *beginning, *asked])
        encoded.options.append(tokens)
        encoded.dropped.append(len(shown) - kept)
    return encoded


def _fitting(
    shown: Sequence[Sequence[int]], room: int | None, overflow: str, question: str, place: int
) -> int:
    """How many exemplars there is room for."""
    if room is None:
        return len(shown)
    total, kept = 0, 0
    while kept < len(shown) and total + len(shown[kept]) <= room:
        total += len(shown[kept])
        kept += 1
    if room < 0 or (kept < len(shown) and overflow == "error"):
        over = -room if room < 0 else sum(map(len, shown)) - room
        what = "by itself" if room < 0 else f"with {len(shown)} exemplars"
        advice = "shorten it" if room < 0 else "show fewer, or drop some with overflow='drop'"
        raise InputError(
            f"questions: question {place} ({question[:40]!r}...) {what} is {over} tokens too long "
            f"for the model's context; {advice}"
        )
    return kept


class _Code:
    """Text to tokens, piece by piece.

    Attributes:
        start: what the tokenizer puts before every text.
    """

    def __init__(self, tokenizer: Any, cue: str) -> None:
        self._tokenizer = tokenizer
        self._cue = cue.rpartition("\n")[2]
        self._before = self.plain(self._cue)
        self._known: dict[str, list[int]] = {}
        own, whole = self.plain("a"), list(tokenizer("a")["input_ids"])
        self.start: list[int] = whole[: -len(own)] if whole[-len(own) :] == own else []

    def plain(self, text: str) -> list[int]:
        """The tokens of a text, and nothing before or behind them."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def option(self, text: str, place: int) -> list[int]:
        """The tokens of an option behind the cue."""
        if text not in self._known:
            if not text.strip():
                raise InputError(f"options: expected texts in question {place}, got {text!r}")
            whole = self.plain(f"{self._cue} {text}")
            split = len(self._before)
            apart = whole[:split] != self._before or len(whole) == split
            self._known[text] = self.plain(f" {text}") if apart else whole[split:]
        return self._known[text]
