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
from gradatim.objectives.ranking import (
    PairLoss,
    PointLoss,
    pairwise_ranking_loss,
    pointwise_ranking_loss,
)
from gradatim.objectives.soft_targets import soft_target_cross_entropy
from gradatim.objectives.spherical import (
    mse,
    mse_from_logits,
    spherical_softmax,
    spherical_softmax_from_logits,
    taylor_softmax,
    taylor_softmax_from_logits,
    z_loss,
    z_loss_from_logits,
)
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


def _pairs_of_answers(generator: torch.Generator) -> Inputs:
    negative = torch.randn(6, 3, dtype=torch.float64, generator=generator)
    positive = negative.flatten()[:6] + _uniform(generator, 6)
    return {"positive": positive, "negative": negative, "weights": _uniform(generator, 6)}


def _answers(generator: torch.Generator) -> Inputs:
    relevance = torch.randint(3, (6,), generator=generator)
    scores = torch.randn(6, dtype=torch.float64, generator=generator)
    return {"scores": scores, "relevance": relevance, "weights": _uniform(generator, 6)}


def _sums_of_outputs(generator: torch.Generator) -> Inputs:
    out_sum = torch.randn(6, dtype=torch.float64, generator=generator)
    sq_sum = out_sum.square() / 2 + 1 + 5 * _uniform(generator, 6)
    return {"target_out": _uniform(generator, 6), "sq_sum": sq_sum, "out_sum": out_sum}


def _of_rows(nll: torch.Tensor, *, lengths: torch.Tensor, **options: Any) -> torch.Tensor:
    """The loss of several solutions where each row holds those of one problem."""
    group = torch.arange(len(nll)).repeat_interleave(nll.shape[1])
    return multi_solution_loss(nll.flatten(), group, lengths=lengths.flatten(), **options)


def _uniform(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=generator)


def _ranking_losses() -> dict[str, Objective]:
    """The losses of rankers, of each kind."""
    pairs: tuple[PairLoss, ...] = ("softmax", "cross_entropy", "hinge")
    points: tuple[PointLoss, ...] = ("mse", "l1", "smooth_l1", "cross_entropy")
    pairwise = {
        f"pairwise ranking, {kind}": Objective(
            partial(pairwise_ranking_loss, kind=kind),
            _pairs_of_answers,
            outputs=("positive", "negative"),
        )
        for kind in pairs
    }
    pointwise = {
        f"pointwise ranking, {kind}": Objective(
            partial(pointwise_ranking_loss, kind=kind), _answers, outputs=("scores",)
        )
        for kind in points
    }
    return pairwise | pointwise


def _spherical_losses() -> dict[str, Objective]:
    """The losses of the spherical family, of outputs and of their sums."""
    losses: dict[str, tuple[Callable[..., torch.Tensor], Callable[..., torch.Tensor]]] = {
        "Taylor softmax": (taylor_softmax, taylor_softmax_from_logits),
        "Z-loss": (partial(z_loss, a=0.5, b=1.0), partial(z_loss_from_logits, a=0.5, b=1.0)),
        "spherical softmax": (
            partial(spherical_softmax, eps=0.1),
            partial(spherical_softmax_from_logits, eps=0.1),
        ),
        "squared error of a class": (mse, mse_from_logits),
    }
    full = {name: Objective(pair[1], _labelled) for name, pair in losses.items()}
    sums = {
        f"{name}, of sums": Objective(
            partial(pair[0], num_classes=4), _sums_of_outputs, outputs=("target_out", "sq_sum")
        )
        for name, pair in losses.items()
    }
    return full | sums


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
        **_ranking_losses(),
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
        **_spherical_losses(),
        "token reward loss": Objective(token_reward_loss, _token_rewards, weights="weights"),
    }
)
