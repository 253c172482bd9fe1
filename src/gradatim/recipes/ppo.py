"""Proximal policy optimization with outcome rewards where answers are known, and step rewards."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from gradatim.core.checks import check_choice, check_range
from gradatim.core.seeds import derive_seed, numpy_generator
from gradatim.evaluators.reward_models import StepRewardModel
from gradatim.evaluators.step_scores import aggregate_steps, last_tokens
from gradatim.language.causal_lm import CausalLM
from gradatim.language.log_probabilities import token_log_probabilities
from gradatim.language.reading import read_responses
from gradatim.language.response_examples import ResponseExamples
from gradatim.language.sampling import Responses
from gradatim.objectives.policy_gradient import clipped_value, kl_penalty, ppo_clip
from gradatim.objectives.tokens import hide
from gradatim.recipes.policy_improvement import (
    Optimizers,
    Run,
    check_clip_norm,
    refuse_rewards,
)
from gradatim.targets.advantages import generalized_advantages, whiten
from gradatim.targets.process_reward import shape_process_reward
from gradatim.training.batches import ShuffledBatches
from gradatim.training.fit import fit
from gradatim.training.step import Loss, State


class PolicyAndValue(nn.Module):
    """A policy and a value model, trained together."""

    def __init__(self, policy: CausalLM, value: StepRewardModel) -> None:
        super().__init__()
        self.policy, self.value = policy, value

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, only: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities of tokens, and the value before each; both of shape [B, T].

        Args:
            ids: prompts and responses, shape [B, T].
            mask: True where there is a token, shape [B, T].
            only: compute log-probabilities where this is True, shape [B, T]; None is everywhere.
        """
        logs = token_log_probabilities(self.policy, ids, mask, only=only)
        return logs, self.values(ids, mask)

    def values(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The value of what stands before each token, shape [B, T]."""
        return functional.pad(self.value.read(ids, mask)[:, :-1], (1, 0))


@dataclass
class PPO:
    r"""Each round: sample, reward the steps and the end, take a few clipped policy steps.

    A response's last token is rewarded with 1 or 0 where its answer is verified, with
    ``unavailable`` where it is not, and with ``-penalty`` if it did not end; the last token of
    each step with :func:`gradatim.targets.process_reward.shape_process_reward` of the
    evaluator's scores; and every token with :math:`-\beta \max(\log \pi - \log \pi_{ref}, 0)`. An
    evaluator without steps gives its score at the last token where no answer is available.
    Rewards are divided by their standard deviation, advantages whitened over the whole round.
    Give a policy without dropout, which would make noise of the probability ratios.

    Args:
        rounds: how often; each draws other problems.
        problems: problems of a round.
        epochs: passes over the responses of a round.
        batch_size: responses in an update.
        kl: beta, the pull to the first policy.
        clip: how far a probability ratio may move the objective.
        value_clip: how far a value may move.
        value_weight: weight of the value's loss.
        scheme: "min" or "product".
        upper_bound: score from which steps are as good as any.
        bonus: what all steps of a response have together.
        process_weight: weight of the step rewards.
        unavailable: outcome reward where no answer is available.
        penalty: for a response that did not end.
        optimizer: from the parameters of policy and value model to an optimizer.
        clip_norm: largest norm of the gradients; None does not clip.

    Raises:
        InputError: an unknown scheme, or a number outside its range.

    Source: Sun et al. 2024, arXiv 2403.09472, section 3.3, with the settings of the published
    command; Schulman et al. 2017, arXiv 1707.06347.

    >>> from gradatim.language.sampling import as_responses
    >>> from gradatim.recipes.policy_improvement import Sampling
    >>> answers, scores = torch.tensor([1.0, torch.nan]), torch.tensor([0.9, 0.6])
    >>> run = Run(None, lambda *_: scores, [[1]] * 2, lambda _: answers, Sampling())
    >>> PPO().rewards(run, as_responses([[5, 6], [7]]))[0]  # of tokens, from an evaluator of wholes
    tensor([[0.0000, 1.0000],
            [0.6000, 0.0000]])
    """

    rounds: int = 30
    problems: int = 64
    epochs: int = 1
    batch_size: int = 64
    kl: float = 0.01
    clip: float = 0.2
    value_clip: float = 0.2
    value_weight: float = 0.1
    scheme: str = "min"
    upper_bound: float = 0.5
    bonus: float = 0.25
    process_weight: float = 1.0
    unavailable: float = 0.25
    penalty: float = 1.0
    optimizer: Optimizers = field(
        default=lambda parameters: torch.optim.AdamW(
            parameters, 2e-5, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.0
        )
    )
    clip_norm: float | None = 1.0
    _training: "_Training" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("rounds", "problems", "epochs", "batch_size"):
            check_range(name, getattr(self, name), 1)
        for name in ("kl", "value_weight", "process_weight", "penalty", "bonus"):
            check_range(name, getattr(self, name), 0)
        check_range("clip", self.clip, 0, 1, open_low=True, open_high=True)
        check_range("value_clip", self.value_clip, 0, open_low=True)
        check_range("upper_bound", self.upper_bound, 0, 1, open_low=True)
        check_range("unavailable", self.unavailable)
        check_choice("scheme", self.scheme, ("min", "product"))
        check_clip_norm(self.clip_norm)

    def begin(self, run: Run) -> None:
        """Make the value model, the reference and the optimizer."""
        self._training = _Training.begin(run, self.optimizer)

    def state_dict(self) -> Mapping[str, Any]:
        """The value model, the reference and the optimizer's state."""
        training = self._training
        return {
            "value": training.both.value.state_dict(),
            "reference": training.reference.state_dict(),
            "optimizer": training.optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what was kept."""
        training = self._training
        training.both.value.load_state_dict(state["value"])
        training.reference.load_state_dict(state["reference"])
        training.optimizer.load_state_dict(state["optimizer"])

    def improve(self, run: Run, number: int) -> dict[str, float]:
        """One round; see :class:`gradatim.recipes.policy_improvement.Method`."""
        training = self._training
        draw = numpy_generator(run.seed, "problems", number)
        count = min(self.problems, len(run.prompts))
        chosen = draw.choice(len(run.prompts), count, replace=False).tolist()
        sampled = run.sample([run.prompts[index] for index in chosen], number)
        responses = Responses(
            torch.tensor(chosen)[sampled.prompt], *(vars(sampled)[name] for name in _OTHERS)
        )
        read = partial(
            read_responses, prompts=run.prompts, responses=responses, dtype=run.reading_dtype()
        )
        old = read(training.both, partial(token_log_probabilities, run.policy))
        reference = read(training.reference, partial(token_log_probabilities, training.reference))
        values = read(training.both, training.both.values)
        rewards, figures = self.rewards(run, responses)
        mask = responses.mask
        rewards = rewards - self.kl * hide(kl_penalty(old, reference, "k1-clamped"), mask)
        refuse_rewards("pull to the first policy", rewards, ~rewards.isfinite())
        rewards = _of_unit_deviation(rewards, mask)
        advantages, returns = generalized_advantages(rewards, values, mask)
        columns = {
            "old": old,
            "old_values": values,
            "advantages": whiten(advantages, mask),
            "returns": returns,
        }
        fit(
            training.both,
            ResponseExamples(run.prompts, responses, tokens=columns),
            self.step,
            optimizer=training.optimizer,
            epochs=self.epochs,
            batches=ShuffledBatches(
                len(responses), self.batch_size, seed=derive_seed(run.seed, "order", number)
            ),
            clip_norm=self.clip_norm,
            precision=run.training_precision(),
            seed=derive_seed(run.seed, "ppo", number),
            progress_bar=False,
        )
        gap = hide(old - reference, mask).sum() / len(responses)
        return {**figures, "kl": float(gap)}

    def step(self, model: PolicyAndValue, batch: Mapping[str, Any], state: State) -> Loss:
        """The clipped objective of policy and value, summed over response tokens."""
        mask = batch["response"]
        new, values = model(batch["ids"], batch["mask"], mask)
        policy = ppo_clip(
            new, batch["old"], batch["advantages"], mask, clip=self.clip, reduction="sum"
        )
        value = clipped_value(
            values,
            batch["old_values"],
            batch["returns"],
            mask,
            clip=self.value_clip,
            reduction="sum",
        )
        return Loss(policy + self.value_weight * value, mask.sum())

    def rewards(self, run: Run, responses: Responses) -> tuple[torch.Tensor, dict[str, float]]:
        """The reward of each token but for the pull to the first policy, and figures of it.

        Raises:
            InputError: what was judged is not one number a response.
            NonFiniteRewardError: a reward is not finite.
        """
        correct = run.correct(responses)
        rewards = torch.zeros(responses.tokens.shape)
        segmented = getattr(run.evaluator, "segment", None)
        unknown = torch.full_like(correct, self.unavailable)
        if segmented is None:
            unknown = run.scores(responses)
            score = unknown
        else:
            logits, there = run.evaluator.steps(run.prompts, responses)  # type: ignore[attr-defined]
            refuse_rewards("evaluator", logits, ~logits.isfinite() & there)
            shaped = self.process_weight * shape_process_reward(
                logits.sigmoid(),
                there,
                scheme=self.scheme,
                upper_bound=self.upper_bound,
                bonus=self.bonus,
            )
            ends = last_tokens(segmented(responses.tokens, responses.mask), there.shape[1])
            rewards.scatter_add_(1, ends.clamp(min=0), hide(shaped, there))
            score = aggregate_steps(logits, there, "min", logits=True)
        outcome = torch.where(correct.isnan(), unknown, correct)
        outcome = outcome - self.penalty * (~responses.finished).float()
        last = (responses.lengths - 1)[:, None]
        rewards.scatter_add_(1, last, outcome[:, None])
        return rewards, {
            "score": float(score.mean()),
            "finished": float(responses.finished.float().mean()),
        }


def _of_unit_deviation(rewards: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Rewards over their standard deviation; as they are if they are all equal."""
    deviation = rewards[mask].std(correction=0)
    return rewards / torch.where(deviation > 1e-6, deviation, 1.0)


_OTHERS = ("tokens", "lengths", "log_probabilities", "finished")


@dataclass
class _Training:
    """What lasts over the rounds of a run."""

    both: PolicyAndValue
    reference: CausalLM
    optimizer: torch.optim.Optimizer

    @classmethod
    def begin(cls, run: Run, optimizer: Optimizers) -> "_Training":
        """The value model starts from the evaluator's language model, else from the policy."""
        reward_model = getattr(run.evaluator, "model", None)
        source = getattr(reward_model, "backbone", run.policy)
        value = StepRewardModel(copy.deepcopy(source), outputs=1)
        both = PolicyAndValue(run.policy, value.requires_grad_())
        reference = copy.deepcopy(run.policy).requires_grad_(False)
        trained = [one for one in both.parameters() if one.requires_grad]
        return cls(both, reference, optimizer(trained))
