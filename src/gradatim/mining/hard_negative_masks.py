"""Which entries of a similarity matrix count as negatives: the hardest, and no false ones."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradatim.core.checks import check_range, check_same_shape, check_shape
from gradatim.core.errors import InputError

_ROUNDING = 1e-9  # a share a/n of n negatives is meant to be a, not one more


@dataclass(frozen=True)
class QuantileHardNegatives:
    r"""Keep the hardest share of each anchor's negatives.

    .. math:: K_i = \{ j : s_{ij} \ge s^{(i)}_\alpha \}

    where :math:`s^{(i)}_\alpha` is the :math:`\lceil \alpha n_i \rceil`-th highest of the anchor's
    :math:`n_i` similarities. The quantile is the anchor's own, not the batch's. No gradient flows
    through the choice.

    Attributes:
        alpha: share to keep, in (0, 1]; 1 keeps all.

    Raises:
        InputError: a share outside (0, 1]; when called, shapes that do not fit.

    Source: Wang and Liu 2021, arXiv 2012.09740 (explicit hard negative sampling).

    >>> QuantileHardNegatives(0.5)(torch.tensor([[0.1, 0.7, 0.3, 0.5]]))
    tensor([[False,  True, False,  True]])
    """

    alpha: float

    def __post_init__(self) -> None:
        check_range("alpha", self.alpha, 0.0, 1.0, open_low=True)

    def __call__(self, similarity: Tensor, mask: Tensor | None = None) -> Tensor:
        """Which negatives are kept.

        Args:
            similarity: of each anchor with its negatives, shape [B, K].
            mask: which entries are negatives, booleans, shape [B, K]; None for all.

        Returns:
            Booleans, shape [B, K]: at least ceil(alpha * n) true in a row with n negatives, more
            where similarities equal the last one kept, none where there are no negatives.
        """
        check_shape("similarity", similarity, "B", "K")
        allowed = torch.ones_like(similarity, dtype=torch.bool) if mask is None else mask
        check_same_shape("mask", allowed, "similarity", similarity)
        if not similarity.numel():
            return allowed.clone()
        values = similarity.detach().where(allowed, -torch.inf)
        shares = self.alpha * torch.arange(values.shape[1] + 1, dtype=torch.float64)
        kept = torch.ceil(shares - _ROUNDING).long().clamp(min=1)  # by the number of negatives
        highest = values.topk(int(kept[-1]), dim=1).values
        place = kept.to(values.device)[allowed.sum(1)] - 1
        return allowed & (values >= highest.gather(1, place[:, None]))


@dataclass(frozen=True)
class FalseNegativeMask:
    r"""Strike out negatives that are probably relevant: near in meaning, or the positive itself.

    .. math::
        j \text{ is kept for } i \iff s_{ij} \le \theta \;\; [\text{relative: } s_{ij} - s_i^+ \le
        \theta] \text{ and } d_j \ne d_i^+

    Similarities may be those of the model in training or, better, of a finished one. The mask goes
    into a contrastive loss as its negatives' mask.

    Attributes:
        threshold: :math:`\theta`; None strikes out none by similarity.
        same_text: strike out documents whose text or id is that of the anchor's positive.
        relative: compare with the similarity of the positive instead of with 0.

    Raises:
        InputError: a threshold that is not finite, or ``relative`` without one; when called, what
            a setting needs is missing, or shapes that do not fit.

    >>> mask = FalseNegativeMask(threshold=0.9)
    >>> similarity = torch.tensor([[0.95, 0.5, 0.7]])
    >>> mask(similarity, own=["a text"], others=["another", "a text", "a third"])
    tensor([[False, False,  True]])
    """

    threshold: float | None = None
    same_text: bool = True
    relative: bool = False

    def __post_init__(self) -> None:
        if self.threshold is not None:
            check_range("threshold", self.threshold)
        elif self.relative:
            raise InputError("threshold: expected a number where relative is set, got None")

    def __call__(
        self,
        similarity: Tensor,
        positive: Tensor | None = None,
        *,
        own: Sequence[Hashable] | Tensor | None = None,
        others: Sequence[Any] | Tensor | None = None,
    ) -> Tensor:
        """Which negatives are kept.

        Args:
            similarity: of each anchor with its negatives, shape [B, K].
            positive: of each anchor with its positive, shape [B]; for ``relative``.
            own: text or id of each anchor's positive, B of them; for ``same_text``.
            others: texts or ids of the negatives, K for all anchors or B lists of K; for
                ``same_text``.

        Returns:
            Booleans, shape [B, K].
        """
        check_shape("similarity", similarity, "B", "K")
        kept = torch.ones_like(similarity, dtype=torch.bool)
        if self.threshold is not None:
            bound = torch.full_like(similarity[:, :1], self.threshold)
            if self.relative:
                if positive is None:
                    raise InputError("positive: expected similarities [B], got None")
                check_shape("positive", positive, len(similarity))
                bound = bound + positive.detach()[:, None]
            kept &= similarity.detach() <= bound
        if self.same_text:
            if own is None or others is None:
                raise InputError("own, others: expected texts or ids where same_text is set")
            kept &= ~_equal(own, others, similarity)
        return kept


def _equal(
    own: Sequence[Hashable] | Tensor, others: Sequence[Any] | Tensor, similarity: Tensor
) -> Tensor:
    """Where a negative is the anchor's positive, shape [B, K]."""
    codes: dict[Hashable, int] = {}
    names = _codes(own, codes)
    found = _codes(others, codes)
    rows, columns = similarity.shape
    if names.shape != (rows,) or found.shape not in ((columns,), (rows, columns)):
        raise InputError(
            f"own, others: expected [{rows}] and [{columns}] or [{rows}, {columns}] texts or ids, "
            f"got {list(names.shape)} and {list(found.shape)}"
        )
    return (names[:, None] == found).to(similarity.device)


def _codes(names: Any, known: dict[Hashable, int]) -> Tensor:
    """A number for each text or id, the same for equal ones."""
    listed = names.tolist() if isinstance(names, Tensor) else list(names)
    if listed and isinstance(listed[0], list | tuple):
        rows = [[known.setdefault(name, len(known)) for name in row] for row in listed]
        if len({len(row) for row in rows}) > 1:
            raise InputError("others: expected lists of one length, got several")
        return torch.tensor(rows, dtype=torch.int64)
    return torch.tensor([known.setdefault(name, len(known)) for name in listed], dtype=torch.int64)
