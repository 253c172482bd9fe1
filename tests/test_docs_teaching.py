"""The examples of the page on learning by teaching run, in their order, on tiny models."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from gradatim.evaluators.answers import extract_answer
from gradatim.language import sentence_encoder
from gradatim.language.loading import load_language_model
from gradatim.language.problems import Problem
from tests.language.tiny_models import character_tokenizer, tiny_model

pytest.importorskip("transformers", reason="needs transformers: pip install 'gradatim[llm]'")

PAGE = Path(__file__).parents[1] / "docs/learn-by-teaching.md"


def embedded(texts):
    """In the place of a sentence encoder: how often each character occurs."""
    return np.array([[text.count(chr(c)) for c in range(32, 127)] for text in texts], np.float32)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sentence_encoder, "embed_texts", embedded)
    for name in ("my-model", "my-small-model"):
        model = tiny_model(initializer_range=0.3, max_position_embeddings=900)
        model.save_pretrained(name)
        character_tokenizer().save_pretrained(name)
    random = np.random.default_rng(0)
    labels = np.arange(24) % 2
    names = {
        "questions": [f"{n}+1=?" for n in range(4)],
        "bank": [Problem(f"{n}+{m}=?", str(n + m), 0) for n in range(4) for m in (2, 3)],
        "comments": [f"{'ab'[label]} {random.integers(100)}" for label in labels],
        "labels": labels,
    }
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    assert len(blocks) == 3
    assert "longest=256" in blocks[0]
    for block in blocks:
        exec(compile(block.replace("longest=256", "longest=16"), PAGE.name, "exec"), names)
    assert len(names["chosen"]) == 4
    for place, answer in enumerate(names["chosen"]):
        own = names["solutions"][8 * place : 8 * (place + 1)]
        assert answer in [extract_answer(text, last_number=True) for text in own]
    [figures] = names["log"]
    assert figures["pairs"] >= 1
    after = load_language_model("my-taught-model", dtype="float32").model
    before = load_language_model("my-model", dtype="float32").model
    weights = zip(after.parameters(), before.parameters(), strict=True)
    assert any(not torch.equal(one, two) for one, two in weights)
    assert str(names["found"].score) in capsys.readouterr().out
