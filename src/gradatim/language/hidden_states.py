"""Hidden states of a model at chosen places of many sequences."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gradatim.core.checks import check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.language.causal_lm import CausalLM
from gradatim.language.sampling import right_padded

_WORTH_IT = 0.8
"""Rows that begin alike are read together if that reads fewer tokens than this share."""


@torch.no_grad()
def hidden_states_at(
    model: CausalLM,
    sequences: Sequence[Sequence[int]],
    places: Sequence[Sequence[int]],
    *,
    batch_tokens: int = 16384,
) -> NDArray[np.float16]:
    """Read sequences once, and keep the hidden states of some of their tokens.

    What many begin with, such as worked examples or a question with many answers, is read once for
    all that are read together.

    Args:
        model: the language model, in the mode in which it is to be used.
        sequences: token ids of each.
        places: which tokens of each, counted from its start.
        batch_tokens: tokens read at once at most, padding included.

    Returns:
        The states in half precision, sequence by sequence in the order of the places, shape
        [number of places, H].

    Raises:
        InputError: unequal numbers of both, or a place outside its sequence.
    """
    check_range("batch_tokens", batch_tokens, 1)
    check_same_length(sequences=sequences, places=places)
    for row, (sequence, wanted) in enumerate(zip(sequences, places, strict=True)):
        if len(wanted) and not 0 <= min(wanted) <= max(wanted) < len(sequence):
            raise InputError(
                f"places: expected numbers from 0 to {len(sequence) - 1} in row {row}, "
                f"got {list(wanted)}"
            )
    starts = np.concatenate([[0], np.cumsum([len(wanted) for wanted in places])]).astype(int)
    states = np.zeros((starts[-1], model.hidden_size), dtype=np.float16)
    largest = float(np.finfo(np.float16).max)
    for batch in _batches(sequences, places, batch_tokens):
        rows, shared = batch.rows, batch.shared
        beginning = torch.tensor(list(sequences[rows[0]][:shared]), dtype=torch.long)
        ids, mask = right_padded([sequences[row][shared:] for row in rows], model.device)
        hidden = model.behind(beginning.to(model.device), ids, mask)
        for place, row in enumerate(rows):
            wanted = [one - shared for one in places[row]]
            index = torch.tensor(wanted, dtype=torch.long, device=hidden.device)
            chosen = hidden[place, index].float().clamp(-largest, largest)
            states[starts[row] : starts[row + 1]] = chosen.cpu().numpy()
    return states


@dataclass
class _Batch:
    """Rows that are read together.

    Attributes:
        rows: which sequences.
        shared: how many tokens all begin with, all before the first place that is wanted.
        longest: tokens of the longest.
    """

    rows: list[int]
    shared: int
    longest: int

    @property
    def cost(self) -> int:
        """How many tokens are read, padding included."""
        return self.shared + len(self.rows) * (self.longest - self.shared)

    def with_row(self, row: int, common: int, length: int) -> "_Batch":
        """This batch and one more row, which has so much in common with the last one."""
        return _Batch([*self.rows, row], min(self.shared, common), max(self.longest, length))


def _batches(
    sequences: Sequence[Sequence[int]], places: Sequence[Sequence[int]], batch_tokens: int
) -> list[_Batch]:
    """Batches of few tokens in all: rows of like length, or rows that begin alike.

    What a batch's rows begin with is read once. Without beginnings that are worth it there is
    little padding and few batches.
    """
    wanted = [row for row, own in enumerate(places) if len(own)]
    by_length = sorted(wanted, key=lambda row: len(sequences[row]))
    by_text = sorted(wanted, key=lambda row: list(sequences[row]))
    large = _gather(by_length, sequences, places, batch_tokens, patient=True)
    alike = _gather(by_text, sequences, places, batch_tokens, patient=False)
    worth_it = sum(one.cost for one in alike) < _WORTH_IT * sum(one.cost for one in large)
    return alike if worth_it else large


def _gather(
    order: Sequence[int],
    sequences: Sequence[Sequence[int]],
    places: Sequence[Sequence[int]],
    batch_tokens: int,
    *,
    patient: bool,
) -> list[_Batch]:
    """Batches of rows in this order; unless patient, no row joins if it is cheaper read alone."""
    batches: list[_Batch] = []
    for row in order:
        length, first = len(sequences[row]), min(places[row])
        if batches:
            last = batches[-1]
            common = min(_common(sequences[last.rows[-1]], sequences[row], last.shared), first)
            joined = last.with_row(row, common, length)
            fits = len(joined.rows) * joined.longest <= batch_tokens
            if fits and (patient or joined.cost - last.cost <= length):
                batches[-1] = joined
                continue
        batches.append(_Batch([row], first, length))
    return batches


def _common(one: Sequence[int], two: Sequence[int], most: int) -> int:
    """With how many tokens both begin, counted up to ``most``."""
    pairs = zip(one[:most], two[:most], strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(most, len(two)))
