"""``SFTTrainer``: a small Llama from scratch on 1,500 chains of arithmetic of 2, 3 or 4 steps."""

import tempfile
from typing import Any

import torch
from chains import chain_tokenizer, small_llama
from common import QUIET, RANDOM

from gradatim.curriculum.orders import staged
from gradatim.curriculum.pacing import Pacing
from gradatim.integrations.example_losses import attach_self_paced
from gradatim.integrations.transformers_trainer import attach_curriculum
from gradatim.studies.data.arithmetic_chains import TOKENIZER, draw_chains

TITLE = "SFTTrainer"
SEEDS = range(10, 15)
CHAINS, STEPS = 500, 320
SFT_ARMS: dict[str, dict[str, Any]] = {
    "pacing root by steps, once an epoch": {"pacing": Pacing("root", start=0.25, end=0.8),
                                            "replacement": False},
    "stages by steps, every epoch": {"order": lambda d, seed: staged(d, 3, seed=seed)},
}  # fmt: skip
SELF_PACED = "self-paced to all"
ARMS = [RANDOM, *SFT_ARMS, SELF_PACED]


def run(arm: str, seed: int) -> dict[str, float]:
    """Loss a token of test solutions, by their steps."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    chains = [c for level in (1, 2, 3) for c in draw_chains(level, CHAINS, seed, "train")]
    rows = [{"prompt": c.question, "completion": c.solution[:-1]} for c in chains]
    torch.manual_seed(seed)
    model = small_llama()
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=model, train_dataset=Dataset.from_list(rows), processing_class=chain_tokenizer(),
            args=SFTConfig(folder, max_steps=STEPS, per_device_train_batch_size=32, seed=seed,
                           learning_rate=2e-3, warmup_steps=20, max_length=None, use_cpu=True,
                           bf16=False, **QUIET),
        )  # fmt: skip
        if arm in SFT_ARMS:
            attach_curriculum(trainer, [c.level for c in chains], **SFT_ARMS[arm])
        elif arm == SELF_PACED:
            attach_self_paced(trainer, pacing=Pacing("linear", start=0.5, end=0.8), momentum=0.5)
        trainer.train()
    return _losses(model.eval(), seed)


def _losses(model: Any, seed: int) -> dict[str, float]:
    told = {}
    for steps, level in ((2, 1), (3, 2), (4, 3)):
        chains = draw_chains(level, 400, seed, "test")
        texts = [TOKENIZER.encode(c.question + c.solution) for c in chains]
        start = torch.tensor([[len(c.question)] for c in chains])
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(t) for t in texts], True)
        mask = (torch.arange(1, ids.shape[1]) >= start) & (ids[:, 1:] > 0)
        with torch.no_grad():
            scores = model(input_ids=ids, attention_mask=(ids > 0).long()).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(scores[mask], ids[:, 1:][mask])
        told[f"loss, {steps} steps"] = float(loss)
    return told
