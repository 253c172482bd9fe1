"""Elo ratings from games, one after another or period by period."""

import math
from collections.abc import Hashable, Iterable
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.difficulty.games import Games


class Elo:
    r"""Elo ratings.

    .. math:: r' = r + K (s - E), \qquad E = \frac{1}{1 + 10^{(r_j - r) / 400}}

    Without periods each game starts from what the one before it left. Within a period all games
    start from the ratings before it, which is faster and does not depend on their order; with so
    many games a period that K times their number is large, ratings overshoot.

    Elo has no uncertainty of its own: :attr:`games_played_` tells how much a rating rests on.

    Args:
        k: K, how far one game moves a rating.
        initial: rating of a player without games.

    Attributes:
        names_: the players.
        rating_: of each, shape [P].
        games_played_: by each, shape [P].
        component_: which players the last :meth:`fit` saw connected by games, by falling size.

    Raises:
        InputError: a K that is not positive, or above 10,000.

    Source: Elo 1978, The rating of chessplayers.

    >>> elo = Elo(k=32).fit([("ann", "bob", 1), ("bob", "cat", 1)])
    >>> elo.rating("ann")
    1516.0
    """

    def __init__(self, k: float = 32.0, initial: float = 1500.0) -> None:
        check_range("k", k, 0, 10_000, open_low=True)
        check_range("initial", initial)
        self.k, self.initial = float(k), float(initial)
        self.names_: list[Hashable] = []
        self.rating_: NDArray[np.float64] = np.zeros(0)
        self.games_played_: NDArray[np.int64] = np.zeros(0, np.int64)
        self.component_: NDArray[np.int64] = np.zeros(0, np.int64)

    def fit(self, games: Any, periods: ArrayLike | None = None) -> Self:
        """Rate players from games, from the beginning.

        Args:
            games: a tuple of three columns (players, opponents, scores of the former), each of
                shape [N]; or a list of triples. Scores are 1, 0, or between for a draw.
            periods: of each game, shape [N]; None takes games one by one, in their order.

        Returns:
            Itself.

        Raises:
            InputError: as for :meth:`~.games.Games.of`.

        Warns:
            DisconnectedWarning: players whom no chain of games connects, some of them named.
        """
        played = Games.of(games, periods)
        self.component_ = played.components("ratings of different parts cannot be compared")
        count = len(played.names)
        self.names_ = list(played.names)
        self.games_played_ = np.bincount(played.players, minlength=count) + np.bincount(
            played.opponents, minlength=count
        )
        self.rating_ = (
            _one_by_one(played, self.k, self.initial)
            if periods is None
            else _by_period(played, self.k, self.initial)
        )
        return self

    def rating(self, name: Hashable) -> float:
        """The rating of one player.

        Raises:
            InputError: a player without games.
        """
        if name not in self.names_:
            raise InputError(f"name: expected a player that was rated, got {name!r}")
        return float(self.ratings([name])[0])

    def ratings(self, names: Iterable[Hashable]) -> NDArray[np.float64]:
        """Ratings of some players, shape [K]; the initial one for a player without games."""
        place = {name: position for position, name in enumerate(self.names_)}
        found = np.array([place.get(name, -1) for name in names], dtype=np.int64)
        return np.append(self.rating_, self.initial)[found]


def _one_by_one(games: Games, k: float, initial: float) -> NDArray[np.float64]:
    # Plain floats: ten times as fast as entries of an array.
    rating = [initial] * len(games.names)
    scale, exp = math.log(10) / 400, math.exp
    columns = games.players.tolist(), games.opponents.tolist(), games.scores.tolist()
    for player, opponent, score in zip(*columns, strict=True):
        ahead = rating[player] - rating[opponent]
        move = k * (score - 1 / (1 + exp(-scale * ahead)))
        rating[player] += move
        rating[opponent] -= move
    return np.array(rating)


def _by_period(games: Games, k: float, initial: float) -> NDArray[np.float64]:
    rating = np.full(len(games.names), initial)
    for part in games.periods():
        player, opponent = games.players[part], games.opponents[part]
        expected = 1 / (1 + 10 ** ((rating[opponent] - rating[player]) / 400))
        move = k * (games.scores[part] - expected)
        rating += np.bincount(player, move, len(rating)) - np.bincount(opponent, move, len(rating))
    return rating
