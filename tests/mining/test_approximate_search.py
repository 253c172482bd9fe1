import numpy as np
import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.core.search import top_k

pytest.importorskip("faiss")

from gradatim.mining.approximate_search import ApproximateIndex


@pytest.fixture(scope="module")
def vectors():
    random = np.random.default_rng(0)
    centres = random.normal(size=(40, 16))
    documents = centres[random.integers(40, size=3000)] + 0.5 * random.normal(size=(3000, 16))
    return documents[:50].astype(np.float32), documents.astype(np.float32)


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_recall_is_measured_and_grows_with_the_effort(vectors, kind, metric):
    queries, documents = vectors
    index = ApproximateIndex(documents, metric=metric, kind=kind)
    index.effort = 1
    low = index.recall(queries, 10)
    reached = index.reach(queries, 10, 0.98)
    assert low <= reached and reached >= 0.98 and reached == index.recall(queries, 10)
    exact, found = top_k(queries, documents, 10, metric=metric), index.search(queries, 10)
    hits = np.mean(
        [
            len(set(a) & set(b)) / 10
            for a, b in zip(exact.index.tolist(), found.index.tolist(), strict=True)
        ]
    )
    assert hits == pytest.approx(reached)
    same = exact.index == found.index
    torch.testing.assert_close(found.scores[same], exact.scores[same], atol=2e-2, rtol=2e-3)


def test_all_kinds_of_vectors_and_small_sets(vectors):
    queries, documents = vectors
    wanted = ApproximateIndex(documents, kind="hnsw").search(queries, 3).index
    for other in (torch.from_numpy(documents), documents.astype(np.float64)):
        assert ApproximateIndex(other, kind="hnsw").search(queries, 3).index.equal(wanted)
    few = ApproximateIndex(documents[:5], kind="ivf")
    assert (
        few.kind == "ivf"
        and few.search(queries[:2], 5).index.sort(1).values.tolist() == [[0, 1, 2, 3, 4]] * 2
    )
    assert ApproximateIndex(documents).kind == "hnsw"


def test_what_does_not_fit(vectors):
    queries, documents = vectors
    index = ApproximateIndex(documents[:50], kind="hnsw")
    for call, message in (
        (lambda: index.search(queries, 51), "k: expected a number in"),
        (lambda: index.search(queries[:, :4], 2), "queries: expected 16 numbers a vector"),
        (lambda: index.reach(queries, 2, 1.5), "target"),
        (lambda: ApproximateIndex(documents, kind="flat"), "kind: expected one of"),
        (lambda: ApproximateIndex(documents, metric="l2"), "metric: expected one of"),
        (lambda: ApproximateIndex(documents[:0]), r"documents: expected shape \[N, D\]"),
    ):
        with pytest.raises(InputError, match=message):
            call()
