"""Training sets of right and wrong solutions of whole tasks and of their parts, alike in size."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from gradatim.core.checks import check_choice, check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator

E = TypeVar("E")
K = TypeVar("K", bound=Hashable)

KINDS = ("full", "sub", "full+sub", "full+rephrased")


@dataclass(frozen=True, slots=True)
class Supervised(Generic[E]):
    """An example of a mixture.

    Attributes:
        example: the example.
        task: position of the hard task that it belongs to.
        part: "full", "sub" or "rephrased".
        wrong: whether its solution ends wrong.
    """

    example: E
    task: int
    part: str
    wrong: bool


class SupervisionMixture(Generic[E]):
    """Draws supervision of hard tasks whose quality and difficulty are set exactly.

    Draws with one seed have the same tasks, whatever their kind, and nested errors: what is wrong
    at a low error rate is wrong at every higher one. Parts and rephrased solutions are added
    until they are as long together as the right solutions of the whole tasks: by the measure
    given as ``length``, tokens say, since parts are shorter.

    Args:
        full_correct: an example with a right solution for each hard task.
        full_wrong: one with a wrong solution; or several such lists by severity.
        sub_correct: for each task, examples of its parts with right solutions.
        sub_wrong: the same with wrong solutions, part by part.
        rephrase: an example in other words; for "full+rephrased".
        length: how long an example is; ``lambda example: 1`` matches numbers of examples.

    Raises:
        InputError: unequal numbers of tasks or parts.

    Source: He et al. 2024, arXiv 2410.20533, sections 3 to 7.

    >>> mixture = SupervisionMixture(["AAAA", "BBBB"], ["aaaa", "bbbb"],
    ...     [["A", "AA"], ["B", "BB"]], length=len)
    >>> [one.example for one in mixture.draw("full")]
    ['AAAA', 'BBBB']
    >>> sorted(one.wrong for one in mixture.draw("full", outcome_error=0.5))
    [False, True]
    """

    def __init__(
        self,
        full_correct: Sequence[E],
        full_wrong: Sequence[E] | Mapping[float, Sequence[E]] | None = None,
        sub_correct: Sequence[Sequence[E]] | None = None,
        sub_wrong: Sequence[Sequence[E]] | None = None,
        *,
        rephrase: Callable[[E], E] | None = None,
        length: Callable[[E], float],
    ) -> None:
        self.full_correct, self.full_wrong = full_correct, full_wrong
        self.sub_correct, self.sub_wrong = sub_correct, sub_wrong
        self.rephrase, self.length = rephrase, length
        for severity, wrong in full_wrong.items() if isinstance(full_wrong, Mapping) else ():
            if len(wrong) != len(full_correct):
                raise InputError(
                    f"full_wrong[{severity!r}]: expected {len(full_correct)} solutions, one a "
                    f"task, got {len(wrong)}"
                )
        if full_wrong is not None and not isinstance(full_wrong, Mapping):
            check_same_length(full_correct=full_correct, full_wrong=full_wrong)
        if sub_correct is not None:
            check_same_length(full_correct=full_correct, sub_correct=sub_correct)
        if sub_correct is not None and sub_wrong is not None:
            check_same_length(sub_correct=sub_correct, sub_wrong=sub_wrong)
            for task, (right, wrong) in enumerate(zip(sub_correct, sub_wrong, strict=True)):
                if len(right) != len(wrong):
                    raise InputError(
                        f"sub_wrong: expected {len(right)} parts of task {task}, got {len(wrong)}"
                    )

    def draw(
        self,
        kind: str,
        *,
        outcome_error: float = 0.0,
        severity: float | None = None,
        sub_error: float = 0.0,
        size: int | None = None,
        seed: int = 0,
    ) -> list[Supervised[E]]:
        """Draw a training set.

        Args:
            kind: "full", "sub", "full+sub", or "full+rephrased".
            outcome_error: share of the tasks whose whole solution is wrong: exactly
                ``round(outcome_error * size)`` of them.
            severity: which list of wrong solutions, if there are several.
            sub_error: share of the parts whose solution is wrong, as exactly.
            size: how many tasks; None takes all.
            seed: what the draws depend on.

        Returns:
            The examples, whole tasks first, each by position of its task.

        Raises:
            InputError: an unknown kind or severity, a number outside its range, or solutions that
                are needed and were not given.
        """
        check_choice("kind", kind, KINDS)
        check_range("outcome_error", outcome_error, 0, 1)
        check_range("sub_error", sub_error, 0, 1)
        size = len(self.full_correct) if size is None else size
        check_range("size", size, 1, len(self.full_correct))
        order = numpy_generator(seed, "tasks").permutation(len(self.full_correct))
        tasks = sorted(order[:size].tolist())
        found: list[Supervised[E]] = []
        if kind != "sub":
            found += self._whole(tasks, outcome_error, severity, seed)
        room = sum(self.length(self.full_correct[task]) for task in tasks)
        if kind == "full+rephrased":
            found += self._rephrased(found, room, seed)
        elif kind != "full":
            found += self._parts(tasks, room, sub_error, seed)
        return found

    def _whole(
        self, tasks: Sequence[int], rate: float, severity: float | None, seed: int
    ) -> list[Supervised[E]]:
        wrong = _share(tasks, rate, seed, "wrong")
        bad = self._wrong_solutions(severity) if wrong else self.full_correct
        return [
            Supervised(
                (bad if task in wrong else self.full_correct)[task], task, "full", task in wrong
            )
            for task in tasks
        ]

    def _wrong_solutions(self, severity: float | None) -> Sequence[E]:
        """The list of wrong solutions that is asked for."""
        if self.full_wrong is None:
            raise InputError("full_wrong: expected wrong solutions for outcome_error > 0, got None")
        if not isinstance(self.full_wrong, Mapping):
            if severity is not None:
                raise InputError(f"severity: expected None for one list of them, got {severity}")
            return self.full_wrong
        if severity is None or severity not in self.full_wrong:
            known = ", ".join(map(str, self.full_wrong))
            raise InputError(f"severity: expected one of {known}, got {severity}")
        return self.full_wrong[severity]

    def _parts(
        self, tasks: Sequence[int], room: float, rate: float, seed: int
    ) -> list[Supervised[E]]:
        right = self.sub_correct
        if right is None:
            raise InputError("sub_correct: expected solutions of parts for this kind, got None")
        random = numpy_generator(seed, "parts")
        queue: list[tuple[int, int, int]] = []
        for task in tasks:
            for turn, part in enumerate(random.permutation(len(right[task])).tolist()):
                queue.append((turn, task, part))
        ties = random.permutation(len(queue))
        # A part of every task before the second of any.
        turns = sorted(range(len(queue)), key=lambda place: (queue[place][0], ties[place]))
        places = [queue[place][1:] for place in turns]
        chosen = _fill(places, room, lambda one: self.length(right[one[0]][one[1]]))
        if not chosen:
            raise InputError(
                "sub_correct: expected parts that are shorter than all tasks, got none"
            )
        wrong = _share(chosen, rate, seed, "wrong parts")
        if wrong and self.sub_wrong is None:
            raise InputError("sub_wrong: expected wrong solutions for sub_error > 0, got None")
        source = {False: right, True: self.sub_wrong or right}
        return [
            Supervised(source[one in wrong][one[0]][one[1]], one[0], "sub", one in wrong)
            for one in sorted(chosen)
        ]

    def _rephrased(
        self, whole: Sequence[Supervised[E]], room: float, seed: int
    ) -> list[Supervised[E]]:
        if self.rephrase is None:
            raise InputError("rephrase: expected a function for this kind, got None")
        made = [
            Supervised(self.rephrase(one.example), one.task, "rephrased", one.wrong)
            for one in whole
        ]
        order = numpy_generator(seed, "rephrased").permutation(len(made)).tolist()
        chosen = _fill(order, room, lambda place: self.length(made[place].example))
        return [made[place] for place in sorted(chosen)]


def match_error_rate(rates: Mapping[K, float], target: float) -> K:
    """The set whose outcome error rate is nearest to a target.

    Args:
        rates: name of each candidate set -> its error rate, as
            :func:`gradatim.metrics.supervision_errors.outcome_error_rate` gives it.
        target: the rate of the set to compare with.

    Returns:
        The name; of several that are as near the first.

    Raises:
        InputError: no candidate.

    Source: He et al. 2024, arXiv 2410.20533, section 6 (sets of weaker teachers beside those of
    the nearest error rate).

    >>> match_error_rate({"weak": 0.5, "weaker": 0.877, "weakest": 1.0}, 0.9)
    'weaker'
    """
    if not rates:
        raise InputError("rates: expected at least one candidate, got none")
    return min(rates, key=lambda name: abs(rates[name] - target))


def _share(items: Sequence[K], rate: float, seed: int, key: str) -> frozenset[K]:
    """Exactly ``round(rate * n)`` of the items; those of a lower rate are among them."""
    order = numpy_generator(seed, key).permutation(len(items))
    return frozenset(items[place] for place in order[: round(rate * len(items))].tolist())


def _fill(items: Iterable[K], room: float, length: Callable[[K], float]) -> list[K]:
    """The first items whose lengths come nearest to the room."""
    chosen, used = list[K](), 0.0
    for item in items:
        more = length(item)
        if used + more - room > room - used:
            break
        chosen.append(item)
        used += more
    return chosen
