"""Search for what a teacher should show: examples are replaced where its students fail."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import f1_score

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator

Ints = NDArray[np.int64]

Predict = Callable[[Ints, Ints], ArrayLike]
"""From positions of the examples shown and of N rows to predicted labels, shape [N]."""

Propose = Callable[[Ints, Ints, np.random.Generator], Sequence[ArrayLike]]
"""From the examples shown, the rows that students failed, and a generator to new example sets."""

Measure = Callable[[Ints, Ints], float]
"""From right and predicted labels to a figure; the higher, the better."""


@dataclass(frozen=True)
class TaughtExamples:
    """What a search has found.

    Attributes:
        examples: positions of the best examples, in the order in which they are shown.
        score: the teacher's figure with them, on the training rows.
        best: the best examples before the first round and after each.
        scores: their figures.
    """

    examples: Ints
    score: float
    best: list[Ints]
    scores: list[float]


class IterativeTeaching:
    """Beam search over sets of examples, led by what students get wrong who are shown them.

    Each round, for each set of the beam, every student predicts a minibatch of training rows with
    it; new sets are proposed from all that was failed; old and new sets are scored by the
    *teacher's* own predictions on all training rows, and the best stay. The students say where to
    look, and do not score: what is sought is for the teacher.

    Teacher and students are anything that predicts from examples: a language model with the
    examples in its prompt, nearest neighbours, a small fit. With the teacher among the students it
    also teaches itself.

    Args:
        teacher: predicts, for the scores; see :data:`Predict`.
        students: predict, for the failures; at least one.
        propose: new sets, such as :func:`swap_near_failures`, or a language model that writes down
            which examples would have helped; see :data:`Propose`.
        shown: examples in a set.
        beam: sets that stay.
        rounds: how often.
        minibatch: rows that students predict in a round.
        measure: figure of the teacher's predictions, as :func:`f1`; None takes :func:`accuracy`.
        seed: what the draws depend on.

    Raises:
        InputError: no student, or a number below 1.

    Source: Ning et al. 2024, arXiv 2406.14629, section 5 (M3), and the authors' code: eight
    examples, a beam of four, five rounds, minibatches of 64. There one set begins, and candidates
    are scored on a random part of the training rows, drawn anew in each round.

    >>> labels = np.array([0, 0, 0, 1, 1, 1])
    >>> place = np.array([0.0, 0.1, 0.4, 0.6, 0.9, 1.0])
    >>> def nearest(examples, rows):
    ...     return labels[examples[np.abs(place[rows, None] - place[examples]).argmin(1)]]
    >>> propose = swap_near_failures(place[:, None], labels)
    >>> search = IterativeTeaching(nearest, [nearest], propose, shown=2)
    >>> search.fit(range(6), labels).score
    1.0
    """

    def __init__(
        self,
        teacher: Predict,
        students: Sequence[Predict],
        propose: Propose,
        *,
        shown: int = 8,
        beam: int = 4,
        rounds: int = 5,
        minibatch: int = 64,
        measure: Measure | None = None,
        seed: int = 0,
    ) -> None:
        if not len(students):
            raise InputError("students: expected at least one, got none")
        numbers = {"shown": shown, "beam": beam, "rounds": rounds, "minibatch": minibatch}
        for name, value in numbers.items():
            check_range(name, value, 1)
        self.teacher, self.students, self.propose = teacher, tuple(students), propose
        self.shown, self.beam, self.rounds, self.minibatch = shown, beam, rounds, minibatch
        self.measure = accuracy if measure is None else measure
        self.seed = seed

    def fit(
        self, rows: ArrayLike, labels: ArrayLike, *, start: Sequence[ArrayLike] | None = None
    ) -> TaughtExamples:
        """Search among training rows.

        Args:
            rows: positions of the rows that may be shown, and that predictions are made of.
            labels: of all rows, by position, integers.
            start: the first sets; None draws as many as the beam has, as many of each label as
                can be.

        Raises:
            InputError: fewer rows than are shown, a set of another size or with other rows, or
                predictions of another shape.
        """
        known, right = np.asarray(rows, dtype=np.int64), np.asarray(labels)
        if known.ndim != 1 or len(known) < self.shown:
            raise InputError(f"rows: expected at least {self.shown}, got {known.size}")
        generator = numpy_generator(self.seed, "start")
        given = (
            [self._balanced(known, right, generator) for _ in range(self.beam)]
            if start is None
            else start
        )
        scored = self._kept(self._scored(given, known, right, "start"))
        best, scores = [scored[0][1]], [scored[0][0]]
        for number in range(self.rounds):
            draw = numpy_generator(self.seed, "round", number)
            some = draw.permutation(known)[: self.minibatch]
            proposed = [
                new
                for _, examples in scored
                for new in self.propose(examples, self._failed(examples, some, right), draw)
            ]
            scored = self._kept([*scored, *self._scored(proposed, known, right, "propose")])
            best.append(scored[0][1])
            scores.append(scored[0][0])
        return TaughtExamples(best[-1], scores[-1], best, scores)

    def _balanced(self, rows: Ints, labels: Any, generator: np.random.Generator) -> Ints:
        """As many examples of each label as can be, in random order."""
        order = generator.permutation(rows)
        turn = np.zeros(len(order), dtype=np.int64)
        for label in np.unique(labels[order]):
            own = labels[order] == label
            turn[own] = np.arange(own.sum())
        return np.asarray(generator.permutation(order[turn.argsort(kind="stable")][: self.shown]))

    def _failed(self, examples: Ints, rows: Ints, labels: Any) -> Ints:
        """Rows that a student gets wrong, once for each student."""
        return np.concatenate(
            [rows[_predicted(one, examples, rows, "students") != labels[rows]]
             for one in self.students]
        )  # fmt: skip

    def _scored(
        self, sets: Sequence[ArrayLike], rows: Ints, labels: Any, name: str
    ) -> list[tuple[float, Ints]]:
        found = []
        for one in sets:
            examples = np.asarray(one, dtype=np.int64)
            different = len(np.unique(examples)) == self.shown == examples.size
            if examples.ndim != 1 or not different or not np.isin(examples, rows).all():
                raise InputError(
                    f"{name}: expected sets of {self.shown} different rows, got {examples.tolist()}"
                )
            predicted = _predicted(self.teacher, examples, rows, "teacher")
            found.append((float(self.measure(labels[rows], predicted)), examples))
        return found

    def _kept(self, scored: Sequence[tuple[float, Ints]]) -> list[tuple[float, Ints]]:
        """The best different sets in their best orders, earlier ones first where they are equal."""
        different: dict[tuple[int, ...], tuple[float, Ints]] = {}
        for score, examples in sorted(scored, key=lambda one: -one[0]):
            different.setdefault(tuple(sorted(examples.tolist())), (score, examples))
        return [*different.values()][: self.beam]


def f1(labels: Ints, predicted: Ints) -> float:
    """F1 of label 1; 0 where it is neither there nor predicted."""
    return float(f1_score(labels, predicted, pos_label=1, zero_division=0.0))


def accuracy(labels: Ints, predicted: Ints) -> float:
    """Share of right labels."""
    return float(np.mean(labels == predicted))


def swap_near_failures(features: ArrayLike, labels: ArrayLike, *, proposals: int = 4) -> Propose:
    """Propose sets in which one example has given way to a failed row, of the same label if it can.

    Args:
        features: of all rows, by position, shape [N, D].
        labels: of all rows.
        proposals: sets from each one.

    Returns:
        For each proposal a failed row is drawn, those that several students failed more often, and
        put in the place of the nearest example with its label, or else of the nearest one. Where
        nothing was failed nothing is proposed.

    Raises:
        InputError: fewer than one proposal, or features of another shape.

    >>> propose = swap_near_failures([[0.0], [1.0], [0.9]], [0, 1, 1], proposals=1)
    >>> propose(np.array([0, 1]), np.array([2]), np.random.default_rng(0))[0].tolist()
    [0, 2]
    """
    check_range("proposals", proposals, 1)
    space, classes = np.asarray(features, dtype=np.float64), np.asarray(labels)
    if space.ndim != 2 or len(space) != len(classes):
        raise InputError(f"features: expected shape [{len(classes)}, D], got {list(space.shape)}")

    def propose(examples: Ints, failed: Ints, generator: np.random.Generator) -> list[Ints]:
        new = []
        fresh = failed[~np.isin(failed, examples)]
        for _ in range(proposals if len(fresh) else 0):
            row = int(generator.choice(fresh))
            distance = np.linalg.norm(space[examples] - space[row], axis=1)
            other = classes[examples] != classes[row]
            place = int(np.argmin(np.where(other & ~other.all(), np.inf, distance)))
            changed = examples.copy()
            changed[place] = row
            new.append(changed)
        return new

    return propose


def _predicted(predict: Predict, examples: Ints, rows: Ints, name: str) -> Any:
    found = np.asarray(predict(examples, rows))
    if found.shape != rows.shape:
        raise InputError(f"{name}: expected {len(rows)} predictions, got shape {list(found.shape)}")
    return found
