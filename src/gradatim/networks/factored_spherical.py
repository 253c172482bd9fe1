"""An output layer for very many classes, whose training step does not depend on their number."""

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import nn

from gradatim.core.checks import check_range, check_shape
from gradatim.core.errors import InputError
from gradatim.core.search import TopK, top_k
from gradatim.networks.factored_autograd import GradientTap, SphericalBatch, SphericalSums
from gradatim.networks.factored_update import (
    Columns,
    SphericalGradient,
    next_inverse,
    step_factors,
)

Sums = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

_BLOCK = 1 << 16  # rows of V that are rewritten at a time
_SMALLEST, _LARGEST = 0.5, 2.0  # singular values of U that stabilization leaves alone
_UNSOUND = 20.0  # growth of a hidden vector by the inverse of U that cannot wait
_DTYPES = (torch.float32, torch.float64)
_SINGULAR = 1e6  # the same, which the factors cannot hold


class FactoredSphericalLinear(nn.Module):
    r"""A linear output layer that gives the losses of the spherical family what they need.

    .. math:: o = W h, \qquad W = V U + 1 \omega^\top \in R^{D \times d}

    Forward it gives the label's output, the sum of the squared outputs and the sum of the outputs;
    backward the exact gradient by h; and a step of its own optimizer, ``FactoredSGD`` in
    ``gradatim.training.factored_sgd``, changes W exactly as plain SGD would. All of it costs O(d^2)
    an example, however many classes there are: only the labels' rows of V are touched, and the
    d x d matrix U carries the rest.

    The layer has no parameters, only buffers: no optimizer of torch can train it, and one that is
    given ``model.parameters()`` trains the network before it. Backward changes no weight; it keeps
    the gradient for the step. Several backward passes before a step add up exactly.

    V has the layer's precision. What is of size d x d stands in float64, whatever the layer is cast
    to: a hundred thousand steps of rounding would tell otherwise.

    Args:
        in_features: width of the hidden vectors.
        num_classes: D, at least 2.
        bias: value of a constant column that is appended to the hidden vectors, whose weights are
            then a bias a class; 0 for none. The bias learns at the rate times the square of it.
        std: deviation of the initial weights, above 0: the Z-loss is not defined for none.
        generator: what the initial weights are drawn from.
        device: where the layer stands.
        dtype: precision of V, float32 or float64.

    Raises:
        InputError: an argument outside its range.

    Source: Vincent, de Brébisson and Bouthillier 2015, arXiv 1412.7091, algorithms 1 to 4. Beyond
    it: weight decay also scales Q and W'1; gradients of several batches add up; a step whose U
    would be singular is made in the full weights.

    >>> from gradatim.objectives.spherical import z_loss
    >>> layer = FactoredSphericalLinear(8, num_classes=1000).eval()
    >>> sums = layer(torch.randn(4, 8), torch.tensor([3, 1, 999, 3]))
    >>> z_loss(*sums, num_classes=1000, reduction="none").shape
    torch.Size([4])
    """

    V: torch.Tensor
    factors: torch.Tensor

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        bias: float = 0.0,
        std: float = 0.001,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        check_range("in_features", in_features, 1)
        check_range("num_classes", num_classes, 2)
        check_range("bias", bias)
        check_range("std", std, 0, open_low=True)
        if dtype not in _DTYPES:
            raise InputError(f"dtype: expected float32 or float64, got {dtype}")
        self.in_features, self.num_classes, self.bias = in_features, num_classes, bias
        width = in_features + (bias != 0)
        self.columns = Columns(width)
        rows = torch.empty(num_classes, width, device=device, dtype=dtype)
        self.register_buffer("V", rows.normal_(0, std, generator=generator))
        self.register_buffer("factors", rows.new_zeros(width, 3 * width + 2, dtype=torch.float64))
        self.gradient: SphericalGradient | None = None
        self._gram_hidden: torch.Tensor | None = None
        self._norm: torch.Tensor | None = None
        self.steps = 0
        self.stand_in: torch.Tensor | None = None
        self._reset_factors()

    def extra_repr(self) -> str:
        """The sizes, as torch prints those of its layers."""
        return f"in_features={self.in_features}, num_classes={self.num_classes}, bias={self.bias}"

    def forward(self, hidden: torch.Tensor, labels: torch.Tensor) -> Sums:
        """Sums of the outputs, as the spherical losses take them.

        In training mode with gradients the layer takes part in the backward pass; in evaluation
        mode a gradient flows to the hidden vectors alone.

        Args:
            hidden: h, shape [m, in_features].
            labels: class of each example, integers in [0, D), shape [m].

        Returns:
            The label's output, the sum of squares and the sum, shape [m] each, in float64.

        Raises:
            InputError: the shapes do not fit, a label is no class, or the layer is to be trained
                and no FactoredSGD has been made for it.
        """
        check_shape("hidden", hidden, "m", self.in_features)
        check_shape("labels", labels, len(hidden))
        training = self.training and torch.is_grad_enabled()
        if training and self.stand_in is None:
            raise InputError(
                "FactoredSphericalLinear: expected FactoredSGD(layer, lr=...) to be made before "
                "training, got none; optimizers of torch cannot train the layer, which has no "
                "parameters (for evaluation: layer.eval() or torch.no_grad())"
            )
        batch = SphericalBatch(self)
        tap = _apply(GradientTap, self.stand_in, batch) if training else None
        return cast(Sums, _apply(SphericalSums, self._widened(hidden), tap, labels, batch))

    def rows_of(self, labels: torch.Tensor) -> torch.Tensor:
        """Rows of W for some classes, shape [m, d], float64.

        Args:
            labels: integers in [0, D), shape [m].

        Raises:
            InputError: a label is no class.
        """
        try:
            rows = self.V.index_select(0, labels)
        except IndexError:
            raise InputError(
                f"labels: expected classes from 0 to {self.num_classes - 1}, "
                f"got {int(labels.min())} to {int(labels.max())}"
            ) from None
        mixing = self._matrix("mixing").T
        return torch.addmm(self._matrix("shift"), rows.to(mixing), mixing)

    def weight(self) -> torch.Tensor:
        """W in full, a copy of shape [D, d] in V's precision; a bias is the last column."""
        return self.V @ self._matrix("mixing").T.to(self.V) + self._matrix("shift").to(self.V)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """All outputs, shape [m, D], for prediction: O(D d) an example.

        Args:
            hidden: shape [m, in_features].
        """
        check_shape("hidden", hidden, "m", self.in_features)
        wide = self._widened(hidden).to(self.factors)
        mixed, shift = wide @ self._matrix("mixing"), wide @ self._matrix("shift")
        return torch.addmm(shift[:, None].to(self.V), mixed.to(self.V), self.V.T)

    @torch.no_grad()
    def top_k(self, hidden: torch.Tensor, k: int) -> TopK:
        """The k classes with the highest outputs, searched block by block.

        Args:
            hidden: shape [m, in_features].
            k: how many, in [1, D].

        Returns:
            Outputs and classes, shape [m, k] each, the highest first.
        """
        check_shape("hidden", hidden, "m", self.in_features)
        wide = self._widened(hidden).to(self.factors)
        found = top_k((wide @ self._matrix("mixing")).to(self.V), self.V, k, metric="dot")
        shift = (wide @ self._matrix("shift")).to(found.scores)
        return TopK(found.scores + shift[:, None], found.index)

    def forget_gradient(self) -> None:
        """Drop the gradient of past backward passes, as ``zero_grad`` of the optimizer does."""
        self.gradient = self._gram_hidden = None
        if self.stand_in is not None:
            self.stand_in.grad = None

    @torch.no_grad()
    def step(self, lr: float, weight_decay: float = 0.0) -> None:
        r"""Change W to :math:`(1 - \eta \lambda) W - \eta G^\top H`, and drop the gradient.

        Args:
            lr: eta, at least 0.
            weight_decay: lambda, at least 0, with eta lambda below 1.

        Raises:
            InputError: an argument outside its range.
        """
        check_range("lr", lr, 0)
        check_range("weight_decay", weight_decay, 0)
        check_range("lr * weight_decay", lr * weight_decay, 0, 1, open_high=True)
        gradient, gram_hidden = self.gradient, self._gram_hidden
        if gradient is None or gram_hidden is None or self.stand_in is None:
            return
        lr, keep = lr * self._rescaling(), 1 - lr * weight_decay
        rows = next_inverse(gradient, self.factors, lr / keep)
        growth = _largest(rows) / (_largest(gradient.hidden) or 1.0)
        singular = not growth <= _SINGULAR
        if singular:
            rows = torch.zeros_like(rows)
        step_factors(
            self.factors, self.columns, gradient, gram_hidden, rows, self.num_classes, lr, keep
        )
        if singular:
            self._unfactor()
            rows = gradient.hidden * keep
        change = gradient.by_label.mul(-lr / keep)[:, None] * rows
        self.V.index_add_(0, gradient.labels, change.to(self.V.dtype))
        self.steps += 1
        self.forget_gradient()
        if growth > _UNSOUND:
            self.stabilize()

    @torch.no_grad()
    def stabilize(self) -> None:
        """Bring the singular values of U that have left [0.5, 2] back to 1; W stays as it is.

        V takes up what U gives off, at O(D d) a singular value; where it is a third of them, V is
        rewritten as W. The inverse of U is computed anew.
        """
        left, values, right = torch.linalg.svd(self._matrix("mixing").T)
        out = (values < _SMALLEST) | (values > _LARGEST)
        if 3 * int(out.sum()) > len(values):
            self._unfactor()
            self._reset_factors()
            return
        if bool(out.any()):
            vectors, given = left[:, out].to(self.V), (values[out] - 1).to(self.V)
            for block in self._blocks():
                block.addmm_((block @ vectors) * given, vectors.T)
            values = torch.where(out, 1.0, values)
            self._matrix("mixing").copy_(((left * values) @ right).T)
        self._matrix("inverse").copy_((right.T / values) @ left.T)

    @torch.no_grad()
    def check(self) -> dict[str, float]:
        """How far the factors have drifted from the weights, at O(D d^2).

        Returns:
            Largest relative error of ``squares`` (Q) and ``sums`` (W'1), largest error of
            ``inverse`` (that of U times U), and the extreme singular values of U.
        """
        squares, sums = self._totals(self.weight())
        mixing = self._matrix("mixing").T
        values = torch.linalg.svdvals(mixing)
        identity = torch.eye(len(mixing)).to(mixing)
        return {
            "squares": _difference(self._matrix("squares"), squares),
            "sums": _difference(self._matrix("sums"), sums),
            "inverse": float((mixing @ self._matrix("inverse") - identity).abs().max()),
            "smallest_singular_value": float(values[-1]),
            "largest_singular_value": float(values[0]),
        }

    def _matrix(self, name: str) -> torch.Tensor:
        """A part of the factors, in its place; ``mixing`` is U transposed."""
        return self.factors[:, getattr(self.columns, name)]

    def _widened(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden vectors with the constant column of the bias."""
        return nn.functional.pad(hidden, (0, 1), value=self.bias) if self.bias else hidden

    def _blocks(self) -> Iterator[torch.Tensor]:
        return iter(torch.split(self.V, _BLOCK))

    def _totals(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """W'W and W'1 in float64."""
        squares = torch.zeros_like(self._matrix("squares"))
        sums = torch.zeros_like(self._matrix("sums"))
        for block in torch.split(weight, _BLOCK):
            part = block.to(squares)
            squares.addmm_(part.T, part)
            sums += part.sum(0)
        return squares, sums

    def _unfactor(self) -> None:
        """Rewrite V as W; U is the identity and omega zero."""
        mixing, shift = self._matrix("mixing").T.to(self.V), self._matrix("shift").to(self.V)
        for block in self._blocks():
            block.copy_(torch.addmm(shift, block, mixing))
        self._reset_mixing()

    def _reset_mixing(self) -> None:
        self._matrix("shift").zero_()
        for name in ("mixing", "inverse"):
            self._matrix(name).zero_().fill_diagonal_(1)

    def _reset_factors(self) -> None:
        """The factors of V alone."""
        self._reset_mixing()
        squares, sums = self._totals(self.V)
        self._matrix("squares").copy_(squares)
        self._matrix("sums").copy_(sums)

    def _rescaling(self) -> float:
        """By what factor the gradient has been scaled through its norm in the stand-in."""
        grad = self.stand_in.grad if self.stand_in is not None else None
        return 1.0 if grad is None or not self._norm else float(grad) / float(self._norm)

    def record(self, gradient: SphericalGradient) -> torch.Tensor:
        """Add a batch's gradient, as backward does.

        Args:
            gradient: of a batch that the present weights have seen.

        Returns:
            By how much the norm of the whole gradient has grown.
        """
        self.gradient = gradient if self.gradient is None else self.gradient.joined(gradient)
        self._gram_hidden = self.gradient.gram_times_hidden(self.num_classes)
        square = torch.vdot(self.gradient.hidden.flatten(), self._gram_hidden.flatten())
        self._norm = square.clamp_(min=0).sqrt_()  # the root of the trace of H'GG'H
        grad = self.stand_in.grad if self.stand_in is not None else None
        return self._norm.clone() if grad is None else self._norm - grad

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        """Move the layer; a cast neither touches the factors nor takes V below float32."""

        def kept(tensor: torch.Tensor) -> torch.Tensor:
            changed = fn(tensor)
            same = tensor is self.factors or changed.dtype not in _DTYPES
            return tensor.to(changed.device) if same else changed

        super()._apply(kept, recurse)  # type: ignore[no-untyped-call]
        self.forget_gradient()
        if self.stand_in is not None:
            self.stand_in.data = self.stand_in.data.to(self.V.device)
        return self


def _apply(function: type[torch.autograd.Function], *inputs: Any) -> Any:
    return function.apply(*inputs)  # type: ignore[no-untyped-call]


def _largest(values: torch.Tensor) -> float:
    """Largest absolute value."""
    low, high = values.aminmax()  # a fourth of the time of the norm of infinite order
    return max(-float(low), float(high))


def _difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference, as a share of the largest expected entry."""
    return float((found - expected).abs().max() / expected.abs().max())
