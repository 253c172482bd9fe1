"""A small encoder-decoder transformer for sequence-to-sequence tasks learned from scratch."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from gradatim.core.checks import check_range, check_same_shape, check_shape
from gradatim.core.errors import InputError

_BLOCKED = -1e4
"""Added to the scores of keys that may not be seen: finite, so that padding gives no NaN."""


class Seq2SeqTransformer(nn.Module):
    r"""An encoder-decoder transformer with relative positions, sinusoids on its inputs, pre-norm.

    In self-attention a query at position i and a key at j share a learned vector that depends on
    their distance alone, clipped at k, and is used for the scores and for the values:

    .. math:: e_{ij} = \frac{q_i \cdot (k_j + a_{ij})}{\sqrt{d}}, \quad
        z_i = \sum_j \operatorname{softmax}_j(e_{ij}) \, (v_j + a_{ij}), \quad
        a_{ij} = w_{\max(-k, \min(k, j - i))}

    Inputs are :math:`\sqrt{H}` times the token's embedding plus sinusoids of its position.
    Targets are right-padded: what follows a position does not change its outputs. The defaults
    are those of the source.

    Args:
        source_size: number of source tokens.
        target_size: V, number of target tokens.
        hidden_size: H, an even multiple of ``heads``.
        layers: number of blocks of the encoder, and of the decoder.
        heads: attention heads of a block.
        feed_forward: width of the feed-forward layers.
        dropout: on inputs, attention weights and what each layer adds, in [0, 1).
        max_distance: k, from which on distances count as one; 0 leaves relative positions out.

    Raises:
        InputError: a size below 1, a hidden size that the heads do not divide or that is odd, or
            a number out of range.

    Source: Zhou, Jiang and Bansal 2023, arXiv 2311.04420 (as OpenNMT-py builds it); relative
    positions of Shaw et al. 2018, arXiv 1803.02155, there with two tables, here with one.

    >>> model = Seq2SeqTransformer(7, 9, hidden_size=8, layers=1, heads=2, feed_forward=16)
    >>> source = torch.tensor([[3, 4, 5]])
    >>> model(source, source > 0, torch.tensor([[1, 6]])).shape
    torch.Size([1, 2, 9])
    """

    def __init__(
        self,
        source_size: int,
        target_size: int,
        *,
        hidden_size: int = 256,
        layers: int = 3,
        heads: int = 4,
        feed_forward: int = 512,
        dropout: float = 0.1,
        max_distance: int = 20,
    ) -> None:
        super().__init__()
        sizes = {
            "source_size": source_size,
            "target_size": target_size,
            "hidden_size": hidden_size,
            "layers": layers,
            "heads": heads,
            "feed_forward": feed_forward,
        }
        for name, size in sizes.items():
            check_range(name, size, 1)
        check_range("dropout", dropout, 0, 1, open_high=True)
        check_range("max_distance", max_distance, 0)
        if hidden_size % heads or hidden_size % 2:
            raise InputError(
                f"hidden_size: expected an even multiple of {heads=}, got {hidden_size}"
            )
        self.hidden_size, self.target_size = hidden_size, target_size
        self.source_embedding = nn.Embedding(source_size, hidden_size)
        self.target_embedding = nn.Embedding(target_size, hidden_size)
        for embedding in (self.source_embedding, self.target_embedding):
            nn.init.normal_(embedding.weight, std=hidden_size**-0.5)
        self.drop = nn.Dropout(dropout)
        shape = (hidden_size, heads, feed_forward, dropout, max_distance)
        self.encoder: Iterable[_Block] = nn.ModuleList(  # type: ignore[assignment]
            _Block(*shape, crossed=False) for _ in range(layers)
        )
        self.decoder: Iterable[_Block] = nn.ModuleList(  # type: ignore[assignment]
            _Block(*shape, crossed=True) for _ in range(layers)
        )
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(hidden_size), nn.LayerNorm(hidden_size)
        self.head = nn.Linear(hidden_size, target_size)

    def forward(self, source: Tensor, source_mask: Tensor, target: Tensor) -> Tensor:
        """Logits of the next target token at each position, given the right tokens before it.

        Args:
            source: tokens, shape [B, S].
            source_mask: which of them are there, booleans, shape [B, S].
            target: tokens that the decoder reads, the first of them a token of your choice that
                begins all sequences, shape [B, T].

        Returns:
            Shape [B, T, V].

        Raises:
            InputError: shapes that do not fit one another.
        """
        check_shape("target", target, len(source), "T")
        memory = self.encode(source, source_mask)
        bias = _padding_bias(source_mask, memory.dtype)
        length = target.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=target.device).tril()
        own = _bias(causal, memory.dtype)
        hidden = self._inputs(self.target_embedding, target)
        for block in self.decoder:
            hidden = block(hidden, own, memory, bias)
        logits: Tensor = self.head(self.decoder_norm(hidden))
        return logits

    def encode(self, source: Tensor, source_mask: Tensor) -> Tensor:
        """What the decoder attends to, shape [B, S, H].

        Args:
            source: tokens, shape [B, S].
            source_mask: which of them are there, booleans, shape [B, S].

        Raises:
            InputError: shapes that do not fit one another.
        """
        check_shape("source", source, "B", "S")
        check_same_shape("source_mask", source_mask, "source", source)
        hidden = self._inputs(self.source_embedding, source)
        bias = _padding_bias(source_mask, hidden.dtype)
        for block in self.encoder:
            hidden = block(hidden, bias)
        normed: Tensor = self.encoder_norm(hidden)
        return normed

    @torch.no_grad()
    def generate(
        self,
        source: Tensor,
        source_mask: Tensor,
        *,
        begin: int,
        end: int,
        longest: int,
        beams: int = 1,
    ) -> Tensor:
        """The likeliest targets that greedy decoding or a beam search finds.

        Keys and values of what was decoded are kept, so that a step costs what its new tokens
        cost. A beam's score is the sum of its log-probabilities; lengths are not weighed. Call
        ``eval()`` first, or dropout takes part.

        Args:
            source: tokens, shape [B, S].
            source_mask: which of them are there, booleans, shape [B, S].
            begin: the token that begins all targets.
            end: the token that ends them.
            longest: how many tokens to decode at most.
            beams: candidates kept a row; 1 is greedy decoding.

        Returns:
            Tokens after ``begin``, int64, shape [B, at most longest]; after its end a row is
            filled with ``end``.

        Raises:
            InputError: shapes that do not fit, or numbers out of range.
        """
        for name, token in (("begin", begin), ("end", end)):
            check_range(name, token, 0, self.target_size - 1)
        check_range("longest", longest, 1)
        check_range("beams", beams, 1, self.target_size)
        state = _Decoding(self, source, source_mask, beams)
        rows = len(source)
        tokens = torch.full((rows * beams, 1), begin, device=source.device)
        scores = torch.full((rows, beams), -torch.inf, device=source.device)
        scores[:, 0] = 0.0
        first = torch.arange(rows, device=source.device).unsqueeze(1) * beams
        done = torch.zeros(rows * beams, dtype=torch.bool, device=source.device)
        only_end = torch.full((self.target_size,), -torch.inf, device=source.device)
        only_end[end] = 0.0
        while tokens.shape[1] <= longest and not done.all():
            logits = state.advance(tokens[:, -1]).float()
            steps = torch.where(done.unsqueeze(1), only_end, logits.log_softmax(dim=1))
            total = (scores.unsqueeze(2) + steps.view(rows, beams, -1)).flatten(1)
            scores, places = total.topk(beams, dim=1)
            kept = (first + places // self.target_size).flatten()
            new = (places % self.target_size).flatten()
            tokens = torch.cat([tokens[kept], new.unsqueeze(1)], dim=1)
            done = done[kept] | (new == end)
            if beams > 1:
                state.keep(kept)
        best = first.squeeze(1) + scores.argmax(dim=1)
        return tokens[best, 1:]

    def _inputs(self, embedding: nn.Module, tokens: Tensor, start: int = 0) -> Tensor:
        """Scaled embeddings and sinusoids, the first token standing at position ``start``."""
        embedded: Tensor = embedding(tokens)
        places = sinusoids(start + tokens.shape[1], self.hidden_size, tokens.device)[start:]
        summed = embedded * math.sqrt(self.hidden_size) + places.to(embedded.dtype)
        dropped: Tensor = self.drop(summed)
        return dropped


def sinusoids(length: int, width: int, device: torch.device | str | None = None) -> Tensor:
    r"""Sines and cosines of positions, at wavelengths from :math:`2 \pi` to 10,000 times that.

    .. math:: p_{t, 2i} = \sin(t \, 10000^{-2i / d}), \quad
        p_{t, 2i + 1} = \cos(t \, 10000^{-2i / d})

    Args:
        length: number of positions.
        width: d, an even number.
        device: where to make them.

    Returns:
        Shape [length, d].

    Raises:
        InputError: an odd width, or numbers out of range.

    Source: Vaswani et al. 2017, arXiv 1706.03762, section 3.5.

    >>> sinusoids(1, 4)
    tensor([[0., 1., 0., 1.]])
    """
    check_range("length", length, 0)
    check_range("width", width, 2)
    if width % 2:
        raise InputError(f"width: expected an even number, got {width}")
    rates = 10_000.0 ** (-torch.arange(0, width, 2, device=device) / width)
    angles = torch.arange(length, device=device).unsqueeze(1) * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


class _Attention(nn.Module):
    """Multi-head attention; relative positions where ``max_distance`` is above 0."""

    def __init__(self, width: int, heads: int, dropout: float, max_distance: int) -> None:
        super().__init__()
        self.heads, self.max_distance = heads, max_distance
        self.query, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        for layer, gain in ((self.query, 1.0), (self.out, 1.0), (self.key_value, 1.5**0.5)):
            nn.init.xavier_uniform_(layer.weight, gain)  # as if keys and values stood apart
        self.drop = nn.Dropout(dropout)
        if max_distance:
            self.relative = nn.Embedding(2 * max_distance + 1, width // heads)
            nn.init.normal_(self.relative.weight, std=(width // heads) ** -0.5)

    def split(self, hidden: Tensor) -> Tensor:
        """Heads apart: from [B, T, H] to [B, heads, T, D]."""
        return hidden.view(*hidden.shape[:2], self.heads, -1).transpose(1, 2)

    def keys(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of what is attended to."""
        key, value = self.key_value(hidden).chunk(2, dim=2)
        return self.split(key), self.split(value)

    def forward(
        self, hidden: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, start: int = 0
    ) -> Tensor:
        """Attend; the first query stands at position ``start`` of the keys."""
        query = self.split(self.query(hidden)) * (hidden.shape[2] // self.heads) ** -0.5
        scores = query @ keys.transpose(2, 3)
        vectors = None
        if self.max_distance:
            vectors = self._vectors(query.shape[2], keys.shape[2], start)
            by_place = query.permute(2, 0, 1, 3).flatten(1, 2) @ vectors.transpose(1, 2)
            scores = scores + by_place.unflatten(1, query.shape[:2]).permute(1, 2, 0, 3)
        scores = scores if bias is None else scores + bias
        weights = self.drop(scores.softmax(dim=-1))
        attended = weights @ values
        if vectors is not None:
            by_place = weights.permute(2, 0, 1, 3).flatten(1, 2) @ vectors
            attended = attended + by_place.unflatten(1, query.shape[:2]).permute(1, 2, 0, 3)
        outputs: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return outputs

    def _vectors(self, queries: int, keys: int, start: int) -> Tensor:
        """The vector of each query's and key's distance, shape [queries, keys, D]."""
        device = self.relative.weight.device
        places = torch.arange(keys, device=device)
        distance = places - places[start : start + queries].unsqueeze(1)
        clipped = distance.clamp(-self.max_distance, self.max_distance) + self.max_distance
        vectors: Tensor = self.relative(clipped)
        return vectors


class _Block(nn.Module):
    """Self-attention, attention to the source in a decoder, and a feed-forward layer."""

    def __init__(
        self,
        width: int,
        heads: int,
        feed_forward: int,
        dropout: float,
        max_distance: int,
        *,
        crossed: bool,
    ) -> None:
        super().__init__()
        self.own = _Attention(width, heads, dropout, max_distance)
        self.before_own, self.before_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.crossed = crossed
        if crossed:
            self.cross = _Attention(width, heads, dropout, 0)
            self.before_cross = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, feed_forward), nn.Linear(feed_forward, width)
        self.drop = nn.Dropout(dropout)

    def forward(
        self,
        hidden: Tensor,
        own_bias: Tensor,
        memory: Tensor | None = None,
        memory_bias: Tensor | None = None,
    ) -> Tensor:
        normed = self.before_own(hidden)
        hidden = hidden + self.drop(self.own(normed, *self.own.keys(normed), own_bias))
        if memory is None:
            return self.feed(hidden)
        return self.finish(hidden, *self.cross.keys(memory), memory_bias)

    def finish(self, hidden: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
        """Attend to the source, then the feed-forward layer."""
        attended = self.cross(self.before_cross(hidden), keys, values, bias)
        return self.feed(hidden + self.drop(attended))

    def feed(self, hidden: Tensor) -> Tensor:
        """The feed-forward layer."""
        wide = self.drop(functional.relu(self.up(self.before_feed(hidden))))
        outputs: Tensor = hidden + self.drop(self.down(wide))
        return outputs


def _bias(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to scores so that only keys that may be seen are."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, _BLOCKED)


def _padding_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """The same for a mask of keys [B, S], whatever head and query: shape [B, 1, 1, S]."""
    return _bias(mask, dtype)[:, None, None]


class _Decoding:
    """Rows that are decoded together, each with copies: their keys and values so far."""

    def __init__(
        self, model: Seq2SeqTransformer, source: Tensor, mask: Tensor, copies: int
    ) -> None:
        self.model, self.used = model, 0
        memory = model.encode(source, mask)
        self.bias = _padding_bias(mask, memory.dtype).repeat_interleave(copies, dim=0)
        memory = memory.repeat_interleave(copies, dim=0)
        self.memory = [block.cross.keys(memory) for block in model.decoder]
        self.own: list[tuple[Tensor, Tensor]] = []

    def advance(self, tokens: Tensor) -> Tensor:
        """Read one token a row and give the logits of the next, shape [rows, V]."""
        model = self.model
        hidden = model._inputs(model.target_embedding, tokens.unsqueeze(1), self.used)
        for layer, block in enumerate(model.decoder):
            normed = block.before_own(hidden)
            keys, values = block.own.keys(normed)
            if self.used:
                before = self.own[layer]
                keys, values = torch.cat([before[0], keys], 2), torch.cat([before[1], values], 2)
                self.own[layer] = keys, values
            else:
                self.own.append((keys, values))
            attended = block.own(normed, keys, values, None, self.used)
            hidden = block.finish(hidden + block.drop(attended), *self.memory[layer], self.bias)
        self.used += 1
        logits: Tensor = model.head(model.decoder_norm(hidden[:, 0]))
        return logits

    def keep(self, rows: Tensor) -> None:
        """Go on from these rows; copies stay with their source."""
        self.own = [(keys[rows], values[rows]) for keys, values in self.own]
