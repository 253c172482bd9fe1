"""The examples of the page on searching for training pairs run one after the other."""

import contextlib
import io
import re
from pathlib import Path

import torch

from gradatim.language.characters import CharacterTokenizer
from gradatim.language.environments import play
from gradatim.language.text_tokens import separator_tokens
from gradatim.networks.decoder import SmallDecoder

PAGE = Path(__file__).parents[1] / "docs/search-for-training-pairs.md"


def test_the_page_runs(tmp_path, monkeypatch):
    """A decoder of characters learns the warehouse by heart; the searched pairs are real ones."""
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    environment, mining, tuning = re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)
    tokenizer = CharacterTokenizer("".join(sorted(set("How many nuts bolts?\nask47!0."))))
    torch.manual_seed(1)
    policy = SmallDecoder(len(tokenizer), hidden_size=16, layers=1, decoding_dtype=torch.float32)
    names = {
        "policy": policy,
        "tokenizer": tokenizer,
        "stop": tokenizer.encode("."),
        "separators": separator_tokens(tokenizer, len(tokenizer), ["k", "4", "7"]),
    }
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        for code in (environment, mining):
            exec(compile(code, PAGE.name, "exec"), names)
        faster = tuning.replace(
            "supervised_steps=200,",
            "supervised_steps=200, batch_size=2,\n    "
            "supervised_optimizer=lambda some: torch.optim.Adam(some, 0.01),",
        )
        assert faster != tuning
        exec(compile(faster, PAGE.name, "exec"), names)
    assert " pairs; [" in printed.getvalue()
    assert [len(some) >= 3 for some in names["found"].rewards] == [True, True]
    assert len(names["log"]) == 3 and names["log"][0]["loss"] < 0.5
    assert (tmp_path / "runs/itool/phases").is_dir()
    made = play(
        names["Warehouse"](), ["nuts", "bolts"], lambda texts: ["ask\n"] * len(texts), turns=1
    )
    assert made == ["ask\n4\n", "ask\n7\n"]
