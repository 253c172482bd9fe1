"""Active distillation: choose what the teacher labels, train a student on it, choose again.

    distiller = ActiveDistiller(lambda: MLP((64, 64, 10)), teacher, RobustSelector(), rounds=6,
                                budget=40)
    found = distiller.fit(pool, labelled, labels, held_out=(images, true_labels))
    found.student.probabilities(images)

Students are PyTorch modules that give logits, scikit-learn classifiers with ``predict_proba``, or
anything that learns from soft labels.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.core.seeds import derive_seed, numpy_generator
from gradatim.difficulty.prediction_uncertainty import entropy_difficulty, top_two_margin
from gradatim.recipes.soft_label_students import (
    Student,
    as_rows,
    as_student,
    check_probabilities,
    teacher_probabilities,
)
from gradatim.selection.query_selectors import QueryPool, Selector, wrong_labels

Gain = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From the student's probabilities, shape [n, C], to what each right label is worth, shape [n]."""


@dataclass(frozen=True)
class Distillation:
    """What active distillation ends with.

    Attributes:
        student: trained on what was given and all that was asked for.
        queries: positions in the pool that each round asked for.
        gains: what their right labels were worth when they were asked for, round by round.
        soft_labels: what the teacher said to them, round by round, each of shape [budget, C].
        num_wrong: how many labels of what was left the teacher was taken to have wrong, a round.
        figures: what ``evaluate`` said before the first round and after each.
    """

    student: Student
    queries: list[NDArray[np.int64]]
    gains: list[NDArray[np.float64]]
    soft_labels: list[NDArray[np.float64]]
    num_wrong: list[int | None]
    figures: list[Mapping[str, float]]

    def wrong_share(self, labels: ArrayLike) -> float:
        """The share of the answers whose likeliest class is not the true one.

        Args:
            labels: true classes of the whole pool; known in experiments only.
        """
        asked = np.concatenate(self.queries)
        said = np.concatenate(self.soft_labels).argmax(axis=1)
        return float((said != np.asarray(labels)[asked]).mean())


class ActiveDistiller:
    r"""Rounds of choosing points, asking the teacher for soft labels, and training a student anew.

    Before the first round the student is trained on the labelled set. Then each round computes the
    gains of what is left of the pool from the student's probabilities,

    .. math:: g_i = 1 - (p_{i(1)} - p_{i(2)}), \qquad m = \operatorname{round}((1 - a) n)

    with a the teacher's accuracy on held-out labels, lets the selector choose, and trains a new
    student on all labels so far.

    Args:
        student: makes an untrained student: a module, a classifier, or a :class:`Student`. It is
            called with the global generators seeded.
        teacher: class probabilities: a function of inputs, a module that gives logits, or a
            classifier with ``predict_proba``.
        selector: chooses, see :mod:`gradatim.selection.query_selectors`.
        rounds: how often.
        budget: points a round.
        gain: "margin", "entropy", or a function of the student's probabilities.
        features: what distances are measured between, from inputs to shape [n, D]; None takes
            the inputs as they are.
        train: options of :class:`NetworkStudent`, where the student is a module.
        seed: what all draws depend on.

    Raises:
        InputError: a number out of range, or an unknown gain.

    Source: Baykal et al. 2022, arXiv 2210.01213, with :class:`RobustSelector`.

    >>> from sklearn.linear_model import LogisticRegression
    >>> from gradatim.selection.query_selectors import RobustSelector
    >>> x = np.linspace(-1, 1, 41)[:, None]
    >>> def teacher(inputs):
    ...     return np.eye(2)[(inputs[:, 0] > 0.1).astype(int)]
    >>> distiller = ActiveDistiller(LogisticRegression, teacher, RobustSelector(), rounds=2,
    ...                             budget=5)
    >>> found = distiller.fit(x, x[[0, -1]], [0, 1], teacher_accuracy=0.9)
    >>> [len(rows) for rows in found.queries], found.num_wrong
    ([5, 5], [4, 4])
    """

    def __init__(
        self,
        student: Callable[[], Any],
        teacher: Any,
        selector: Selector,
        *,
        rounds: int = 6,
        budget: int = 40,
        gain: str | Gain = "margin",
        features: Callable[[Any], NDArray[np.floating]] | None = None,
        train: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        check_range("rounds", rounds, 1)
        check_range("budget", budget, 1)
        if isinstance(gain, str) and gain not in _GAINS:
            raise InputError(f"gain: expected {', '.join(_GAINS)} or a function, got {gain!r}")
        self.student, self.teacher, self.selector = student, teacher, selector
        self.rounds, self.budget, self.seed = rounds, budget, seed
        self.gain = _GAINS[gain] if isinstance(gain, str) else gain
        self.features = features or as_rows
        self.train = dict(train or {})

    def fit(
        self,
        pool: Any,
        labelled: Any,
        labels: ArrayLike,
        *,
        held_out: tuple[Any, ArrayLike] | None = None,
        teacher_accuracy: float | None = None,
        classes: int | None = None,
        evaluate: Callable[[Student], Mapping[str, float]] | None = None,
    ) -> Distillation:
        """Distil.

        Args:
            pool: unlabelled inputs, an array or tensor with a row an example.
            labelled: inputs whose class is known.
            labels: their classes, integers from 0.
            held_out: inputs and classes that neither teacher nor student was trained on, which
                tell how accurate the teacher is.
            teacher_accuracy: that accuracy, if it is known.
            classes: how many there are; None takes as many as the teacher has.
            evaluate: figures of a student, asked for before the first round and after each.

        Raises:
            InputError: a pool smaller than all rounds ask for, unequal lengths, labels without a
                class, or both or neither of ``held_out`` and ``teacher_accuracy`` where the
                selector needs to know how many labels are wrong.
        """
        given = np.asarray(labels)
        check_same_length(labelled=labelled, labels=given)
        if len(pool) < self.rounds * self.budget:
            raise InputError(
                f"pool: expected at least {self.rounds * self.budget:,} examples for {self.rounds} "
                f"rounds of {self.budget}, got {len(pool):,}"
            )
        said = check_probabilities(teacher_probabilities(self.teacher, labelled[:1]))
        count = classes or said.shape[1]
        if len(given) and not 0 <= given.min() <= given.max() < count:
            raise InputError(
                f"labels: expected classes from 0 to {count - 1}, got {given.min()} to "
                f"{given.max()}"
            )
        accuracy = self._accuracy(held_out, teacher_accuracy)
        return self._rounds(pool, labelled, np.eye(count)[given], accuracy, evaluate)

    def _rounds(
        self,
        pool: Any,
        labelled: Any,
        targets: NDArray[np.float64],
        accuracy: float | None,
        evaluate: Callable[[Student], Mapping[str, float]] | None,
    ) -> Distillation:
        figures = evaluate or (lambda _: {})
        inputs, left = labelled, np.arange(len(pool))
        student = self._trained(inputs, targets, 0)
        found = Distillation(student, [], [], [], [], [figures(student)])
        for number in range(1, self.rounds + 1):
            wrong = None if accuracy is None else wrong_labels(accuracy, len(left))
            rest = pool[left]
            gains = self.gain(student.probabilities(rest))
            options = QueryPool(gains, wrong, self.features(rest), self.features(inputs))
            random = numpy_generator(self.seed, "queries", number)
            places = self.selector(options, self.budget, random)
            chosen = left[places]
            answers = check_probabilities(teacher_probabilities(self.teacher, pool[chosen]))
            left = np.delete(left, places)
            inputs, targets = _joined(inputs, pool[chosen]), np.concatenate([targets, answers])
            student = self._trained(inputs, targets, number)
            found.queries.append(chosen)
            found.gains.append(gains[places])
            found.soft_labels.append(answers)
            found.num_wrong.append(wrong)
            found.figures.append(figures(student))
        return dataclasses.replace(found, student=student)

    def _trained(self, inputs: Any, targets: NDArray[np.float64], number: int) -> Student:
        torch.manual_seed(derive_seed(self.seed, "student", number))
        student = as_student(self.student(), targets.shape[1], self.train)
        student.learn(inputs, targets, derive_seed(self.seed, "training", number))
        return student

    def _accuracy(
        self, held_out: tuple[Any, ArrayLike] | None, teacher_accuracy: float | None
    ) -> float | None:
        if held_out is not None and teacher_accuracy is not None:
            raise InputError("held_out and teacher_accuracy: expected one of them, got both")
        if held_out is None:
            if teacher_accuracy is not None:
                check_range("teacher_accuracy", teacher_accuracy, 0, 1)
            return teacher_accuracy
        inputs, true = held_out[0], np.asarray(held_out[1])
        check_same_length(inputs=inputs, labels=true)
        said = check_probabilities(teacher_probabilities(self.teacher, inputs)).argmax(axis=1)
        return float((said == true).mean())


def _joined(first: Any, second: Any) -> Any:
    if isinstance(first, torch.Tensor):
        return torch.cat([first, torch.as_tensor(second)])
    return np.concatenate([np.asarray(first), np.asarray(second)])


def _margin(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(top_two_margin(torch.from_numpy(probabilities)).numpy())


def _entropy(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(entropy_difficulty(torch.from_numpy(probabilities)).numpy())


_GAINS: dict[str, Gain] = {"margin": _margin, "entropy": _entropy}
