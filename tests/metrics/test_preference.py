import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.metrics.preference import adjusted_win_rate, reward_margin
from gradatim.objectives.preference import dpo

INTEGERS = st.lists(st.integers(-3, 3), min_size=1, max_size=8)


@given(one=INTEGERS, other=INTEGERS)
def test_over_all_pairs_it_is_the_area_under_the_curve(one, other):
    a, b = torch.tensor(one), torch.tensor(other)
    pairs = torch.cartesian_prod(a, b).view(-1, 2)
    labels = [1] * len(one) + [0] * len(other)
    area = roc_auc_score(labels, one + other)
    assert adjusted_win_rate(pairs[:, 0], pairs[:, 1]) == pytest.approx(area)


@given(scores=INTEGERS)
def test_equals_share_and_the_two_rates_add_up(scores):
    a = torch.tensor(scores)
    assert adjusted_win_rate(a, a) == 0.5
    b = a.flip(0)
    assert adjusted_win_rate(a, b) + adjusted_win_rate(b, a) == pytest.approx(1)


def test_infinite_scores_win_and_lose():
    a = torch.tensor([math.inf, -math.inf, math.inf])
    assert adjusted_win_rate(a, torch.tensor([0.0, 0.0, math.inf])) == pytest.approx(0.5)


@given(seed=st.integers(0, 1000), beta=st.floats(0.01, 3))
def test_the_margin_is_that_of_the_loss(seed, beta):
    logs = -5 * torch.rand(4, 6, generator=torch.Generator().manual_seed(seed)).double()
    margin = reward_margin(*logs, beta=beta)
    loss = dpo(*logs, beta=beta, reduction="none")
    torch.testing.assert_close(functional.softplus(-margin), loss)
    assert torch.equal(reward_margin(*logs[[1, 0, 3, 2]], beta=beta), -margin)


def test_half_precision_is_raised():
    logs = torch.tensor([-300.0], dtype=torch.bfloat16)
    assert reward_margin(logs, logs, logs, logs).dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: adjusted_win_rate(torch.zeros(0), torch.zeros(0)), "at least one comparison"),
        (lambda: adjusted_win_rate(torch.zeros(2), torch.zeros(3)), "other: expected the shape"),
        (lambda: adjusted_win_rate(torch.zeros(2, 2), torch.zeros(2, 2)), r"expected shape \[N\]"),
        (lambda: adjusted_win_rate(torch.tensor([math.nan]), torch.zeros(1)), "score: .*got NaN"),
        (lambda: adjusted_win_rate(torch.zeros(1), torch.tensor([math.nan])), "other: .*got NaN"),
        (lambda: reward_margin(*[torch.zeros(2)] * 3, torch.zeros(1)), "reference_rejected"),
        (lambda: reward_margin(*[torch.zeros(2)] * 4, beta=0), "beta"),
    ],
)
def test_errors(call, message):
    with pytest.raises(InputError, match=message):
        call()
