"""The examples of the page on preference tuning from easy to hard run on tiny models."""

import re
from pathlib import Path

import pytest
import torch

pytest.importorskip("trl", reason="needs trl: pip install 'gradatim[llm]'")

from tests.integrations import test_preference_stages as stages
from tests.integrations.trl_scenario import COMMON
from tests.language.tiny_models import character_tokenizer
from tests.recipes import test_curriculum_dpo as scene

PAGE = Path(__file__).parents[2] / "docs/preference-tune-from-easy-to-hard.md"


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = scene.responses()
    names = {
        "ratings": torch.tensor([[5.0, 4.0, 3.0, 2.0], [1.0, 1.0, 3.0, torch.nan]]),
        "policy": scene.policy(),
        "prompts": scene.PROMPTS,
        "responses": given,
        "rated": scene.ratings(given),
        "validation": (scene.PROMPTS, given, scene.ratings(given)),
        "settings": {k: v for k, v in COMMON.items() if k != "num_train_epochs"},
        "tokenizer": character_tokenizer(),
        "model": stages.model(),
        "dataset": stages.pairs(),
        "gap_difficulty": stages.DIFFICULTY,
        "prompt_number": stages.GROUP,
    }
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    logs = []
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, example {number + 1}", "exec"), names)
        logs.append(names.get("log"))
    assert capsys.readouterr().out.splitlines()[0] == "5 0"
    assert names["difficulty"].tolist() == [-3, -2, -1, -2, -2]
    assert [row["pairs"] for row in logs[1]] == [6, 6, 6]
    assert [row["pairs"] for row in logs[2]] == [4, 4, 4]
    assert (tmp_path / "runs/curri-dpo/stages").is_dir()
