"""Linear reward heads on frozen hidden states: logistic regression instead of training."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_same_length
from gradatim.core.errors import InputError

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths of the L2 penalty that are tried."""

_FOLDS = 5


class FrozenRewardHead:
    r"""Probability that a step or a solution is right, from one hidden state of a frozen model.

    .. math:: p = \sigma(w^\top (h - \mu) / s + b)

    with w and b by logistic regression under an L2 penalty. Its strength is the one with the best
    log-likelihood in cross-validation over whole problems, so that no problem is on both sides.

    Args:
        strengths: inverse strengths of the penalty to choose from.
        seed: what the division into folds depends on.

    Attributes:
        strength: the one that was chosen, after :meth:`fit`.

    >>> states = np.array([[0.0], [0.1], [1.0], [1.1]] * 3)
    >>> head = FrozenRewardHead().fit(states, [0, 0, 1, 1] * 3, problems=np.arange(12) // 4)
    >>> (head.scores([[0.0], [1.0]]) > 0.5).tolist()
    [False, True]
    """

    def __init__(self, *, strengths: tuple[float, ...] = STRENGTHS, seed: int = 0) -> None:
        self.strengths, self.seed = strengths, seed
        self.strength = float("nan")
        self._model: Any = None

    def fit(self, states: ArrayLike, labels: ArrayLike, problems: ArrayLike) -> "FrozenRewardHead":
        """Fit the head.

        Args:
            states: hidden states, shape [N, H].
            labels: whether each is right, booleans, shape [N].
            problems: which problem each belongs to, shape [N].

        Returns:
            Itself.

        Raises:
            InputError: shapes that do not fit, or labels that are all alike.
        """
        features, right, groups = _floats(states), np.asarray(labels, bool), np.asarray(problems)
        check_same_length(states=features, labels=right, problems=groups)
        if right.all() or not right.any():
            kind = "right" if len(right) and right.all() else "wrong"
            raise InputError(f"labels: expected right and wrong ones, got {len(right)} {kind} ones")
        self.strength = self._choose(features, right, groups)
        self._model = _pipeline(self.strength).fit(features, right)
        return self

    def scores(self, states: ArrayLike) -> NDArray[np.float64]:
        """Probabilities that states, shape [N, H], belong to what is right; shape [N].

        Raises:
            InputError: the head was not fitted.
        """
        if self._model is None:
            raise InputError("head: expected one that was fitted")
        features = _floats(states)
        if not len(features):
            return np.zeros(0)
        return np.asarray(self._model.predict_proba(features)[:, 1])

    def _choose(
        self, states: NDArray[np.float32], right: NDArray[np.bool_], problems: NDArray[Any]
    ) -> float:
        """The strength with the lowest mean log loss on problems that were held out."""
        from sklearn.metrics import log_loss
        from sklearn.model_selection import StratifiedGroupKFold

        folds = min(_FOLDS, len(np.unique(problems[right])), len(np.unique(problems[~right])))
        if folds < 2:
            return min(self.strengths, key=lambda one: abs(np.log10(one) + 3))
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=self.seed)
        losses = np.zeros(len(self.strengths))
        for train, test in splitter.split(states, right, problems):
            if right[train].all() or not right[train].any():
                continue
            for place, strength in enumerate(self.strengths):
                model = _pipeline(strength).fit(states[train], right[train])
                guess = model.predict_proba(states[test])[:, 1]
                losses[place] += log_loss(right[test], guess, labels=[False, True]) * len(test)
        return self.strengths[int(losses.argmin())]


def _pipeline(strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))


def _floats(states: ArrayLike) -> NDArray[np.float32]:
    features = np.asarray(states, dtype=np.float32)
    if features.ndim != 2:
        raise InputError(f"states: expected shape [N, H], got {list(features.shape)}")
    return features
