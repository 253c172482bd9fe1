"""The examples of the page on very large batches run, in the order of the page."""

import re
from pathlib import Path

import pytest
import torch
from datasets import Dataset

pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")

from sentence_transformers import SentenceTransformerTrainingArguments

from tests.integrations.test_contrastive_losses import encoder, folder

PAGE = Path(__file__).parents[2] / "docs/very-large-batches.md"
__all__ = ["folder"]


def sections() -> dict[str, list[str]]:
    """The blocks of each section that has any."""
    found = {}
    for part in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.M)[1:]:
        if blocks := re.findall(r"^```python\n(.*?)^```", part, re.S | re.M):
            found[part.splitlines()[0]] = blocks
    return found


def test_examples_run(folder, tmp_path):
    rows = {"query": [f"{chr(97 + i)}?" for i in range(24)], "answer": [f"{i}" for i in range(24)]}
    made = encoder(folder)
    model = torch.nn.EmbeddingBag(128, 6)

    def encode(model, texts):
        return torch.cat([model(torch.tensor([[ord(letter) for letter in t]])) for t in texts])

    numbers = torch.arange(40).reshape(20, 2)
    names = {
        "model": model,
        "encode": encode,
        "examples": Dataset.from_dict(rows),
        "optimizer": torch.optim.SGD(model.parameters(), 0.5),
        "encoder": made,
        "dataset": Dataset.from_dict(rows),
        "args": SentenceTransformerTrainingArguments(
            str(tmp_path), report_to=[], use_cpu=True, save_strategy="no", num_train_epochs=1,
            per_device_train_batch_size=12, disable_tqdm=True,
        ),
        "loader": [(numbers, numbers + 40), (numbers + 1, numbers + 41)],
    }  # fmt: skip
    before = {"fit": model.weight.clone(), "encoder": [p.clone() for p in made.parameters()]}
    for title, blocks in sections().items():
        for number, block in enumerate(blocks):
            exec(compile(block, f"{PAGE.name}, {title}, example {number + 1}", "exec"), names)
            if "trainer.train" in block:
                assert names["trainer"].state.global_step == 2
        if "fit" in title:
            after_fit = model.weight.detach().clone()
            assert not torch.equal(after_fit, before["fit"])
    assert not torch.equal(model.weight.detach(), after_fit)
    moved = zip(before["encoder"], made.parameters(), strict=True)
    assert any(not torch.equal(was, now) for was, now in moved)
    assert set(sections()) == {"With `fit`", "sentence-transformers", "A loop of your own"}
