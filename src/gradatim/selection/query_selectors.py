"""Rules that choose what a teacher, or a person, is to label next, all called alike."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.selection.k_center import k_center
from gradatim.selection.robust_queries import draw_queries, robust_query_distribution


@dataclass(frozen=True)
class QueryPool:
    """What is known of the points that may be asked for.

    Attributes:
        gains: what the right label of each is worth, such as 1 - margin, at least 0, shape [n].
        num_wrong: how many of the labels the teacher has wrong, as an estimate; None if unknown.
        features: of each point, shape [n, D]; None if a rule needs none.
        covered: features of the points that are labelled already, shape [L, D].
    """

    gains: NDArray[np.float64]
    num_wrong: int | None = None
    features: NDArray[np.floating] | None = None
    covered: NDArray[np.floating] | None = None

    def __len__(self) -> int:
        return len(self.gains)


class Selector(Protocol):
    """Chooses points of a pool."""

    def __call__(
        self, pool: QueryPool, budget: int, generator: np.random.Generator
    ) -> NDArray[np.int64]:
        """Positions of different points, shape [budget].

        Raises:
            InputError: the pool is smaller than the budget, or does not hold what the rule needs.
        """
        ...


class UniformSelector:
    """Every point is as likely as any other.

    >>> UniformSelector()(QueryPool(np.ones(3)), 3, np.random.default_rng(0)).tolist()
    [0, 1, 2]
    """

    def __call__(
        self, pool: QueryPool, budget: int, generator: np.random.Generator
    ) -> NDArray[np.int64]:
        """Positions, ascending."""
        check_range("budget", budget, 1, len(pool))
        return np.sort(generator.permutation(len(pool))[:budget])


class TopKSelector:
    """The largest gains; ties are broken at random. With 1 - margin this is margin sampling.

    >>> TopKSelector()(QueryPool(np.array([0.1, 0.9, 0.5])), 2, np.random.default_rng(0)).tolist()
    [1, 2]
    """

    def __call__(
        self, pool: QueryPool, budget: int, generator: np.random.Generator
    ) -> NDArray[np.int64]:
        """Positions, the largest gain first."""
        check_range("budget", budget, 1, len(pool))
        order = generator.permutation(len(pool))
        return order[np.argsort(-pool.gains[order], kind="stable")[:budget]]


class KCenterSelector:
    """Points far from one another and from what is labelled; see :func:`k_center`.

    >>> pool = QueryPool(np.ones(3), features=np.array([[0.0], [1.0], [5.0]]))
    >>> KCenterSelector()(pool, 2, np.random.default_rng(0)).tolist()
    [1, 2]
    """

    def __call__(
        self, pool: QueryPool, budget: int, generator: np.random.Generator
    ) -> NDArray[np.int64]:
        """Positions, in the order of choice."""
        if pool.features is None:
            raise InputError("features: expected those of the pool for k-center, got none")
        return k_center(pool.features, budget, covered=pool.covered)[0]


class RobustSelector:
    """Draws by :func:`robust_query_distribution`: hard points, the less hard of them more often.

    Args:
        num_wrong: labels of the pool that the teacher has wrong: a number, a share below 1 (a
            float), or None for what the pool says.

    Raises:
        InputError: a share outside [0, 1), or a negative number.

    >>> pool = QueryPool(np.array([1.0, 0.5, 0.25]), num_wrong=1)
    >>> RobustSelector()(pool, 2, np.random.default_rng(0)).tolist()
    [0, 1]
    """

    def __init__(self, num_wrong: int | float | None = None) -> None:
        if num_wrong is not None:
            share = isinstance(num_wrong, float)
            check_range("num_wrong", num_wrong, 0, 1 if share else float("inf"), open_high=share)
        self.num_wrong = num_wrong

    def __call__(
        self, pool: QueryPool, budget: int, generator: np.random.Generator
    ) -> NDArray[np.int64]:
        """Positions, ascending."""
        check_range("budget", budget, 1, len(pool))
        wrong = pool.num_wrong if self.num_wrong is None else self.num_wrong
        if wrong is None:
            raise InputError(
                "num_wrong: expected how many labels of the teacher are wrong, got none"
            )
        wrong = round(wrong * len(pool)) if isinstance(wrong, float) else wrong
        wrong = min(wrong, len(pool) - 1)
        found = robust_query_distribution(pool.gains, wrong, min_support=budget)
        return draw_queries(found.probabilities, budget, generator)


def wrong_labels(teacher_accuracy: float, count: int) -> int:
    r"""How many labels a teacher of known accuracy has wrong.

    .. math:: m = \min\bigl(n - 1, \operatorname{round}((1 - a) \, n)\bigr)

    Args:
        teacher_accuracy: a, measured on labels that the teacher was not trained on.
        count: n, points of the pool.

    Raises:
        InputError: an accuracy outside [0, 1], or no point.

    Source: Baykal et al. 2022, arXiv 2210.01213.

    >>> wrong_labels(0.8, 900)
    180
    """
    check_range("teacher_accuracy", teacher_accuracy, 0, 1)
    check_range("count", count, 1)
    return min(count - 1, round((1.0 - teacher_accuracy) * count))
