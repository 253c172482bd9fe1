"""Rejection sampling with a verifier: as many right responses to each question as it shall have."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator
from gradatim.curriculum.response_budget import allocate_trials

Prompt = TypeVar("Prompt")
Response = TypeVar("Response")

Generate = Callable[[list[Prompt], int], Sequence[Sequence[Response]]]
"""``generate(prompts, n)`` gives for each prompt up to n responses, at least one."""

Verify = Callable[[Prompt, Response], Any]
"""``verify(prompt, response)`` says whether the response is right: true or false."""


class Reseedable(Protocol):
    """A generator that is told the number of each call beforehand.

    If its draws depend on that number alone, a run that was interrupted and resumed gives what it
    would have given without the interruption.
    """

    def reseed(self, call: int) -> None:
        """Make ready for a call."""
        ...


class Kept(NamedTuple, Generic[Response]):
    """A right response.

    Attributes:
        question: which question it answers.
        trial: the how manyth trial of that question it was, from 0.
        response: what was answered.
    """

    question: int
    trial: int
    response: Response


@dataclass(frozen=True)
class Call(Generic[Response]):
    """What one call of the generator brought.

    Attributes:
        questions: which were asked.
        trials: responses to each.
        correct: how many of them were right.
        kept: the right ones that were kept.
    """

    questions: list[int]
    trials: list[int]
    correct: list[int]
    kept: list[Kept[Response]]


@dataclass
class RejectionSet(Generic[Response]):
    """Right responses to questions, and what they cost; also the state that sampling resumes from.

    Attributes:
        targets: right responses wanted of each question, shape [N].
        n_trials: responses sampled so far, shape [N].
        n_correct: right ones among them, repeated ones counted, shape [N].
        kept: those that were kept, in the order in which they were found.
        calls: calls of the generator.

    >>> found = RejectionSet.begin([2, 1])
    >>> found.add(Call([0], [4], [3], [Kept(0, 1, "a"), Kept(0, 2, "b"), Kept(0, 3, "c")]))
    >>> found.counts.tolist(), found.n_trials.tolist(), len(found.chosen(seed=0))
    ([3, 0], [4, 0], 2)
    """

    targets: NDArray[np.int64]
    n_trials: NDArray[np.int64]
    n_correct: NDArray[np.int64]
    kept: list[Kept[Response]] = field(default_factory=list)
    calls: int = 0

    @classmethod
    def begin(cls, targets: ArrayLike, calls: Iterable[Call[Response]] = ()) -> "RejectionSet[Any]":
        """Nothing sampled yet, or what the calls brought that were made already.

        Raises:
            InputError: targets that are no whole numbers of at least 0 (the row is named).
        """
        wanted = np.asarray(targets)
        bad = np.flatnonzero((wanted < 0) | (wanted != np.floor(wanted)))
        if wanted.ndim != 1 or len(bad):
            got = list(wanted.shape) if wanted.ndim != 1 else f"{wanted[bad[0]]} at row {bad[0]}"
            raise InputError(f"targets: expected whole numbers from 0, shape [N], got {got}")
        nothing = np.zeros(len(wanted), dtype=np.int64)
        found: RejectionSet[Any] = cls(wanted.astype(np.int64), nothing, nothing.copy())
        for call in calls:
            found.add(call)
        return found

    def add(self, call: Call[Response]) -> None:
        """Take in what a call brought."""
        np.add.at(self.n_trials, call.questions, call.trials)
        np.add.at(self.n_correct, call.questions, call.correct)
        self.kept.extend(call.kept)
        self.calls += 1

    @property
    def counts(self) -> NDArray[np.int64]:
        """Responses kept of each question, those beyond its target among them, shape [N]."""
        questions = np.array([one.question for one in self.kept], dtype=np.int64)
        return np.bincount(questions, minlength=len(self.targets))

    def chosen(self, seed: int = 0) -> list[Kept[Response]]:
        """At most as many of each question as it shall have: a random choice, in the order found.

        Args:
            seed: what the choice depends on.
        """
        order = numpy_generator(seed, "chosen responses").permutation(len(self.kept))
        taken = np.zeros(len(self.targets), dtype=np.int64)
        rows = []
        for row in order.tolist():
            question = self.kept[row].question
            if taken[question] < self.targets[question]:
                taken[question] += 1
                rows.append(row)
        return [self.kept[row] for row in sorted(rows)]


def rejection_sample(
    generate: Generate[Prompt, Response],
    verify: Verify[Prompt, Response],
    prompts: Sequence[Prompt],
    targets: ArrayLike,
    *,
    max_trials: int = 2048,
    trial_budget: int | None = None,
    batch: int = 1024,
    deduplicate: bool = True,
    lowest_pass_rate: float = 0.0,
    state: RejectionSet[Response] | None = None,
    after_call: Callable[[Call[Response]], None] | None = None,
) -> RejectionSet[Response]:
    """Sample responses until each question has as many right ones as it shall have.

    A question is sampled from until it has them, its trials are used up, or the budget is. How
    many responses a call asks for follows from the pass rate seen so far
    (:func:`~gradatim.curriculum.response_budget.allocate_trials`), rounded down to a power of 2, so
    that questions of like need share a call. Every call is a function of the state.

    Args:
        generate: ``generate(prompts, n)`` gives for each prompt a list of up to n responses.
        verify: ``verify(prompt, response)`` says whether a response is right.
        prompts: the questions, N of them, whatever the generator understands.
        targets: right responses wanted of each, shape [N]; from
            :func:`~gradatim.curriculum.response_budget.response_targets`. The same number as
            targets and ``max_trials`` gives every question exactly so many trials (vanilla).
        max_trials: trials of one question at most.
        trial_budget: trials of all questions together at most; None for no limit. What is there
            is dealt out so that all targets come nearer at the same pace.
        batch: responses that a call asks for at most.
        deduplicate: keep equal responses to a question once, and count them once.
        lowest_pass_rate: give a question up when its pass rate is below this with a posterior
            probability of 0.95.
        state: what an earlier run ended with, to go on from; it is not modified.
        after_call: called with what each call brought, to be written down: ``RejectionSet.begin``
            makes a state of it.

    Returns:
        The right responses, those beyond a target among them, and the trials.

    Raises:
        InputError: unequal lengths, a number out of range, a state of other targets, a generator
            that returns other than 1 to n responses a prompt, or a verifier that returns neither
            true nor false.

    Source: Tong et al. 2024, arXiv 2407.13690, section 3. The authors' code goes on until there is
    one more than the target.

    >>> answers = iter(range(100))
    >>> def generate(prompts, n):
    ...     return [[next(answers) for _ in range(n)] for _ in prompts]
    >>> found = rejection_sample(generate, lambda prompt, r: r % prompt == 0, [1, 2], [2, 2])
    >>> found.counts.tolist(), bool((found.n_trials <= 8).all())
    ([2, 2], True)
    """
    found = RejectionSet.begin(targets)
    check_same_length(prompts=prompts, targets=found.targets)
    check_range("max_trials", max_trials, 1)
    check_range("batch", batch, 1)
    if trial_budget is not None:
        check_range("trial_budget", trial_budget, 0)
    if state is not None:
        found = _copy_of(state, found.targets)
    seen: list[set[Hashable]] = [set() for _ in prompts]
    for one in found.kept:
        seen[one.question].add(_identity(one.response))
    counts = found.counts
    reseed = getattr(generate, "reseed", None)  # Reseedable
    while True:
        left = np.iinfo(np.int64).max if trial_budget is None else trial_budget
        questions, copies = _next_call(
            counts,
            found,
            max(left - int(found.n_trials.sum()), 0),
            max_trials,
            batch,
            lowest_pass_rate,
        )
        if not len(questions):
            return found
        if reseed is not None:
            reseed(found.calls)
        answers = generate([prompts[question] for question in questions], copies)
        call = _judge(answers, verify, prompts, questions, copies, found, seen, deduplicate)
        found.add(call)
        np.add.at(counts, [one.question for one in call.kept], 1)
        if after_call is not None:
            after_call(call)


def _copy_of(state: RejectionSet[Any], targets: NDArray[np.int64]) -> RejectionSet[Any]:
    if not np.array_equal(state.targets, targets):
        raise InputError(
            f"state: expected one of the same {len(targets)} targets, got one of "
            f"{len(state.targets)} others"
        )
    return RejectionSet(
        targets, state.n_trials.copy(), state.n_correct.copy(), list(state.kept), state.calls
    )


def _next_call(
    counts: NDArray[np.int64],
    found: RejectionSet[Any],
    trials: int,
    max_trials: int,
    batch: int,
    lowest_pass_rate: float,
) -> tuple[list[int], int]:
    """Which questions to ask next, the least tried first, and how many responses of each."""
    need = allocate_trials(
        np.minimum(counts, found.n_trials),
        found.n_trials,
        found.targets,
        trials,
        max_trials=max_trials,
        lowest_pass_rate=lowest_pass_rate,
    )
    wanted = np.flatnonzero(need)
    if not len(wanted):
        return [], 0
    # Half of what is needed on average, but never less than is missing: so few are too many.
    missing = found.targets[wanted] - counts[wanted]
    asked = np.minimum(np.minimum(need[wanted], batch), np.maximum(missing, need[wanted] // 2))
    copies = 1 << np.log2(asked).astype(np.int64)
    order = np.lexsort((wanted, found.n_trials[wanted]))
    alike = order[copies[order] >= copies[order[0]]]
    chosen = alike[: max(1, batch // int(copies[order[0]]))]
    return wanted[chosen].tolist(), int(copies[order[0]])


def _judge(
    answers: Sequence[Sequence[Any]],
    verify: Verify[Any, Any],
    prompts: Sequence[Any],
    questions: Sequence[int],
    copies: int,
    found: RejectionSet[Any],
    seen: list[set[Hashable]],
    deduplicate: bool,
) -> Call[Any]:
    """Verify the responses of a call, and keep the right ones."""
    if len(answers) != len(questions):
        raise InputError(
            f"generate: expected responses to {len(questions)} prompts, got {len(answers)} lists"
        )
    call: Call[Any] = Call(list(questions), [], [], [])
    for question, responses in zip(questions, answers, strict=True):
        if not 1 <= len(responses) <= copies:
            raise InputError(
                f"generate: expected 1 to {copies} responses to a prompt, got {len(responses)} to "
                f"question {question}"
            )
        correct = 0
        for trial, response in enumerate(responses, start=int(found.n_trials[question])):
            if not _is_right(verify(prompts[question], response), question):
                continue
            correct += 1
            name = _identity(response)
            if not deduplicate or name not in seen[question]:
                seen[question].add(name)
                call.kept.append(Kept(question, trial, response))
        call.trials.append(len(responses))
        call.correct.append(correct)
    return call


def _is_right(verdict: Any, question: int) -> bool:
    if isinstance(verdict, bool | np.bool_) or (
        isinstance(verdict, int | float | np.number) and verdict in (0, 1)
    ):
        return bool(verdict)
    raise InputError(f"verify: expected true or false, got {verdict!r} for question {question}")


def _identity(response: Any) -> Hashable:
    """What two equal responses have in common, whatever they are made of."""
    if isinstance(response, list | tuple):
        return tuple(map(_identity, response))
    return response if isinstance(response, Hashable) else repr(response)
