"""Coupled weights and suspicion of negatives: hand values, Bayes' rule, and a simulation."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.curriculum.coupled_weights import coupled_weights
from gradatim.difficulty.false_negatives import false_negative_score

LOGITS = st.floats(-30, 30)


def _double(value):
    return torch.tensor([value], dtype=torch.float64)


@pytest.mark.parametrize(
    ("logit", "temperature", "weight"), [(2.0, 10.0, 2.221403), (0.0, 10.0, 2.0), (2, 2, 3.718282)]
)
def test_inverse_weights_by_hand(logit, temperature, weight):
    found = coupled_weights(torch.tensor([float(logit)]), temperature)
    torch.testing.assert_close(found, torch.tensor([weight]))


@given(LOGITS, LOGITS, st.floats(0.5, 20))
def test_posterior_is_bayes_rule_and_one_minus_suspicion(relevance, selection, temperature):
    logits = _double([relevance, selection])[0] / temperature
    rho = torch.sigmoid(logits[0])
    irrelevant, missed = torch.sigmoid(-logits)
    found = coupled_weights(
        _double(selection), temperature, mode="posterior", relevance_logit=_double(relevance)
    )
    suspicion = false_negative_score(_double(relevance), _double(selection), temperature)
    torch.testing.assert_close(found + suspicion, torch.ones(1, dtype=torch.float64))
    hidden = rho * missed
    torch.testing.assert_close(suspicion[0], hidden / (hidden + irrelevant))
    torch.testing.assert_close(found[0], irrelevant / (irrelevant + rho * missed))


@given(LOGITS, LOGITS, LOGITS)
def test_surely_judged_negatives_weigh_more(first, second, relevance):
    logits = torch.tensor([min(first, second), max(first, second)], dtype=torch.float64)
    likely = torch.full_like(logits, relevance)
    assert torch.diff(coupled_weights(logits)) >= 0
    posterior = coupled_weights(logits, mode="posterior", relevance_logit=likely)
    assert torch.diff(posterior) >= -1e-12
    assert torch.diff(false_negative_score(likely, logits)) <= 1e-12


def test_limits():
    far = torch.tensor([1e4, -1e4])
    relevance = torch.tensor([2.0, 2.0])
    posterior = coupled_weights(far, 1.0, mode="posterior", relevance_logit=relevance)
    torch.testing.assert_close(
        posterior, torch.stack([torch.ones(()), torch.sigmoid(-relevance[0])])
    )
    assert coupled_weights(far, 1.0).isfinite().all()
    assert coupled_weights(far, 1.0, max_weight=5.0).tolist() == [5.0, 1.0]
    torch.testing.assert_close(coupled_weights(torch.tensor([3.0]), 1e9), torch.tensor([2.0]))


def test_no_gradient_and_single_precision_for_half():
    logits = torch.zeros(2, dtype=torch.bfloat16, requires_grad=True)
    weights = coupled_weights(logits)
    assert not weights.requires_grad and weights.dtype == torch.float32
    assert false_negative_score(logits, logits).requires_grad


def test_posterior_weights_recover_the_risk_on_true_negatives():
    generator = torch.Generator().manual_seed(0)
    size = 200_000
    relevance, selection, loss = torch.randn(3, size, dtype=torch.float64, generator=generator)
    loss = (loss + relevance).square()
    relevant, judged = (
        torch.rand(size, dtype=torch.float64, generator=generator) < torch.sigmoid(logit)
        for logit in (relevance, selection)
    )
    unlabelled = ~(relevant & judged)
    weights = coupled_weights(selection, 1.0, mode="posterior", relevance_logit=relevance)
    difference = (loss * (weights - (~relevant).double()))[unlabelled]
    error = difference.std() / unlabelled.sum().sqrt()
    assert abs(difference.mean()) < 4 * error
    naive = (loss * relevant)[unlabelled]
    assert naive.mean() > 20 * error


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: coupled_weights(torch.zeros(2), 0.0), "temperature: expected"),
        (lambda: coupled_weights(torch.zeros(2), mode="ipw"), "mode: expected one of"),
        (lambda: coupled_weights(torch.zeros(2), mode="posterior"), "relevance_logit: expected"),
        (
            lambda: coupled_weights(torch.zeros(2), relevance_logit=torch.zeros(2)),
            "relevance_logit: expected",
        ),
        (
            lambda: coupled_weights(
                torch.zeros(2), mode="posterior", relevance_logit=torch.zeros(3)
            ),
            "relevance_logit: expected shape",
        ),
        (lambda: coupled_weights(torch.zeros(2), max_weight=0.0), "max_weight: expected"),
        (lambda: coupled_weights(torch.zeros(2, 1)), "selection_logit: expected shape"),
        (lambda: false_negative_score(torch.zeros(2), torch.zeros(3)), "selection: expected"),
        (lambda: false_negative_score(torch.zeros(2), torch.zeros(2), -1.0), "temperature"),
    ],
)
def test_bad_input_is_told(act, message):
    with pytest.raises(InputError, match=message):
        act()
