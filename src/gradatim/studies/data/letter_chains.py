"""Chains of arithmetic modulo 7 whose written steps can be wrong, and cut into shorter chains.

A task names a value and what is done to it, each line by the next letter of the alphabet, as
``Y=6;Z*2;A-4?``. A solution writes every step and then the answer, as ``Z6*2=5;A5-4=1#1.``: the
letter, the value before it, the operation and its result.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator
from gradatim.evaluators.step_checks import check_steps
from gradatim.language.characters import CharacterTokenizer
from gradatim.targets.step_errors import corrupt_steps

MODULUS = 7
_DIGITS = "0123456"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: (a + b) % MODULUS,
    "-": lambda a, b: (a - b) % MODULUS,
    "*": lambda a, b: (a * b) % MODULUS,
}
TOKENIZER = CharacterTokenizer(f"{_DIGITS}{_LETTERS}+-*;=?#.")
END = TOKENIZER.encode(".")[0]


@dataclass(frozen=True)
class ChainStep:
    """A written step: its letter, the value before it, the operation, and the result."""

    letter: str
    before: int
    operation: str
    operand: int
    after: int

    @property
    def text(self) -> str:
        """The step as it is written."""
        return f"{self.letter}{self.before}{self.operation}{self.operand}={self.after}"

    @property
    def right(self) -> bool:
        """Whether the result is that of the operation on the value before it."""
        return self.after == _OPERATIONS[self.operation](self.before, self.operand)


@dataclass(frozen=True)
class LetterChain:
    """A task: the place of its first letter, its first value, and its operations."""

    first: int
    start: int
    operations: tuple[tuple[str, int], ...]

    @property
    def question(self) -> str:
        """The task as it is written."""
        lines = [f"{_letter(self.first)}={self.start}"] + [
            f"{_letter(self.first + place)}{operation}{operand}"
            for place, (operation, operand) in enumerate(self.operations, start=1)
        ]
        return f"{';'.join(lines)}?"

    @property
    def steps(self) -> list[ChainStep]:
        """The right solution."""
        value, written = self.start, []
        for place, (operation, operand) in enumerate(self.operations, start=1):
            after = _OPERATIONS[operation](value, operand)
            written.append(ChainStep(_letter(self.first + place), value, operation, operand, after))
            value = after
        return written

    @property
    def answer(self) -> int:
        """The right answer."""
        return self.steps[-1].after


def draw_letter_chains(count: int, operations: int, seed: int, *keys: str) -> list[LetterChain]:
    """Random tasks; a longer list begins with the shorter one.

    Args:
        count: how many.
        operations: of each.
        seed: what they depend on, with the keys.
        keys: names of the use.

    Raises:
        InputError: a negative count or no operation.

    >>> chain = draw_letter_chains(1, 4, 0)[0]
    >>> chain.question, written(chain.steps)
    ('Y=0;Z*1;A+6;B*6;C*1?', 'Z0*1=0;A0+6=6;B6*6=1;C1*1=1#1.')
    """
    check_range("count", count, 0)
    check_range("operations", operations, 1)
    # One row of numbers a task: the first tasks are the same however many follow.
    drawn = numpy_generator(seed, "letter chains", *keys, operations).random(
        (count, 2 + 2 * operations)
    )
    names = list(_OPERATIONS)
    return [
        LetterChain(
            int(row[0] * len(_LETTERS)),
            int(row[1] * MODULUS),
            tuple(
                (names[int(a * len(names))], int(b * MODULUS))
                for a, b in zip(row[2::2], row[3::2], strict=True)
            ),
        )
        for row in drawn
    ]


def written(steps: Sequence[ChainStep]) -> str:
    """A solution as it is written, with its answer and its end."""
    return f"{';'.join(step.text for step in steps)}#{steps[-1].after}."


def off_by_one(step: ChainStep, generator: torch.Generator | None = None) -> ChainStep:
    """The step with a result that is one too large: a misconception that is always the same."""
    return replace(step, after=(step.after + 1) % MODULUS)


def scattered(step: ChainStep, generator: torch.Generator | None = None) -> ChainStep:
    """The step with any of the other results, all alike."""
    more = 1 + int(torch.randint(MODULUS - 1, (1,), generator=generator))
    return replace(step, after=(step.after + more) % MODULUS)


def follow(step: ChainStep, before: ChainStep) -> ChainStep:
    """The step done anew from what is written before it."""
    after = _OPERATIONS[step.operation](before.after, step.operand)
    return replace(step, before=before.after, after=after)


def wrong_solution(
    chain: LetterChain,
    wrong_steps: int,
    generator: torch.Generator,
    *,
    error_model: Callable[[ChainStep, torch.Generator | None], ChainStep] = off_by_one,
) -> list[ChainStep] | None:
    """A solution with some wrong steps whose answer is wrong; None if none is found.

    Later steps go on from the wrong values, so that two errors may cancel, and an error before a
    product with 0 is lost.
    """
    try:
        return corrupt_steps(
            chain.steps,
            wrong_steps,
            error_model,
            follow=follow,
            accept=lambda steps: steps[-1].after != chain.answer,
            tries=50,
            generator=generator,
        )
    except InputError:
        return None


def window(chain: LetterChain, steps: Sequence[ChainStep], start: int, end: int) -> LetterChain:
    """The task of some of a task's steps, from the value that is written before them."""
    return LetterChain(
        (chain.first + start) % len(_LETTERS), steps[start].before, chain.operations[start:end]
    )


def read_steps(text: str) -> list[ChainStep | None]:
    """The steps of a written solution, up to its answer; None for one that cannot be read."""
    return [_read(piece) for piece in text.partition("#")[0].split(";")]


def answer_of(text: str) -> int | None:
    """The answer of a written solution; None if there is none, or it does not end.

    >>> answer_of("B1+2=3#3."), answer_of("B1+2=3#3"), answer_of("B1+2=3.")
    (3, None, None)
    """
    value = text.partition("#")[2]
    good = len(value) == 2 and value[0] in _DIGITS and value[1] == "."
    return int(value[0]) if good else None


def steps_right(
    chain: LetterChain, steps: Sequence[ChainStep | None], definition: str = "local"
) -> list[bool]:
    """Which steps of a solution are right, locally or globally; unreadable ones are not."""
    own = {step.letter: step for step in chain.steps}

    def follows(before: ChainStep | None, step: ChainStep | None) -> bool:
        if step is None or step.letter not in own or not step.right:
            return False
        task = own[step.letter]
        if before is None:
            expected = replace(chain.steps[0], after=step.after)
        else:
            letter = _letter(_LETTERS.index(before.letter) + 1)
            expected = replace(task, letter=letter, before=before.after, after=step.after)
        return step == expected

    return check_steps(steps, follows=follows, reference=chain.steps, definition=definition)


def _letter(place: int) -> str:
    return _LETTERS[place % len(_LETTERS)]


def _read(text: str) -> ChainStep | None:
    """A written step; None if it is not one."""
    if len(text) != 6 or text[4] != "=":
        return None
    letter, before, operation, operand, _, after = list(text)
    digits = all(one in _DIGITS for one in (before, operand, after))
    if letter not in _LETTERS or operation not in _OPERATIONS or not digits:
        return None
    return ChainStep(letter, int(before), operation, int(operand), int(after))
