import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gradatim.core.errors import InputError
from gradatim.targets.process_reward import shape_process_reward

solutions = arrays.arrays(
    "float64",
    st.tuples(st.integers(1, 4), st.integers(1, 12)),
    elements=st.floats(0, 1, allow_subnormal=False),
).map(torch.from_numpy)


def one_by_one(scores, present, scheme, upper_bound, bonus, scale):
    """The rewards of one solution, as the authors' loop has them."""
    steps = [score for score, there in zip(scores, present, strict=True) if there]
    worst, product, rewards = upper_bound, 1.0, []
    for score in steps:
        product *= score
        reached = score if scheme == "min" else product
        rewards.append(min(reached - worst, 0.0) + bonus / (len(steps) + 1e-6))
        worst = min(worst, reached)
    left = iter(rewards)
    return [scale * next(left) if there else 0.0 for there in present]


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [("min", [0.0, -0.1, 0.0, -0.1]), ("product", [0.0, 0.36 - 0.5, 0.216 - 0.36, -0.1512])],
)
def test_hand_values(scheme, expected):
    scores = torch.tensor([[0.9, 0.4, 0.6, 0.3]], dtype=torch.float64)
    rewards = shape_process_reward(scores, scheme=scheme, bonus=0.0)
    assert rewards[0].tolist() == pytest.approx(expected)


@settings(deadline=None)
@given(scores=solutions, bound=st.floats(0.01, 1), seed=st.integers(0, 99))
@pytest.mark.parametrize("scheme", ["min", "product"])
def test_rewards_telescope(scheme, scores, bound, seed):
    mask = torch.rand(scores.shape, generator=torch.Generator().manual_seed(seed)) > 0.3
    rewards = shape_process_reward(scores, mask, scheme=scheme, upper_bound=bound, bonus=0.0)
    filled = scores.masked_fill(~mask, 1.0)
    total = filled.amin(1) if scheme == "min" else filled.prod(1)
    torch.testing.assert_close(rewards.sum(1), total.clamp(max=bound) - bound)
    assert (rewards <= 0).all()
    assert not rewards[~mask].any()


@settings(deadline=None)
@given(scores=solutions, seed=st.integers(0, 99), bound=st.sampled_from([0.5, 1.0]))
@pytest.mark.parametrize("scheme", ["min", "product"])
def test_equals_a_loop_over_the_steps(scheme, scores, seed, bound):
    mask = torch.rand(scores.shape, generator=torch.Generator().manual_seed(seed)) > 0.3
    rewards = shape_process_reward(scores, mask, scheme=scheme, upper_bound=bound, scale=3.0)
    expected = [
        one_by_one(*row, scheme, bound, 0.25, 3.0)
        for row in zip(scores.tolist(), mask.tolist(), strict=True)
    ]
    torch.testing.assert_close(rewards, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("steps", [1, 2, 50])
def test_steps_share_the_bonus(steps):
    rewards = shape_process_reward(torch.ones(1, steps), bonus=0.25)
    assert rewards.sum().item() == pytest.approx(0.25, abs=1e-5)
    assert (rewards == rewards[0, 0]).all()


def test_one_solution_is_a_row_of_many():
    scores = torch.rand(3, 5, generator=torch.Generator().manual_seed(0))
    rows = torch.stack([shape_process_reward(row) for row in scores])
    torch.testing.assert_close(rows, shape_process_reward(scores))


def test_padding_has_no_part():
    mask = torch.tensor([[True, True, False, False]])
    padded = shape_process_reward(torch.tensor([[0.4, 0.7, torch.nan, 0.0]]), mask)
    assert padded[0, :2].equal(shape_process_reward(torch.tensor([0.4, 0.7])))
    assert padded[0, 2:].tolist() == [0.0, 0.0]


def test_no_step_no_reward():
    empty = shape_process_reward(torch.full((2, 3), 0.1), torch.zeros(2, 3, dtype=torch.bool))
    assert not empty.any()
    assert shape_process_reward(torch.zeros(2, 0), torch.zeros(2, 0)).shape == (2, 0)


def test_a_product_of_many_steps_stays_finite():
    rewards = shape_process_reward(torch.full((1, 500), 0.3), scheme="product", bonus=0.0)
    assert torch.isfinite(rewards).all()
    assert rewards.sum().item() == pytest.approx(-0.5)


def test_half_precision_is_raised_and_no_gradient_kept():
    scores = torch.tensor([[0.9, 0.4]], dtype=torch.bfloat16, requires_grad=True)
    rewards = shape_process_reward(scores)
    assert rewards.dtype == torch.float32
    assert not rewards.requires_grad
    assert scores.tolist() == torch.tensor([[0.9, 0.4]]).bfloat16().tolist()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scheme": "prod"}, "scheme: expected one of min, product"),
        ({"upper_bound": 0.0}, "upper_bound"),
        ({"bonus": -1.0}, "bonus"),
        ({"scale": float("nan")}, "scale"),
        ({"mask": torch.ones(2, 3)}, "mask: expected the shape of step_scores"),
    ],
)
def test_errors(wrong, message):
    with pytest.raises(InputError, match=message):
        shape_process_reward(torch.ones(2, 2), **wrong)
