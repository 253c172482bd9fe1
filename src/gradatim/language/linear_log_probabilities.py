"""Log-probabilities behind a linear output layer, with a gradient that is made chunk by chunk."""

from typing import Any

import torch
from torch.nn import functional

from gradatim.core.checks import check_range, check_shape

_LEAST_ROWS = 256
_NUMBERS = 2**24
"""Logits that are held at once, unless that were fewer than so many rows: 64 MB in float32."""


def linear_log_probabilities(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    tokens: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    chunk_tokens: int | None = None,
) -> torch.Tensor:
    r"""Log-probability of one token each, from hidden states and the output layer's weight.

    .. math:: \log p_i = z_{i y_i} - \log \sum_v e^{z_{iv}}, \qquad z = H W^\top + b

    .. math:: \nabla_H = G W, \quad \nabla_W = G^\top H, \quad
        G_{iv} = g_i \left([v = y_i] - p_{iv}\right)

    Logits are made in chunks, in place in one buffer, in the forward pass and again in the backward
    pass. Where hidden states alone need a gradient, as below a frozen output layer, it is made
    in the forward pass already, and only scaled by g in the backward pass.

    Products are in the precision of autocast or else of the arguments; all else, and sums over
    chunks, in float32 (float64 for such arguments).

    Args:
        hidden: shape [N, H].
        weight: shape [V, H], on the same device.
        tokens: y, shape [N].
        bias: b, shape [V].
        chunk_tokens: rows whose logits are held at once at most; None for about 64 MB of logits,
            or 256 rows if that is more.

    Returns:
        Shape [N], in float32 or float64. It can be differentiated any number of times; from the
        second time on, memory is that of all logits.

    Raises:
        InputError: shapes that do not fit, or ``chunk_tokens`` below 1.

    Source: the gradient without logits, Wijmans et al. 2024, arXiv 2411.09009, section 4, here by
    rows alone.

    >>> hidden = torch.zeros(2, 3, requires_grad=True)
    >>> linear_log_probabilities(hidden, torch.eye(4)[:, :3], torch.tensor([0, 3])).tolist()
    [-1.3862943649291992, -1.3862943649291992]
    """
    check_shape("hidden", hidden, "N", "H")
    check_shape("weight", weight, "V", hidden.shape[1])
    check_shape("tokens", tokens, len(hidden))
    if bias is not None:
        check_shape("bias", bias, len(weight))
    rows = max(_LEAST_ROWS, _NUMBERS // max(len(weight), 1))
    if chunk_tokens is not None:
        check_range("chunk_tokens", chunk_tokens, 1)
        rows = min(rows, chunk_tokens)
    others = weight.requires_grad or (bias is not None and bias.requires_grad)
    early = torch.is_grad_enabled() and hidden.requires_grad and not others
    values: torch.Tensor = _LogProbabilities.apply(  # type: ignore[no-untyped-call]
        hidden, weight, bias, tokens, rows, early
    )
    return values


class _Chunks:
    """Logits of some rows at a time, each in the place of those before."""

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype, rows: int
    ) -> None:
        self.precise = torch.promote_types(dtype, torch.float32)
        self.weight = weight.to(dtype)
        self.bias = None if bias is None else bias.to(dtype)
        self.rough = weight.new_empty((rows, len(weight)), dtype=dtype)
        same = dtype == self.precise
        self.exact = self.rough if same else torch.empty_like(self.rough, dtype=self.precise)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits, made in the precision of products, shape [n, V]."""
        found = self.rough[: len(hidden)]
        rows = hidden.to(found.dtype)
        if self.bias is None:
            torch.mm(rows, self.weight.T, out=found)
        else:
            torch.addmm(self.bias, rows, self.weight.T, out=found)
        return found if self.exact is self.rough else self.exact[: len(found)].copy_(found)

    def errors(
        self, scaled: torch.Tensor, tokens: torch.Tensor, added: torch.Tensor
    ) -> torch.Tensor:
        """Add a number a row to scaled probabilities, in their place, at the row's token.

        Returns:
            The sums in the precision of products, shape [n, V].
        """
        scaled.scatter_add_(1, tokens[:, None], added[:, None])
        return scaled if self.exact is self.rough else self.rough[: len(tokens)].copy_(scaled)

    def add_product(self, total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
        """Add a product to a sum that is kept in the finer precision."""
        if total.dtype == right.dtype:
            total.addmm_(left, right)
        else:
            total += left @ right


class _LogProbabilities(torch.autograd.Function):
    """Log-probabilities; for the backward pass the logarithms of their denominators are kept."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        tokens: torch.Tensor,
        rows: int,
        early: bool,
    ) -> torch.Tensor:
        """Chunk by chunk; ``early`` makes what the gradient is a multiple of at once."""
        place = hidden.device.type
        autocast = torch.is_autocast_enabled(place)
        ctx.dtype = torch.get_autocast_dtype(place) if autocast else hidden.dtype
        ctx.rows = rows
        chunks = _Chunks(weight, bias, ctx.dtype, min(rows, len(hidden)))
        values = hidden.new_empty(len(hidden), dtype=chunks.precise)
        logs = torch.empty_like(values)
        direction = torch.empty_like(hidden) if early else None
        for part in _parts(len(hidden), rows):
            found = chunks.logits(hidden[part])
            chosen = found.gather(1, tokens[part, None])[:, 0]
            top = found.amax(dim=1)
            total = found.sub_(top[:, None]).exp_().sum(dim=1)
            values[part] = (chosen - top) - total.log()
            logs[part] = top + total.log()
            if direction is not None:
                scaled = found.div_(-total[:, None])
                errors = chunks.errors(scaled, tokens[part], torch.ones_like(total))
                direction[part] = errors @ chunks.weight
        ctx.save_for_backward(hidden, weight, bias, tokens, logs, direction)
        return values

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The same chunks again, unless the gradient was made in the forward pass."""
        hidden, weight, bias, tokens, logs, direction = ctx.saved_tensors
        wanted, more = ctx.needs_input_grad[:3], (None, None, None)
        if torch.is_grad_enabled():  # the gradient is to be differentiated itself
            inputs = [
                one for one, asked in zip((hidden, weight, bias), wanted, strict=True) if asked
            ]
            values = _all_at_once(hidden, weight, bias, tokens, ctx.dtype)
            given = iter(torch.autograd.grad(values, inputs, gradient, create_graph=True))
            return (*(next(given) if asked else None for asked in wanted), *more)
        if direction is not None:
            return (direction * gradient[:, None].to(direction.dtype), None, None, *more)
        chunks = _Chunks(weight, bias, ctx.dtype, min(ctx.rows, len(hidden)))
        of_hidden = torch.empty_like(hidden) if wanted[0] else None
        of_weight = torch.zeros_like(weight, dtype=chunks.precise) if wanted[1] else None
        of_bias = torch.zeros_like(bias, dtype=chunks.precise) if wanted[2] else None
        for part in _parts(len(hidden), ctx.rows):
            found = chunks.logits(hidden[part]).sub_(logs[part, None]).exp_()
            scale = gradient[part]
            errors = chunks.errors(found.mul_(-scale[:, None]), tokens[part], scale)
            if of_hidden is not None:
                of_hidden[part] = errors @ chunks.weight
            if of_weight is not None:
                chunks.add_product(of_weight, errors.T, hidden[part].to(ctx.dtype))
            if of_bias is not None:
                of_bias += found.sum(dim=0)
        cast = (
            None if g is None else g.to(like.dtype)
            for g, like in ((of_weight, weight), (of_bias, bias))
        )
        return (of_hidden, *cast, *more)


def _parts(count: int, rows: int) -> list[slice]:
    """So many rows at a time."""
    return [slice(start, min(start + rows, count)) for start in range(0, count, rows)]


def _all_at_once(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    tokens: torch.Tensor,
    dtype: torch.dtype,
) -> torch.Tensor:
    """The same values by automatic differentiation's own operations."""
    logits = functional.linear(
        hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    )
    logits = logits.to(torch.promote_types(dtype, torch.float32))
    return logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(dim=1)
