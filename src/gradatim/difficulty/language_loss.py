"""How hard completions are for a language model: loss, confidence, margin, entropy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import torch

from gradatim.core.checks import check_range, check_same_length, check_same_shape, check_shape
from gradatim.core.errors import InputError
from gradatim.language.causal_lm import CausalLM
from gradatim.language.sampling import right_padded


@dataclass(frozen=True)
class CompletionDifficulty:
    """Means over the tokens of each completion, all higher = harder; NaN where there is none.

    Attributes:
        loss: mean negative log-probability, in nats, shape [B].
        confidence: one minus the mean probability, in [0, 1], shape [B].
        margin: how far the best other token is ahead, mean of (1 + other - own) / 2, in [0, 1],
            shape [B].
        entropy: mean entropy of the predictions, in nats, shape [B]; the tokens themselves do not
            enter.
        tokens: how many tokens were predicted, shape [B].
    """

    loss: torch.Tensor
    confidence: torch.Tensor
    margin: torch.Tensor
    entropy: torch.Tensor
    tokens: torch.Tensor


@torch.no_grad()
def completion_difficulty(
    model: CausalLM,
    ids: torch.Tensor,
    mask: torch.Tensor,
    completion: torch.Tensor,
    *,
    chunk_tokens: int = 512,
) -> CompletionDifficulty:
    r"""What a model finds hard in each completion, given all that stands before each token.

    With :math:`p_t` the prediction of token :math:`x_t` and means over the T tokens of the
    completion,

    .. math:: \text{loss} = - \tfrac1T \textstyle\sum_t \log p_t(x_t), \quad
        \text{confidence} = 1 - \tfrac1T \sum_t p_t(x_t), \quad
        \text{margin} = \tfrac1T \sum_t \tfrac12 \bigl(1 + \max_{v \ne x_t} p_t(v) - p_t(x_t)
        \bigr), \quad \text{entropy} = - \tfrac1T \sum_t \sum_v p_t(v) \log p_t(v)

    The perplexity is the exponential of the loss. Logits of at most ``chunk_tokens`` tokens are
    held at once, and only those of completions are computed.

    Args:
        model: the language model.
        ids: tokens, padded on either side, shape [B, T].
        mask: True where there is a token, shape [B, T].
        completion: True for the tokens that count, shape [B, T]. The first token of a row never
            does, since nothing predicts it.
        chunk_tokens: tokens whose logits are held at once.

    Returns:
        Float32 (float64 for such a model) on the device of ``ids``.

    Raises:
        InputError: shapes that differ, or ``chunk_tokens`` below 1.

    >>> from gradatim.networks.decoder import SmallDecoder
    >>> model = SmallDecoder(10, hidden_size=8, layers=1)
    >>> ids = torch.tensor([[1, 2, 3]])
    >>> found = completion_difficulty(model, ids, ids > 0, ids > 1)
    >>> found.tokens.tolist(), bool(found.loss > 0)
    ([2], True)
    """
    check_shape("ids", ids, "B", "T")
    check_same_shape("mask", mask, "ids", ids)
    check_same_shape("completion", completion, "ids", ids)
    check_range("chunk_tokens", chunk_tokens, 1)
    there = mask.bool()
    predicted = there[:, 1:] & there[:, :-1] & completion.bool()[:, 1:]
    hidden = model(ids, mask)[:, :-1][predicted]
    targets = ids[:, 1:][predicted]
    parts = [
        _of_tokens(model.logits(some), tokens)
        for some, tokens in zip(
            torch.split(hidden, chunk_tokens), torch.split(targets, chunk_tokens), strict=True
        )
    ]
    figures = torch.cat(parts)
    row = predicted.nonzero()[:, 0]
    tokens = predicted.sum(dim=1)
    total = figures.new_zeros(len(ids), figures.shape[1]).index_add_(0, row, figures)
    means = total / tokens[:, None]  # 0 / 0 is NaN where nothing is predicted
    loss, confidence, margin, entropy = means.unbind(dim=1)
    return CompletionDifficulty(loss, confidence, margin, entropy, tokens)


@torch.no_grad()
def score_completions(
    model: CausalLM,
    sequences: Sequence[Sequence[int]],
    completions: Sequence[Sequence[bool]],
    *,
    batch_tokens: int = 8192,
    chunk_tokens: int = 512,
    dtype: torch.dtype | None = None,
) -> CompletionDifficulty:
    """:func:`completion_difficulty` of many sequences, in batches of like length.

    Args:
        model: the language model; it is put in evaluation mode meanwhile, and stays on its device.
        sequences: tokens of each prompt with its completion.
        completions: which of these tokens count.
        batch_tokens: tokens read at once at most, padding included; a sequence that is longer is
            read alone.
        chunk_tokens: as in :func:`completion_difficulty`.
        dtype: precision of the matrix products; None takes that of the weights.

    Returns:
        On the CPU, in the order of the sequences.

    Raises:
        InputError: unequal lengths (the row is named), an empty sequence, one that is longer than
            the model's context, or ``batch_tokens`` below 1.

    >>> from gradatim.networks.decoder import SmallDecoder
    >>> model = SmallDecoder(10, hidden_size=8, layers=1)
    >>> score_completions(model, [[1, 2], [3, 4, 5]], [[False, True], [False, True, True]]).tokens
    tensor([1, 2])
    """
    check_range("batch_tokens", batch_tokens, 1)
    _check_sequences(model, sequences, completions)
    device = model.device
    half = dtype is not None and dtype.itemsize == 2
    parts, order = [], []
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        for rows in batches_of_like_length([len(one) for one in sequences], batch_tokens):
            ids, mask = right_padded([sequences[row] for row in rows], device)
            counted, _ = right_padded([[int(c) for c in completions[row]] for row in rows], device)
            with torch.autocast(device.type, dtype=dtype, enabled=half):
                found = completion_difficulty(
                    model, ids, mask, counted.bool(), chunk_tokens=chunk_tokens
                )
            parts.append(found)
            order += rows
    finally:
        for module in training:
            module.training = True
    back = torch.tensor(order, dtype=torch.long).argsort()
    joined = {
        name: torch.cat([getattr(part, name).cpu() for part in parts])[back]
        if parts
        else torch.zeros(0)
        for name in (field.name for field in fields(CompletionDifficulty))
    }
    return CompletionDifficulty(**joined)


def batches_of_like_length(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Positions by falling length, in batches of at most so many tokens, padding included.

    The longest come first, so that what does not fit into memory shows at once.

    >>> list(batches_of_like_length([1, 3, 2, 1], 4))
    [[1], [2, 0], [3]]
    """
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    start = 0
    while start < len(order):
        width = max(1, tokens // max(1, lengths[order[start]]))
        yield order[start : start + width]
        start += width


def _of_tokens(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Loss, confidence, margin and entropy of each prediction, shape [N, 4]."""
    # Clamped, so that a token that is ruled out counts 0 times its logit, which is then no NaN.
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32), copy=True)
    logits.clamp_(min=torch.finfo(logits.dtype).min / 4)
    place = tokens[:, None]
    total = logits.logsumexp(dim=1)
    own = logits.gather(1, place)[:, 0] - total
    probabilities = (logits - total[:, None]).exp_()
    entropy = total - torch.linalg.vecdot(probabilities, logits)
    other = probabilities.scatter_(1, place, 0.0).amax(dim=1)
    sure = own.exp()
    return torch.stack([-own, 1 - sure, (1 + other - sure) / 2, entropy.clamp_(min=0)], dim=1)


def _check_sequences(
    model: CausalLM, sequences: Sequence[Sequence[int]], completions: Sequence[Sequence[bool]]
) -> None:
    check_same_length(sequences=sequences, completions=completions)
    for row, (ids, counted) in enumerate(zip(sequences, completions, strict=True)):
        if len(ids) != len(counted) or not len(ids):
            raise InputError(
                f"completions, row {row}: expected a value for each of the tokens, of which there "
                f"is at least one, got {len(counted)} for {len(ids)}"
            )
        if model.context_length is not None and len(ids) > model.context_length:
            raise InputError(
                f"sequences, row {row}: expected at most {model.context_length} tokens, the "
                f"model's context, got {len(ids)}"
            )
