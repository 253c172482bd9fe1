"""Progressive weights of negatives against their formulas and the loss that they enter."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gradatim.core.errors import InputError
from gradatim.curriculum.negative_weights import (
    ProgressiveNegativeWeights,
    curricular_negative_weights,
    exponential_negative_weights,
    sample_window_weights,
)
from gradatim.objectives.contrastive import info_nce, info_nce_from_similarity

cosines = arrays(
    np.float64, st.tuples(st.integers(1, 4), st.integers(1, 6)), elements=st.floats(-1, 1)
)


@given(values=cosines, gamma=st.floats(-50, 50), data=st.data())
def test_mean_weight_over_the_negatives_is_one(values, gamma, data):
    mask = torch.tensor(data.draw(arrays(np.bool_, values.shape)))
    weights = exponential_negative_weights(torch.tensor(values), gamma, mask=mask)
    assert bool((weights >= 0).all())
    assert float(weights[~mask].sum()) == 0
    assert torch.allclose(weights.sum(1), mask.sum(1).double())
    every = torch.ones_like(mask)
    unmasked = exponential_negative_weights(torch.tensor(values), gamma)
    assert torch.allclose(
        unmasked, exponential_negative_weights(torch.tensor(values), gamma, mask=every)
    )


@given(values=cosines, gamma=st.floats(0, 20), temperature=st.floats(0.05, 2))
def test_emphasis_is_a_lower_temperature_of_the_negatives(values, gamma, temperature):
    similarity = torch.tensor(values, requires_grad=True)
    positive = torch.full((len(values),), 0.3, dtype=torch.float64)
    weights = exponential_negative_weights(similarity, gamma)
    loss = info_nce_from_similarity(
        positive, similarity, temperature=temperature, negative_weights=weights, reduction="sum"
    )
    (gradient,) = torch.autograd.grad(loss, similarity)
    shares = (similarity * (1 / temperature + gamma)).softmax(1)
    assert torch.allclose(gradient / gradient.sum(1, keepdim=True), shares, atol=1e-9)


def test_value_by_hand():
    similarity, positive = torch.tensor([[0.6, 0.2]], dtype=torch.float64), torch.tensor([0.8])
    weights = exponential_negative_weights(similarity, 5.0)
    assert weights[0].tolist() == pytest.approx([1.761594, 0.238406], abs=1e-6)
    loss = info_nce_from_similarity(
        positive.double(), similarity, temperature=0.5, negative_weights=weights
    )
    assert float(loss) == pytest.approx(0.812102, abs=1e-6)


def test_a_great_emphasis_keeps_the_hardest_alone():
    weights = exponential_negative_weights(torch.tensor([[0.1, 0.9, 0.5]]), 1e6)
    assert weights.tolist() == [[0.0, 3.0, 0.0]]


@given(values=cosines, own=st.floats(-1, 1), center=st.floats(-1, 1), margin=st.floats(0, 0.5))
def test_curricular_weights_replace_similarities(values, own, center, margin):
    similarity = torch.tensor(values)
    positive = torch.full((len(values),), own, dtype=torch.float64)
    weights = curricular_negative_weights(
        similarity, positive, center, temperature=0.1, margin=margin
    )
    loss = info_nce_from_similarity(
        positive, similarity, temperature=0.1, negative_weights=weights, reduction="none"
    )
    hard = values - own > -margin
    replaced = np.where(hard, values * (center + values), values)
    total = np.exp(own / 0.1) + np.exp(replaced / 0.1).sum(1)
    assert np.allclose(loss.numpy(), np.log(total) - own / 0.1, rtol=1e-9, atol=1e-12)


def test_curricular_average_moves_with_the_positives_and_is_kept():
    rule = ProgressiveNegativeWeights("curricular", rate=0.25)
    similarity, positive = torch.full((2, 3), 0.6), torch.tensor([0.4, 0.8])
    centers = []
    for _ in range(3):
        rule(similarity, positive, 0.5)
        centers.append(rule.center)
    assert centers == pytest.approx([0.6 * (1 - 0.75**k) for k in (1, 2, 3)], rel=1e-6)
    other = ProgressiveNegativeWeights("curricular", rate=0.25)
    other.load_state_dict(rule.state_dict())
    assert torch.equal(other(similarity, positive, 0.9), rule(similarity, positive, 0.1))
    rule(similarity[:0], positive[:0], 0.5)
    assert math.isfinite(rule.center)


@given(
    values=arrays(np.float64, st.integers(1, 6), elements=st.floats(-2, 2)),
    center=st.floats(-2, 2),
    width=st.floats(0.05, 2),
    noise=st.none() | st.floats(-1, 1),
)
def test_window_has_mean_one_and_its_shape(values, center, width, noise):
    weights = sample_window_weights(torch.tensor(values), center, width=width, noise=noise).numpy()
    kept = np.ones(len(values), dtype=bool) if noise is None else values <= noise
    assert weights[~kept].sum() == 0
    if not kept.any():
        return
    assert weights.mean() == pytest.approx(1.0)
    logits = -(((values - center) / width) ** 2)
    expected = np.exp(logits - logits[kept].max()) * kept
    assert np.allclose(weights, expected / expected.mean(), atol=1e-9)


def test_samples_without_negatives_or_far_from_the_centre():
    weights = sample_window_weights(torch.tensor([-torch.inf, 1e4, 2e4]), 0.0, width=0.01)
    assert weights.tolist() == [0.0, 3.0, 0.0]
    nothing = sample_window_weights(torch.tensor([0.5, 0.7]), 0.0, width=1.0, noise=0.1)
    assert nothing.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("rule", ["exponential", "curricular", "sample"])
def test_rules_give_weights_without_gradient_and_change_nothing(rule):
    similarity = torch.rand(3, 4, requires_grad=True)
    positive = torch.rand(3, requires_grad=True)
    mask = torch.rand(3, 4) < 0.7
    before = mask.clone()
    weights = ProgressiveNegativeWeights(rule)(similarity, positive, 0.7, mask)
    assert not weights.requires_grad
    assert weights.shape == ((3,) if rule == "sample" else (3, 4))
    assert torch.equal(mask, before)
    if rule != "sample":
        assert float(weights[~mask].sum()) == 0


def test_exponential_begins_as_the_ordinary_loss_and_follows_its_ramp():
    query, positive = torch.randn(5, 8), torch.randn(5, 8)
    rule = ProgressiveNegativeWeights(gamma_max=4.0)
    plain = info_nce(query, positive, temperature=0.1)
    weighted = info_nce(query, positive, temperature=0.1, negative_weights=rule.at(0.0))
    assert torch.allclose(weighted, plain)
    later = info_nce(query, positive, temperature=0.1, negative_weights=rule.at(1.0))
    assert float(later) > float(plain)
    similarity, own = torch.rand(2, 6), torch.rand(2)
    for ramp, share in (("linear", 0.25), ("cosine", 0.5 - math.sqrt(0.125)), ("step", 0.25)):
        found = ProgressiveNegativeWeights(gamma_max=4.0, ramp=ramp)(similarity, own, 0.25)
        assert torch.allclose(found, exponential_negative_weights(similarity, 4.0 * share))
    turned = ProgressiveNegativeWeights(gamma_max=4.0, ramp=lambda t: 1 - t)
    assert torch.allclose(
        turned(similarity, own, -3.0), exponential_negative_weights(similarity, 4.0)
    )
    assert torch.equal(turned(similarity, own, 2.0), torch.ones(2, 6))


def test_sample_rule_moves_from_easy_to_hard():
    rule = ProgressiveNegativeWeights("sample", centers=(-0.8, 0.0), width=0.2, noise=0.3)
    positive = torch.tensor([0.9, 0.5, 0.1])
    similarity = torch.tensor([[0.1, -0.2], [0.5, 0.0], [0.6, 0.2]])  # -0.8, 0.0, 0.5: noise
    early, late = rule(similarity, positive, 0.0), rule(similarity, positive, 1.0)
    assert early[0] > 2.9
    assert late[1] > 2.9
    assert early[2] == late[2] == 0


def test_a_cap_bounds_every_weight():
    similarity, positive = torch.tensor([[1.0, -1.0, -1.0, -1.0]]), torch.tensor([-1.0])
    free = ProgressiveNegativeWeights(gamma_max=50.0, cap=None)(similarity, positive, 1.0)
    assert float(free.max()) == pytest.approx(4.0)
    capped = ProgressiveNegativeWeights(gamma_max=50.0, cap=2.0)(similarity, positive, 1.0)
    assert float(capped.max()) == 2.0
    hot = ProgressiveNegativeWeights("curricular", temperature=1e-4, rate=1.0)
    assert float(hot(similarity, -positive, 1.0).max()) <= 100.0


def test_a_rule_of_ones_own():
    seen = []

    def rule(similarity, positive, share, mask):
        seen.append((share, mask))
        return similarity * 0 + share

    weights = ProgressiveNegativeWeights(rule, ramp="cosine")
    similarity = torch.rand(2, 3, requires_grad=True)
    mask = torch.tensor([[True, False, True]] * 2)
    found = weights(similarity, torch.rand(2), 0.5, mask)
    assert found.tolist() == [[0.5, 0.0, 0.5]] * 2
    assert seen[0][0] == pytest.approx(0.5)
    wrong = ProgressiveNegativeWeights(lambda similarity, *_: similarity.sum())
    with pytest.raises(InputError, match=r"rule: expected weights of shape \[2, 3\] or \[2\]"):
        wrong(similarity, torch.rand(2), 0.5)


def test_bad_settings_are_told():
    for setting, message in (
        ({"rule": "focal"}, "rule: expected one of exponential, curricular, sample"),
        ({"ramp": "sine"}, "ramp: expected one of linear, cosine, step"),
        ({"gamma_max": math.inf}, "gamma_max"),
        ({"temperature": 0.0}, "temperature"),
        ({"rate": 0.0}, "rate"),
        ({"centers": (0.0, math.nan)}, "centers"),
        ({"width": 0.0}, "width"),
        ({"noise": math.nan}, "noise"),
        ({"cap": 0.5}, "cap"),
    ):
        with pytest.raises(InputError, match=message):
            ProgressiveNegativeWeights(**setting)
    rule = ProgressiveNegativeWeights()
    with pytest.raises(InputError, match=r"similarity: expected shape \[2, N\], got \[3, 4\]"):
        rule(torch.zeros(3, 4), torch.zeros(2), 0.0)
    with pytest.raises(InputError, match="progress"):
        rule(torch.zeros(2, 4), torch.zeros(2), math.nan)
    with pytest.raises(InputError, match="mask: expected the shape of similarity"):
        exponential_negative_weights(torch.zeros(2, 3), 1.0, mask=torch.ones(1, 3).bool())
