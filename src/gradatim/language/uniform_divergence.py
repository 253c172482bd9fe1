"""How far a model is from knowing nothing, token by token, in chunks of logits."""

import math

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from gradatim.core.checks import check_range, check_same_shape, check_shape
from gradatim.core.precision import at_least_float32
from gradatim.language.causal_lm import CausalLM, without_wrapper


def uniform_divergence(logits: torch.Tensor) -> torch.Tensor:
    r"""Divergence of the uniform distribution from predictions, for each prediction.

    .. math:: \mathrm{KL}(U \Vert p) = - \log V - \frac1V \sum_v \log p_v

    Args:
        logits: of p, shape [..., V].

    Returns:
        Shape [...], at least 0 but for rounding, in float32 for half precision.

    Source: Ji et al. 2024, arXiv 2406.08607, equation 5.

    >>> uniform_divergence(torch.tensor([0.7, 0.2, 0.1]).log())
    tensor(0.3243)
    """
    log_p = at_least_float32(logits).log_softmax(dim=-1)
    return -log_p.mean(dim=-1) - math.log(logits.shape[-1])


def token_uniform_divergences(
    model: CausalLM, ids: torch.Tensor, mask: torch.Tensor, *, chunk_tokens: int = 1024
) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Divergence of the uniform distribution from the prediction of each token.

    .. math:: d_t = \mathrm{KL}(U \Vert p(\cdot \mid x_{<t}))
        = - \log V - \frac1V \sum_v \log p(v \mid x_{<t})

    The output layer is applied to at most ``chunk_tokens`` tokens at once, in the forward pass and
    again in the backward pass.

    Args:
        model: the language model.
        ids: tokens, padded on either side, shape [B, T].
        mask: True where there is a token, shape [B, T].
        chunk_tokens: tokens whose logits are held at once.

    Returns:
        The divergences, shape [B, T], aligned with ``ids``, in float32 (float64 for such a model);
        and where they are, shape [B, T]: not for padding and the first token of a row, which
        nothing in the row predicts.

    Raises:
        InputError: shapes that differ, or ``chunk_tokens`` below 1.

    >>> from gradatim.networks.decoder import SmallDecoder
    >>> ids = torch.tensor([[1, 2, 0]])
    >>> values, predicted = token_uniform_divergences(SmallDecoder(10), ids, ids > 0)
    >>> predicted.tolist(), bool(values[0, 1] > 0)
    ([[False, True, False]], True)
    """
    check_shape("ids", ids, "B", "T")
    check_same_shape("mask", mask, "ids", ids)
    check_range("chunk_tokens", chunk_tokens, 1)
    predicted = mask.bool()[:, 1:] & mask.bool()[:, :-1]
    hidden = model(ids, mask)[:, :-1][predicted]
    bare = without_wrapper(model)
    parts = [_chunk(bare, some) for some in torch.split(hidden, chunk_tokens)]
    values = torch.cat(parts)
    place = functional.pad(predicted, (1, 0))
    return values.new_zeros(ids.shape).masked_scatter(place, values), place


def _chunk(model: CausalLM, hidden: torch.Tensor) -> torch.Tensor:
    """Divergences of predictions, shape [N], from what they are made of, shape [N, H]."""
    if not torch.is_grad_enabled():
        return uniform_divergence(model.logits(hidden))
    values: torch.Tensor = checkpoint(
        lambda some: uniform_divergence(model.logits(some)), hidden, use_reentrant=False
    )
    return values
