"""The backward pass of the factored output layer, which keeps a gradient and changes no weight.

Two functions share a batch. :class:`SphericalSums` computes the sums, and backward the gradient by
the hidden vectors. :class:`GradientTap` stands between it and the number that stands for the
weights: autograd calls it only if backward is asked for the layer's own gradient, so that a
gradient by the hidden vectors alone (``torch.autograd.grad``) leaves nothing behind.
"""

from typing import Any, Protocol

import torch
from torch.autograd.function import once_differentiable

from gradatim.core.errors import InputError
from gradatim.networks.factored_update import Columns, SphericalGradient


class Factored(Protocol):
    """What the functions need of the layer."""

    factors: torch.Tensor
    columns: Columns
    steps: int

    def rows_of(self, labels: torch.Tensor) -> torch.Tensor:
        """Rows of the weights for some classes."""
        ...

    def record(self, gradient: SphericalGradient) -> torch.Tensor:
        """Keep a batch's gradient; return by how much the norm of the whole has grown."""
        ...


class SphericalBatch:
    """What the two functions below share of a forward pass."""

    def __init__(self, layer: Factored) -> None:
        self.layer, self.steps = layer, layer.steps
        self.gradient: SphericalGradient | None = None


class GradientTap(torch.autograd.Function):
    """Gives the layer a batch's gradient if backward is asked for the layer's own gradient."""

    @staticmethod
    def forward(ctx: Any, stand_in: torch.Tensor, batch: SphericalBatch) -> torch.Tensor:
        """A number that the loss depends on, and that depends on the stand-in."""
        ctx.batch = batch
        return stand_in.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: torch.Tensor) -> tuple[Any, ...]:
        """Give the layer what the sums have found."""
        return ctx.batch.layer.record(ctx.batch.gradient), None


class SphericalSums(torch.autograd.Function):
    """The three sums, and the gradient of what they were computed from."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        tap: torch.Tensor | None,
        labels: torch.Tensor,
        batch: SphericalBatch,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The label's output, the sum of squares and the sum, in the precision of the factors."""
        layer, columns = batch.layer, batch.layer.columns
        wide = hidden.to(layer.factors.dtype)
        read = layer.factors if tap is not None else layer.factors[:, : columns.d + 1]
        products = wide @ read
        rows = layer.rows_of(labels)
        ctx.batch, ctx.dtype = batch, hidden.dtype
        ctx.save_for_backward(wide, labels, products, rows)
        own = (wide * rows).sum(1)
        square = (wide * products[:, columns.squares]).sum(1)
        return own, square, products[:, columns.sums].clone()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, by_label: torch.Tensor, by_square: torch.Tensor, by_sum: torch.Tensor
    ) -> tuple[Any, ...]:
        """The gradient by the hidden vectors, and that of the weights for the tap."""
        batch, (wide, labels, products, rows) = ctx.batch, ctx.saved_tensors
        layer, columns = batch.layer, batch.layer.columns
        if batch.steps != layer.steps:
            raise InputError(
                "backward: expected the weights of the forward pass, got those of a later step; "
                "call backward before the optimizer's step"
            )
        twice = by_square.mul(2.0)[:, None]
        by_rest = torch.outer(by_sum, layer.factors[:, columns.sums])
        by_rest.addcmul_(by_label[:, None], rows)
        by_hidden = torch.addcmul(by_rest, twice, products[:, columns.squares])
        batch.gradient = SphericalGradient(
            wide, labels, products, by_label, by_sum, twice, by_rest, by_hidden
        )
        tapped = by_label.new_zeros(()) if ctx.needs_input_grad[1] else None
        return by_hidden.to(ctx.dtype), tapped, None, None
