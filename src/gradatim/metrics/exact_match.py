"""Exact match: whether a predicted sequence is the right one as a whole."""

import torch
from torch.nn import functional

from gradatim.core.checks import check_shape
from gradatim.core.errors import InputError


def exact_match(
    predicted: torch.Tensor, gold: torch.Tensor, *, end: int, allow_more: bool = False
) -> torch.Tensor:
    r"""Whether each predicted sequence equals the right one, up to and including its end.

    .. math:: m_i = \bigl[ |\hat y_i| = |y_i| \bigr] \prod_t \bigl[ \hat y_{it} = y_{it} \bigr]

    with :math:`|y|` the place of the first end token. What follows it does not count. A sequence
    that never ends is unfinished, and equals nothing.

    Args:
        predicted: integers, shape [N, T].
        gold: integers, shape [N, U].
        end: the token that ends a sequence.
        allow_more: whether a prediction may go on where the right sequence ends: only what stands
            before that counts, which tells apart wrong contents and wrong lengths.

    Returns:
        Booleans, shape [N]; their mean is the exact-match accuracy.

    Raises:
        InputError: other shapes, another number of rows, or a right sequence without an end.

    Source: Zhou, Jiang and Bansal 2023, arXiv 2311.04420 (the metric of its tests).

    >>> gold = torch.tensor([[5, 6, 1], [7, 1, 0]])
    >>> exact_match(torch.tensor([[5, 6, 1, 3], [7, 7, 1, 0]]), gold, end=1)
    tensor([ True, False])
    """
    check_shape("predicted", predicted, "N", "T")
    check_shape("gold", gold, len(predicted), "U")
    endless = ~(gold == end).any(dim=1)
    if endless.any():
        row = int(endless.nonzero()[0])
        raise InputError(f"gold, row {row}: expected the end token {end}, got none")
    width = max(predicted.shape[1], gold.shape[1])
    one, other = (functional.pad(x, (0, width - x.shape[1]), value=end) for x in (predicted, gold))
    ended = (other == end).cumsum(dim=1)
    if allow_more:
        return ((one == other) | (ended > 0)).all(dim=1)
    after_end = (ended - (other == end).long()) > 0
    finished = (predicted == end).any(dim=1)
    return ((one == other) | after_end).all(dim=1) & finished
