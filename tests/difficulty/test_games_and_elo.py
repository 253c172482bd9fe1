import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.difficulty.comparison_graph import DisconnectedWarning, ExtremeItemWarning
from gradatim.difficulty.elo import Elo
from gradatim.difficulty.games import Games, games_from_responses


def brute_elo(games, periods, k=32.0):
    """Rate in plain loops; without periods each game is one."""
    rating = {name: 1500.0 for a, b, _ in games for name in (a, b)}
    for period in sorted(set(periods)):
        before = dict(rating)
        for (a, b, score), when in zip(games, periods, strict=True):
            if when == period:
                move = k * (score - 1 / (1 + 10 ** ((before[b] - before[a]) / 400)))
                rating[a] += move
                rating[b] -= move
    return rating


@st.composite
def some_games(draw):
    players = draw(st.integers(2, 6))
    pair = st.permutations(range(players)).map(lambda order: order[:2])
    rows = draw(st.lists(st.tuples(pair, st.sampled_from([0, 0.5, 1]), st.integers(0, 3))))
    rows.append(((0, 1), 1, 0))
    return [(f"p{a}", f"p{b}", s) for (a, b), s, _ in rows], [period for *_, period in rows]


@given(some_games())
@pytest.mark.filterwarnings("ignore::gradatim.difficulty.comparison_graph.DisconnectedWarning")
def test_elo_by_brute_force(drawn):
    games, periods = drawn
    for given_periods, counted in ((None, range(len(games))), (periods, periods)):
        elo = Elo().fit(games, given_periods)
        expected = brute_elo(games, list(counted))
        assert set(elo.names_) == set(expected)
        for name, rating in expected.items():
            assert elo.rating(name) == pytest.approx(rating)
        assert elo.ratings(["p0", "nobody"]).tolist() == [elo.rating("p0"), 1500.0]
        assert elo.rating_.mean() == pytest.approx(1500)
        assert elo.games_played_.sum() == 2 * len(games)


def test_elo_finds_the_order_of_strength_and_its_size():
    random = np.random.default_rng(0)
    strength = np.linspace(1300, 1700, 9)
    a = random.integers(0, 9, 40_000)
    b = (a + random.integers(1, 9, 40_000)) % 9
    won = random.random(40_000) < 1 / (1 + 10 ** ((strength[b] - strength[a]) / 400))
    elo = Elo(k=4).fit((a, b, won))
    found = np.array([elo.rating(name) for name in range(9)])
    np.testing.assert_allclose(found, strength, atol=40)


def test_names_of_any_kind():
    for names in (["a", "b", "c"], [0, 1, 2], [-5, 10**12, 3], [(1, 2), (3, 4), (5, 6)]):
        games = [(names[0], names[1], 1), (names[1], names[2], 1)]
        elo = Elo().fit(games)
        assert elo.rating(names[0]) == pytest.approx(1516)
        columns = tuple(map(list, zip(*games, strict=True)))
        assert Elo().fit(columns).rating(names[0]) == pytest.approx(1516)


def test_games_are_put_in_order_of_their_periods():
    games = Games.of((["a", "b", "c"], ["b", "c", "a"], [1, 0, 0.5]), periods=[7, 2, 7])
    assert [games.scores[rows].tolist() for rows in games.periods()] == [[0.0], [1.0, 0.5]]
    assert [games.names[one] for one in games.players] == ["b", "a", "c"]


def test_responses_as_games():
    responses = np.array([[1, 0, np.nan], [0, 1, 1], [np.nan, 1, 0]])
    found = games_from_responses(responses, periods=2)
    rows, columns = np.nonzero(~np.isnan(responses))
    np.testing.assert_array_equal(found.players, rows)
    np.testing.assert_array_equal(found.opponents, columns + 3)
    np.testing.assert_array_equal(found.scores, responses[rows, columns])
    assert sorted(np.bincount(found.periods)) == [3, 4]
    assert found.item_names.tolist() == [3, 4, 5] and found.subject_names.tolist() == [0, 1, 2]
    again, other = (games_from_responses(responses, periods=7, seed=s).periods for s in (0, 1))
    assert sorted(again) == list(range(7)) and (again != other).any()
    times = np.arange(7)
    np.testing.assert_array_equal(games_from_responses(responses, periods=times).periods, times)
    with pytest.warns(ExtremeItemWarning, match=r"1 was solved by all \(0\)"):
        games_from_responses([[1, 0], [1, 1]])


def test_players_whom_no_games_connect_are_named():
    games = [("a", "b", 1), ("b", "c", 0), ("x", "y", 1)]
    with pytest.warns(DisconnectedWarning, match=r"the games fall .* 3 \(a, b, c\); 2 \(x, y\)"):
        elo = Elo().fit(games)
    assert dict(zip(elo.names_, elo.component_, strict=True)) == {
        "a": 0, "b": 0, "c": 0, "x": 1, "y": 1,
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Elo().fit([*games, ("c", "y", 1)])


def test_errors():
    for games, told in (
        ([], "games: expected at least one"),
        ([("a", "b", 2)], r"scores: expected numbers in \[0, 1\], got 2.0 at row 0"),
        ([("a", "b", 1), ("a", "b", np.nan)], r"got nan at row 1"),
        ([("a", "a", 1)], "one against itself at row 0"),
        ((["a"], [None], [1]), "a missing one at row 0"),
        ((["a"], ["b"], [1, 0]), "equal lengths"),
        ((["a"], ["b"]), "games: expected"),
    ):
        with pytest.raises(InputError, match=told):
            Elo().fit(games)
    with pytest.raises(InputError, match="periods"):
        Elo().fit([("a", "b", 1)], periods=[1, 2])
    with pytest.raises(InputError, match="periods: expected finite"):
        Elo().fit([("a", "b", 1)], periods=[np.nan])
    with pytest.raises(InputError, match="k: expected a number"):
        Elo(k=0)
    with pytest.raises(InputError, match="name: expected a player that was rated, got 'z'"):
        Elo().fit([("a", "b", 1)]).rating("z")
    with pytest.raises(InputError, match="periods: expected a number"):
        games_from_responses([[1, 0], [0, 1]], periods=0)
