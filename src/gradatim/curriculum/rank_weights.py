"""How likely each difficulty rank is drawn: weights that may move at every step, at no cost.

The examples are ranked once, 0 = easiest. What a curriculum asks for at progress t is then a
density over ranks, as bins (:class:`RankBins`) or as an exponential slope (:class:`RankSlope`),
and a draw costs O(bins + batch), whatever the number of examples is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.curriculum.orders import Order, Values, as_values
from gradatim.curriculum.ramps import linear_ramp

Floats = NDArray[np.float64]

_ROUNDING = 1e-6  # in ranks: a share k/n is meant to be k, not a rank more


class RankWeights(Protocol):
    """Probabilities over difficulty ranks 0 to n - 1, whatever n is."""

    def ranks(self, generator: np.random.Generator, count: int, n: int) -> Order:
        """Draw ranks with replacement, int64 of shape [count]."""
        ...

    def cumulative(self, cuts: Order, n: int) -> Floats:
        """Probability of all ranks below each cut, shape of ``cuts``."""
        ...


@dataclass(frozen=True, eq=False)
class RankBins:
    r"""Probabilities that are constant inside bins of ranks.

    .. math:: p_k = \frac{m_j}{\sum_i m_i \cdot |B_j|}, \quad
        B_j = \{ k : e_j \le k / n < e_{j+1} \}

    The mass of a bin that no rank falls in is left out.

    Attributes:
        edges: e, ascending shares of the examples in [0, 1], shape [K + 1]; ranks below the first
            and from the last on are never drawn.
        masses: m, weight of each bin as a whole, non-negative, not all zero, shape [K].

    Raises:
        InputError: edges that do not ascend in [0, 1], masses of another number, negative, not
            finite or all zero; when drawn from, no rank in any bin with mass.

    >>> RankBins([0.0, 0.5, 1.0], [3.0, 1.0]).probabilities(4)
    array([0.375, 0.375, 0.125, 0.125])
    """

    edges: Floats
    masses: Floats

    def __init__(self, edges: ArrayLike, masses: ArrayLike) -> None:
        bounds = np.asarray(edges, dtype=np.float64)
        weights = np.asarray(masses, dtype=np.float64)
        if bounds.ndim != 1 or len(bounds) < 2 or weights.shape != (len(bounds) - 1,):
            raise InputError(
                "masses: expected one number for each bin between edges, got "
                f"{list(weights.shape)} for edges of shape {list(bounds.shape)}"
            )
        rising = (bounds[1:] >= bounds[:-1]).all()
        if not (rising and bounds[0] >= 0.0 and bounds[-1] <= 1.0):
            raise InputError(f"edges: expected ascending shares in [0, 1], got {bounds}")
        if not (weights.min() >= 0.0 and 0.0 < weights.sum() < np.inf):
            raise InputError(f"masses: expected finite numbers >= 0, not all 0, got {weights}")
        object.__setattr__(self, "edges", bounds)
        object.__setattr__(self, "masses", weights)

    def ranks(self, generator: np.random.Generator, count: int, n: int) -> Order:
        """Draw ranks with replacement, int64 of shape [count]."""
        starts, cumulative = self._table(n)
        chosen = np.searchsorted(cumulative, generator.random(count) * cumulative[-1], side="right")
        # rounding may reach the total itself, which belongs to the last bin with mass
        last = int(np.searchsorted(cumulative, cumulative[-1], side="left"))
        chosen = np.minimum(chosen, last)
        low = starts[chosen]
        found: Order = low + generator.integers(0, starts[chosen + 1] - low)
        return found

    def cumulative(self, cuts: Order, n: int) -> Floats:
        """Probability of all ranks below each cut, shape of ``cuts``."""
        starts, cumulative = self._table(n)
        below = np.concatenate([[0.0], cumulative]) / cumulative[-1]
        return np.asarray(np.interp(cuts, starts, below))

    def probabilities(self, n: int) -> Floats:
        """Probability of each rank, shape [n]."""
        return np.diff(self.cumulative(np.arange(n + 1), n))

    def _table(self, n: int) -> tuple[Order, Floats]:
        """First rank of each bin, and the cumulated masses of bins that have ranks."""
        starts = np.ceil(self.edges * n - _ROUNDING).astype(np.int64)
        cumulative = np.cumsum(np.where(starts[1:] > starts[:-1], self.masses, 0.0))
        if not cumulative[-1] > 0.0:
            raise InputError(f"masses: expected mass on a bin with examples, got none of {n}")
        return starts, cumulative


@dataclass(frozen=True)
class RankSlope:
    r"""Probabilities that fall (or rise) exponentially with the rank.

    .. math:: p_k \propto \exp(-\beta \, k / n)

    Drawn exactly, for any n, by the inverse of the truncated exponential distribution.

    Attributes:
        rate: :math:`\beta`; 0 is uniform, above it the easy are likelier, below it the hard.

    Raises:
        InputError: a rate that is not finite.

    >>> RankSlope(0.0).probabilities(2)
    array([0.5, 0.5])
    """

    rate: float

    def __post_init__(self) -> None:
        check_range("rate", self.rate)
        if abs(self.rate) < 1e-15:  # uniform to the last bit; smaller rates lose bits themselves
            object.__setattr__(self, "rate", 0.0)

    def ranks(self, generator: np.random.Generator, count: int, n: int) -> Order:
        """Draw ranks with replacement, int64 of shape [count]."""
        rate, uniform = abs(self.rate), generator.random(count)
        if rate > 0.0:
            uniform = -np.log1p(uniform * np.expm1(-rate)) / rate
        found: Order = np.minimum((uniform * n).astype(np.int64), n - 1)
        return n - 1 - found if self.rate < 0.0 else found

    def cumulative(self, cuts: Order, n: int) -> Floats:
        """Probability of all ranks below each cut, shape of ``cuts``."""
        share = np.asarray(cuts, dtype=np.float64) / n
        if self.rate == 0.0:
            return share
        if self.rate < 0.0:
            return np.asarray(1.0 - np.expm1(self.rate * (1.0 - share)) / np.expm1(self.rate))
        return np.asarray(np.expm1(-self.rate * share) / np.expm1(-self.rate))

    def probabilities(self, n: int) -> Floats:
        """Probability of each rank, shape [n]."""
        return np.diff(self.cumulative(np.arange(n + 1), n))


def easiest(share: float) -> RankBins:
    """All of the easiest share alike, and nothing else.

    Args:
        share: in (0, 1].

    Returns:
        Weights over ranks.

    Raises:
        InputError: a share outside (0, 1].

    >>> easiest(0.5).probabilities(4)
    array([0.5, 0.5, 0. , 0. ])
    """
    check_range("share", share, 0.0, 1.0, open_low=True)
    return RankBins([0.0, share], [1.0])


def rank_softmax(temperature: float, *, hard_first: bool = False) -> RankSlope:
    r"""A softmax over ranks: cold draws the easiest, hot draws all alike.

    .. math:: p_k \propto \exp \bigl( -(k / n) / \tau \bigr)

    Args:
        temperature: :math:`\tau`, above 0.
        hard_first: cold draws the hardest instead.

    Returns:
        Weights over ranks.

    Raises:
        InputError: a temperature of 0 or less.

    >>> rank_softmax(0.5)
    RankSlope(rate=2.0)
    """
    check_range("temperature", temperature, 0.0, open_low=True)
    return RankSlope(-1.0 / temperature if hard_first else 1.0 / temperature)


def bin_softmax(
    temperature: float,
    bins: int = 10,
    *,
    edges: ArrayLike | None = None,
    hard_first: bool = False,
) -> RankBins:
    r"""A softmax over bins, and all alike inside a bin.

    .. math:: m_j \propto \exp \bigl( -(j / K) / \tau \bigr)

    Args:
        temperature: :math:`\tau`, above 0.
        bins: K, the number of bins of equal size.
        edges: shares at which bins begin and end instead (:func:`level_edges`), shape [K + 1].
        hard_first: cold draws the hardest bin instead.

    Returns:
        Weights over ranks.

    Raises:
        InputError: a temperature of 0 or less, fewer than one bin, or edges that do not ascend.

    >>> bin_softmax(1e9, bins=2).masses.round(3)
    array([0.5, 0.5])
    """
    check_range("temperature", temperature, 0.0, open_low=True)
    check_range("bins", bins, 1)
    cuts = np.linspace(0.0, 1.0, bins + 1) if edges is None else np.asarray(edges, dtype=float)
    logits = -np.arange(len(cuts) - 1) / max(len(cuts) - 1, 1) / temperature
    logits = logits[::-1] if hard_first else logits
    masses = np.exp(logits - logits.max(initial=-np.inf))
    return RankBins(cuts, masses / masses.sum())


def band_mixture(
    progress: float,
    start: Sequence[float] = (0.8, 0.15, 0.05),
    end: Sequence[float] = (1 / 3, 1 / 3, 1 / 3),
    *,
    cuts: Sequence[float] | None = None,
) -> RankBins:
    r"""Shares of easy, medium and hard examples in a batch, which move in a straight line.

    .. math:: m(t) = (1 - t) \, m_0 + t \, m_1

    Args:
        progress: t; below 0 counts as 0, above 1 as 1.
        start: share of each band at t = 0, from the easiest, shape [K].
        end: share of each band at t = 1, shape [K].
        cuts: where the bands end, as shares of the examples, shape [K - 1]; None for bands of
            equal size.

    Returns:
        Weights over ranks.

    Raises:
        InputError: start, end and cuts that do not fit one another, or shares that are negative
            or all zero.

    >>> band_mixture(0.5, (1, 0), (0, 1)).probabilities(4)
    array([0.25, 0.25, 0.25, 0.25])
    """
    bands = check_same_length(start=start, end=end)
    inner = np.arange(1, bands) / bands if cuts is None else np.asarray(cuts, dtype=np.float64)
    masses = [linear_ramp(progress, a, b) for a, b in zip(start, end, strict=True)]
    return RankBins(np.concatenate([[0.0], inner, [1.0]]), masses)


def rank_gaussian(center: float, width: float = 0.2, bins: int = 256) -> RankBins:
    r"""A window of difficulty: bins by how near their middle is to a centre.

    .. math:: m_j \propto \exp \Bigl( -\tfrac12 \bigl( (x_j - c) / w \bigr)^2 \Bigr)

    Args:
        center: c, as a share of the ranks; 0 is the easiest and 1 the hardest example.
        width: w, the standard deviation, above 0.
        bins: number of bins of equal size.

    Returns:
        Weights over ranks.

    Raises:
        InputError: a centre that is not finite, a width of 0 or less, or fewer than one bin.

    >>> rank_gaussian(0.5, bins=3).masses.argmax()
    np.int64(1)
    """
    check_range("center", center)
    check_range("width", width, 0.0, open_low=True)
    check_range("bins", bins, 1)
    edges = np.linspace(0.0, 1.0, bins + 1)
    logits = -0.5 * (((edges[1:] + edges[:-1]) / 2 - center) / width) ** 2
    return RankBins(edges, np.exp(logits - logits.max()))


def level_edges(levels: Values) -> Floats:
    """Where the examples of each level begin and end in rank, for bins that are levels.

    Args:
        levels: difficulty of few different values, shape [n].

    Returns:
        Shares of the examples from 0 to 1, shape [number of levels + 1].

    Raises:
        InputError: no levels, or levels that are not finite.

    >>> level_edges([1, 2, 2, 5])
    array([0.  , 0.25, 0.75, 1.  ])
    """
    values = as_values("levels", levels)
    if not len(values):
        raise InputError("levels: expected at least one example, got none")
    counts = np.unique(values, return_counts=True)[1]
    return np.concatenate([[0], np.cumsum(counts)]) / len(values)
