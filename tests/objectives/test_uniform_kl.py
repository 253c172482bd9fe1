"""Ignorance: closed forms, and torch's own divergence."""

import math

import pytest
import torch
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.language.uniform_divergence import token_uniform_divergences, uniform_divergence
from gradatim.networks.decoder import SmallDecoder
from gradatim.objectives.uniform_kl import uniform_kl


def test_a_value_by_hand_and_that_of_torch():
    p = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64)
    found = uniform_kl(p.log()[None])
    assert float(found) == pytest.approx(0.324287, abs=1e-6)
    wanted = functional.kl_div(p.log(), torch.full_like(p, 1 / 3), reduction="batchmean")
    torch.testing.assert_close(found, wanted)


def test_equal_logits_have_none_and_no_gradient():
    logits = torch.full((2, 3, 5), 4.0, dtype=torch.float64, requires_grad=True)
    loss = uniform_kl(logits)
    loss.backward()
    assert abs(float(loss.detach())) < 1e-12 and float(logits.grad.abs().max()) < 1e-12


def test_the_gradient_is_the_distance_from_uniform():
    logits = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    uniform_kl(logits, reduction="sum").backward()
    torch.testing.assert_close(logits.grad, logits.detach().softmax(-1) - 1 / 5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_underflow(dtype):
    values = uniform_divergence(torch.tensor([100.0, 0.0, 0.0], dtype=dtype))
    assert values.dtype == torch.float32
    assert float(values) == pytest.approx(200 / 3 - math.log(3), rel=1e-5)


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_of_a_model_in_chunks(chunk):
    model = SmallDecoder(10, hidden_size=8, layers=1).double()
    ids, mask = torch.tensor([[1, 2, 3], [0, 4, 5]]), torch.tensor([[1, 1, 1], [0, 1, 1]]) > 0
    values, predicted = token_uniform_divergences(model, ids, mask, chunk_tokens=chunk)
    values[predicted].mean().backward()
    gradient = model.head.weight.grad.clone()
    model.zero_grad()
    plain = uniform_kl(model.logits(model(ids, mask))[:, :-1], mask=predicted[:, 1:])
    plain.backward()
    torch.testing.assert_close(values[predicted].mean(), plain)
    torch.testing.assert_close(gradient, model.head.weight.grad)
    assert predicted.tolist() == [[False, True, True], [False, False, True]]


def test_bad_shapes_are_told():
    with pytest.raises(InputError, match="logits"):
        uniform_kl(torch.zeros(3, 4))
    with pytest.raises(InputError, match="mask"):
        uniform_kl(torch.zeros(2, 3, 4), mask=torch.ones(2, 4))
