"""Item response theory, Glicko-2 and Elo from tables of responses or of games."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.core.errors import InputError
from gradatim.core.io.table_sources import open_source
from gradatim.core.io.tables import read_table
from gradatim.core.seeds import numpy_generator
from gradatim.difficulty.elo import Elo
from gradatim.difficulty.games import games_from_responses
from gradatim.difficulty.glicko import Glicko2
from gradatim.difficulty.item_response import ItemResponseModel
from gradatim.workflows.score_attempts import CORRECT, ITEMS, first_of, key_values, outcomes
from gradatim.workflows.score_measures import spread_name

Values = NDArray[np.float64]

SUBJECTS = ("subject", "model", "user", "student", "solver", "respondent", "person", "annotator")
PLAYERS = (
    *(("player", "opponent"), ("player_a", "player_b"), ("player_1", "player_2")),
    *(("white", "black"), ("item_a", "item_b"), ("a", "b"), ("winner", "loser")),
)
SCORES = ("score", "result", "outcome", "win", "won")
TIMES = ("period", "time", "timestamp", "date")
_PERIODS = 10


@dataclass(frozen=True)
class Responses:
    """Who solved what.

    Attributes:
        source: what messages call the file.
        keys: what the K items are called.
        subjects: position of who responded, shape [R].
        items: position of the item, shape [R].
        correct: 1 for right, 0 for wrong, shape [R].
    """

    source: str
    keys: list[Any]
    subjects: NDArray[np.int64]
    items: NDArray[np.int64]
    correct: Values

    def rows(self, chosen: NDArray[Any]) -> "Responses":
        """Some of the responses; items keep their positions."""
        parts = (self.subjects[chosen], self.items[chosen], self.correct[chosen])
        return Responses(self.source, self.keys, *parts)


@dataclass(frozen=True)
class GameTable:
    """Games between named players, of whom some are items.

    Attributes:
        source: what messages call the file.
        keys: what the players are called.
        first: position of the first player, shape [R].
        second: position of the second, shape [R].
        scores: 1 if the first won, 0 if the second, one half for a draw, shape [R].
        times: of each game, shape [R]; None if all are of one period.
    """

    source: str
    keys: list[Any]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    scores: Values
    times: Values | None


def read_response_table(source: Any) -> Responses:
    """Read responses: a row for each, with columns for subject, item and outcome.

    Args:
        source: the file or table; columns are found by the names in :data:`SUBJECTS`,
            :data:`~gradatim.workflows.score_attempts.ITEMS` and
            :data:`~gradatim.workflows.score_attempts.CORRECT`.

    Raises:
        InputError: a column that is not there, or a response outside {0, 1} (the row is named).
    """
    import pandas as pd

    name = open_source(source).name
    table = read_table(source)
    subject, item, correct = (
        _column(wanted, table.column_names, what, name)
        for wanted, what in (
            (SUBJECTS, "who responded"),
            (ITEMS, "the item"),
            (CORRECT, "whether the response was right"),
        )
    )
    who = key_values(table[subject], subject, name)
    what = key_values(table[item], item, name)
    outcome = outcomes(table[correct], correct, name)
    items, keys = pd.factorize(np.array(what, dtype=object))
    subjects, _ = pd.factorize(np.array(who, dtype=object))
    return Responses(name, list(keys), subjects.astype(np.int64), items.astype(np.int64), outcome)


def read_game_table(source: Any) -> GameTable:
    """Read games: a row for each, with two players and the score of the first.

    Args:
        source: the file or table; columns are found by the names in :data:`PLAYERS` (of "winner"
            and "loser" no score is needed), :data:`SCORES` and, if there, :data:`TIMES`.

    Raises:
        InputError: a column that is not there, or a score other than 0, 0.5 and 1 (the row is
            named).
    """
    import pandas as pd

    name = open_source(source).name
    table = read_table(source)
    names = table.column_names
    pairs = ((first_of((a,), names), first_of((b,), names)) for a, b in PLAYERS)
    pair = next(((a, b) for a, b in pairs if a is not None and b is not None), None)
    if pair is None:
        told = ", ".join(f"{a} and {b}" for a, b in PLAYERS)
        raise InputError(
            f"{name}: expected columns for two players ({told}), got the columns {', '.join(names)}"
        )
    sides = [key_values(table[one], one, name) for one in pair]
    if pair[0].lower() == "winner":
        scores = np.ones(len(table))
    else:
        score = _column(SCORES, names, "the score of the first player", name)
        scores = outcomes(table[score], score, name, draws=True)
    both, keys = pd.factorize(np.array([*sides[0], *sides[1]], dtype=object))
    first, second = both[: len(table)].astype(np.int64), both[len(table) :].astype(np.int64)
    time = first_of(TIMES, names)
    times = None
    if time is not None:
        times = pd.factorize(table[time].to_pandas(), sort=True)[0].astype(np.float64)
    return GameTable(name, list(keys), first, second, scores, times)


def _column(wanted: Sequence[str], names: Sequence[str], what: str, source: str) -> str:
    found = first_of(wanted, names)
    if found is None:
        raise InputError(
            f"{source}: expected a column for {what} ({', '.join(wanted)}), got the columns "
            f"{', '.join(names)}"
        )
    return found


def rate_responses(responses: Responses, names: Sequence[str], seed: int = 0) -> dict[str, Values]:
    """Difficulty of the items, with its standard deviation where the method gives one.

    Args:
        responses: who solved what.
        names: measures of the groups "responses" and "games".
        seed: of the order in which responses are taken as games.

    Returns:
        Columns, each of shape [K].

    Warns:
        ExtremeItemWarning: items that all or none solved, named.
        DisconnectedWarning: responses that fall into parts.
    """
    found: dict[str, Values] = {}
    table = (responses.subjects, responses.items, responses.correct)
    count = len(responses.keys)
    for name in names:
        if name.startswith("irt_"):
            model = ItemResponseModel(name.removeprefix("irt_"))
            model.fit(table, n_items=count, item_names=responses.keys)
            found[name], found[spread_name(name)] = model.difficulty_, model.difficulty_std_
    if "glicko" in names:
        games = games_from_responses(table, periods=_PERIODS, seed=seed)
        rated = Glicko2().fit(games.games, games.periods)
        places = _places(rated.names_, games.item_names[:count])
        found["glicko"], found[spread_name("glicko")] = (
            _taken(values, places) for values in (rated.rating_, rated.deviation_)
        )
    if "elo" in names:
        order = numpy_generator(seed, "elo").permutation(len(responses.items))
        shuffled = responses.rows(order)
        games = games_from_responses(
            (shuffled.subjects, shuffled.items, shuffled.correct), periods=1
        )
        elo = Elo().fit(games.games)
        found["elo"] = _taken(elo.rating_, _places(elo.names_, games.item_names[:count]))
    return found


def rate_games(games: GameTable, names: Sequence[str]) -> dict[str, Values]:
    """Ratings of all players of a table of games.

    Args:
        games: who won against whom.
        names: measures of the group "games".

    Returns:
        Columns, each of shape [K].

    Warns:
        DisconnectedWarning: players whom no chain of games connects, some of them named.
    """
    found: dict[str, Values] = {}
    table = (games.first, games.second, games.scores)
    everyone = np.arange(len(games.keys))
    if "glicko" in names:
        rated = Glicko2().fit(table, games.times)
        places = _places(rated.names_, everyone)
        found["glicko"], found[spread_name("glicko")] = (
            _taken(values, places) for values in (rated.rating_, rated.deviation_)
        )
    if "elo" in names:
        elo = Elo().fit(table, games.times)
        found["elo"] = _taken(elo.rating_, _places(elo.names_, everyone))
    return found


def _places(names: Sequence[Any], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where some players stand among those that were rated; -1 for those without games."""
    where = np.full(max([*map(int, names), int(wanted.max(initial=0))]) + 1, -1, dtype=np.int64)
    where[np.asarray(names, dtype=np.int64)] = np.arange(len(names))
    return where[wanted]


def _taken(values: Any, places: NDArray[np.int64]) -> Values:
    array = np.asarray(values, dtype=np.float64)
    return np.where(places >= 0, array[places.clip(min=0)], np.nan)


def held_out_responses(
    responses: Responses, seed: int
) -> tuple[NDArray[np.int64], Values, Responses]:
    """Set aside one response to each item that has several.

    Args:
        responses: who solved what.
        seed: what the choice depends on.

    Returns:
        Positions of the items, whether the response that was set aside is right, and the others.
    """
    order = numpy_generator(seed, "held out").permutation(len(responses.items))
    items = responses.items[order]
    many = np.bincount(items, minlength=len(responses.keys)) > 1
    chosen_items, first = np.unique(items, return_index=True)
    keep = many[chosen_items]
    rows = order[first[keep]]
    rest = np.ones(len(order), dtype=bool)
    rest[rows] = False
    return chosen_items[keep], responses.correct[rows], responses.rows(np.flatnonzero(rest))
