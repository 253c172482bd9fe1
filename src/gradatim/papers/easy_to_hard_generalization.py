"""Evaluators trained on easy problems judge hard ones, on chains of modular arithmetic.

A small decoder is tuned on solutions of easy problems (2 to 4 steps) until it solves 40% of easy
validation problems, a rule that was fixed before hard problems (6 and 8 steps) were looked at.
Reward models start from it and are trained on its samples on easy problems: on outcomes (ORM), on
exact step labels (PRM), on both (OPRM). They re-rank its samples on hard problems, and serve as the
reward in reinforcement learning on problems of all levels, where the hard ones have no answers.
They read the likelihood that a tuned copy of the generator gives to a step: a linear head on its
last hidden state judges badly at this size.

Controls: the generator's own log-probability as the score; tuning on easy problems for as many
updates as reinforcement learning makes; rejection tuning on the same easy answers, alone and
re-ranked; tuning on all levels (an oracle); pass@N, which counts valid paths only. Generators that
solve 65% and 90% of easy problems show where the gain shrinks. Tuning longer on easy solutions
gains as much as reinforcement learning here; PPO moves what is sampled more than what is likeliest.

Settings are from seeds 0 and 1, most from one. Trials: ReST-EM five (learning rate 5e-4 or 1e-3,
two or four responses, threshold 0.5 or 0.9, with demonstrations or none, which gains less);
rejection tuning four of these; DPO four (rate 1e-5 to 1e-4, beta 0.1 to 1; at 1e-4 it collapsed;
the setting lies between two); PPO eight (rate 1e-4 to 1e-3, 64 or 128 problems a round, the value's
weight and clipping); longer tuning two. PPO samples 25 times 1,024 responses, others twice 18,000.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gradatim.evaluators.scorers import Evaluator
from gradatim.language.response_examples import ResponseExamples
from gradatim.language.sampling import Responses
from gradatim.networks.decoder import SmallDecoder
from gradatim.recipes.easy_to_hard_rl import EasyToHardRL
from gradatim.recipes.expert_iteration import RestEM
from gradatim.recipes.iterative_dpo import IterativeDPO
from gradatim.recipes.policy_improvement import Method, Sampling, Verify
from gradatim.recipes.ppo import PPO
from gradatim.recipes.supervised_tuning import SupervisedTuning
from gradatim.studies.claims import Budget, Claim, Measurement, SeedTable
from gradatim.studies.data.arithmetic_chains import END, Chain
from gradatim.studies.data.chain_models import (
    EASY,
    HARD,
    LEVELS,
    LONGEST,
    ChainLab,
    ChainSizes,
    adam,
    grades,
    questions,
    solutions,
)
from gradatim.studies.data.chain_pools import ChainPool
from gradatim.studies.plots import Figure

POPULATION = (
    "chains of 2 to 8 steps of arithmetic modulo 17 (easy: up to 4, hard: 6 and 8), a decoder of "
    "two layers of 128 units that solves 40% of easy validation problems, 32 samples a problem"
)
STRENGTHS = (0.4, 0.65, 0.9)
MAIN = STRENGTHS[0]
HARD_PART = "part=hard"
BORDER = (3.5, "easy", "hard")
VOTE, BEST = "weighted vote", "best-of-N"
SCORES = ("log-probability", "ORM", "PRM", "OPRM")
METHODS = ("ReST-EM, PRM", "iterative DPO, PRM", "PPO, PRM")
TUNED, CONTINUED, ORACLE = "rejection tuning", "tuning continued", "tuning on all levels"


def _gain(arm: str, over: str, group: str = HARD_PART) -> Callable[[SeedTable], float]:
    """The difference of two arms' accuracy; not a number where a small budget leaves one out."""

    def estimand(t: SeedTable) -> float:
        if arm not in t.arms or over not in t.arms:
            return math.nan
        return t[arm].at(group).accuracy - t[over].at(group).accuracy

    return estimand


def _drop(t: SeedTable, arm: str, metric: str) -> float:
    """How much a figure falls from easy to hard problems."""
    return t[arm].at("part=easy")[metric] - t[arm].at(HARD_PART)[metric]


CLAIMS = (
    Claim(
        "On hard problems the weighted vote with a process reward model trained on easy ones is "
        "right more often than the majority.",
        _gain(f"{VOTE}, PRM", "majority"),
        smallest_effect=0.02,
        unit="accuracy",
    ),
    Claim(
        "The best of N by the easy-trained process reward model's score is right more often than "
        "the majority, too.",
        _gain(f"{BEST}, PRM", "majority"),
        smallest_effect=0.02,
        unit="accuracy",
    ),
    Claim(
        "Process supervision carries further than outcome supervision: the weighted vote with the "
        "PRM or the OPRM beats that with the ORM on hard problems.",
        (_gain(f"{VOTE}, PRM", f"{VOTE}, ORM"), _gain(f"{VOTE}, OPRM", f"{VOTE}, ORM")),
        smallest_effect=0.01,
        unit="accuracy",
    ),
    *(
        Claim(
            f"Reinforcement learning with the easy-trained evaluator ({name}) beats the generator "
            "that was tuned on easy problems, on hard ones.",
            _gain(name, "greedy"),
            smallest_effect=0.02,
            unit="accuracy",
        )
        for name in METHODS
    ),
    Claim(
        "Reinforcement learning (ReST-EM) gives more on hard problems than tuning on easy "
        "solutions for as many updates.",
        _gain(METHODS[0], CONTINUED),
        smallest_effect=0.02,
        unit="accuracy",
    ),
    Claim(
        "Reinforcement learning (ReST-EM) gives more than rejection tuning, which spends the same "
        "easy answers on the generator.",
        _gain(METHODS[0], TUNED),
        smallest_effect=0.02,
        unit="accuracy",
    ),
    Claim(
        "From easy to hard the accuracy of the generator falls further than the area under the "
        "ROC curve of the evaluator.",
        lambda t: _drop(t, "greedy", "accuracy") - _drop(t, "PRM", "auc"),
        smallest_effect=0.02,
        unit="difference of drops",
    ),
    Claim(
        "The evaluator still helps a generator that solves 90% of easy problems: weighted vote "
        "with its own PRM against the majority, on hard problems.",
        _gain(f"{VOTE}, PRM", "majority", f"generator={STRENGTHS[-1]}, {HARD_PART}"),
        smallest_effect=0.02,
        unit="accuracy",
    ),
)

_RERANKED = (
    "greedy",
    "majority",
    *(f"{rule}, {score}" for score in SCORES for rule in (VOTE, BEST)),
    "oracle, pass@N",
)
_BOTH = tuple(f"{name} and {BEST}, PRM" for name in (TUNED, METHODS[0]))
FIGURES = (
    Figure(
        "accuracy",
        over="level",
        arms=("greedy", "majority", f"{VOTE}, ORM", f"{VOTE}, PRM", "oracle, pass@N"),
        where="",
        title="Accuracy by level",
        border=BORDER,
    ),
    Figure(
        "accuracy",
        over="candidates",
        arms=("majority", f"{VOTE}, PRM", f"{BEST}, PRM", f"{BEST}, ORM", "oracle, pass@N"),
        where=HARD_PART,
        title="Hard problems, by the number of candidates",
    ),
    Figure("accuracy", where=HARD_PART, arms=_RERANKED, title="Hard problems, re-ranked"),
    Figure(
        "accuracy",
        where=HARD_PART,
        arms=("greedy", *METHODS, CONTINUED, TUNED, *_BOTH, ORACLE),
        title="Hard problems, after training",
    ),
    Figure(
        "accuracy",
        over="generator",
        arms=("greedy", "majority", f"{VOTE}, PRM", f"{BEST}, PRM", "oracle, pass@N"),
        where=HARD_PART,
        title="Hard problems, by how many easy ones the generator solves",
    ),
    Figure(
        "auc",
        over="level",
        arms=SCORES,
        where="",
        title="Valid against invalid solutions, by level",
        border=BORDER,
    ),
)


@dataclass(frozen=True)
class Sizes:
    """How much of everything a budget allows: test problems of each level and candidates of each;
    problems, samples of each, updates and rounds to improve the policy; and what a response or a
    pair without answers must score.
    """

    models: ChainSizes = field(default_factory=ChainSizes)
    strengths: tuple[float, ...] = STRENGTHS
    test: int = 100
    candidates: int = 32
    problems: int = 1_500
    copies: int = 12
    steps: int = 300
    ppo_rounds: int = 25
    methods: tuple[str, ...] = METHODS
    tuned_longer: bool = True
    threshold: float = 0.5
    gap: float = 0.3


FULL = Sizes()
DEMO = Sizes(
    ChainSizes(rewards=3_000, reward_steps=200),
    strengths=STRENGTHS[:1],
    test=60,
    candidates=16,
    problems=600,
    copies=8,
    steps=100,
    methods=METHODS[:1],
    tuned_longer=False,
)
SMOKE = Sizes(
    ChainSizes(64, 3, 60, 40, 3, 3, 8, 4, shared=True),
    strengths=(MAIN, STRENGTHS[-1]),
    test=1,
    candidates=4,
    problems=5,
    copies=8,
    steps=2,
    ppo_rounds=1,
    threshold=0.0,
    gap=0.0,
)


def study(seed: int, budget: Budget) -> Iterator[Measurement]:
    """Re-rank with evaluators of each generator; then improve the first one in several ways."""
    sizes = budget.pick(smoke=SMOKE, demo=DEMO, full=FULL)
    lab = ChainLab(seed, sizes.models)
    test = lab.draw("test", LEVELS, sizes.test * len(LEVELS))
    for strength, generator in lab.generators(EASY, sizes.strengths):
        evaluators = lab.evaluators(generator, SCORES[1:] if strength == MAIN else SCORES[1:3])
        pool = ChainPool.of(lab, generator, test, sizes.candidates, evaluators)
        arms = {"greedy": _greedy(lab, generator, test), **pool.arms()}
        for name, right in arms.items():
            yield from _parts(name, right, test, f"generator={strength}")
            if strength == MAIN:
                yield from _levels(name, right, test)
        if strength == MAIN:
            for part, value in pool.sampled().items():
                yield Measurement("greedy", "sampled_accuracy", value, f"part={part}")
            yield from pool.curves()
            yield from pool.aucs()
            yield from _improved(lab, sizes, generator, evaluators["PRM"], test)


def _greedy(lab: ChainLab, policy: SmallDecoder, test: Sequence[Chain]) -> npt.NDArray[np.float64]:
    return np.array([float(one.correct) for one in lab.greedy(policy, test)])


def _parts(
    arm: str, right: npt.NDArray[np.float64], test: Sequence[Chain], group: str = ""
) -> Iterator[Measurement]:
    """Accuracy on the easy and the hard problems."""
    for part, members in (("easy", EASY), ("hard", HARD)):
        chosen = [chain.level in members for chain in test]
        place = f"{group}, part={part}".removeprefix(", ")
        yield Measurement(arm, "accuracy", float(right[chosen].mean()), place)


def _levels(
    arm: str, right: npt.NDArray[np.float64], test: Sequence[Chain]
) -> Iterator[Measurement]:
    """Accuracy on each level, and on the easy and the hard ones."""
    for level in LEVELS:
        chosen = [chain.level == level for chain in test]
        yield Measurement(arm, "accuracy", float(right[chosen].mean()), f"level={level}")
    yield from _parts(arm, right, test)


def _methods(sizes: Sizes) -> dict[str, Method]:
    """The methods at the settings that were chosen on seeds 0-4."""
    return {
        METHODS[0]: RestEM(
            keep=2, threshold=sizes.threshold, steps=sizes.steps, optimizer=_rl_adam(1e-3)
        ),
        METHODS[1]: IterativeDPO(
            beta=0.5, gap=sizes.gap, steps=sizes.steps // 2, optimizer=_rl_adam(5e-5)
        ),
        METHODS[2]: PPO(
            rounds=sizes.ppo_rounds,
            problems=128,
            value_clip=100.0,
            value_weight=0.5,
            optimizer=_rl_adam(3e-4),
        ),
    }


def _rl_adam(lr: float) -> Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]:
    return lambda parameters: torch.optim.AdamW(
        parameters, lr, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.0
    )


def _improved(
    lab: ChainLab,
    sizes: Sizes,
    generator: SmallDecoder,
    evaluator: Evaluator,
    test: Sequence[Chain],
) -> Iterator[Measurement]:
    """Improve the generator with the evaluator, and by what the same labels give without it."""
    for name, method in _methods(sizes).items():
        if name in sizes.methods:
            policy = _reinforced(lab, sizes, generator, method, evaluator, LEVELS)
            yield from _policy(lab, sizes, name, policy, evaluator, test)
    tuning = RestEM(keep=2, steps=sizes.steps, optimizer=_rl_adam(5e-4))
    policy = _reinforced(lab, sizes, generator, tuning, _trusting, EASY)
    yield from _policy(lab, sizes, TUNED, policy, evaluator, test)
    for name, levels in ((CONTINUED, EASY), (ORACLE, LEVELS)) if sizes.tuned_longer else ():
        policy, chains = copy.deepcopy(generator), lab.draw("tuning", levels, lab.sizes.tuning)
        examples = ResponseExamples(questions(chains), solutions(chains))
        step = SupervisedTuning(chunk_tokens=64 * LONGEST).step
        lab.train(name, policy, examples, step, adam(policy, 1e-3), 2 * sizes.steps)
        yield from _policy(lab, sizes, name, policy, evaluator, test)


def _policy(
    lab: ChainLab,
    sizes: Sizes,
    name: str,
    policy: SmallDecoder,
    evaluator: Evaluator,
    test: Sequence[Chain],
) -> Iterator[Measurement]:
    """What a policy reaches alone and re-ranked, and whether the evaluator still tells."""
    yield from _levels(name, _greedy(lab, policy, test), test)
    pool = ChainPool.of(lab, policy, test, sizes.candidates // 2, {"PRM": evaluator})
    arms = pool.arms()
    for arm in ("majority", f"{BEST}, PRM"):
        yield from _parts(f"{name} and {arm}", arms[arm], test)
    for part, value in pool.sampled().items():
        yield Measurement(name, "sampled_accuracy", value, f"part={part}")
    yield from (one for one in pool.aucs(f" on {name}") if one.arm.startswith("PRM"))


def _reinforced(
    lab: ChainLab,
    sizes: Sizes,
    generator: SmallDecoder,
    method: Method,
    evaluator: Evaluator,
    levels: Sequence[int],
) -> SmallDecoder:
    """A copy of the generator, improved on problems of some levels; hard ones have no answers."""
    policy, chains = copy.deepcopy(generator), lab.draw("policy", levels, sizes.problems)
    shown = lab.draw("tuning", EASY, 2 * sizes.problems)
    EasyToHardRL(
        policy,
        evaluator,
        method,
        sampling=Sampling(
            8 if isinstance(method, PPO) else sizes.copies, longest=LONGEST, stop=(END,)
        ),
    ).fit(
        questions(chains),
        _verifier(chains),
        demonstrations=(questions(shown), solutions(shown)),
        seed=lab.seed,
    )
    return policy


def _verifier(chains: Sequence[Chain]) -> Verify:
    """Answers of easy problems are available, those of hard ones are not."""

    def verify(responses: Responses) -> torch.Tensor:
        right = [float(one.correct) for one in grades(chains, responses)]
        known = [chains[problem].level in EASY for problem in responses.prompt.tolist()]
        return torch.tensor(right).masked_fill(~torch.tensor(known), math.nan)

    return verify


def _trusting(prompts: Any, responses: Responses) -> torch.Tensor:
    """No evaluator: every response is worth as much as another."""
    return torch.ones(len(responses))
