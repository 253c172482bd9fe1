"""Accuracy by what was trained on and what is tested on: the matrix from easy to hard."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from gradatim.core.errors import InputError
from gradatim.core.seeds import torch_generator
from gradatim.core.statistics import Interval, mean_interval
from gradatim.targets.label_noise import inject_label_noise

PredictRows: TypeAlias = Callable[
    [NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], ArrayLike
]
"""Train on (positions, labels) and give class probabilities, shape [Q, C], of other positions."""


class Draw(Protocol):
    """Positions of training and test examples by stratum."""

    @property
    def train(self) -> Mapping[str, NDArray[np.int64]]:
        """Stratum -> positions of its training examples."""

    @property
    def test(self) -> Mapping[str, NDArray[np.int64]]:
        """Stratum -> positions of its test examples."""


@dataclass(frozen=True)
class StrataMatrix:
    """Outcomes of training on one stratum and testing on every other.

    Attributes:
        train: what was trained on, A names.
        test: what was tested on, T names.
        accuracy: of each draw, shape [draws, A, T].
        correct: name of a training stratum -> whether each example was solved in each draw, shape
            [N, draws]; NaN where the draw did not test it.
        tested: name of a test stratum -> positions that any draw tested.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]
    accuracy: NDArray[np.float64]
    correct: dict[str, NDArray[np.float32]]
    tested: dict[str, NDArray[np.int64]]

    def interval(self, train: str, test: str, confidence: float = 0.95) -> Interval:
        """Mean accuracy over draws with its t interval.

        Raises:
            InputError: a name that is not there, or fewer than two draws.
        """
        for name, known in ((train, self.train), (test, self.test)):
            if name not in known:
                raise InputError(f"stratum: expected one of {', '.join(known)}, got {name!r}")
        place = self.train.index(train), self.test.index(test)
        return mean_interval(self.accuracy[:, place[0], place[1]], confidence)


def easy_to_hard_matrix(
    fit_predict: PredictRows, labels: ArrayLike, draws: Sequence[Draw]
) -> StrataMatrix:
    r"""Train on each stratum and test on each.

    .. math:: A_{st} = \operatorname*{mean}_{i \in \text{test}(t)}
        \bigl[ \operatorname*{arg\,max}_c p^{(s)}_{ic} = y_i \bigr]

    Args:
        fit_predict: trains on positions with labels, and gives class probabilities of others.
        labels: class of each example, integers from 0, shape [N].
        draws: from :func:`~gradatim.selection.stratified_draws.stratified_draws`.

    Returns:
        The matrix.

    Raises:
        InputError: no draw.

    Source: Hase et al. 2024, arXiv 2401.06751.

    >>> from gradatim.selection.stratified_draws import stratified_draws
    >>> draws = stratified_draws({"easy": range(4), "hard": range(4, 8)}, 2, 3)
    >>> def always_zero(rows, labels, queries):
    ...     return np.tile([1.0, 0.0], (len(queries), 1))
    >>> easy_to_hard_matrix(always_zero, [0] * 4 + [1] * 4, draws).accuracy[0].tolist()
    [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]
    """
    if not len(draws):
        raise InputError("draws: expected at least one, got none")
    true = np.asarray(labels, dtype=np.int64)
    train, test = tuple(draws[0].train), tuple(draws[0].test)
    accuracy = np.empty((len(draws), len(train), len(test)))
    shape = (len(true), len(draws))
    correct = {name: np.full(shape, np.nan, dtype=np.float32) for name in train}
    for number, draw in enumerate(draws):
        queries = np.concatenate([draw.test[name] for name in test])
        ends = np.cumsum([len(draw.test[name]) for name in test])[:-1]
        for row, name in enumerate(train):
            rows = draw.train[name]
            hits = _hits(fit_predict, rows, true[rows], queries, true)
            correct[name][queries, number] = hits
            accuracy[number, row] = [part.mean() for part in np.split(hits, ends)]
    tested = {name: np.unique(np.concatenate([draw.test[name] for draw in draws])) for name in test}
    return StrataMatrix(train, test, accuracy, correct, tested)


def accuracy_under_noise(
    fit_predict: PredictRows,
    labels: ArrayLike,
    draws: Sequence[Draw],
    rates: Sequence[float],
    *,
    train: str = "hard",
    test: str = "hard",
    classes: int | ArrayLike | None = None,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Accuracy after training on labels a share of which is wrong.

    Wrong labels are drawn from all other classes alike, so that the share is that of wrong labels.

    Args:
        fit_predict: as for :func:`easy_to_hard_matrix`.
        labels: class of each example, shape [N].
        draws: the draws.
        rates: shares of wrong labels in [0, 1], K of them.
        train: the stratum to train on.
        test: the stratum to test on.
        classes: how many there are, or how many each example has to choose from, shape [N].
        seed: what the wrong labels depend on, with the draw.

    Returns:
        Shape [draws, K].

    Raises:
        InputError: a rate outside [0, 1].

    Source: Hase et al. 2024, arXiv 2401.06751 (the noise experiment). There a share p draws
    from all classes, the right one too: p (1 - 1/C) of the labels are wrong.
    """
    true = np.asarray(labels, dtype=np.int64)
    count = np.broadcast_to(
        int(true.max()) + 1 if classes is None else np.asarray(classes, dtype=np.int64), true.shape
    )
    found = np.empty((len(draws), len(rates)))
    for number, draw in enumerate(draws):
        rows, queries = draw.train[train], draw.test[test]
        for column, rate in enumerate(rates):
            noisy = true[rows].copy()
            for choices in np.unique(count[rows]):
                chosen = count[rows] == choices
                generator = torch_generator(seed, "wrong labels", number, int(choices))
                noisy[chosen] = inject_label_noise(
                    torch.from_numpy(noisy[chosen]),
                    rate,
                    num_classes=int(choices),
                    include_true=False,
                    generator=generator,
                ).numpy()
            found[number, column] = _hits(fit_predict, rows, noisy, queries, true).mean()
    return found


def _hits(
    fit_predict: PredictRows,
    rows: NDArray[np.int64],
    labels: NDArray[np.int64],
    queries: NDArray[np.int64],
    true: NDArray[np.int64],
) -> NDArray[np.bool_]:
    guess = np.asarray(fit_predict(rows, labels, queries)).argmax(axis=1)
    return np.asarray(guess == true[queries])
