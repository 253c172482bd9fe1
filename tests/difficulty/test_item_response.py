import warnings

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from gradatim.core.errors import InputError
from gradatim.difficulty.comparison_graph import DisconnectedWarning, ExtremeItemWarning
from gradatim.difficulty.item_response import ItemResponseModel
from gradatim.difficulty.item_response_priors import ItemPriors

LSAT6 = [3, 6, 2, 11, 1, 1, 3, 4, 1, 8, 0, 16, 0, 3, 2, 15]
LSAT6 += [10, 29, 14, 81, 3, 28, 15, 80, 16, 56, 21, 173, 11, 61, 28, 298]
"""How many of 1,000 examinees gave each pattern of answers to five items, 00000 to 11111 (Bock and
Lieberman 1970)."""


def simulated(subjects, items, seed=0, c=0.0):
    random = np.random.default_rng(seed)
    theta, b = random.normal(size=subjects), 1.2 * random.normal(size=items)
    a = np.exp(0.3 * random.normal(size=items))
    p = c + (1 - c) / (1 + np.exp(-a * (theta[:, None] - b)))
    return theta, b, a, (random.random(p.shape) < p).astype(float)


def lsat():
    patterns = np.array([[int(digit) for digit in f"{i:05b}"] for i in range(32)], dtype=float)
    return np.repeat(patterns, LSAT6, axis=0)


def test_the_published_estimates_of_the_law_school_admission_test():
    # Marginal maximum likelihood, as in Rizopoulos 2006, Journal of Statistical Software 17(5).
    one = ItemResponseModel("1pl", priors="none", tol=1e-5).fit(lsat())
    published = [-3.6153, -1.3224, -0.3176, -1.7301, -2.7802]
    np.testing.assert_allclose(one.difficulty_ / one.population_std_, published, atol=3e-3)
    assert one.population_std_ == pytest.approx(0.7551, abs=1e-3)
    errors = [0.1304, 0.0792, 0.0718, 0.0846, 0.1054]  # of the intercepts, ability free to spread
    np.testing.assert_allclose(one.difficulty_std_, errors, rtol=0.07)
    two = ItemResponseModel("2pl", priors="none", tol=1e-5).fit(lsat())
    np.testing.assert_allclose(
        two.difficulty_, [-3.3597, -1.3696, -0.2799, -1.8659, -3.1236], atol=5e-3
    )
    np.testing.assert_allclose(
        two.discrimination_, [0.8254, 0.7229, 0.8905, 0.6886, 0.6575], atol=2e-3
    )
    np.testing.assert_allclose(
        two.discrimination_std_, [0.2581, 0.1867, 0.2326, 0.1852, 0.2100], rtol=0.12
    )


def test_recovery_and_its_uncertainty_at_200_by_200():
    theta, b, a, responses = simulated(200, 200)
    model = ItemResponseModel("2pl").fit(responses)
    assert spearmanr(model.difficulty_, b).statistic > 0.95
    assert spearmanr(model.ability_, theta).statistic > 0.95
    assert spearmanr(model.discrimination_, a).statistic > 0.7
    z = (model.difficulty_ - b) / model.difficulty_std_
    assert 0.8 < np.sqrt(np.mean(z**2)) < 1.4
    assert np.mean(np.abs(np.log(model.discrimination_ / a)) < 2 * 0.5) > 0.95


def test_equal_raw_scores_have_equal_abilities_in_the_rasch_model():
    _, _, _, responses = simulated(300, 15)
    score = responses.sum(1)
    for method in ("mml", "map"):
        model = ItemResponseModel("1pl", method).fit(responses)
        for one in np.unique(score):
            chosen = model.ability_[score == one]
            np.testing.assert_allclose(chosen, chosen[0], atol=1e-4)
        assert (np.diff(model.ability_[np.argsort(score)]) > -1e-4).all()
    two = ItemResponseModel("2pl").fit(responses)
    assert max(np.ptp(two.ability_[score == one]) for one in np.unique(score)) > 0.1


def test_columns_are_read_as_the_matrix_and_their_order_does_not_matter():
    _, _, _, responses = simulated(80, 20)
    responses[np.random.default_rng(1).random(responses.shape) < 0.5] = np.nan
    subjects, items = np.nonzero(~np.isnan(responses))
    order = np.random.default_rng(2).permutation(len(subjects))
    columns = tuple(c[order] for c in (subjects, items, responses[subjects, items]))
    dense, sparse = (ItemResponseModel(tol=1e-4).fit(one) for one in (responses, columns))
    np.testing.assert_allclose(sparse.difficulty_, dense.difficulty_, atol=1e-3)
    np.testing.assert_allclose(sparse.ability_std_, dense.ability_std_, atol=1e-3)


def test_the_scale():
    _, _, _, responses = simulated(400, 40)
    one, two = (ItemResponseModel(name).fit(responses) for name in ("1pl", "2pl"))
    assert two.population_std_ == 1 and one.population_std_ == pytest.approx(1, abs=0.2)
    for model in (one, two):
        assert abs(model.ability_.mean()) < 0.1
        total = model.ability_.var() + np.mean(model.ability_std_**2)
        assert total == pytest.approx(model.population_std_**2, rel=0.1)
    joint = ItemResponseModel("2pl", "map").fit(responses)
    assert joint.ability_.mean() == pytest.approx(0, abs=1e-9)
    assert joint.ability_.std(ddof=1) == pytest.approx(1)
    assert ItemResponseModel("1pl", "map").fit(responses).ability_.mean() == pytest.approx(0)
    assert spearmanr(joint.difficulty_, two.difficulty_).statistic > 0.98
    assert np.corrcoef(joint.difficulty_, two.difficulty_)[0, 1] > 0.98


@pytest.mark.filterwarnings("ignore::gradatim.difficulty.comparison_graph.ExtremeItemWarning")
def test_held_out_responses_are_predicted_better_than_by_the_subjects_means():
    _, _, _, responses = simulated(150, 60, c=0.2)
    hidden = np.random.default_rng(1).random(responses.shape) < 0.2
    seen = np.where(hidden, np.nan, responses)
    mean = np.nanmean(seen, axis=1, keepdims=True)
    baseline = np.where(responses == 1, np.log(mean), np.log(1 - mean))[hidden].mean()
    held_out = np.where(hidden, responses, np.nan)
    for name in ("1pl", "1pl-guessing", "2pl", "3pl", "4pl"):
        model = ItemResponseModel(name).fit(seen)
        assert model.score(held_out) > baseline + 0.05
        subjects, items = np.nonzero(hidden)
        p = model.predict_proba(subjects, items)
        likelihood = np.where(responses[hidden] == 1, p, 1 - p)
        assert model.score(held_out) == pytest.approx(np.log(likelihood).mean())


def test_predictions_average_over_what_ability_may_be():
    model = ItemResponseModel("2pl").fit(simulated(100, 10)[3])
    grid = np.linspace(-6, 6, 1201)
    weight = np.exp(-0.5 * grid**2)
    theta = model.ability_[3] + model.ability_std_[3] * grid
    expected = weight @ model.curves(theta)[:, 4] / weight.sum()
    assert model.predict_proba([3], [4])[0] == pytest.approx(expected, abs=1e-6)


def test_curves_and_information():
    model = ItemResponseModel("3pl").fit(simulated(300, 8, c=0.2)[3])
    theta = np.linspace(-3, 3, 13)
    p = model.curves(theta)
    assert p.shape == (13, 8) and (np.diff(p, axis=0) > 0).all()
    at_difficulty = np.diag(model.curves(model.difficulty_))
    np.testing.assert_allclose(at_difficulty, (1 + model.guessing_) / 2)
    step = 1e-5
    slope = (model.curves(theta + step) - model.curves(theta - step)) / (2 * step)
    np.testing.assert_allclose(model.information(theta), slope**2 / (p * (1 - p)), rtol=1e-5)
    with pytest.raises(InputError, match="theta: expected finite"):
        model.curves([np.nan])


def test_abilities_of_further_subjects():
    responses = simulated(300, 25)[3]
    model = ItemResponseModel("2pl").fit(responses)
    ability, deviation = model.abilities(responses)
    np.testing.assert_allclose(ability, model.ability_, atol=1e-6)
    np.testing.assert_allclose(deviation, model.ability_std_, atol=1e-6)
    nobody, _ = model.abilities(([1], [0], [1]))
    assert nobody[0] == pytest.approx(0, abs=1e-6) and nobody[1] > 0
    with pytest.raises(InputError, match="responses: expected 25 items, got 3"):
        model.abilities(np.ones((2, 3)))


@pytest.mark.parametrize("priors", ["default", "none"])
def test_items_that_all_or_none_solved_are_named_and_uncertain(priors):
    responses = simulated(120, 12)[3]
    responses[:, 2], responses[:, 7] = 1, 0
    responses[:, 5] = np.nan
    names = [f"q{i}" for i in range(12)]
    told = r"1 was solved by all \(q2\); 1 was solved by none \(q7\); 1 was answered by none \(q5\)"
    with pytest.warns(ExtremeItemWarning, match=told):
        model = ItemResponseModel("1pl", priors=priors).fit(responses, item_names=names)
    assert model.extreme_items_.tolist() == [2, 5, 7]
    others = np.delete(model.difficulty_std_, [2, 5, 7])
    assert (model.difficulty_std_[[2, 5, 7]] > 2 * others.max()).all()
    assert model.difficulty_.argmin() == 2 and model.difficulty_.argmax() == 7
    assert np.isinf(model.difficulty_std_[[2, 5, 7]]).all() == (priors == "none")


def test_nothing_is_warned_of_ordinary_responses():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ItemResponseModel("2pl").fit(simulated(200, 20)[3])


def test_parts_without_common_subject_or_item_are_named():
    responses = np.full((40, 10), np.nan)
    responses[:25, :6] = simulated(25, 6)[3]
    responses[25:, 6:] = simulated(15, 4)[3]
    told = r"fall into 2 parts that share nobody, of 31 \(subject 0, .*; 19 \(subject 25"
    with pytest.warns(DisconnectedWarning, match=told):
        ItemResponseModel("1pl").fit(responses)


def test_too_few_steps_are_told():
    with pytest.warns(ConvergenceWarning, match="raise max_iter"):
        model = ItemResponseModel("2pl", max_iter=2, tol=1e-9).fit(simulated(50, 10)[3])
    assert not model.converged_


@pytest.mark.filterwarnings("ignore::gradatim.difficulty.comparison_graph.ExtremeItemWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_long_tests_give_narrow_posteriors():
    theta, _, _, responses = simulated(40, 3000)
    model = ItemResponseModel("1pl").fit(responses)
    assert model.ability_std_.max() < 0.15
    assert kendalltau(model.ability_, theta).statistic > 0.9
    few = ItemResponseModel("1pl", nodes=21, max_iter=20).fit(responses)
    assert few.ability_std_.min() >= few.population_std_ * 0.5 / np.sqrt(12) - 1e-9


def test_coin_flips_have_no_order():
    flips = (np.random.default_rng(0).random((100, 20)) < 0.5).astype(float)
    for name in ("1pl", "2pl"):
        model = ItemResponseModel(name).fit(flips)
        assert model.converged_
        curves = model.curves([-model.population_std_, model.population_std_])
        assert np.abs(curves - 0.5).max() < 0.25
    assert ItemResponseModel("1pl").fit(flips).population_std_ < 0.4


def test_it_is_an_estimator():
    model = ItemResponseModel("3pl", priors=ItemPriors(difficulty=(0.0, 1.0)), nodes=31)
    assert clone(model).get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        model.predict_proba([0], [0])


def test_settings_and_inputs():
    responses = simulated(20, 5)[3]
    for settings, told in (
        ({"model": "5pl"}, "model: expected one of 1pl, 1pl-guessing, 2pl, 3pl, 4pl"),
        ({"method": "mcmc"}, "method: expected one of mml, map, vi"),
        ({"priors": "hierarchical"}, "priors: 'hierarchical' goes with method 'vi'"),
        ({"method": "map", "priors": "none"}, "priors: method 'map' needs priors"),
        ({"tol": 0}, "tol"),
        ({"nodes": 2}, "nodes"),
        ({"rule": "monte carlo"}, "quadrature: expected one of equal, gauss-hermite"),
    ):
        with pytest.raises(InputError, match=told):
            ItemResponseModel(**settings).fit(responses)
    with pytest.raises(InputError, match=r"responses: expected 0, 1 or NaN, got 3.0 at row 4"):
        ItemResponseModel().fit(np.where(np.eye(20, 5, k=-4) == 1, 3, responses))
    with pytest.raises(InputError, match="item_names: expected 5 names, got 2"):
        ItemResponseModel().fit(responses, item_names=["a", "b"])
    model = ItemResponseModel("1pl").fit(responses)
    with pytest.raises(InputError, match="items: expected positions from 0 to 4, got 5 at row 0"):
        model.predict_proba([0], [5])
