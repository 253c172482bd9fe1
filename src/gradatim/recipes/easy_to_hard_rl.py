"""Reinforcement learning on easy and hard problems with an evaluator trained on easy ones."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gradatim.core.checks import check_choice
from gradatim.core.errors import InputError
from gradatim.evaluators.scorers import Evaluator, Prompts
from gradatim.language.causal_lm import CausalLM
from gradatim.language.sampling import Responses
from gradatim.recipes.expert_iteration import RestEM
from gradatim.recipes.iterative_dpo import IterativeDPO
from gradatim.recipes.policy_improvement import Method, Run, Sampling, Verify
from gradatim.recipes.ppo import PPO
from gradatim.training.checkpoint import (
    check_settings,
    load_checkpoint,
    load_weights,
    open_folder,
    save_checkpoint,
)

METHODS: Mapping[str, Callable[[], Method]] = {
    "rest_em": RestEM,
    "iterative_dpo": IterativeDPO,
    "ppo": PPO,
}


class EasyToHardRL:
    """Improves a policy on problems of which only the easy ones have answers.

    The answers of easy problems are verified; the responses to hard ones are judged by an
    evaluator that was trained on easy problems.

    Args:
        policy: the language model; it is trained in place.
        evaluator: scores responses, as :class:`gradatim.evaluators.scorers.ProcessReward`.
        method: "rest_em", "iterative_dpo", "ppo" with their default settings, or one of
            :class:`~gradatim.recipes.expert_iteration.RestEM`,
            :class:`~gradatim.recipes.iterative_dpo.IterativeDPO`,
            :class:`~gradatim.recipes.ppo.PPO`, or any other
            :class:`~gradatim.recipes.policy_improvement.Method`.
        sampling: how responses are sampled.

    Raises:
        InputError: an unknown method.

    Source: Sun et al. 2024, arXiv 2403.09472, section 3.3.

    >>> import torch
    >>> from gradatim.networks.decoder import SmallDecoder
    >>> policy = SmallDecoder(6, hidden_size=8, layers=1)
    >>> def evaluator(prompts, responses):  # likes token 3
    ...     return ((responses.tokens == 3) & responses.mask).sum(dim=1) / responses.lengths
    >>> def verify(responses):  # only the first problem has an answer
    ...     right = (responses.tokens[:, 0] == 2).float()
    ...     return right.masked_fill(responses.prompt > 0, torch.nan)
    >>> method = RestEM(rounds=1, threshold=0.1, steps=2)
    >>> sampling = Sampling(copies=32, longest=4, stop=[0])
    >>> recipe = EasyToHardRL(policy, evaluator, method, sampling=sampling)
    >>> [figures] = recipe.fit([[1, 2], [4, 5]], verify)
    >>> sorted(figures), figures["kept"] <= 2 * method.keep
    (['kept', 'problems', 'score'], True)
    """

    def __init__(
        self,
        policy: CausalLM,
        evaluator: Evaluator,
        method: str | Method = "ppo",
        *,
        sampling: Sampling | None = None,
    ) -> None:
        if isinstance(method, str):
            check_choice("method", method, METHODS)
            method = METHODS[method]()
        self.policy, self.evaluator, self.method = policy, evaluator, method
        self.sampling = sampling or Sampling()

    def fit(
        self,
        prompts: Prompts,
        verify: Verify,
        *,
        demonstrations: tuple[Prompts, Responses] | None = None,
        seed: int = 0,
        checkpoint: str | Path | None = None,
        precision: str | None = None,
    ) -> list[dict[str, float]]:
        """Improve the policy, round by round.

        With a ``checkpoint`` folder a run that was killed goes on with the round that it was in,
        and a finished one loads its result.

        Args:
            prompts: token ids of each problem, easy and hard.
            verify: from responses to 1 (right), 0 (wrong) or NaN (no answer available), shape [R];
                ``responses.prompt`` says which problem each answers.
            demonstrations: prompts and their solutions, to be mixed in where a method tunes.
            seed: what everything random depends on.
            checkpoint: folder of this run's checkpoints; None keeps none.
            precision: "float32", "bfloat16" or "float16"; None for the device's best.

        Returns:
            The figures of each round.

        Raises:
            InputError: no problem, what ``verify`` or the evaluator returns is not what is
                expected, or a checkpoint of other settings. The number of rounds may grow.
            NonFiniteRewardError: a reward is NaN or infinite; the policy, and the last checkpoint,
                are those of the round before.
        """
        if not len(prompts):
            raise InputError("prompts: expected at least one problem, got none")
        folder = None if checkpoint is None else Path(checkpoint)
        run = Run(
            self.policy,
            self.evaluator,
            prompts,
            verify,
            self.sampling,
            demonstrations,
            seed,
            folder,
            precision,
        )
        log = self._resume(run)
        for number in range(len(log), self.method.rounds):
            log.append(self.method.improve(run, number))
            if folder is not None:
                self._save(run, log)
        return log

    def _settings(self, run: Run) -> dict[str, Any]:
        """What must not change between the start of a run and its resumption."""
        tuned = run.demonstrations
        return {
            "method": type(self.method).__name__,
            "number of prompts": len(run.prompts),
            "digest of prompts": _digest(run.prompts),
            "number of demonstrations": 0 if tuned is None else len(tuned[1]),
            "seed": run.seed,
            "precision": run.training_precision(),
            **{
                f"sampling.{name}": sorted(value) if name == "stop" else value
                for name, value in vars(self.sampling).items()
            },
            **_options(self.method),
        }

    def _save(self, run: Run, log: list[dict[str, float]]) -> None:
        rounds = run.checkpoint / "rounds"  # type: ignore[operator]
        state = {
            "settings": self._settings(run),
            "log": log,
            "method": dict(self.method.state_dict()),
        }
        save_checkpoint(rounds, len(log), self.policy.state_dict(), state)
        self._remove_rounds(run, len(log))

    @staticmethod
    def _remove_rounds(run: Run, done: int) -> None:
        """Remove what training inside the rounds that are done has left."""
        for number in range(done):
            folder = run.round_folder(number)
            if folder is not None and folder.exists():
                shutil.rmtree(folder, ignore_errors=True)

    def _resume(self, run: Run) -> list[dict[str, float]]:
        """Take up the last round that is kept, and return the figures up to it."""
        newest = None if run.checkpoint is None else open_folder(run.checkpoint / "rounds")
        if newest is None:
            self.method.begin(run)
            return []
        weights, state = load_checkpoint(newest)
        check_settings(state["settings"], self._settings(run), str(newest))
        if len(state["log"]) > self.method.rounds:
            raise InputError(
                f"{newest}: has done {len(state['log'])} rounds, this run has "
                f"{self.method.rounds}; use another checkpoint folder, or as many rounds"
            )
        self._remove_rounds(run, len(state["log"]))
        self.method.begin(run)
        load_weights(self.policy, weights, str(newest))
        self.method.load_state_dict(state["method"])
        return list(state["log"])


def _digest(prompts: Prompts) -> str:
    """A short digest of the problems."""
    text = json.dumps([list(map(int, prompt)) for prompt in prompts])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _options(method: Method) -> dict[str, Any]:
    """The settings of a method that are plain values; but the number of rounds, which may grow."""
    return {
        f"method.{name}": value
        for name, value in vars(method).items()
        if name != "rounds"
        and not name.startswith("_")
        and (value is None or isinstance(value, bool | int | float | str))
    }
