"""Few-shot episodes: what every draw keeps to, their accuracy, and a task's difficulty."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from gradatim.core.errors import InputError
from gradatim.metrics.few_shot import episode_accuracy, episode_difficulty, few_shot_episodes


@given(
    st.integers(0, 1000), st.integers(2, 4), st.integers(1, 3), st.integers(1, 5),
    st.sampled_from([None, 0.05, 2.0]),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_every_task_holds_different_examples_of_its_classes(seed, way, shot, query, alpha):
    labels = np.random.default_rng(seed).permutation(np.repeat([3, 7, 8, 20], 8))
    drawn = few_shot_episodes(
        labels, way=way, shot=shot, query=query, count=5, concentration=alpha, seed=seed
    )
    assert drawn.support.shape == (5, way * shot)
    assert drawn.query.shape == (5, way * query)
    for e in range(5):
        together = np.concatenate([drawn.support[e], drawn.query[e]])
        assert len(set(together.tolist())) == len(together)
        assert len(set(drawn.classes[e].tolist())) == way
        assert (labels[drawn.support[e]] == drawn.classes[e][drawn.support_labels[e]]).all()
        assert (labels[drawn.query[e]] == drawn.classes[e][drawn.query_labels[e]]).all()
        assert (np.bincount(drawn.support_labels[e]) == shot).all()
        if alpha is None:
            assert (np.bincount(drawn.query_labels[e]) == query).all()


def test_draws_repeat_and_shares_follow_the_concentration():
    labels = np.repeat(np.arange(6), 200)
    options = {"way": 5, "query": 15, "count": 300}
    first, again = (few_shot_episodes(labels, seed=1, **options) for _ in range(2))
    assert (first.query == again.query).all()
    assert (first.query != few_shot_episodes(labels, seed=2, **options).query).any()
    for alpha in (0.5, 2.0, 50.0):
        drawn = few_shot_episodes(labels, concentration=alpha, **options)
        counts = np.stack([np.bincount(row, minlength=5) for row in drawn.query_labels])
        # the variance of a Dirichlet-multinomial count
        expected = 75 * 0.2 * 0.8 * (75 + 5 * alpha) / (1 + 5 * alpha)
        assert counts.var() == pytest.approx(expected, rel=0.15)
        assert counts.sum(axis=1).tolist() == [75] * 300


def test_accuracy_has_the_interval_of_a_t_test():
    random = np.random.default_rng(0)
    true = random.integers(5, size=(40, 75))
    told = np.where(random.random((40, 75)) < 0.7, true, 0)
    found = episode_accuracy(told, true)
    each = (told == true).mean(axis=1)
    interval = ttest_1samp(each, 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.estimate == pytest.approx(each.mean())


def test_difficulty_is_the_ratio_of_distances():
    prototypes = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 50.0]])
    query = torch.tensor([[0.0, 0.0], [5.0, 0.0], [2.0, 0.0]])
    assert float(episode_difficulty(prototypes, query)) == pytest.approx((0 + 1 + 0.25) / 3)
    batch = episode_difficulty(prototypes.repeat(2, 1, 1), torch.stack([query, query[[0, 0, 0]]]))
    assert batch.tolist() == pytest.approx([1.25 / 3, 0.0])
    assert float(episode_difficulty(torch.zeros(2, 2), torch.zeros(1, 2))) == 1.0


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: few_shot_episodes([0, 0, 1, 1], way=2, query=2), "at least 2 classes with 3"),
        (lambda: few_shot_episodes([0, 1], way=0), "way"),
        (lambda: few_shot_episodes([0] * 20, way=1, concentration=0.0), "concentration"),
        (lambda: episode_accuracy([[0, 1]], [[0, 1], [1, 1]]), "predicted"),
        (lambda: episode_difficulty(torch.zeros(1, 2), torch.zeros(3, 2)), "at least 2"),
        (lambda: episode_difficulty(torch.zeros(2, 2), torch.zeros(3, 3)), "query"),
    ],
)
def test_bad_input_is_named(call, named):
    with pytest.raises(InputError, match=named):
        call()
