"""Figures of unlearning against brute force and other libraries."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.metrics.forgetting import (
    extraction,
    forget_quality,
    mean_truth_ratio,
    model_utility,
    rouge_l_recall,
    truth_ratio,
)

words = st.lists(st.sampled_from("abcd"), max_size=12)
some_words = st.lists(st.sampled_from("abcd"), min_size=1, max_size=12)
positive = st.floats(1e-6, 1e6)


def longest_common(first, second):
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            same = table[i][j] + 1 if one == other else 0
            table[i + 1][j + 1] = max(same, table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@settings(deadline=None)
@given(generated=words, expected=words)
def test_recall_is_that_of_the_whole_table(generated, expected):
    share = longest_common(generated, expected) / len(expected) if expected else 0.0
    assert rouge_l_recall(generated, expected) == share


@pytest.mark.parametrize(
    ("generated", "expected"),
    [
        ("The cat sat.", "the cat lay down"),
        ("", "something"),
        ("Born in 1971, in Lima; she writes novels.", "She was born in Lima in 1971."),
        ("a a a a", "a b a"),
    ],
)
def test_recall_of_text_is_that_of_torchmetrics(generated, expected):
    text = pytest.importorskip("torchmetrics.functional.text")
    theirs = text.rouge_score(generated, expected, rouge_keys="rougeL")["rougeL_recall"]
    assert rouge_l_recall(generated, expected) == pytest.approx(theirs.item())


@settings(deadline=None)
@given(rows=st.lists(st.tuples(words, some_words), min_size=1, max_size=5))
def test_extraction_by_loops(rows):
    generated, expected = (list(column) for column in zip(*rows, strict=True))
    found = extraction(generated, expected)
    for row, (one, other) in enumerate(rows):
        right = sum(a == b for a, b in zip(one, other, strict=False))
        before = 0
        while before < min(len(one), len(other)) and one[before] == other[before]:
            before += 1
        assert found.positions[row] == pytest.approx(right / len(other))
        assert found.prefix[row] == pytest.approx(before / len(other))
        assert found.exact[row] == (one[: len(other)] == other)
        assert found.prefix[row] <= found.positions[row] <= found.subsequence[row] + 1e-12
    assert found.means()["exact"] == pytest.approx(np.mean(found.exact))


def test_truth_ratio_is_a_ratio_of_geometric_means():
    right, wrong = np.array([0.5, 0.2]), np.array([[0.1, 0.4], [0.3, 0.3]])
    ratios = truth_ratio(-np.log(right), -np.log(wrong))
    expected = [p / statistics.geometric_mean(q) for p, q in zip(right, wrong, strict=True)]
    np.testing.assert_allclose(ratios, expected)


def test_truth_ratios_of_losses_far_apart_stay_usable():
    ratios = truth_ratio([0.0, 5000.0], [[5000.0], [0.0]])
    assert ratios.tolist() == [math.inf, 0.0]
    assert mean_truth_ratio(ratios) == 0.5
    assert mean_truth_ratio(ratios, "forgotten") == 0.0
    assert forget_quality(ratios, ratios) == 1.0


@settings(deadline=None)
@given(ratios=st.lists(positive, min_size=1, max_size=20))
def test_mean_truth_ratios_lie_between_0_and_1(ratios):
    retained, forgotten = mean_truth_ratio(ratios), mean_truth_ratio(ratios, "forgotten")
    assert 0 <= retained < 1 and 0 < forgotten <= 1
    inverse = [1 / ratio for ratio in ratios]
    assert mean_truth_ratio(inverse, "forgotten") == pytest.approx(forgotten)


@settings(deadline=None)
@given(first=st.lists(positive, min_size=1, max_size=9), seed=st.integers(0, 99))
def test_forget_quality_of_the_same_sample_is_1_in_any_order(first, seed):
    other = np.random.default_rng(seed).permutation(first)
    assert forget_quality(first, other) == 1.0


def test_forget_quality_is_exact_for_samples_apart():
    low, high = [1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]
    assert forget_quality(low, high) == pytest.approx(2 / math.comb(8, 4))


@settings(deadline=None)
@given(values=st.lists(st.floats(1e-300, 1e6), min_size=1, max_size=9))
def test_utility_is_the_harmonic_mean(values):
    figures = {str(place): value for place, value in enumerate(values)}
    ours = model_utility(figures)
    assert ours == pytest.approx(statistics.harmonic_mean(values), rel=1e-9)
    assert min(values) * (1 - 1e-9) <= ours <= max(values) * (1 + 1e-9)
    assert model_utility({**figures, "none": 0.0}) == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: truth_ratio([1.0], [1.0]), r"perturbed_nll: expected shapes \[N\] and \[N, P\]"),
        (lambda: truth_ratio([1.0], [[]]), "with P at least 1"),
        (lambda: truth_ratio([np.nan], [[1.0]]), "paraphrase_nll: expected finite"),
        (lambda: mean_truth_ratio([]), "ratios: expected at least one"),
        (lambda: mean_truth_ratio([-1.0]), "ratios: expected ratios of at least 0, got -1"),
        (lambda: mean_truth_ratio([1.0], "lost"), "kind: expected one of"),
        (lambda: forget_quality([], [1.0]), "unlearned: expected at least one"),
        (lambda: forget_quality([1.0], [np.nan]), "retained: expected ratios"),
        (lambda: model_utility({}), "figures: expected at least one"),
        (lambda: model_utility({"rouge": -0.1}), "rouge: expected a finite number of at least 0"),
        (lambda: model_utility({"rouge": math.inf}), "rouge: expected a finite number"),
        (lambda: extraction([], []), "expected at least one text"),
        (lambda: extraction([["a"]], [[]]), "got none in row 0"),
        (lambda: extraction([["a"]], []), "expected equal lengths"),
        (lambda: rouge_l_recall("a", ["a"]), "expected the form of generated"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
