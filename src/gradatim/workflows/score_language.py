"""Measures under a language model: figures of completions, sampled attempts."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
from gradatim.workflows.text_encoding import Encoded, encode_rows

Values = NDArray[np.float64]
_PROBED = 8


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
        """Rows as tokens, shortened to the model's context; see :func:`encode_rows`."""
        limit = self.loaded.model.context_length
        return encode_rows(self.loaded.tokenizer, rows, place, limit=limit)

    def _score(self, encoded: Encoded) -> CompletionDifficulty:
        return score_completions(
            self.loaded.model, encoded.ids, encoded.counted, batch_tokens=self.batch_tokens
        )


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
