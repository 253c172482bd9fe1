"""Exact gradients of contrastive losses at any batch size, on the memory of a small chunk.

In a step for ``fit`` or in a loop of your own, one line for each side::

    query = embed_in_chunks(model, batch["query"], chunk_size=64)

With encoders that stay the same::

    cache = GradientCache(query_encoder, document_encoder, chunk_size=64)
    loss = cache.loss(blockwise_info_nce, queries, documents, temperature=0.05)
    loss.backward()
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.training.step import Loss, State

Encoder = Callable[[Any], torch.Tensor]
Objective = Callable[..., torch.Tensor]


def embed_in_chunks(encoder: Encoder, inputs: Any, *, chunk_size: int) -> torch.Tensor:
    r"""Embed many inputs, and keep nothing for the backward pass but the embeddings.

    .. math:: \nabla_\theta L = \sum_k \left( \frac{\partial E_k}{\partial \theta} \right)^\top
        \frac{\partial L}{\partial E_k}

    The backward pass embeds each chunk k once more, now with activations, and lets go of them
    before the next one: a third more computation for the memory of one chunk. Random numbers and
    the precision of autocast are those of the first pass, so that dropout is the same. What
    depends on the batch as a whole depends on the chunk: batch normalization. Running statistics
    are updated twice.

    Args:
        encoder: a module or function that gives embeddings [b, D] of b inputs.
        inputs: of B examples: a tensor, a list, or a dictionary of these, such as a tokenizer's,
            whose other values go with each chunk.
        chunk_size: how many examples to embed at a time.

    Returns:
        Embeddings, shape [B, D].

    Raises:
        InputError: a chunk size below 1, inputs of which it is not clear how many there are, or an
            encoder that gives something else than one row for each of them.

    Source: Gao et al. 2021, arXiv 2101.06983, by the checkpoints of torch.

    >>> encoder = torch.nn.Linear(3, 2)
    >>> embed_in_chunks(encoder, torch.randn(5, 3), chunk_size=2).shape
    torch.Size([5, 2])
    """
    check_range("chunk_size", chunk_size, 1)
    size = _count(inputs)

    def embed(start: int) -> torch.Tensor:
        part = _cut(inputs, start, start + chunk_size)
        rows = min(chunk_size, size - start)
        embeddings = encoder(part)
        if not isinstance(embeddings, torch.Tensor) or embeddings.shape[:1] != (rows,):
            got = getattr(embeddings, "shape", type(embeddings).__name__)
            raise InputError(f"encoder: expected a tensor with {rows} rows, got {got}")
        return embeddings

    return torch.cat(
        [checkpoint(embed, start, use_reentrant=False) for start in range(0, size, chunk_size)]
    )


class GradientCache:
    """Encoders whose embeddings go into one objective, on the memory of a small chunk.

    Args:
        encoders: one for each kind of input, or one for all of them.
        chunk_size: how many examples to embed at a time.

    Raises:
        InputError: no encoder, or a chunk size below 1.

    Source: Gao et al. 2021, arXiv 2101.06983.

    >>> from gradatim.objectives.contrastive import info_nce
    >>> cache = GradientCache(torch.nn.Linear(3, 2), chunk_size=4)
    >>> loss = cache.loss(info_nce, torch.randn(6, 3), torch.randn(6, 3), temperature=0.1)
    >>> loss.backward()
    """

    def __init__(self, *encoders: Encoder, chunk_size: int) -> None:
        check_range("chunk_size", chunk_size, 1)
        if not encoders:
            raise InputError("encoders: expected at least one")
        self.encoders, self.chunk_size = encoders, chunk_size

    def embed(self, *inputs: Any) -> tuple[torch.Tensor, ...]:
        """Embeddings of each kind of input, as :func:`embed_in_chunks` gives them.

        Raises:
            InputError: several encoders, and another number of inputs.
        """
        encoders = self.encoders * len(inputs) if len(self.encoders) == 1 else self.encoders
        if len(encoders) != len(inputs):
            raise InputError(f"inputs: expected {len(encoders)}, one an encoder, got {len(inputs)}")
        return tuple(
            embed_in_chunks(encoder, values, chunk_size=self.chunk_size)
            for encoder, values in zip(encoders, inputs, strict=True)
        )

    def loss(self, objective: Objective, *inputs: Any, **options: Any) -> torch.Tensor:
        """The objective of the inputs' embeddings, to call ``backward`` of.

        Args:
            objective: takes one tensor of embeddings for each kind of input, in their order.
            inputs: as for :func:`embed_in_chunks`, one for each encoder.
            options: further arguments of the objective.
        """
        return objective(*self.embed(*inputs), **options)


def contrastive_step(
    objective: Objective,
    *columns: str,
    chunk_size: int,
    encode: Callable[[Any, Any], torch.Tensor] | None = None,
    options: Callable[[Mapping[str, Any], State], Mapping[str, Any]] | None = None,
) -> Callable[[Any, Mapping[str, Any], State], Loss]:
    """A step for ``fit``: an objective of embeddings at any batch size.

    Args:
        objective: takes one tensor of embeddings for each column and ``reduction=``.
        columns: of the batch, in the order in which the objective wants their embeddings.
        chunk_size: how many examples to embed at a time.
        encode: how embeddings come from the model and a chunk of a column; None calls the model.
        options: further arguments of the objective, from the batch and the state, whose progress
            temperatures and weights may follow.

    Returns:
        ``step(model, batch, state)``; batches count by their examples.

    Raises:
        InputError: no column, or a chunk size below 1.

    >>> from gradatim.objectives.contrastive_blocks import blockwise_info_nce
    >>> step = contrastive_step(blockwise_info_nce, "query", "answer", chunk_size=64)
    """
    check_range("chunk_size", chunk_size, 1)
    if not columns:
        raise InputError("columns: expected at least one")

    def step(model: Any, batch: Mapping[str, Any], state: State) -> Loss:
        def encoder(part: Any) -> torch.Tensor:
            return model(part) if encode is None else encode(model, part)

        cache = GradientCache(encoder, chunk_size=chunk_size)
        given = {} if options is None else options(batch, state)
        inputs = [batch[column] for column in columns]
        total = cache.loss(objective, *inputs, reduction="sum", **given)
        return Loss(total, _count(inputs[0]))

    return step


def _count(inputs: Any) -> int:
    """How many examples there are."""
    if isinstance(inputs, torch.Tensor) and inputs.ndim:
        return len(inputs)
    if isinstance(inputs, Mapping):
        counts = {_count(value) for value in inputs.values() if _is_cut(value)}
        if len(counts) == 1:
            return counts.pop()
        raise InputError(f"inputs: expected values of one length, got {sorted(counts)}")
    if _is_cut(inputs):
        return len(inputs)
    raise InputError(
        f"inputs: expected a tensor, a list or a dictionary of these, got {type(inputs).__name__}"
    )


def _is_cut(value: Any) -> bool:
    """Whether a value has a part for each example."""
    if isinstance(value, torch.Tensor):
        return value.ndim > 0
    return isinstance(value, Sequence) and not isinstance(value, str)


def _cut(inputs: Any, start: int, stop: int) -> Any:
    """The part of some examples."""
    if isinstance(inputs, Mapping):
        return {name: _cut(value, start, stop) for name, value in inputs.items()}
    return inputs[start:stop] if _is_cut(inputs) else inputs
