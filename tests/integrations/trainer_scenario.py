"""A tiny model that notes what it sees, in a Trainer of transformers."""

import numpy as np
import torch
from datasets import Dataset
from transformers import Trainer, TrainingArguments

EXAMPLES = 22
DIFFICULTY = np.random.default_rng(3).permutation(EXAMPLES)


class Noting(torch.nn.Module):
    """Tells examples apart by their first feature, and keeps them in the order it sees them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(3, 2)
        self.seen: list[list[int]] = []

    def forward(self, x, labels=None):
        if self.training:
            self.seen.append(x[:, 0].long().tolist())
        dropped = torch.nn.functional.dropout(x[:, 1:], 0.3, self.training)
        logits = self.layer(torch.cat([x[:, :1] / EXAMPLES, dropped], dim=1))
        loss = torch.nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}


def data() -> Dataset:
    """Features whose first one is the row's number, and columns that no model takes."""
    x = np.random.default_rng(0).normal(size=(EXAMPLES, 3)).astype(np.float32)
    x[:, 0] = np.arange(EXAMPLES)
    labels = (x[:, 1] > 0).astype(int)
    return Dataset.from_dict({"x": x, "labels": labels, "note": ["unused"] * EXAMPLES})


def make(folder, **arguments) -> Trainer:
    """A trainer of the tiny model."""
    settings = {
        "per_device_train_batch_size": 4,
        "num_train_epochs": 3,
        "learning_rate": 0.05,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "logging_strategy": "no",
        **arguments,
    }
    return Trainer(
        model=Noting(),
        args=TrainingArguments(output_dir=str(folder), **settings),
        train_dataset=data(),
        eval_dataset=data().select(range(5)),
    )
