"""Easy and hard examples apart, and the labels of the hard ones hidden."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike

from gradatim.core.checks import check_finite, check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.selection.stratified_draws import cutoffs_by_quantiles

Labels = TypeVar("Labels", torch.Tensor, np.ndarray, list[Any])


class DifficultySplit(NamedTuple):
    """Positions of easy, medium and hard examples, each in ascending order: a partition.

    Attributes:
        easy: int64, shape [E].
        medium: int64, shape [M]; may be empty.
        hard: int64, shape [H].
    """

    easy: torch.Tensor
    medium: torch.Tensor
    hard: torch.Tensor


def split_by_difficulty(
    difficulty: ArrayLike | torch.Tensor,
    *,
    cutoffs: tuple[float, float] | None = None,
    quantiles: tuple[float, float] | None = None,
) -> DifficultySplit:
    r"""Split examples into easy, medium and hard.

    .. math:: \text{easy: } d_i \le c_1, \qquad \text{hard: } d_i \ge c_2, \qquad
        \text{medium: the rest}

    With quantiles, :math:`Q_{q_1}` is the cutoff of the easy ones, and the hard are those
    strictly above :math:`Q_{q_2}`; so equal difficulties always stay together, and the shares are
    as told only as far as ties allow.

    Args:
        difficulty: d, finite, higher = harder, shape [N].
        cutoffs: c1 and c2, the largest easy and the smallest hard difficulty, c1 < c2; (3, 4)
            takes the levels 1-3 of MATH as easy and 4-5 as hard.
        quantiles: q1 <= q2 in [0, 1]; give these or cutoffs.

    Returns:
        The positions, on the CPU.

    Raises:
        InputError: a difficulty that is not finite (its row is named), both or none of cutoffs
            and quantiles, bounds in the wrong order, or no easy or no hard example.

    Source: Sun et al. 2024, arXiv 2403.09472 (levels of MATH).

    >>> split_by_difficulty([5, 1, 3, 4], cutoffs=(3, 4))
    DifficultySplit(easy=tensor([1, 2]), medium=tensor([], dtype=torch.int64), hard=tensor([0, 3]))
    """
    if (cutoffs is None) == (quantiles is None):
        raise InputError("cutoffs: expected either cutoffs or quantiles")
    levels = _levels(difficulty)
    if cutoffs is not None:
        low, high = cutoffs
        check_range("cutoffs[0]", low, high=high, open_high=True)
        easy, hard = levels <= low, levels >= high
    else:
        assert quantiles is not None
        check_range("quantiles[1]", quantiles[1], 0, 1)
        check_range("quantiles[0]", quantiles[0], 0, quantiles[1])
        low, high = np.quantile(levels, quantiles) if len(levels) else (0.0, 0.0)
        easy, hard = levels <= low, levels > high
    for name, chosen, bound in (("easy", easy, f"up to {low}"), ("hard", hard, f"from {high} on")):
        if not chosen.any():
            span = f"{levels.min()} to {levels.max()}" if len(levels) else "no example"
            raise InputError(f"difficulty: expected {name} examples ({bound}), got {span}")
    parts = (easy, ~(easy | hard), hard)
    return DifficultySplit(*(torch.from_numpy(np.flatnonzero(part)) for part in parts))


def split_within_classes(
    difficulty: ArrayLike | torch.Tensor,
    labels: ArrayLike,
    quantiles: Sequence[float] = (0.3, 0.7),
) -> DifficultySplit:
    r"""Split every class into easy, medium and hard examples at its own quantiles.

    All strata then hold the classes in like shares: what a model learns from the easy ones is not
    which classes are easy. Where a class is harder throughout, its easy examples may be harder than
    the hard ones of another.

    Args:
        difficulty: of each example, finite, higher = harder, shape [N].
        labels: class of each example, shape [N].
        quantiles: of the largest easy and the smallest hard difficulty of a class.

    Returns:
        The positions of easy, medium and hard examples, ascending.

    Raises:
        InputError: unequal lengths, or a class all of whose examples are equally hard (it is
            named).

    >>> split_within_classes([0, 1, 2, 10, 11, 12], [0, 0, 0, 1, 1, 1]).hard.tolist()
    [2, 5]
    """
    levels, classes = _levels(difficulty), np.asarray(labels)
    check_same_length(difficulty=levels, labels=classes)
    parts = np.ones(len(levels), dtype=np.int64)
    for own in np.unique(classes):
        rows = np.flatnonzero(classes == own)
        try:
            low, high = cutoffs_by_quantiles(levels[rows], quantiles)
        except InputError as error:
            raise InputError(f"class {own}: {error}") from error
        parts[rows[levels[rows] <= low]] = 0
        parts[rows[levels[rows] >= high]] = 2
    return DifficultySplit(*(torch.from_numpy(np.flatnonzero(parts == one)) for one in range(3)))


def mask_hard_labels(
    labels: Labels, split: DifficultySplit, unavailable: Any = None
) -> tuple[Labels, torch.Tensor]:
    """Hide the labels of the hard examples, as if nobody could label them; the questions stay.

    Args:
        labels: one label an example, a tensor or array with examples along the first dimension,
            or a list; it is not modified.
        split: from :func:`split_by_difficulty`, over the same examples. Medium labels stay.
        unavailable: what stands in place of a hard label; None takes NaN for floating point,
            -100 for integers (which cross-entropy ignores), and None in a list.

    Returns:
        The labels, of the same type, and which are available, booleans on the CPU, shape [N].

    Raises:
        InputError: another number of labels than the split has examples, or labels of a type that
            needs ``unavailable`` to be told.

    Source: Sun et al. 2024, arXiv 2403.09472.

    >>> split = split_by_difficulty([1, 5, 3, 4], cutoffs=(3, 4))
    >>> mask_hard_labels(["a", "b", "c", "d"], split)
    (['a', None, 'c', None], tensor([ True, False,  True, False]))
    """
    size = sum(len(part) for part in split)
    if len(labels) != size:
        raise InputError(f"labels: expected {size}, one an example of the split, got {len(labels)}")
    available = torch.ones(size, dtype=torch.bool)
    available[split.hard] = False
    if isinstance(labels, torch.Tensor):
        fill = _fill(str(labels.dtype), labels.is_floating_point(), unavailable)
        hidden = labels.clone()
        hidden[split.hard.to(labels.device)] = fill
        return hidden, available
    if isinstance(labels, np.ndarray):
        kind = labels.dtype.kind
        fill = None if kind == "O" else _fill(str(labels.dtype), kind == "f", unavailable)
        copied = labels.copy()
        copied[split.hard.numpy()] = unavailable if fill is None else fill
        return copied, available
    shown = available.tolist()
    return [
        label if there else unavailable for label, there in zip(labels, shown, strict=True)
    ], available


def _levels(difficulty: ArrayLike | torch.Tensor) -> np.ndarray:
    """Difficulties as one row of finite float64."""
    if isinstance(difficulty, torch.Tensor):
        difficulty = difficulty.detach().cpu().double().numpy()
    levels = np.asarray(difficulty, dtype=np.float64)
    if levels.ndim != 1:
        raise InputError(f"difficulty: expected shape [N], got {list(levels.shape)}")
    check_finite("difficulty", levels)
    return levels


def _fill(dtype: str, floating: bool, unavailable: Any) -> Any:
    """What stands in place of a hidden label."""
    if unavailable is not None:
        return unavailable
    if floating:
        return float("nan")
    if dtype.removeprefix("torch.").startswith("int"):
        return -100
    raise InputError(f"unavailable: expected a value to hide labels of type {dtype} with")
