"""Evaluators on the frozen states of a language model, trained on easy problems."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gradatim.core.cache import FeatureCache
from gradatim.core.errors import InputError
from gradatim.evaluators.frozen_heads import FrozenRewardHead
from gradatim.evaluators.step_scores import aggregate_steps
from gradatim.language.causal_lm import CausalLM
from gradatim.language.hidden_states import hidden_states_at
from gradatim.language.text_steps import TextSteps
from gradatim.workflows.easy_to_hard_candidates import Solution

EVALUATORS = ("orm", "prm", "oprm")


@dataclass(frozen=True)
class StepStates:
    """Hidden states at the last token of each step of many solutions.

    Attributes:
        states: of all steps, solution by solution, shape [M, H].
        ends: for each solution where its steps end among its tokens.
        problems: which problem each solution belongs to, shape [R].
    """

    states: NDArray[np.float16]
    ends: list[list[int]]
    problems: NDArray[np.int64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many steps each solution has, shape [R]."""
        return np.array([len(ends) for ends in self.ends], dtype=np.int64)

    @property
    def last(self) -> NDArray[np.int64]:
        """The row of each solution's last state, -1 for an empty solution; shape [R]."""
        return np.where(self.counts > 0, self.counts.cumsum() - 1, -1)


def read_states(
    model: CausalLM,
    model_key: str,
    prompts: Sequence[Sequence[int]],
    solutions: Sequence[Solution],
    steps: TextSteps,
    folder: Path,
) -> StepStates:
    """Read each solution once, and keep the states at its steps' ends on the disk."""
    ends = [step_ends(steps.of(solution.tokens)) for solution in solutions]
    content = []
    for solution, own in zip(solutions, ends, strict=True):
        prompt = list(prompts[solution.prompt])
        places = [len(prompt) + end for end in own]
        content.append(json.dumps([prompt + solution.tokens, places]))

    def compute(rows: list[str], _: str) -> NDArray[Any]:
        pairs = [json.loads(row) for row in rows]
        return hidden_states_at(model, [one for one, _ in pairs], [two for _, two in pairs])

    states = FeatureCache(folder / "states").get_or_compute(content, model_key, compute)
    problems = np.array([solution.prompt for solution in solutions], dtype=np.int64)
    return StepStates(states, ends, problems)


def step_ends(steps: Sequence[int]) -> list[int]:
    """The last token of each step.

    >>> step_ends([0, 0, 1, 2, 2])
    [1, 2, 4]
    """
    return [
        place
        for place, step in enumerate(steps)
        if place + 1 == len(steps) or steps[place + 1] != step
    ]


@dataclass(frozen=True)
class TrainedEvaluators:
    """The outcome, the process, and the outcome-and-process reward model.

    Attributes:
        heads: name -> head.
        sizes: name -> how many labelled states it was trained on.
        aggregate: how the scores of steps become one.
    """

    heads: dict[str, FrozenRewardHead]
    sizes: dict[str, int]
    aggregate: str

    def scores(self, states: StepStates) -> dict[str, NDArray[np.float64]]:
        """One score in [0, 1] for each solution, 0 for an empty one; name -> shape [R]."""
        found = {}
        for name, head in self.heads.items():
            each = head.scores(states.states)
            if name == "orm":
                last = np.append(each, 0.0)[states.last]
                found[name] = np.where(states.counts > 0, last, 0.0)
            else:
                found[name] = _aggregate(each, states.counts, self.aggregate)
        return found


def train_evaluators(
    states: StepStates,
    correct: NDArray[np.bool_],
    step_labels: Sequence[Sequence[float]],
    *,
    aggregate: str,
    seed: int,
) -> TrainedEvaluators:
    """Train the three on solutions of easy problems.

    Args:
        states: of the solutions.
        correct: whether each solution's answer is right, shape [R].
        step_labels: of each solution the labels of its steps, NaN for a step without one.
        aggregate: how the scores of steps become one.
        seed: as in :class:`FrozenRewardHead`.

    Raises:
        InputError: no solution, or every one, is right, or no labelled step, or every one.
    """
    check_trainable(correct)
    there = states.counts > 0
    labels = np.array([label for own in step_labels for label in own], dtype=float)
    labelled = ~np.isnan(labels)
    _check_steps(labels[labelled])
    owner = np.repeat(states.problems, states.counts)
    outcome = (states.last[there], correct[there], states.problems[there])
    process = (np.flatnonzero(labelled), labels[labelled] > 0, owner[labelled])
    both = tuple(np.concatenate(pair) for pair in zip(outcome, process, strict=True))
    heads, sizes = {}, {}
    for name, (rows, right, problems) in zip(EVALUATORS, (outcome, process, both), strict=True):
        head = FrozenRewardHead(seed=seed)
        heads[name] = head.fit(states.states[rows], right, problems)
        sizes[name] = len(rows)
    return TrainedEvaluators(heads, sizes, aggregate)


def check_trainable(correct: NDArray[np.bool_]) -> None:
    """Check that evaluators can learn from these outcomes.

    Raises:
        InputError: no solution, or every one, is right; the error says what to do.
    """
    if not correct.any():
        raise InputError(
            f"none of the {len(correct)} solutions of easy problems is right, so that no evaluator "
            "can be trained; take easier problems (a lower easy=), more problems or copies, "
            "a higher longest=, or a stronger model"
        )
    if correct.all():
        raise InputError(
            f"all {len(correct)} solutions of easy problems are right, so that no evaluator can be "
            "trained; take harder problems (a higher easy=) or a higher temperature"
        )


def _check_steps(labels: NDArray[np.float64]) -> None:
    """Check that a process reward model can learn from these labels of steps."""
    if not labels.any() or labels.all():
        kind = "right" if labels.any() else "wrong"
        raise InputError(
            f"all {len(labels)} labelled steps are {kind}, so that no process reward model can be "
            "trained; label steps of more solutions (labelled=), or by outcomes (continuations=0)"
        )


def _aggregate(
    scores: NDArray[np.float64], counts: NDArray[np.int64], how: str
) -> NDArray[np.float64]:
    """One score a solution from those of its steps, which stand one after the other."""
    width = int(counts.max(initial=0))
    mask = np.arange(width) < counts[:, None]
    padded = np.zeros(mask.shape)
    padded[mask] = scores
    found = aggregate_steps(torch.from_numpy(padded), torch.from_numpy(mask), how)
    return np.asarray(found.numpy())
