"""Prompts with their responses as examples: batches of tokens, padded on the right."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gradatim.core.checks import check_same_length, check_same_shape
from gradatim.core.errors import InputError
from gradatim.language.sampling import Responses, right_padded


class ResponseExamples:
    """Sequences of a prompt and a response, with columns for whole rows and for response tokens.

    A batch ``examples[positions]`` holds ``ids``, ``mask`` (True where there is a token) and
    ``response`` (True where the token belongs to the response), each of shape [B, L] with L the
    longest of the batch, and the further columns: of shape [B, ...], or [B, L] for those of
    tokens, which hold -1 (0 for floating point, False for booleans) outside the response.

    Args:
        prompts: token ids of each prompt.
        responses: what was answered, each row naming its prompt.
        tokens: further columns, a value a response token, each of shape [R, T].
        rows: further columns, a value a row, each of shape [R, ...].

    Raises:
        InputError: a column whose shape does not fit, a name used twice, or a response to a
            prompt that is not there.

    >>> from gradatim.language.sampling import Responses
    >>> one = Responses(torch.tensor([0]), torch.tensor([[8, 9]]), torch.tensor([2]),
    ...                 torch.zeros(1, 2), torch.tensor([True]))
    >>> batch = ResponseExamples([[5, 6, 7]], one)[[0]]
    >>> batch["ids"].tolist(), batch["response"].tolist()
    ([[5, 6, 7, 8, 9]], [[False, False, False, True, True]])
    """

    def __init__(
        self,
        prompts: Sequence[Sequence[int]],
        responses: Responses,
        *,
        tokens: Mapping[str, torch.Tensor] | None = None,
        rows: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        tokens, self.rows = dict(tokens or {}), dict(rows or {})
        _check(prompts, responses, tokens, self.rows)
        padded, prompt_mask = right_padded(prompts)
        before = prompt_mask.sum(dim=1)[responses.prompt]
        self.lengths = before + responses.lengths
        self._starts = self.lengths.cumsum(0) - self.lengths
        row = torch.arange(len(before)).repeat_interleave(self.lengths)
        place = torch.arange(len(row)) - self._starts[row]
        answered = place >= before[row]
        in_prompt = (responses.prompt[row[~answered]], place[~answered])
        in_response = (row[answered], (place - before[row])[answered])
        ids = torch.empty(len(row), dtype=torch.long)
        ids[~answered], ids[answered] = padded[in_prompt], responses.tokens[in_response]
        self._flat = {"ids": ids, "response": answered}
        for name, values in tokens.items():
            flat = torch.full((len(row),), _outside(values), dtype=values.dtype)
            flat[answered] = values[in_response]
            self._flat[name] = flat

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, positions: Sequence[int]) -> dict[str, torch.Tensor]:
        """A batch of columns."""
        index = torch.as_tensor(positions, dtype=torch.long)
        lengths = self.lengths[index]
        places = torch.arange(int(lengths.max()) if len(index) else 0)
        mask = places < lengths[:, None]
        flat = (self._starts[index, None] + places)[mask]
        batch: dict[str, Any] = {"mask": mask}
        for name, values in self._flat.items():
            empty = 0 if name == "ids" else _outside(values)
            batch[name] = torch.full(mask.shape, empty, dtype=values.dtype)
            batch[name][mask] = values[flat]
        return {**batch, **{name: values[index] for name, values in self.rows.items()}}


class PreferenceExamples:
    """Pairs of responses, the first of which is preferred.

    A batch holds the columns of :class:`ResponseExamples` twice, as ``chosen_ids``,
    ``rejected_mask`` and so on, and the columns of whole pairs under their own names.

    Args:
        prompts: token ids of each prompt.
        chosen: the preferred responses.
        rejected: the others, in the same order.
        rows: further columns, a value a pair, each of shape [R, ...].

    Raises:
        InputError: unequal numbers of responses, a pair that answers two prompts, or a column
            whose name is taken.

    >>> from gradatim.language.sampling import as_responses
    >>> pairs = PreferenceExamples([[5]], as_responses([[6, 7]]), as_responses([[8]]))
    >>> pairs[[0]]["chosen_ids"].tolist(), pairs[[0]]["rejected_ids"].tolist()
    ([[5, 6, 7]], [[5, 8]])
    """

    def __init__(
        self,
        prompts: Sequence[Sequence[int]],
        chosen: Responses,
        rejected: Responses,
        *,
        rows: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        check_same_length(chosen=chosen, rejected=rejected)
        taken = {f"{side}_{name}" for side in ("chosen", "rejected") for name in _COLUMNS}
        for name, values in (rows or {}).items():
            if name in taken:
                raise InputError(f"rows: expected another name than {name!r}, which is taken")
            check_same_length(chosen=chosen, **{name: values})
        apart = (chosen.prompt != rejected.prompt).nonzero()[:, 0]
        if len(apart):
            raise InputError(
                f"rejected: expected the prompts of chosen, but pair {int(apart[0])} answers "
                f"prompts {int(chosen.prompt[apart[0]])} and {int(rejected.prompt[apart[0]])}"
            )
        self.sides = {
            "chosen": ResponseExamples(prompts, chosen),
            "rejected": ResponseExamples(prompts, rejected),
        }
        self.rows = dict(rows or {})

    def __len__(self) -> int:
        return len(self.sides["chosen"])

    def __getitem__(self, positions: Sequence[int]) -> dict[str, torch.Tensor]:
        """A batch of columns."""
        batch = {
            f"{side}_{name}": values
            for side, examples in self.sides.items()
            for name, values in examples[positions].items()
        }
        index = torch.as_tensor(positions, dtype=torch.long)
        return {**batch, **{name: values[index] for name, values in self.rows.items()}}


_COLUMNS = ("ids", "mask", "response")


def _outside(values: torch.Tensor) -> int:
    """What a column of tokens holds where there is no response."""
    return 0 if values.is_floating_point() or values.dtype == torch.bool else -1


def _check(
    prompts: Sequence[Sequence[int]],
    responses: Responses,
    tokens: Mapping[str, torch.Tensor],
    rows: Mapping[str, torch.Tensor],
) -> None:
    astray = ((responses.prompt < 0) | (responses.prompt >= len(prompts))).nonzero()[:, 0]
    if len(astray):
        raise InputError(
            f"responses: expected answers to prompts 0 to {len(prompts) - 1}, but response "
            f"{int(astray[0])} answers prompt {int(responses.prompt[astray[0]])}"
        )
    taken = set(_COLUMNS)
    for name, values in [*tokens.items(), *rows.items()]:
        if name in taken:
            raise InputError(f"columns: expected each name once, got {name!r} again")
        taken.add(name)
        if name in tokens:
            check_same_shape(name, values, "responses.tokens", responses.tokens)
        elif values.shape[:1] != responses.tokens.shape[:1]:
            raise InputError(
                f"{name}: expected a shape that begins with {[len(responses)]}, "
                f"got {list(values.shape)}"
            )
