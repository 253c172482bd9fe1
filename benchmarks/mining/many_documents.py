"""Approximate search of millions of ready vectors: time, memory and measured recall, as JSON.

Run with ``python benchmarks/mining/many_documents.py --documents 5000000``. Documents are unit
vectors of 384 numbers around 20,000 topics, in half precision on the disk; queries are documents
with noise added. The index is built once, its effort is raised until 1,024 queries find 95% of what
exact search finds, and 20,000 queries are then searched for. What exact search would take is
projected from those 1,024.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from gradatim.core.search import top_k
from gradatim.mining.approximate_search import ApproximateIndex

WIDTH, OF_TOPIC, PART, K, QUERIES, SAMPLE, TARGET = 384, 250, 100_000, 50, 20_000, 1024, 0.95


def make_documents(path: Path, size: int, rng: np.random.Generator) -> np.memmap:
    """Vectors around topics, written part by part."""
    topics = rng.standard_normal((max(1, size // OF_TOPIC), WIDTH), dtype=np.float32)
    rows = np.lib.format.open_memmap(path, "w+", dtype=np.float16, shape=(size, WIDTH))
    for start in range(0, size, PART):
        count = min(PART, size - start)
        part = topics[rng.integers(len(topics), size=count)]
        part += rng.standard_normal(part.shape, dtype=np.float32)
        rows[start : start + count] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return rows


def make_queries(documents: np.memmap, rng: np.random.Generator) -> np.ndarray:
    """Documents with noise of half their length."""
    chosen = np.sort(rng.choice(len(documents), QUERIES, replace=False))
    rows = documents[chosen].astype(np.float32)
    noise = rng.standard_normal(rows.shape, dtype=np.float32)
    rows += 0.5 * noise / np.sqrt(WIDTH, dtype=np.float32)
    return rows[rng.permutation(QUERIES)]


def main() -> None:
    """Build, measure the recall, search, and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=5_000_000)
    size = parser.parse_args().documents
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        documents = make_documents(Path(folder) / "documents.npy", size, rng)
        queries = make_queries(documents, rng)
        clock = [time.perf_counter()]
        index = ApproximateIndex(documents)
        clock.append(time.perf_counter())
        recall = index.reach(queries[:SAMPLE], K, TARGET)
        clock.append(time.perf_counter())
        index.search(queries, K)
        clock.append(time.perf_counter())
        top_k(queries[:SAMPLE], documents, K, metric="cosine")
        clock.append(time.perf_counter())
    build, _, search, exact = np.diff(clock)
    print(
        json.dumps(
            {
                "documents": size,
                "queries": QUERIES,
                "threads": torch.get_num_threads(),
                "index": index.kind,
                "effort": index.effort,
                "build_s": round(build),
                "recall_at_50": round(recall, 4),
                "search_s": round(search, 1),
                "exact_s_projected": round(exact * QUERIES / SAMPLE),
                "peak_memory_gb": round(
                    resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2, 1
                ),
            }
        )
    )


if __name__ == "__main__":
    main()
