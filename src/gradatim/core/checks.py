"""The one validation layer: every check names the argument, what was expected and what came."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gradatim.core.errors import InputError, nearest_names

if TYPE_CHECKING:
    import torch


def check_shape(name: str, value: torch.Tensor, *sizes: int | str) -> None:
    """Check a tensor's shape; free sizes are given as letters, and equal letters must agree.

    Args:
        name: the argument's name.
        value: the tensor.
        sizes: one entry a dimension: a number (exact) or a letter such as ``"B"`` (any).

    Raises:
        InputError: another number of dimensions, another size, or unequal sizes of one letter.

    >>> import torch
    >>> check_shape("logits", torch.zeros(4, 3), "B", "C")
    >>> check_shape("logits", torch.zeros(4), "B", "C")
    Traceback (most recent call last):
    gradatim.core.errors.InputError: logits: expected shape [B, C], got [4]
    """
    bound: dict[str, int] = {}
    fits = value.ndim == len(sizes)
    for got, want in zip(value.shape, sizes, strict=False):
        fits = fits and got == (bound.setdefault(want, got) if isinstance(want, str) else want)
    if not fits:
        expected = ", ".join(str(size) for size in sizes)
        raise InputError(f"{name}: expected shape [{expected}], got {list(value.shape)}")


def check_same_shape(name: str, value: torch.Tensor, other_name: str, other: torch.Tensor) -> None:
    """Check that two tensors have one shape.

    Raises:
        InputError: the shapes differ.
    """
    if value.shape != other.shape:
        raise InputError(
            f"{name}: expected the shape of {other_name} {list(other.shape)}, "
            f"got {list(value.shape)}"
        )


def check_same_length(**values: Any) -> int:
    """Check that all named collections have one length, and return it.

    >>> check_same_length(labels=[0, 1], scores=[0.5, 0.1])
    2
    """
    lengths = {name: len(value) for name, value in values.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InputError(f"expected equal lengths, but {told}")
    return next(iter(lengths.values()))


def check_range(
    name: str,
    value: float,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Check that a number is finite and lies in an interval, closed unless told.

    >>> check_range("momentum", 0.7, 0, 1)
    >>> check_range("momentum", 1.0, 0, 1, open_high=True)
    Traceback (most recent call last):
    gradatim.core.errors.InputError: momentum: expected a number in [0, 1), got 1.0
    """
    below = value <= low if open_low else value < low
    above = value >= high if open_high else value > high
    if below or above or not math.isfinite(value):
        left, right = "(" if open_low or low == -math.inf else "[", ")" if open_high else "]"
        right = ")" if high == math.inf else right
        raise InputError(f"{name}: expected a number in {left}{low}, {high}{right}, got {value}")


def check_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Check that a name is one of several; the error lists them.

    >>> check_choice("reduction", "avg", ("mean", "sum", "none"))
    Traceback (most recent call last):
    gradatim.core.errors.InputError: reduction: expected one of mean, sum, none, got 'avg'
    """
    if value not in choices:
        near = nearest_names(str(value), choices) if len(choices) > 8 else ""
        raise InputError(f"{name}: expected one of {', '.join(choices)}, got {value!r}{near}")


def check_finite(name: str, values: Sequence[float] | np.ndarray | torch.Tensor) -> None:
    """Check that no value is NaN or infinite; the error says how many are, and where the first is.

    >>> check_finite("difficulty", [0.1, float("nan")])
    Traceback (most recent call last):
    gradatim.core.errors.InputError: difficulty: expected finite numbers, got nan at row 1 (1 of 2)
    """
    if not isinstance(values, Sequence | np.ndarray):
        values = values.detach().cpu().double().numpy()
    array = np.asarray(values, dtype=float)
    bad = ~np.isfinite(array)
    if bad.any():
        first = np.argwhere(bad)[0]
        row = ", ".join(str(int(i)) for i in first)
        raise InputError(
            f"{name}: expected finite numbers, got {array[tuple(first)]} at row {row} "
            f"({int(bad.sum())} of {array.size})"
        )


def reduce(values: torch.Tensor, reduction: str) -> torch.Tensor:
    """Apply ``reduction`` ("mean", "sum" or "none") to per-example values.

    >>> import torch
    >>> reduce(torch.tensor([1.0, 3.0]), "mean")
    tensor(2.)
    """
    check_choice("reduction", reduction, ("mean", "sum", "none"))
    if reduction == "mean":
        return values.mean()
    return values.sum() if reduction == "sum" else values
