import itertools

import numpy as np
import pytest

from gradatim.core.errors import InputError
from gradatim.evaluators.rerank_curves import rerank_curve
from gradatim.evaluators.voting import chosen_positions
from gradatim.metrics.pass_at_k import pass_at_k

RULES = ("majority", "weighted", "best_of_n", "oracle")


def pool(seed=0, problems=6, places=6):
    generator = np.random.default_rng(seed)
    codes = generator.integers(-1, 3, (problems, places))
    codes[0, 4:] = codes[1, 1:] = -2
    codes[2, [0, 3]] = -2
    scores = generator.random((problems, places)).round(1)
    return codes, scores, codes == 0


def enumerated(codes, scores, correct, n, rule):
    """The exact expectation: all subsets of one problem's candidates, in the pool's order."""
    there = np.flatnonzero(codes != -2)
    hits = []
    for subset in itertools.combinations(there, n):
        places = list(subset)
        right = correct[places] & (codes[places] >= 0)
        if rule == "oracle":
            hits.append(right.any())
            continue
        place = chosen_positions(codes[None, places], scores[None, places], rule=rule)[0]
        hits.append(place >= 0 and right[place])
    return np.mean(hits) if hits else np.nan


@pytest.mark.parametrize("rule", RULES)
def test_equals_the_enumeration_of_all_subsets(rule):
    codes, scores, correct = pool()
    curve = rerank_curve(codes, scores, correct, range(1, 8), 3000, 0, rule=rule)
    exact = np.array(
        [
            [enumerated(c, s, r, n, rule) for n in range(1, 8)]
            for c, s, r in zip(codes, scores, correct, strict=True)
        ]
    )
    tolerance = 0.04 if rule in ("majority", "weighted") else 1e-12
    np.testing.assert_allclose(curve.accuracy, exact, atol=tolerance)
    assert curve.problems.tolist() == [6, 5, 5, 5, 3, 3, 0]
    assert np.isnan(curve.mean()[-1])


@pytest.mark.parametrize("rule", RULES[:3])
def test_the_whole_pool_gives_what_the_rule_gives(rule):
    codes, scores, correct = pool(1)
    codes = np.abs(codes)
    curve = rerank_curve(codes, scores, correct, [6], 5, rule=rule)
    place = chosen_positions(codes, scores, rule=rule)
    assert (curve.accuracy[:, 0] == correct[np.arange(6), place]).all()


def test_best_of_n_with_true_labels_is_pass_at_n():
    generator = np.random.default_rng(2)
    codes = generator.integers(0, 5, (40, 16))
    right = codes == 0
    best = rerank_curve(codes, right, right, [1, 2, 4, 8, 16], rule="best_of_n")
    oracle = rerank_curve(codes, None, right, [1, 2, 4, 8, 16], rule="oracle")
    np.testing.assert_allclose(best.accuracy, oracle.accuracy, atol=1e-12)
    np.testing.assert_allclose(oracle.accuracy[:, 2], pass_at_k(16, right.sum(1), 4))


def test_equal_scores_are_the_majority():
    codes, _, correct = pool(3)
    ns = [1, 2, 3, 4]
    equal = rerank_curve(codes, np.full(codes.shape, 0.3), correct, ns, 20, 5, rule="weighted")
    majority = rerank_curve(codes, None, correct, ns, 20, 5, rule="majority")
    np.testing.assert_array_equal(equal.accuracy, majority.accuracy)


def test_the_seed_decides_and_gaps_do_not():
    codes, scores, correct = pool(4)
    one, again, other = (
        rerank_curve(codes, scores, correct, [3], 7, seed).accuracy for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other, equal_nan=True)
    order = np.argsort(codes == -2, axis=1, kind="stable")
    moved = [np.take_along_axis(a, order, axis=1) for a in (codes, scores, correct)]
    np.testing.assert_array_equal(rerank_curve(*moved, [3], 7, 0).accuracy, one)


def test_arguments_are_not_changed():
    given = pool(5)
    before = [array.copy() for array in given]
    rerank_curve(*given, [1, 2], 3)
    assert all((a == b).all() for a, b in zip(given, before, strict=True))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ns": []}, "ns: expected numbers of at least 1"),
        ({"ns": [0]}, "ns: expected numbers of at least 1"),
        ({"rule": "best"}, "rule: expected one of"),
        ({"scores": None}, "scores: expected an array for the rule 'weighted'"),
        ({"scores": [[-1.0, 1.0]]}, "at least 0 for a weighted vote"),
        ({"correct": [True]}, "of one shape"),
        ({"n_subsets": 0}, "n_subsets"),
    ],
)
def test_bad_input(change, told):
    arguments = {
        "answers_codes": [[0, 1]],
        "scores": [[1.0, 1.0]],
        "correct": [[True, False]],
        "ns": [1, 2],
    }
    with pytest.raises(InputError, match=told):
        rerank_curve(**(arguments | change))
