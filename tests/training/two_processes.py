"""Run by ``accelerate launch``: trains and leaves what each process ended with."""

import os
import signal
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from gradatim.core.examples import TensorExamples
from gradatim.core.memory import ExampleMemory
from gradatim.training import Callback, GradientNoise, Loss, TrainingDynamics, fit

EXAMPLES = 33  # the last batch of 8 has one example, fewer than two processes


class Marking(Callback):
    """Writes a memory outside of steps, alike in every process."""

    def __init__(self, memory: ExampleMemory) -> None:
        self.memory = memory

    def epoch_end(self, state) -> None:
        self.memory.set(torch.arange(EXAMPLES), torch.full((EXAMPLES,), float(state.epoch)))


class Killed(Callback):
    """Kills the process after an update."""

    def __init__(self, step: int) -> None:
        self.step = step

    def step_end(self, state) -> None:
        if state.step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def data() -> TensorExamples:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(EXAMPLES, 5, generator=generator)
    return TensorExamples(x=x, y=x.sum(dim=1), mask=(torch.arange(EXAMPLES) % 3 > 0).float())


def train(folder: Path | None, kill_at: int = 0, dropout: float = 0.0) -> dict[str, torch.Tensor]:
    """Masked regression with accumulation, a memory, noise and recorded dynamics."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Dropout(dropout), torch.nn.Linear(8, 1)
    )
    memory = ExampleMemory(EXAMPLES, (1,))
    marks = ExampleMemory(EXAMPLES)
    dynamics = TrainingDynamics(EXAMPLES, 4, ("loss",))

    def step(model, batch, state):
        output = model(batch["x"])
        memory.average(state.index, output, 0.5)
        errors = (output[:, 0] - batch["y"]).square()
        dynamics.record(state, loss=errors)
        return Loss.of(errors, weights=batch["mask"])

    result = fit(
        model, data(), step, optimizer=torch.optim.Adam(model.parameters(), lr=0.05), epochs=4,
        batch_size=8, accumulate=3, clip_norm=1.0, checkpoint=folder, checkpoint_every=2,
        stateful={"memory": memory, "marks": marks}, progress_bar=False,
        callbacks=[GradientNoise(0.001), dynamics, Marking(marks), Killed(kill_at)],
    )  # fmt: skip
    losses = torch.tensor([row["loss"] for row in result.history])
    weights = {f"weight {name}": value for name, value in model.state_dict().items()}
    return {
        **weights,
        "memory": memory.values,
        "dynamics": dynamics.values("loss").contiguous(),
        "loss": losses,
    }


def main(out: Path) -> None:
    """Scenario names and settings come by position: OUT [kill_at]."""
    kill_at = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    rank = int(os.environ.get("RANK", 0))
    torch.set_num_threads(1)
    ended = train(out / "dropout", kill_at, dropout=0.3)
    save_file(ended, out / f"dropout-{rank}.safetensors")
    save_file(train(None), out / f"plain-{rank}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    if torch.distributed.is_initialized():  # threads left to the interpreter's end may abort it
        torch.distributed.destroy_process_group()
