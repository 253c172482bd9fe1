"""Training reward models: tell good solutions, or steps of them, from bad ones.

Used as every recipe is::

    recipe = RewardModelling()
    fit(reward_model, reward_examples(...), recipe.step, optimizer=optimizer, epochs=2)
"""

from collections.abc import Mapping
from typing import Any

import torch

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.evaluators.reward_examples import outcome_examples, process_examples
from gradatim.evaluators.reward_models import RewardModel
from gradatim.evaluators.scorers import Prompts, Segment
from gradatim.language.response_examples import ResponseExamples
from gradatim.language.sampling import Responses, join_responses
from gradatim.language.steps import whole_response
from gradatim.objectives.token_rewards import token_reward_loss
from gradatim.training.callbacks import Callback
from gradatim.training.fit import Stateful
from gradatim.training.step import Loss, State


class RewardModelling:
    """Binary cross-entropy at the tokens that carry a label.

    Batches hold ``ids``, ``mask``, ``segments``, ``labels`` and ``weights``, each of shape [B, T].
    """

    def __init__(self) -> None:
        self.callbacks: tuple[Callback, ...] = ()
        self.stateful: Mapping[str, Stateful] = {}

    def step(self, model: RewardModel, batch: Mapping[str, Any], state: State) -> Loss:
        """The weighted sum over labelled tokens, and the sum of the weights."""
        logits = model(batch["ids"], batch["mask"], batch["segments"])
        weights = batch["weights"]
        loss = token_reward_loss(logits, batch["labels"], weights, reduction="sum")
        return Loss(loss, weights.sum())


def reward_optimizer(
    model: torch.nn.Module,
    lr: float = 1e-5,
    *,
    calibration_lr: float = 3e-2,
    weight_decay: float = 0.01,
) -> torch.optim.Optimizer:
    """AdamW for a reward model, whose scale and shift learn faster than its language model.

    Two numbers that turn log-probabilities into scores cannot get far at the rate of a language
    model's weights: the scores would rank steps well, but be far from probabilities, and their
    product over a solution would never reach a threshold.

    Args:
        model: the reward model.
        lr: learning rate of the language model and of a linear head.
        calibration_lr: that of ``scale`` and ``shift``, where the model has them.
        weight_decay: of all but scale and shift.

    Raises:
        InputError: a negative number.
    """
    for option, value in {
        "lr": lr,
        "calibration_lr": calibration_lr,
        "weight_decay": weight_decay,
    }.items():
        check_range(option, value, 0)
    calibration = [
        parameter
        for name, parameter in model.named_parameters()
        if name in ("scale", "shift") and parameter.requires_grad
    ]
    chosen = {id(parameter) for parameter in calibration}
    rest = [
        parameter
        for parameter in model.parameters()
        if id(parameter) not in chosen and parameter.requires_grad
    ]
    groups = [{"params": rest, "lr": lr}]
    if calibration:
        groups.append({"params": calibration, "lr": calibration_lr, "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, betas=(0.9, 0.98))


def reward_examples(
    prompts: Prompts,
    responses: Responses,
    *,
    correct: torch.Tensor | None = None,
    step_labels: torch.Tensor | None = None,
    segment: Segment | None = None,
    tokens: str | int = "all",
) -> ResponseExamples:
    """What a reward model is trained on: outcomes, steps, or the union of both.

    In the union every response stands twice, once labelled by its outcome as a whole and once by
    its steps.

    Args:
        prompts: token ids of each prompt.
        responses: what was answered.
        correct: whether each response's answer is right, in [0, 1], NaN if unknown; shape [R].
        step_labels: whether each step is right, in [0, 1], NaN if it is not labelled; shape
            [R, S]. Labels behind the first wrong step do not count.
        segment: where the steps lie; needed for step labels.
        tokens: which tokens carry the label: "all", the "last", or how many of the last.
            Likelihood models want "last".

    Returns:
        Examples with columns ``segments``, ``labels`` and ``weights``.

    Raises:
        InputError: no labels at all, step labels without ``segment``, or what does not fit.

    >>> from gradatim.language.sampling import as_responses
    >>> right = torch.tensor([1.0, 0.0])
    >>> solutions = as_responses([[5, 6], [7]])
    >>> examples = reward_examples([[1], [2]], solutions, correct=right, tokens="last")
    >>> examples[[0, 1]]["labels"].tolist(), examples[[0, 1]]["weights"].tolist()
    ([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]], [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    """
    parts = []
    if correct is not None:
        whole = whole_response(responses.mask)
        parts.append((whole, outcome_examples(whole, correct, tokens=tokens)))
    if step_labels is not None:
        if segment is None:
            raise InputError("segment: expected a function that finds the steps, got none")
        steps = segment(responses.tokens, responses.mask)
        labelled = process_examples(steps, step_labels, tokens=tokens, scale="probability")
        parts.append((steps, labelled))
    if not parts:
        raise InputError("correct, step_labels: expected at least one of the two, got none")
    columns = {
        "segments": torch.cat([segments for segments, _ in parts]),
        "labels": torch.cat([labelled.labels for _, labelled in parts]),
        "weights": torch.cat([labelled.weights for _, labelled in parts]),
    }
    prompts, responses = join_responses([(prompts, responses)] * len(parts))
    return ResponseExamples(prompts, responses, tokens=columns)
