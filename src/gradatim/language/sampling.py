"""Sampling many responses to many prompts with one model."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from torch.nn import functional

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import torch_generator
from gradatim.language.causal_lm import CausalLM, DecodingState

_DROP_AT = 0.125
"""Share of finished rows at which copying the rest into a smaller batch pays."""


@dataclass(frozen=True)
class Responses:
    """Responses to prompts, those to one prompt side by side.

    Attributes:
        prompt: position of the prompt that each row answers, shape [R].
        tokens: new tokens, the stop token included, zero after a response's end, shape [R, T].
        lengths: how many tokens each response has, shape [R].
        log_probabilities: the model's log-probability of each new token at temperature 1, zero
            after the end, shape [R, T].
        finished: whether a response ended with a stop token, not at the limit, shape [R].
    """

    prompt: torch.Tensor
    tokens: torch.Tensor
    lengths: torch.Tensor
    log_probabilities: torch.Tensor
    finished: torch.Tensor

    @property
    def mask(self) -> torch.Tensor:
        """True where there is a token, shape [R, T]."""
        places = torch.arange(self.tokens.shape[1], device=self.lengths.device)
        return places < self.lengths[:, None]

    def __len__(self) -> int:
        return len(self.prompt)

    def select(self, rows: torch.Tensor) -> "Responses":
        """The responses of these rows, in their order; their prompts keep their positions."""
        return Responses(*(getattr(self, field.name)[rows] for field in fields(self)))

    def lists(self) -> list[list[int]]:
        """The tokens of each response, without padding."""
        return [
            row[:length]
            for row, length in zip(self.tokens.tolist(), self.lengths.tolist(), strict=True)
        ]


def join_responses(
    parts: Sequence[tuple[Sequence[Sequence[int]], Responses]],
) -> tuple[list[Sequence[int]], Responses]:
    """Put several sets of prompts and responses behind one another.

    Args:
        parts: prompts and the responses to them, at least one pair.

    Returns:
        All prompts, and all responses to them.

    Raises:
        InputError: there is no part.

    >>> one, other = as_responses([[5, 6]]), as_responses([[7]])
    >>> prompts, both = join_responses([([[1]], one), ([[2]], other)])
    >>> prompts, both.prompt.tolist(), both.lists()
    ([[1], [2]], [0, 1], [[5, 6], [7]])
    """
    if not parts:
        raise InputError("parts: expected at least one set of responses, got none")
    prompts: list[Sequence[int]] = []
    positions, width = [], max(responses.tokens.shape[1] for _, responses in parts)
    for some, responses in parts:
        positions.append(responses.prompt + len(prompts))
        prompts.extend(some)
    wide = [
        torch.cat(
            [
                functional.pad(values, (0, width - values.shape[1]))
                for values in (getattr(responses, name) for _, responses in parts)
            ]
        )
        for name in ("tokens", "log_probabilities")
    ]
    lengths = torch.cat([responses.lengths for _, responses in parts])
    finished = torch.cat([responses.finished for _, responses in parts])
    return prompts, Responses(torch.cat(positions), wide[0], lengths, wide[1], finished)


@torch.no_grad()
def sample(
    model: CausalLM,
    prompts: Sequence[Sequence[int]],
    *,
    copies: int = 1,
    longest: int = 256,
    stop: Collection[int] = (),
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    batch_rows: int = 256,
    seed: int = 0,
) -> Responses:
    r"""Sample responses token by token from :math:`\mathrm{softmax}(z / \tau)`.

    A prompt is read once, whatever the number of its copies; prompts of like length are decoded
    together; rows that have ended are dropped from the batch. The result is a function of the
    arguments and the seed.

    Args:
        model: the language model; its mode (training or evaluation) is left as it is.
        prompts: token ids of each prompt.
        copies: responses to each prompt.
        longest: new tokens at most.
        stop: tokens that end a response; they are part of it.
        temperature: tau; 0 takes the likeliest token.
        top_k: sample among the k likeliest tokens only.
        top_p: sample among the likeliest tokens whose probabilities first reach p.
        batch_rows: rows decoded at once at most; the copies of one prompt may be split.
        seed: what the draws depend on.

    Returns:
        The responses on the CPU, in the order of the prompts.

    Raises:
        InputError: an empty prompt; a prompt and ``longest`` together exceed the context; an
            option out of range; a stop token that is not in the vocabulary.

    >>> from gradatim.networks.decoder import SmallDecoder
    >>> model = SmallDecoder(10, hidden_size=8, layers=1, heads=2)
    >>> responses = sample(model, [[1, 2], [3]], copies=4, longest=5, stop=[0])
    >>> responses.prompt.tolist(), bool((responses.lengths <= 5).all())
    ([0, 0, 0, 0, 1, 1, 1, 1], True)
    """
    _check(model, prompts, copies, longest, stop, temperature, top_k, top_p, batch_rows)
    rows = len(prompts) * copies
    tokens = torch.zeros(rows, longest, dtype=torch.long)
    log_probabilities = torch.zeros(rows, longest)
    lengths = torch.zeros(rows, dtype=torch.long)
    finished = torch.zeros(rows, dtype=torch.bool)
    ends = torch.tensor(sorted(stop), dtype=torch.long, device=model.device)
    for number, (chosen, first, count) in enumerate(_groups(prompts, copies, batch_rows)):
        generator = torch_generator(seed, number, device=model.device)
        draw = _Draw(temperature, top_k, top_p, generator)
        ids, mask = left_padded([prompts[index] for index in chosen], model.device)
        logits, state = model.begin(ids, mask, count, longest)
        part = _decode(logits, state, longest, ends, draw)
        place = (torch.tensor(chosen)[:, None] * copies + first + torch.arange(count)).flatten()
        for whole, new in zip((tokens, log_probabilities, lengths, finished), part, strict=True):
            whole[place] = new.cpu()
    used = int(lengths.max()) if rows else 0
    prompt = torch.arange(len(prompts)).repeat_interleave(copies)
    return Responses(prompt, tokens[:, :used], lengths, log_probabilities[:, :used], finished)


def left_padded(
    sequences: Sequence[Sequence[int]], device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sequences of tokens as one tensor, padded with zeros on the left, and its mask.

    >>> left_padded([[5, 6], [7]])[0].tolist()
    [[5, 6], [0, 7]]
    """
    return _padded(sequences, device, left=True)


def right_padded(
    sequences: Sequence[Sequence[int]], device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sequences of tokens as one tensor, padded with zeros on the right, and its mask.

    >>> right_padded([[5, 6], [7]])[1].tolist()
    [[True, True], [True, False]]
    """
    return _padded(sequences, device, left=False)


def as_responses(texts: Sequence[Sequence[int]]) -> Responses:
    """Given solutions as responses, one to each prompt: demonstrations to learn from.

    Args:
        texts: token ids of each solution, its end included.

    >>> as_responses([[5, 6], [7]]).lengths.tolist()
    [2, 1]
    """
    tokens, mask = right_padded(texts)
    count = len(texts)
    return Responses(
        torch.arange(count),
        tokens,
        mask.sum(dim=1),
        torch.zeros(tokens.shape),
        torch.ones(count, dtype=torch.bool),
    )


def _padded(
    sequences: Sequence[Sequence[int]], device: torch.device | str, *, left: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, sequences), default=0)
    lengths = torch.tensor([len(sequence) for sequence in sequences], dtype=torch.long)[:, None]
    places = torch.arange(width)
    mask = places >= width - lengths if left else places < lengths
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    ids[mask] = torch.tensor([token for one in sequences for token in one], dtype=torch.long)
    return ids.to(device), mask.to(device)


def _check(
    model: CausalLM,
    prompts: Sequence[Sequence[int]],
    copies: int,
    longest: int,
    stop: Collection[int],
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    batch_rows: int,
) -> None:
    for name, value in (("copies", copies), ("longest", longest), ("batch_rows", batch_rows)):
        check_range(name, value, 1)
    check_range("temperature", temperature, 0)
    if top_k is not None:
        check_range("top_k", top_k, 1)
    if top_p is not None:
        check_range("top_p", top_p, 0, 1, open_low=True)
    for token in stop:
        if not 0 <= token < model.vocabulary_size:
            raise InputError(f"stop: expected tokens in [0, {model.vocabulary_size}), got {token}")
    for index, prompt in enumerate(prompts):
        if not len(prompt):
            raise InputError(f"prompts: expected at least one token, got none in prompt {index}")
        if model.context_length is not None and len(prompt) + longest > model.context_length:
            raise InputError(
                f"prompts: prompt {index} has {len(prompt)} tokens, which with longest={longest} "
                f"exceeds the model's context of {model.context_length}"
            )


def _groups(
    prompts: Sequence[Sequence[int]], copies: int, batch_rows: int
) -> Iterator[tuple[list[int], int, int]]:
    """Batches, long prompts first: which prompts, and which of their copies (first, number)."""
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    width = max(1, batch_rows // copies)
    for start in range(0, len(order), width):
        for first in range(0, copies, batch_rows):
            yield order[start : start + width], first, min(batch_rows, copies - first)


@dataclass(frozen=True)
class _Draw:
    """How a token is chosen."""

    temperature: float
    top_k: int | None
    top_p: float | None
    generator: torch.Generator

    def __call__(self, log_probabilities: torch.Tensor) -> torch.Tensor:
        """One token a row, shape [R], from log-probabilities, shape [R, V]."""
        if self.temperature == 0:
            return log_probabilities.argmax(dim=1)
        scores = log_probabilities / self.temperature
        if self.top_k is not None and self.top_k < scores.shape[1]:
            # By their places: a threshold would let in all that tie with the last of them.
            best = scores.topk(self.top_k, dim=1)
            nothing = torch.full_like(scores, -torch.inf)
            scores = nothing.scatter(1, best.indices, best.values)
        if self.top_p is not None and self.top_p < 1:
            scores = _nucleus(scores, self.top_p)
        reached = scores.softmax(dim=1).cumsum(dim=1)
        total = reached[:, -1:].contiguous()
        uniform = torch.rand(
            total.shape, dtype=total.dtype, device=total.device, generator=self.generator
        )
        place = torch.searchsorted(reached, uniform * total, right=True)
        # Rounding may lead to the total itself: never past the last token of any probability.
        return torch.minimum(place, torch.searchsorted(reached, total))[:, 0]


def _nucleus(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """Remove all but the likeliest tokens whose probabilities first reach p."""
    ordered, order = scores.softmax(dim=1).sort(dim=1, descending=True)
    before = ordered.cumsum(dim=1) - ordered
    removed = torch.zeros_like(before, dtype=torch.bool).scatter(1, order, before >= top_p)
    return scores.masked_fill(removed, -torch.inf)


def _decode(
    logits: torch.Tensor, state: DecodingState, longest: int, ends: torch.Tensor, draw: _Draw
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens, log-probabilities, lengths and ends of the rows of one batch."""
    count, device = len(logits), logits.device
    tokens = torch.zeros(count, longest, dtype=torch.long, device=device)
    log_probabilities = torch.zeros(count, longest, device=device)
    lengths = torch.full((count,), longest, device=device)
    finished = torch.zeros(count, dtype=torch.bool, device=device)
    rows = torch.arange(count, device=device)
    running = torch.ones(count, dtype=torch.bool, device=device)
    for step in range(longest):
        scores = logits.float().log_softmax(dim=1)
        drawn = draw(scores)
        live = rows[running]
        tokens[live, step] = drawn[running]
        log_probabilities[live, step] = scores.gather(1, drawn[:, None])[running, 0]
        ended = torch.isin(drawn, ends) & running
        finished[rows[ended]] = True
        lengths[rows[ended]] = step + 1
        running = running & ~ended
        left = int(running.sum())
        if left == 0 or step + 1 == longest:
            break
        if len(running) - left >= max(1, _DROP_AT * len(running)):
            kept = running.nonzero()[:, 0]
            state.keep(kept)
            rows, drawn, running = rows[kept], drawn[kept], running[kept]
        logits = state.advance(drawn)
    return tokens, log_probabilities, lengths, finished
