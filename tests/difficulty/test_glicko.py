import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import spearmanr

from gradatim.core.errors import InputError
from gradatim.difficulty.comparison_graph import DisconnectedWarning
from gradatim.difficulty.games import games_from_responses
from gradatim.difficulty.glicko import SCALE, Glicko2, Standing, glicko2_period, new_volatility


def volatility_equation(x, delta, phi, sigma, v, tau):
    e = math.exp(x)
    pull = e * (delta**2 - phi**2 - v - e) / (2 * (phi**2 + v + e) ** 2)
    return pull - (x - math.log(sigma**2)) / tau**2


def brute_force(rows, tau=0.5, initial=(1500.0, 350.0, 0.06)):
    """The system in plain loops: one player, one game at a time, and a root finder."""
    start = (0.0, initial[1] / SCALE, initial[2])
    state = {name: start for a, b, _, _ in rows for name in (a, b)}
    first = {}
    for a, b, _, period in rows:
        for name in (a, b):
            first[name] = min(first.get(name, period), period)
    for period in sorted({row[3] for row in rows}):
        before = dict(state)
        for name, (mu, phi, sigma) in before.items():
            games = [(b, s) for a, b, s, when in rows if when == period and a == name]
            games += [(a, 1 - s) for a, b, s, when in rows if when == period and b == name]
            if not games:
                if period > first[name]:
                    state[name] = (mu, math.hypot(phi, sigma), sigma)
                continue
            information = surplus = 0.0
            for other, score in games:
                other_mu, other_phi, _ = before[other]
                g = 1 / math.sqrt(1 + 3 * other_phi**2 / math.pi**2)
                expected = 1 / (1 + math.exp(-g * (mu - other_mu)))
                information += g**2 * expected * (1 - expected)
                surplus += g * (score - expected)
            v = 1 / information
            settings = (v * surplus, phi, sigma, v, tau)
            root = brentq(volatility_equation, -60, 20, settings, xtol=1e-12)
            sigma = math.exp(root / 2)
            phi = 1 / math.sqrt(1 / (phi**2 + sigma**2) + information)
            state[name] = (mu + phi**2 * surplus, phi, sigma)
    return {
        name: (mu * SCALE + initial[0], phi * SCALE, sigma)
        for name, (mu, phi, sigma) in state.items()
    }


def test_the_published_example():
    ratings, deviations = np.array([1500, 1400, 1550, 1700.0]), np.array([200, 30, 100, 300.0])
    standing = Standing((ratings - 1500) / SCALE, deviations / SCALE, np.full(4, 0.06))
    after = glicko2_period(
        standing, np.array([0, 0, 0]), np.array([1, 2, 3]), np.array([1.0, 0, 0]), 0.5
    )
    assert after.mu[0] * SCALE + 1500 == pytest.approx(1464.0507, abs=1e-4)
    assert after.phi[0] * SCALE == pytest.approx(151.5165, abs=1e-4)
    assert after.sigma[0] == pytest.approx(0.0599960, abs=1e-7)


@st.composite
def some_rows(draw):
    players = draw(st.integers(2, 6))
    pair = st.permutations(range(players)).map(lambda order: order[:2])
    score = st.sampled_from([0.0, 0.5, 1.0])
    rows = draw(st.lists(st.tuples(pair, score, st.integers(0, 4)), min_size=1, max_size=25))
    # Periods without any game are not counted, so that they are made consecutive here.
    order = sorted({period for *_, period in rows})
    return [(a, b, s, order.index(period)) for (a, b), s, period in rows]


@given(some_rows(), st.sampled_from([0.3, 0.5, 1.2]))
@pytest.mark.filterwarnings("ignore::gradatim.difficulty.comparison_graph.DisconnectedWarning")
def test_by_brute_force(rows, tau):
    expected = brute_force(rows, tau)
    columns = tuple(zip(*rows, strict=True))
    whole = Glicko2(tau).fit(columns[:3], columns[3])
    piecewise = Glicko2(tau)
    for period in sorted(set(columns[3])):
        piecewise.update([row[:3] for row in rows if row[3] == period])
    for glicko in (whole, piecewise):
        for name, (rating, deviation, volatility) in expected.items():
            found = glicko.rating(name)
            assert found[0] == pytest.approx(rating, abs=0.05)
            assert found[2] == pytest.approx(volatility, abs=1e-6)
            if not glicko.component_[glicko.names_.index(name)]:
                assert found[1] == pytest.approx(deviation, abs=0.05)


@given(
    st.floats(-40, 40), st.floats(0.1, 3), st.floats(0.01, 0.3), st.floats(0.05, 1e6),
    st.sampled_from([0.2, 0.5, 1.2]),
)  # fmt: skip
def test_volatility_is_the_root(delta, phi, sigma, v, tau):
    one = [np.array([value]) for value in (delta, phi, sigma, v)]
    found = 2 * math.log(new_volatility(*one, tau)[0])
    root = brentq(volatility_equation, -60, 60, (delta, phi, sigma, v, tau), xtol=1e-12)
    assert found == pytest.approx(root, abs=1e-5)


def test_players_of_any_number_are_rated_as_if_alone():
    random = np.random.default_rng(0)
    columns = [random.uniform(*ends, 500) for ends in ((-9, 9), (0.2, 3), (0.03, 0.2), (0.1, 99))]
    together = new_volatility(*columns, 0.5)
    alone = [new_volatility(*(c[i : i + 1] for c in columns), 0.5)[0] for i in range(500)]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_order_within_a_period_and_the_side_of_a_player_do_not_matter():
    random = np.random.default_rng(1)
    a = random.integers(0, 30, 400)
    b = (a + random.integers(1, 30, 400)) % 30
    s = random.choice([0.0, 0.5, 1.0], 400)
    order, swap = random.permutation(400), random.random(400) < 0.5
    one = Glicko2().update((a, b, s))
    other = Glicko2().update(
        (np.where(swap, b, a)[order], np.where(swap, a, b)[order], np.where(swap, 1 - s, s)[order])
    )
    for name in range(30):
        assert one.rating(name) == pytest.approx(other.rating(name))


def test_a_period_without_games_widens_the_deviation():
    glicko = Glicko2().update([("a", "b", 1), ("a", "c", 1), ("b", "c", 1)])
    rating, deviation, volatility = glicko.rating("a")
    for _ in range(3):
        glicko.update([("b", "c", 1)])
    expected = math.sqrt(deviation**2 + 3 * (SCALE * volatility) ** 2)
    assert glicko.rating("a") == pytest.approx((rating, expected, volatility))
    glicko.update([("a", "b", 0)])
    alone = Standing(*(np.array([v]) for v in ((rating - 1500) / SCALE, expected / SCALE, 0.06)))
    assert glicko.rating("a")[1] < alone.phi[0] * SCALE


def test_ratings_of_many():
    glicko = Glicko2(initial=(1000.0, 300.0, 0.06)).update([("a", "b", 1), ("b", "c", 1)])
    rating, deviation = glicko.ratings(["c", "nobody", "a"])
    assert rating.tolist() == [glicko.rating("c")[0], 1000.0, glicko.rating("a")[0]]
    assert deviation.tolist() == [glicko.rating("c")[1], 300.0, glicko.rating("a")[1]]


def test_lazy_and_dense_periods_agree():
    random = np.random.default_rng(2)
    a = random.integers(0, 400, 900)
    b = (a + random.integers(1, 400, 900)) % 400
    s = random.integers(0, 2, 900).astype(float)
    periods = np.repeat(np.arange(6), [400, 20, 20, 20, 20, 420])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        glicko = Glicko2().fit((a, b, s), periods)
        expected = brute_force(
            list(zip(a.tolist(), b.tolist(), s.tolist(), periods.tolist(), strict=True))
        )
    for name in glicko.names_:
        assert glicko.rating(name)[0] == pytest.approx(expected[name][0], abs=0.05)


def test_extreme_games_stay_finite():
    strong = Glicko2(initial=(1500.0, 2000.0, 0.06))
    for _ in range(30):
        strong.update([("a", "b", 1)] * 200 + [("b", "c", 1)] * 200)
    strong.update([("c", "a", 1)] * 500)
    for values in (strong.rating_, strong.deviation_, strong.volatility_):
        assert np.isfinite(values).all() and (strong.deviation_ > 0).all()


def test_items_are_rated_by_their_difficulty_and_what_all_solve_stays_uncertain():
    random = np.random.default_rng(3)
    theta, b = random.normal(size=(80, 1)), np.linspace(-2, 2, 30)
    responses = (random.random((80, 30)) < 1 / (1 + np.exp(b - theta))).astype(float)
    responses[:, 4] = 1
    with pytest.warns(UserWarning, match=r"solved by all \(4\)"):
        games = games_from_responses(responses)
    glicko = Glicko2().fit(games.games, games.periods)
    rating, deviation = glicko.ratings(games.item_names)
    others = [i for i in range(30) if i != 4]
    assert spearmanr(rating[others], b[others]).statistic > 0.95
    assert rating.argmin() == 4
    assert deviation.argmax() == 4


def test_parts_that_no_games_connect_are_named_and_uncertain():
    games = [("a", "b", 1), ("b", "c", 0.5), ("c", "a", 0)] * 20 + [("x", "y", 1)] * 20
    with pytest.warns(DisconnectedWarning, match=r"3 \(a, b, c\); 2 \(x, y\): .* are raised"):
        glicko = Glicko2().fit(games)
    assert glicko.rating("a")[1] < 150 and glicko.rating("x")[1] > 350
    glicko.update([("a", "x", 1)])  # now they are connected
    assert glicko.rating("x")[1] < 250 and not glicko.component_.any()


def test_errors():
    for settings in ({"tau": 0}, {"initial": (1500, 0, 0.06)}, {"initial": (1500, 350, -1)}):
        with pytest.raises(InputError, match="expected a number"):
            Glicko2(**settings)
    with pytest.raises(InputError, match="scores: expected numbers in"):
        Glicko2().update([("a", "b", 1.5)])
    with pytest.raises(InputError, match="name: expected a player that was rated, got 'q'"):
        Glicko2().update([("a", "b", 1)]).rating("q")
