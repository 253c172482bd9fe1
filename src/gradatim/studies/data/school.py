"""A small school: subjects of three stages, lessons in course order, questions at three levels."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gradatim.core.checks import check_range
from gradatim.core.seeds import numpy_generator

Ints = NDArray[np.int64]

LEVELS = ("remember", "understand", "apply")
SUBJECTS_A_STAGE = 3
THINGS = (10, 12, 14)
"""Things that a subject is about, by stage; each has a lesson."""

VALUES = (5, 7, 9)
"""How many values things have, by stage: 0 and up."""

THINGS_OF_A_SCHOOL = SUBJECTS_A_STAGE * sum(THINGS)
"""Tokens from 0 are the things of one school, the next as many those of an earlier one."""

_MARKS = 2 * THINGS_OF_A_SCHOOL
PADDING = _MARKS + len(LEVELS)
NO, YES = PADDING + 1, PADDING + 2
_ZERO = PADDING + 3
VOCABULARY = _ZERO + 2 * max(VALUES) - 1


@dataclass(frozen=True)
class Questions:
    """Questions with what a school knows of them; one entry a question.

    Attributes:
        tokens: one or two things and the level's mark, padded on the left, shape [N, 3].
        answer: the right token, shape [N].
        subject: from 0 to 8, shape [N].
        stage: year of the subject, from 0 to 2, shape [N].
        lesson: the last one that the question needs, from 0, shape [N].
        level: from 0 to 2, shape [N].
    """

    tokens: torch.Tensor
    answer: torch.Tensor
    subject: Ints
    stage: Ints
    lesson: Ints
    level: Ints

    def __len__(self) -> int:
        """How many questions."""
        return len(self.subject)

    def take(self, chosen: Ints) -> "Questions":
        """The questions at some positions, which may repeat."""
        rows = torch.from_numpy(chosen)
        return Questions(
            self.tokens[rows],
            self.answer[rows],
            self.subject[chosen],
            self.stage[chosen],
            self.lesson[chosen],
            self.level[chosen],
        )


def school(
    seed: int, per_level: int, *, held_out: float = 0.2, earlier: bool = False
) -> tuple[Questions, Questions]:
    """Draw nine subjects, all their questions, and which of them are held out.

    A subject gives each of its things a value at random; a thing is a lesson. *Remember* asks for
    the value of a, *understand* whether that of a is larger than that of b (never equal), and
    *apply* for the sum of both. A question on a and b belongs to the later lesson of the two.

    Args:
        seed: what values and draws depend on.
        per_level: questions to train on at each level; each is asked as often as any other of its
            level, but for the rest, who are drawn.
        held_out: share of each subject's questions to understand and to apply that are only asked
            in the test.
        earlier: a school about other things, with other values, that asks in the same way.

    Returns:
        Questions to train on, level by level, and every question of the test once: those that are
        held out, and all to remember.

    Raises:
        InputError: no question a level, or a share outside (0, 1).

    >>> train, test = school(0, 100)
    >>> len(train), sorted(set(test.level.tolist()))
    (300, [0, 1, 2])
    """
    check_range("per_level", per_level, 1)
    check_range("held_out", held_out, 0, 1, open_low=True, open_high=True)
    generator = numpy_generator(seed, "earlier school" if earlier else "school")
    questions = _all_questions(generator, THINGS_OF_A_SCHOOL if earlier else 0)
    tested = questions.level == 0
    for level in (1, 2):
        for subject in np.unique(questions.subject):
            here = np.flatnonzero((questions.level == level) & (questions.subject == subject))
            tested[generator.permutation(here)[: round(held_out * len(here))]] = True
    asked = [
        _as_often(np.flatnonzero(taught), per_level, generator)
        for taught in (
            questions.level == 0,
            (questions.level == 1) & ~tested,
            (questions.level == 2) & ~tested,
        )
    ]
    return questions.take(np.concatenate(asked)), questions.take(np.flatnonzero(tested))


def _as_often(positions: Ints, count: int, generator: np.random.Generator) -> Ints:
    """So many of the positions, each as often as any other, but for the rest."""
    whole, rest = divmod(count, len(positions))
    return np.concatenate([np.tile(positions, whole), generator.permutation(positions)[:rest]])


def _all_questions(generator: np.random.Generator, first: int) -> Questions:
    """Every question of every subject once; the things are tokens from ``first`` on."""
    parts: list[Ints] = []
    for subject in range(SUBJECTS_A_STAGE * len(THINGS)):
        stage = subject // SUBJECTS_A_STAGE
        things = np.arange(THINGS[stage])
        value = generator.integers(0, VALUES[stage], len(things))
        a, b = (grid.ravel() for grid in np.meshgrid(things, things, indexing="ij"))
        a, b = a[a != b], b[a != b]
        unequal = value[a] != value[b]
        c, d = a[unequal], b[unequal]
        padding = np.full(len(things), PADDING - first)
        for level, (left, right, answer) in enumerate(
            (
                (padding, things, _ZERO + value),
                (c, d, np.where(value[c] > value[d], YES, NO)),
                (a, b, _ZERO + value[a] + value[b]),
            )
        ):
            lesson = right if level == 0 else np.maximum(left, right)
            about = np.array([[subject], [stage]]).repeat(len(right), axis=1)
            mark = np.full(len(right), level)
            asked = left + first, right + first, mark + _MARKS
            parts.append(np.stack([*asked, answer, *about, lesson, mark]))
        first += len(things)
    rows = np.concatenate(parts, axis=1)
    tokens, answer = torch.from_numpy(rows[:3].T.copy()), torch.from_numpy(rows[3].copy())
    return Questions(tokens, answer, *rows[4:])
