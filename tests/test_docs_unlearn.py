"""The examples of the page on unlearning run, one after the other."""

import re
from pathlib import Path

import pytest
import torch

from tests.workflows.score_data import tiny, write_jsonl

pytest.importorskip("transformers", reason="needs transformers: pip install 'gradatim[llm]'")

PAGE = Path(__file__).parents[1] / "docs/make-a-model-forget.md"


def test_the_examples_forget(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loaded = tiny(max_position_embeddings=512)
    loaded.model.inner.save_pretrained("my-model")
    loaded.tokenizer.save_pretrained("my-model")
    write_jsonl(tmp_path / "forget.jsonl", [{"question": "2+3?", "answer": "5"}] * 2)
    write_jsonl(tmp_path / "retain.jsonl", [{"question": "a?", "answer": "b"}])
    x, y = torch.randn(60, 4), torch.arange(60) % 2
    names = {
        "classifier": torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)
        ),
        **{"x_forget": x[:10], "x_remain": x[10:40], "x_test": x[40:]},
        **{"y_forget": y[:10], "y_remain": y[10:40], "y_test": y[40:]},
    }
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.S | re.M)
    forgetting, loading, classifying = blocks
    exec(compile(forgetting, PAGE.name, "exec"), names)
    assert names["result"].method == "npo+kl" and (tmp_path / "forgotten/report.html").is_file()
    exec(compile(loading, PAGE.name, "exec"), names)
    assert names["forgetful"].kind == "model"
    exec(compile(classifying, PAGE.name, "exec"), names)
    assert len(names["result"].figures) == 4 and names["classifier"] is names["result"].model


def test_the_command_lines_name_options_that_there_are():
    from typer.main import get_command

    from gradatim.cli.app import app

    known = {
        option
        for parameter in get_command(app).commands["unlearn"].params
        for option in parameter.opts
    }
    used = set(re.findall(r"(--[a-z][a-z-]+)", PAGE.read_text("utf-8")))
    assert used and used <= known
