"""Values and gradients equal those of automatic differentiation of all logits, to any order."""

import gc

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from gradatim.core.errors import InputError
from gradatim.language import linear_log_probabilities as module
from gradatim.language.adapters import add_lora
from gradatim.language.linear_log_probabilities import linear_log_probabilities
from gradatim.language.log_probabilities import token_log_probabilities
from gradatim.language.sampling import right_padded
from gradatim.language.transformers_lm import TransformersLM
from tests.language.tiny_models import tiny_model


def plain(hidden, weight, tokens, bias=None):
    scores = torch.nn.functional.linear(hidden, weight, bias).double().log_softmax(dim=1)
    return scores.gather(1, tokens[:, None])[:, 0]


def inputs(rows=7, words=11, width=5, bias=True, dtype=torch.float64, seed=0, size=1.0):
    draw = torch.Generator().manual_seed(seed)
    shapes = [(rows, width), (words, width), *([(words,)] if bias else [])]
    made = [
        (torch.randn(shape, generator=draw, dtype=torch.float64) * size).to(dtype)
        for shape in shapes
    ]
    tokens = torch.randint(words, (rows,), generator=draw)
    return [one.requires_grad_() for one in made], tokens


def ours(arguments, tokens, chunk_tokens=None):
    hidden, weight, *bias = arguments
    return linear_log_probabilities(
        hidden, weight, tokens, bias=bias[0] if bias else None, chunk_tokens=chunk_tokens
    )


@given(
    rows=st.integers(0, 9),
    words=st.integers(1, 12),
    chunk=st.sampled_from([1, 2, 4, None]),
    bias=st.booleans(),
    trained=st.sampled_from(["all", "hidden", "weight"]),
    size=st.sampled_from([0.0, 1.0, 30.0]),
    seed=st.integers(0, 99),
)
def test_values_and_gradients(rows, words, chunk, bias, trained, size, seed):
    arguments, tokens = inputs(rows, words, bias=bias, seed=seed, size=size)
    if trained != "all":
        for place, one in enumerate(arguments):
            one.requires_grad_(place == ("hidden", "weight").index(trained))
    got, expected = ours(arguments, tokens, chunk), plain(*arguments[:2], tokens, *arguments[2:])
    torch.testing.assert_close(got, expected)
    weights = torch.randn(rows, dtype=torch.float64)
    wanted = [one for one in arguments if one.requires_grad]
    grads = torch.autograd.grad((got * weights).sum(), wanted)
    others = torch.autograd.grad((expected * weights).sum(), wanted)
    for one, other in zip(grads, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9 * max(size, 1.0))


@pytest.mark.parametrize("trained", [(0, 1, 2), (0,), (1,), (0, 2)])
def test_gradients_and_their_gradients(trained):
    arguments, tokens = inputs(4, 6, 3)

    def function(*given):
        filled = list(arguments)
        for place, one in zip(trained, given, strict=True):
            filled[place] = one
        others = [one if p in trained else one.detach() for p, one in enumerate(filled)]
        return ours(others, tokens, 3)

    chosen = tuple(arguments[place] for place in trained)
    assert torch.autograd.gradcheck(function, chosen)
    assert torch.autograd.gradgradcheck(function, chosen)


def test_extreme_logits_stay_finite():
    hidden = torch.tensor([[1e4, 0.0], [-1e4, 1e4], [0.0, 0.0]], requires_grad=True)
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 2.0]], requires_grad=True)
    values = linear_log_probabilities(hidden, weight, torch.tensor([0, 0, 2]))
    assert values.tolist()[:2] == [0.0, -40_000.0]  # logits 10,000 against 0; -10,000 and 30,000
    values.sum().backward()
    assert hidden.grad.isfinite().all() and weight.grad.isfinite().all()


@pytest.mark.parametrize("trained", ["all", "hidden"])
def test_bfloat16_rounds_products_alone(trained):
    arguments, tokens = inputs(40, 300, 16, dtype=torch.bfloat16, bias=False)
    arguments[1].requires_grad_(trained == "all")
    wanted = [one for one in arguments if one.requires_grad]
    weights = torch.rand(40)
    got = ours(arguments, tokens, 16)
    logits = torch.nn.functional.linear(*arguments).float()
    expected = logits.log_softmax(dim=1).gather(1, tokens[:, None])[:, 0]
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected)
    exact = plain(*(one.double() for one in arguments), tokens)
    grads = torch.autograd.grad((got * weights).sum(), wanted)
    precise = torch.autograd.grad((exact * weights).sum(), wanted)
    for one, other in zip(grads, precise, strict=True):
        assert one.dtype == torch.bfloat16
        error = (one.double() - other.double()).norm() / other.double().norm()
        assert error < 0.01


def test_autocast_multiplies_in_its_precision():
    arguments, tokens = inputs(20, 50, 8, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = ours(arguments, tokens, 6)
        logits = torch.nn.functional.linear(*arguments)
    assert logits.dtype == torch.bfloat16 and got.dtype == torch.float32
    expected = logits.float().log_softmax(dim=1).gather(1, tokens[:, None])[:, 0]
    torch.testing.assert_close(got, expected)
    grads = torch.autograd.grad(got.sum(), arguments)
    others = torch.autograd.grad(plain(*arguments[:2], tokens, arguments[2]).sum(), arguments)
    for one, other in zip(grads, others, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() / other.norm() < 0.02


class Largest(TorchDispatchMode):
    """The largest tensor that any operation gives."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for one in found if isinstance(found, tuple | list) else (found,):
            if isinstance(one, torch.Tensor):
                self.numbers = max(self.numbers, one.numel())
        return found


def test_logits_of_one_chunk_are_the_largest_tensor():
    arguments, tokens = inputs(64, 128, 4, bias=False)
    with Largest() as seen:
        ours(arguments, tokens, 8).sum().backward()
    gc.collect()
    assert seen.numbers == 8 * 128


def test_chunks_are_bounded_in_numbers_too(monkeypatch):
    monkeypatch.setattr(module, "_NUMBERS", 512)
    monkeypatch.setattr(module, "_LEAST_ROWS", 2)
    arguments, tokens = inputs(64, 128, 4, bias=False)
    with Largest() as seen:
        ours(arguments, tokens, 1000).sum().backward()
    assert seen.numbers == 4 * 128
    monkeypatch.setattr(module, "_NUMBERS", 100)
    with Largest() as seen:
        ours(arguments, tokens).sum().backward()
    assert seen.numbers == max(2 * 128, 128 * 4)


def test_models_whose_logits_are_a_linear_map_take_this_way(monkeypatch):
    kinds = {"Llama": True, "GPT-2": True, "Gemma2": False, "Granite": False}
    for kind, linear in kinds.items():
        assert (TransformersLM(tiny_model(kind)).linear_output() is not None) is linear
    assert TransformersLM(tiny_model(final_logit_softcapping=1.0)).linear_output() is not None
    model = TransformersLM(tiny_model())
    with torch.no_grad():
        hooked = model.inner.lm_head.register_forward_hook(lambda *_: None)
    assert model.linear_output() is None
    hooked.remove()
    assert model.linear_output()[0] is model.inner.lm_head.weight
    pytest.importorskip("peft", reason="needs peft: pip install 'gradatim[llm]'")
    frozen = add_lora(TransformersLM(tiny_model()), targets=["q_proj"])
    assert not frozen.linear_output()[0].requires_grad
    assert add_lora(TransformersLM(tiny_model()), targets=["lm_head"]).linear_output() is None


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["q_proj", "lm_head"]])
def test_adapters_get_the_gradient_of_all_logits(targets):
    pytest.importorskip("peft", reason="needs peft: pip install 'gradatim[llm]'")
    model = add_lora(TransformersLM(tiny_model()), rank=2, dropout=0.0, targets=targets)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    with torch.no_grad():
        for weight in trained:
            weight += torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) / 9
    ids, mask = right_padded([[5, 6, 7, 8, 9], [3, 4, 5]])
    got = torch.autograd.grad(token_log_probabilities(model, ids, mask).sum(), trained)
    logits = model.inner(input_ids=ids, attention_mask=mask.long()).logits[:, :-1]
    scores = logits.log_softmax(dim=2).gather(2, ids[:, 1:, None])[..., 0]
    expected = torch.autograd.grad(scores[mask[:, 1:]].sum(), trained)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_bad_shapes():
    (hidden, weight, bias), tokens = inputs()
    with pytest.raises(InputError, match="weight"):
        linear_log_probabilities(hidden, weight[:, 1:], tokens)
    with pytest.raises(InputError, match="tokens"):
        linear_log_probabilities(hidden, weight, tokens[1:])
    with pytest.raises(InputError, match="bias"):
        linear_log_probabilities(hidden, weight, tokens, bias=bias[1:])
    with pytest.raises(InputError, match="chunk_tokens"):
        linear_log_probabilities(hidden, weight, tokens, chunk_tokens=0)


def test_float16_gradients_overflow_no_sooner_than_those_of_all_logits():
    hidden = torch.tensor([[100.0, 0.0]], dtype=torch.float16, requires_grad=True)
    weight = torch.tensor([[0.07, 0.0], [0.0, 0.0]], dtype=torch.float16, requires_grad=True)
    scale = 3000.0  # of the loss; times hidden states it is beyond what float16 can hold
    got = linear_log_probabilities(hidden, weight, torch.tensor([0])).sum() * scale
    grads = torch.autograd.grad(got, [hidden, weight])
    expected = torch.autograd.grad(plain(hidden, weight, torch.tensor([0])).sum() * scale,
                                   [hidden, weight])  # fmt: skip
    for one, other in zip(grads, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.01)
