"""What the library asks of a causal language model: hidden states, logits, and decoding."""

from abc import ABC, abstractmethod
from typing import Any, Protocol

import torch
from torch import nn


class DecodingState(Protocol):
    """Rows that are being decoded together, with the keys and values of what they have read."""

    def advance(self, tokens: torch.Tensor) -> torch.Tensor:
        """Read one token a row and predict the next.

        Args:
            tokens: ids, shape [R].

        Returns:
            Logits, shape [R, V].
        """
        ...

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all rows but these, in their order.

        Args:
            rows: positions among the present rows, shape [R'].
        """
        ...


class CausalLM(nn.Module, ABC):
    """A causal language model, whatever library it comes from.

    The output layer stands apart from the body, so that losses can be computed without ever
    holding the logits of a whole batch: ``logits(model(ids, mask))``.

    Attributes:
        vocabulary_size: V, the number of logits.
        hidden_size: H, the width of hidden states.
        context_length: the longest sequence that the model can read; None if there is no limit.
    """

    vocabulary_size: int
    hidden_size: int
    context_length: int | None

    @abstractmethod
    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The hidden states that logits are read from.

        Args:
            ids: tokens, shape [B, T]; rows may be padded on either side.
            mask: True where there is a token and False where there is padding, shape [B, T].

        Returns:
            Hidden states, shape [B, T, H]; those of padding are arbitrary but finite.
        """

    def behind(
        self, beginning: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """The hidden states of sequences that all begin alike, without those of the beginning.

        Here everything is read as usual; models with a cache may read the beginning only once.

        Args:
            beginning: tokens that stand before every row, shape [S].
            ids: the rows' own tokens, padded on the right, shape [B, T].
            mask: True where there is a token, shape [B, T].

        Returns:
            Hidden states of the rows' own tokens, shape [B, T, H].
        """
        whole = torch.cat([beginning.expand(len(ids), -1), ids], dim=1)
        there = torch.cat([mask.new_ones(len(ids), len(beginning)), mask], dim=1)
        hidden: torch.Tensor = self(whole, there)
        return hidden[:, len(beginning) :]

    @abstractmethod
    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """The output layer.

        Args:
            hidden: shape [..., H].

        Returns:
            Logits of the next token, shape [..., V].
        """

    def linear_output(self) -> tuple[torch.Tensor, torch.Tensor | None] | None:
        """Weight W, shape [V, H], and bias b, shape [V], where logits are ``hidden @ W.T + b``.

        Returns:
            Both, the bias None if there is none; None where logits are anything else.
        """
        return None

    @abstractmethod
    def begin(
        self, ids: torch.Tensor, mask: torch.Tensor, copies: int, longest: int
    ) -> tuple[torch.Tensor, DecodingState]:
        """Read each prompt once and make ready to continue it several times.

        Args:
            ids: prompts, padded on the left, shape [P, T].
            mask: True where there is a token, shape [P, T].
            copies: how many rows continue each prompt.
            longest: how many tokens will be read after the prompts at most.

        Returns:
            Logits of the first new token, shape [P * copies, V], the copies of a prompt side by
            side, and the state of these rows.
        """

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device


def without_wrapper(model: nn.Module) -> CausalLM:
    """A language model as it is inside the data-parallel wrapper that steps receive.

    What goes through the wrapper is the call of the body, ``model(ids, mask)``; the output layer
    is called on what is inside.

    Args:
        model: a language model, or ``DistributedDataParallel`` around one.

    Returns:
        The language model.
    """
    inner: Any = model
    if isinstance(model, nn.parallel.DistributedDataParallel):
        inner = model.module
    return inner  # type: ignore[no-any-return]
