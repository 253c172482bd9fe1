"""Log-probabilities of tokens and sequences, without ever holding all logits of a batch."""

import torch
from torch.utils.checkpoint import checkpoint

from gradatim.core.checks import check_range, check_same_shape, check_shape
from gradatim.language.causal_lm import CausalLM, without_wrapper
from gradatim.language.linear_log_probabilities import linear_log_probabilities


def token_log_probabilities(
    model: CausalLM,
    ids: torch.Tensor,
    mask: torch.Tensor,
    *,
    only: torch.Tensor | None = None,
    beginning: torch.Tensor | None = None,
    chunk_tokens: int = 1024,
) -> torch.Tensor:
    r"""Log-probability of each token given those before it, :math:`\log p(x_t \mid x_{<t})`.

    The output layer is applied to at most ``chunk_tokens`` tokens at once, in the forward pass
    and again in the backward pass, which computes logits anew: memory for logits is that of one
    chunk, ``chunk_tokens`` times V numbers in float32. Where the output layer is a linear map,
    chunks are no larger than about 64 MB, and their gradient is made in place; see
    :func:`~gradatim.language.linear_log_probabilities.linear_log_probabilities`.

    Args:
        model: the language model.
        ids: tokens, padded on either side, shape [B, T].
        mask: True where there is a token, shape [B, T].
        only: compute where this is True and give 0 elsewhere, shape [B, T]; None is everywhere.
        beginning: tokens that stand before every row, which then has to be padded on the right;
            read once by models that can, see
            :meth:`~gradatim.language.causal_lm.CausalLM.behind`; shape [S].
        chunk_tokens: tokens whose logits are held at once at most.

    Returns:
        Shape [B, T], aligned with ``ids``, in float32 (float64 for such a model); 0 for padding
        and for the first token of a row, which nothing in the row predicts.

    Raises:
        InputError: shapes that differ, or ``chunk_tokens`` below 1.

    >>> import gradatim.language.log_probabilities as this
    >>> class Uniform(CausalLM):
    ...     def forward(self, ids, mask): return torch.zeros(*ids.shape, 1)
    ...     def logits(self, hidden): return hidden.expand(*hidden.shape[:-1], 4)
    ...     def begin(self, ids, mask, copies, longest): raise NotImplementedError
    >>> ids = torch.tensor([[1, 2, 3], [1, 0, 0]])
    >>> this.token_log_probabilities(Uniform(), ids, ids > 0)
    tensor([[ 0.0000, -1.3863, -1.3863],
            [ 0.0000,  0.0000,  0.0000]])
    """
    check_shape("ids", ids, "B", "T")
    check_same_shape("mask", mask, "ids", ids)
    check_range("chunk_tokens", chunk_tokens, 1)
    predicted = mask.bool()[:, 1:] & mask.bool()[:, :-1]
    if only is not None:
        check_same_shape("only", only, "ids", ids)
        predicted = predicted & only.bool()[:, 1:]
    bare = without_wrapper(model)
    states = model(ids, mask) if beginning is None else bare.behind(beginning, ids, mask)
    hidden = states[:, :-1][predicted]
    targets = ids[:, 1:][predicted]
    values = _log_probabilities_of(bare, hidden, targets, chunk_tokens)
    place = torch.nn.functional.pad(predicted, (1, 0))
    return values.new_zeros(ids.shape).masked_scatter(place, values)


def sequence_log_probabilities(
    model: CausalLM,
    ids: torch.Tensor,
    mask: torch.Tensor,
    response_mask: torch.Tensor,
    *,
    average: bool = False,
    chunk_tokens: int = 1024,
) -> torch.Tensor:
    r"""Log-probability of each response given its prompt, :math:`\sum_t \log p(x_t \mid x_{<t})`.

    Args:
        model: the language model.
        ids: prompts and responses, shape [B, T].
        mask: True where there is a token, shape [B, T].
        response_mask: True for the tokens of the response, shape [B, T].
        average: divide by the number of the response's tokens.
        chunk_tokens: as in :func:`token_log_probabilities`.

    Returns:
        Shape [B]; 0 for an empty response.

    Raises:
        InputError: as in :func:`token_log_probabilities`.
    """
    check_same_shape("response_mask", response_mask, "ids", ids)
    counted = response_mask.bool() & mask.bool()
    values = token_log_probabilities(model, ids, mask, only=counted, chunk_tokens=chunk_tokens)
    total = values.sum(dim=1)
    return total / counted.sum(dim=1).clamp(min=1) if average else total


def _log_probabilities_of(
    model: CausalLM, hidden: torch.Tensor, tokens: torch.Tensor, chunk_tokens: int
) -> torch.Tensor:
    """Log-probabilities of tokens, shape [N], from what predicts them, shape [N, H]."""
    layer = model.linear_output()
    if layer is not None and layer[0].device == hidden.device:
        weight, bias = layer
        return linear_log_probabilities(
            hidden, weight, tokens, bias=bias, chunk_tokens=chunk_tokens
        )
    pairs = zip(torch.split(hidden, chunk_tokens), torch.split(tokens, chunk_tokens), strict=True)
    return torch.cat([_chunk(model, some, wanted) for some, wanted in pairs])


def _chunk(model: CausalLM, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of one chunk; what the backward pass needs is computed anew there."""
    if not torch.is_grad_enabled():
        return _log_probabilities(model, hidden, tokens)
    values: torch.Tensor = checkpoint(
        _log_probabilities, model, hidden, tokens, use_reentrant=False
    )
    return values


def _log_probabilities(model: CausalLM, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    logits = model.logits(hidden)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(dim=1)
