import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from gradatim.core.errors import InputError
from gradatim.difficulty.label_disagreement import label_disagreement
from gradatim.difficulty.prediction_uncertainty import (
    ensemble_disagreement,
    entropy_difficulty,
    margin_difficulty,
    top_two_margin,
)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double().softmax(-1)


def test_entropy_is_scipys():
    p = drawn(20, 5)
    expected = stats.entropy(p.numpy(), axis=1, base=5)
    np.testing.assert_allclose(entropy_difficulty(p), expected)


def test_margin_by_brute_force():
    p, labels = drawn(30, 4), torch.arange(30) % 4
    for row, score in enumerate(margin_difficulty(p, labels)):
        others = [p[row, c] for c in range(4) if c != labels[row]]
        assert score == pytest.approx(float(1 + max(others) - p[row, labels[row]]) / 2)
    wrong = p.argmax(1) != labels
    assert torch.equal(margin_difficulty(p, labels) > 0.5, wrong)


def test_two_classes_have_one_margin_and_confidence():
    p, labels = drawn(9, 2), torch.arange(9) % 2
    torch.testing.assert_close(margin_difficulty(p, labels), label_disagreement(p, labels))


def test_disagreement_of_two_is_scipys_jensen_shannon():
    p = drawn(2, 15, 3)
    expected = jensenshannon(p[0].numpy(), p[1].numpy(), axis=1, base=2) ** 2
    np.testing.assert_allclose(ensemble_disagreement(p), expected)


@given(st.integers(0, 1000), st.integers(1, 5), st.integers(2, 5))
def test_disagreement_lies_in_the_unit_interval_and_needs_differences(seed, members, classes):
    p = drawn(members, 6, classes, seed=seed)
    score = ensemble_disagreement(p)
    assert ((score >= 0) & (score <= 1 + 1e-12)).all()
    torch.testing.assert_close(ensemble_disagreement(p.flip(0)), score)
    same = p[:1].expand(members, -1, -1)
    torch.testing.assert_close(ensemble_disagreement(same), torch.zeros(6).double())


def test_errors_name_the_argument():
    with pytest.raises(InputError, match="probabilities: expected shape"):
        entropy_difficulty(torch.ones(3))
    with pytest.raises(InputError, match="labels: expected shape"):
        margin_difficulty(torch.ones(3, 2), torch.zeros(2, dtype=torch.long))
    with pytest.raises(InputError, match="probabilities: expected shape"):
        ensemble_disagreement(torch.ones(3, 2))


@given(st.integers(1, 20), st.integers(2, 6), st.integers(0, 99))
def test_top_two_margin_is_that_of_sorted_probabilities(n, classes, seed):
    p = np.random.default_rng(seed).dirichlet(np.ones(classes), n)
    ordered = np.sort(p, axis=1)
    got = top_two_margin(torch.from_numpy(p)).numpy()
    np.testing.assert_allclose(got, 1 - ordered[:, -1] + ordered[:, -2], atol=1e-15)
    assert (got >= 0).all() and (got <= 1).all()


def test_top_two_margin_at_extremes_and_on_bad_input():
    p = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    assert top_two_margin(p).tolist() == [0.0, 1.0]
    with pytest.raises(InputError, match="probabilities: expected shape"):
        top_two_margin(p[0])
    with pytest.raises(InputError, match="at least 2 classes, got 1"):
        top_two_margin(p[:, :1])
