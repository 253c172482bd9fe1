"""Solutions as labelled tokens: what outcome and process reward models are trained on."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

import torch

from gradatim.core.checks import check_choice, check_range, check_shape
from gradatim.core.errors import InputError
from gradatim.evaluators.step_scores import last_tokens

Item = TypeVar("Item", contravariant=True)
Prefix = TypeVar("Prefix")


class TokenLabels(NamedTuple):
    """Labelled tokens, for :func:`gradatim.objectives.token_rewards.token_reward_loss`.

    Attributes:
        labels: in [0, 1], 0 where there is no label; float32, shape [B, T].
        weights: how much the label counts, 0 where there is none; float32, shape [B, T].
    """

    labels: torch.Tensor
    weights: torch.Tensor


class MonteCarloLabels(NamedTuple):
    """Labels of prefixes from sampled continuations.

    Attributes:
        hard: whether any continuation succeeded, booleans, shape [P].
        soft: share of the continuations that succeeded, float32, shape [P].
    """

    hard: torch.Tensor
    soft: torch.Tensor


class Rollout(Protocol[Item]):
    """Samples continuations of many prefixes at once, and tells which reach the right answer."""

    def __call__(self, prefixes: Sequence[Item], k: int, /) -> torch.Tensor:
        """Success of k continuations of each prefix, booleans, shape [P, k]."""


def outcome_examples(
    segments: torch.Tensor, correct: torch.Tensor, *, tokens: str | int = "all"
) -> TokenLabels:
    """Label the tokens of a solution by whether its final answer is right.

    Args:
        segments: the step that each token belongs to, integers from 0 along the row, -1 for
            prompt and padding; shape [B, T]. Without steps, 0 for every token of the solution.
        correct: whether the answer is right, booleans or numbers in [0, 1], shape [B]; NaN where
            that is not known, which gives no label.
        tokens: "all" tokens of the solution, the "last", or how many of the last.

    Returns:
        Labels and weights, each of shape [B, T].

    Raises:
        InputError: the shapes do not fit, or a label or number of tokens is outside its range.

    Source: Sun et al. 2024, arXiv 2403.09472 (outcome reward model).

    >>> segments = torch.tensor([[-1, 0, 0, 1], [-1, 0, 1, -1]])
    >>> outcome_examples(segments, torch.tensor([True, False]), tokens="last")
    TokenLabels(labels=tensor([[0., 0., 0., 1.],
            [0., 0., 0., 0.]]), weights=tensor([[0., 0., 0., 1.],
            [0., 0., 1., 0.]]))
    """
    check_shape("segments", segments, "B", "T")
    check_shape("correct", correct, len(segments))
    good = _probabilities("correct", correct)[:, None]
    whole = segments.clamp(max=0)  # the whole solution as one step
    return _label_tokens(whole, good, ~good.isnan(), tokens)


def process_examples(
    segments: torch.Tensor,
    step_labels: torch.Tensor,
    *,
    tokens: str | int = "all",
    scale: str = "rating",
    stop_at_first_error: bool = True,
) -> TokenLabels:
    """Label the tokens of a step by whether the step is right.

    Booleans are taken as they are. Numbers are ratings as in PRM800K: 1 good and 0 neutral both
    count as right, -1 as wrong; so 0 and 1 do not mean wrong and right: give booleans, or
    ``scale="probability"``.

    Args:
        segments: the step that each token belongs to, integers from 0 along the row, -1 for
            prompt and padding; shape [B, T]. The tokens of a step are consecutive.
        step_labels: one label a step, booleans or numbers, shape [B, S]; NaN for a step that is
            not rated, which gives no label.
        tokens: "all" tokens of the step, the "last", or how many of the last (the authors take
            all or 3).
        scale: what numbers mean: "rating" in {1, 0, -1}, or "probability" in [0, 1], as the soft
            labels of :func:`monte_carlo_step_labels`.
        stop_at_first_error: no labels after the first wrong step (of probability 0), where
            annotation stops.

    Returns:
        Labels and weights, each of shape [B, T].

    Raises:
        InputError: the shapes do not fit, a step without an entry in ``step_labels``, an unknown
            scale, or a label or number of tokens outside its range.

    Source: Sun et al. 2024, arXiv 2403.09472 (process reward model); Lightman et al.
    2023, arXiv 2305.20050.

    >>> segments = torch.tensor([[-1, 0, 0, 1, 2, 3]])
    >>> ratings = torch.tensor([[0.0, float("nan"), -1.0, 1.0]])
    >>> process_examples(segments, ratings)
    TokenLabels(labels=tensor([[0., 1., 1., 0., 0., 0.]]),
                  weights=tensor([[0., 1., 1., 0., 1., 0.]]))
    """
    check_shape("segments", segments, "B", "T")
    check_shape("step_labels", step_labels, len(segments), "S")
    check_choice("scale", scale, ("rating", "probability"))
    if scale == "probability" or step_labels.dtype == torch.bool:
        good = _probabilities("step_labels", step_labels)
    else:
        good = _ratings("step_labels", step_labels)
    rated = ~good.isnan()
    if stop_at_first_error:
        wrong = (good == 0).long()
        rated = rated & (wrong.cumsum(1) - wrong == 0)
    return _label_tokens(segments, good, rated, tokens)


def outcome_and_process_examples(
    segments: torch.Tensor,
    correct: torch.Tensor,
    step_labels: torch.Tensor,
    *,
    tokens: str | int = "all",
    scale: str = "rating",
    stop_at_first_error: bool = True,
) -> TokenLabels:
    r"""Label tokens by both the outcome and the step: the union of the two kinds of examples.

    .. math:: w = w^o + w^p, \qquad y = \frac{w^o y^o + w^p y^p}{w}

    Binary cross-entropy is linear in its label. So this one label of a token gives the loss of
    two rows with the same tokens, one labelled by the outcome and one by the steps.

    Args:
        segments: as in :func:`process_examples`.
        correct: as in :func:`outcome_examples`; NaN where a row only has process labels.
        step_labels: as in :func:`process_examples`; NaN where a row only has the outcome.
        tokens: "all" tokens of the solution and of the step, the "last" of each, or how many.
        scale: as in :func:`process_examples`.
        stop_at_first_error: as in :func:`process_examples`; outcome labels do not stop.

    Returns:
        Labels in [0, 1] and weights 0, 1 or 2, each of shape [B, T].

    Raises:
        InputError: as in the two functions.

    Source: Sun et al. 2024, arXiv 2403.09472 (outcome and process reward model).

    >>> segments = torch.tensor([[-1, 0, 1]])
    >>> outcome_and_process_examples(segments, torch.tensor([False]), torch.tensor([[True, False]]))
    TokenLabels(labels=tensor([[0.0000, 0.5000, 0.0000]]), weights=tensor([[0., 2., 2.]]))
    """
    outcome = outcome_examples(segments, correct, tokens=tokens)
    process = process_examples(
        segments, step_labels, tokens=tokens, scale=scale, stop_at_first_error=stop_at_first_error
    )
    weights = outcome.weights + process.weights
    total = outcome.weights * outcome.labels + process.weights * process.labels
    return TokenLabels(total / weights.clamp(min=1), weights)


def monte_carlo_step_labels(
    rollout: Rollout[Prefix], prefixes: Sequence[Prefix], k: int
) -> MonteCarloLabels:
    r"""Label steps without an annotator: a step is good if the answer can be reached from it.

    .. math:: y^{hard} = \max_j c_j, \qquad y^{soft} = \frac{1}{k} \sum_j c_j

    with :math:`c_j` the success of the j-th continuation sampled after the step.

    Args:
        rollout: takes all prefixes at once and k, and returns the success of k continuations of
            each, booleans, shape [P, k].
        prefixes: P beginnings of solutions, each up to the end of the step to be labelled; of
            whatever type the rollout takes.
        k: how many continuations, at least 1.

    Returns:
        Hard and soft labels, each of shape [P].

    Raises:
        InputError: k below 1, or the rollout returned something else than booleans [P, k].

    Source: Wang et al. 2024 (Math-Shepherd), arXiv 2312.08935; used in Sun et al.
    2024, arXiv 2403.09472.

    >>> def rollout(prefixes, k):
    ...     return torch.tensor([[prefix + j >= 3 for j in range(k)] for prefix in prefixes])
    >>> monte_carlo_step_labels(rollout, [0, 1, 3], 3)
    MonteCarloLabels(hard=tensor([False,  True,  True]), soft=tensor([0.0000, 0.3333, 1.0000]))
    """
    check_range("k", k, 1)
    if not len(prefixes):
        return MonteCarloLabels(torch.zeros(0, dtype=torch.bool), torch.zeros(0))
    success = rollout(prefixes, k)
    check_shape("rollout's result", success, len(prefixes), k)
    if success.dtype != torch.bool:
        raise InputError(f"rollout's result: expected booleans, got {success.dtype}")
    return MonteCarloLabels(success.any(1), success.float().mean(1))


def _label_tokens(
    segments: torch.Tensor, labels: torch.Tensor, labelled: torch.Tensor, tokens: str | int
) -> TokenLabels:
    """Give every token the label of its step [B, S], if the step has one and the token counts."""
    steps = int(segments.max()) + 1 if segments.numel() else 0
    if steps > labels.shape[1]:
        raise InputError(
            f"step_labels: expected a label for each of the {steps} steps, got {labels.shape[1]}"
        )
    inside = segments >= 0
    if not steps:
        nothing = torch.zeros(segments.shape, device=segments.device)
        return TokenLabels(nothing, nothing.clone())
    step = segments.clamp(min=0).long()
    ends = last_tokens(segments, steps).gather(1, step)
    from_end = ends - torch.arange(segments.shape[1], device=segments.device)
    known = labelled.gather(1, step) & inside & (from_end < _how_many(tokens, segments.shape[1]))
    return TokenLabels(labels.gather(1, step).where(known, 0.0), known.float())


def _how_many(tokens: str | int, length: int) -> int:
    """How many of the last tokens of a step carry its label."""
    if isinstance(tokens, str):
        check_choice("tokens", tokens, ("all", "last"))
        return 1 if tokens == "last" else length
    check_range("tokens", tokens, 1)
    return tokens


def _probabilities(name: str, labels: torch.Tensor) -> torch.Tensor:
    """Labels as float32 in [0, 1], or NaN."""
    values = labels.float()
    _raise_at(name, (values < 0) | (values > 1), values, "booleans, numbers in [0, 1] or NaN")
    return values


def _ratings(name: str, labels: torch.Tensor) -> torch.Tensor:
    """Ratings 1, 0 and -1 as labels 1, 1 and 0; NaN stays."""
    values = labels.float()
    known = (values.abs() == 1) | (values == 0) | values.isnan()
    _raise_at(name, ~known, values, "booleans or ratings 1, 0, -1 or NaN")
    return (values >= 0).float().masked_fill(values.isnan(), torch.nan)


def _raise_at(name: str, wrong: torch.Tensor, values: torch.Tensor, expected: str) -> None:
    """Raise an error that names the first wrong value and its place."""
    places = wrong.nonzero()
    if len(places):
        first = tuple(places[0].tolist())
        row = ", ".join(map(str, first))
        raise InputError(f"{name}: expected {expected}, got {float(values[first])} at row {row}")
