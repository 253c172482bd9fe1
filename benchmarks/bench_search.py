"""Exact top-k search beside a full product and ``torch.topk``: prints one JSON line.

Run with ``python benchmarks/bench_search.py``; a ratio above 1 means that ours is faster.
"""

import json
import statistics
import time
from collections.abc import Callable

import torch

from gradatim.core.search import top_k

QUERIES, CORPUS, DIMENSIONS, K, RUNS = 2_000, 50_000, 128, 10, 5


def seconds(call: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Run both in turn, after one round that is not counted."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(QUERIES, DIMENSIONS, generator=generator)
    corpus = torch.randn(CORPUS, DIMENSIONS, generator=generator)
    ours, peer = [], []
    for _ in range(RUNS + 1):
        ours.append(seconds(lambda: top_k(queries, corpus, K)))
        peer.append(seconds(lambda: (queries @ corpus.T).topk(K, dim=1)))
    ours_s, peer_s = statistics.median(ours[1:]), statistics.median(peer[1:])
    line = {
        "benchmark": f"exact top-{K} of {QUERIES:,} queries in {CORPUS:,} x {DIMENSIONS}",
        "ours_s": ours_s,
        "peer": "product and torch.topk",
        "peer_s": peer_s,
        "ratio": statistics.median(p / o for o, p in zip(ours[1:], peer[1:], strict=True)),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
