"""Reading many responses with a model, in batches of like length."""

from collections.abc import Callable, Iterator, Sequence

import torch

from gradatim.core.checks import check_range
from gradatim.core.precision import default_dtype
from gradatim.language.response_examples import ResponseExamples
from gradatim.language.sampling import Responses


@torch.no_grad()
def read_responses(
    module: torch.nn.Module,
    read: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    prompts: Sequence[Sequence[int]],
    responses: Responses,
    *,
    batch_tokens: int = 16384,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """What a model makes of each response token, given all before it.

    Args:
        module: the model; it is put in evaluation mode meanwhile, and stays on its device.
        read: from ids and mask, each of shape [B, L], to a number a token, shape [B, L]; as
            ``partial(token_log_probabilities, model)``.
        prompts: token ids of each prompt.
        responses: what was answered.
        batch_tokens: tokens read at once at most, padding included.
        dtype: precision of the matrix products; None takes
            :func:`gradatim.core.precision.default_dtype`. What is compared with figures of
            training must be read in the precision that is trained in.

    Returns:
        Float32 on the CPU, 0 where there is no token, shape [R, T].

    Raises:
        InputError: ``batch_tokens`` below 1, or a response to a prompt that is not there.

    >>> from functools import partial
    >>> from gradatim.language.log_probabilities import token_log_probabilities
    >>> from gradatim.language.sampling import as_responses
    >>> from gradatim.networks.decoder import SmallDecoder
    >>> model = SmallDecoder(10, hidden_size=8, layers=1)
    >>> read = partial(token_log_probabilities, model)
    >>> read_responses(model, read, [[1], [2, 3]], as_responses([[4], [5, 6]])).shape
    torch.Size([2, 2])
    """
    check_range("batch_tokens", batch_tokens, 1)
    examples = ResponseExamples(prompts, responses)
    found = torch.zeros(responses.tokens.shape)
    device = next(module.parameters()).device
    dtype = default_dtype(device) if dtype is None else dtype
    training = [one for one in module.modules() if one.training]
    module.eval()
    try:
        for rows in _by_tokens(examples.lengths, batch_tokens):
            batch = examples[rows.tolist()]
            with torch.autocast(device.type, dtype=dtype, enabled=dtype.itemsize == 2):
                numbers = read(batch["ids"].to(device), batch["mask"].to(device))
            inside = torch.arange(found.shape[1]) < responses.lengths[rows, None]
            part = torch.zeros(inside.shape)
            part[inside] = numbers.float().cpu()[batch["response"]]
            found[rows] = part
    finally:
        for one in training:
            one.training = True
    return found


def _by_tokens(lengths: torch.Tensor, tokens: int) -> Iterator[torch.Tensor]:
    """Rows by rising length, in batches of at most so many tokens, padding included."""
    order, start = lengths.argsort(), 0
    rising = lengths[order].tolist()
    for place in range(1, len(rising) + 1):
        if place == len(rising) or (place - start + 1) * rising[place] > tokens:
            yield order[start:place]
            start = place
