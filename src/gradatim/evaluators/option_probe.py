"""A linear probe that chooses among the options of a question."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from gradatim.core.checks import check_range, check_same_length
from gradatim.core.errors import InputError


class OptionProbe:
    r"""Probability that each option of a question is the answer, by one weight vector for all.

    .. math:: p_{ia} = \frac{e^{w^\top z_{ia}}}{\sum_{b} e^{w^\top z_{ib}}}, \qquad
        \min_w \; - \sum_i \log p_{i y_i} + \frac{1}{2 \lambda} \lVert w \rVert^2

    z are the features, standardized by mean and deviation over all options of the training
    questions. There is no intercept, since one that all options share has no effect. The problem is
    convex and is solved by L-BFGS.

    Args:
        strength: lambda, the inverse strength of the penalty, as C of scikit-learn.
        most_steps: of L-BFGS.

    Attributes:
        weights: w, shape [D], after :meth:`fit`.

    Source: Hase et al. 2024, arXiv 2401.06751 (linear probes). The paper penalizes the
    norm, not its square, and stops gradient descent early.

    >>> options = np.array([[[1.0], [0.0]], [[0.0], [1.0]], [[0.9], [0.1]]])
    >>> probe = OptionProbe().fit(options, [0, 1, 0])
    >>> probe.predict_proba([[[0.2], [0.8]]]).argmax(axis=1).tolist()
    [1]
    """

    def __init__(self, *, strength: float = 0.01, most_steps: int = 200) -> None:
        check_range("strength", strength, 0.0, open_low=True)
        check_range("most_steps", most_steps, 1)
        self.strength, self.most_steps = strength, most_steps
        self.weights: NDArray[np.float64] | None = None
        self._centre: Any = 0.0
        self._scale: Any = 1.0

    def fit(
        self, features: ArrayLike, labels: ArrayLike, sizes: ArrayLike | None = None
    ) -> "OptionProbe":
        """Fit the weights.

        Args:
            features: of every option, shape [N, A, D].
            labels: which option is the answer, integers, shape [N].
            sizes: how many of the A options each question has, the first ones, shape [N]; None if
                all have A.

        Returns:
            Itself.

        Raises:
            InputError: shapes that do not fit, no question, or an answer that is no option.
        """
        options, there = _options(features, sizes)
        answers = np.asarray(labels, dtype=np.int64)
        check_same_length(features=options, labels=answers)
        count = there.sum(axis=1)
        bad = np.flatnonzero((answers < 0) | (answers >= count))
        if len(bad) or not len(answers):
            told = f"{answers[bad[0]]} in row {bad[0]}" if len(bad) else "no question"
            raise InputError(f"labels: expected the number of an option, got {told}")
        seen = options[there]
        self._centre, scale = seen.mean(axis=0), seen.std(axis=0)
        self._scale = np.where(scale > 0, scale, 1.0)
        z = (options - self._centre) / self._scale
        z[~there] = 0.0
        chosen = z[np.arange(len(z)), answers]

        def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            scores = np.where(there, z @ w, -np.inf)
            log_total = special.logsumexp(scores, axis=1)
            p = np.exp(scores - log_total[:, None])
            value = float((log_total - chosen @ w).sum() + w @ w / (2 * self.strength))
            expected = np.tensordot(p, z, axes=([0, 1], [0, 1]))
            return value, expected - chosen.sum(axis=0) + w / self.strength

        start = np.zeros(options.shape[2])
        limits = {"maxiter": self.most_steps}
        found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options=limits)
        self.weights = np.asarray(found.x)
        return self

    def predict_proba(
        self, features: ArrayLike, sizes: ArrayLike | None = None
    ) -> NDArray[np.float64]:
        """Probabilities of the options, shape [N, A]; 0 for those that a question has not.

        Args:
            features: as for :meth:`fit`.
            sizes: as for :meth:`fit`.

        Raises:
            InputError: the probe was not fitted, or shapes do not fit.
        """
        if self.weights is None:
            raise InputError("probe: expected one that was fitted")
        options, there = _options(features, sizes)
        scores = ((options - self._centre) / self._scale) @ self.weights
        return np.asarray(special.softmax(np.where(there, scores, -np.inf), axis=1))


def _options(
    features: ArrayLike, sizes: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Features, and which options there are."""
    options = np.asarray(features, dtype=np.float64)
    if options.ndim != 3:
        raise InputError(f"features: expected shape [N, A, D], got {list(options.shape)}")
    width = options.shape[1]
    count = np.full(len(options), width) if sizes is None else np.asarray(sizes, dtype=np.int64)
    check_same_length(features=options, sizes=count)
    bad = np.flatnonzero((count < 1) | (count > width))
    if len(bad):
        raise InputError(
            f"sizes: expected 1 to {width} options, got {count[bad[0]]} in row {bad[0]}"
        )
    return options, np.arange(width) < count[:, None]
