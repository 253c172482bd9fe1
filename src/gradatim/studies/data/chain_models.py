"""Small generators and evaluators trained on chains of arithmetic, by seed."""

import copy
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from gradatim.core.precision import default_dtype, precision_name
from gradatim.core.seeds import derive_seed
from gradatim.evaluators.reward_models import LikelihoodRewardModel
from gradatim.evaluators.scorers import (
    Evaluator,
    OutcomeProcessReward,
    OutcomeReward,
    ProcessReward,
)
from gradatim.language.response_examples import ResponseExamples
from gradatim.language.sampling import Responses, as_responses, sample
from gradatim.language.steps import segment_by_separator
from gradatim.networks.decoder import SmallDecoder
from gradatim.recipes.reward_modelling import RewardModelling, reward_examples, reward_optimizer
from gradatim.recipes.supervised_tuning import SupervisedTuning
from gradatim.studies.data.arithmetic_chains import (
    END,
    SEPARATOR,
    TOKENIZER,
    Chain,
    Grade,
    draw_chains,
    grade,
    step_labels,
)
from gradatim.training.callbacks import StopWhenReached
from gradatim.training.fit import Step, fit
from gradatim.training.length_batches import LengthGroupedBatches

LEVELS, EASY, HARD = (1, 2, 3, 4, 5), (1, 2, 3), (4, 5)
LONGEST = 100
BATCH = 64
SEGMENT = partial(segment_by_separator, separators=[SEPARATOR])


def questions(chains: Sequence[Chain]) -> list[list[int]]:
    """The problems as prompts."""
    return [TOKENIZER.encode(chain.question) for chain in chains]


def solutions(chains: Sequence[Chain]) -> Responses:
    """The right solutions as responses."""
    return as_responses([TOKENIZER.encode(chain.solution) for chain in chains])


def grades(chains: Sequence[Chain], responses: Responses) -> list[Grade]:
    """Check every response."""
    return [
        grade(chains[problem], TOKENIZER.decode(tokens))
        for problem, tokens in zip(responses.prompt.tolist(), responses.lists(), strict=True)
    ]


@dataclass(frozen=True)
class ChainSizes:
    """How large the models and their training sets are.

    Attributes:
        hidden_size: of the decoder.
        tuning: problems to tune the generator on.
        tuning_steps: updates until tuning gives up.
        annealing: updates in which a generator's learning rate falls.
        validation: easy problems that tell when to stop.
        rewards: easy problems that reward models are trained on.
        reward_copies: samples of each.
        reward_steps: updates of a reward model.
        shared: use the same few problems for everything, so that a tiny model solves some.
    """

    hidden_size: int = 128
    tuning: int = 39_000
    tuning_steps: int = 2_000
    annealing: int = 40
    validation: int = 150
    rewards: int = 6_000
    reward_copies: int = 4
    reward_steps: int = 400
    shared: bool = False


class ChainLab:
    """One seed's problems, and what is done with them.

    Args:
        seed: what everything depends on.
        sizes: how much of it.
    """

    def __init__(self, seed: int, sizes: ChainSizes) -> None:
        self.seed, self.sizes = seed, sizes
        self.validation = self.draw("validation", EASY, sizes.validation)

    def draw(self, use: str, levels: Sequence[int], count: int) -> list[Chain]:
        """Problems for one use, equally many of each level.

        A fifth of all problems, told by a hash of their text, are held out for "validation" and
        "test": none of them is ever trained on.
        """
        each = -(-count // len(levels))
        if self.sizes.shared:
            return [c for level in levels for c in draw_chains(level, each, self.seed, "any")]
        held_out = use in ("validation", "test")
        found: list[Chain] = []
        for level in levels:
            drawn = draw_chains(level, each * (8 if held_out else 2), self.seed, use)
            fitting = [chain for chain in drawn if _is_held_out(chain) == held_out]
            found += fitting[:each]
        return found

    def train(
        self,
        name: str,
        model: torch.nn.Module,
        examples: ResponseExamples,
        step: Step,
        optimizer: torch.optim.Optimizer,
        steps: int,
        *,
        decay: bool = True,
        goal: float | None = None,
    ) -> None:
        """Train for some steps, or until a share of the validation problems is solved."""
        warm = [lambda s: min(1.0, (s + 1) / 20), lambda s: max(0.02, 1 - s / steps)]
        schedule = (lambda s: warm[0](s) * warm[1](s)) if decay else warm[0]
        fit(
            model,
            examples,
            step,
            optimizer=optimizer,
            schedulers=torch.optim.lr_scheduler.LambdaLR(optimizer, schedule),
            steps=steps,
            batches=LengthGroupedBatches(examples.lengths.numpy(), BATCH, seed=self.seed),
            precision=precision_name(default_dtype()),
            clip_norm=1.0,
            evaluate=None if goal is None else lambda model, state: {"solved": self.solved(model)},
            evaluate_every=None if goal is None else 20,
            callbacks=[] if goal is None else [StopWhenReached("solved", goal)],
            seed=derive_seed(self.seed, name),
            progress_bar=False,
        )

    def solved(self, model: SmallDecoder) -> float:
        """Share of the validation problems that greedy decoding solves."""
        return float(np.mean([one.correct for one in self.greedy(model, self.validation)]))

    def greedy(self, model: SmallDecoder, chains: Sequence[Chain]) -> list[Grade]:
        """The likeliest solutions, graded."""
        responses = sample(model, questions(chains), longest=LONGEST, stop=[END], temperature=0)
        return grades(chains, responses)

    def sampled(
        self, model: SmallDecoder, chains: Sequence[Chain], copies: int, use: str
    ) -> Responses:
        """Solutions at temperature 1."""
        return sample(
            model,
            questions(chains),
            copies=copies,
            longest=LONGEST,
            stop=[END],
            seed=derive_seed(self.seed, use),
        )

    def generators(
        self, levels: Sequence[int], strengths: Sequence[float]
    ) -> Iterator[tuple[float, SmallDecoder]]:
        """Decoders tuned on solutions: one trunk, with an annealed branch at each strength.

        Args:
            levels: of the problems to tune on.
            strengths: rising shares of the validation problems, the easy ones, to be solved.
        """
        chains = self.draw("tuning", levels, self.sizes.tuning)
        examples = ResponseExamples(questions(chains), solutions(chains))
        torch.manual_seed(derive_seed(self.seed, "initialization"))
        trunk = SmallDecoder(len(TOKENIZER), hidden_size=self.sizes.hidden_size)
        optimizer, steps = adam(trunk, 3e-3), self.sizes.tuning_steps
        step = SupervisedTuning(chunk_tokens=BATCH * LONGEST).step
        for strength in strengths:
            name = f"tuning to {strength}"
            self.train(name, trunk, examples, step, optimizer, steps, decay=False, goal=strength)
            branch = copy.deepcopy(trunk)
            fading = adam(branch, 3e-3)
            fading.load_state_dict(copy.deepcopy(optimizer.state_dict()))
            self.train(f"{name}, annealed", branch, examples, step, fading, self.sizes.annealing)
            yield strength, branch

    def evaluators(self, generator: SmallDecoder, names: Sequence[str]) -> dict[str, Evaluator]:
        """Reward models trained on a generator's samples on easy problems."""
        chains = self.draw("rewards", EASY, self.sizes.rewards)
        responses = self.sampled(generator, chains, self.sizes.reward_copies, "rewards")
        graded = grades(chains, responses)
        outcomes = torch.tensor([float(one.correct) for one in graded])
        segments = SEGMENT(responses.tokens, responses.mask)
        steps = step_labels(graded, int(segments.max()) + 1)
        labels: dict[str, dict[str, Any]] = {
            "ORM": {"correct": outcomes},
            "PRM": {"step_labels": steps, "segment": SEGMENT},
            "OPRM": {"correct": outcomes, "step_labels": steps, "segment": SEGMENT},
        }
        found: dict[str, Evaluator] = {}
        for name in names:
            model = LikelihoodRewardModel(copy.deepcopy(generator), chunk_tokens=BATCH * LONGEST)
            examples = reward_examples(questions(chains), responses, tokens="last", **labels[name])
            optimizer = reward_optimizer(model, 1e-3)
            count = self.sizes.reward_steps
            self.train(name, model, examples, RewardModelling().step, optimizer, count)
            found[name] = self.evaluator(name, model)
        return found

    @staticmethod
    def evaluator(name: str, model: LikelihoodRewardModel) -> Evaluator:
        """A reward model made ready to score; a product of steps, the answer among them."""
        if name == "ORM":
            return OutcomeReward(model)
        return {"PRM": ProcessReward, "OPRM": OutcomeProcessReward}[name](model, SEGMENT)


def _is_held_out(chain: Chain) -> bool:
    return zlib.crc32(chain.question.encode()) % 5 == 0


def adam(model: torch.nn.Module, lr: float) -> torch.optim.Optimizer:
    """The optimizer of generators."""
    return torch.optim.AdamW(model.parameters(), lr, weight_decay=0.01, betas=(0.9, 0.98))
