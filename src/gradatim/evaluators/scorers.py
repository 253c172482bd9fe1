"""Evaluators: reward models made ready to score the responses to prompts."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import nn

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.evaluators.reward_models import RewardModel
from gradatim.evaluators.step_scores import AGGREGATES, aggregate_steps, step_logits
from gradatim.language.reading import read_responses
from gradatim.language.sampling import Responses
from gradatim.language.steps import whole_response

Prompts = Sequence[Sequence[int]]
Segment = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From the tokens and the mask of responses, each [R, T], to the step of each token, [R, T]."""


class Evaluator(Protocol):
    """Scores responses: the higher, the better."""

    def __call__(self, prompts: Prompts, responses: Responses) -> torch.Tensor:
        """One score a response, in [0, 1], shape [R]."""
        ...


class StepEvaluator(Evaluator, Protocol):
    """Scores the steps of responses too.

    Attributes:
        segment: from the tokens and the mask of responses to the step of each token.
    """

    segment: Segment

    def steps(self, prompts: Prompts, responses: Responses) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of the steps, and which steps there are; each of shape [R, S]."""
        ...


class OutcomeReward:
    r"""Scores a response as a whole: r = sigmoid of the logit at its last token; 0 if it is empty.

    Args:
        model: a reward model trained on outcomes.
        batch_tokens: tokens read at once at most, padding included.

    Raises:
        InputError: a number below 1.

    Source: Sun et al. 2024, arXiv 2403.09472.
    """

    def __init__(self, model: RewardModel, *, batch_tokens: int = 16384) -> None:
        check_range("batch_tokens", batch_tokens, 1)
        self.model, self.batch_tokens = model, batch_tokens

    def __call__(self, prompts: Prompts, responses: Responses) -> torch.Tensor:
        """One score a response, in [0, 1], shape [R]."""
        read = _read(self.model, prompts, responses, self.batch_tokens)
        scores = _outcome_logits(self.model, read, responses).sigmoid()
        return scores.masked_fill(responses.lengths == 0, 0.0)


class ProcessReward:
    r"""Scores a response by its steps: the product, minimum or mean of their scores, or the last.

    Args:
        model: a reward model trained on steps.
        segment: where the steps lie, as
            ``partial(segment_by_separator, separators=[token])``.
        aggregate: "product", "min", "mean" or "last".
        length_normalized: take the geometric mean instead of the product.
        batch_tokens: tokens read at once at most, padding included.

    Raises:
        InputError: an unknown aggregate, one without a length-normalized form, or a number below 1.

    Source: Sun et al. 2024, arXiv 2403.09472.

    >>> from functools import partial
    >>> from gradatim.evaluators.reward_models import StepRewardModel
    >>> from gradatim.language.sampling import as_responses
    >>> from gradatim.language.steps import segment_by_separator
    >>> from gradatim.networks.decoder import SmallDecoder
    >>> model = StepRewardModel(SmallDecoder(10, hidden_size=8, layers=1, heads=2))
    >>> evaluator = ProcessReward(model, partial(segment_by_separator, separators=[9]))
    >>> evaluator([[1, 2]], as_responses([[3, 9, 4, 9, 5]]))  # three steps, each of score 1/2
    tensor([0.1250])
    """

    def __init__(
        self,
        model: RewardModel,
        segment: Segment,
        *,
        aggregate: str = "product",
        length_normalized: bool = False,
        batch_tokens: int = 16384,
    ) -> None:
        check_choice("aggregate", aggregate, AGGREGATES)
        check_range("batch_tokens", batch_tokens, 1)
        if length_normalized and aggregate != "product":
            raise InputError(f"length_normalized: expected aggregate='product', got {aggregate!r}")
        self.model, self.segment, self.batch_tokens = model, segment, batch_tokens
        self.aggregate, self.length_normalized = aggregate, length_normalized

    def steps(self, prompts: Prompts, responses: Responses) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of the steps, and which steps there are; each of shape [R, S]."""
        read = _read(self.model, prompts, responses, self.batch_tokens)
        return self._judge(read, responses)

    def __call__(self, prompts: Prompts, responses: Responses) -> torch.Tensor:
        """One score a response, in [0, 1], shape [R]."""
        logits, mask = self.steps(prompts, responses)
        return aggregate_steps(
            logits,
            mask,
            self.aggregate,
            length_normalized=self.length_normalized,
            logits=True,
        )

    def _judge(self, read: torch.Tensor, responses: Responses) -> tuple[torch.Tensor, torch.Tensor]:
        segments = self.segment(responses.tokens, responses.mask)
        return step_logits(_judged(self.model, read, segments), segments)


class OutcomeProcessReward(ProcessReward):
    """Scores a response by its steps, of which the last is judged by the outcome.

    A response that did not end has no outcome: its last step gets the logit -5.

    Args:
        model: a reward model trained on steps and on outcomes.
        segment: as in :class:`ProcessReward`.
        aggregate: as in :class:`ProcessReward`.
        length_normalized: as in :class:`ProcessReward`.
        batch_tokens: as in :class:`ProcessReward`.

    Source: Sun et al. 2024, arXiv 2403.09472, and the authors' code, in which the outcome takes
    the place of the last step before the answer.
    """

    unfinished_logit = -5.0

    def _judge(self, read: torch.Tensor, responses: Responses) -> tuple[torch.Tensor, torch.Tensor]:
        logits, mask = super()._judge(read, responses)
        outcome = _outcome_logits(self.model, read, responses)
        outcome = torch.where(responses.finished, outcome, self.unfinished_logit)
        last = mask & (mask.sum(dim=1, keepdim=True) - 1 == torch.arange(mask.shape[1]))
        return torch.where(last, outcome[:, None], logits), mask


def _read(
    model: RewardModel, prompts: Prompts, responses: Responses, batch_tokens: int
) -> torch.Tensor:
    return read_responses(
        _as_module(model), model.read, prompts, responses, batch_tokens=batch_tokens
    )


def _as_module(model: RewardModel) -> nn.Module:
    module: nn.Module = model  # type: ignore[assignment]
    return module


@torch.no_grad()
def _judged(model: RewardModel, read: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
    device = next(_as_module(model).parameters()).device
    return model.judge(read.to(device), segments.to(device)).cpu()


def _outcome_logits(model: RewardModel, read: torch.Tensor, responses: Responses) -> torch.Tensor:
    """The logit at each response's last token, shape [R]."""
    whole = whole_response(responses.mask)
    return step_logits(_judged(model, read, whole), whole, 1)[0][:, 0]
