"""Time that recording training dynamics adds to updates of about 20 milliseconds.

One training run; recording is switched on and off from update to update, so that both meet the
same weights, data and machine.
"""

import json
import statistics
import time

import torch

from gradatim.core.examples import TensorExamples
from gradatim.training import Callback, Loss, ShuffledBatches, fit
from gradatim.training.dynamics import DynamicsRecorder

EXAMPLES, BATCH, CLASSES, STEPS, LIMIT = 100_000, 128, 100, 400, 0.03
WIDTH = 1792


class Clock(Callback):
    """Times each update from its start to its end."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def step_start(self, state) -> None:  # type: ignore[no-untyped-def]
        """An update begins."""
        self.began = time.perf_counter()

    def step_end(self, state) -> None:  # type: ignore[no-untyped-def]
        """An update is done."""
        self.seconds.append(time.perf_counter() - self.began)


def main() -> None:
    """Print the medians over neighbouring updates as one line of JSON."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(256, WIDTH),
        torch.nn.ReLU(),
        torch.nn.Linear(WIDTH, WIDTH),
        torch.nn.ReLU(),
        torch.nn.Linear(WIDTH, CLASSES),
    )
    data = TensorExamples(x=torch.randn(EXAMPLES, 256), label=torch.randint(CLASSES, (EXAMPLES,)))
    dynamics, clock = DynamicsRecorder(EXAMPLES), Clock()

    def step(model, batch, state):  # type: ignore[no-untyped-def]
        logits = model(batch["x"])
        if state.step % 2:
            dynamics.record(state, logits, batch["label"])
        losses = torch.nn.functional.cross_entropy(logits, batch["label"], reduction="none")
        return Loss.of(losses)

    fit(
        model,
        data,
        step,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
        steps=STEPS,
        batches=ShuffledBatches(EXAMPLES, BATCH),
        callbacks=[clock, dynamics],
    )
    warm = clock.seconds[STEPS // 10 // 2 * 2 :]
    without, recorded = warm[0::2], warm[1::2]
    added = statistics.median(b - a for a, b in zip(without, recorded, strict=True))
    plain = statistics.median(without)
    share = added / plain
    result = {
        "benchmark": f"recording training dynamics, batches of {BATCH} with {CLASSES} classes",
        "ours_s": statistics.median(recorded),
        "peer": "the same updates without",
        "peer_s": plain,
        "ratio": 1.0 / (1.0 + added / plain),
        "added_microseconds_per_step": round(added * 1e6, 1),
        "share_of_a_step": f"{share:.1%}",
        "limit": f"at most {LIMIT:.0%} of a step of 20 ms",
        "within": share <= LIMIT,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
