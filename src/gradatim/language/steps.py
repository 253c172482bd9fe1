"""Where the steps of a response lie."""

from collections.abc import Collection

import torch

from gradatim.core.checks import check_same_shape, check_shape
from gradatim.core.errors import InputError


def segment_by_separator(
    tokens: torch.Tensor, mask: torch.Tensor, separators: Collection[int]
) -> torch.Tensor:
    """Number the steps of responses: a step ends with a separator, the last with the response.

    Args:
        tokens: ids, shape [R, T].
        mask: True where there is a token, shape [R, T].
        separators: tokens that close a step and belong to it.

    Returns:
        The number of each token's step, from 0; -1 where there is no token; shape [R, T].

    Raises:
        InputError: the shapes differ, or there is no separator.

    >>> segment_by_separator(torch.tensor([[5, 1, 6, 1, 7]]), torch.ones(1, 5) > 0, [1]).tolist()
    [[0, 0, 1, 1, 2]]
    """
    check_shape("tokens", tokens, "R", "T")
    check_same_shape("mask", mask, "tokens", tokens)
    if not separators:
        raise InputError("separators: expected at least one token, got none")
    closing = torch.isin(tokens, torch.tensor(sorted(separators), device=tokens.device)) & mask
    before = closing.long().cumsum(dim=1) - closing.long()
    return before.masked_fill(~mask, -1)


def whole_response(mask: torch.Tensor) -> torch.Tensor:
    """Take each response as a single step.

    Args:
        mask: True where there is a token, shape [R, T].

    Returns:
        0 where there is a token and -1 elsewhere, shape [R, T].

    >>> whole_response(torch.tensor([[True, False]])).tolist()
    [[0, -1]]
    """
    return torch.where(mask, 0, -1)
