"""The examples of the page on judging hard problems run, in their order, on a tiny model."""

import re
from pathlib import Path

import pytest
import torch

from gradatim.language.loading import load_language_model
from tests.language.tiny_models import character_tokenizer, tiny_model

pytest.importorskip("transformers", reason="needs transformers: pip install 'gradatim[llm]'")

PAGE = Path(__file__).parents[1] / "docs/judge-hard-problems.md"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny_model(initializer_range=0.3, max_position_embeddings=320).save_pretrained("my-model")
    character_tokenizer().save_pretrained("my-model")
    rows = [
        {"question": f"{n}+{level}=?", "answer": "2", "level": level}
        for level in (1, 2, 3, 4)
        for n in range(8)
    ]
    names = {"rows": rows}
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), names)
    assert (tmp_path / "runs/mine/report.html").is_file()
    assert set(names["result"].solutions["part"]) == {"easy", "hard"}
    assert names["scores"].shape == (len(names["responses"]),)
    assert len(names["log"]) == 2
    better = load_language_model("my-better-model", dtype="float32").model
    before = load_language_model("my-model", dtype="float32").model
    weights = zip(better.parameters(), before.parameters(), strict=True)
    assert any(not torch.equal(one, two) for one, two in weights)
    assert "majority" in capsys.readouterr().out
