"""Games of two with a score, from tables or from responses to items."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_finite, check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator
from gradatim.difficulty.comparison_graph import components, warn_disconnected, warn_extreme
from gradatim.difficulty.response_table import ResponseTable


@dataclass(frozen=True)
class Games:
    """Games in periods, with players as positions.

    Attributes:
        players: first player of each game, shape [N].
        opponents: second player, shape [N].
        scores: of the first player: 1 won, 0 lost, between them a draw, shape [N].
        names: of the players, by position.
        bounds: the games of period k are those from ``bounds[k]`` to ``bounds[k + 1]``.
    """

    players: NDArray[np.int64]
    opponents: NDArray[np.int64]
    scores: NDArray[np.float64]
    names: Sequence[Hashable]
    bounds: NDArray[np.int64]

    @classmethod
    def of(cls, games: Any, periods: ArrayLike | None = None) -> Self:
        """Read games.

        Args:
            games: a tuple of three columns (players, opponents, scores), each of shape [N], with
                any hashable names; or a list of triples.
            periods: of each game, numbers that rise with time, shape [N]; None is one period.

        Raises:
            InputError: no game, unequal lengths, a score outside [0, 1], a period that is not
                finite, a missing player, or one against itself.
        """
        if not isinstance(games, tuple):
            games = tuple(zip(*games, strict=True)) or ((), (), ())
        if len(games) != 3:
            raise InputError(f"games: expected (players, opponents, scores), got {len(games)}")
        first, second = (_column(one) for one in games[:2])
        scores = np.asarray(games[2], dtype=np.float64)
        count = check_same_length(players=first, opponents=second, scores=scores)
        if not count:
            raise InputError("games: expected at least one, got none")
        players, opponents, names = _positions(first, second)
        _check_games(players, opponents, scores)
        order, bounds = _periods(periods, count)
        if order is not None:
            players, opponents, scores = players[order], opponents[order], scores[order]
        return cls(players, opponents, scores, names, bounds)

    def __len__(self) -> int:
        return len(self.players)

    def periods(self) -> Iterator[slice]:
        """The games of each period, in time."""
        for start, end in zip(self.bounds[:-1].tolist(), self.bounds[1:].tolist(), strict=True):
            yield slice(start, end)

    def components(self, follows: str, stacklevel: int = 4) -> NDArray[np.int64]:
        """Which players are connected by games, and a warning if not all are.

        Args:
            follows: what that means for the result.
            stacklevel: of the warning.

        Returns:
            The component of each player, by falling size, shape [P].
        """
        part = components(self.players, self.opponents, len(self.names))
        warn_disconnected(part, self.names, "the games", follows, stacklevel)
        return part


@dataclass(frozen=True)
class ResponseGames:
    """Responses as games of subjects against items.

    Attributes:
        players: subjects, as positions from 0, shape [N].
        opponents: items, as positions after those of the subjects, shape [N].
        scores: 1 where the subject solved the item, shape [N].
        periods: of each game, shape [N].
        n_subjects: number of subjects; item j is player ``n_subjects + j``.
        n_items: number of items.
    """

    players: NDArray[np.int64]
    opponents: NDArray[np.int64]
    scores: NDArray[np.float64]
    periods: NDArray[np.int64]
    n_subjects: int
    n_items: int

    @property
    def games(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """The three columns of the games."""
        return self.players, self.opponents, self.scores

    @property
    def item_names(self) -> NDArray[np.int64]:
        """What the items are called as players, shape [I]."""
        return np.arange(self.n_subjects, self.n_subjects + self.n_items)

    @property
    def subject_names(self) -> NDArray[np.int64]:
        """What the subjects are called as players, shape [S]."""
        return np.arange(self.n_subjects)


def games_from_responses(
    responses: Any, *, periods: int | ArrayLike = 10, seed: int = 0
) -> ResponseGames:
    """Each response is a game of a subject against an item, which the subject wins if it is right.

    The rating of an item is then its difficulty. Within a period the order of games does not
    matter; over several periods ratings settle.

    Args:
        responses: a matrix of 0 and 1 with NaN for what is missing, shape [S, I]; or a tuple
            (subjects, items, correct) of positions and outcomes, each of shape [N].
        periods: how many periods of about equally many games to shuffle responses into; or the
            period of each response, as its time, shape [N], in the order of the matrix's rows.
        seed: of the shuffle.

    Returns:
        The games.

    Raises:
        InputError: as for :meth:`~.response_table.ResponseTable.of`, or a bad number of periods.

    Warns:
        ExtremeItemWarning: items that all or none solved, named; their ratings keep drifting with
            every further game.

    Source: Ding et al. 2024, arXiv 2409.18433.

    >>> found = games_from_responses([[1, 0], [0, 1]], periods=1)
    >>> found.players.tolist(), found.opponents.tolist(), found.scores.tolist()
    ([0, 0, 1, 1], [2, 3, 2, 3], [1.0, 0.0, 0.0, 1.0])
    """
    table = ResponseTable.of(responses)
    warn_extreme(*table.item_counts(), range(table.n_items))
    count = len(table)
    if np.ndim(periods) == 0:
        number = int(np.asarray(periods))
        check_range("periods", number, 1)
        place = numpy_generator(seed, "periods").permutation(count)
        when = place * number // count
    else:
        when = np.asarray(periods)
        check_same_length(responses=table, periods=when)
    return ResponseGames(
        table.subjects.astype(np.int64),
        table.items.astype(np.int64) + table.n_subjects,
        table.correct.astype(np.float64),
        when,
        table.n_subjects,
        table.n_items,
    )


def _column(values: ArrayLike) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim == 1:
        return array
    # Names that are tuples would become a matrix.
    return np.fromiter(iter(values), dtype=object)  # type: ignore[arg-type]


def _positions(
    first: NDArray[Any], second: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[Hashable]]:
    """Both players of each game as positions in a list of names."""
    import pandas as pd

    both = np.concatenate([first, second])
    if both.dtype.kind in "iu" and both.min() >= 0 and both.max() < 2 * len(both):
        seen = np.zeros(int(both.max()) + 1, bool)
        seen[both] = True
        names = np.flatnonzero(seen)
        place = np.cumsum(seen) - 1
        return place[first], place[second], list(names.tolist())
    code, found = pd.factorize(both)
    missing = np.flatnonzero(code < 0)
    if len(missing):
        raise InputError(
            f"games: expected two players, got a missing one at row {missing[0] % len(first)}"
        )
    code = code.astype(np.int64)
    return code[: len(first)], code[len(first) :], list(found.tolist())


def _check_games(
    players: NDArray[np.int64],
    opponents: NDArray[np.int64],
    scores: NDArray[np.float64],
) -> None:
    odd = np.flatnonzero(~((scores >= 0) & (scores <= 1)))
    if len(odd):
        raise InputError(
            f"scores: expected numbers in [0, 1], got {scores[odd[0]]} at row {odd[0]}"
        )
    odd = np.flatnonzero(players == opponents)
    if len(odd):
        raise InputError(f"games: expected two players, got one against itself at row {odd[0]}")


def _periods(
    periods: ArrayLike | None, count: int
) -> tuple[NDArray[np.int64] | None, NDArray[np.int64]]:
    """The games' order by period, None if they are in order, and the periods' bounds."""
    if periods is None:
        return None, np.array([0, count])
    when = np.asarray(periods)
    check_same_length(games=range(count), periods=when)
    if when.dtype.kind == "f":
        check_finite("periods", when)
    order = None
    if (when[1:] < when[:-1]).any():
        order = np.argsort(when, kind="stable")
        when = when[order]
    starts = np.flatnonzero(when[1:] != when[:-1]) + 1
    return order, np.concatenate([[0], starts, [count]])
