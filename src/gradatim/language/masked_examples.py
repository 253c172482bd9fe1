"""Sequences of tokens with any mask of what is learned: conversations of several turns."""

from collections.abc import Mapping, Sequence

import torch

from gradatim.core.checks import check_same_length
from gradatim.core.errors import InputError
from gradatim.language.response_examples import ResponseExamples


class MaskedExamples(ResponseExamples):
    """Sequences of which some tokens are learned, wherever they stand.

    A batch holds the columns of :class:`~gradatim.language.response_examples.ResponseExamples`,
    where ``response`` is True for the tokens that are learned: of a conversation all turns of the
    assistant, each of which may stand before a turn of the user.

    Args:
        ids: tokens of each sequence.
        learned: for each of its tokens whether it is learned.
        rows: further columns, a value a sequence, each of shape [R, ...].

    Raises:
        InputError: no sequence, unequal lengths, or a sequence of which nothing is learned.

    >>> examples = MaskedExamples([[5, 6, 7], [8, 9]], [[False, True, False], [False, True]])
    >>> examples[[0, 1]]["response"].tolist()
    [[False, True, False], [False, True, False]]
    """

    def __init__(
        self,
        ids: Sequence[Sequence[int]],
        learned: Sequence[Sequence[bool]],
        *,
        rows: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        check_same_length(ids=ids, learned=learned)
        if not len(ids):
            raise InputError("ids: expected at least one sequence, got none")
        for place, (tokens, marks) in enumerate(zip(ids, learned, strict=True)):
            if len(tokens) != len(marks) or not any(marks):
                told = f"{len(marks)} marks" if len(tokens) != len(marks) else "no token to learn"
                raise InputError(
                    f"learned: expected a mark for each of the {len(tokens)} tokens of sequence "
                    f"{place}, one of them True; got {told}"
                )
        for name, values in (rows or {}).items():
            check_same_length(ids=ids, **{name: values})
        self.rows = dict(rows or {})
        self.lengths = torch.tensor([len(tokens) for tokens in ids])
        self._starts = self.lengths.cumsum(0) - self.lengths
        self._flat = {
            "ids": torch.tensor([token for tokens in ids for token in tokens]),
            "response": torch.tensor([bool(mark) for marks in learned for mark in marks]),
        }
