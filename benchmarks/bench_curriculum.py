"""Curriculum draws beside what one would otherwise draw with: prints one JSON line a comparison.

Weights over ranks move at every step, so the peers are given the new weights of all examples each
time: ``torch.multinomial`` at the most it can take (2^24 examples) and ``numpy``'s inverse
cumulative sum at as many examples as ours (``Generator.choice`` with ``p`` does that and more).
Run with ``python benchmarks/bench_curriculum.py``; a ratio above 1 means that ours is faster.
"""

import json
import statistics
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import torch

from gradatim.core.seeds import numpy_generator
from gradatim.curriculum.pacing import Pacing
from gradatim.curriculum.rank_weights import RankBins, RankWeights, rank_softmax
from gradatim.training.curriculum_batches import CurriculumBatches

EXAMPLES, BATCH, STEPS, RUNS = 20_000_000, 256, 200, 5
BINS = 1024


def bins(t: float) -> RankBins:
    """Weights of 1,024 bins that move from the easy to the hard."""
    places = np.arange(BINS) / BINS
    return RankBins(np.linspace(0, 1, BINS + 1), np.exp(-places / (0.05 + t)))


def ranks(t: float) -> RankWeights:
    """A softmax over all ranks whose temperature rises."""
    return rank_softmax(0.05 + t)


def per_batch(draw: Callable[[int], object], steps: int) -> float:
    """Seconds a batch, over several."""
    start = time.perf_counter()
    for step in range(steps):
        draw(step)
    return (time.perf_counter() - start) / steps


def multinomial(step: int) -> torch.Tensor:
    """What torch does with new weights of all examples; 2^24 is the most it takes."""
    places = torch.arange(2**24, dtype=torch.float32) / 2**24
    weights = torch.exp(-places / (0.05 + step / STEPS))
    return torch.multinomial(weights, BATCH, replacement=True)


def inverse_sum(step: int) -> np.ndarray:
    """What numpy does with new weights of all examples."""
    places = np.arange(EXAMPLES, dtype=np.float32) / EXAMPLES
    total = np.cumsum(np.exp(-places / np.float32(0.05 + step / STEPS)), dtype=np.float64)
    return np.searchsorted(total, numpy_generator(0, step).random(BATCH) * total[-1], side="right")


def check_distribution(plan: CurriculumBatches, weights: RankWeights) -> None:
    """Stop if what is drawn is not what the weights say: the mean rank, to four deviations."""
    rank = np.empty(EXAMPLES, dtype=np.int32)
    rank[plan._basis] = np.arange(EXAMPLES, dtype=np.int32)
    drawn = rank[np.concatenate([plan.batch(0, p, 0.5) for p in range(400)])] / EXAMPLES
    cuts = np.linspace(0, EXAMPLES, 2001).astype(np.int64)
    masses = np.diff(weights.cumulative(cuts, EXAMPLES))
    expected = float((masses * (cuts[1:] + cuts[:-1]) / 2 / EXAMPLES).sum())
    error = float(drawn.std() / np.sqrt(len(drawn)))
    assert abs(drawn.mean() - expected) < 4 * error, (drawn.mean(), expected, error)


def main() -> None:
    """Build the plans once, then time ours and the peers in turn, after one uncounted round."""
    torch.set_num_threads(1)
    difficulty = np.random.default_rng(0).random(EXAMPLES, dtype=np.float32)
    plans, bytes_each = {}, {}
    for name, way in (
        ("softmax over ranks", {"weights": ranks}),
        (f"{BINS:,} bins", {"weights": bins}),
        ("pacing", {"pacing": Pacing()}),
    ):
        tracemalloc.start()
        start = time.perf_counter()
        plans[name] = CurriculumBatches(difficulty, BATCH, **way)
        seconds = time.perf_counter() - start
        kept, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        bytes_each[name] = (kept / EXAMPLES, peak / EXAMPLES, seconds)
    check_distribution(plans["softmax over ranks"], ranks(0.5))
    check_distribution(plans[f"{BINS:,} bins"], bins(0.5))
    times: dict[str, list[float]] = {name: [] for name in [*plans, "multinomial", "numpy"]}
    for _ in range(RUNS + 1):
        for name, plan in plans.items():
            draw = lambda step, plan=plan: plan.batch(0, step, step / STEPS)  # noqa: E731
            times[name].append(per_batch(draw, STEPS))
        times["multinomial"].append(per_batch(multinomial, 2))
        times["numpy"].append(per_batch(inverse_sum, 2))
    for name in plans:
        ours = statistics.median(times[name][1:])
        for peer, told in (
            ("multinomial", "torch.multinomial over 2^24"),
            ("numpy", "numpy cumsum and searchsorted over all"),
        ):
            line = {
                "benchmark": f"a batch of {BATCH} from {EXAMPLES:,} by {name}, new at each step",
                "ours_s": ours,
                "peer": told,
                "peer_s": statistics.median(times[peer][1:]),
                "ratio": statistics.median(
                    p / o for o, p in zip(times[name][1:], times[peer][1:], strict=True)
                ),
                "within_1_ms": ours < 1e-3,
                "bytes_an_example": round(bytes_each[name][0], 2),
                "peak_bytes_an_example_while_sorting": round(bytes_each[name][1], 2),
                "sorting_s": round(bytes_each[name][2], 1),
                "threads": torch.get_num_threads(),
            }
            print(json.dumps(line))


if __name__ == "__main__":
    main()
