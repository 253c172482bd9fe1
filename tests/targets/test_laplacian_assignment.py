"""Affinity, relaxed energy, bound updates and the whole loop, against closed forms and loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from sklearn.datasets import make_blobs
from sklearn.neighbors import kneighbors_graph

from gradatim.core.errors import InputError
from gradatim.targets.blockwise_kmeans import kmeans
from gradatim.targets.laplacian_assignment import (
    bound_update,
    kernel_width,
    knn_affinity,
    laplacian_prototype_energy,
    transduce,
)
from gradatim.targets.prototype_clustering import class_means


def draw(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def test_affinity_is_the_graph_of_scikit_learn():
    x = draw(30, 4)
    graph = torch.from_numpy(kneighbors_graph(x.numpy(), 3).toarray())
    assert torch.equal(knn_affinity(x, 3, symmetric=False).to_dense(), graph)
    assert torch.equal(knn_affinity(x, 3).to_dense(), (graph + graph.T) / 2)


@given(st.integers(2, 25), st.integers(1, 4), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_shifted_affinity_is_positive_semi_definite(rows, neighbours, seed):
    x = draw(rows, 2, seed=seed).round(decimals=1)  # with equal distances among them
    shifted = knn_affinity(x, min(neighbours, rows - 1), shift=True).to_dense()
    assert torch.equal(shifted, shifted.T)
    assert float(torch.linalg.eigvalsh(shifted).min()) > -1e-10


@pytest.mark.parametrize("symmetric", [True, False])
def test_width_is_the_mean_over_pairs(symmetric):
    x = draw(20, 33) + 100
    w = knn_affinity(x, 2, symmetric=symmetric)
    pairs = (w.to_dense() * torch.cdist(x, x).square()).sum()
    assert float(kernel_width(x, w)) == pytest.approx(math.sqrt(float(pairs) / 100))
    stacked = kernel_width(torch.stack([x, 2 * x]), torch.stack([w.to_dense()] * 2), 2.0)
    assert torch.allclose(stacked, kernel_width(x, w, 2.0) * torch.tensor([1.0, 2.0]).double())


def test_energy_by_hand_and_its_laplacian_at_vertices():
    s, a = draw(2, 6, 3).softmax(-1), draw(2, 6, 3, seed=1)
    w = draw(2, 6, 6, seed=2).abs()
    found = laplacian_prototype_energy(s, a, w, 0.7)
    for e in range(2):
        total = sum(float(a[e, p] @ s[e, p] + s[e, p] @ s[e, p].log()) for p in range(6))
        total -= 0.35 * sum(
            float(w[e, p, q] * (s[e, p] @ s[e, q])) for p in range(6) for q in range(6)
        )
        assert float(found[e]) == pytest.approx(total)
    labels = torch.tensor([0, 1, 0, 2, 2, 1])
    vertex, other = torch.eye(3)[labels].double(), torch.eye(3)[labels.flip(0)].double()
    laplacian = [
        float((w[0] * torch.cdist(v, v).square()).sum()) * 0.7 / 4 for v in (vertex, other)
    ]
    zero = torch.zeros(6, 3).double()
    energies = [float(laplacian_prototype_energy(v, zero, w[0], 0.7)) for v in (vertex, other)]
    assert energies[1] - energies[0] == pytest.approx(laplacian[1] - laplacian[0])


def test_without_laplacian_one_update_is_softmax():
    a = draw(5, 3)
    found = bound_update(a, draw(5, 5, seed=1), 0.0, start=torch.full((5, 3), 1 / 3).double())
    assert torch.allclose(found.assignments, (-a).softmax(-1))


@pytest.mark.parametrize("lam", [0.5, 1.9, 2.5, 4.0])
def test_two_rows_polarize_above_a_strength_of_two(lam):
    w = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double()
    start = torch.tensor([[0.6, 0.4], [0.55, 0.45]]).double()
    found = bound_update(torch.zeros(2, 2).double(), w, lam, start=start, tol=0, max_iter=3000)
    lean = found.assignments[:, 0] - found.assignments[:, 1]
    expected = brentq(lambda m: m - math.tanh(lam * m / 2), 0.1, 1) if lam > 2 else 0.0
    assert torch.allclose(lean, torch.full((2,), expected).double(), atol=1e-6)


def test_rows_that_lean_apart_oscillate_unless_the_diagonal_is_shifted():
    x = torch.tensor([[0.0], [1.0]]).double()
    start = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).double()
    zero = torch.zeros(2, 2).double()
    found = [
        bound_update(zero, knn_affinity(x, 1, shift=shift), 4.0, start=start, tol=0, max_iter=7)
        for shift in (False, True)
    ]
    leans = [one.assignments[:, 0] - one.assignments[:, 1] for one in found]
    rises = [float((one.energies[1:] - one.energies[:-1]).max()) for one in found]
    assert leans[0][0] < -0.9
    assert leans[0][1] > 0.9
    assert torch.allclose(leans[1], torch.zeros(2).double(), atol=1e-12)
    assert rises[0] > 0.1
    assert rises[1] < 1e-12


@given(st.integers(0, 10**6), st.floats(0, 5))
@settings(max_examples=40, deadline=None)
def test_energy_never_rises_and_rests_where_the_gradient_is_even(seed, lam):
    x, a = draw(12, 2, seed=seed), 3 * draw(12, 3, seed=seed + 1)
    w = knn_affinity(x, 2, shift=True)
    fixed = torch.arange(12) < 3
    start = torch.where(fixed[:, None], torch.eye(3).double().repeat(4, 1), (-a).softmax(-1))
    found = bound_update(a, w, lam, start=start, fixed=fixed, tol=0, max_iter=5000)
    rises = found.energies[1:] - found.energies[:-1]
    assert float(rises.max()) < 1e-9
    assert torch.equal(found.assignments[fixed], start[fixed])
    moves = (lam * (w @ found.assignments) - a - found.assignments.log())[~fixed]
    near = rises[-1].abs() == 0
    if near:
        assert float((moves - moves.mean(1, keepdim=True)).abs().max()) < 1e-4


def test_tasks_side_by_side_are_tasks_alone():
    x, labels = draw(4, 15, 3), torch.full((4, 15), -1)
    labels[:, :3] = torch.arange(3)
    w = torch.stack([knn_affinity(rows).to_dense() for rows in x])
    for method in ("kmeans", "kmodes"):
        for strength in (0.0, 0.7):
            options = {"method": method, "strength": strength}
            together = transduce(x, labels, 3, affinity=w, **options)
            for e in range(4):
                alone = transduce(x[e], labels[e], 3, affinity=knn_affinity(x[e]), **options)
                assert torch.equal(alone.labels, together.labels[e])
                assert torch.allclose(alone.assignments, together.assignments[e], atol=1e-9)
                assert float(alone.energy) == pytest.approx(float(together.energy[e]))


def test_plain_clustering_is_kmeans_with_held_rows():
    x, _ = make_blobs(200, centers=4, cluster_std=3.0, random_state=0)
    x = torch.from_numpy(x)
    labels = torch.full((200,), -1)
    labels[:8] = torch.arange(8) % 4
    found = transduce(x, labels, 4, tol=0.0, max_iter=200)
    peer = kmeans(x, class_means(x, labels, 4), labels=labels, max_iter=200)
    assert torch.equal(found.labels, peer.labels)
    assert torch.allclose(found.prototypes, peer.prototypes)
    assert float(found.energy) == pytest.approx(peer.energy)


def test_a_task_ends_before_a_cluster_becomes_empty():
    x = torch.tensor([[0.0], [0.1], [0.2], [0.3], [0.15]]).double()
    labels = torch.tensor([0, 1, -1, -1, -1])
    free = transduce(
        x, labels, 2, strength=50.0, affinity=torch.ones(5, 5).double(), fix_labels=False
    )
    assert len(free.labels.unique()) == 2
    held = transduce(x, labels, 2, strength=50.0, affinity=torch.ones(5, 5).double())
    assert held.labels[:2].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: knn_affinity(torch.zeros(3, 2), 3), "neighbours"),
        (lambda: kernel_width(torch.zeros(3, 2), torch.zeros(2, 2)), "affinity"),
        (lambda: bound_update(torch.zeros(3, 2), torch.zeros(3, 3), -1.0), "strength"),
        (
            lambda: bound_update(
                torch.zeros(3, 2), torch.zeros(3, 3), 1.0, start=torch.zeros(3, 3)
            ),
            "assignments",
        ),
        (
            lambda: bound_update(
                torch.zeros(3, 2), torch.zeros(3, 3), 1.0, fixed=torch.zeros(3)
            ),
            "fixed",
        ),
        (lambda: transduce(torch.zeros(3, 2), torch.tensor([0, 0, -1]), 2), "a class without one"),
        (
            lambda: transduce(torch.zeros(3, 2), torch.tensor([0, 1, -1]), 2, strength=1.0),
            "affinity: expected a matrix",
        ),
        (
            lambda: transduce(torch.zeros(2, 2), torch.tensor([0, 1]), 2, method="median"),
            "method",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_named(call, named):
    with pytest.raises(InputError, match=named):
        call()
