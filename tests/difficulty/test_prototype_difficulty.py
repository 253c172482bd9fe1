"""Prototype difficulty against scikit-learn's k-means and distances written out."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances

from gradatim.core.errors import InputError
from gradatim.difficulty.prototype_difficulty import PrototypeDifficulty

FIVE = {"max_examples": 25, "deadline": None}


def rows(n=60, width=5, seed=0):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def test_one_euclidean_cluster_is_the_distance_to_the_mean():
    data = rows()
    found = PrototypeDifficulty(1, "euclidean").fit(data).score(data)
    torch.testing.assert_close(found, (data - data.mean(dim=0)).norm(dim=1))


def test_one_cosine_cluster_is_the_angle_to_the_mean_direction():
    data = rows() + 1.0
    found = PrototypeDifficulty(1).fit(data).score(data)
    unit = data / data.norm(dim=1, keepdim=True)
    mean = unit.mean(dim=0)
    torch.testing.assert_close(found, 1 - unit @ mean / mean.norm(), rtol=1e-4, atol=1e-5)


@given(st.integers(1, 12), st.integers(0, 50))
@settings(**FIVE)
def test_euclidean_distances_equal_those_of_k_means(k, seed):
    data = rows(seed=seed).double()
    found = PrototypeDifficulty(k, "euclidean", seed=seed).fit(data)
    means = KMeans(k, n_init=1, random_state=seed).fit(data.numpy())
    np.testing.assert_allclose(found.prototypes.numpy(), means.cluster_centers_)
    fresh = rows(seed=seed + 100).double()
    expected = means.transform(fresh.numpy()).min(axis=1)
    np.testing.assert_allclose(found.score(fresh).numpy(), expected, rtol=1e-5)


@given(st.integers(1, 12), st.integers(0, 50))
@settings(**FIVE)
def test_cosine_distances_are_to_the_nearest_prototype_and_lengths_do_not_count(k, seed):
    data = rows(seed=seed)
    found = PrototypeDifficulty(k, seed=seed).fit(data)
    expected = pairwise_distances(data, found.prototypes, metric="cosine").min(axis=1)
    np.testing.assert_allclose(found.score(data), expected, atol=1e-5)
    scales = torch.rand(len(data), 1, generator=torch.Generator().manual_seed(1)) * 100 + 0.01
    again = PrototypeDifficulty(k, seed=seed).fit(data * scales)
    torch.testing.assert_close(again.score(data), found.score(data), rtol=1e-3, atol=1e-4)


def test_what_lies_between_groups_is_the_hardest():
    centres = torch.eye(4)
    data = torch.cat([centres.repeat(10, 1) + 0.05 * rows(40, 4), torch.ones(1, 4)])
    for metric in ("cosine", "euclidean"):
        scores = PrototypeDifficulty(4, metric).fit(data[:40]).score(data)
        assert scores.argmax() == 40


@pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 1), (9, 3), (60, 8), (100, 10)])
def test_by_default_the_square_root_of_the_rows(n, k):
    assert PrototypeDifficulty().fit(rows(n)).prototypes.shape == (k, 5)


def test_mini_batches_find_separate_groups_too():
    data = torch.eye(3).repeat(200, 1) * 10 + 0.1 * rows(600, 3)
    found = PrototypeDifficulty(3, "euclidean", batch_size=64).fit(data)
    assert found.score(data).max() < 1.0
    assert found.score(torch.zeros(1, 3)) > 9.0


def test_huge_and_tiny_numbers_keep_their_direction():
    data = rows(20)
    for scale in (1e-30, 1e30):
        found = PrototypeDifficulty(2).fit(data * scale).score(data * scale)
        torch.testing.assert_close(found, PrototypeDifficulty(2).fit(data).score(data), atol=1e-4,
                                   rtol=1e-3)  # fmt: skip


def test_opposite_rows_have_no_common_direction():
    data = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert PrototypeDifficulty(1).fit(data).score(data).tolist() == [1.0, 1.0]


def test_arrays_halves_and_the_argument_itself():
    data = rows()
    before = data.clone()
    found = PrototypeDifficulty(3).fit(data.numpy()).score(data.numpy())
    assert torch.equal(found, PrototypeDifficulty(3).fit(data).score(data))
    assert torch.equal(data, before)
    half = PrototypeDifficulty(3).fit(data.bfloat16()).score(data.bfloat16())
    assert half.dtype == torch.float32 and torch.isfinite(half).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda: PrototypeDifficulty(0), "n_clusters"),
     (lambda: PrototypeDifficulty(metric="dot"), "metric: expected one of cosine, euclidean"),
     (lambda: PrototypeDifficulty(batch_size=0), "batch_size"),
     (lambda: PrototypeDifficulty(4).fit(rows(3)), "n_clusters: expected at most 3 rows, got 4"),
     (lambda: PrototypeDifficulty().fit(torch.zeros(3)), r"embeddings: expected shape \[N, D\]"),
     (lambda: PrototypeDifficulty().fit(torch.zeros(0, 3)), "embeddings: expected shape"),
     (lambda: PrototypeDifficulty().fit(torch.tensor([[1.0], [torch.nan]])), "infinity at row 1"),
     (lambda: PrototypeDifficulty().fit(torch.tensor([[1.0], [0.0]])), "zeros at row 1"),
     (lambda: PrototypeDifficulty().score(rows()), "fit"),
     (lambda: PrototypeDifficulty().fit(rows()).score(rows(width=4)), "expected 5 columns")],
)  # fmt: skip
def test_wrong_arguments(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_a_zero_vector_is_fine_where_directions_do_not_count():
    assert PrototypeDifficulty(1, "euclidean").fit(torch.zeros(2, 3)).score(torch.ones(1, 3)) > 1.7
