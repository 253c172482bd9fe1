"""Solutions that a model samples while it learns: whole right ones, and right beginnings."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError

STARTS = ("partial", "state", "empty")
OUTCOMES = ("complete", "partial", "known", "nothing", "failed")

Tokens = Sequence[int]


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a solution, traced.

    Attributes:
        tokens: its tokens; those of all steps together are the solution.
        state: what the solution has reached with it.
        right: whether the answer is right, if this step gives one; else None.
        form: what makes two steps one, such as a text without needless blanks; None takes the
            tokens.
    """

    tokens: tuple[int, ...]
    state: Hashable
    right: bool | None = None
    form: Hashable = None


Trace = Callable[[int, Tokens], Sequence[Step] | None]
"""From a problem's position and the tokens of a solution to its steps; None if it fails."""

Extend = Callable[[Sequence[int], Sequence[Tokens]], Sequence[Sequence[Tokens]]]
"""From problems and the beginnings of solutions to whole solutions sampled behind each."""


@dataclass(frozen=True, slots=True)
class Solution:
    """A solution to learn.

    Attributes:
        tokens: its tokens, without one that ends it.
        complete: whether it ends with the right answer; one that does not must not be taught to
            end.
    """

    tokens: tuple[int, ...]
    complete: bool


@dataclass(slots=True)
class _Buffer:
    """What is known of one problem; and by state, the beginnings that reach it and their steps."""

    complete: list[tuple[Step, ...]]
    partial: list[tuple[Step, ...]]
    states: dict[Hashable, dict[tuple[Hashable, ...], tuple[int, ...]]] = field(init=False)
    shortest: dict[Hashable, int] = field(init=False)

    def __post_init__(self) -> None:
        self.states, self.shortest = {}, {}
        for steps in (*(one[:-1] for one in self.complete), *self.partial):
            forms, tokens = _forms(steps), _tokens(steps)
            used = 0
            for place, step in enumerate(steps, start=1):
                used += len(step.tokens)
                self.states.setdefault(step.state, {}).setdefault(forms[:place], tokens[:used])
                self.shortest[step.state] = min(self.shortest.get(step.state, place), place)


class SelfSampledSolutions:
    """Keeps what a model samples that is right, as a whole or as a beginning, problem by problem.

    A sample whose answer is right is **complete**. The longest beginning of any other whose state
    some known solution reaches, too, is **partial**, if it does not go on from there. Neither may
    have more than ``length_tolerance`` steps more than the shortest known way to the same. A
    partial solution is kept only if no kept one begins with it, and gives way to one that begins
    with it.

    References are traced when their problem first comes up. The state for checkpoints holds
    tokens alone: solutions are traced anew when it is taken up, so that a trace must be a function
    of its arguments. Under several processes, :meth:`synchronize` brings all to one state.

    Cost of a sample: its steps, compared with each kept solution of its problem.

    Args:
        references: tokens of a right solution of each problem, without one that ends it; None
            for a problem whose answer alone is known.
        trace: finds the steps of a solution, their states and answers. With programs, see
            :class:`gradatim.mining.program_steps.ProgramSteps`.
        length_tolerance: steps that a solution may have more than the shortest one.
        start: what sampling goes on from: "partial" (one of the partial solutions or nothing, all
            alike), "state" (one of the reached states, then one of the ways to it), or "empty".
        partial: whether partial solutions are kept.
        most: solutions to learn of a problem at a time; of more, some are drawn.
        prefer_complete: whether complete ones come first in that.

    Raises:
        InputError: an unknown start, or a number outside its range; later, a reference that fails
            or does not give the right answer.

    Source: Ni et al. 2023, arXiv 2205.14318, sections 3.1 and 3.2. The authors' code drops a right
    solution that is too long; here its beginning may still count.

    >>> def trace(problem, tokens):  # each token is a step and adds up; the answer is 4
    ...     sums = [sum(tokens[: place + 1]) for place in range(len(tokens))]
    ...     ends = [None if s < 4 else s == 4 for s in sums]
    ...     return [Step((t,), s, e) for t, s, e in zip(tokens, sums, ends)]
    >>> mined = SelfSampledSolutions([[2, 1, 1]], trace)
    >>> mined.add(0, [3, 1]), mined.add(0, [2, 3]), mined.add(0, [1, 2, 2]), mined.add(0, [9])
    ('complete', 'known', 'nothing', 'nothing')
    >>> [(one.tokens, one.complete) for one in mined.solutions(0)]
    [((2, 1, 1), True), ((3, 1), True)]
    """

    def __init__(
        self,
        references: Sequence[Tokens | None],
        trace: Trace,
        *,
        length_tolerance: int = 0,
        start: str = "partial",
        partial: bool = True,
        most: int = 100,
        prefer_complete: bool = True,
    ) -> None:
        check_choice("start", start, STARTS)
        check_range("length_tolerance", length_tolerance, 0)
        check_range("most", most, 1)
        self.references, self.trace = references, trace
        self.length_tolerance, self.start, self.partial = length_tolerance, start, partial
        self.most, self.prefer_complete = most, prefer_complete
        self._buffers: dict[int, _Buffer] = {}
        self._touched: set[int] = set()

    def __len__(self) -> int:
        """The number of problems."""
        return len(self.references)

    def step(
        self, problems: Sequence[int], extend: Extend, generator: torch.Generator | None = None
    ) -> list[list[Solution]]:
        """Sample as :meth:`sample` does, and say what is to be learned of each problem."""
        self.sample(problems, extend, generator)
        return [self.solutions(problem, generator) for problem in problems]

    def sample(
        self, problems: Sequence[int], extend: Extend, generator: torch.Generator | None = None
    ) -> Counter[str]:
        """Sample behind known beginnings, and keep what is right.

        Args:
            problems: positions of the problems.
            extend: samples solutions behind beginnings, and returns both together.
            generator: what the beginnings depend on; None draws from torch's global one.

        Returns:
            What became of the samples: how many of each of ``OUTCOMES``.

        Raises:
            InputError: ``extend`` does not return a list a problem.
        """
        sampled = extend(problems, self.starts(problems, generator))
        if len(sampled) != len(problems):
            raise InputError(f"extend: expected {len(problems)} lists, got {len(sampled)}")
        return Counter(
            self.add(problem, tokens)
            for problem, some in zip(problems, sampled, strict=True)
            for tokens in some
        )

    def starts(
        self, problems: Sequence[int], generator: torch.Generator | None = None
    ) -> list[tuple[int, ...]]:
        """The tokens that sampling goes on from, for each problem."""
        found: list[tuple[int, ...]] = []
        for problem in problems:
            buffer = self._buffer(problem)
            ways: list[tuple[int, ...]] = [()]
            if self.start == "partial":
                ways = [(), *map(_tokens, buffer.partial)]
            elif self.start == "state":
                states: list[list[tuple[int, ...]]] = [[()]]
                states += [list(some.values()) for some in buffer.states.values()]
                ways = states[_draw(len(states), generator)]
            found.append(ways[_draw(len(ways), generator)])
        return found

    def add(self, problem: int, tokens: Tokens) -> str:
        """Judge a sample, and keep what is right of it.

        Args:
            problem: its position.
            tokens: the whole solution, the beginning it was sampled behind included.

        Returns:
            "complete" or "partial" if it was kept as such, "known" if it is there already,
            "nothing" if nothing of it is known to be right, "failed" if it cannot be traced.
        """
        buffer = self._buffer(problem)
        steps = self.trace(problem, tokens)
        if steps is None:
            return "failed"
        reached = 0
        for place, step in enumerate(steps, start=1):
            if step.right is not None:
                shortest = min(map(len, buffer.complete), default=place)
                if step.right and place - shortest <= self.length_tolerance:
                    return self._keep(problem, tuple(steps[:place]), complete=True)
                break
            known = buffer.shortest.get(step.state)
            if known is not None and place - known <= self.length_tolerance:
                reached = place
        if not reached or not self.partial:
            return "nothing"
        return self._keep(problem, tuple(steps[:reached]), complete=False)

    def solutions(self, problem: int, generator: torch.Generator | None = None) -> list[Solution]:
        """What is to be learned of a problem: its reference first, then what was found."""
        buffer = self._buffer(problem)
        whole = [Solution(_tokens(steps), True) for steps in buffer.complete]
        parts = [Solution(_tokens(steps), False) for steps in buffer.partial]
        if len(whole) + len(parts) <= self.most:
            return whole + parts
        if not self.prefer_complete:
            return _some(whole + parts, self.most, generator)
        if len(whole) >= self.most:
            return _some(whole, self.most, generator)
        return whole + _some(parts, self.most - len(whole), generator)

    def sizes(self, problem: int) -> tuple[int, int]:
        """How many complete and partial solutions of a problem are known."""
        buffer = self._buffer(problem)
        return len(buffer.complete), len(buffer.partial)

    def merge(self, *states: Mapping[str, Any]) -> None:
        """Take over what others have found, as from workers that ran apart.

        Args:
            states: their ``state_dict()``.

        Raises:
            InputError: a state of other problems.
        """
        for state in states:
            rows = _decode(self._checked(state))
            self._fold(rows, {problem for problem, _, _ in rows if problem not in self._buffers})

    def synchronize(self, gather: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Bring the solutions of all processes to one state; every rank calls it.

        Args:
            gather: concatenates a tensor over the ranks in rank order along the first dimension.
        """
        rows = _decode(gather(_encode(self._rows(sorted(self._touched)))))
        self._fold(rows, {problem for problem, _, _ in rows})
        self._touched.clear()

    def state_dict(self) -> dict[str, Any]:
        """All solutions that are known, as tensors."""
        rows = _encode(self._rows(sorted(self._buffers)))
        return {"problems": len(self), "rows": rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state_dict` returned.

        Raises:
            InputError: a state of other problems, or a solution that can no longer be traced.
        """
        rows = _decode(self._checked(state))
        kept: dict[int, _Buffer] = {problem: _Buffer([], []) for problem, _, _ in rows}
        for problem, complete, tokens in rows:
            steps = self._retrace(problem, tokens)
            (kept[problem].complete if complete else kept[problem].partial).append(steps)
        self._buffers = {p: _Buffer(one.complete, one.partial) for p, one in kept.items()}
        self._touched.clear()

    def _checked(self, state: Mapping[str, Any]) -> torch.Tensor:
        """The solutions of a state of as many problems."""
        if state["problems"] != len(self):
            raise InputError(
                f"state: expected {len(self)} problems, got those of {state['problems']}"
            )
        rows: torch.Tensor = state["rows"]
        return rows

    def _buffer(self, problem: int) -> _Buffer:
        """What is known of a problem; its reference at first."""
        if problem not in self._buffers:
            check_range("problem", problem, 0, len(self) - 1)
            reference = self.references[problem]
            complete = [] if reference is None else [self._reference(problem, reference)]
            self._buffers[problem] = _Buffer(complete, [])
        return self._buffers[problem]

    def _reference(self, problem: int, tokens: Tokens) -> tuple[Step, ...]:
        """The steps of a reference, up to its answer."""
        steps = self.trace(problem, tokens)
        for place, step in enumerate(steps or (), start=1):
            if step.right is not None:
                if step.right:
                    return tuple((steps or ())[:place])
                break
        why = "cannot be traced" if steps is None else "does not give the right answer"
        raise InputError(f"references: the solution of problem {problem} {why}")

    def _keep(self, problem: int, steps: tuple[Step, ...], *, complete: bool) -> str:
        """Put a solution into its problem's buffer, unless it adds nothing."""
        buffer, forms = self._buffers[problem], _forms(steps)
        if complete and forms in map(_forms, buffer.complete):
            return "known"
        if not complete and any(
            _forms(other)[: len(forms)] == forms for other in buffer.complete + buffer.partial
        ):
            return "known"
        partial = [one for one in buffer.partial if forms[: len(one)] != _forms(one)]
        if complete:
            self._buffers[problem] = _Buffer([*buffer.complete, steps], partial)
        else:
            self._buffers[problem] = _Buffer(buffer.complete, [*partial, steps])
        self._touched.add(problem)
        return "complete" if complete else "partial"

    def _rows(self, problems: Iterable[int]) -> "list[_Row]":
        """The solutions of some problems, the complete ones of each first."""
        return [
            (problem, complete, _tokens(steps))
            for problem in problems
            for complete, some in (
                (True, self._buffers[problem].complete),
                (False, self._buffers[problem].partial),
            )
            for steps in some
        ]

    def _fold(self, rows: "Sequence[_Row]", anew: Iterable[int]) -> None:
        """Keep solutions in their order, all complete ones first, in some buffers from nothing."""
        for problem in anew:
            self._buffers[problem] = _Buffer([], [])
        for complete in (True, False):
            for problem, whole, tokens in rows:
                if whole == complete:
                    self._keep(problem, self._retrace(problem, tokens), complete=complete)

    def _retrace(self, problem: int, tokens: Tokens) -> tuple[Step, ...]:
        steps = self.trace(problem, tokens)
        if steps is None:
            raise InputError(f"trace: a kept solution of problem {problem} can not be traced")
        return tuple(steps)


_Row = tuple[int, bool, tuple[int, ...]]
"""A solution: its problem, whether it is complete, its tokens."""


def _forms(steps: Sequence[Step]) -> tuple[Hashable, ...]:
    return tuple(step.tokens if step.form is None else step.form for step in steps)


def _tokens(steps: Sequence[Step]) -> tuple[int, ...]:
    return tuple(token for step in steps for token in step.tokens)


def _draw(count: int, generator: torch.Generator | None) -> int:
    return int(torch.randint(count, (1,), generator=generator)) if count > 1 else 0


def _some(given: list[Solution], count: int, generator: torch.Generator | None) -> list[Solution]:
    """A random part, in its order."""
    places = torch.randperm(len(given), generator=generator)[:count]
    return [given[place] for place in sorted(places.tolist())]


def _encode(rows: Sequence[_Row]) -> torch.Tensor:
    """Solutions as one row of integers: problem, complete, number of tokens, tokens."""
    flat = [
        n for problem, complete, tokens in rows for n in (problem, complete, len(tokens), *tokens)
    ]
    return torch.tensor(flat, dtype=torch.long)


def _decode(numbers: torch.Tensor) -> list[_Row]:
    """Undo :func:`_encode`, also of several joined together."""
    flat, rows, place = numbers.tolist(), list[_Row](), 0
    while place < len(flat):
        problem, complete, count = flat[place : place + 3]
        start = place + 3
        place = start + count
        rows.append((problem, bool(complete), tuple(flat[start:place])))
    return rows
