"""Categories from embeddings: groups that are there are found, numbered by size."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from gradatim.core.errors import InputError
from gradatim.curriculum.categories import cluster_categories
from gradatim.curriculum.practice_orders import blocked


def blobs(sizes, seed=0, spread=0.1):
    generator = np.random.default_rng(seed)
    centres = 5 * np.eye(max(len(sizes), 3))[: len(sizes)]
    truth = np.repeat(np.arange(len(sizes)), sizes)
    truth = generator.permutation(truth)
    return centres[truth] + spread * generator.normal(size=(len(truth), centres.shape[1])), truth


@pytest.mark.parametrize("options", [{"n_clusters": 7}, {"sizes": (5, 10)}])
def test_finds_groups_and_numbers_them_by_size(options):
    points, truth = blobs([40, 35, 30, 25, 20, 15, 12])
    found = cluster_categories(points, **options)
    # exactly the groups, and in order of size the very numbers that they were made with
    assert found.dtype == np.int64
    assert found.tolist() == truth.tolist()
    assert cluster_categories(points.astype(np.float32), **options).tolist() == found.tolist()


def test_density_wants_a_number_of_clusters_within_the_range():
    # six groups of 12, in pairs: clusters of at least 13 can only be the three pairs
    points, truth = blobs([12] * 6, spread=0.05)
    points = np.concatenate([points, np.zeros((72, 1))], axis=1)
    pairs = 20 * np.eye(3)[truth // 2]
    points = np.concatenate([points, pairs], axis=1)
    fine = cluster_categories(points, between=(6, 20), sizes=(5, 20))
    coarse = cluster_categories(points, between=(2, 4), sizes=(5, 20))
    assert adjusted_rand_score(fine, truth) == 1
    assert adjusted_rand_score(coarse, truth // 2) == 1


def test_what_is_outside_joins_the_nearest():
    points, truth = blobs([40, 35, 30, 25, 20, 15])
    centre = np.zeros(points.shape[1])
    centre[3] = 5
    found = cluster_categories(np.vstack([points, centre + 1.2]), sizes=(10,))
    assert found[-1] == found[:-1][truth == 3][0]
    assert found.min() == 0


def test_scales():
    points, truth = blobs([30, 20])
    stretched = np.column_stack([points, 1000 * np.random.default_rng(1).normal(size=50)])
    assert adjusted_rand_score(cluster_categories(stretched, 2), truth) < 0.5
    assert adjusted_rand_score(cluster_categories(stretched, 2, scale="columns"), truth) > 0.9
    lengths = np.random.default_rng(2).uniform(0.1, 10, (50, 1))
    assert adjusted_rand_score(cluster_categories(points * lengths, 2, scale="rows"), truth) == 1


def test_one_cluster_makes_blocked_a_shuffle_of_all_and_seeds_repeat():
    points, _ = blobs([10, 10])
    assert set(cluster_categories(points, 1)) == {0}
    one = cluster_categories(points, 4, seed=3)
    assert one.tolist() == cluster_categories(points, 4, seed=3).tolist()
    assert sorted(blocked(one).tolist()) == list(range(20))
    counts = np.bincount(one)
    assert (np.diff(counts) <= 0).all()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(([1.0, 2.0], 1), "shape"), ((np.zeros((3, 0)), 1), "shape"),
     ((np.zeros((3, 2)), 4), "n_clusters"),
     (([[0.0], [np.nan]], 1), "row 1"), (([["a"], ["b"]], 1), "numbers"),
     ((np.zeros((3, 2)),), "sizes")],
)  # fmt: skip
def test_bad_input(arguments, told):
    with pytest.raises(InputError, match=told):
        cluster_categories(*arguments)


def test_no_dense_region_is_said():
    points = np.array([[4.0**i] for i in range(12)])
    with pytest.raises(InputError, match="n_clusters"):
        cluster_categories(points, sizes=(11,))
    with pytest.raises(InputError, match="scale"):
        cluster_categories(points, 2, scale="all")
