"""Letter chains with right and wrong solutions of graded severity, of whole tasks and of parts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import derive_seed, torch_generator
from gradatim.language.response_examples import ResponseExamples
from gradatim.language.sampling import as_responses
from gradatim.mining.subtasks import contiguous_subtasks
from gradatim.selection.supervision_mixture import SupervisionMixture
from gradatim.studies.data.letter_chains import (
    TOKENIZER,
    ChainStep,
    LetterChain,
    draw_letter_chains,
    off_by_one,
    scattered,
    steps_right,
    window,
    written,
    wrong_solution,
)

ERRORS: Mapping[str, Callable[[ChainStep, torch.Generator | None], ChainStep]] = {
    "systematic": off_by_one,
    "scattered": scattered,
}
DRAWN_PER_KEPT = 3


@dataclass(frozen=True)
class Solved:
    """A task with a solution, right or wrong.

    Attributes:
        chain: the task.
        steps: of the solution.
    """

    chain: LetterChain
    steps: tuple[ChainStep, ...]

    @property
    def solution(self) -> str:
        """The solution as it is written."""
        return written(self.steps)

    @property
    def length(self) -> int:
        """Tokens of task and solution."""
        return len(self.chain.question) + len(self.solution)

    @property
    def right(self) -> bool:
        """Whether the solution ends with the right answer."""
        return self.steps[-1].after == self.chain.answer

    def steps_right(self, definition: str = "local") -> list[bool]:
        """Which steps are right, locally or globally."""
        return steps_right(self.chain, self.steps, definition)


def solved(chain: LetterChain) -> Solved:
    """A task with its right solution.

    >>> solved(LetterChain(0, 1, (("+", 2),))).solution
    'B1+2=3#3.'
    """
    return Solved(chain, tuple(chain.steps))


def renamed(example: Solved, seed: int = 0) -> Solved:
    """The same task and solution from another letter on, which depends on the task and the seed.

    >>> one = solved(LetterChain(0, 1, (("+", 2),)))
    >>> renamed(one).chain.first == 0, renamed(one).steps[0].after
    (False, 3)
    """
    shift = 1 + derive_seed(seed, "renamed", example.chain.question) % 25
    chain = replace(example.chain, first=(example.chain.first + shift) % 26)
    steps = zip(example.steps, chain.steps, strict=True)
    return Solved(chain, tuple(replace(one, letter=own.letter) for one, own in steps))


def graded_mixtures(
    count: int,
    seed: int,
    use: str,
    *,
    operations: int = 6,
    severities: Sequence[int] = (1, 5),
    part_sizes: tuple[int, int] = (2, 4),
    parts: int = 3,
) -> dict[str, SupervisionMixture[Solved]]:
    """Mixtures of supervision on the same tasks, one for each kind of error.

    The severity of a wrong solution is its number of wrong steps; later steps go on from what
    they are given, and the answer is wrong. Parts are windows of consecutive steps, and their
    wrong solutions have one wrong step. Tasks of which a wrong solution cannot be had, such as
    those that end with a product with 0, are left out, and so are such parts.

    Args:
        count: hard tasks.
        seed: what they depend on, with the use.
        use: name of the use, so that training and validation tasks are drawn independently.
        operations: of a hard task.
        severities: numbers of wrong steps.
        part_sizes: operations of a part, at least and at most.
        parts: of each task.

    Returns:
        For "systematic" errors (results one too large) and for "scattered" ones a mixture whose
        lengths are in tokens and whose rephrased examples are renamed ones.

    Raises:
        InputError: a number outside its range.

    >>> mixture = graded_mixtures(2, 0, "doctest")["systematic"]
    >>> [one.example.right for one in mixture.draw("full", outcome_error=1, severity=5)]
    [False, False]
    """
    check_range("count", count, 1)
    check_range("parts", parts, 1)
    generator = torch_generator(seed, "graded chains", use)
    right: list[Solved] = []
    wrong: dict[str, dict[float, list[Solved]]] = {
        name: {severity: [] for severity in severities} for name in ERRORS
    }
    sub_right: list[list[Solved]] = []
    sub_wrong: dict[str, list[list[Solved]]] = {name: [] for name in ERRORS}
    for chain in draw_letter_chains(DRAWN_PER_KEPT * count, operations, seed, use):
        bad = {
            (name, severity): _wrong(chain, severity, name, generator)
            for name in ERRORS
            for severity in severities
        }
        kept = _parts(chain, part_sizes, parts, generator)
        if not all(bad.values()) or len(kept) < parts:
            continue
        right.append(solved(chain))
        for (name, severity), one in bad.items():
            wrong[name][severity] += [one] if one else []
        sub_right.append([part for part, _ in kept])
        for name in ERRORS:
            sub_wrong[name].append([faulty[name] for _, faulty in kept])
        if len(right) == count:
            break
    if len(right) < count:
        raise InputError(
            f"count: expected as many tasks with wrong solutions as {DRAWN_PER_KEPT * count} drawn "
            f"ones hold, {len(right)}, got {count}"
        )
    return {
        name: SupervisionMixture(
            right,
            wrong[name],
            sub_right,
            sub_wrong[name],
            rephrase=renamed,
            length=lambda one: one.length,
        )
        for name in ERRORS
    }


def token_examples(examples: Sequence[Solved]) -> ResponseExamples:
    """Tasks as prompts, and their solutions as the responses to learn."""
    return ResponseExamples(
        [TOKENIZER.encode(one.chain.question) for one in examples],
        as_responses([TOKENIZER.encode(one.solution) for one in examples]),
    )


def _wrong(
    chain: LetterChain, severity: int, error: str, generator: torch.Generator
) -> Solved | None:
    steps = wrong_solution(chain, severity, generator, error_model=ERRORS[error])
    return None if steps is None else Solved(chain, tuple(steps))


def _parts(
    chain: LetterChain, sizes: tuple[int, int], count: int, generator: torch.Generator
) -> list[tuple[Solved, dict[str, Solved]]]:
    """Some parts with their right solution and a wrong one of each kind."""
    shortest, longest = sizes
    windows = contiguous_subtasks(
        chain,
        chain.steps,
        window,
        shortest=shortest,
        max_fraction=longest / len(chain.operations),
    )
    found: list[tuple[Solved, dict[str, Solved]]] = []
    for place in torch.randperm(len(windows), generator=generator).tolist():
        part = solved(windows[place][0])
        faulty = {name: bad for name in ERRORS if (bad := _wrong(part.chain, 1, name, generator))}
        if len(faulty) == len(ERRORS):
            found.append((part, faulty))
        if len(found) == count:
            break
    return found
