"""Curricula beside random order at equal compute, on real runs: prints one table a comparison.

Every arm of a comparison has the same model, data, number of updates, batch size and learning rate,
set once for random order; a seed redraws data, initialization and order, and the interval is that
of the paired differences (Student's t, 95%). Run with
``python benchmarks/compare_curricula.py [fit] [sft] [pairs]``; each takes at most five minutes on
one thread. ``docs/train-from-easy-to-hard.md`` holds the tables.
"""

import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch

from gradatim.core.examples import TensorExamples
from gradatim.core.statistics import mean_interval
from gradatim.curriculum.orders import cyclic, easy_to_hard, hard_to_easy, staged
from gradatim.curriculum.pacing import Pacing
from gradatim.curriculum.rank_weights import rank_softmax
from gradatim.integrations.example_losses import attach_self_paced
from gradatim.integrations.transformers_trainer import attach_curriculum
from gradatim.language.sentence_encoder import locate_encoder
from gradatim.studies.data.arithmetic_chains import TOKENIZER, draw_chains
from gradatim.studies.data.exams import arc_questions
from gradatim.studies.data.images import mnist_5k
from gradatim.training import Loss, ShuffledBatches, fit
from gradatim.training.curriculum_batches import CurriculumBatches
from gradatim.training.self_paced import SelfPaced

RANDOM = "random order"
QUIET = {"report_to": [], "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True}

Run = Callable[[str, int], dict[str, float]]


def compare(title: str, arms: list[str], run: Run, seeds: range) -> None:
    """Run every arm on every seed and print the differences to random order."""
    started = time.process_time()
    told = {arm: [run(arm, seed) for seed in seeds] for arm in arms}
    figures = list(told[RANDOM][0])
    print(f"\n{title}\n\n| arm | {' | '.join(figures)} |\n|{' --- |' * (1 + len(figures))}")
    for arm, rows in told.items():
        cells = [_cell(arm, rows, told[RANDOM], figure) for figure in figures]
        print(f"| {arm} | {' | '.join(cells)} |", flush=True)
    minutes = (time.process_time() - started) / 60
    print(f"\nseeds {seeds.start}-{seeds.stop - 1}, {minutes:.1f} minutes on one thread")


def _cell(arm: str, rows: Any, base: Any, figure: str) -> str:
    values = np.array([row[figure] for row in rows])
    if arm == RANDOM:
        return f"{values.mean():.3f}"
    interval = mean_interval(values - [row[figure] for row in base])
    return f"{interval.estimate:+.3f} ± {(interval.high - interval.low) / 2:.3f}"


# fit: 2,000 digits of MNIST, a perceptron, 6 epochs

DIGITS, BATCH, EPOCHS = 2000, 50, 6
PLANS: dict[str, dict[str, Any]] = {
    "pacing root, once an epoch": {
        "pacing": Pacing("root", start=0.2, end=0.8),
        "replacement": False,
        "epochs": EPOCHS,
    },
    "pacing root, with replacement": {"pacing": Pacing("root", start=0.2, end=0.8)},
    "softmax over ranks, warming": {"weights": lambda t: rank_softmax(0.2 + 2 * t)},
    "cyclic order": {"order": cyclic},
    "easy to hard, every epoch": {"order": easy_to_hard},
    "hard to easy, every epoch": {"order": hard_to_easy},
}
PACED = {
    "self-paced to all": Pacing("linear", start=0.5, end=1.0),
    "self-paced, the easiest 75%": lambda t: 0.75,
}


@cache
def digits(seed: int, noise: float) -> tuple[Any, ...]:
    """Images and labels to train on, test images and labels, and out-of-fold losses."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    images, labels = mnist_5k()
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(labels))
    x, y = (images[order] / 255).reshape(len(order), -1).astype(np.float32), labels[order]
    train = y[:DIGITS].copy()
    false = generator.random(DIGITS) < noise
    train[false] = (train[false] + generator.integers(1, 10, false.sum())) % 10
    learner = LogisticRegression(C=0.02, max_iter=60, tol=1e-2)
    chances = cross_val_predict(learner, x[:DIGITS], train, cv=3, method="predict_proba")
    losses = -np.log(chances[np.arange(DIGITS), train] + 1e-9)
    return x[:DIGITS], train, x[DIGITS:], y[DIGITS:], losses


def train_digits(arm: str, seed: int) -> dict[str, float]:
    """Test accuracy from clean labels and from labels of which 30% are false."""
    return {
        f"{name} labels": _digit_accuracy(arm, seed, noise)
        for name, noise in (("clean", 0.0), ("30% false", 0.3))
    }


def _digit_accuracy(arm: str, seed: int, noise: float) -> float:
    x, y, test_x, test_y, difficulty = digits(seed, noise)
    paced = None
    if arm in PACED:
        paced = SelfPaced(DIGITS, BATCH, pacing=PACED[arm], momentum=0.5, seed=seed)
        batches: Any = paced.batches
    elif arm == RANDOM:
        batches = ShuffledBatches(DIGITS, BATCH, seed=seed)
    else:
        batches = CurriculumBatches(difficulty, BATCH, seed=seed, **PLANS[arm])
    torch.manual_seed(seed)
    model = torch.nn.Sequential(
        torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10)
    )

    def step(model: Any, batch: Any, state: Any) -> Loss:
        losses = torch.nn.functional.cross_entropy(model(batch["x"]), batch["y"], reduction="none")
        if paced is not None:
            paced.record(state.index, losses)
        return Loss.of(losses)

    fit(model, TensorExamples(x=x, y=y), step, batches=batches, seed=seed, progress_bar=False,
        optimizer=torch.optim.AdamW(model.parameters(), lr=2e-3),
        steps=EPOCHS * DIGITS // BATCH, callbacks=[paced] if paced else [])  # fmt: skip
    with torch.no_grad():
        found = model(torch.from_numpy(test_x)).argmax(dim=1).numpy()
    return float((found == test_y).mean())


# SFTTrainer: 1,500 chains of arithmetic of 2, 3 or 4 steps, a small Llama from scratch

CHAINS, STEPS = 500, 320
SFT_ARMS: dict[str, dict[str, Any]] = {
    "pacing root by steps, once an epoch": {"pacing": Pacing("root", start=0.25, end=0.8),
                                            "replacement": False},
    "stages by steps, every epoch": {"order": lambda d, seed: staged(d, 3, seed=seed)},
}  # fmt: skip
SELF_PACED = "self-paced to all"


def chain_tokenizer() -> Any:
    """The alphabet of the chains for transformers, a token a character."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", *TOKENIZER.alphabet]
    made = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, "<pad>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="#")


def train_chains(arm: str, seed: int) -> dict[str, float]:
    """Loss a token of test solutions, by their steps."""
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    chains = [c for level in (1, 2, 3) for c in draw_chains(level, CHAINS, seed, "train")]
    rows = [{"prompt": c.question, "completion": c.solution[:-1]} for c in chains]
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(TOKENIZER), hidden_size=64, intermediate_size=192,
                    num_hidden_layers=2, num_attention_heads=4, pad_token_id=0,
                    bos_token_id=None, eos_token_id=len(TOKENIZER) - 1)
    )  # fmt: skip
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


# SentenceTransformerTrainer: MiniLM on 384 questions of ARC and their answers

PAIRS, TESTED = 384, 300
PAIR_ARMS: dict[str, dict[str, Any]] = {
    "pacing root, once an epoch": {"pacing": Pacing("root", start=0.25, end=0.8),
                                   "replacement": False},
    "hard to easy": {"order": hard_to_easy},
}  # fmt: skip


def train_pairs(arm: str, seed: int) -> dict[str, float]:
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
    if arm == "no training":
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


COMPARISONS: dict[str, Callable[[], None]] = {
    "fit": lambda: compare("fit, test accuracy", [RANDOM, *PLANS, *PACED], train_digits,
                           range(10, 18)),
    "sft": lambda: compare("SFTTrainer", [RANDOM, *SFT_ARMS, SELF_PACED], train_chains,
                           range(10, 15)),
    "pairs": lambda: compare("SentenceTransformerTrainer", [RANDOM, "no training", *PAIR_ARMS],
                             train_pairs, range(10, 15)),
}  # fmt: skip


def main(names: list[str]) -> None:
    """Run the named comparisons, or all."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in names or COMPARISONS:
        COMPARISONS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
