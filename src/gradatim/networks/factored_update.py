"""The algebra of the factored output layer: what a batch leaves, and the exact step from it.

The weights are ``W = V U + 1 omega'`` of shape [D, d]. All that an update must read or write beside
a few rows of V stands in one matrix of shape [d, 3d + 2], the *factors*: the columns ``Q = W'W``,
``W'1``, ``omega``, ``U'`` and the inverse of U. One product with the batch reads them, and one
product writes them.
"""

from dataclasses import dataclass, fields

import torch


class Columns:
    """Where each part stands among the columns of the factors.

    Args:
        d: width of the hidden vectors.

    Attributes:
        squares: Q, the products of the columns of W, [d, d].
        sums: the sums of the columns of W, [d].
        shift: omega, which is added to every row of V U, [d].
        mixing: U transposed, [d, d].
        inverse: the inverse of U, [d, d].

    >>> columns = Columns(4)
    >>> columns.sums, columns.inverse
    (4, slice(10, 14, None))
    """

    def __init__(self, d: int) -> None:
        self.d = d
        self.squares = slice(0, d)
        self.sums, self.shift = d, d + 1
        self.mixing = slice(d + 2, 2 * d + 2)
        self.inverse = slice(2 * d + 2, 3 * d + 2)


@dataclass(frozen=True)
class SphericalGradient:
    r"""The gradient of the outputs, :math:`G = 2 g_q o + g_s 1' + g_a e_y'`, without the outputs.

    Attributes:
        hidden: H, shape [m, d].
        labels: class y of each example, shape [m].
        products: H times the factors, shape [m, 3d + 2].
        by_label: derivative of the loss by the label's output, shape [m].
        by_sum: derivative by the sum of the outputs, shape [m].
        twice: two times the derivative by the sum of the squared outputs, shape [m, 1].
        by_rest: the part of ``by_hidden`` that does not come from the squares, shape [m, d].
        by_hidden: G W, the derivative by H, shape [m, d].
    """

    hidden: torch.Tensor
    labels: torch.Tensor
    products: torch.Tensor
    by_label: torch.Tensor
    by_sum: torch.Tensor
    twice: torch.Tensor
    by_rest: torch.Tensor
    by_hidden: torch.Tensor

    def joined(self, other: "SphericalGradient") -> "SphericalGradient":
        """The gradient of both batches, which have seen the same weights."""
        parts = {
            one.name: torch.cat([getattr(self, one.name), getattr(other, one.name)])
            for one in fields(self)
        }
        return SphericalGradient(**parts)

    def gram_times_hidden(self, num_classes: int) -> torch.Tensor:
        """G G' H, shape [m, d], without the m x D gradient.

        Args:
            num_classes: D.
        """
        hidden, width = self.hidden, self.hidden.shape[1]
        scaled, by_sum = self.twice * hidden, self.by_sum
        other = torch.add(self.by_label, by_sum, alpha=num_classes)
        if len(hidden) > width:
            _, place = torch.unique(self.labels, return_inverse=True)
            own = self.by_label[:, None]
            by_class = torch.zeros_like(hidden).index_add_(0, place, own * hidden)
            product = own * by_class[place]
            product.addmm_(scaled, self.by_hidden.T @ hidden)
            product.addmm_(self.by_rest, scaled.T @ hidden)
            return product.addr_(other, by_sum @ hidden).addr_(by_sum, self.by_label @ hidden)
        gram = torch.outer(self.by_label, self.by_label)
        gram.mul_(self.labels[:, None] == self.labels)
        gram.addmm_(scaled, self.by_hidden.T).addmm_(self.by_rest, scaled.T)
        gram.addr_(other, by_sum).addr_(by_sum, self.by_label)
        return gram @ hidden


def next_inverse(gradient: SphericalGradient, factors: torch.Tensor, rate: float) -> torch.Tensor:
    r"""H times the inverse of the next U, by Woodbury, without the factor of weight decay.

    .. math:: (I_m - \eta H H' S)^{-1} H U^{-1} = H (I_d - \eta H' S H)^{-1} U^{-1},
        \qquad S = 2\,\mathrm{diag}(g_q)

    The smaller of the two systems is solved.

    Args:
        gradient: of a batch.
        factors: as they stand, shape [d, 3d + 2].
        rate: eta, the learning rate over what weight decay leaves.

    Returns:
        The product, shape [m, d]; not finite, or very large, where the next U is singular.
    """
    hidden, width = gradient.hidden, gradient.hidden.shape[1]
    scaled = gradient.twice * hidden
    inverse = slice(2 * width + 2, None)
    if len(hidden) <= width:
        system = torch.eye(len(hidden), dtype=hidden.dtype, device=hidden.device)
        system.addmm_(hidden, scaled.T, alpha=-rate)
        rows: torch.Tensor = torch.linalg.solve_ex(system, gradient.products[:, inverse])[0]
    else:
        system = torch.eye(width, dtype=hidden.dtype, device=hidden.device)
        system.addmm_(scaled.T, hidden, alpha=-rate)
        rows = hidden @ torch.linalg.solve_ex(system, factors[:, inverse])[0]
    return rows


def step_factors(
    factors: torch.Tensor,
    columns: Columns,
    gradient: SphericalGradient,
    gram_hidden: torch.Tensor,
    inverse_rows: torch.Tensor,
    num_classes: int,
    lr: float,
    keep: float,
) -> None:
    r"""Bring the factors to those of :math:`r W - \eta G' H`, in place.

    .. math::
        U &\leftarrow r U - \eta U H' S H \\
        \omega &\leftarrow r \omega - \eta H' (S H \omega + g_s) \\
        W'1 &\leftarrow r W'1 - \eta H' (S H W'1 + D g_s + g_a) \\
        Q &\leftarrow r^2 Q + H'X + X'H, \qquad
            X = \tfrac12 \eta^2 G G' H - \eta r\, G W

    Args:
        factors: shape [d, 3d + 2].
        columns: where their parts stand.
        gradient: of the batch, seen by these factors.
        gram_hidden: G G' H, shape [m, d].
        inverse_rows: what :func:`next_inverse` returns, shape [m, d].
        num_classes: D.
        lr: eta.
        keep: r, what weight decay leaves: one minus eta times its strength.
    """
    squares = columns.squares
    change = gradient.twice.mul(-lr) * gradient.products
    cross = torch.mul(gradient.by_hidden, -lr * keep, out=change[:, squares])
    cross.add_(gram_hidden, alpha=lr * lr / 2)
    change[:, columns.sums].sub_(gradient.by_sum, alpha=lr * num_classes)
    change[:, columns.sums].sub_(gradient.by_label, alpha=lr)
    change[:, columns.shift].sub_(gradient.by_sum, alpha=lr)
    torch.mul(gradient.twice.mul(lr / keep), inverse_rows, out=change[:, columns.inverse])
    if keep != 1:
        factors.mul_(keep)
        factors[:, squares].mul_(keep)
        factors[:, columns.inverse].div_(keep**2)
        change[:, columns.inverse].div_(keep)
    factors.addmm_(gradient.hidden.T, change)
    factors[:, squares].addmm_(cross.T, gradient.hidden)
