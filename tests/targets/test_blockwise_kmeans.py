"""K-means in blocks, against scikit-learn's and a loop that looks at every row."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from gradatim.core.errors import InputError
from gradatim.targets import blockwise_kmeans
from gradatim.targets.blockwise_kmeans import kmeans


def blobs(rows, width, clusters, seed=0, spread=1.0):
    random = np.random.default_rng(seed)
    centres = random.normal(size=(clusters, width))
    x = centres[random.integers(clusters, size=rows)] + spread * random.normal(size=(rows, width))
    return torch.from_numpy(x)


def slow_kmeans(x, prototypes, held, steps):
    """Lloyd's algorithm without blocks, mended sums or margins."""
    labels = np.full(len(x), -1)
    for step in range(steps):
        distances = ((x[:, None] - prototypes[None]) ** 2).sum(2)
        new = np.where(held >= 0, held, distances.argmin(1))
        if step and len(np.unique(new)) < len(prototypes):
            break
        if (new == labels).all():
            break
        labels = new
        prototypes = np.stack(
            [
                x[labels == k].mean(0) if (labels == k).any() else prototypes[k]
                for k in range(len(prototypes))
            ]
        )
    return labels, prototypes


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("rows", "width", "clusters"), [(20_000, 8, 7), (3_000, 40, 3)])
def test_labels_are_those_of_scikit_learn(rows, width, clusters, seed):
    x = blobs(rows, width, clusters, seed)
    peer = KMeans(
        clusters, init=x[:clusters].numpy(), n_init=1, algorithm="lloyd", tol=0, max_iter=500
    ).fit(x.numpy())
    found = kmeans(x, x[:clusters], max_iter=500)
    assert (found.labels.numpy() == peer.labels_).all()
    assert np.allclose(found.prototypes.numpy(), peer.cluster_centers_, atol=1e-10)
    assert found.energy == pytest.approx(peer.inertia_, rel=1e-10)


@given(st.integers(0, 10**6), st.integers(3, 60), st.integers(1, 4), st.integers(2, 3))
@settings(max_examples=60, deadline=None)
def test_held_rows_blocks_and_margins_change_nothing(seed, rows, width, clusters):
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, width))
    held = np.where(random.random(rows) < 0.3, random.integers(clusters, size=rows), -1)
    start = random.normal(size=(clusters, width))
    steps = int(random.integers(1, 20))
    labels, means = slow_kmeans(x, start, held, steps)
    found = kmeans(
        torch.from_numpy(x), torch.from_numpy(start), labels=torch.from_numpy(held), max_iter=steps
    )
    assert (found.labels.numpy() == labels).all()
    filled = np.bincount(labels, minlength=clusters) > 0
    assert np.allclose(found.prototypes.numpy()[filled], means[filled])


def test_many_blocks_and_few_unsure_rows(monkeypatch):
    x = blobs(5_000, 6, 5, spread=0.7)
    held = torch.full((5_000,), -1)
    held[::50] = torch.arange(100) % 5
    whole = kmeans(x, x[:5], labels=held, max_iter=300)
    monkeypatch.setattr(blockwise_kmeans, "_BLOCK_SCORES", 1)
    monkeypatch.setattr(blockwise_kmeans, "_ROWS", 300)
    monkeypatch.setattr(blockwise_kmeans, "_MOST_UNSURE", 0.0)
    parts = kmeans(x, x[:5], labels=held, max_iter=300)
    assert (parts.labels == whole.labels).all()
    assert (parts.labels[held >= 0] == held[held >= 0]).all()
    expected, _ = slow_kmeans(x.numpy(), x[:5].numpy(), held.numpy(), 300)
    assert (parts.labels.numpy() == expected).all()


def test_most_rows_are_passed_over_when_prototypes_rest():
    x = blobs(4_000, 8, 4, spread=0.3)
    run = blockwise_kmeans._Lloyd(x, x[:4].clone(), None)
    for _ in range(30):
        run.settles = run.move(*run.assign()) < 400
        run.average()
    unsure = run.unsure()
    assert unsure is not None
    assert len(unsure) < 100


def test_equal_distances_go_to_the_first_prototype():
    x = torch.tensor([[0.0], [2.0], [-2.0], [1.0]])
    start = torch.tensor([[1.0], [-1.0], [1.0]])
    assert kmeans(x, start, max_iter=1).labels.tolist() == [0, 0, 1, 0]


def test_an_empty_cluster_keeps_its_prototype_at_first_and_ends_the_run_later():
    x = torch.tensor([[0.0], [1.0], [10.0]])
    first = kmeans(x, torch.tensor([[0.0], [10.0], [99.0]]), max_iter=1)
    assert first.prototypes.flatten().tolist() == [0.5, 10.0, 99.0]
    x = torch.tensor([[0.0], [4.9], [5.1], [5.2], [9.0]])
    start = torch.tensor([[0.0], [4.0], [6.2]])
    found = kmeans(x, start, max_iter=50)
    assert len(found.labels.unique()) == 3


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_far_from_the_origin_and_with_clusters_that_shrink(kind):
    x = blobs(3_000, 5, 4).to(kind) + 1000
    found = kmeans(x, x[:4], max_iter=200)
    for k in range(4):
        mean = x[found.labels == k].double().mean(0)
        assert torch.allclose(found.prototypes[k].double(), mean, rtol=0, atol=1e-3)
    away = x.double() - found.prototypes[found.labels].double()
    assert found.energy == pytest.approx(float(away.square().sum()), rel=1e-3)
    assert found.prototypes.dtype == kind


def test_identical_rows_and_single_rows():
    same = kmeans(torch.ones(5, 2), torch.ones(2, 2))
    assert same.labels.tolist() == [0] * 5
    assert same.energy == 0.0
    assert kmeans(torch.zeros(1, 3), torch.ones(1, 3)).prototypes.tolist() == [[0.0] * 3]


def test_tolerance_ends_earlier_and_arguments_stay():
    x = blobs(4_000, 8, 6)
    start = x[:6].clone()
    held = torch.full((4_000,), -1)
    before = x.clone(), start.clone(), held.clone()
    strict, loose = kmeans(x, start, labels=held), kmeans(x, start, labels=held, tol=1e-2)
    assert 1 < loose.iterations < strict.iterations
    assert loose.energy >= strict.energy
    assert all(torch.equal(a, b) for a, b in zip(before, (x, start, held), strict=True))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"features": torch.zeros(3)}, "features"),
        ({"features": torch.zeros(0, 2)}, "at least one row"),
        ({"prototypes": torch.zeros(2, 3)}, "prototypes"),
        ({"labels": torch.tensor([0, 1])}, "labels"),
        ({"labels": torch.tensor([0, 1, 2])}, "labels: expected classes from 0 to 1"),
        ({"tol": -1.0}, "tol"),
        ({"max_iter": 0}, "max_iter"),
    ],
)
def test_bad_input_is_named(options, named):
    settings = {"features": torch.zeros(3, 2), "prototypes": torch.zeros(2, 2), **options}
    with pytest.raises(InputError, match=named):
        kmeans(settings.pop("features"), settings.pop("prototypes"), **settings)
