"""Expert iteration: sample, keep what is good, tune the first policy on it, repeat."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import derive_seed
from gradatim.language.response_examples import ResponseExamples
from gradatim.language.sampling import Responses, join_responses
from gradatim.recipes.policy_improvement import (
    Optimizers,
    Run,
    check_clip_norm,
    checkpoint_interval,
    group_ranks,
)
from gradatim.recipes.supervised_tuning import SupervisedTuning
from gradatim.training.fit import fit


@dataclass
class RestEM:
    r"""ReST-EM: the policy learns its own responses that are right, or that the evaluator trusts.

    Each round samples from the present policy (E), keeps of every problem at most ``keep``
    responses, the best-scored first, whose answer is right or, where no answer is available,
    whose score is at least ``threshold``, and tunes the *first* policy on them (M).

    Args:
        rounds: how often.
        keep: responses kept of a problem at most.
        threshold: score from which a response without a verified answer is kept.
        verified_threshold: score that a response with a right answer must have as well; 0 for
            the answer alone.
        steps: updates of a round.
        batch_size: responses in an update.
        optimizer: from the policy's parameters to an optimizer.
        clip_norm: largest norm of the gradients; None does not clip.

    Raises:
        InputError: a number outside its range.

    Source: Singh et al. 2023, arXiv 2312.06585; with an easy-trained evaluator, Sun et al. 2024,
    arXiv 2403.09472, section 3.3.

    >>> from gradatim.language.sampling import as_responses
    >>> from gradatim.recipes.policy_improvement import Sampling
    >>> answers = torch.tensor([1.0, 0.0, torch.nan, torch.nan])
    >>> scores = torch.tensor([0.2, 0.9, 0.7, 0.4])
    >>> run = Run(None, lambda *_: scores, [[1]] * 4, lambda _: answers, Sampling())
    >>> RestEM().choose(run, as_responses([[5]] * 4))[0]  # right, and unknown but trusted
    tensor([0, 2])
    """

    rounds: int = 2
    keep: int = 4
    threshold: float = 0.5
    verified_threshold: float = 0.0
    steps: int = 300
    batch_size: int = 64
    optimizer: Optimizers = field(default=lambda parameters: torch.optim.AdamW(parameters, 1e-5))
    clip_norm: float | None = 1.0
    _first: Mapping[str, torch.Tensor] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("rounds", "keep", "steps", "batch_size"):
            check_range(name, getattr(self, name), 1)
        check_range("threshold", self.threshold)
        check_range("verified_threshold", self.verified_threshold)
        check_clip_norm(self.clip_norm)

    def begin(self, run: Run) -> None:
        """Keep the first policy."""
        self._first = copy.deepcopy(run.policy.state_dict())

    def state_dict(self) -> Mapping[str, Any]:
        """The first policy."""
        return {"first": dict(self._first)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the first policy."""
        self._first = state["first"]

    def improve(self, run: Run, number: int) -> dict[str, float]:
        """One round; see :class:`gradatim.recipes.policy_improvement.Method`."""
        responses = run.sample(run.prompts, number)
        kept, figures = self.choose(run, responses)
        parts = [(run.prompts, responses.select(kept))]
        if run.demonstrations is not None:
            parts.append(run.demonstrations)
        prompts, chosen = join_responses(parts)
        run.policy.load_state_dict(self._first)
        fit(
            run.policy,
            ResponseExamples(prompts, chosen),
            SupervisedTuning().step,
            optimizer=self.optimizer(list(run.policy.parameters())),
            steps=self.steps,
            batch_size=self.batch_size,
            clip_norm=self.clip_norm,
            precision=run.training_precision(),
            checkpoint=run.round_folder(number),
            checkpoint_every=checkpoint_interval(self.steps),
            seed=derive_seed(run.seed, "tuning", number),
            progress_bar=False,
        )
        return figures

    def choose(self, run: Run, responses: Responses) -> tuple[torch.Tensor, dict[str, float]]:
        """The rows to learn from, and figures of them.

        Raises:
            InputError: there is none.
        """
        correct, scores = run.correct(responses), run.scores(responses)
        known = ~correct.isnan()
        good = torch.where(
            known,
            (correct == 1) & (scores >= self.verified_threshold),
            scores >= self.threshold,
        )
        ranks = group_ranks(responses.prompt, scores.masked_fill(~good, -torch.inf))
        kept = (good & (ranks < self.keep)).nonzero()[:, 0]
        if not len(kept):
            raise InputError(
                f"threshold: expected at least one response that is right or scores "
                f"{self.threshold}, got none of {len(responses)} (the highest score is "
                f"{float(scores.max()):.3g}, {int((correct == 1).sum())} answers are right)"
            )
        return kept, {
            "kept": float(len(kept)),
            "problems": len(set(responses.prompt[kept].tolist())) / len(run.prompts),
            "score": float(scores.mean()),
        }
