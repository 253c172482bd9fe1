"""transformers' ``Trainer``: a small BERT from scratch tells five areas of MMLU's questions."""

import tempfile
from functools import cache
from typing import Any

import numpy as np
import torch
from common import QUIET, RANDOM

from gradatim.curriculum.orders import staged
from gradatim.curriculum.pacing import Pacing
from gradatim.integrations.example_losses import attach_self_paced
from gradatim.integrations.transformers_trainer import attach_curriculum
from gradatim.language.sentence_encoder import locate_encoder
from gradatim.studies.data.exams import AREAS, TIERS, ExamQuestion, mmlu_areas

TITLE = "Trainer, test accuracy"
SEEDS = range(10, 15)
RATES = (1e-3, 2e-3, 4e-3, 8e-3)
RATE = 4e-3
QUESTIONS, WORDS, BATCH, EPOCHS = 1000, 40, 32, 3
TRAINER_ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "pacing root by loss, once an epoch": ("loss", {"pacing": Pacing("root", start=0.25, end=0.8),
                                                    "replacement": False}),
    "high school, then college, every epoch": (
        "tier", {"order": lambda d, seed: staged(d, thresholds=[0], seed=seed)}),
}  # fmt: skip
SELF_PACED = "self-paced to all"
ARMS = [RANDOM, *TRAINER_ARMS, SELF_PACED]


def run(arm: str, seed: int, rate: float = RATE) -> dict[str, float]:
    """Accuracy on new questions, by their exam."""
    from datasets import Dataset
    from transformers import (
        AutoTokenizer,
        BertConfig,
        BertForSequenceClassification,
        Trainer,
        TrainingArguments,
    )

    train, test, difficulty = exams(seed)
    tokenizer = AutoTokenizer.from_pretrained(locate_encoder("minilm"))
    told = {"truncation": True, "max_length": WORDS, "padding": "max_length"}
    texts = dict(tokenizer([one.question for one in train], **told))
    torch.manual_seed(seed)
    model = BertForSequenceClassification(
        BertConfig(vocab_size=len(tokenizer), hidden_size=96, intermediate_size=192,
                   num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=WORDS,
                   num_labels=len(AREAS))
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model, train_dataset=Dataset.from_dict({**texts, "label": _labels(train)}),
            args=TrainingArguments(folder, num_train_epochs=EPOCHS, warmup_steps=10, seed=seed,
                                   per_device_train_batch_size=BATCH, learning_rate=rate,
                                   use_cpu=True, **QUIET),
        )  # fmt: skip
        if arm in TRAINER_ARMS:
            name, curriculum = TRAINER_ARMS[arm]
            attach_curriculum(trainer, difficulty[name], **curriculum)
        elif arm == SELF_PACED:
            attach_self_paced(trainer, pacing=Pacing("linear", start=0.5, end=0.8), momentum=0.5)
        trainer.train()
    asked = tokenizer([one.question for one in test], return_tensors="pt", **told)
    with torch.no_grad():
        found = model.eval()(**asked).logits.argmax(dim=1).numpy()
    right, tier = found == _labels(test), np.array([one.tier for one in test])
    return {name: float(right[tier == name].mean()) for name in TIERS}


@cache
def exams(seed: int) -> tuple[list[ExamQuestion], list[ExamQuestion], dict[str, Any]]:
    """Questions to train on and to test on; tiers and out-of-fold losses of the former."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline

    asked = mmlu_areas()
    order = np.random.default_rng(seed).permutation(len(asked))
    train, test = ([asked[i] for i in part] for part in np.split(order, [QUESTIONS]))
    learner = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10.0))
    texts, labels = [one.question for one in train], _labels(train)
    chances = cross_val_predict(learner, texts, labels, cv=3, method="predict_proba")
    losses = -np.log(chances[np.arange(QUESTIONS), labels] + 1e-9)
    return train, test, {"loss": losses, "tier": [TIERS.index(one.tier) for one in train]}


def _labels(questions: list[ExamQuestion]) -> list[int]:
    return [AREAS.index(one.area) for one in questions]
