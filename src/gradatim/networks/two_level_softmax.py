"""A softmax over groups of classes, then over the classes of the label's group."""

import math

import torch
from torch import nn
from torch.nn import functional

from gradatim.core.checks import check_range, check_shape, reduce
from gradatim.core.errors import InputError


class TwoLevelSoftmax(nn.Module):
    r"""A hierarchical softmax of two levels, for very many classes.

    .. math:: \log p(y \mid h) = \log \mathrm{softmax}(A h)_{g(y)}
        + \log \mathrm{softmax}(B_{g(y)} h)_{r(y)}, \qquad
        g(y) = \lfloor y / S \rfloor, \quad r(y) = y \bmod S

    An example costs O(d (D / S + S)): with S near the root of D, about the root of what a full
    softmax costs. Classes sorted by frequency put frequent ones into few groups, which is best for
    the speed. The gradient of B is sparse: only the groups of a batch's labels are read and
    written, and the optimizer must take sparse gradients (``torch.optim.SGD`` without momentum,
    ``SparseAdam``).

    Args:
        in_features: d, width of the hidden vectors.
        num_classes: D, at least 2.
        group_size: S, at least 1; None takes the root of D, rounded up.

    Raises:
        InputError: an argument outside its range.

    Source: Goodman 2001, arXiv cs/0108006; the baseline of de Brébisson and Vincent 2016, arXiv
    1604.08859.

    >>> softmax = TwoLevelSoftmax(8, 1000)
    >>> softmax(torch.randn(4, 8), torch.tensor([3, 1, 999, 3])).shape
    torch.Size([])
    >>> softmax.log_probabilities(torch.randn(4, 8)).exp().sum(1).round(decimals=3)
    tensor([1., 1., 1., 1.], grad_fn=<RoundBackward1>)
    """

    def __init__(self, in_features: int, num_classes: int, group_size: int | None = None) -> None:
        super().__init__()
        check_range("in_features", in_features, 1)
        check_range("num_classes", num_classes, 2)
        size = math.isqrt(num_classes - 1) + 1 if group_size is None else group_size
        check_range("group_size", size, 1)
        self.in_features, self.num_classes, self.group_size = in_features, num_classes, size
        self.groups = nn.Linear(in_features, -(-num_classes // size), bias=False)
        within = torch.empty(self.groups.out_features, size * in_features)
        self.within = nn.Parameter(within.uniform_(-1, 1) / math.sqrt(in_features))

    def forward(
        self, hidden: torch.Tensor, labels: torch.Tensor, *, reduction: str = "mean"
    ) -> torch.Tensor:
        """Negative log-likelihood of the labels.

        Args:
            hidden: shape [m, in_features].
            labels: class of each example, integers in [0, D), shape [m].
            reduction: "mean", "sum" or "none".

        Returns:
            The loss; shape [m] without reduction.

        Raises:
            InputError: the shapes do not fit, or a label is no class.
        """
        check_shape("hidden", hidden, "m", self.in_features)
        check_shape("labels", labels, len(hidden))
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.num_classes:
            raise InputError(
                f"labels: expected classes from 0 to {self.num_classes - 1}, "
                f"got {int(labels.min())} to {int(labels.max())}"
            )
        group, place = labels // self.group_size, labels % self.group_size
        first = functional.cross_entropy(self.groups(hidden), group, reduction="none")
        return reduce(first + self._within_groups(hidden, group, place), reduction)

    def log_probabilities(self, hidden: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of all classes, for prediction.

        Args:
            hidden: shape [m, in_features].

        Returns:
            Shape [m, D].
        """
        check_shape("hidden", hidden, "m", self.in_features)
        logits = functional.linear(hidden, self.within.view(-1, self.in_features))
        padding = self.within.shape[0] * self.group_size - self.num_classes
        logits[:, self.num_classes :] = -torch.inf
        logits = logits.view(len(hidden), -1, self.group_size)
        first = self.groups(hidden).log_softmax(1)[:, :, None]
        joint: torch.Tensor = (first + logits.log_softmax(2)).flatten(1)
        return joint[:, : joint.shape[1] - padding]

    def _within_groups(
        self, hidden: torch.Tensor, group: torch.Tensor, place: torch.Tensor
    ) -> torch.Tensor:
        """Loss of the second level, shape [m]; each group's matrix is gathered once."""
        met, which, counts = torch.unique(group, return_inverse=True, return_counts=True)
        order = which.argsort(stable=True)
        table = functional.embedding(met, self.within, sparse=True)
        logits = [
            functional.linear(rows, matrix.view(self.group_size, self.in_features))
            for rows, matrix in zip(
                torch.split(hidden[order], counts.tolist()), table.unbind(0), strict=True
            )
        ]
        joined = torch.cat(logits)
        classes = group[order][:, None] * self.group_size
        beyond = classes + torch.arange(self.group_size, device=place.device) >= self.num_classes
        losses = functional.cross_entropy(
            joined.masked_fill(beyond, -torch.inf), place[order], reduction="none"
        )
        return torch.empty_like(losses).index_copy(0, order, losses)
