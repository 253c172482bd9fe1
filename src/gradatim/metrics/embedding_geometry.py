"""How embeddings lie on the sphere: spread, near their positives, near their class."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from gradatim.core.checks import check_finite, check_range, check_same_shape, check_shape
from gradatim.core.errors import InputError
from gradatim.core.seeds import torch_generator

_CHUNK = 1 << 22  # numbers gathered at a time where pairs are drawn


@torch.no_grad()
def uniformity(
    features: Tensor,
    *,
    t: float = 2.0,
    max_pairs: int | None = None,
    seed: int = 0,
    block: int = 2048,
) -> float:
    r"""How evenly embeddings are spread: the logarithm of the mean Gaussian potential of pairs.

    .. math:: U = \log \frac{2}{N (N - 1)} \sum_{i < j} e^{-t \lVert f_i - f_j \rVert^2}

    over rows scaled to length 1. No row is paired with itself. Memory holds one block of pairs.

    Args:
        features: f, shape [N, D], N at least 2.
        t: how fast the potential falls, above 0.
        max_pairs: draw so many pairs at random if there are more; None for all, exactly.
        seed: of the draw.
        block: rows and columns of a block.

    Returns:
        From -4 t (every pair on opposite sides, possible for two rows alone) to 0 (all rows in one
        place); lower = more uniform.

    Raises:
        InputError: fewer than two rows, a row that is zero or not finite, or numbers out of range.

    Source: Wang and Isola 2020, arXiv 2005.10242; as used in Wang and Liu 2021,
    arXiv 2012.09740.

    >>> round(uniformity(torch.eye(2)), 6)
    -4.0
    """
    check_range("t", t, 0.0, open_low=True)
    check_range("block", block, 1)
    unit = _unit("features", features)
    rows = len(unit)
    if rows < 2:
        raise InputError(f"features: expected at least two rows, got {rows}")
    pairs = rows * (rows - 1) // 2
    if max_pairs is not None:
        check_range("max_pairs", max_pairs, 1)
    if max_pairs is None or max_pairs >= pairs:
        parts, count = _all_potentials(unit, t, block), pairs
    else:
        parts, count = _drawn_potentials(unit, t, max_pairs, seed), max_pairs
    return min(float(torch.logsumexp(torch.stack(list(parts)), 0)) - math.log(count), 0.0)


@torch.no_grad()
def tolerance(features: Tensor, labels: Tensor, *, conditional: bool = False) -> float:
    r"""How near embeddings of one class lie: the mean similarity of pairs of the same class.

    .. math::
        T = \frac{1}{N (N - 1)} \sum_{i \ne j} f_i^\top f_j \, [y_i = y_j]
        = \frac{1}{N (N - 1)} \sum_c \Bigl( \bigl\lVert \sum_{y_i = c} f_i \bigr\rVert^2
        - \sum_{y_i = c} \lVert f_i \rVert^2 \Bigr)

    over rows scaled to length 1, in time linear in N. No row is paired with itself.

    Args:
        features: f, shape [N, D], N at least 2.
        labels: class y of each row, integers, shape [N].
        conditional: the mean over the pairs of one class alone, which is T over their share.

    Returns:
        At most the share of pairs of one class, or 1 if conditional; higher = more tolerant.

    Raises:
        InputError: fewer than two rows, a row that is zero or not finite, labels of another
            length, or, if conditional, no two rows of one class.

    Source: Wang and Liu 2021, arXiv 2012.09740.

    >>> features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> labels = torch.tensor([0, 0, 1])
    >>> round(tolerance(features, labels), 4), tolerance(features, labels, conditional=True)
    (0.3333, 1.0)
    """
    unit = _unit("features", features)
    check_shape("labels", labels, len(unit))
    if len(unit) < 2:
        raise InputError(f"features: expected at least two rows, got {len(unit)}")
    _, place, sizes = torch.unique(labels.to(unit.device), return_inverse=True, return_counts=True)
    sums = unit.new_zeros(len(sizes), unit.shape[1]).index_add_(0, place, unit)
    total = float(sums.square().sum() - unit.square().sum())
    same = int((sizes * (sizes - 1)).sum())
    if conditional and not same:
        raise InputError("labels: expected two rows of one class, got none")
    return total / (same if conditional else len(unit) * (len(unit) - 1))


@torch.no_grad()
def alignment(first: Tensor, second: Tensor, *, alpha: float = 2.0) -> float:
    r"""How near embeddings of positive pairs lie.

    .. math:: A = \frac1N \sum_i \lVert f_i - g_i \rVert^\alpha

    over rows scaled to length 1.

    Args:
        first: f, shape [N, D].
        second: g, the positive of each row, shape [N, D].
        alpha: the power, above 0.

    Returns:
        From 0 (every pair in one place) to 2 to the power of alpha.

    Raises:
        InputError: no rows, shapes that differ, a row that is zero or not finite, or a power that
            is not above 0.

    Source: Wang and Isola 2020, arXiv 2005.10242.

    >>> round(alignment(torch.eye(2), torch.eye(2).flip(0)), 6)
    2.0
    """
    check_range("alpha", alpha, 0.0, open_low=True)
    check_same_shape("second", second, "first", first)
    left, right = _unit("first", first), _unit("second", second)
    if not len(left):
        raise InputError("first: expected at least one row, got none")
    return float((left - right).norm(dim=1).pow(alpha).mean())


def _unit(name: str, features: Tensor) -> Tensor:
    """Rows of length 1, in float64 where the device has it."""
    check_shape(name, features, "N", "D")
    wide = features.to(torch.float32 if features.device.type == "mps" else torch.float64)
    check_finite(name, wide)
    # the largest entry first, so that squares neither overflow nor vanish
    largest = wide.abs().amax(1, keepdim=True) if wide.numel() else wide.new_zeros(len(wide), 1)
    zero = (largest == 0).flatten().nonzero()
    if len(zero):
        raise InputError(f"{name}: expected rows that are not zero, got zeros at {int(zero[0])}")
    scaled = wide / largest
    lengths: Tensor = scaled.norm(dim=1, keepdim=True)
    return scaled / lengths


def _all_potentials(unit: Tensor, t: float, block: int) -> Iterator[Tensor]:
    """Logarithms of sums of potentials, block by block above the diagonal."""
    for top in range(0, len(unit), block):
        rows = unit[top : top + block]
        for left in range(top, len(unit), block):
            logits = 2.0 * t * (rows @ unit[left : left + block].T).clamp(-1.0, 1.0) - 2.0 * t
            if left == top:
                below = torch.ones_like(logits, dtype=torch.bool).tril()
                logits = logits.masked_fill(below, -torch.inf)
            yield torch.logsumexp(logits.flatten(), 0)


def _drawn_potentials(unit: Tensor, t: float, pairs: int, seed: int) -> Iterator[Tensor]:
    """The same for pairs of different rows drawn at random, with replacement."""
    generator = torch_generator(seed, "pairs")
    step = max(1, _CHUNK // unit.shape[1])
    for start in range(0, pairs, step):
        count = min(step, pairs - start)
        first = torch.randint(len(unit), (count,), generator=generator)
        second = torch.randint(len(unit) - 1, (count,), generator=generator)
        second = second + (second >= first)
        left, right = unit[first.to(unit.device)], unit[second.to(unit.device)]
        yield torch.logsumexp(-t * (left - right).square().sum(1), 0)
