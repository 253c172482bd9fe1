"""A training run that uses every kind of state; run whole, killed, or by several processes.

As a script: ``python scenario.py FOLDER [kill_at_call]`` trains into FOLDER/checkpoints and writes
FOLDER/digest.txt when it ends. With a second argument the process kills itself at that call of a
function that a checkpoint makes.
"""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import accelerate  # noqa: F401 - imported before processes are forked, it costs them nothing
import numpy as np
import torch
import tqdm.auto  # noqa: F401

from gradatim.core.examples import TensorExamples
from gradatim.core.memory import ExampleMemory
from gradatim.training import (
    Averaging,
    Callback,
    GradientNoise,
    Loss,
    TrainingDynamics,
    WeightedBatches,
    fit,
)

EXAMPLES, CLASSES, STEPS = 70, 3, 40


class Average(torch.optim.swa_utils.AveragedModel):
    """An exponential moving average under the name that callbacks expect."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))

    def update(self, model: torch.nn.Module) -> None:
        self.update_parameters(model)


class NewWeights(Callback):
    """Weights of the next epoch follow the memory, as a loss-driven curriculum does."""

    def __init__(self, batches: WeightedBatches, memory: ExampleMemory) -> None:
        self.batches, self.memory = batches, memory

    def epoch_end(self, state) -> None:
        self.batches.set_weights(self.memory.values.max(dim=1).values.numpy() + 0.1)


def data() -> TensorExamples:
    generator = np.random.default_rng(5)
    x = generator.normal(size=(EXAMPLES, 6)).astype(np.float32)
    return TensorExamples(x=x, label=(x[:, :CLASSES].argmax(axis=1)))


def train(folder: Path, *, checkpoint_every: int | None = 3, **options) -> str:
    """Run the scenario and return a digest of everything that it ended with."""
    torch.manual_seed(11)
    model = torch.nn.Sequential(
        torch.nn.Linear(6, 16), torch.nn.BatchNorm1d(16), torch.nn.Dropout(0.3),
        torch.nn.Linear(16, CLASSES),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=STEPS)
    memory = ExampleMemory(EXAMPLES, (CLASSES,))
    batches = WeightedBatches(np.ones(EXAMPLES), 9, seed=3)
    dynamics = TrainingDynamics(EXAMPLES, 12, ("loss",))
    average = Average(model)

    def step(model, batch, state):
        logits = model(batch["x"] + 0.01 * torch.randn(batch["x"].shape, generator=state.generator))
        memory.average(state.index, logits.softmax(dim=1), 0.7)
        losses = torch.nn.functional.cross_entropy(logits, batch["label"], reduction="none")
        dynamics.record(state, loss=losses)
        return Loss.of(losses, jitter=float(np.random.random()))  # noqa: NPY002

    result = fit(
        model,
        data(),
        step,
        optimizer=optimizer,
        schedulers=scheduler,
        steps=STEPS,
        batches=batches,
        accumulate=2,
        clip_norm=1.0,
        callbacks=[
            Averaging(average),
            GradientNoise(0.01),
            dynamics,
            NewWeights(batches, memory),
        ],
        stateful={"memory": memory},
        evaluate=lambda model, state: {"spread": float(memory.values.std())},
        evaluate_every=7,
        log_every=5,
        checkpoint=folder / "checkpoints",
        checkpoint_every=checkpoint_every,
        **options,
    )
    digest = hashlib.sha256()
    tensors = [*model.state_dict().values(), *average.state_dict().values(), memory.values]
    tensors += [dynamics.values("loss"), torch.get_rng_state()]
    for entry in optimizer.state_dict()["state"].values():
        tensors += list(entry.values())
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy().tobytes())
    digest.update(json.dumps(result.history).encode())
    digest.update(json.dumps(scheduler.state_dict(), default=str).encode())
    return digest.hexdigest()


def kill_at_call(number: int) -> None:
    """Kill this process at the n-th call of what writes checkpoints to the disk."""
    from gradatim.core import files
    from gradatim.training import checkpoint, serialization

    calls = 0

    def counting(function):
        def call(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    serialization.save_file = counting(serialization.save_file)
    files.synchronize_file = counting(files.synchronize_file)
    files._replace_directory = counting(files._replace_directory)
    checkpoint.shutil.rmtree = counting(checkpoint.shutil.rmtree)


def run_into(folder: Path, kill_call: int | None = None) -> None:
    """Train, and leave the digest in the folder."""
    torch.set_num_threads(1)
    if kill_call is not None:
        kill_at_call(kill_call)
    digest = train(folder)
    (folder / "digest.txt").write_text(digest)


if __name__ == "__main__":
    run_into(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
