"""``DPOTrainer``: a small Llama that solves some chains, on right and own wrong solutions."""

import tempfile
from functools import cache
from typing import Any

import numpy as np
import torch
from chains import (
    LEVELS,
    chain_tokenizer,
    log_probabilities,
    share_solved,
    small_sums,
    solutions,
    warm_llama,
)
from common import QUIET, RANDOM, UNTRAINED

from gradatim.curriculum.orders import staged
from gradatim.curriculum.pacing import Pacing
from gradatim.integrations.transformers_trainer import attach_curriculum
from gradatim.studies.data.arithmetic_chains import Chain, grade

TITLE = "DPOTrainer"
SEEDS = range(10, 15)
RATES = (1e-4, 3e-4, 1e-3)
RATE = 1e-4
PROBLEMS, SAMPLES, WRONG, PAIRS, BATCH, UPDATES = 250, 6, 2, 800, 16, 50
DPO_ARMS: dict[str, dict[str, Any]] = {
    "pacing root by gap, once an epoch": {"pacing": Pacing("root", start=0.25, end=0.8),
                                          "replacement": False},
    "stages by gap": {"order": lambda d, seed: staged(d, 3, seed=seed)},
}  # fmt: skip
ARMS = [RANDOM, UNTRAINED, *DPO_ARMS]


def run(arm: str, seed: int, rate: float = RATE) -> dict[str, float]:
    """Share of new pairs whose right solution gained more, and share of new problems solved."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    model = warm_llama(seed)
    if arm == UNTRAINED:
        return {"preferred": 0.5, "solved": share_solved(model, seed)}
    rows, difficulty = preference_pairs(seed)
    with tempfile.TemporaryDirectory() as folder:
        trainer = DPOTrainer(
            model=model, ref_model=warm_llama(seed), train_dataset=Dataset.from_list(rows),
            processing_class=chain_tokenizer(),
            args=DPOConfig(folder, max_steps=UPDATES, per_device_train_batch_size=BATCH, seed=seed,
                           learning_rate=rate, beta=0.5, warmup_steps=5, max_length=None,
                           use_cpu=True, bf16=False, **QUIET),
        )  # fmt: skip
        if arm != RANDOM:
            attach_curriculum(trainer, difficulty, **DPO_ARMS[arm])
        trainer.train()
    return {"preferred": _share_preferred(model, seed), "solved": share_solved(model, seed)}


@cache
def preference_pairs(seed: int) -> tuple[list[dict[str, str]], list[float]]:
    """Right solutions beside wrong ones that the model wrote, and how hard it is to tell them.

    The rating of a solution is the share of its steps that are right, 1 of a right one: a small gap
    is hard.
    """
    found = _pairs(seed, "pairs", PROBLEMS)
    chosen = np.random.default_rng(seed).permutation(len(found))[:PAIRS]
    pairs = [found[i] for i in chosen]
    rows = [{"prompt": c.question, "chosen": c.solution, "rejected": text} for c, text in pairs]
    return rows, [_rating(*pair) - 1 for pair in pairs]


def _share_preferred(model: Any, seed: int) -> float:
    """Share of new pairs whose right solution gained more log-probability than the wrong one."""
    pairs, before = _new_pairs(seed)
    return float((_margins(model, pairs) > before).float().mean())


@cache
def _new_pairs(seed: int) -> tuple[list[tuple[Chain, str]], torch.Tensor]:
    pairs = _pairs(seed, "new pairs", PROBLEMS // 2)
    return pairs, _margins(warm_llama(seed), pairs)


def _margins(model: Any, pairs: list[tuple[Chain, str]]) -> torch.Tensor:
    """Log-probability of right solutions minus that of wrong ones, shape [N]."""
    asked = [chain.question for chain, _ in pairs]
    right = log_probabilities(model, asked, [chain.solution for chain, _ in pairs])
    return right - log_probabilities(model, asked, [text for _, text in pairs])


def _pairs(seed: int, use: str, problems: int) -> list[tuple[Chain, str]]:
    """Problems of each level, each with up to two wrong solutions of the model before training."""
    model, pairs = warm_llama(seed), []
    torch.manual_seed(seed)
    for level in LEVELS:
        chains = small_sums(level, problems, seed, use)
        written = [solutions(model, chains, do_sample=True, top_k=0) for _ in range(SAMPLES)]
        for chain, texts in zip(chains, zip(*written, strict=True), strict=True):
            ended = dict.fromkeys(text for text in texts if text.endswith("#"))
            wrong = [text for text in ended if not grade(chain, text).valid]
            pairs += [(chain, text) for text in wrong[:WRONG]]
    return pairs


def _rating(chain: Chain, solution: str) -> float:
    steps = grade(chain, solution).steps
    return sum(steps) / max(len(steps), len(chain.steps))
