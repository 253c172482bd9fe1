"""Mining beside ``sentence_transformers.util.mine_hard_negatives``, on equal vectors and options.

Both get the vectors of 10,000 queries and 50,000 documents ready, have one thread, and give
triplets as a data set.
Run with ``python benchmarks/bench_mine.py``; a ratio above 1 means that ours is faster.
"""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import datasets
import numpy as np
import torch

import gradatim

QUERIES, DOCUMENTS, WIDTH, ROUNDS, LIMIT = 10_000, 50_000, 384, 3, 2.0
SHARED = {"range_min": 1, "range_max": 50, "relative_margin": 0.05, "output_scores": True}


class ReadyVectors:
    """What ``mine_hard_negatives`` asks of a model, with vectors that are there."""

    device = torch.device("cpu")

    def __init__(self, queries: np.ndarray, documents: np.ndarray) -> None:
        self.queries, self.documents = queries, documents

    def encode_query(self, texts: list[str], **_: Any) -> np.ndarray:
        """The queries' vectors."""
        return self.queries

    def encode_document(self, texts: list[str], **_: Any) -> np.ndarray:
        """The documents' vectors."""
        return self.documents

    def similarity(self, one: Any, two: Any) -> torch.Tensor:
        """Products of unit vectors."""
        return torch.as_tensor(one) @ torch.as_tensor(two).T

    def similarity_pairwise(self, one: Any, two: Any) -> torch.Tensor:
        """Products row by row."""
        return (torch.as_tensor(one) * torch.as_tensor(two)).sum(1)


def make_vectors() -> tuple[np.ndarray, np.ndarray]:
    """Documents in clusters, and queries beside the first of them, of unit length."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(500, WIDTH))
    documents = centres[random.integers(500, size=DOCUMENTS)] + random.normal(
        size=(DOCUMENTS, WIDTH)
    )
    queries = documents[:QUERIES] + 0.7 * random.normal(size=(QUERIES, WIDTH))
    found = [
        (one / np.linalg.norm(one, axis=1, keepdims=True)).astype(np.float32)
        for one in (queries, documents)
    ]
    return found[0], found[1]


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """Time one call."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def main() -> None:
    """Check that both find the same negatives, and print a line of JSON."""
    from sentence_transformers.util import mine_hard_negatives

    torch.set_num_threads(1)
    queries, documents = make_vectors()
    corpus = [f"document {i}: {'words ' * 40}" for i in range(DOCUMENTS)]
    pairs = datasets.Dataset.from_dict(
        {"query": [f"query {i}" for i in range(QUERIES)], "document": corpus[:QUERIES]}
    )

    def ours() -> datasets.Dataset:
        return gradatim.mine(
            pairs,
            corpus={"text": corpus},
            query_vectors=queries,
            document_vectors=documents,
            negatives=5,
            equal_texts=False,
            false_negatives=False,
            **SHARED,
        ).dataset()

    def peer() -> datasets.Dataset:
        return mine_hard_negatives(
            pairs,
            ReadyVectors(queries, documents),
            corpus=corpus,
            num_negatives=5,
            faiss_batch_size=2048,
            verbose=False,
            **SHARED,
        )

    times = []
    for _ in range(ROUNDS):
        (ours_s, mined), (peer_s, wanted) = seconds(ours), seconds(peer)
        times.append((ours_s, peer_s))
        scores = [np.array(one["scores"][:]) for one in (mined, wanted)]
        np.testing.assert_allclose(*scores, atol=1e-5)
        same = np.mean([a == b for a, b in zip(mined["negative"], wanted["negative"], strict=True)])
        assert same > 0.9999, same  # others are ties but for rounding
    ratio = statistics.median(peer_s / ours_s for ours_s, peer_s in times)
    line = {
        "benchmark": f"negatives for {QUERIES:,} queries in {DOCUMENTS:,} x {WIDTH}, end to end",
        "ours_s": round(statistics.median(ours_s for ours_s, _ in times), 3),
        "peer": "sentence_transformers.util.mine_hard_negatives",
        "peer_s": round(statistics.median(peer_s for _, peer_s in times), 3),
        "ratio": round(ratio, 2),
        "limit": f"at least {LIMIT}",
        "within": ratio >= LIMIT,
        "threads": torch.get_num_threads(),
        "rows": len(mined),
        "equal": f"{same:.2%} of the negatives",
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
