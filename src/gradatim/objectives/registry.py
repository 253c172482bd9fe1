"""All objectives by name, with inputs to try each on: one test walks the whole table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import torch

from gradatim.objectives.bootstrapping import hard_bootstrapping, soft_bootstrapping
from gradatim.objectives.contrastive import (
    info_nce,
    info_nce_from_similarity,
    simple_contrastive,
)
from gradatim.objectives.contrastive_blocks import blockwise_info_nce
from gradatim.objectives.dense_retrieval import lambda_rank, star_loss
from gradatim.objectives.early_learning import early_learning_loss, early_learning_regularizer
from gradatim.objectives.multi_solution import multi_solution_loss
from gradatim.objectives.policy_gradient import clipped_value, ppo_clip
from gradatim.objectives.preference import dpo, simpo, win_rate_regression
from gradatim.objectives.ranking import (
    PairLoss,
    PointLoss,
    pairwise_ranking_loss,
    pointwise_ranking_loss,
)
from gradatim.objectives.representation_forgetting import (
    alignment_contrast,
    bounded_recon,
    extractor_unlearning_loss,
    vae_loss,
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
from gradatim.objectives.uniform_kl import uniform_kl
from gradatim.objectives.unlearning import (
    dpo_to_refusal,
    gradient_ascent,
    kto_forget,
    npo,
    retain_kl,
)

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


def _preferences_and_lengths(generator: torch.Generator) -> Inputs:
    pair = {name: -5 * _uniform(generator, 6) for name in _PAIR}
    lengths = ("chosen_lengths", "rejected_lengths")
    return pair | {name: 1 + 9 * _uniform(generator, 6) for name in lengths}


def _forgotten(generator: torch.Generator) -> Inputs:
    return {name: -5 * _uniform(generator, 6) for name in ("logp", "reference_logp")}


def _forgotten_and_lengths(generator: torch.Generator) -> Inputs:
    return {**_forgotten(generator), "lengths": 1 + 9 * _uniform(generator, 6)}


def _forgotten_tokens(generator: torch.Generator) -> Inputs:
    return {"logp": -5 * _uniform(generator, 6, 4), "mask": _uniform(generator, 6, 4) > 0.3}


def _refused(generator: torch.Generator) -> Inputs:
    names = ("refusal_logp", "forget_logp", "reference_refusal", "reference_forget")
    return {name: -5 * _uniform(generator, 6) for name in names}


def _kept_tokens(generator: torch.Generator) -> Inputs:
    logits = torch.randn(6, 4, 3, dtype=torch.float64, generator=generator)
    reference = logits + torch.randn(6, 4, 3, dtype=torch.float64, generator=generator)
    mask = _uniform(generator, 6, 4) > 0.3
    return {"logits": logits, "reference_logits": reference, "mask": mask}


def _ignored_tokens(generator: torch.Generator) -> Inputs:
    kept = _kept_tokens(generator)
    return {"logits": kept["logits"], "mask": kept["mask"]}


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


def _lists(generator: torch.Generator) -> Inputs:
    labels = torch.randint(3, (6, 4), generator=generator)
    ranks = torch.rand(6, 4, generator=generator).argsort(1) + 1
    mask = _uniform(generator, 6, 4) > 0.2
    return {"scores": _logits(generator), "labels": labels, "ranks": ranks, "mask": mask}


def _retrieved(generator: torch.Generator) -> Inputs:
    query, positive = _logits(generator), _logits(generator)
    hard = torch.randn(6, 2, 4, dtype=torch.float64, generator=generator)
    return {"query": query, "positive": positive, "hard": hard}


def _logits_by_name(names: tuple[str, ...], generator: torch.Generator) -> Inputs:
    return {name: _logits(generator) for name in names}


def _embeddings(generator: torch.Generator) -> Inputs:
    return {name: _logits(generator) for name in ("query", "positive", "negatives")}


def _similarities(generator: torch.Generator) -> Inputs:
    negatives = torch.randn(6, 3, dtype=torch.float64, generator=generator)
    return {"positive": _uniform(generator, 6), "negatives": negatives}


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
    pairs: tuple[PairLoss, ...] = ("softmax", "cross_entropy", "hinge", "logistic")
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


def _contrastive_losses() -> dict[str, Objective]:
    """The losses of embeddings, and of their similarities."""
    outputs = ("query", "positive", "negatives")
    kinds: dict[str, Callable[..., torch.Tensor]] = {
        "InfoNCE": info_nce,
        "InfoNCE, symmetric": partial(info_nce, symmetric=True),
        "InfoNCE, in blocks": partial(blockwise_info_nce, block_rows=4),
        "InfoNCE, in blocks, symmetric": partial(blockwise_info_nce, block_rows=4, symmetric=True),
    }
    of_similarities: dict[str, Callable[..., torch.Tensor]] = {
        "InfoNCE, of similarities": info_nce_from_similarity,
        "simple contrastive loss": simple_contrastive,
    }
    return {
        name: Objective(partial(function, temperature=0.5), _embeddings, outputs=outputs)
        for name, function in kinds.items()
    } | {
        name: Objective(function, _similarities, outputs=outputs[1:])
        for name, function in of_similarities.items()
    }


def _forgetting_losses() -> dict[str, Objective]:
    """The losses of representations that are to be forgotten or kept."""
    losses: dict[str, tuple[Callable[..., torch.Tensor], tuple[str, ...]]] = {
        "alignment contrast": (
            alignment_contrast,
            ("remaining", "remaining_before", "forgotten", "forgotten_before"),
        ),
        "bounded reconstruction error": (bounded_recon, ("representations", "rebuilt")),
        "extractor unlearning": (
            extractor_unlearning_loss,
            ("remaining", "remaining_rebuilt", "forgotten", "forgotten_rebuilt"),
        ),
    }
    made = ("representations", "rebuilt", "mean")  # no exponential of a variance is always finite
    autoencoder = partial(_logits_by_name, (*made, "log_variance"))
    return {
        name: Objective(function, partial(_logits_by_name, names), outputs=names)
        for name, (function, names) in losses.items()
    } | {"variational autoencoder": Objective(vae_loss, autoencoder, outputs=made)}


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


def _star_losses() -> dict[str, Objective]:
    """Hard and random negatives, pooled and weighed."""
    outputs = ("query", "positive", "hard")
    return {
        "hard and random negatives": Objective(star_loss, _retrieved, outputs=outputs),
        "hard and weighed random negatives": Objective(
            partial(star_loss, alpha=0.5), _retrieved, outputs=outputs
        ),
    }


def _unlearning_losses() -> dict[str, Objective]:
    """The losses that make a language model forget, and the one that makes it keep the rest."""
    tokens = Objective(gradient_ascent, _forgotten_tokens, outputs=("logp",), weights="mask")
    refusals = ("refusal_logp", "forget_logp")
    of_sequences: dict[str, Callable[..., torch.Tensor]] = {
        "negative preference optimization": npo,
        "undesired responses": partial(kto_forget, kl=0.3),
    }
    return {
        name: Objective(function, _forgotten, outputs=("logp",))
        for name, function in of_sequences.items()
    } | {
        "divergence from the model before": Objective(retain_kl, _kept_tokens, weights="mask"),
        "gradient ascent on tokens": tokens,
        "negative preference optimization, a token": Objective(
            npo, _forgotten_and_lengths, outputs=("logp",)
        ),
        "ignorance": Objective(uniform_kl, _ignored_tokens, weights="mask"),
        "preference for a refusal": Objective(dpo_to_refusal, _refused, outputs=refusals),
    }


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
        "lambda rank, discounted gain": Objective(
            partial(lambda_rank, gain="ndcg", cut=3), _lists, outputs=("scores",)
        ),
        "lambda rank, reciprocal rank": Objective(lambda_rank, _lists, outputs=("scores",)),
        **_contrastive_losses(),
        **_forgetting_losses(),
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
        "simple preference optimization": Objective(simpo, _preferences_and_lengths, outputs=_PAIR),
        "soft bootstrapping": Objective(soft_bootstrapping, _labelled),
        "soft-target cross-entropy": Objective(soft_target_cross_entropy, _targeted),
        **_spherical_losses(),
        **_star_losses(),
        "token reward loss": Objective(token_reward_loss, _token_rewards, weights="weights"),
        **_unlearning_losses(),
    }
)
