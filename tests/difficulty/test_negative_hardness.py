"""Hardness of negatives against autograd, scipy and brute force."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import entropy

from gradatim.core.errors import InputError
from gradatim.difficulty.negative_hardness import (
    hardness_entropy,
    negative_difficulty,
    relative_penalty,
    sample_difficulty,
)
from gradatim.objectives.contrastive import info_nce_from_similarity

cosines = arrays(
    np.float64, st.tuples(st.integers(1, 4), st.integers(1, 6)), elements=st.floats(-1, 1)
)
temperatures = st.floats(0.02, 20)


@given(values=cosines, temperature=temperatures, own=st.floats(-1, 1))
def test_penalties_are_shares_of_the_gradient(values, temperature, own):
    similarity = torch.tensor(values, requires_grad=True)
    positive = torch.full((len(values),), own, dtype=torch.float64, requires_grad=True)
    loss = info_nce_from_similarity(positive, similarity, temperature=temperature, reduction="sum")
    loss.backward()
    # the identity of the paper: what repels in all is what attracts
    assert torch.allclose(similarity.grad.sum(1), -positive.grad, rtol=1e-9, atol=1e-12)
    shares = relative_penalty(torch.tensor(values), temperature)
    assert torch.allclose(shares * -positive.grad[:, None], similarity.grad, rtol=1e-7, atol=1e-12)


def test_values_by_hand():
    similarity = torch.tensor([[0.6, 0.2]], dtype=torch.float64)
    first, second = relative_penalty(similarity, 0.5)[0].tolist()
    assert (first, second) == pytest.approx((0.689974, 0.310026), abs=1e-6)
    assert relative_penalty(similarity, 0.1)[0].tolist() == pytest.approx(
        [0.982014, 0.017986], abs=1e-6
    )


@given(values=cosines, temperature=temperatures)
def test_entropy_equals_that_of_scipy(values, temperature):
    found = hardness_entropy(torch.tensor(values), temperature).numpy()
    weights = np.exp((values - values.max(1, keepdims=True)) / temperature)
    assert np.allclose(found, entropy(weights, axis=1), atol=1e-9)


@given(values=cosines, temperature=st.floats(0.05, 20))
def test_entropy_rises_at_the_rate_of_the_variance(values, temperature):
    similarity = torch.tensor(values)
    tau = torch.tensor(temperature, dtype=torch.float64, requires_grad=True)
    shares = (similarity / tau).softmax(1)
    (rate,) = torch.autograd.grad(-(shares * shares.log()).sum(), tau)
    mean = (shares * similarity).sum(1, keepdim=True)
    variance = (shares * (similarity - mean) ** 2).sum()
    assert float(rate) == pytest.approx(
        float(variance.detach()) / temperature**3, rel=1e-5, abs=1e-9
    )
    low, high = (hardness_entropy(similarity, t) for t in (temperature, 2 * temperature))
    assert bool((high >= low - 1e-12).all())


@given(values=cosines, temperature=temperatures, data=st.data())
def test_a_mask_is_the_same_as_leaving_columns_out(values, temperature, data):
    keep = data.draw(arrays(np.bool_, values.shape))
    mask, similarity = torch.tensor(keep), torch.tensor(values)
    positive = torch.zeros(len(values), dtype=torch.float64)
    shares = relative_penalty(similarity, temperature, mask=mask)
    entropies = hardness_entropy(similarity, temperature, mask=mask)
    hardest = sample_difficulty(similarity, positive, mask=mask)
    mean = sample_difficulty(
        similarity, positive, reduce="softmax_mean", temperature=temperature, mask=mask
    )
    for row, kept in enumerate(mask):
        assert float(shares[row, ~kept].abs().sum()) == 0
        if not kept.any():
            assert float(entropies[row]) == 0
            assert float(hardest[row]) == float(mean[row]) == -math.inf
            continue
        alone = similarity[row, kept][None]
        expected = relative_penalty(alone, temperature)
        assert torch.allclose(shares[row, kept], expected[0])
        assert torch.allclose(entropies[row], hardness_entropy(alone, temperature)[0])
        assert float(hardest[row]) == float(alone.max())
        assert float(mean[row]) == pytest.approx(float((expected * alone).sum()), abs=1e-12)


@pytest.mark.parametrize("temperature", [1e-6, 1e-3, 1e6])
def test_extreme_temperatures(temperature):
    similarity = torch.tensor([[1.0, 0.5, -1.0], [0.3, 0.3, 0.3]])
    shares = relative_penalty(similarity, temperature)
    assert torch.allclose(shares.sum(1), torch.ones(2))
    expected = [0.0, math.log(3)] if temperature < 1 else [math.log(3)] * 2
    assert torch.allclose(hardness_entropy(similarity, temperature), torch.tensor(expected))


def test_half_precision_is_computed_in_float32():
    similarity = torch.tensor([[0.9, 0.8, 0.1]], dtype=torch.float16)
    assert torch.equal(
        relative_penalty(similarity, 0.01), relative_penalty(similarity.float(), 0.01)
    )


@given(values=cosines, own=st.floats(-1, 1))
def test_difficulty_of_negatives_and_samples(values, own):
    similarity = torch.tensor(values)
    positive = torch.full((len(values),), own, dtype=torch.float64)
    difficulty = negative_difficulty(similarity, positive)
    assert np.array_equal(difficulty.numpy(), values - own)
    hardest = sample_difficulty(similarity, positive)
    assert np.array_equal(hardest.numpy(), (values - own).max(1))
    cold, warm, hot = (
        sample_difficulty(similarity, positive, reduce="softmax_mean", temperature=t)
        for t in (1e-4, 0.5, 1e5)
    )
    assert torch.allclose(cold, hardest, atol=1e-3)
    assert torch.allclose(hot, difficulty.mean(1), atol=1e-4)
    assert bool((warm <= hardest + 1e-12).all())
    assert bool((warm >= difficulty.mean(1) - 1e-12).all())


def test_arguments_are_left_as_they_were():
    similarity, mask = torch.rand(3, 4), torch.rand(3, 4) < 0.5
    before = similarity.clone(), mask.clone()
    hardness_entropy(similarity, 0.1, mask=mask)
    sample_difficulty(similarity, torch.zeros(3), mask=mask)
    assert torch.equal(similarity, before[0])
    assert torch.equal(mask, before[1])


def test_bad_input_is_told():
    similarity = torch.zeros(2, 3)
    with pytest.raises(InputError, match=r"temperature: expected a number in \(0"):
        relative_penalty(similarity, 0.0)
    with pytest.raises(InputError, match=r"mask: expected the shape of similarity \[2, 3\]"):
        hardness_entropy(similarity, 1.0, mask=torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(InputError, match=r"similarity: expected shape \[4, K\], got \[2, 3\]"):
        negative_difficulty(similarity, torch.zeros(4))
    with pytest.raises(InputError, match="reduce: expected one of max, softmax_mean"):
        sample_difficulty(similarity, torch.zeros(2), reduce="mean")
