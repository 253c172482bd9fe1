"""K-means from given prototypes over millions of rows, some of which may be held in clusters."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gradatim.core.checks import check_range, check_shape
from gradatim.core.errors import InputError
from gradatim.targets.labels import check_classes

_BLOCK_SCORES = 1 << 17  # at a time, so that they stay in the processor's cache
_ROWS = 1 << 16
_MOST_MOVED = 0.05  # of all rows; above, margins would not last until the next assignment
_MOST_UNSURE = 0.6  # of all rows; above, to pass over them in order costs less than to pick them


@dataclass(frozen=True)
class Clusters:
    """A clustering around prototypes.

    Attributes:
        labels: cluster of each row, int64, shape [N].
        prototypes: mean of each cluster, shape [K, D].
        energy: sum of squared distances between rows and the prototypes of their clusters.
        iterations: how often rows were assigned.
    """

    labels: Tensor
    prototypes: Tensor
    energy: float
    iterations: int


@torch.no_grad()
def kmeans(
    features: Tensor,
    prototypes: Tensor,
    *,
    labels: Tensor | None = None,
    tol: float = 0.0,
    max_iter: int = 100,
) -> Clusters:
    r"""Lloyd's algorithm from given prototypes, with some rows held in their clusters.

    .. math:: l_p = \arg\min_k \lVert x_p - m_k \rVert^2 \; (l_p = y_p \text{ where given}), \qquad
        m_k = \frac{1}{n_k} \sum_{p : l_p = k} x_p

    Rows are assigned a block at a time by one matrix product, and the sums of clusters are mended
    by the rows that moved. Rows whose cluster the last moves of the prototypes cannot have changed
    are passed over, which leaves the labels as they would be. It ends when no row moves, when the
    energy falls by no more than ``tol`` of itself, or before a cluster would become empty. Of
    equally near prototypes the first is taken.

    Args:
        features: floating point, shape [N, D].
        prototypes: to start from, shape [K, D].
        labels: clusters of the rows that are held, -1 for those that are free, shape [N]; None
            holds no row.
        tol: relative fall of the energy at which to stop; 0 for a fixed point.
        max_iter: most assignments, at least 1.

    Returns:
        Labels, the means of the clusters, and the energy.

    Raises:
        InputError: the shapes do not fit, a label is no cluster, or a number is out of range.

    Source: Lloyd 1982; with rows held: Basu et al. 2002 (constrained k-means); in few-shot tasks:
    Ziko et al. 2021, arXiv 2106.09516.

    >>> found = kmeans(torch.tensor([[0.0], [1.0], [8.0]]), torch.tensor([[0.0], [2.0]]))
    >>> found.labels, found.prototypes.flatten(), found.energy
    (tensor([0, 0, 1]), tensor([0.5000, 8.0000]), 0.5)
    """
    check_shape("features", features, "N", "D")
    check_shape("prototypes", prototypes, "K", features.shape[1])
    check_range("tol", tol, 0)
    check_range("max_iter", max_iter, 1)
    if labels is not None:
        check_shape("labels", labels, len(features))
        check_classes("labels", labels.clamp(min=0), len(prototypes))
    if 0 in (len(features), len(prototypes)):
        raise InputError("features: expected at least one row and one prototype, got none")
    return _Lloyd(features, prototypes, labels).run(tol, max_iter)


class _Lloyd:
    """One run: labels, the sum and size of each cluster, and how sure each label is.

    A score is the squared distance without the row's own squared length. A row's margin is a lower
    bound of the distance between the scores of its cluster and of the second best. It falls with
    every move of the prototypes by as much as scores can have changed, and a row is looked at again
    when its margin no longer tells that the label is the same.
    """

    def __init__(self, features: Tensor, prototypes: Tensor, held: Tensor | None) -> None:
        self.centre = features.mean(0)
        self.features = features - self.centre
        self.prototypes = (prototypes - self.centre).to(features.dtype)
        size, clusters = len(features), len(prototypes)
        device = features.device
        self.lengths = torch.linalg.vector_norm(self.features, dim=1)
        self.labels = torch.full((size,), -1, device=device)
        self.margins = torch.full_like(self.lengths, -torch.inf)
        self.sums = torch.zeros(self.prototypes.shape, dtype=torch.float64, device=device)
        self.sizes = torch.zeros(clusters, dtype=torch.float64, device=device)
        self.block = min(size, max(256, _BLOCK_SCORES // clusters))
        self.scores, self.nearest = self.features.new_empty(2, clusters * self.block)
        # one product with it tells the label and how many prototypes are equally near
        numbers = torch.arange(clusters, device=device)
        self.reader = torch.stack([numbers, torch.ones_like(numbers)]).to(features.dtype)
        self.undo = (self.labels[:0], self.labels[:0])
        self.settles = False
        self.bounded = held is not None  # whether any margin tells something
        if held is not None:
            rows = (held >= 0).nonzero().squeeze(1)
            self.margins[rows] = torch.inf
            self.move(rows, held[rows].long())

    def run(self, tol: float, max_iter: int) -> Clusters:
        """Assign and average in turn; means and energy of the last labels are computed afresh."""
        squares = float(self.lengths.square().sum(dtype=torch.float64))
        energy, iterations = torch.inf, 0
        while iterations < max_iter:
            iterations += 1
            moved = self.move(*self.assign())
            self.settles = moved <= _MOST_MOVED * len(self.labels)
            if iterations > 1 and bool((self.sizes == 0).any()):
                self.labels[self.undo[0]] = self.undo[1]
                break
            own = self.prototypes.double()
            change = (self.sizes[:, None] * own.square() - 2.0 * own * self.sums).sum()
            last, energy = energy, squares + float(change)
            if moved == 0 or (iterations > 1 and last - energy <= tol * abs(last)):
                break
            self.average()
        return self.result(iterations)

    def average(self) -> None:
        """Move the prototypes to the means, and lower the margins; of an empty cluster, nothing."""
        before = self.prototypes
        means = (self.sums / self.sizes[:, None]).to(before.dtype)
        self.prototypes = torch.where(self.sizes[:, None] > 0, means, before)
        if not self.bounded:
            return
        paths = torch.linalg.vector_norm(self.prototypes - before, dim=1)
        rise = self.prototypes.square().sum(1) - before.square().sum(1)
        for start in range(0, len(self.labels), _ROWS):
            part = slice(start, start + _ROWS)
            path = (2.0 * (paths + paths.max())).index_select(0, self.labels[part])
            own = (rise - rise.min()).index_select(0, self.labels[part])
            self.margins[part] -= path.mul_(self.lengths[part]).add_(own)

    def unsure(self) -> Tensor | None:
        """Positions of the rows whose label may be another; None where these are most rows."""
        if not self.bounded:
            return None
        longest = float(torch.linalg.vector_norm(self.prototypes, dim=1).max())
        rounding = 32.0 * torch.finfo(self.features.dtype).eps * longest
        rows = (self.margins <= rounding * (2.0 * self.lengths + longest)).nonzero().squeeze(1)
        return rows if len(rows) < _MOST_UNSURE * len(self.labels) else None

    def assign(self) -> tuple[Tensor, Tensor]:
        """Positions of the rows that move, and their new labels; margins are set anew."""
        rows = self.unsure()
        count = len(self.labels) if rows is None else len(rows)
        bias, factor = self.prototypes.square().sum(1, keepdim=True), -2.0 * self.prototypes
        read = self.features.new_empty(-(-count // self.block), 2, self.block)
        margins = self.features.new_full((count,), -torch.inf)
        far = torch.finfo(self.features.dtype).max / 4
        for number, start in enumerate(range(0, count, self.block)):
            part = slice(start, start + self.block)
            x = self.features[part]
            if rows is not None:
                x = self.features.index_select(0, rows[part])
            shape = (len(bias), len(x))
            scores, nearest = (
                space[: shape[0] * shape[1]].view(shape) for space in (self.scores, self.nearest)
            )
            torch.addmm(bias, factor, x.T, out=scores)
            best = scores.amin(0)
            torch.le(scores, best, out=nearest)
            read[number, :, : len(x)] = self.reader @ nearest
            if self.settles:
                torch.sub(scores.add_(nearest, alpha=far).amin(0), best, out=margins[part])
        found, ties = read.transpose(0, 1).flatten(1)[:, :count]
        labels = found.long()
        tied = (ties != 1).nonzero().squeeze(1)
        if len(tied):
            again = self.features[tied if rows is None else rows[tied]]
            labels[tied] = torch.addmm(bias, factor, again.T).argmin(0)
            margins[tied] = -torch.inf
        if rows is None:
            self.bounded = self.bounded or self.settles
            free = self.margins != torch.inf
            self.margins = torch.where(free, margins, torch.inf)
            moved = ((labels != self.labels) & free).nonzero().squeeze(1)
            return moved, labels[moved]
        self.margins[rows] = margins
        moved = (labels != self.labels[rows]).nonzero().squeeze(1)
        return rows[moved], labels[moved]

    def move(self, rows: Tensor, labels: Tensor) -> int:
        """Give rows their new labels, and mend sums and sizes; returns how many rows moved."""
        self.undo = (rows, self.labels[rows])
        for start in range(0, len(rows), self.block):
            part = slice(start, start + self.block)
            old = self.undo[1][part]
            everything = len(rows) == len(self.features)
            moving = (
                self.features[part] if everything else self.features.index_select(0, rows[part])
            )
            change = moving.new_zeros(len(self.sizes), len(moving))
            change.scatter_(0, labels[part][None], 1.0)
            change.scatter_add_(0, old.clamp(min=0)[None], -(old >= 0).to(change.dtype)[None])
            self.sums += change @ moving
            self.sizes += change.sum(1)
        self.labels[rows] = labels
        return len(rows)

    def result(self, iterations: int) -> Clusters:
        """The clustering, without what rounding left in the sums that were mended."""
        labels = self.labels.clone()
        self.labels.fill_(-1)
        self.sums.zero_(), self.sizes.zero_()
        self.move(torch.arange(len(labels), device=labels.device), labels)
        self.average()
        energy = 0.0
        for start in range(0, len(labels), self.block):
            part = slice(start, start + self.block)
            away = self.features[part] - self.prototypes.index_select(0, labels[part])
            energy += float(away.square().sum(dtype=torch.float64))
        return Clusters(labels, self.prototypes + self.centre, energy, iterations)
