"""Measures under a language model: rows to tokens, figures of completions, sampled attempts."""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.core.errors import InputError
from gradatim.core.seeds import derive_seed
from gradatim.difficulty.language_loss import CompletionDifficulty, score_completions
from gradatim.evaluators.answers import AnswerVerifier, extract_answer
from gradatim.language.loading import LanguageModel
from gradatim.language.problems import Problem
from gradatim.language.prompts import build_prompts, cut_response
from gradatim.language.sampling import sample
from gradatim.workflows.level_column import Place
from gradatim.workflows.score_texts import TextRow

Values = NDArray[np.float64]
_PROBED = 8


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


class LanguageScorer:
    """Scores rows with one language model.

    Args:
        loaded: the model with its tokenizer.
        batch_tokens: tokens read at once at most.
    """

    def __init__(self, loaded: LanguageModel, *, batch_tokens: int = 8192) -> None:
        self.loaded, self.batch_tokens = loaded, batch_tokens

    def __call__(self, rows: Sequence[TextRow], place: Place) -> dict[str, Values]:
        """All measures of the group "model", each of shape [N], and which rows were cut ("_cut").

        Args:
            rows: examples.
            place: names a row for messages.

        Raises:
            InputError: a conversation that the chat template refuses (the row is named).
        """
        encoded = self.encode(rows, place)
        cut = np.array(encoded.cut)
        found = self._score(encoded)
        measures = {
            "loss": found.loss,
            "perplexity": found.loss.double().exp(),
            "confidence": found.confidence,
            "margin": found.margin,
            "entropy": found.entropy,
            "tokens": found.tokens,
        }
        if any(row.rejected for row in rows):
            others = [TextRow(row.rejected or row.turns, row.form, only_last=True) for row in rows]
            encoded = self.encode(others, place)
            cut |= np.array(encoded.cut)
            measures["preference"] = found.loss - self._score(encoded).loss
        figures = {name: values.double().numpy() for name, values in measures.items()}
        return {**figures, "_cut": cut.astype(np.float64)}

    def probe(self, rows: Sequence[TextRow], place: Place) -> tuple[float, float]:
        """Tokens a character, and tokens a second, from a few rows; the first batch warms up."""
        some = list(rows[:_PROBED])
        encoded = self.encode(some, place)
        tokens, characters = sum(map(len, encoded.ids)), sum(row.size for row in some)
        self._score(Encoded(encoded.ids[:1], encoded.counted[:1], []))
        began = time.perf_counter()
        self._score(encoded)
        seconds = time.perf_counter() - began
        return tokens / max(1, characters), tokens / max(seconds, 1e-9)

    def encode(self, rows: Sequence[TextRow], place: Place) -> Encoded:
        """Rows as tokens, each with what counts, shortened to the model's context.

        Of a row that is too long, the front of what stands before the completion is left out; if
        that is not enough, the end of the completion.

        Raises:
            InputError: as for calling it.
        """
        tokenizer = self.loaded.tokenizer
        rendered = [render(tokenizer, row, place, number) for number, row in enumerate(rows)]
        ids, counted, cut = [], [], []
        limit = self.loaded.model.context_length
        for row_ids, row_counted in _tokens(tokenizer, rendered):
            cut.append(limit is not None and len(row_ids) > limit)
            if limit is not None and len(row_ids) > limit:
                row_ids, row_counted = _shortened(row_ids, row_counted, limit)
            ids.append(row_ids)
            counted.append(row_counted)
        return Encoded(ids, counted, cut)

    def _score(self, encoded: Encoded) -> CompletionDifficulty:
        return score_completions(
            self.loaded.model, encoded.ids, encoded.counted, batch_tokens=self.batch_tokens
        )


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


@dataclass(frozen=True)
class AttemptSettings:
    """How attempts are sampled.

    Attributes:
        copies: attempts at each question.
        longest: tokens of an attempt at most.
        temperature: of sampling.
        seed: what the draws depend on.
    """

    copies: int = 8
    longest: int = 256
    temperature: float = 0.7
    seed: int = 0


def sample_attempts(
    loaded: LanguageModel,
    rows: Sequence[TextRow],
    verifier: AnswerVerifier,
    how: AttemptSettings,
    *,
    start: int,
    place: Callable[[int], str],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Have the model answer each question several times, and count the right answers.

    Args:
        loaded: the model with its tokenizer.
        rows: questions with their answers; the final answer in a worked solution is found.
        verifier: decides which answers are equal.
        how: how they are sampled.
        start: number of the first row, which the draws depend on.
        place: names a row for messages.

    Returns:
        Right attempts and all attempts at each question, shape [N].

    Raises:
        InputError: a question that is too long (the row is named).
    """
    problems = [Problem(row.prompt, reference_answer(row.completion), level=0) for row in rows]
    try:
        prompts = build_prompts(
            loaded.tokenizer,
            problems,
            context_length=loaded.model.context_length,
            longest=how.longest,
            overflow="skip",
        )
    except InputError as error:
        raise InputError(f"{place(0)} and after: {error}") from error
    if prompts.skipped:
        raise InputError(
            f"{place(prompts.skipped[0])}: expected a question that leaves room for "
            f"{how.longest} new tokens in the model's context of {loaded.model.context_length}"
        )
    responses = sample(
        loaded.model,
        prompts.ids,
        copies=how.copies,
        longest=how.longest,
        stop=loaded.stop,
        temperature=how.temperature,
        batch_rows=64,
        seed=derive_seed(how.seed, "attempts", start),
    )
    texts = loaded.tokenizer.batch_decode(responses.lists(), skip_special_tokens=True)
    right = np.zeros(len(rows), dtype=np.int64)
    for row, problem in enumerate(problems):
        own = texts[row * how.copies : (row + 1) * how.copies]
        answers = [
            extract_answer(cut_response(text, prompts.end_marker), last_number=True) for text in own
        ]
        right[row] = int(verifier.matches(problem.answer, answers).sum())
    return right, np.full(len(rows), how.copies, dtype=np.int64)


def reference_answer(completion: str) -> str:
    """The final answer that a worked solution ends with, or else the whole text.

    >>> reference_answer("4 + 3 = 7" + chr(10) + "#### 7"), reference_answer("Paris")
    ('7', 'Paris')
    """
    return extract_answer(completion) or completion.strip()
