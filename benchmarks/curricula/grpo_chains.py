"""``GRPOTrainer``: a small Llama that solves some chains, rewarded for right answers."""

import tempfile
from typing import Any

import torch
from chains import (
    LEVELS,
    LONGEST,
    chain_tokenizer,
    share_solved,
    small_sums,
    warm_llama,
)
from common import QUIET, RANDOM, UNTRAINED

from gradatim.curriculum.pacing import Pacing
from gradatim.integrations.group_rewards import attach_target_success
from gradatim.integrations.transformers_trainer import attach_curriculum
from gradatim.studies.data.arithmetic_chains import TOKENIZER, grade

TITLE = "GRPOTrainer"
SEEDS = range(10, 15)
RATES = (1e-4, 3e-4, 1e-3)
RATE = 3e-4
PROMPTS, GENERATIONS, BATCH, UPDATES = 20, 8, 48, 40
TARGET = "target success"
GRPO_ARMS: dict[str, dict[str, Any]] = {
    "pacing root by steps, once an epoch": {"pacing": Pacing("root", start=0.34, end=0.8),
                                            "replacement": False},
}  # fmt: skip
ARMS = [RANDOM, UNTRAINED, TARGET, *GRPO_ARMS]


def run(arm: str, seed: int, rate: float = RATE) -> dict[str, float]:
    """Share of new problems that samples solve, and that the likeliest solution solves."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    model = warm_llama(seed)
    if arm == UNTRAINED:
        return _figures(model, seed)
    chains = [c for level in LEVELS for c in small_sums(level, PROMPTS, seed, "prompts")]
    asked = {chain.question: chain for chain in chains}

    def reward(prompts: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        written = map(TOKENIZER.decode, completion_ids)
        return [
            float(grade(asked[prompt], text).correct)
            for prompt, text in zip(prompts, written, strict=True)
        ]

    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            model=model, reward_funcs=reward, processing_class=chain_tokenizer(),
            train_dataset=Dataset.from_list([{"prompt": chain.question} for chain in chains]),
            args=GRPOConfig(folder, max_steps=UPDATES, per_device_train_batch_size=BATCH, seed=seed,
                            num_generations=GENERATIONS, max_completion_length=LONGEST,
                            steps_per_generation=1, learning_rate=rate, warmup_steps=10,
                            use_cpu=True, bf16=False, **QUIET),
        )  # fmt: skip
        if arm == TARGET:
            attach_target_success(trainer)
        elif arm != RANDOM:
            attach_curriculum(trainer, [chain.level for chain in chains], **GRPO_ARMS[arm])
        trainer.train()
    return _figures(model, seed)


def _figures(model: Any, seed: int, copies: int = 2) -> dict[str, float]:
    torch.manual_seed(seed)
    sampled = share_solved(model, seed, copies, do_sample=True, top_k=0)
    return {"mean reward": sampled, "solved": share_solved(model, seed)}
