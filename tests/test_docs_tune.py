"""The examples of the page on tuning a language model run one after the other."""

import re
from pathlib import Path

import pytest
import torch

from tests.language.tiny_models import character_tokenizer, tiny_model

pytest.importorskip("peft", reason="needs peft: pip install 'gradatim[llm]'")

PAGE = Path(__file__).parents[1] / "docs/tune-a-language-model.md"


def test_the_page_runs(tmp_path, monkeypatch):
    """A tiny Llama learns some answers through adapters, which come back on it."""
    monkeypatch.chdir(tmp_path)
    tiny_model().save_pretrained("my-model")
    character_tokenizer().save_pretrained("my-model")
    names = {
        "questions": [f"{number}+1" for number in range(8)],
        "answers": [str(number + 1) for number in range(8)],
        "worse": [character_tokenizer().encode(word) for word in "abcdefgh"],
    }
    codes = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    assert len(codes) == 6
    for code in codes:
        exec(compile(code, PAGE.name, "exec"), names)
    assert names["tokens"] == 32768 and names["result"].epoch == 3
    assert names["scores"].shape == (8, 2)
    ids = torch.tensor([names["prompts"][0]])
    with torch.no_grad():
        before, after = (one(ids, ids > 0) for one in (names["model"], names["tuned"].model))
    torch.testing.assert_close(before.float(), after.float(), rtol=0.1, atol=0.1)
