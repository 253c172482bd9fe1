"""Time that self-distillation adds to updates of about 20 milliseconds.

One training run; updates alternate between cross-entropy and self-distillation, so that both meet
the same weights, data and machine.
"""

import json
import statistics
import time

import torch

from gradatim.core.examples import TensorExamples
from gradatim.recipes.noisy_labels import CrossEntropy
from gradatim.recipes.self_distillation import ProgressiveSelfDistillation
from gradatim.targets.compact_predictions import CompactPredictions
from gradatim.training import Callback, ShuffledBatches, fit

EXAMPLES, BATCH, CLASSES, STEPS, LIMIT, MICROSECONDS = 100_000, 128, 100, 400, 0.03, 50.0
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


def measure(kept: str, recipe: ProgressiveSelfDistillation) -> dict[str, object]:
    """Medians over neighbouring updates."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(256, WIDTH),
        torch.nn.ReLU(),
        torch.nn.Linear(WIDTH, WIDTH),
        torch.nn.ReLU(),
        torch.nn.Linear(WIDTH, CLASSES),
    )
    data = TensorExamples(x=torch.randn(EXAMPLES, 256), label=torch.randint(CLASSES, (EXAMPLES,)))
    plain, clock = CrossEntropy(), Clock()

    def step(model, batch, state):  # type: ignore[no-untyped-def]
        return (recipe if state.step % 2 else plain).step(model, batch, state)

    fit(
        model,
        data,
        step,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
        steps=STEPS,
        batches=ShuffledBatches(EXAMPLES, BATCH),
        callbacks=[clock],
    )
    warm = clock.seconds[STEPS // 10 // 2 * 2 :]
    without, distilled = warm[0::2], warm[1::2]
    added = statistics.median(b - a for a, b in zip(without, distilled, strict=True))
    base = statistics.median(without)
    return {
        "benchmark": f"self-distillation, batches of {BATCH} with {CLASSES} classes, {kept}",
        "ours_s": statistics.median(distilled),
        "peer": "cross-entropy",
        "peer_s": base,
        "ratio": base / (base + added),
        "added_microseconds_per_step": round(added * 1e6, 1),
        "share_of_a_step": f"{added / base:.1%}",
        "limit": f"at most {LIMIT:.0%} of a step of 20 ms, or {MICROSECONDS:.0f} microseconds",
        "within": added <= max(LIMIT * base, MICROSECONDS * 1e-6),
    }


def main() -> None:
    """Print a line of JSON for each way to keep predictions."""
    torch.set_num_threads(1)
    ways = {
        "float32": None,
        "float16": CompactPredictions(EXAMPLES, CLASSES),
        "the ten largest": CompactPredictions(EXAMPLES, CLASSES, top_k=10),
    }
    for kept, past in ways.items():
        recipe = ProgressiveSelfDistillation(EXAMPLES, CLASSES, past=past)
        recipe.updates_in_epoch = 1
        print(json.dumps(measure(kept, recipe)))


if __name__ == "__main__":
    main()
