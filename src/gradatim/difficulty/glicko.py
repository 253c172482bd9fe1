"""Glicko-2 ratings with their deviations, for all players of a period at once."""

import math
from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.difficulty.comparison_graph import components, warn_disconnected
from gradatim.difficulty.games import Games

Floats = NDArray[np.float64]

SCALE = 173.7178
"""Rating points of one unit of the internal scale."""

_LEAST_INFORMATION = 1e-12
_CHUNK = 1 << 16  # arrays of a chunk stay in the cache


class Standing(NamedTuple):
    """Players on the internal scale.

    Attributes:
        mu: (rating - centre) / 173.7178, shape [P].
        phi: deviation / 173.7178, shape [P].
        sigma: volatility, shape [P].
    """

    mu: Floats
    phi: Floats
    sigma: Floats


def glicko2_period(
    standing: Standing,
    players: NDArray[np.int64],
    opponents: NDArray[np.int64],
    scores: Floats,
    tau: float = 0.5,
) -> Standing:
    r"""Ratings after one period in which every player has at least one game.

    .. math:: g(\varphi) = \frac{1}{\sqrt{1 + 3 \varphi^2 / \pi^2}}, \quad
        E_j = \frac{1}{1 + e^{-g(\varphi_j)(\mu - \mu_j)}}, \quad
        v = \Bigl[ \sum_j g(\varphi_j)^2 E_j (1 - E_j) \Bigr]^{-1}

    .. math:: \Delta = v \sum_j g(\varphi_j) (s_j - E_j), \quad
        \varphi' = \Bigl( \frac{1}{\varphi^2 + \sigma'^2} + \frac1v \Bigr)^{-1/2}, \quad
        \mu' = \mu + \varphi'^2 \sum_j g(\varphi_j) (s_j - E_j)

    with sigma' from :func:`new_volatility`. All games use the ratings before the period.

    Args:
        standing: before the period, shape [P].
        players: positions of the first players, shape [N].
        opponents: positions of the second players, shape [N].
        scores: of the first players, in [0, 1], shape [N].
        tau: how much volatility may change, 0.3 to 1.2.

    Returns:
        The standing after the period.

    Source: Glickman 2022, Example of the Glicko-2 system.
    """
    mu, phi, sigma = standing
    shrink = 1 / np.sqrt(1 + 3 * phi**2 / math.pi**2)
    information, surplus = np.zeros(len(mu)), np.zeros(len(mu))
    size = max(_CHUNK, 4 * len(mu))
    for begin in range(0, len(players), size):
        one, two, score = (part[begin : begin + size] for part in (players, opponents, scores))
        ahead = mu[one] - mu[two]
        for who, other, difference, gained in (
            (one, two, ahead, score),
            (two, one, -ahead, 1 - score),
        ):
            g = shrink[other]
            expected = _logistic(g * difference)
            gained = gained - expected
            gained *= g
            surplus += np.bincount(who, gained, len(mu))
            expected -= expected * expected
            g *= g
            expected *= g
            information += np.bincount(who, expected, len(mu))
    variance = 1 / np.maximum(information, _LEAST_INFORMATION)
    sigma = new_volatility(variance * surplus, phi, sigma, variance, tau)
    phi = 1 / np.sqrt(1 / (phi**2 + sigma**2) + 1 / variance)
    return Standing(mu + phi**2 * surplus, phi, sigma)


def _logistic(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), in place."""
    np.negative(x, out=x)
    with np.errstate(over="ignore"):
        np.exp(x, out=x)
    x += 1
    return np.reciprocal(x, out=x)


def new_volatility(
    delta: Floats, phi: Floats, sigma: Floats, variance: Floats, tau: float
) -> Floats:
    r"""Volatility after a period: the root of f by the Illinois method, for all players at once.

    .. math:: f(x) = \frac{e^x (\Delta^2 - \varphi^2 - v - e^x)}{2 (\varphi^2 + v + e^x)^2}
        - \frac{x - \ln \sigma^2}{\tau^2}, \qquad f(\ln \sigma'^2) = 0

    Args:
        delta: estimated improvement, shape [P].
        phi: deviations before the period, shape [P].
        sigma: volatilities before the period, shape [P].
        variance: v, shape [P].
        tau: how much volatility may change.

    Returns:
        New volatilities, shape [P].

    Source: as for :func:`glicko2_period`, step 5.

    >>> one = [np.array([x]) for x in (-0.48393, 200 / SCALE, 0.06, 1.77898)]
    >>> round(float(new_volatility(*one, 0.5)[0]), 6)
    0.059996
    """
    start, spread, square = np.log(sigma**2), phi**2 + variance, delta**2
    known = np.stack([square, spread, start])
    low, high = start, _other_end(known, tau)
    rows, found = np.arange(len(start)), start.copy()
    f_low, f_high = _pull(low, known, tau), _pull(high, known, tau)
    while len(rows):
        middle = low + (low - high) * f_low / (f_high - f_low)
        f_middle = _pull(middle, known, tau)
        crossed = f_middle * f_high <= 0
        low, f_low = np.where(crossed, high, low), np.where(crossed, f_high, f_low / 2)
        high, f_high = middle, f_middle
        more = np.abs(high - low) > 1e-6
        if not more.all():
            found[rows[~more]] = low[~more]
            rows, known = rows[more], known[:, more]
            low, high, f_low, f_high = low[more], high[more], f_low[more], f_high[more]
    return np.asarray(np.exp(found / 2))


def _pull(x: Floats, known: Floats, tau: float) -> Floats:
    """The function whose root is the logarithm of the new squared volatility."""
    square, spread, start = known
    e = np.exp(x)
    return np.asarray(e * (square - spread - e) / (2 * (spread + e) ** 2) - (x - start) / tau**2)


def _other_end(known: Floats, tau: float) -> Floats:
    """A point on the other side of the root than the present volatility."""
    square, spread, start = known
    above = square > spread
    end = np.where(above, np.log(np.where(above, square - spread, 1.0)), start - tau)
    short = ~above & (_pull(end, known, tau) < 0)
    while short.any():
        end[short] -= tau
        short[short] = _pull(end[short], known[:, short], tau) < 0
    return end


class Glicko2:
    r"""Glicko-2 ratings of players, or of subjects and items.

    A period without games widens the deviation: :math:`\varphi' = \sqrt{\varphi^2 + \sigma^2}`.
    A period's cost is linear in its games and the players who are in it.

    Where no chain of games connects a player with the largest connected part, nothing is known of
    how far apart the two stand, and :attr:`deviation_` is at least that of a new player.

    Args:
        tau: how much volatility may change, 0.3 to 1.2.
        initial: rating, deviation and volatility of a new player.

    Attributes:
        names_: the players.
        rating_: of each, shape [P].
        deviation_: standard deviation of the rating, shape [P].
        volatility_: of each, shape [P].
        component_: which players are connected by games, numbered by falling size, shape [P].

    Raises:
        InputError: a setting that is not positive.

    Source: Glickman 2001, Journal of Applied Statistics 28; 2022, Example of the Glicko-2 system.

    >>> glicko = Glicko2().update([("ann", "bob", 1), ("ann", "cat", 1), ("bob", "cat", 0.5)])
    >>> [round(x, 2) for x in glicko.rating("ann")]
    [1747.32, 253.4, 0.06]
    """

    def __init__(
        self, tau: float = 0.5, initial: tuple[float, float, float] = (1500.0, 350.0, 0.06)
    ) -> None:
        check_range("tau", tau, 0, open_low=True)
        check_range("initial rating", initial[0])
        check_range("initial deviation", initial[1], 0, open_low=True)
        check_range("initial volatility", initial[2], 0, open_low=True)
        self.tau, self.initial = float(tau), initial
        self._reset()

    def fit(self, games: Any, periods: ArrayLike | None = None) -> Self:
        """Rate players from games, from the beginning.

        Args:
            games: a tuple of three columns (players, opponents, scores of the former), each of
                shape [N], with any names; or a list of triples. Scores are 1, 0, or between.
            periods: of each game, numbers that rise with time, shape [N]; numbers between them
                that do not occur are no periods. None is one period.

        Returns:
            Itself.

        Raises:
            InputError: as for :meth:`~.games.Games.of`.

        Warns:
            DisconnectedWarning: players whom no chain of games connects, some of them named.
        """
        played = Games.of(games, periods)
        self._reset()
        self._play(played)
        warn_disconnected(
            self.component_,
            self.names_,
            "the games",
            "ratings of different parts cannot be compared, and the deviations of all parts but "
            "the first are raised",
        )
        return self

    def update(self, period: Any) -> Self:
        """Rate one more period.

        Args:
            period: its games, as for :meth:`fit`; players may be new.

        Returns:
            Itself.

        Raises:
            InputError: as for :meth:`~.games.Games.of`.
        """
        self._play(Games.of(period))
        return self

    def rating(self, name: Hashable) -> tuple[float, float, float]:
        """Rating, deviation and volatility of one player.

        Raises:
            InputError: a player without games.
        """
        if name not in self._place:
            raise InputError(f"name: expected a player that was rated, got {name!r}")
        one = self._place[name]
        return (
            float(self.rating_[one]),
            float(self.deviation_[one]),
            float(self.volatility_[one]),
        )

    def ratings(self, names: Iterable[Hashable]) -> tuple[Floats, Floats]:
        """Ratings and deviations of some players; those of a new player for one without games.

        Args:
            names: K players, as the items of :class:`~.games.ResponseGames`.

        Returns:
            Ratings and deviations, shape [K] each.
        """
        found = np.array([self._place.get(name, -1) for name in names], dtype=np.int64)
        new = [
            np.append(values, value)
            for values, value in zip((self.rating_, self.deviation_), self.initial, strict=False)
        ]
        return new[0][found], new[1][found]

    @property
    def names_(self) -> list[Hashable]:
        """The players."""
        return list(self._place)

    @property
    def rating_(self) -> Floats:
        """Rating of each player, shape [P]."""
        return self._standing.mu * SCALE + self.initial[0]

    @property
    def deviation_(self) -> Floats:
        """Standard deviation of each rating at the end of the last period, shape [P]."""
        idle = self._idle(slice(None))
        variance = SCALE**2 * (self._standing.phi**2 + idle * self._standing.sigma**2)
        return np.asarray(np.sqrt(variance + (self.component_ > 0) * self.initial[1] ** 2))

    @property
    def volatility_(self) -> Floats:
        """Volatility of each player, shape [P]."""
        return self._standing.sigma.copy()

    def _reset(self) -> None:
        self._place: dict[Hashable, int] = {}
        self._standing = Standing(np.zeros(0), np.zeros(0), np.zeros(0))
        self._last = np.zeros(0, np.int64)
        self._periods = 0
        self.component_ = np.zeros(0, np.int64)

    def _play(self, games: Games) -> None:
        where = np.fromiter(
            (self._place.setdefault(name, len(self._place)) for name in games.names), np.int64
        )
        self._admit(len(self._place) - len(self._last))
        players, opponents = games.players, games.opponents
        if (where != np.arange(len(where))).any():
            players, opponents = where[players], where[opponents]
        self._connect(players, opponents)
        for rows in games.periods():
            self._period(players[rows], opponents[rows], games.scores[rows])

    def _admit(self, count: int) -> None:
        """Make room for new players."""
        new = (0.0, self.initial[1] / SCALE, self.initial[2])
        self._standing = Standing(
            *(
                np.concatenate([old, np.full(count, value)])
                for old, value in zip(self._standing, new, strict=True)
            )
        )
        self._last = np.concatenate([self._last, np.full(count, -1)])
        top = int(self.component_.max(initial=-1)) + 1
        self.component_ = np.concatenate([self.component_, np.arange(top, top + count)])

    def _idle(self, rows: NDArray[np.int64] | slice) -> NDArray[np.int64]:
        """Periods without a game since a player's last; none before the first game."""
        last = self._last[rows]
        return np.where(last < 0, 0, self._periods - last)

    def _connect(self, players: NDArray[np.int64], opponents: NDArray[np.int64]) -> None:
        """Merge the parts that games connect."""
        label = self.component_
        if self._periods:
            players, opponents = label[players], label[opponents]
        part = components(players, opponents, int(label.max()) + 1)[label]
        order = np.argsort(-np.bincount(part), kind="stable")
        self.component_ = np.argsort(order)[part]

    def _period(
        self, players: NDArray[np.int64], opponents: NDArray[np.int64], scores: Floats
    ) -> None:
        """Rate one period; what idle periods did to its players' deviations is made up first."""
        total = len(self._last)
        if 16 * len(players) < total:
            active = np.unique(np.concatenate([players, opponents]))
            players, opponents = (
                np.searchsorted(active, players),
                np.searchsorted(active, opponents),
            )
        else:
            seen = np.zeros(total, bool)
            seen[players] = seen[opponents] = True
            active = np.flatnonzero(seen)
            if len(active) < total:
                local = np.cumsum(seen) - 1
                players, opponents = local[players], local[opponents]
        mu, phi, sigma = (values[active] for values in self._standing)
        idle = self._idle(active)
        before = Standing(mu, np.sqrt(phi**2 + idle * sigma**2), sigma)
        after = glicko2_period(before, players, opponents, scores, self.tau)
        for values, new in zip(self._standing, after, strict=True):
            values[active] = new
        self._periods += 1
        self._last[active] = self._periods
