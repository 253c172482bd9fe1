"""Training runs under a curriculum, to be run whole or killed and run again."""

import hashlib
import json
import os
import signal
from functools import partial
from pathlib import Path

import accelerate  # noqa: F401 - imported before processes are forked, it costs them nothing
import numpy as np
import torch
import tqdm.auto  # noqa: F401

from gradatim.core.examples import TensorExamples
from gradatim.curriculum.pacing import Pacing
from gradatim.curriculum.practice_orders import interleaved
from gradatim.curriculum.rank_weights import rank_softmax
from gradatim.training import Callback, Loss, fit
from gradatim.training.curriculum_batches import CurriculumBatches
from gradatim.training.self_paced import SelfPaced
from gradatim.training.target_success import TargetSuccess

EXAMPLES, EPOCHS, BATCH = 60, 4, 7
NAMES = ("pacing", "weights", "order", "once an epoch", "self-paced", "target success")


class Killed(Callback):
    """Kills the process after an update."""

    def __init__(self, step: int) -> None:
        self.step = step

    def step_end(self, state) -> None:
        if state.step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


class Interrupted(Callback):
    """Breaks off after an update."""

    def __init__(self, step: int) -> None:
        self.step = step

    def step_end(self, state) -> None:
        if state.step == self.step:
            raise KeyboardInterrupt


def make(name: str):
    """A plan of batches by name, and the callback that it comes with, if any."""
    difficulty = np.random.default_rng(1).integers(0, 20, EXAMPLES)
    group = np.arange(EXAMPLES) % 4
    if name == "self-paced":
        paced = SelfPaced(EXAMPLES, BATCH, momentum=0.5, length=5, seed=2)
        return paced.batches, paced
    if name == "target success":
        target = TargetSuccess(EXAMPLES, BATCH, length=5, seed=2)
        return target.batches, target
    options = {
        "pacing": {"pacing": Pacing("root", start=0.2)},
        "weights": {"weights": lambda t: rank_softmax(0.05 + t)},
        "order": {"order": partial(interleaved, group)},
        "once an epoch": {"pacing": Pacing(), "replacement": False, "epochs": EPOCHS},
    }
    return CurriculumBatches(difficulty, BATCH, seed=2, **options[name]), None


class _Either(Callback):
    """Another callback or none, under one name: checkpoints check the names of callbacks."""

    def __init__(self, other: Callback | None) -> None:
        self.other = other

    def step_end(self, state) -> None:
        if self.other is not None:
            self.other.step_end(state)


def train(name: str, folder: Path | None, ending: Callback | None = None, workers: int = 0) -> str:
    """A digest of the weights, the losses and the positions of every batch."""
    torch.manual_seed(0)
    x = torch.randn(EXAMPLES, 4)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1))
    batches, follower = make(name)

    def step(model, batch, state):
        losses = (model(batch["x"])[:, 0] - batch["y"]).square()
        if isinstance(follower, SelfPaced):
            follower.record(state.index, losses)
        if isinstance(follower, TargetSuccess):
            follower.record(state.index, losses < 0.3)
        return Loss.of(losses, place=state.index.double() ** 2)

    result = fit(
        model, TensorExamples(x=x, y=x.sum(dim=1)), step,
        optimizer=torch.optim.Adam(model.parameters(), lr=0.02),
        steps=EPOCHS * len(batches), batches=batches, log_every=1, progress_bar=False,
        checkpoint=folder, checkpoint_every=3, workers=workers,
        callbacks=[*([follower] if follower else []), _Either(ending)],
    )  # fmt: skip
    digest = hashlib.sha256(json.dumps(result.history).encode())
    for tensor in model.state_dict().values():
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def run_into(name: str, folder: Path, kill_at: int) -> None:
    """Train, and leave the digest in the folder."""
    torch.set_num_threads(1)
    (folder / "digest.txt").write_text(train(name, folder / "checkpoints", Killed(kill_at)))
