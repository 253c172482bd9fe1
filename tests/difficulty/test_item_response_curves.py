import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.difficulty.item_response_curves import (
    FIXED,
    MODELS,
    ability_information,
    log_curves,
    log_gradients,
)
from gradatim.difficulty.item_response_priors import ItemPriors, priors_of

ALL = MODELS["4pl"]


def item(b=0.0, a=1.0, c=0.0, d=1.0):
    return torch.tensor(
        [b, math.log(a), torch.tensor(c).double().logit(), torch.tensor(d).double().logit()],
        dtype=torch.float64,
    )


def theta(*values):
    return torch.tensor(values, dtype=torch.float64)


@given(st.floats(-4, 4), st.floats(0.1, 4), st.floats(0, 0.6), st.floats(0.8, 1), st.floats(-6, 6))
def test_the_formula(b, a, c, d, ability):
    right, wrong = log_curves(item(b, a, c, d), theta(ability))
    expected = c + (d - c) / (1 + math.exp(-a * (ability - b)))
    assert right.exp().item() == pytest.approx(expected, abs=1e-6)
    assert wrong.exp().item() == pytest.approx(1 - expected, abs=1e-6)


def test_special_cases():
    ability = torch.linspace(-3, 3, 13, dtype=torch.float64)
    for free, expected in (("2pl", 0.5), ("3pl", 0.6)):
        c = 0.2 if free == "3pl" else 0.0
        assert log_curves(item(1.3, 2.0, c), theta(1.3))[0].exp().item() == pytest.approx(expected)
    same = log_curves(item(0.5, 1.0, 0.0, 1.0), ability)[0]
    torch.testing.assert_close(same, torch.nn.functional.logsigmoid(ability - 0.5))
    three, two = item(0.5, 1.7, 0.0), item(0.5, 1.7)
    torch.testing.assert_close(log_curves(three, ability), log_curves(two, ability))
    assert torch.equal(torch.tensor(FIXED), item().float())


def test_nothing_cancels_at_the_ends():
    right, wrong = log_curves(item(a=2.0), theta(-400.0, 400.0))
    torch.testing.assert_close(right, theta(-800.0, 0.0))
    torch.testing.assert_close(wrong, theta(0.0, -800.0))
    right, wrong = log_curves(item(c=0.25, d=0.9), theta(-400.0, 400.0))
    torch.testing.assert_close(right.exp(), theta(0.25, 0.9))


def test_gradients_are_those_of_autograd():
    parameters = torch.stack([item(0.3, 1.4, 0.2, 0.9), item(-1.0, 0.6, 0.05, 0.97)])
    parameters.requires_grad_()
    ability = theta(-1.5, 0.2)
    for sign, found in enumerate(log_gradients(parameters.detach(), ability, ALL)):
        value = log_curves(parameters, ability)[sign].sum()
        (expected,) = torch.autograd.grad(value, parameters)
        torch.testing.assert_close(found, expected)


def test_gradients_are_finite_at_the_ends_and_columns_can_be_chosen():
    for ability in (-500.0, 500.0):
        for part in log_gradients(item(0.1, 2.0), theta(ability), (0, 1)):
            assert torch.isfinite(part).all()
    whole = log_gradients(item(0.3, 1.4, 0.2, 0.9), theta(1.0), ALL)
    some = log_gradients(item(0.3, 1.4, 0.2, 0.9), theta(1.0), (0, 2))
    torch.testing.assert_close(some[0], whole[0][..., [0, 2]])


def test_information_of_ability():
    ability = torch.linspace(-3, 3, 25, dtype=torch.float64)
    p = torch.sigmoid(1.7 * (ability - 0.4))
    torch.testing.assert_close(ability_information(item(0.4, 1.7), ability), 1.7**2 * p * (1 - p))
    # Birnbaum's formula for three parameters.
    c = 0.2
    p = c + (1 - c) * p
    expected = 1.7**2 * (1 - p) / p * ((p - c) / (1 - c)) ** 2
    torch.testing.assert_close(ability_information(item(0.4, 1.7, c), ability), expected)


def test_priors():
    mean, precision = ItemPriors().columns((0, 1, 2))
    np.testing.assert_allclose(mean, [0, 0, math.log(0.25)])
    np.testing.assert_allclose(precision, [0.25, 4, 1])
    assert priors_of("none", "2pl") is None and priors_of(None, "2pl") is None
    assert priors_of("vague", "1pl").difficulty == (0.0, 1000.0)
    for bad, told in ((5, "priors: expected a name or ItemPriors, got int"), ("flat", "default")):
        with pytest.raises(InputError, match=told):
            priors_of(bad, "2pl")
    with pytest.raises(InputError, match="priors: deviation of difficulty"):
        ItemPriors(difficulty=(0.0, 0.0))
