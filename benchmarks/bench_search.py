"""Exact top-k search beside the float32 product and ``torch.topk``: prints JSON lines.

Run with ``python benchmarks/bench_search.py``; a ratio above 1 means that ours is faster.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable

import torch

from gradatim.core.bfloat16_search import has_matrix_instructions
from gradatim.core.search import TopK, top_k

RUNS, BLOCK, LIMIT = 3, 8192, 1.5


def seconds(call: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def product_alone(queries: torch.Tensor, corpus: torch.Tensor) -> None:
    """The float32 product, a tile at a time: nothing is looked for."""
    for start in range(0, len(corpus), BLOCK):
        rows = corpus[start : start + BLOCK]
        for first in range(0, len(queries), 1024):
            queries[first : first + 1024] @ rows.T


def interleaved(ours: Callable[[], object], peer: Callable[[], object], runs: int) -> list[float]:
    """Seconds of ours, of the peer and their ratio: medians over rounds."""
    rounds = [(seconds(ours), seconds(peer)) for _ in range(runs)]
    return [
        statistics.median(o for o, _ in rounds),
        statistics.median(p for _, p in rounds),
        statistics.median(p / o for o, p in rounds),
    ]


def same_but_for_ties(ours: TopK, theirs: TopK) -> bool:
    """Whether the same rows are found, but where scores are closer than rounding."""
    differ = ours.index != theirs.index
    return bool(((ours.scores - theirs.scores).abs()[differ] < 1e-6).all())


def small(generator: torch.Generator) -> dict[str, object]:
    """2,000 queries in 50,000 rows of 128 numbers beside a full product and ``torch.topk``."""
    queries = torch.randn(2_000, 128, generator=generator)
    corpus = torch.randn(50_000, 128, generator=generator)
    ours_s, peer_s, ratio = interleaved(
        lambda: top_k(queries, corpus, 10, prefilter="none"),
        lambda: (queries @ corpus.T).topk(10, dim=1),
        5,
    )
    return {
        "benchmark": "exact top-10 of 2,000 queries in 50,000 x 128, in float32 throughout",
        "ours_s": ours_s,
        "peer": "product and torch.topk",
        "peer_s": peer_s,
        "ratio": ratio,
        "threads": torch.get_num_threads(),
    }


def large(generator: torch.Generator, queries_n: int, corpus_n: int) -> dict[str, object]:
    """Unit vectors of 384 numbers, the best 50, beside the float32 product alone."""
    unit = torch.nn.functional.normalize
    queries = unit(torch.randn(queries_n, 384, generator=generator))
    corpus = unit(torch.randn(corpus_n, 384, generator=generator))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = top_k(queries, corpus, 50)
    extra = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    part = slice(0, 512)
    equal = same_but_for_ties(
        TopK(found.scores[part], found.index[part]),
        top_k(queries[part], corpus, 50, prefilter="none"),
    )
    ours_s, peer_s, ratio = interleaved(
        lambda: top_k(queries, corpus, 50), lambda: product_alone(queries, corpus), RUNS
    )
    line: dict[str, object] = {
        "benchmark": f"exact top-50 of {queries_n:,} queries in {corpus_n:,} x 384",
        "ours_s": ours_s,
        "peer": "the float32 product alone",
        "peer_s": peer_s,
        "ratio": ratio,
        "same_rows_as_float32": equal,
        "peak_memory_above_its_input": f"{max(0, extra) / 1024:.0f} MB",
        "threads": torch.get_num_threads(),
    }
    if has_matrix_instructions():
        line |= {"limit": f"ratio at least {LIMIT}", "within": ratio >= LIMIT and equal}
    return line


def main() -> None:
    """Print a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--corpus", type=int, default=100_000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    print(json.dumps(large(generator, arguments.queries, arguments.corpus)), flush=True)
    print(json.dumps(small(generator)))


if __name__ == "__main__":
    main()
