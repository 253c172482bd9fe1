"""What a part adds to updates of about 20 milliseconds: one training run, in which every second
update has the part, so that both kinds meet the same weights, data and machine."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from gradatim.core.examples import TensorExamples
from gradatim.training import Callback, Loss, ShuffledBatches, fit

EXAMPLES, BATCH, CLASSES, STEPS, WIDTH, LIMIT = 100_000, 128, 100, 400, 1792, 0.03


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


@dataclass(frozen=True)
class Added:
    """Medians over neighbouring updates: seconds without the part, with it, and what it adds."""

    without: float
    with_part: float
    added: float

    @property
    def share(self) -> float:
        """What is added, as a share of an update without."""
        return self.added / self.without

    def line(self, benchmark: str, peer: str) -> dict[str, object]:
        """The figures as every benchmark prints them."""
        return {
            "benchmark": f"{benchmark}, batches of {BATCH} with {CLASSES} classes",
            "ours_s": self.with_part,
            "peer": peer,
            "peer_s": self.without,
            "ratio": 1.0 / (1.0 + self.share),
            "added_microseconds_per_step": round(self.added * 1e6, 1),
            "share_of_a_step": f"{self.share:.1%}",
        }


def alternate(step: Callable[[Any, Any, Any], Loss], *callbacks: Callback) -> Added:
    """Train with a step that has the part in every update of odd number."""
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
    clock = Clock()
    fit(
        model,
        data,
        step,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.01),
        steps=STEPS,
        batches=ShuffledBatches(EXAMPLES, BATCH),
        callbacks=[clock, *callbacks],
    )
    warm = clock.seconds[STEPS // 10 // 2 * 2 :]
    without, with_part = warm[0::2], warm[1::2]
    added = statistics.median(b - a for a, b in zip(without, with_part, strict=True))
    return Added(statistics.median(without), statistics.median(with_part), added)
