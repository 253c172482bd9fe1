"""Linear heads find what is linear, and choose their penalty on problems that were held out."""

import numpy as np
import pytest

from gradatim.core.errors import InputError
from gradatim.evaluators.frozen_heads import FrozenRewardHead


def data(problems=60, each=8, width=30, seed=0):
    random = np.random.default_rng(seed)
    states = random.normal(size=(problems * each, width))
    right = random.random(len(states)) < 1 / (1 + np.exp(-2 * states[:, 0]))
    return states, right, np.repeat(np.arange(problems), each)


def test_separates_new_states():
    from sklearn.metrics import roc_auc_score

    head = FrozenRewardHead().fit(*data())
    states, right, _ = data(seed=1)
    assert roc_auc_score(right, head.scores(states)) > 0.75
    assert head.strength in head.strengths


def test_a_penalty_that_memorizes_problems_is_not_chosen():
    """Features name the problem, whose candidates share a label: useless on other problems."""
    problems = np.repeat(np.arange(40), 6)
    states = np.eye(40)[problems] + np.random.default_rng(0).normal(size=(240, 40)) * 0.01
    right = (problems % 2).astype(bool)
    assert FrozenRewardHead().fit(states, right, problems).strength <= 1e-3


def test_half_precision_and_few_problems():
    states, right, problems = data(problems=2)
    head = FrozenRewardHead().fit(states.astype(np.float16), right, problems)
    assert np.isfinite(head.scores(states)).all()
    one = FrozenRewardHead().fit(states[:2], [True, False], [0, 0])
    assert one.strength == 1e-3
    assert len(one.scores(states[:0])) == 0


def test_what_cannot_be_fitted():
    states, right, problems = data(problems=3)
    with pytest.raises(InputError, match="got 24 wrong ones"):
        FrozenRewardHead().fit(states, np.zeros(24), problems)
    with pytest.raises(InputError, match="got 24 right ones"):
        FrozenRewardHead().fit(states, np.ones(24), problems)
    with pytest.raises(InputError, match="equal lengths"):
        FrozenRewardHead().fit(states, right[:5], problems)
    with pytest.raises(InputError, match=r"expected shape \[N, H\]"):
        FrozenRewardHead().fit(states[:, 0], right, problems)
    with pytest.raises(InputError, match="fitted"):
        FrozenRewardHead().scores(states)
