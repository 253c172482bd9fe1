"""An iteration of k-means from given prototypes, beside scikit-learn's: prints JSON lines.

Run with ``python benchmarks/bench_clustering.py``. The seconds of an iteration are those of 21
assignments less those of one, over 20, so that checks and copies at the start do not count; the
seconds of whole runs are printed too. A ratio above 1 means that ours is faster.
"""

import json
import statistics
import time
import warnings

import numpy as np
import torch
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from gradatim.targets.blockwise_kmeans import Clusters, kmeans

ROWS, WIDTH, CLUSTERS, ITERATIONS, RUNS, THREADS = 1_000_000, 64, 20, 20, 3, 1
GROWTH = 1.15
"""What a million rows may take, as a multiple of four times a quarter of a million."""


def draw() -> tuple[np.ndarray, np.ndarray]:
    """Rows around overlapping centres, in float32, and prototypes to start from."""
    random = np.random.default_rng(0)
    centres = 0.5 * random.normal(size=(CLUSTERS, WIDTH))
    rows = centres[random.integers(CLUSTERS, size=ROWS)] + random.normal(size=(ROWS, WIDTH))
    return rows.astype(np.float32), rows[:CLUSTERS].astype(np.float32)


def ours(rows: np.ndarray, start: np.ndarray, steps: int) -> tuple[float, Clusters]:
    """Seconds and result of assignments, one more than moves of the prototypes."""
    began = time.perf_counter()
    found = kmeans(torch.from_numpy(rows), torch.from_numpy(start), max_iter=steps + 1)
    return time.perf_counter() - began, found


def peer(rows: np.ndarray, start: np.ndarray, steps: int) -> tuple[float, KMeans]:
    """The same for scikit-learn, which assigns once more after its last move."""
    options = {"max_iter": steps, "tol": 0, "algorithm": "lloyd", "n_init": 1}
    model = KMeans(len(start), init=start, **options)
    began = time.perf_counter()
    model.fit(rows)
    return time.perf_counter() - began, model


def main() -> None:
    """Compare labels, then run both in turn, then let the rows grow."""
    torch.set_num_threads(THREADS)
    warnings.simplefilter("ignore")  # that neither converged in so few steps
    rows, start = draw()
    quarter = rows[: ROWS // 4].copy()
    times: dict[str, list[float]] = {"ours": [], "peer": [], "quarter": []}
    whole: dict[str, list[float]] = {"ours": [], "peer": []}
    with threadpool_limits(THREADS):
        first, second = ours(rows, start, 1)[1], peer(rows, start, 1)[1]
        equal = float((first.labels.numpy() == second.labels_).mean())
        for _ in range(RUNS):
            for name, run, data in (
                ("ours", ours, rows),
                ("peer", peer, rows),
                ("quarter", ours, quarter),
            ):
                short, long = run(data, start, 1)[0], run(data, start, ITERATIONS + 1)[0]
                times[name].append((long - short) / ITERATIONS)
                if name in whole:
                    whole[name].append(long)
        last = (ours(rows, start, ITERATIONS)[1], peer(rows, start, ITERATIONS)[1])
    ratio = statistics.median(p / o for o, p in zip(times["ours"], times["peer"], strict=True))
    growth = statistics.median(
        o / (4 * q) for o, q in zip(times["ours"], times["quarter"], strict=True)
    )
    line = {
        "benchmark": f"k-means, an iteration on {ROWS:,} x {WIDTH} into {CLUSTERS}",
        "ours_s": statistics.median(times["ours"]),
        "peer": "scikit-learn KMeans, lloyd",
        "peer_s": statistics.median(times["peer"]),
        "ratio": ratio,
        "whole_run_ratio": statistics.median(
            p / o for o, p in zip(whole["ours"], whole["peer"], strict=True)
        ),
        "equal_labels_after_one_step": equal,
        "energy_over_peer_after_all": last[0].energy / float(last[1].inertia_),
        "threads": THREADS,
        "limit": "no slower than scikit-learn, with equal labels",
        "within": ratio >= 1.0 and equal > 0.9999,
    }
    print(json.dumps(line))
    line = {
        "benchmark": f"k-means, {ROWS:,} rows beside four times {ROWS // 4:,}",
        "ours_s": statistics.median(times["ours"]),
        "peer": "four times as long as for a quarter",
        "peer_s": 4 * statistics.median(times["quarter"]),
        "ratio": 1 / growth,
        "threads": THREADS,
        "limit": f"a million at most {GROWTH} times as long: linear in rows",
        "within": growth <= GROWTH,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
