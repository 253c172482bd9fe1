"""Adapters go to disk and come back on their own base model, and on no other."""

import json

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.language.adapter_files import BASE_RECORD, load_adapter, save_adapter
from gradatim.language.adapters import add_lora
from gradatim.language.loading import LanguageModel, load_language_model
from gradatim.language.transformers_lm import TransformersLM
from tests.language.tiny_models import character_tokenizer, tiny_model

pytest.importorskip("peft", reason="needs peft: pip install 'gradatim[llm]'")

IDS = torch.tensor([[3, 4, 5, 6]])


def base(**changes):
    return LanguageModel(TransformersLM(tiny_model(**changes)), character_tokenizer(), "tiny")


def states(model):
    with torch.no_grad():
        return model(IDS, torch.ones_like(IDS) > 0)


@pytest.fixture
def written(tmp_path):
    """A folder with adapters, and what the model made of some tokens with them."""
    model = add_lora(base().model, rank=2, seed=3)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    folder = save_adapter(LanguageModel(model, character_tokenizer(), "tiny"), tmp_path / "a")
    return folder, states(model)


def test_there_and_back(written):
    folder, expected = written
    generator = torch.get_rng_state()
    loaded = load_adapter(base(), folder)
    assert torch.equal(torch.get_rng_state(), generator)
    torch.testing.assert_close(states(loaded.model), expected, rtol=0, atol=0)
    assert not torch.allclose(states(base().model), expected, atol=1e-3)
    assert not any(weight.requires_grad for weight in loaded.model.parameters())
    assert not loaded.model.model.training and loaded.name == "tiny"
    further = load_adapter(base(), folder, trainable=True).model
    trained = {name for name, weight in further.named_parameters() if weight.requires_grad}
    assert trained and all("lora_" in name for name in trained)


def test_the_base_in_another_precision_is_known_again(written):
    folder, expected = written
    half = base()
    half.model.bfloat16()
    found = states(load_adapter(half, folder).model).float()
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 3}, "another base than tiny .*layers.2.*, got none"),
        ({"num_hidden_layers": 1}, "another base than tiny .*layers.1.*of shape none"),
        ({"num_key_value_heads": 4}, "another base than tiny .*v_proj.*shape"),
        ({"kind": "GPT-2"}, "another base than tiny .*q_proj"),
    ],
)
def test_a_base_that_does_not_fit_is_refused_and_left_as_it_was(written, changes, message):
    folder, _ = written
    (folder / BASE_RECORD).unlink()  # as peft and TRL write adapters
    other = base(**changes)
    before, names = states(other.model), list(other.model.state_dict())
    with pytest.raises(InputError, match=message):
        load_adapter(other, folder)
    assert list(other.model.state_dict()) == names
    assert all(weight.requires_grad for weight in other.model.parameters())
    assert torch.equal(states(other.model), before)


def test_a_base_that_fits_but_is_another_is_refused(written):
    folder, expected = written
    other = base()
    with torch.no_grad():
        other.model.inner.get_input_embeddings().weight.mul_(1.1)
    with pytest.raises(InputError, match="another base than tiny: they were made on tiny"):
        load_adapter(other, folder)
    (folder / BASE_RECORD).write_text("{}")
    with pytest.raises(InputError, match="not what was written"):
        load_adapter(base(), folder)
    (folder / BASE_RECORD).unlink()
    torch.testing.assert_close(states(load_adapter(base(), folder).model), expected)


def test_peft_and_loading_read_what_was_written(written, tmp_path):
    import peft

    folder, expected = written
    wrapped = TransformersLM(peft.PeftModel.from_pretrained(tiny_model(), folder).eval())
    torch.testing.assert_close(states(wrapped), expected, rtol=0, atol=0)
    tiny_model().save_pretrained(tmp_path / "base")
    character_tokenizer().save_pretrained(tmp_path / "base")
    loaded = load_language_model(tmp_path / "base", dtype="float32", device="cpu")
    adapted = LanguageModel(add_lora(loaded.model), loaded.tokenizer, loaded.name)
    save_adapter(adapted, tmp_path / "b")
    again = load_language_model(tmp_path / "b", dtype="float32", device="cpu")
    torch.testing.assert_close(states(again.model), states(adapted.model), rtol=0, atol=0)


def test_bad_input(written, tmp_path):
    folder, _ = written
    with pytest.raises(InputError, match="adapted: expected a model with adapters"):
        save_adapter(base(), tmp_path / "none")
    with pytest.raises(InputError, match="no adapters"):
        load_adapter(base(), tmp_path)
    with pytest.raises(InputError, match="base: expected a model without adapters"):
        load_adapter(load_adapter(base(), folder), folder)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match="no weights of adapters"):
        load_adapter(base(), folder)
    record = json.loads((folder / BASE_RECORD).read_text())
    assert record["base"] == "tiny" and len(record["mark"]) == 64
