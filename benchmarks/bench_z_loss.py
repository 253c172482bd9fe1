"""The factored Z-loss layer beside softmax layers, 793,471 classes: prints JSON lines.

Run with ``python benchmarks/bench_z_loss.py``. A step is forward, backward to the hidden vectors,
and the SGD update of the output layer alone: d = 128, batches of 32, labels by Zipf's law, classes
sorted by frequency, as adaptive and two-level softmax want it. All arms take a step in turn on the
same batches. Dense log-softmax runs twice: as torch has it, and written by hand so that no
gradient of the size of the weights is made. The second counts.

The bare step is that of the layer alone; "stabilized" has its share of stabilizations every 100
steps. Before all that, 50 steps at 10,000 classes are compared with a dense layer in float64. The
last line trains for 100,000 steps in float32 and checks how far the factors have drifted.
"""

import json
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from gradatim.networks.factored_spherical import FactoredSphericalLinear
from gradatim.networks.two_level_softmax import TwoLevelSoftmax
from gradatim.objectives.spherical import sums_of_outputs, z_loss
from gradatim.training.factored_sgd import FactoredSGD

CLASSES, WIDTH, ROWS, LR = 793_471, 128, 32, 0.1
SHARPNESS, WISH = 0.1, 28.0
ROUNDS, STEPS_A_ROUND = 9, 100
LONG, LONG_CLASSES = 100_000, 10_000
CODES = 4096

Batch = tuple[torch.Tensor, torch.Tensor]
Step = Callable[[torch.Tensor, torch.Tensor], None]


class Stream:
    """Batches: labels by Zipf's law, and hidden vectors that tell something of the label."""

    def __init__(self, classes: int) -> None:
        self.draw = torch.Generator().manual_seed(0)
        self.codes = torch.randn(CODES, WIDTH, generator=self.draw)
        chance = 1 / (torch.arange(classes, dtype=torch.float64) + 2.7)
        self.up_to = (chance / chance.sum()).cumsum(0)

    def batch(self) -> Batch:
        """The next hidden vectors and labels."""
        place = torch.rand(ROWS, dtype=torch.float64, generator=self.draw)
        labels = torch.searchsorted(self.up_to, place).clamp(max=len(self.up_to) - 1)
        noise = torch.randn(ROWS, WIDTH, generator=self.draw)
        return (self.codes[labels % CODES] + noise) / 2, labels


def factored(classes: int, stabilize_every: int) -> tuple[Step, FactoredSphericalLinear]:
    """The layer of this library."""
    layer = FactoredSphericalLinear(WIDTH, classes, generator=torch.Generator().manual_seed(0))
    optimizer = FactoredSGD(layer, LR, stabilize_every=stabilize_every)

    def step(hidden: torch.Tensor, labels: torch.Tensor) -> None:
        z_loss(*layer(hidden, labels), classes, a=SHARPNESS, b=WISH).backward()
        optimizer.step()

    return step, layer


def dense_of_torch(classes: int) -> Step:
    """A linear layer, cross-entropy, and torch's SGD."""
    linear = torch.nn.Linear(WIDTH, classes, bias=False)
    optimizer = torch.optim.SGD(linear.parameters(), LR)

    def step(hidden: torch.Tensor, labels: torch.Tensor) -> None:
        functional.cross_entropy(linear(hidden), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def dense_by_hand(classes: int) -> Step:
    """The same, updated without a gradient of the size of the weights."""
    weight = torch.randn(classes, WIDTH) * 0.05
    places = torch.arange(ROWS)

    @torch.no_grad()
    def step(hidden: torch.Tensor, labels: torch.Tensor) -> None:
        gradient = (hidden @ weight.T).softmax(1)
        gradient[places, labels] -= 1
        hidden.grad = gradient @ weight / ROWS
        weight.addmm_(gradient.T, hidden, alpha=-LR / ROWS)

    return step


def adaptive(classes: int) -> Step:
    """The adaptive softmax of torch."""
    cutoffs = [cut for cut in (2_000, 20_000, 200_000) if cut < classes]
    layer = torch.nn.AdaptiveLogSoftmaxWithLoss(WIDTH, classes, cutoffs, div_value=4.0)
    optimizer = torch.optim.SGD(layer.parameters(), LR, fused=True)

    def step(hidden: torch.Tensor, labels: torch.Tensor) -> None:
        layer(hidden, labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def two_level(classes: int) -> Step:
    """A softmax of two levels with a sparse gradient."""
    layer = TwoLevelSoftmax(WIDTH, classes)
    optimizer = torch.optim.SGD(layer.parameters(), LR)

    def step(hidden: torch.Tensor, labels: torch.Tensor) -> None:
        layer(hidden, labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def seconds(step: Step, batches: list[Batch]) -> float:
    """Median time of a step."""
    times = []
    for hidden, labels in batches:
        inputs = hidden.clone().requires_grad_()
        start = time.perf_counter()
        step(inputs, labels)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def mean_seconds(step: Step, batches: list[Batch]) -> float:
    """Mean time of a step, so that what comes every hundred steps has its share."""
    inputs = [(hidden.clone().requires_grad_(), labels) for hidden, labels in batches]
    start = time.perf_counter()
    for hidden, labels in inputs:
        step(hidden, labels)
    return (time.perf_counter() - start) / len(inputs)


def largest_difference() -> float:
    """Largest relative difference from a dense layer after 50 steps in float64."""
    stream, classes = Stream(10_000), 10_000
    layer = FactoredSphericalLinear(WIDTH, classes, dtype=torch.float64)
    optimizer = FactoredSGD(layer, LR)
    weight = layer.weight().requires_grad_()
    dense = torch.optim.SGD([weight], LR)
    for _ in range(50):
        hidden, labels = stream.batch()
        z_loss(*layer(hidden, labels), classes, a=SHARPNESS, b=WISH).backward()
        optimizer.step()
        dense.zero_grad()
        sums = sums_of_outputs(hidden.double() @ weight.T, labels)
        z_loss(*sums, classes, a=SHARPNESS, b=WISH).backward()
        dense.step()
    return float((layer.weight() - weight.detach()).abs().max() / weight.detach().abs().max())


def line(name: str, ours: list[float], peer: str, theirs: list[float], **limit: object) -> None:
    """Print one comparison; the ratio is the median over rounds."""
    ratio = statistics.median(p / o for o, p in zip(ours, theirs, strict=True))
    most, least = limit.pop("at_most", None), limit.pop("at_least", None)
    told: dict[str, object] = {}
    if least is not None:
        told = {"limit": f"ratio at least {least}", "within": ratio >= float(str(least))}
    if most is not None:
        told = {"limit": f"ratio at most {most}", "within": ratio <= float(str(most))}
    print(
        json.dumps(
            {
                "benchmark": name,
                "ours_s": statistics.median(ours),
                "peer": peer,
                "peer_s": statistics.median(theirs),
                "ratio": ratio,
                **told,
                **limit,
            }
        ),
        flush=True,
    )


def compare_layers() -> None:
    """All arms at the full number of classes, in turn."""
    stream = Stream(CLASSES)
    arms = {
        "dense log-softmax by hand": (dense_by_hand(CLASSES), 3),
        "dense log-softmax of torch": (dense_of_torch(CLASSES), 1),
        "AdaptiveLogSoftmaxWithLoss": (adaptive(CLASSES), 15),
        "two-level softmax": (two_level(CLASSES), 15),
    }
    bare, _ = factored(CLASSES, 10**9)
    stabilized, _ = factored(CLASSES, 100)
    found: dict[str, list[float]] = {name: [] for name in (*arms, "bare", "stabilized")}
    for number in range(ROUNDS + 1):
        batches = [stream.batch() for _ in range(STEPS_A_ROUND)]
        times = {name: seconds(step, batches[:count]) for name, (step, count) in arms.items()}
        times["bare"] = seconds(bare, batches)
        times["stabilized"] = mean_seconds(stabilized, batches)
        if number:  # the first round warms up
            for name, one in times.items():
                found[name].append(one)
    limits = {
        "dense log-softmax by hand": (500, None),
        "dense log-softmax of torch": (500, None),
        "AdaptiveLogSoftmaxWithLoss": (20, 10),
        "two-level softmax": (None, 10),
    }
    difference = largest_difference()
    for name, (of_bare, of_stabilized) in limits.items():
        told = {} if of_bare is None else {"at_least": of_bare}
        line(
            f"factored Z-loss, a bare step of {ROWS}, {CLASSES:,} classes",
            found["bare"],
            name,
            found[name],
            **told,
            difference_from_dense_in_float64=f"{difference:.1e}",
        )
        if of_stabilized is not None:
            line(
                f"factored Z-loss, stabilized, {CLASSES:,} classes",
                found["stabilized"],
                name,
                found[name],
                at_least=of_stabilized,
            )


def compare_sizes() -> None:
    """The bare step at the full number of classes beside 10,000."""
    few, many = 10_000, CLASSES
    steps = {classes: factored(classes, 10**9)[0] for classes in (few, many)}
    streams = {classes: Stream(classes) for classes in (few, many)}
    found: dict[int, list[float]] = {few: [], many: []}
    for number in range(ROUNDS + 1):
        for classes, step in steps.items():
            batches = [streams[classes].batch() for _ in range(STEPS_A_ROUND)]
            found[classes].append(seconds(step, batches))
            if not number:
                found[classes].clear()
    line(
        f"factored Z-loss, a bare step at {few:,} classes",
        found[few],
        f"at {many:,} classes",
        found[many],
        at_most=1.3,
    )


def long_run() -> None:
    """A hundred thousand steps in float32: the time of ten thousand, first and last, and drift."""
    step, layer = factored(LONG_CLASSES, 100)
    stream = Stream(LONG_CLASSES)
    times = []
    for _ in range(10):
        spent = 0.0
        for _ in range(LONG // 1000):
            spent += 100 * mean_seconds(step, [stream.batch() for _ in range(100)])
        times.append(spent)
    drift = {name: float(f"{value:.3g}") for name, value in layer.check().items()}
    sound = max(drift["squares"], drift["sums"], drift["inverse"]) < 1e-3
    print(
        json.dumps(
            {
                "benchmark": f"factored Z-loss, the last 10,000 of {LONG:,} steps in float32",
                "ours_s": times[-1],
                "peer": "the first 10,000",
                "peer_s": times[0],
                "ratio": times[0] / times[-1],
                "limit": "relative drift of the factors below 0.001",
                "within": sound,
                **drift,
            }
        )
    )


def main() -> None:
    """Equality and speed, growth with the classes, and stability."""
    torch.manual_seed(0)
    torch.set_num_threads(2)
    compare_layers()
    compare_sizes()
    long_run()


if __name__ == "__main__":
    main()
