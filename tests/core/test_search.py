"""Exact search against sorting everything, and against scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from gradatim.core import search
from gradatim.core.errors import InputError
from gradatim.core.search import top_k

METRICS = ("dot", "cosine", "l2")


def brute_force(queries, corpus, k, metric, exclude=None):
    """All scores in float64, sorted by descending score and then by position."""
    q, c = np.asarray(queries, float), np.asarray(corpus, float)
    scores = -((q[:, None] - c) ** 2).sum(2) if metric == "l2" else q @ c.T
    if metric == "cosine":
        norms = np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(c, axis=1)
        scores = np.divide(scores, norms, out=np.zeros_like(scores), where=norms > 0)
    if exclude is not None:
        for row, columns in enumerate(exclude):
            scores[row, [c for c in columns if c >= 0]] = -np.inf
    index = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, index, 1), index


@given(
    st.sampled_from(["dot", "l2"]),
    st.integers(0, 2**32 - 1),
    st.integers(1, 300),
    st.sampled_from([1, 3, 200]),
    st.sampled_from([None, 1, 7, 64, 150]),
    st.integers(0, 4),
    st.sampled_from(["none", "bfloat16"]),
    st.data(),
)
def test_whole_numbers_equal_brute_force_with_ties(
    metric, seed, size, top, block, banned, prefilter, data
):
    """Scores of small whole numbers are exact, so order and ties must be as well."""
    rng = np.random.default_rng(seed)
    q, c = rng.integers(-2, 3, (5, 3)), rng.integers(-2, 3, (size, 3))
    exclude = rng.integers(-1, size, (5, banned)) if banned and size > banned else None
    k = data.draw(st.integers(1, min(top, size - (banned if exclude is not None else 0))))
    found = top_k(
        torch.tensor(q, dtype=torch.float32),
        torch.tensor(c, dtype=torch.float32),
        k,
        metric=metric,
        exclude=None if exclude is None else torch.tensor(exclude),
        block=block,
        prefilter=prefilter,
    )
    scores, index = brute_force(q, c, k, metric, exclude)
    np.testing.assert_array_equal(found.index.numpy(), index)
    np.testing.assert_array_equal(found.scores.numpy(), scores)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 10, 300])
@pytest.mark.parametrize("block", [None, 137, 5000])
def test_real_numbers_equal_brute_force(metric, k, block):
    rng = np.random.default_rng(k)
    q, c = rng.normal(size=(300, 16)), rng.normal(size=(3000, 16))
    found = top_k(q, c, k, metric=metric, block=block)
    scores, index = brute_force(q, c, k, metric)
    np.testing.assert_allclose(found.scores.numpy(), scores, rtol=1e-5, atol=1e-6)
    assert (found.index.numpy() == index).mean() > 0.9999
    assert found.scores.dtype == torch.float32
    assert found.index.dtype == torch.int64


@pytest.mark.parametrize(("metric", "theirs"), [("cosine", "cosine"), ("l2", "sqeuclidean")])
def test_equals_scikit_learn(metric, theirs):
    rng = np.random.default_rng(0)
    q = rng.normal(size=(50, 20)).astype(np.float32)
    c = rng.normal(size=(800, 20)).astype(np.float32)
    peer = NearestNeighbors(n_neighbors=7, metric=theirs, algorithm="brute").fit(c)
    distances, index = peer.kneighbors(q)
    found = top_k(q, c, 7, metric=metric)
    np.testing.assert_array_equal(found.index.numpy(), index)
    expected = 1 - distances if metric == "cosine" else -distances
    np.testing.assert_allclose(found.scores.numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rising", [True, False])
def test_a_corpus_in_order_of_score(rising):
    """The worst and the best case of looking only at what beats the running best."""
    corpus = torch.arange(5000.0)[:, None]
    corpus = corpus if rising else corpus.flip(0)
    found = top_k(torch.ones(3, 1), corpus, 4, block=512)
    expected = [4999, 4998, 4997, 4996] if rising else [0, 1, 2, 3]
    assert found.index.tolist() == [expected] * 3
    assert found.scores.tolist() == [[4999.0, 4998.0, 4997.0, 4996.0]] * 3


def test_all_equal_scores_give_the_first_positions():
    found = top_k(torch.ones(300, 4), torch.ones(3000, 4), 6, metric="cosine", block=700)
    assert (found.index == torch.arange(6)).all()


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32]
)
def test_types_of_tensor(dtype):
    generator = torch.Generator().manual_seed(3)
    q = (torch.randn(9, 8, generator=generator) * 4).to(dtype)
    c = (torch.randn(90, 8, generator=generator) * 4).to(dtype)
    scores, _ = brute_force(q.double().numpy(), c.double().numpy(), 5, "dot")
    found = top_k(q, c, 5)
    np.testing.assert_allclose(found.scores.numpy(), scores, rtol=1e-5, atol=1e-5)
    taken = (q.double()[:, None] * c.double()[found.index]).sum(2)
    np.testing.assert_allclose(taken.numpy(), scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["f2", "<f4", ">f4", "f8", "i1", "u2"])
def test_types_of_array(dtype):
    rng = np.random.default_rng(1)
    q, c = rng.integers(0, 9, (6, 5)).astype(dtype), rng.integers(0, 9, (60, 5)).astype(dtype)
    np.testing.assert_array_equal(top_k(q, c, 5).index.numpy(), brute_force(q, c, 5, "dot")[1])


def test_float64_sees_what_float32_cannot():
    corpus = np.array([[1.0], [1.0 + 1e-12], [1.0 - 1e-12]])
    # the scores are equal once they are float32, but which two are found is decided before
    assert top_k(np.ones((1, 1)), corpus, 2).index.tolist() == [[0, 1]]
    assert top_k(-np.ones((1, 1)), corpus, 1).index.tolist() == [[2]]


@pytest.mark.parametrize("offset", [0.0, 1e4, -3e6])
def test_distances_do_not_suffer_from_an_offset(offset):
    rng = np.random.default_rng(2)
    q, c = rng.normal(size=(20, 6)) + offset, rng.normal(size=(500, 6)) + offset
    scores, index = brute_force(q, c, 5, "l2")
    found = top_k(q, c, 5, metric="l2", block=64)
    np.testing.assert_array_equal(found.index.numpy(), index)
    np.testing.assert_allclose(found.scores.numpy(), scores, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e18])
def test_a_row_finds_itself_first(scale):
    rows = torch.randn(200, 8, generator=torch.Generator().manual_seed(4)) * scale
    itself = torch.arange(200)
    assert (top_k(rows, rows, 1, metric="cosine").index[:, 0] == itself).all()
    if scale == 1.0:
        found = top_k(rows, rows, 1, metric="l2")
        assert (found.index[:, 0] == itself).all()
        assert (found.scores == 0).all()


def test_zero_vectors_have_cosine_zero():
    found = top_k(torch.zeros(1, 3), torch.eye(3), 3, metric="cosine")
    assert found.scores.tolist() == [[0.0, 0.0, 0.0]]
    assert found.index.tolist() == [[0, 1, 2]]


def test_a_mapped_read_only_corpus(tmp_path, recwarn):
    corpus = np.random.default_rng(5).normal(size=(100, 4)).astype(np.float32)
    np.save(tmp_path / "corpus.npy", corpus)
    mapped = np.load(tmp_path / "corpus.npy", mmap_mode="r")
    for metric in METRICS:
        expected = brute_force(corpus[:5], corpus, 3, metric)[1]
        np.testing.assert_array_equal(top_k(corpus[:5], mapped, 3, metric=metric).index, expected)
    assert not recwarn


def test_inputs_stay_as_they_are_and_outside_autograd():
    q = torch.randn(3, 4, requires_grad=True)
    c = torch.randn(20, 4, requires_grad=True)
    before = c.detach().clone()
    for metric in METRICS:
        assert not top_k(q, c, 2, metric=metric).scores.requires_grad
    assert torch.equal(c, before)


def test_a_tile_is_never_larger_than_it_says(monkeypatch):
    sizes = []
    monkeypatch.setattr(
        search, "improve", lambda scores, index, tile, start: sizes.append(tile.shape)
    )
    top_k(torch.ones(600, 2), torch.ones(1000, 2), 3, block=300)
    assert max(rows for rows, _ in sizes) <= 512
    assert max(columns for _, columns in sizes) <= 300
    assert sum(rows * columns for rows, columns in sizes) == 600 * 1000


def test_no_query_finds_nothing():
    found = top_k(torch.zeros(0, 3), torch.ones(5, 3), 2)
    assert found.index.shape == found.scores.shape == (0, 2)


def bad(rows, row, value):
    return torch.ones(rows, 2).index_fill(0, torch.tensor([row]), value)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda c: top_k(c, c, 301), "k: expected 1 to 300, .* got 301"),
        (lambda c: top_k(c, c, 0), "k: expected 1 to 300, .* got 0"),
        (lambda c: top_k(c, c, 1, metric="cos"), "metric: expected one of dot, cosine, l2"),
        (lambda c: top_k(c[0], c, 1), r"queries: expected shape \[rows, D\], got \[2\]"),
        (lambda c: top_k(c[:, :1], c, 1), "queries: expected 2 dimensions .* got 1"),
        (lambda c: top_k(c, c, 1, block=0), "block: .* got 0"),
        (lambda c: top_k(c, bad(300, 299, float("nan")), 1), "corpus: .* at row 299"),
        (lambda c: top_k(c, bad(300, 7, float("inf")).numpy(), 1), "corpus: .* at row 7"),
        (lambda c: top_k(bad(9, 8, float("nan")).half(), c, 1, block=1), "queries: .* at row 8"),
        (lambda c: top_k(c * 1e20, c * 1e20, 1), r"scores fit float32, got up to 1e\+20"),
        (lambda c: top_k(c * 1e20, c, 1, metric="l2"), "scores fit float32"),
        (lambda c: top_k(c, c, 1, exclude=torch.zeros(2, 1).long()), r"shape \[300, E\], got"),
        (lambda c: top_k(c, c, 1, exclude=torch.zeros(300, 1)), "exclude: .* torch.float32"),
        (
            lambda c: top_k(c[:2], c, 1, exclude=torch.tensor([[-1], [300]])),
            "exclude: expected positions from -1 to 299, got 300 at row 1",
        ),
        (
            lambda c: top_k(c[:2], c[:4], 3, exclude=torch.tensor([[1, 1], [0, 2]])),
            "k: expected at most 2, .* for query 1, got 3",
        ),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call(torch.ones(300, 2))
