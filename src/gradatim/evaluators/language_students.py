"""Language models as students, and the score of a solution that they were taught with."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import torch

from gradatim.core.checks import check_choice, check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.core.seeds import derive_seed
from gradatim.evaluators.answers import extract_answer
from gradatim.evaluators.scorers import Prompts
from gradatim.evaluators.teachability import Exam, Lesson, TeachabilityReward
from gradatim.language.loading import LanguageModel
from gradatim.language.problems import Problem
from gradatim.language.prompts import (
    INSTRUCTION,
    OVERFLOWS,
    PromptSet,
    build_prompts,
    cut_response,
)
from gradatim.language.sampling import Responses, sample

Read = Callable[[str], Hashable | None]
"""From a response to the answer in it; None if there is none."""


class InContextStudent:
    r"""A language model that learns from a lesson by having it in its prompt.

    .. math:: a \sim p(\cdot \mid \text{exemplars}, x, y_k, a_k, e)

    with the lesson's problem, rationale and answer as the last worked example and the exam's
    problem behind it. Exams that are sat several times are read once and sampled as often.

    Args:
        loaded: the model, in evaluation mode, and its tokenizer.
        longest: new tokens at most.
        temperature: of the softmax; 0 takes the likeliest token, and then repeats are all equal.
        top_k: sample among the k likeliest tokens only; None among all.
        exemplars: worked examples that stand before every lesson and show the form of answers.
        instruction: what a chat model is told before each problem.
        read: finds the answer in a response; None takes
            :func:`~gradatim.evaluators.answers.extract_answer`, with the last number if nothing
            else is an answer.
        overflow: what to do if lesson and exam exceed the context: "error", or "skip", which counts
            as no answer.
        batch_rows: responses sampled at once at most.

    Raises:
        InputError: a number out of range, or an unknown overflow.

    Source: Ning et al. 2024, arXiv 2406.14629, section 3, and the authors' code (temperature 0.7,
    20 tokens, four fixed examples before the lesson; all in one message there).
    """

    def __init__(
        self,
        loaded: LanguageModel,
        *,
        longest: int = 256,
        temperature: float = 0.7,
        top_k: int | None = 20,
        exemplars: Sequence[Problem] = (),
        instruction: str = INSTRUCTION,
        read: Read | None = None,
        overflow: str = "error",
        batch_rows: int = 256,
    ) -> None:
        check_range("longest", longest, 1)
        check_range("temperature", temperature, 0)
        if top_k is not None:
            check_range("top_k", top_k, 1)
        check_choice("overflow", overflow, OVERFLOWS)
        check_range("batch_rows", batch_rows, 1)
        self.loaded, self.longest, self.temperature, self.top_k = (
            loaded,
            longest,
            temperature,
            top_k,
        )
        self.exemplars, self.instruction = tuple(exemplars), instruction
        self.read: Read = partial(extract_answer, last_number=True) if read is None else read
        self.overflow, self.batch_rows = overflow, batch_rows

    def answer(
        self, lessons: Sequence[Lesson], exams: Sequence[Exam], seed: int
    ) -> list[Hashable | None]:
        """Answer one exam behind each lesson; see :class:`~.teachability.Student`.

        Args:
            lessons: N lessons of text.
            exams: N exams of text; their answers are not looked at.
            seed: what the draws depend on; equal pairs get draws of their own.

        Returns:
            N answers; None where none can be read, or the prompt was skipped.

        Raises:
            InputError: unequal numbers, what is no text, or with "error" a prompt that exceeds the
                context.
        """
        check_same_length(lessons=lessons, exams=exams)
        places: dict[tuple[str, str], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for place, (lesson, exam) in enumerate(zip(lessons, exams, strict=True)):
            shown = _text("lessons", lesson), _told(lesson)
            places[shown][_text("exams", exam)].append(place)
        by_count: dict[int, list[tuple[list[int], list[int]]]] = defaultdict(list)
        end_marker = None
        for (asked, told), sat in places.items():
            prompts = self._prompts(asked, told, [*sat])
            end_marker, rows = prompts.end_marker, [*sat.values()]
            for ids, kept in zip(prompts.ids, prompts.kept, strict=True):
                by_count[len(rows[kept])].append((ids, rows[kept]))
        found: list[Hashable | None] = [None] * len(lessons)
        for count, some in sorted(by_count.items()):
            texts = self._sampled([ids for ids, _ in some], count, seed)
            order = [place for _, rows in some for place in rows]
            for place, text in zip(order, texts, strict=True):
                found[place] = self.read(cut_response(text, end_marker))
        return found

    def _prompts(self, asked: str, told: str, questions: Sequence[str]) -> PromptSet:
        return build_prompts(
            self.loaded.tokenizer,
            [Problem(question, None, 0) for question in questions],
            exemplars=[*self.exemplars, Problem(asked, None, 0, told)],
            instruction=self.instruction,
            context_length=self.loaded.model.context_length,
            longest=self.longest,
            overflow=self.overflow,
        )

    def _sampled(self, prompts: Prompts, copies: int, seed: int) -> list[str]:
        responses = sample(
            self.loaded.model,
            prompts,
            copies=copies,
            longest=self.longest,
            stop=self.loaded.stop,
            temperature=self.temperature,
            top_k=self.top_k,
            batch_rows=self.batch_rows,
            seed=derive_seed(seed, "exams", copies),
        )
        return _decoded(self.loaded.tokenizer, responses)


class TeachingEvaluator:
    r"""Scores a model's solutions by how well students do who were taught with them.

    An :class:`~gradatim.evaluators.scorers.Evaluator`: it says which of a model's solutions to
    prefer where no answer to their problems is known, but answers to similar ones are. Equal
    solutions of a problem are taught once and scored alike; a blank one is worth 0, and asks no
    student.

    Args:
        reward: the students, and how often they sit each exam.
        problems: the text of the problem that each prompt asks, P.
        exams: the exams of each problem, P lists of at least one; none of them the problem itself.
        tokenizer: what the responses were made with.
        end_marker: where a response ends that goes on to another problem, as in
            :class:`~gradatim.language.prompts.PromptSet`.
        seed: what the students' draws depend on.

    Raises:
        InputError: unequal numbers of problems and exams; when it is called, another number of
            prompts, or as for :class:`~gradatim.evaluators.teachability.TeachabilityReward`.

    Source: Ning et al. 2024, arXiv 2406.14629, section 4 (M2), of which there is no public code.

    >>> from gradatim.language.characters import CharacterTokenizer
    >>> from gradatim.language.sampling import as_responses
    >>> class Copies:
    ...     def answer(self, lessons, exams, seed):
    ...         return [lesson.rationale for lesson in lessons]
    >>> class Tokenizer(CharacterTokenizer):
    ...     def batch_decode(self, texts, skip_special_tokens):
    ...         return [self.decode(text) for text in texts]
    >>> words = Tokenizer("ab")
    >>> evaluator = TeachingEvaluator(
    ...     TeachabilityReward([Copies()]), ["x?", "y?"], [[Exam("z?", "a")]] * 2, words
    ... )
    >>> evaluator([[1], [1]], as_responses([words.encode("a"), words.encode("b")]))
    tensor([1., 0.])
    """

    def __init__(
        self,
        reward: TeachabilityReward,
        problems: Sequence[str],
        exams: Sequence[Sequence[Exam]],
        tokenizer: Any,
        *,
        end_marker: str | None = None,
        seed: int = 0,
    ) -> None:
        check_same_length(problems=problems, exams=exams)
        self.reward, self.tokenizer, self.end_marker = reward, tokenizer, end_marker
        self.problems, self.exams, self.seed = tuple(problems), tuple(exams), seed

    def __call__(self, prompts: Prompts, responses: Responses) -> torch.Tensor:
        """One score a response, in [0, 1], shape [R]."""
        check_same_length(prompts=prompts, problems=self.problems)
        rows: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        texts = _decoded(self.tokenizer, responses)
        for row, (prompt, text) in enumerate(zip(responses.prompt.tolist(), texts, strict=True)):
            told = cut_response(text, self.end_marker).strip()
            if told:
                rows[prompt][told].append(row)
        scores = torch.zeros(len(responses))
        for prompt, by_text in rows.items():
            values = self.reward(
                [Lesson(self.problems[prompt], told) for told in by_text],
                self.exams[prompt],
                seed=derive_seed(self.seed, "problem", prompt),
            )
            for own, value in zip(by_text.values(), values.tolist(), strict=True):
                scores[own] = value
        return scores


def _text(name: str, given: Lesson | Exam) -> str:
    if not isinstance(given.problem, str):
        raise InputError(f"{name}: expected problems as text, got {type(given.problem).__name__}")
    return given.problem


def _told(lesson: Lesson) -> str:
    """The rationale, and the answer behind it if it does not state one."""
    if not isinstance(lesson.rationale, str):
        raise InputError(
            f"lessons: expected rationales as text, got {type(lesson.rationale).__name__}"
        )
    rationale = lesson.rationale.strip()
    if lesson.answer is None or extract_answer(rationale) is not None:
        return rationale
    return f"{rationale}\nThe answer is {lesson.answer}."


def _decoded(tokenizer: Any, responses: Responses) -> list[str]:
    return list(tokenizer.batch_decode(responses.lists(), skip_special_tokens=True))
