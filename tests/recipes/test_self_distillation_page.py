"""The examples of the page on self-distillation run, in the order of the page."""

import re
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers", reason="needs transformers: pip install 'gradatim[llm]'")

from transformers import TrainingArguments

from gradatim.core.examples import TensorExamples
from tests.integrations.test_past_targets import bert, data

PAGE = Path(__file__).parents[2] / "docs/self-distillation.md"


def test_examples_run(tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    model = torch.nn.Linear(6, 10)
    x, y = torch.randn(50, 6), torch.randint(10, (50,))
    names = {
        "model": model,
        "examples": TensorExamples(x=x, label=y),
        "optimizer": torch.optim.SGD(model.parameters(), 0.1),
        "classifier": bert(),
        "dataset": data(),
        "args": TrainingArguments(str(tmp_path), report_to=[], use_cpu=True, save_strategy="no"),
        "epochs": 3,
        "loader": [(torch.arange(25), x[:25], y[:25]), (torch.arange(25, 50), x[25:], y[25:])],
        "probabilities": x.softmax(1),
        "labels": y % 6,
    }
    for number, block in enumerate(blocks):
        code = block.replace("1_000_000", "1_000")
        names["labels"] = y % 6
        exec(compile(code, f"{PAGE.name}, example {number + 1}", "exec"), names)
        if "fit(" in block:
            assert int(names["recipe"].past.memory.count.min()) == 40
        elif "Trainer" in block:
            assert names["trainer"].state.global_step > 0
        elif "loss.backward" in block:
            assert names["distill"].past.memory.count.tolist() == [3] * 50
        elif "CompactPredictions" in block:
            assert names["past"].bytes == 1_000 * 40
