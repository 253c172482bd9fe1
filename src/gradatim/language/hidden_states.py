"""Hidden states of a model at chosen places of many sequences."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from gradatim.core.checks import check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.language.causal_lm import CausalLM
from gradatim.language.sampling import right_padded


@torch.no_grad()
def hidden_states_at(
    model: CausalLM,
    sequences: Sequence[Sequence[int]],
    places: Sequence[Sequence[int]],
    *,
    batch_tokens: int = 16384,
) -> NDArray[np.float16]:
    """Read sequences once, and keep the hidden states of some of their tokens.

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
    for rows in _batches([len(sequence) for sequence in sequences], batch_tokens):
        ids, mask = right_padded([sequences[row] for row in rows], model.device)
        hidden = model(ids, mask)
        for place, row in enumerate(rows):
            index = torch.tensor(places[row], dtype=torch.long, device=hidden.device)
            chosen = hidden[place, index].float().clamp(-largest, largest)
            states[starts[row] : starts[row + 1]] = chosen.cpu().numpy()
    return states


def _batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Rows of like length together, so that a padded batch holds at most so many tokens."""
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        if not lengths[row]:
            continue
        if batches and (len(batches[-1]) + 1) * lengths[row] <= batch_tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches
