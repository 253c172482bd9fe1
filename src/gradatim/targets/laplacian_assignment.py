"""Assignments to prototypes that neighbours share: the Laplacian term, its bound, and the loop."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from gradatim.core.checks import check_choice, check_range, check_shape
from gradatim.core.errors import InputError
from gradatim.core.search import top_k
from gradatim.targets.prototype_clustering import (
    class_means,
    kernel_costs,
    mean_shift,
    members,
    squared_distances,
)

ClusteringMethod: TypeAlias = Literal["kmeans", "kmodes"]


@dataclass(frozen=True)
class BoundUpdate:
    """What the bound optimizer found.

    Attributes:
        assignments: probabilities of the clusters, shape [..., N, K].
        energies: the relaxed energy at the start and after each update, shape [updates + 1, ...].
    """

    assignments: Tensor
    energies: Tensor


@dataclass(frozen=True)
class Transduction:
    """A task whose rows without a label got one.

    Attributes:
        labels: cluster of each row, int64, shape [..., N].
        assignments: probabilities of the clusters, shape [..., N, K].
        prototypes: means or modes, shape [..., K, D].
        energy: of the last assignments, shape [...].
        width: sigma of the kernel; 1 for k-means, which has none; shape [...].
        iterations: how often prototypes were moved.
    """

    labels: Tensor
    assignments: Tensor
    prototypes: Tensor
    energy: Tensor
    width: Tensor
    iterations: int


def knn_affinity(
    features: Tensor, neighbours: int = 2, *, symmetric: bool = True, shift: bool = False
) -> Tensor:
    r"""Affinity between each row and its nearest others.

    .. math:: A_{pq} = [q \in \mathrm{nn}(p)], \qquad W = \tfrac12 (A + A^\top)
        \; \bigl( + \, \mathrm{diag}(W \mathbf 1) \bigr)

    Averaging with the transpose leaves every quadratic form as it is. The shift of the diagonal
    makes W positive semi-definite, so that parallel updates cannot raise the energy; it adds a
    constant to the energy of assignments that are certain.

    Args:
        features: shape [N, D].
        neighbours: how many others a row has, below N (the paper counts the row too: knn - 1).
        symmetric: average with the transpose.
        shift: add the row sums to the diagonal.

    Returns:
        A sparse matrix in coordinate form, of the features' type, shape [N, N].

    Raises:
        InputError: another shape, or more neighbours than other rows.

    Source: Ziko et al. 2021, arXiv 2106.09516; its code neither averages nor shifts.

    >>> knn_affinity(torch.tensor([[0.0], [1.0], [3.0]]), 1).to_dense()
    tensor([[0.0000, 1.0000, 0.0000],
            [1.0000, 0.0000, 0.5000],
            [0.0000, 0.5000, 0.0000]])
    """
    check_shape("features", features, "N", "D")
    size = len(features)
    check_range("neighbours", neighbours, 1, size - 1)
    row = torch.arange(size, device=features.device)
    near = top_k(features, features, neighbours, metric="l2", exclude=row[:, None]).index
    at = torch.stack([row.repeat_interleave(neighbours), near.flatten()])
    if symmetric:
        at = torch.cat([at, at.flip(0)], 1)
    weights = features.new_full((at.shape[1],), 0.5 if symmetric else 1.0)
    if shift:
        degrees = features.new_zeros(size).index_add_(0, at[0], weights)
        at, weights = torch.cat([at, torch.stack([row, row])], 1), torch.cat([weights, degrees])
    matrix = torch.sparse_coo_tensor(at, weights, (size, size), check_invariants=False)
    return matrix.coalesce()


def kernel_width(features: Tensor, affinity: Tensor, neighbours: float = 5.0) -> Tensor:
    r"""Width of the Gaussian kernel, from the distances between neighbours.

    .. math:: \sigma^2 = \frac{1}{k N} \sum_{pq} w_{pq} \lVert x_p - x_q \rVert^2

    The authors' code divides by k = 5 whatever the number of neighbours; where W has two entries a
    row, sigma is smaller than the distance between neighbours.

    Args:
        features: floating point, shape [..., N, D].
        affinity: W, shape [..., N, N]; for a single task it may be sparse.
        neighbours: k, above 0.

    Returns:
        sigma, of the features' type, shape [...].

    Raises:
        InputError: the shapes do not fit, or k is not above 0.

    Source: the authors' code of Ziko et al. 2021, arXiv 2106.09516.

    >>> rows = torch.tensor([[0.0], [2.0]])
    >>> kernel_width(rows, knn_affinity(rows, 1), 1.0)
    tensor(2.)
    """
    _check_affinity(features, affinity)
    check_range("neighbours", neighbours, 0, open_low=True)
    size = features.shape[-2]
    weights = affinity.double()
    ones = torch.ones((*features.shape[:-1], 1), dtype=torch.float64, device=features.device)
    degrees = weights @ ones + weights.transpose(-1, -2) @ ones
    total = torch.zeros(features.shape[:-2], dtype=torch.float64, device=features.device)
    centred = features - features.mean(-2, keepdim=True)
    for start in range(0, centred.shape[-1], 16):
        x = centred[..., start : start + 16].double()
        total = total + (degrees * x.square() - 2.0 * x * (weights @ x)).sum((-1, -2))
    return (total / (neighbours * size)).clamp(min=0.0).sqrt().to(features.dtype)


def laplacian_prototype_energy(
    assignments: Tensor, costs: Tensor, affinity: Tensor, strength: float
) -> Tensor:
    r"""The relaxed energy of assignments to prototypes.

    .. math:: R(S) = \sum_p a_p^\top s_p + \sum_p s_p^\top \log s_p
        - \frac{\lambda}{2} \sum_{pq} w_{pq} \, s_p^\top s_q

    Where assignments are certain, its last term is, up to a constant, the Laplacian term
    :math:`\frac{\lambda}{4} \sum_{pq} w_{pq} \lVert s_p - s_q \rVert^2`.

    Args:
        assignments: S, rows on the simplex, shape [..., N, K].
        costs: a, shape [..., N, K].
        affinity: W, shape [..., N, N]; for a single task it may be sparse.
        strength: lambda.

    Returns:
        Energies, shape [...].

    Raises:
        InputError: the shapes do not fit.

    Source: Ziko et al. 2021, arXiv 2106.09516; written for ordered pairs, so that
    :func:`bound_update` lowers it.

    >>> laplacian_prototype_energy(torch.eye(2), torch.ones(2, 2), torch.eye(2), 1.0)
    tensor(1.)
    """
    _check_costs(costs, affinity, assignments)
    return _energy(assignments, costs, affinity @ assignments, strength)


def _energy(assignments: Tensor, costs: Tensor, shared: Tensor, strength: float) -> Tensor:
    """The energy, from what neighbours share: the product of affinity and assignments."""
    terms = (costs - 0.5 * strength * shared) * assignments
    return (terms + torch.xlogy(assignments, assignments)).sum((-1, -2))


@torch.no_grad()
def bound_update(
    costs: Tensor,
    affinity: Tensor,
    strength: float,
    *,
    start: Tensor | None = None,
    fixed: Tensor | None = None,
    tol: float = 1e-7,
    max_iter: int = 600,
) -> BoundUpdate:
    r"""Lower the relaxed energy by updates of all rows at once.

    .. math:: s_p \leftarrow \operatorname{softmax} \Bigl( - a_p + \lambda \sum_q w_{pq} s_q \Bigr)

    Each is the minimum of a bound that touches the energy, its last term replaced by the tangent.
    If W is symmetric and positive semi-definite the energy never rises; otherwise it may, and
    updates may oscillate.

    Args:
        costs: a, floating point, shape [..., N, K].
        affinity: W, shape [..., N, N]; for a single task it may be sparse.
        strength: lambda, at least 0.
        start: assignments to start from, shape [..., N, K]; softmax(-a) by default.
        fixed: rows that keep their start, boolean, shape [..., N]. The authors' code lets them
            move.
        tol: a task rests when an update changes its energy by no more than this share.
        max_iter: most updates.

    Returns:
        Assignments, and the energies on the way.

    Raises:
        InputError: the shapes do not fit, or a number is out of range.

    Source: Ziko et al. 2021, arXiv 2106.09516.

    >>> bound_update(torch.zeros(1, 2), torch.ones(1, 1), 0.0).assignments
    tensor([[0.5000, 0.5000]])
    """
    check_range("strength", strength, 0)
    check_range("tol", tol, 0)
    check_range("max_iter", max_iter, 1)
    current = (-costs).softmax(-1) if start is None else start
    _check_costs(costs, affinity, current)
    stays = torch.zeros(costs.shape[:-1], dtype=torch.bool, device=costs.device)
    if fixed is not None:
        if fixed.shape != costs.shape[:-1] or fixed.dtype != torch.bool:
            raise InputError(
                f"fixed: expected booleans of shape {list(costs.shape[:-1])}, "
                f"got {fixed.dtype} of shape {list(fixed.shape)}"
            )
        stays = fixed
    shared = affinity @ current
    energies = [_energy(current, costs, shared, strength)]
    for _ in range(max_iter):
        new = (strength * shared - costs).softmax(-1)
        current = torch.where(stays.unsqueeze(-1), current, new)
        shared = affinity @ current
        last, now = energies[-1], _energy(current, costs, shared, strength)
        energies.append(now)
        rests = (now - last).abs() <= tol * last.abs()
        if bool(rests.all()):
            break
        stays = stays | rests.unsqueeze(-1)
    return BoundUpdate(current, torch.stack(energies))


@torch.no_grad()
def transduce(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    *,
    method: ClusteringMethod = "kmeans",
    strength: float = 0.0,
    affinity: Tensor | None = None,
    fix_labels: bool = True,
    tol: float = 1e-4,
    max_iter: int = 100,
) -> Transduction:
    r"""Cluster tasks around prototypes that start at the means of their labelled rows.

    Prototypes are moved (to the means of their clusters, or by mean-shift to modes), then rows are
    assigned: to the nearest prototype, or, for lambda above 0, by :func:`bound_update` with costs

    .. math:: a_{pk} = \lVert x_p - m_k \rVert^2 \; \text{(kmeans)}, \qquad
        a_{pk} = - e^{- \lVert x_p - m_k \rVert^2 / (2 \sigma^2)} \; \text{(kmodes)}

    until the energy settles. A task ends before one of its clusters would become empty.

    Args:
        features: floating point, shape [N, D], or [E, N, D] for tasks of one size.
        labels: class of each row, -1 for none, integers, shape [..., N]; each class must occur in
            each task.
        num_classes: K.
        method: "kmeans" or "kmodes".
        strength: lambda of the Laplacian term, at least 0.
        affinity: W, shape [..., N, N]; needed where lambda is above 0 or the method is "kmodes".
        fix_labels: hold labelled rows in their classes, as the paper has it; if not, they only
            start there, as in its code.
        tol: relative change of the energy at which a task rests.
        max_iter: most moves of the prototypes.

    Returns:
        Labels, assignments (softmax(-a) for lambda = 0), prototypes and energies.

    Raises:
        InputError: the shapes do not fit, a class without a row, or a number out of range.

    Source: Ziko et al. 2021, arXiv 2106.09516.

    >>> rows = torch.tensor([[0.0], [1.0], [8.0], [9.0]])
    >>> transduce(rows, torch.tensor([0, -1, 1, -1]), 2).labels
    tensor([0, 0, 1, 1])
    """
    check_choice("method", method, ("kmeans", "kmodes"))
    check_range("strength", strength, 0)
    check_range("tol", tol, 0)
    check_range("max_iter", max_iter, 1)
    task = _Task(features, labels, num_classes, method, strength, affinity, fix_labels)
    iterations = 0
    while iterations < max_iter and not bool(task.rests.all()):
        task.advance(tol)
        iterations += 1
    return Transduction(
        task.labels, task.assignments, task.prototypes, task.energy, task.width, iterations
    )


class _Task:
    """Tasks on their way; those that rest no longer change."""

    def __init__(
        self,
        features: Tensor,
        labels: Tensor,
        num_classes: int,
        method: ClusteringMethod,
        strength: float,
        affinity: Tensor | None,
        fix_labels: bool,
    ) -> None:
        if affinity is None and (strength > 0 or method == "kmodes"):
            raise InputError("affinity: expected a matrix for kmodes or strength above 0, got None")
        if affinity is not None:
            _check_affinity(features, affinity)
        self.features, self.affinity = features, affinity
        self.method, self.strength = method, strength
        self.given = members(labels, num_classes, features)
        if not bool((self.given.sum(-2) > 0).all()):
            raise InputError(
                f"labels: expected rows of each of {num_classes} classes in each task, "
                "got a class without one"
            )
        self.known = labels >= 0
        self.held = self.known & fix_labels
        self.prototypes = class_means(features, labels, num_classes)
        self.width = features.new_ones(features.shape[:-2])
        if method == "kmodes" and affinity is not None:
            self.width = kernel_width(features, affinity)
        nearest = squared_distances(features, self.prototypes).argmin(-1)
        self.labels = torch.where(self.known, labels, nearest)
        self.assignments = members(self.labels, num_classes, features)
        self.energy = torch.full_like(self.width, torch.inf)
        self.rests = torch.zeros_like(self.width, dtype=torch.bool)

    def advance(self, tol: float) -> None:
        """Move the prototypes of the tasks that do not rest, and assign their rows."""
        at: Any = (~self.rests).nonzero().squeeze(1) if self.rests.ndim else ...
        x, old, count = self.features[at], self.labels[at], self.prototypes.shape[-2]
        if self.method == "kmeans":
            prototypes = class_means(x, old, count)
            distances = costs = squared_distances(x, prototypes)
        else:
            prototypes = mean_shift(x, old, self.prototypes[at], self.width[at])
            distances = squared_distances(x, prototypes)
            costs = kernel_costs(x, prototypes, self.width[at])
        assignments, labels, energy = self.assign(at, costs, distances)
        full = (members(labels, count, x).sum(-2) > 0).all(-1)
        last = self.energy[at]
        settled = ((energy - last).abs() <= tol * last.abs()) & last.isfinite()
        if self.strength == 0:
            settled = settled | (labels == old).all(-1)
        wide = full[..., None, None]
        self.rests[at] = ~full | settled
        self.labels[at] = torch.where(full[..., None], labels, old)
        self.energy[at] = torch.where(full, energy, last)
        self.assignments[at] = torch.where(wide, assignments, self.assignments[at])
        self.prototypes[at] = torch.where(wide, prototypes, self.prototypes[at])

    def assign(self, at: Any, costs: Tensor, distances: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Assignments, labels and energies for prototypes at these costs and distances."""
        soft, given, held = (-costs).softmax(-1), self.given[at], self.held[at]
        if self.strength > 0 and self.affinity is not None:
            affinity = self.affinity if at is ... else self.affinity[at]
            start = torch.where(self.known[at].unsqueeze(-1), given, soft)
            found = bound_update(costs, affinity, self.strength, start=start, fixed=held)
            return found.assignments, found.assignments.argmax(-1), found.energies[-1]
        labels = torch.where(held, given.argmax(-1), distances.argmin(-1))
        paid = costs.gather(-1, labels.unsqueeze(-1)).sum((-1, -2))
        return torch.where(held.unsqueeze(-1), given, soft), labels, paid


def _check_affinity(features: Tensor, affinity: Tensor) -> None:
    if features.ndim < 2 or affinity.shape != (*features.shape[:-1], features.shape[-2]):
        raise InputError(
            f"affinity: expected shape [..., N, N] for features [..., N, D], "
            f"got {list(affinity.shape)} for {list(features.shape)}"
        )


def _check_costs(costs: Tensor, affinity: Tensor, assignments: Tensor) -> None:
    _check_affinity(costs, affinity)
    if assignments.shape != costs.shape:
        raise InputError(
            f"assignments: expected the shape of costs {list(costs.shape)}, "
            f"got {list(assignments.shape)}"
        )
