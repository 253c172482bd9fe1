"""Questions, answers and documents as the tokens that a model reads and says."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gradatim.core.errors import InputError
from gradatim.language.response_examples import ResponseExamples
from gradatim.language.sampling import as_responses
from gradatim.workflows.score_texts import TextRow
from gradatim.workflows.text_encoding import render
from gradatim.workflows.unlearn_inputs import UnlearnTexts

PLAIN_QUESTION, PLAIN_ANSWER = "Question: ", "\nAnswer:"
"""The form of questions where a tokenizer has no chat template."""

Tokens = list[int]


@dataclass(frozen=True)
class EncodedTexts:
    """Texts as tokens.

    Attributes:
        prompts: what stands before each response: the question, or the document's first token.
        responses: what the model says: the answer with its end, or the rest of the document.
        rows: the row of the texts that each comes from.
    """

    prompts: list[Tokens]
    responses: list[Tokens]
    rows: list[int]

    def __len__(self) -> int:
        return len(self.rows)

    def examples(self) -> ResponseExamples:
        """All of them, ready for training."""
        return ResponseExamples(self.prompts, as_responses(self.responses))

    def take(self, places: Sequence[int]) -> "EncodedTexts":
        """Some of them."""
        return EncodedTexts(
            [self.prompts[place] for place in places],
            [self.responses[place] for place in places],
            [self.rows[place] for place in places],
        )

    def spread(self, most: int) -> "EncodedTexts":
        """So many of them at most, evenly spread."""
        return self if len(self) <= most else self.take(evenly_spread(len(self), most))


def evenly_spread(size: int, most: int) -> list[int]:
    """So many positions at most, evenly spread.

    >>> evenly_spread(5, 2), evenly_spread(2, 5)
    ([0, 2], [0, 1])
    """
    count = min(size, most)
    return [place * size // count for place in range(count)]


class TextEncoder:
    """Turns questions with answers, and documents, into tokens.

    Questions go through the chat template, if the tokenizer has one; else they have the form
    ``Question: ...`` and ``Answer: ...`` on the next line. A document is read as it is.

    Args:
        tokenizer: a tokenizer of transformers.
        stop: tokens that end a response.
        limit: tokens of a prompt with its response, at most; None for no limit.
        chunk_tokens: cut documents into pieces of at most so many tokens; None leaves them whole.

    Attributes:
        chat: whether there is a chat template.
        notes: what a reader should know.
    """

    def __init__(
        self,
        tokenizer: Any,
        stop: Sequence[int],
        *,
        limit: int | None = None,
        chunk_tokens: int | None = None,
    ) -> None:
        self.tokenizer, self.stop = tokenizer, tuple(stop)
        self.limit, self.chunk_tokens = limit, chunk_tokens
        if chunk_tokens is not None and limit is not None and chunk_tokens > limit:
            raise InputError(f"chunk_tokens: expected at most {limit} tokens, got {chunk_tokens}")
        self.chat = getattr(tokenizer, "chat_template", None) is not None
        self._end = getattr(tokenizer, "eos_token_id", None)
        first = tokenizer("a")["input_ids"][:1]
        begin = getattr(tokenizer, "bos_token_id", None)
        self._begin = [begin] if begin is not None and first == [begin] else []
        self.notes: list[str] = []

    def question(self, question: str) -> Tokens:
        """The tokens of a question, up to where the answer begins."""
        if not self.chat:
            return self._begin + self._ids(f"{PLAIN_QUESTION}{question}{PLAIN_ANSWER}")
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
        )
        return self._ids(text)

    def document(self, text: str) -> Tokens:
        """The tokens of a document."""
        return self._begin + self._ids(text)

    def texts(self, texts: UnlearnTexts, rows: Sequence[int] | None = None) -> EncodedTexts:
        """All rows, or some, as tokens.

        Raises:
            InputError: a row is too long, or has too few tokens to be learned.
        """
        chosen = list(range(len(texts)) if rows is None else rows)
        if texts.questions is not None:
            return self.answers(texts, chosen, [texts.answers[row] for row in chosen])
        found = EncodedTexts([], [], [])
        for row in chosen:
            for piece in self._pieces(texts, row):
                found.prompts.append(piece[:1])
                found.responses.append(piece[1:])
                found.rows.append(row)
        return found

    def answers(
        self, texts: UnlearnTexts, rows: Sequence[int], answers: Sequence[str]
    ) -> EncodedTexts:
        """Other answers to the questions of some rows, one each.

        Raises:
            InputError: a row is too long.
        """
        found = EncodedTexts([], [], list(rows))
        for row, answer in zip(rows, answers, strict=True):
            prompt, response = self._pair(texts, row, answer)
            self._check(texts, row, len(prompt) + len(response), cut=False)
            found.prompts.append(prompt)
            found.responses.append(response)
        return found

    def decode(self, tokens: Sequence[int]) -> str:
        """A response as text, without what stands behind the first answer."""
        text = str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))
        if not self.chat:
            text = text.partition(f"\n{PLAIN_QUESTION.strip()}")[0]
        return text.strip()

    def _pair(self, texts: UnlearnTexts, row: int, answer: str) -> tuple[Tokens, Tokens]:
        question = texts.question(row)
        if not self.chat:
            end = [] if self._end is None else [self._end]
            return self.question(question), self._ids(f" {answer}") + end
        turns = TextRow((("user", question), ("assistant", answer)), "question")
        rendered = render(self.tokenizer, turns, texts.place, row)
        low, high = rendered.spans[-1]
        return self._ids(rendered.text[:low]), self._ids(rendered.text[low:high])

    def _pieces(self, texts: UnlearnTexts, row: int) -> list[Tokens]:
        ids = self.document(texts.answers[row])
        own = ids[len(self._begin) :]
        size = self.chunk_tokens
        if size is None or len(ids) <= size:
            self._check(texts, row, len(ids), cut=True)
            pieces = [ids]
        else:
            step = size - len(self._begin)
            pieces = [self._begin + own[at : at + step] for at in range(0, len(own), step)]
        found = [piece for piece in pieces if len(piece) > 1]
        if not found:
            raise InputError(
                f"{texts.place(row)}: expected at least two tokens, got {len(ids)}; a single one "
                "cannot be predicted from anything"
            )
        return found

    def _check(self, texts: UnlearnTexts, row: int, length: int, *, cut: bool) -> None:
        if self.limit is None or length <= self.limit:
            return
        mend = "shorten it, or cut documents with chunk_tokens" if cut else "shorten it"
        raise InputError(
            f"{texts.place(row)}: has {length} tokens, the limit is {self.limit}; {mend}"
        )

    def _ids(self, text: str) -> Tokens:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
