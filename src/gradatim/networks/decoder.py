"""A small decoder-only transformer that trains and samples fast on processors."""

import copy
import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional

from gradatim.core.checks import check_range, check_same_shape, check_shape
from gradatim.core.errors import InputError
from gradatim.core.precision import default_dtype
from gradatim.language.causal_lm import CausalLM

_BLOCKED = -1e4
"""Added to the scores of keys that may not be seen: finite, so that padding gives no NaN."""


class SmallDecoder(CausalLM):
    """A decoder-only transformer without positional encodings, whose inputs see a short window.

    The input at a position is a linear map of the concatenated embeddings of its last ``window``
    tokens, so that order is known locally; over longer distances causal attention tells it.
    Padding is invisible: rows give the same outputs however they are padded. Blocks are
    pre-normalized; the cost of a sequence of T tokens is that of plain attention, and there is
    no limit to T.

    Args:
        vocabulary_size: V.
        hidden_size: H, a multiple of ``heads``.
        layers: number of blocks.
        heads: attention heads of a block.
        window: how many tokens an input sees, itself included.
        embedding_size: width of a token's embedding.
        decoding_dtype: the precision that responses are sampled in; None takes
            :func:`gradatim.core.precision.default_dtype`.

    Raises:
        InputError: a size below 1, a hidden size that the heads do not divide, or a decoding
            precision that is not a floating-point one.

    >>> model = SmallDecoder(10, hidden_size=8, layers=1, heads=2)
    >>> ids = torch.tensor([[1, 2, 3]])
    >>> model.logits(model(ids, torch.ones_like(ids, dtype=torch.bool))).shape
    torch.Size([1, 3, 10])
    """

    def __init__(
        self,
        vocabulary_size: int,
        *,
        hidden_size: int = 128,
        layers: int = 2,
        heads: int = 2,
        window: int = 9,
        embedding_size: int = 32,
        decoding_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        sizes = {
            "vocabulary_size": vocabulary_size,
            "hidden_size": hidden_size,
            "layers": layers,
            "heads": heads,
            "window": window,
            "embedding_size": embedding_size,
        }
        for name, size in sizes.items():
            check_range(name, size, 1)
        if hidden_size % heads:
            raise InputError(f"hidden_size: expected a multiple of {heads=}, got {hidden_size}")
        if decoding_dtype is not None and not decoding_dtype.is_floating_point:
            raise InputError(f"decoding_dtype: expected floating point, got {decoding_dtype}")
        self.vocabulary_size, self.hidden_size = vocabulary_size, hidden_size
        self.context_length = None
        self.window, self.decoding_dtype = window, decoding_dtype
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        self.mix = nn.Linear(window * embedding_size, hidden_size)
        self.blocks: Iterable[_Block] = nn.ModuleList(  # type: ignore[assignment]
            _Block(hidden_size, heads, 0.02 / math.sqrt(2 * layers)) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(hidden_size)
        self.head = nn.Linear(hidden_size, vocabulary_size, bias=False)
        nn.init.normal_(self.head.weight, std=0.02)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Hidden states of whole sequences; see :class:`CausalLM`."""
        check_shape("ids", ids, "B", "T")
        check_same_shape("mask", mask, "ids", ids)
        hidden = self.mix(self._windows(ids, mask))
        bias = _bias(mask).to(hidden.dtype)
        for block in self.blocks:
            hidden = block(hidden, bias)
        normed: torch.Tensor = self.norm(hidden)
        return normed

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """The output layer; see :class:`CausalLM`."""
        outputs: torch.Tensor = self.head(hidden)
        return outputs

    def begin(
        self, ids: torch.Tensor, mask: torch.Tensor, copies: int, longest: int
    ) -> tuple[torch.Tensor, "_Decoding"]:
        """Read prompts once; see :class:`CausalLM`."""
        check_shape("ids", ids, "P", "T")
        check_same_shape("mask", mask, "ids", ids)
        check_range("copies", copies, 1)
        check_range("longest", longest, 0)
        dtype = self.decoding_dtype or default_dtype(ids.device)
        fast = copy.deepcopy(self).requires_grad_(False).eval().to(dtype)
        state = _Decoding(fast, ids, mask, copies, longest)
        return state.first, state

    def _windows(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Embeddings of each position's last tokens, the oldest first, shape [B, T, window * E]."""
        embedded = self.embedding(ids) * mask.unsqueeze(-1)
        padded = functional.pad(embedded, (0, 0, self.window - 1, 0))
        return padded.unfold(1, self.window, 1).transpose(2, 3).flatten(2)


class _Block(nn.Module):
    """Attention and a feed-forward layer, each after a normalization."""

    def __init__(self, width: int, heads: int, deviation: float) -> None:
        super().__init__()
        self.heads = heads
        self.scale = 1 / math.sqrt(width // heads)
        self.before_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.before_feed = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        nn.init.normal_(self.out.weight, std=deviation)
        nn.init.normal_(self.down.weight, std=deviation)

    def forward(self, hidden: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        query, key, value = self.project(hidden)
        return self.finish(hidden, self.attend(query, key, value, bias))

    def project(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values, each of shape [B, heads, T, D]."""
        batch, length, width = hidden.shape
        qkv = self.qkv(self.before_attention(hidden))
        parts = qkv.view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        return query * self.scale, key, value

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        """Attention by plain matrix products, which at this size beat the fused kernels."""
        weights = (query @ key.transpose(2, 3) + bias).softmax(dim=-1)
        return (weights.to(value.dtype) @ value).transpose(1, 2).flatten(2)

    def finish(self, hidden: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Add what was attended to, then the feed-forward layer."""
        hidden = hidden + self.out(attended)
        normed = self.before_feed(hidden)
        outputs: torch.Tensor = hidden + self.down(functional.relu(self.up(normed)))
        return outputs


def _bias(mask: torch.Tensor) -> torch.Tensor:
    """What is added to attention scores, shape [B, 1, T, T]: no later token, no padding."""
    causal = torch.ones(mask.shape[1], mask.shape[1], dtype=torch.bool, device=mask.device).tril()
    seen = causal & mask[:, None, None, :]
    return torch.zeros(seen.shape, device=mask.device).masked_fill(~seen, _BLOCKED)


class _Decoding:
    """Rows that are decoded together: their keys and values, and the embeddings of their window."""

    def __init__(
        self, model: SmallDecoder, ids: torch.Tensor, mask: torch.Tensor, copies: int, longest: int
    ) -> None:
        """Read the prompts, then lay out room for the copies."""
        self.model = model
        self.used = ids.shape[1]
        repeat = torch.arange(len(ids), device=ids.device).repeat_interleave(copies)
        windows = model._windows(ids, mask)
        hidden, bias = model.mix(windows), _bias(mask).to(windows.dtype)
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        for block in model.blocks:
            query, key, value = block.project(hidden)
            for cache, new in ((self.keys, key), (self.values, value)):
                whole = functional.pad(new[repeat], (0, 0, 0, longest))
                cache.append(whole)
            hidden = block.finish(hidden, block.attend(query, key, value, bias))
        self.bias = functional.pad(bias[repeat][:, :, -1:], (0, longest))
        self.windows = windows[repeat, -1]
        self.first = model.head(model.norm(hidden[:, -1]))[repeat]

    def advance(self, tokens: torch.Tensor) -> torch.Tensor:
        """Read one token a row; see :class:`gradatim.language.causal_lm.DecodingState`."""
        model, place = self.model, self.used
        if place == self.keys[0].shape[2]:
            raise InputError("longest: more tokens are read than begin() was told")
        embedded = model.embedding(tokens)
        self.windows = torch.cat([self.windows[:, embedded.shape[1] :], embedded], dim=1)
        self.used += 1
        hidden = model.mix(self.windows).unsqueeze(1)
        bias = self.bias[..., : self.used]
        for layer, block in enumerate(model.blocks):
            query, key, value = block.project(hidden)
            keys, values = self.keys[layer], self.values[layer]
            keys[:, :, place : self.used], values[:, :, place : self.used] = key, value
            # One query a row: the fused kernel reads the cache where it lies, a product copies it.
            attended = functional.scaled_dot_product_attention(
                query, keys[:, :, : self.used], values[:, :, : self.used], bias, scale=1.0
            )
            hidden = block.finish(hidden, attended.transpose(1, 2).flatten(2))
        outputs: torch.Tensor = model.head(model.norm(hidden[:, 0]))
        return outputs

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all rows but these; see :class:`gradatim.language.causal_lm.DecodingState`."""
        self.keys = [keys[rows] for keys in self.keys]
        self.values = [values[rows] for values in self.values]
        self.bias, self.windows = self.bias[rows], self.windows[rows]
