"""``fit``: a perceptron on 2,000 digits of MNIST, 6 epochs."""

from functools import cache
from typing import Any

import numpy as np
import torch
from common import RANDOM

from gradatim.core.examples import TensorExamples
from gradatim.curriculum.orders import cyclic, easy_to_hard, hard_to_easy
from gradatim.curriculum.pacing import Pacing
from gradatim.curriculum.rank_weights import rank_softmax
from gradatim.studies.data.images import mnist_5k
from gradatim.training import Loss, ShuffledBatches, fit
from gradatim.training.curriculum_batches import CurriculumBatches
from gradatim.training.self_paced import SelfPaced

TITLE = "fit, test accuracy"
SEEDS = range(10, 18)
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
ARMS = [RANDOM, *PLANS, *PACED]


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


def run(arm: str, seed: int) -> dict[str, float]:
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
