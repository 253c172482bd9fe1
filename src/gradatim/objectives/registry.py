"""All objectives by name, with inputs to try each on: one test walks the whole table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import torch

from gradatim.objectives.bootstrapping import hard_bootstrapping, soft_bootstrapping
from gradatim.objectives.early_learning import early_learning_loss, early_learning_regularizer
from gradatim.objectives.multi_solution import multi_solution_loss
from gradatim.objectives.policy_gradient import clipped_value, ppo_clip
from gradatim.objectives.preference import dpo, win_rate_regression
from gradatim.objectives.soft_targets import soft_target_cross_entropy
from gradatim.objectives.token_rewards import token_reward_loss

Inputs = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Objective:
    """An objective and how to try it.

    Attributes:
        function: takes the inputs by name, and ``reduction=``.
        example: draws inputs from a generator: floating-point ones in float64, and examples along
            the first dimension of each.
        outputs: names of the inputs that are a model's outputs: a gradient flows into them, and
            they may take any value.
        weights: for a loss a token, name of the input that weighs the tokens (a mask, for one).
            Without reduction the loss has its shape; the mean is the sum over its sum.
    """

    function: Callable[..., torch.Tensor]
    example: Callable[[torch.Generator], Inputs]
    outputs: tuple[str, ...] = ("logits",)
    weights: str | None = None


def _logits(generator: torch.Generator) -> torch.Tensor:
    return torch.randn(6, 4, dtype=torch.float64, generator=generator)


def _labelled(generator: torch.Generator) -> Inputs:
    labels = torch.randint(4, (6,), generator=generator)
    return {"logits": _logits(generator), "labels": labels}


def _targeted(generator: torch.Generator) -> Inputs:
    return {"logits": _logits(generator), "target": _logits(generator).softmax(1)}


def _labelled_and_targeted(generator: torch.Generator) -> Inputs:
    return {**_labelled(generator), **_targeted(generator)}


def _preferences(generator: torch.Generator) -> Inputs:
    names = ("policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected")
    return {name: -5 * _uniform(generator, 6) for name in names}


def _preferences_and_win_rates(generator: torch.Generator) -> Inputs:
    return {**_preferences(generator), "win_rate": _uniform(generator, 6)}


def _win_rates(generator: torch.Generator) -> Inputs:
    names = ("policy", "reference")
    responses = {name: -5 * _uniform(generator, 6) for name in names}
    return {**responses, "win_rate": _uniform(generator, 6)}


def _token_rewards(generator: torch.Generator) -> Inputs:
    weights = torch.randint(3, (6, 4), generator=generator).double()
    return {"logits": _logits(generator), "labels": _uniform(generator, 6, 4), "weights": weights}


def _sampled_tokens(generator: torch.Generator) -> Inputs:
    old = -5 * _uniform(generator, 6, 4)
    return {
        "log_probabilities": old + 0.3 * _logits(generator),
        "old_log_probabilities": old,
        "advantages": _logits(generator),
        "mask": _uniform(generator, 6, 4) > 0.3,
    }


def _token_values(generator: torch.Generator) -> Inputs:
    old = _logits(generator)
    return {
        "values": old + 0.3 * _logits(generator),
        "old_values": old,
        "returns": _logits(generator),
        "mask": _uniform(generator, 6, 4) > 0.3,
    }


def _solutions(generator: torch.Generator) -> Inputs:
    return {"nll": 5 * _uniform(generator, 6, 3), "lengths": 1 + 9 * _uniform(generator, 6, 3)}


def _of_rows(nll: torch.Tensor, *, lengths: torch.Tensor, **options: Any) -> torch.Tensor:
    """The loss of several solutions where each row holds those of one problem."""
    group = torch.arange(len(nll)).repeat_interleave(nll.shape[1])
    return multi_solution_loss(nll.flatten(), group, lengths=lengths.flatten(), **options)


def _uniform(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=generator)


_PAIR = ("policy_chosen", "policy_rejected")

OBJECTIVES: Mapping[str, Objective] = MappingProxyType(
    {
        "clipped policy loss": Objective(
            ppo_clip, _sampled_tokens, outputs=("log_probabilities",), weights="mask"
        ),
        "clipped value loss": Objective(
            clipped_value, _token_values, outputs=("values",), weights="mask"
        ),
        "direct preference optimization": Objective(dpo, _preferences, outputs=_PAIR),
        "direct preference optimization, smoothed": Objective(
            partial(dpo, label_smoothing=0.1), _preferences, outputs=_PAIR
        ),
        "early-learning loss": Objective(early_learning_loss, _labelled_and_targeted),
        "early-learning regularizer": Objective(early_learning_regularizer, _targeted),
        "hard bootstrapping": Objective(hard_bootstrapping, _labelled),
        "identity preference optimization": Objective(
            partial(dpo, variant="ipo"), _preferences, outputs=_PAIR
        ),
        "preference optimization by win rate": Objective(
            partial(dpo, variant="win_rate"), _preferences_and_win_rates, outputs=_PAIR
        ),
        "regression on win rates": Objective(win_rate_regression, _win_rates, outputs=("policy",)),
        "several solutions, all of them": Objective(_of_rows, _solutions, outputs=("nll",)),
        "several solutions, any of them": Objective(
            partial(_of_rows, mode="mml"), _solutions, outputs=("nll",)
        ),
        "several solutions, mixed": Objective(
            partial(_of_rows, mode="mixed", beta=0.25, normalize=True, mle_weight=0.5),
            _solutions,
            outputs=("nll",),
        ),
        "soft bootstrapping": Objective(soft_bootstrapping, _labelled),
        "soft-target cross-entropy": Objective(soft_target_cross_entropy, _targeted),
        "token reward loss": Objective(token_reward_loss, _token_rewards, weights="weights"),
    }
)
