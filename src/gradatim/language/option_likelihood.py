"""How likely a language model finds each option of a question."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch

from gradatim.core.checks import check_choice, check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.language.causal_lm import CausalLM
from gradatim.language.log_probabilities import token_log_probabilities
from gradatim.language.sampling import right_padded

Tokens: TypeAlias = Sequence[int]

NORMALIZATIONS = ("sum", "mean", "unconditional")

_WORTH_SHARING = 256
"""Tokens saved below which models read a common beginning again with every row."""

_OVERHEAD = 64
"""What reading one more batch costs, in tokens."""

_WORTH_IT = 0.8
"""Questions are read one by one if that costs less than this share of reading them together."""


@torch.no_grad()
def option_log_likelihoods(
    model: CausalLM,
    prompts: Sequence[Tokens],
    options: Sequence[Sequence[Tokens]],
    *,
    normalize: str = "sum",
    unconditional: Tokens | None = None,
    batch_tokens: int = 8192,
    chunk_tokens: int = 1024,
) -> torch.Tensor:
    r"""Log-likelihood of every option of every question given its prompt.

    .. math:: s_{qa} = \sum_t \log p(o_{qat} \mid x_q, o_{qa,<t})

    divided by the option's number of tokens ("mean"), or less the same sum behind a prompt that
    does not ask anything ("unconditional"), which takes away how common an option is by itself.
    Softmax over a row gives probabilities of the options.

    What the options of a question, or the prompts of many questions, have in common is read once
    for all that are read together; questions of like length are read together. The scores are
    those of reading every prompt with every option in full, up to rounding.

    Args:
        model: the language model, in the mode in which it is to be used.
        prompts: tokens of each question's prompt.
        options: tokens of each option of each question; questions may have unequally many.
        normalize: "sum", "mean" or "unconditional".
        unconditional: tokens of the prompt that does not ask; only for that normalization.
        batch_tokens: tokens read together at most, padding and common beginnings of all rows
            included; an option that is longer is read alone.
        chunk_tokens: tokens whose logits are held at once.

    Returns:
        Shape [Q, A] on the CPU in float32 (float64 for such a model), A the largest number of
        options; minus infinity where a question has fewer.

    Raises:
        InputError: a question without options, an empty prompt or option, one that exceeds the
            context, or ``unconditional`` without its normalization or the reverse.

    Source: Hase et al. 2024, arXiv 2401.06751 (sum); Brown et al. 2020, arXiv 2005.14165, section
    2.4 (per token, and unconditional).

    >>> from gradatim.networks.decoder import SmallDecoder
    >>> model = SmallDecoder(10, hidden_size=8, layers=1, heads=2)
    >>> scores = option_log_likelihoods(model, [[1, 2], [3]], [[[4], [5, 6]], [[4], [5], [6]]])
    >>> scores.shape, bool(scores[0, 2] == -torch.inf)
    (torch.Size([2, 3]), True)
    """
    check_choice("normalize", normalize, NORMALIZATIONS)
    check_range("batch_tokens", batch_tokens, 1)
    if (unconditional is not None) != (normalize == "unconditional"):
        told = "none" if unconditional is None else f"one with normalize={normalize!r}"
        raise InputError(
            "unconditional: expected a prompt with normalize='unconditional' and none otherwise, "
            f"got {told}"
        )
    _check(model, prompts, options)
    found = _sums(model, prompts, options, batch_tokens, chunk_tokens)
    if normalize == "mean":
        return found / _padded([[len(one) for one in own] for own in options], 1, found)
    if unconditional is not None:
        return found - _alone(model, unconditional, options, batch_tokens, chunk_tokens, found)
    return found


def _check(model: CausalLM, prompts: Sequence[Tokens], options: Sequence[Sequence[Tokens]]) -> None:
    check_same_length(prompts=prompts, options=options)
    for place, (prompt, own) in enumerate(zip(prompts, options, strict=True)):
        if not len(prompt):
            raise InputError(f"prompts: expected at least one token, got none in prompt {place}")
        if not len(own) or not min(map(len, own)):
            what = "an option without tokens" if len(own) else "none"
            raise InputError(f"options: expected options of question {place}, got {what}")
        length = len(prompt) + max(map(len, own))
        if model.context_length is not None and length > model.context_length:
            raise InputError(
                f"prompts: prompt {place} with its longest option has {length} tokens, which "
                f"exceeds the model's context of {model.context_length}"
            )


def _padded(rows: Sequence[Sequence[float]], fill: float, like: torch.Tensor) -> torch.Tensor:
    """Rows of unequal length as one tensor of the shape of another."""
    found = torch.full_like(like, fill)
    for place, row in enumerate(rows):
        found[place, : len(row)] = torch.tensor(row, dtype=found.dtype)
    return found


def _alone(
    model: CausalLM,
    prompt: Tokens,
    options: Sequence[Sequence[Tokens]],
    batch_tokens: int,
    chunk_tokens: int,
    like: torch.Tensor,
) -> torch.Tensor:
    """The sums behind one prompt for all, each different option read once; 0 where none is."""
    different = sorted({tuple(one) for own in options for one in own}, key=lambda one: len(one))
    _check(model, [prompt], [different])
    sums = _sums(model, [prompt], [different], batch_tokens, chunk_tokens)[0].tolist()
    known = dict(zip(different, sums, strict=True))
    return _padded([[known[tuple(one)] for one in own] for own in options], 0, like)


def _sums(
    model: CausalLM,
    prompts: Sequence[Tokens],
    options: Sequence[Sequence[Tokens]],
    batch_tokens: int,
    chunk_tokens: int,
) -> torch.Tensor:
    """Sums of log-probabilities, shape [Q, A], minus infinity where there is no option."""
    values: list[list[float]] = [[0.0] * len(own) for own in options]
    dtype = torch.float32
    for batch in _batches(prompts, options, batch_tokens):
        rows = [(one, place) for one in batch.questions for place in range(len(options[one]))]
        size = max(1, batch_tokens // batch.longest)
        shared = list(prompts[batch.questions[0]][: batch.shared])
        beginning = torch.tensor(shared, dtype=torch.long, device=model.device)
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            starts = [list(prompts[one][batch.shared :]) for one, _ in some]
            own = [[*begin, *options[one][a]] for begin, (one, a) in zip(starts, some, strict=True)]
            ids, mask = right_padded(own, model.device)
            before = torch.tensor([len(begin) for begin in starts], device=ids.device)
            wanted = mask & (torch.arange(ids.shape[1], device=ids.device) >= before[:, None])
            read = token_log_probabilities(
                model, ids, mask, only=wanted, beginning=beginning, chunk_tokens=chunk_tokens
            ).sum(dim=1)
            dtype = read.dtype
            for (one, place), value in zip(some, read.tolist(), strict=True):
                values[one][place] = value
    shape = (len(values), max(map(len, values), default=0))
    return _padded(values, -torch.inf, torch.empty(shape, dtype=dtype))


@dataclass
class _Batch:
    """Questions that are read together.

    Attributes:
        questions: which.
        rows: how many options they have in all.
        shared: how many tokens all prompts begin with; each keeps one of its own at least.
        longest: tokens of the longest prompt with its longest option.
    """

    questions: list[int]
    rows: int
    shared: int
    longest: int

    @property
    def cost(self) -> int:
        """How many tokens are read, padding included, and what the batch costs by itself."""
        saved = self.shared * (self.rows - 1)
        whole = _OVERHEAD + self.rows * self.longest
        return whole - saved if saved >= _WORTH_SHARING else whole

    def joined(self, other: "_Batch", common: int) -> "_Batch":
        """This batch and another one, the prompts of which have so much in common."""
        return _Batch(
            [*self.questions, *other.questions],
            self.rows + other.rows,
            min(self.shared, other.shared, common),
            max(self.longest, other.longest),
        )


def _batches(
    prompts: Sequence[Tokens], options: Sequence[Sequence[Tokens]], batch_tokens: int
) -> list[_Batch]:
    """Questions of like length together, or those whose prompts begin alike, if that is cheaper."""
    single = [
        _Batch([place], len(own), len(prompt) - 1, len(prompt) + max(map(len, own)))
        for place, (prompt, own) in enumerate(zip(prompts, options, strict=True))
    ]
    by_length = sorted(single, key=lambda one: one.longest)
    by_text = sorted(single, key=lambda one: list(prompts[one.questions[0]]))
    large = _gather(by_length, prompts, batch_tokens, patient=True)
    alike = _gather(by_text, prompts, batch_tokens, patient=False)
    worth_it = sum(one.cost for one in alike) < _WORTH_IT * sum(one.cost for one in large)
    return alike if worth_it else large


def _gather(
    order: Sequence[_Batch], prompts: Sequence[Tokens], batch_tokens: int, *, patient: bool
) -> list[_Batch]:
    """Batches of questions in this order; unless patient, none joins that is cheaper alone."""
    batches: list[_Batch] = []
    for one in order:
        if batches:
            last = batches[-1]
            most = min(last.shared, one.shared)
            common = _common(prompts[last.questions[-1]], prompts[one.questions[0]], most)
            joined = last.joined(one, common)
            fits = joined.rows * joined.longest <= batch_tokens
            if fits and (patient or joined.cost <= last.cost + one.cost):
                batches[-1] = joined
                continue
        batches.append(one)
    return batches


def _common(one: Tokens, two: Tokens, most: int) -> int:
    """With how many tokens both begin, counted up to ``most``."""
    pairs = zip(one[:most], two[:most], strict=True)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), most)
