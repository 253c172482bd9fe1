"""Responses to forget and responses to keep, in pairs, with what the model said before."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch

from gradatim.core.checks import check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.core.seeds import derive_seed, numpy_generator
from gradatim.language.causal_lm import CausalLM
from gradatim.language.log_probabilities import token_log_probabilities
from gradatim.language.reading import read_responses
from gradatim.language.response_examples import ResponseExamples
from gradatim.language.sampling import as_responses
from gradatim.training.batches import Index, ShuffledBatches

_ROWS_AT_ONCE = 1024


class ForgetRetainExamples:
    """All pairs of a response to forget and one to keep, as examples.

    The example at position f * R + r is the pair of response f to forget and response r of the R
    to keep (R is 1 if there are none). A batch holds the columns of
    :class:`~gradatim.language.response_examples.ResponseExamples` as ``forget_ids``,
    ``forget_mask``, ``forget_response``, and likewise ``retain_...`` and ``refusal_...``, each
    padded for itself, and the further columns under their own names.

    Args:
        forget: what is to be forgotten.
        retain: what is to be kept.
        refusals: what to say instead, a response for each one to forget, in the same order.
        rows: further columns, a value a response to forget, each of shape [F, ...].

    Raises:
        InputError: nothing to forget, a row without response tokens, or unequal numbers.

    >>> examples = ResponseExamples([[1], [2]], as_responses([[3, 4], [5]]))
    >>> pairs = ForgetRetainExamples(examples, examples)
    >>> len(pairs), {name: column.tolist() for name, column in pairs[[1]].items() if "ids" in name}
    (4, {'forget_ids': [[1, 3, 4]], 'retain_ids': [[2, 5]]})
    """

    def __init__(
        self,
        forget: ResponseExamples,
        retain: ResponseExamples | None = None,
        *,
        refusals: ResponseExamples | None = None,
        rows: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        _check("forget", forget)
        if retain is not None:
            _check("retain", retain)
        if refusals is not None:
            _check("refusals", refusals)
            check_same_length(forget=forget, refusals=refusals)
        for name, values in (rows or {}).items():
            check_same_length(forget=forget, **{name: values})
        self.forget, self.retain, self.refusals = forget, retain, refusals
        self.rows = dict(rows or {})
        self.kept = 1 if retain is None else len(retain)

    def __len__(self) -> int:
        return len(self.forget) * self.kept

    def __getitem__(self, positions: Sequence[int]) -> dict[str, torch.Tensor]:
        """A batch of columns."""
        places = torch.as_tensor(positions, dtype=torch.long)
        forget, retain = places // self.kept, places % self.kept
        parts = [("forget", self.forget, forget)]
        if self.retain is not None:
            parts.append(("retain", self.retain, retain))
        if self.refusals is not None:
            parts.append(("refusal", self.refusals, forget))
        batch = {
            f"{kind}_{name}": column
            for kind, examples, index in parts
            for name, column in examples[index.tolist()].items()
        }
        return {**batch, **{name: values[forget] for name, values in self.rows.items()}}


class ForgetRetainBatches:
    """Batches of pairs, in which what is to be kept goes round beside what is to be forgotten.

    Guarantee: each response to forget exactly once an epoch; those to keep in fresh permutations
    one after another, over the ends of epochs.

    Args:
        forget: F, how many responses there are to forget.
        retain: R, how many to keep; 0 for none.
        batch_size: pairs in a batch, over all processes.
        seed: what the permutations depend on.

    >>> plan = ForgetRetainBatches(4, 3, batch_size=2)
    >>> rows = [int(i) for p in range(len(plan)) for i in plan.batch(0, p, 0.0)]
    >>> sorted(row // 3 for row in rows), sorted(row % 3 for row in rows[:3])
    ([0, 1, 2, 3], [0, 1, 2])
    """

    def __init__(self, forget: int, retain: int, batch_size: int, *, seed: int = 0) -> None:
        check_range("retain", retain, 0)
        self.plan = ShuffledBatches(forget, batch_size, seed=derive_seed(seed, "forget"))
        self.kept, self.seed = max(retain, 1), seed
        self._round, self._order = -1, np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.plan)

    def batch(self, epoch: int, position: int, progress: float) -> Index:
        """Positions of the pairs in one batch."""
        forget = self.plan.batch(epoch, position, progress)
        start = epoch * self.plan.num_examples + position * self.plan.batch_size
        retain = [self._retained(start + place) for place in range(len(forget))]
        return np.asarray(forget * self.kept + np.array(retain, dtype=np.int64))

    def _retained(self, place: int) -> int:
        """The response to keep that comes up at a place of the endless sequence."""
        turn, within = divmod(place, self.kept)
        if turn != self._round:
            generator = numpy_generator(self.seed, "retain", turn)
            self._round, self._order = turn, generator.permutation(self.kept)
        return int(self._order[within])


def response_log_probabilities(
    model: CausalLM,
    examples: ResponseExamples,
    rows: Sequence[int] | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Log-probability of each response, summed over its tokens, in evaluation mode.

    Args:
        model: the language model; it is left as it is.
        examples: the responses.
        rows: those to read; None reads all.
        dtype: precision that is read in, as in
            :func:`~gradatim.language.reading.read_responses`: that of training, if the two are to
            be compared.

    Returns:
        Float32 on the CPU, shape [N].

    >>> from gradatim.networks.decoder import SmallDecoder
    >>> model = SmallDecoder(10, hidden_size=8, layers=1)
    >>> examples = ResponseExamples([[1], [2]], as_responses([[3, 4], [5]]))
    >>> response_log_probabilities(model, examples).shape
    torch.Size([2])
    """
    prompts: list[list[int]] = []
    responses: list[list[int]] = []
    for batch in _batches(examples, rows):
        for ids, mask, response in zip(batch["ids"], batch["mask"], batch["response"], strict=True):
            prompts.append(ids[mask & ~response].tolist())
            responses.append(ids[response].tolist())
    read = partial(token_log_probabilities, model, chunk_tokens=256)
    tokens = read_responses(model, read, prompts, as_responses(responses), dtype=dtype)
    return tokens.sum(dim=1)


def response_lengths(examples: ResponseExamples, rows: Sequence[int] | None = None) -> torch.Tensor:
    """Tokens of each response, shape [N]; of some rows, or of all.

    >>> response_lengths(ResponseExamples([[1], [2]], as_responses([[3, 4], [5]]))).tolist()
    [2, 1]
    """
    return torch.cat([batch["response"].sum(dim=1) for batch in _batches(examples, rows)])


def _batches(
    examples: ResponseExamples, rows: Sequence[int] | None
) -> Iterator[dict[str, torch.Tensor]]:
    """The examples of some rows, or of all, a number at once."""
    chosen = range(len(examples)) if rows is None else rows
    for start in range(0, len(chosen), _ROWS_AT_ONCE):
        yield examples[chosen[start : start + _ROWS_AT_ONCE]]


def _check(name: str, examples: ResponseExamples) -> None:
    if not len(examples):
        raise InputError(f"{name}: expected at least one response, got none")
    empty = (response_lengths(examples) == 0).nonzero()[:, 0]
    if len(empty):
        raise InputError(
            f"{name}: expected responses of at least one token, got none in row {int(empty[0])}"
        )
