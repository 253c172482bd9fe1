"""The examples of the page on training from easy to hard run on tiny models, by section."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("trl", reason="needs trl: pip install 'gradatim[llm]'")
pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
pytest.importorskip("lightning", reason="needs lightning")

import trl
from transformers import TrainingArguments

import gradatim
from gradatim.core.examples import TensorExamples
from gradatim.training import Loss
from tests.integrations import test_lightning, test_sentence_batches, trainer_scenario, trl_scenario
from tests.language.tiny_models import character_tokenizer

PAGE = Path(__file__).parents[2] / "docs/train-from-easy-to-hard.md"


def sections() -> dict[str, list[str]]:
    """The blocks of each section that has any."""
    found = {}
    for part in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.M)[1:]:
        if blocks := re.findall(r"^```python\n(.*?)^```", part, re.S | re.M):
            found[part.splitlines()[0]] = blocks
    return found


def what_a_reader_has(title: str, folder: Path, monkeypatch) -> dict:
    """The names that a section takes for granted."""
    if title == "Difficulty":
        rows = {"question": list("abcd"), "answer": list("1234"),
                "level": ["easy", "hard", "medium", "easy"]}  # fmt: skip
        gradatim.score(rows, level="level").save("scored")
        return {"rows": rows}
    if title == "`fit`":
        model = torch.nn.Linear(2, 1)
        return {
            "difficulty": np.random.default_rng(0).random(80),
            "model": model,
            "examples": TensorExamples(x=torch.randn(80, 2)),
            "step": lambda model, batch, state: Loss.of(model(batch["x"])[:, 0].square()),
            "optimizer": torch.optim.SGD(model.parameters(), 0.1),
        }
    if title.startswith("transformers"):
        return {
            "difficulty": trainer_scenario.DIFFICULTY,
            "model": trainer_scenario.Noting(),
            "args": TrainingArguments(str(folder), report_to=[], use_cpu=True, save_strategy="no"),
            "dataset": trainer_scenario.data(),
        }
    if title.startswith("sentence"):
        made = test_sentence_batches.make(folder, batch_sampler="no_duplicates")
        return {
            "difficulty": test_sentence_batches.DIFFICULTY,
            "encoder": made.model,
            "pair_args": made.args,
            "text_pairs": made.train_dataset,
            "loss": made.loss,
        }
    if title.startswith("Lightning"):
        rows = test_lightning.Rows()
        dataset = [rows[i] for i in range(len(rows))] * 4
        return {
            "difficulty": np.arange(len(dataset)),
            "dataset": dataset,
            "module": test_lightning.Module(),
        }
    return what_a_reader_of_trl_has(re.search("SFT|DPO|GRPO", title).group(), folder, monkeypatch)


def what_a_reader_of_trl_has(kind: str, folder: Path, monkeypatch) -> dict:
    """Tiny language models; the trainers are given the tokenizer they would load by name."""
    settings = {**trl_scenario.COMMON, "num_train_epochs": 1}
    if kind == "GRPO":
        settings |= {"num_generations": 4, "max_completion_length": 4}
        settings["per_device_train_batch_size"] = 8
    made = partial(getattr(trl, f"{kind}Trainer"), processing_class=character_tokenizer())
    monkeypatch.setattr(trl, f"{kind}Trainer", made)
    return {
        "difficulty": trl_scenario.DIFFICULTY,
        "prompt_number": np.arange(trl_scenario.EXAMPLES) // 3,
        "model": trl_scenario.fresh_model(),
        "reference": trl_scenario.fresh_model(),
        f"{kind.lower()}_args": getattr(trl, f"{kind}Config")(str(folder), **settings),
        "demonstrations": trl_scenario.texts(),
        "pairs": trl_scenario.pairs(),
        "prompts": trl_scenario.texts().remove_columns("completion"),
        "reward": lambda prompts, **_: [float(i % 2) for i in range(len(prompts))],
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("title", sections())
def test_examples_run(title, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = what_a_reader_has(title, tmp_path, monkeypatch)
    for blocks in sections().values():  # what the sections before it imported
        for line in re.findall(r"^(?:from|import) .*", "\n".join(blocks), re.M):
            exec(line, names)
    for block in sections()[title]:
        exec(compile(block, f"{PAGE.name}, {title}", "exec"), names)
    if title == "Difficulty":
        assert list(names["difficulty"]) == [0, 2, 1, 0]
    elif title.startswith(("TRL", "transformers", "sentence")):
        assert names["trainer"].state.global_step > 0
        assert names["trainer"].gradatim_curriculum.progress == 1.0
    if "GRPO" in title:
        assert names["attached"].feedback.rates.attempts.sum() > 0
