"""``SentenceTransformerTrainer``: MiniLM on 384 questions of ARC and their answers."""

import tempfile
from functools import cache
from typing import Any

import numpy as np
import torch
from common import QUIET, RANDOM, UNTRAINED

from gradatim.curriculum.orders import hard_to_easy
from gradatim.curriculum.pacing import Pacing
from gradatim.integrations.transformers_trainer import attach_curriculum
from gradatim.language.sentence_encoder import locate_encoder
from gradatim.studies.data.exams import arc_questions

TITLE = "SentenceTransformerTrainer"
SEEDS = range(10, 15)
PAIRS, TESTED = 384, 300
PAIR_ARMS: dict[str, dict[str, Any]] = {
    "pacing root, once an epoch": {"pacing": Pacing("root", start=0.25, end=0.8),
                                   "replacement": False},
    "hard to easy": {"order": hard_to_easy},
}  # fmt: skip
ARMS = [RANDOM, UNTRAINED, *PAIR_ARMS]


def run(arm: str, seed: int) -> dict[str, float]:
    """Mean reciprocal rank of a test question's answer among those of all test questions."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    asked = [(q.question, q.right) for part in ("easy", "challenge") for q in arc_questions(part)]
    order = np.random.default_rng(seed).permutation(len(asked))
    train = [asked[i] for i in order[:PAIRS]]
    test = [asked[i] for i in order[PAIRS : PAIRS + TESTED]]
    torch.manual_seed(seed)
    model = SentenceTransformer(str(locate_encoder("minilm")), device="cpu", local_files_only=True)
    model.max_seq_length = 40
    if arm == UNTRAINED:
        return {"MRR": _reciprocal_rank(model, test)}
    with tempfile.TemporaryDirectory() as folder:
        trainer = SentenceTransformerTrainer(
            model=model, loss=MultipleNegativesRankingLoss(model),
            train_dataset=Dataset.from_list([{"question": q, "answer": a} for q, a in train]),
            args=SentenceTransformerTrainingArguments(
                folder, num_train_epochs=1, per_device_train_batch_size=32, learning_rate=2e-4,
                warmup_steps=2, batch_sampler="no_duplicates", seed=seed, use_cpu=True, **QUIET),
        )  # fmt: skip
        if arm != RANDOM:
            attach_curriculum(trainer, pair_difficulty(seed, tuple(train)), **PAIR_ARMS[arm])
        trainer.train()
    return {"MRR": _reciprocal_rank(model.eval(), test)}


@cache
def pair_difficulty(seed: int, pairs: tuple[tuple[str, str], ...]) -> Any:
    """One minus the cosine of question and answer before training."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(locate_encoder("minilm")), device="cpu", local_files_only=True)
    questions, answers = (
        model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        for texts in zip(*pairs, strict=True)
    )
    return 1 - (questions * answers).sum(axis=1)


def _reciprocal_rank(model: Any, pairs: list[tuple[str, str]]) -> float:
    questions, answers = (
        model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        for texts in zip(*pairs, strict=True)
    )
    scores = questions @ answers.T
    own = np.array([[a == b for _, b in pairs] for _, a in pairs])  # equal answers are as right
    best = np.where(own, scores, -np.inf).max(axis=1, keepdims=True)
    rank = 1 + ((scores > best) & ~own).sum(axis=1)
    return float((1 / rank).mean())
