"""A text encoder that needs milliseconds: a learned, weighted mean of frozen token vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gradatim.core.checks import check_choice, check_range, check_shape
from gradatim.core.errors import InputError

Norm = Literal["layer", "unit", "none"]


@dataclass(frozen=True)
class PackedTokens:
    """Token ids of several texts, one after the other.

    Attributes:
        ids: of all texts, integers, shape [T].
        offsets: where each text begins, from 0 and never falling, shape [B].

    Raises:
        InputError: other shapes or types, or offsets that do not fit the ids.

    >>> packed = PackedTokens.of([[5, 6], [], [7]])
    >>> packed.ids.tolist(), packed.offsets.tolist()
    ([5, 6, 7], [0, 2, 2])
    """

    ids: Tensor
    offsets: Tensor

    def __post_init__(self) -> None:
        """Check shapes, types and offsets."""
        check_shape("ids", self.ids, "T")
        check_shape("offsets", self.offsets, "B")
        for name, value in (("ids", self.ids), ("offsets", self.offsets)):
            if value.dtype not in (torch.int64, torch.int32):
                raise InputError(f"{name}: expected int64 or int32, got {value.dtype}")
        if len(self) and (int(self.offsets[0]) != 0 or bool((self.lengths < 0).any())):
            raise InputError(
                f"offsets: expected to rise from 0 to at most {len(self.ids)}, "
                f"got {self.offsets[:8].tolist()}"
            )

    @classmethod
    def of(cls, texts: Sequence[Sequence[int]]) -> "PackedTokens":
        """Pack lists of ids."""
        lengths = torch.tensor([len(text) for text in texts], dtype=torch.int64)
        ids = torch.tensor([token for text in texts for token in text], dtype=torch.int64)
        return cls(ids, lengths.cumsum(0) - lengths)

    @property
    def lengths(self) -> Tensor:
        """Tokens of each text, shape [B]."""
        end = self.offsets.new_tensor([len(self.ids)])
        return torch.diff(self.offsets, append=end)

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.offsets)

    def __getitem__(self, rows: Tensor) -> "PackedTokens":
        """The texts at the given positions, in their order.

        >>> PackedTokens.of([[5, 6], [], [7]])[torch.tensor([2, 0])].ids.tolist()
        [7, 5, 6]
        """
        lengths = self.lengths[rows]
        offsets = lengths.cumsum(0) - lengths
        shift = (self.offsets[rows] - offsets).repeat_interleave(lengths)
        return PackedTokens(
            self.ids[torch.arange(len(shift), device=shift.device) + shift], offsets
        )


class BagEncoder(nn.Module):
    r"""Encode a text as a linear map of the weighted mean of its tokens' vectors.

    .. math::
        f(x) = \mathrm{norm} \Bigl( W \frac{\sum_t e^{a_{x_t}} v_{x_t}}{\sum_t e^{a_{x_t}}} + b
        \Bigr)

    The vectors v are frozen; a (one number a token of the vocabulary), W and b are learned. A text
    without tokens has the mean 0.

    Args:
        table: v, shape [V, E].
        dim: D, size of an embedding.
        token_weights: first values of :math:`e^a`, inverse document frequencies for instance,
            above 0, shape [V]; by default all are 1.
        norm: "layer" (LayerNorm with learned scale and shift), "unit" (length 1) or "none".

    Raises:
        InputError: shapes that do not fit, a weight that is not above 0 and finite, or an unknown
            norm.

    >>> encoder = BagEncoder(torch.eye(4), dim=3, norm="unit")
    >>> embedding = encoder(PackedTokens.of([[0, 1], [3], []]))
    >>> embedding.shape, embedding[0].norm().round(decimals=4).item()
    (torch.Size([3, 3]), 1.0)
    """

    table: Tensor

    def __init__(
        self,
        table: Tensor,
        dim: int,
        *,
        token_weights: Tensor | None = None,
        norm: Norm = "layer",
    ) -> None:
        super().__init__()
        check_shape("table", table, "V", "E")
        check_range("dim", dim, 1)
        check_choice("norm", norm, ("layer", "unit", "none"))
        size, width = table.shape
        weights = table.new_ones(size) if token_weights is None else token_weights.to(table)
        check_shape("token_weights", weights, size)
        if not bool(((weights > 0) & weights.isfinite()).all()):
            raise InputError("token_weights: expected finite numbers above 0")
        self.register_buffer("table", table.detach().clone(), persistent=False)
        self.log_weights = nn.Parameter(weights.detach().log())
        self.linear = nn.Linear(width, dim, dtype=table.dtype, device=table.device)
        self.norm = norm
        self.layer = (
            nn.LayerNorm(dim, dtype=table.dtype, device=table.device) if norm == "layer" else None
        )

    def forward(self, texts: PackedTokens) -> Tensor:
        """Embeddings of B texts, shape [B, D]."""
        text = torch.arange(len(texts), device=texts.ids.device).repeat_interleave(texts.lengths)
        logs = self.log_weights[texts.ids]
        peaks = logs.new_full((len(texts),), -torch.inf)
        peaks = peaks.scatter_reduce(0, text, logs.detach(), "amax")
        weights = (logs - peaks[text]).exp()
        total = weights.new_zeros(len(texts)).index_add(0, text, weights)
        mean = (
            functional.embedding_bag(
                texts.ids, self.table, texts.offsets, mode="sum", per_sample_weights=weights
            )
            / total.clamp(min=torch.finfo(total.dtype).tiny)[:, None]
        )
        hidden: Tensor = self.linear(mean)
        if self.layer is not None:
            normed: Tensor = self.layer(hidden)
            return normed
        return functional.normalize(hidden, dim=1) if self.norm == "unit" else hidden
