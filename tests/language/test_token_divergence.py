"""Divergences in chunks equal those from all logits, and adapters come back as they were."""

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.language.adapters import lora
from gradatim.language.sampling import left_padded, right_padded
from gradatim.language.token_divergence import (
    WithoutAdapters,
    frozen_copy,
    model_before,
    token_kl_divergences,
)
from gradatim.language.transformers_lm import TransformersLM
from gradatim.networks.decoder import SmallDecoder
from gradatim.objectives.unlearning import retain_kl
from tests.language.tiny_models import tiny_model

ROWS = [[5, 6, 7, 8, 9, 10, 11], [3, 4], [9], [9, 8, 7, 6, 5]]


def small(seed, vocabulary=64):
    torch.manual_seed(seed)
    return SmallDecoder(vocabulary, hidden_size=8, layers=1).double()


def moved_adapters(model):
    """Train adapters a little, so that they change something."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn(weight.shape, generator=generator))


@pytest.mark.parametrize("pad", [left_padded, right_padded])
@pytest.mark.parametrize("chunk_tokens", [1, 3, 1000])
def test_values_and_gradients_are_those_of_whole_logits(pad, chunk_tokens):
    model, reference = small(0), small(1)
    ids, mask = pad(ROWS)
    only = torch.rand(ids.shape, generator=torch.Generator().manual_seed(2)) > 0.3
    ours = token_kl_divergences(model, reference, ids, mask, only=only, chunk_tokens=chunk_tokens)
    logits, before = (one.logits(one(ids, mask))[:, :-1] for one in (model, reference))
    counted = mask[:, 1:] & mask[:, :-1] & only[:, 1:]
    expected = retain_kl(logits, before, counted, reduction="none")
    torch.testing.assert_close(ours[:, 1:], expected)
    assert not ours[:, 0].any() and ours.sum() > 0
    parameters = list(model.parameters())
    got = torch.autograd.grad(ours.sum(), parameters)
    for one, other in zip(got, torch.autograd.grad(expected.sum(), parameters), strict=True):
        torch.testing.assert_close(one, other)
    assert all(weight.grad is None for weight in reference.parameters())


def test_logits_of_one_chunk_only_are_kept():
    model, reference = small(0), small(1)
    ids, mask = right_padded([list(range(40))] * 4)
    kept = []

    def keep(tensor):
        kept.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        token_kl_divergences(model, reference, ids, mask, chunk_tokens=8)
    wide = [shape for shape in kept if len(shape) > 1 and shape[-1] == 64 and shape[0] > 8]
    assert not wide


def test_a_model_does_not_differ_from_itself():
    model = small(0)
    ids, mask = right_padded(ROWS)
    values = token_kl_divergences(model, model_before(model), ids, mask)
    assert values.abs().max() == 0.0


def test_a_frozen_copy_stays():
    model = small(0).train()
    copied = frozen_copy(model)
    assert not copied.training and model.training
    assert not any(weight.requires_grad for weight in copied.parameters())
    before = copied.head.weight.clone()
    with torch.no_grad():
        model.head.weight.add_(1)
    assert torch.equal(copied.head.weight, before)


@pytest.mark.parametrize("chunk_tokens", [3, 1000])
def test_without_adapters_a_model_is_its_base(chunk_tokens):
    ids, mask = right_padded(ROWS)
    base = TransformersLM(tiny_model())
    copied = frozen_copy(base)
    with lora(base, rank=2, targets="all-linear") as tuned:
        bare = model_before(tuned)
        assert isinstance(bare, WithoutAdapters) and not list(bare.parameters())
        moved_adapters(tuned)
        trainable = [weight.requires_grad for weight in tuned.parameters()]
        parameters = [weight for weight in tuned.parameters() if weight.requires_grad]
        found = []
        for reference in (bare, copied):
            values = token_kl_divergences(tuned, reference, ids, mask, chunk_tokens=chunk_tokens)
            values.sum().backward()
            found.append((values.detach(), [weight.grad.clone() for weight in parameters]))
            tuned.zero_grad()
        assert [weight.requires_grad for weight in tuned.parameters()] == trainable
        assert found[0][0].sum() > 0
        torch.testing.assert_close(found[0], found[1])
        assert any(gradient.any() for gradient in found[0][1])


def test_without_adapters_nothing_is_dropped_and_modes_come_back():
    ids, mask = right_padded(ROWS)
    base = TransformersLM(tiny_model(attention_dropout=0.5))
    with lora(base, rank=2, dropout=0.5) as tuned:
        tuned.train()
        bare = WithoutAdapters(tuned)
        assert torch.equal(bare(ids, mask), bare(ids, mask))
        assert all(module.training for module in tuned.modules())


def test_adapters_that_change_something_are_copied():
    with lora(TransformersLM(tiny_model()), rank=2) as tuned:
        moved_adapters(tuned)
        assert not isinstance(model_before(tuned), WithoutAdapters)


def test_bad_input():
    ids, mask = right_padded(ROWS)
    with pytest.raises(InputError, match="vocabulary of 64 tokens, got one of 70"):
        token_kl_divergences(small(0), small(0, 70), ids, mask)
    with pytest.raises(InputError, match="chunk_tokens: expected"):
        token_kl_divergences(small(0), small(0), ids, mask, chunk_tokens=0)
    with pytest.raises(InputError, match="expected one with adapters"):
        WithoutAdapters(TransformersLM(tiny_model()))
    with (
        lora(TransformersLM(tiny_model()), rank=2) as tuned,
        pytest.raises(InputError, match="does not decode"),
    ):
        WithoutAdapters(tuned).begin(ids, mask, 1, 1)
