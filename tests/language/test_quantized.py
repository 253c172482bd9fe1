"""Quantized models: read, refused, and tuned through adapters."""

import importlib.util

import pytest
import torch

from gradatim.core.errors import InputError, MissingPackageError
from gradatim.language.adapters import add_lora
from gradatim.language.loading import load_language_model
from gradatim.language.log_probabilities import token_log_probabilities
from gradatim.language.quantized import is_quantized, prepare_quantized, quantization_settings
from gradatim.language.transformers_lm import TransformersLM
from tests.language.tiny_models import character_tokenizer, tiny_model

pytest.importorskip("transformers", reason="needs transformers: pip install 'gradatim[llm]'")
installed = importlib.util.find_spec("bitsandbytes") is not None


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_model(hidden_size=64, intermediate_size=128).save_pretrained(folder)
    character_tokenizer().save_pretrained(folder)
    return folder


def test_without_bitsandbytes_it_is_told(checkpoint, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(MissingPackageError, match="'bitsandbytes' is needed for weights of 4 bits"):
        load_language_model(checkpoint, device="cpu", quantization="4bit")


def test_bad_input(checkpoint):
    with pytest.raises(InputError, match="quantization: expected one of 4bit, 8bit"):
        load_language_model(checkpoint, device="cpu", quantization="int4")
    plain = TransformersLM(tiny_model())
    assert not is_quantized(plain)
    with pytest.raises(InputError, match="loaded with quantization"):
        prepare_quantized(plain)
    with pytest.raises(InputError, match="without adapters"):
        prepare_quantized(add_lora(plain))


@pytest.mark.skipif(not installed, reason="needs bitsandbytes: pip install bitsandbytes")
@pytest.mark.parametrize("quantization", ["4bit", "8bit"])
def test_read_and_tuned(checkpoint, quantization):
    plain = load_language_model(checkpoint, dtype="float32", device="cpu").model
    loaded = load_language_model(
        checkpoint, dtype="float32", device="cpu", quantization=quantization
    )
    model = loaded.model
    kind = type(model.inner.model.layers[0].mlp.up_proj).__name__
    assert kind == {"4bit": "Linear4bit", "8bit": "Linear8bitLt"}[quantization]
    ids = torch.tensor([[3, 4, 5, 6, 7]])
    mask = torch.ones_like(ids) > 0
    with torch.no_grad():
        near, exact = (token_log_probabilities(one, ids, mask) for one in (model, plain))
    torch.testing.assert_close(near, exact, rtol=0.05, atol=0.05)
    assert not torch.equal(near, exact)
    if quantization == "4bit":
        with pytest.raises(InputError, match="on a GPU only"):
            prepare_quantized(model)
        return
    tuned = add_lora(prepare_quantized(model), rank=4, dropout=0.0, targets="all-linear").train()
    trained = [weight for weight in tuned.parameters() if weight.requires_grad]
    adam = torch.optim.Adam(trained, 0.05)
    losses = []
    for _ in range(20):
        loss = -token_log_probabilities(tuned, ids, mask).sum()
        losses.append(float(loss.detach()))
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert losses[-1] < losses[0] - 2
    with pytest.raises(InputError, match="without adapters"):
        prepare_quantized(tuned)


@pytest.mark.skipif(not installed, reason="needs bitsandbytes: pip install bitsandbytes")
def test_gguf_files_are_refused(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(InputError, match="quantization: expected None for a GGUF file"):
        load_language_model(tmp_path / "model.gguf", quantization="4bit")
    assert quantization_settings("8bit", torch.float32).load_in_8bit
