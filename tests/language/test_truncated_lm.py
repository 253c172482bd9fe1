"""A model cut short: equal to the whole where nothing is cut, and to the whole's first blocks."""

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.language.sampling import sample
from gradatim.language.truncated_lm import truncate_lm
from gradatim.networks.decoder import SmallDecoder
from tests.language.tiny_models import tiny_model

pytest.importorskip("peft", reason="needs peft: pip install 'gradatim[llm]'")

from gradatim.language.adapters import add_lora
from gradatim.language.transformers_lm import TransformersLM

IDS = torch.tensor([[3, 4, 5, 6]])
KINDS = ["Llama", "GPT-2", "Granite"]


def logits(model):
    with torch.no_grad():
        return model.logits(model(IDS, IDS >= 0))


@pytest.mark.parametrize("kind", KINDS)
def test_all_layers_are_the_model(kind):
    model = TransformersLM(tiny_model(kind))
    whole = truncate_lm(model, 99, at_most=True)
    torch.testing.assert_close(logits(whole), logits(model), rtol=0, atol=0)
    assert not {p.data_ptr() for p in whole.parameters()} & {
        p.data_ptr() for p in model.parameters()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_block_is_that_of_the_model(kind):
    inner = tiny_model(kind)
    model, before = TransformersLM(inner), logits(TransformersLM(inner))
    cut = truncate_lm(model, 1)
    with torch.no_grad():
        states = inner(IDS, output_hidden_states=True).hidden_states
        body = cut.body
        norm = getattr(body, "norm", None) or body.ln_f
        wanted = cut.logits(norm(states[1]))
    if len(states) > 2:  # of a model with one block the last state is normalized already
        torch.testing.assert_close(logits(cut), wanted)
    torch.testing.assert_close(logits(model), before, rtol=0, atol=0)
    assert sample(cut, [[1, 2]], longest=3, temperature=0.0).lists()[0]


def test_configuration_and_adapters():
    cut = truncate_lm(TransformersLM(tiny_model()), 1)
    assert cut.inner.config.num_hidden_layers == 1
    adapted = add_lora(cut, rank=2, targets="all-linear")
    names = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
    assert names and all("lora_" in name for name in names)
    assert not any("lm_head" in name for name in names)
    with pytest.raises(InputError, match="without adapters"):
        truncate_lm(adapted, 1)


def test_a_saved_cut_loads_as_it_was(tmp_path):
    cut = truncate_lm(TransformersLM(tiny_model()), 1)
    cut.model.save_pretrained(tmp_path)
    again = TransformersLM(type(cut.model).from_pretrained(tmp_path).eval())
    torch.testing.assert_close(logits(again), logits(cut))


def test_small_decoders_and_bad_input():
    model = SmallDecoder(10, hidden_size=8, layers=3)
    assert len(truncate_lm(model, 2).blocks) == 2 and len(model.blocks) == 3
    torch.testing.assert_close(logits(truncate_lm(model, 3)), logits(model))
    for layers in (0, 4):
        with pytest.raises(InputError, match="layers"):
            truncate_lm(model, layers)
