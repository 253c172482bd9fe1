"""Learn from easy to hard, then search for what is still wrong and prefer what is right."""

import math
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

import numpy as np
import torch

from gradatim.core.cache import content_hash
from gradatim.core.checks import check_choice, check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.core.precision import default_dtype, precision_name
from gradatim.core.seeds import derive_seed, numpy_generator
from gradatim.curriculum.orders import Order, Values, as_values, difficulty_bins
from gradatim.difficulty.language_loss import score_completions
from gradatim.evaluators.scorers import Prompts
from gradatim.language.causal_lm import CausalLM
from gradatim.language.environments import Environment, TaskT, TextTokens
from gradatim.language.response_examples import PreferenceExamples, ResponseExamples
from gradatim.language.sampling import as_responses
from gradatim.mining.tree_search import FragmentPair, SampledContinuations, TreeSearchPairs
from gradatim.recipes.iterative_dpo import PreferenceTuning, referenced_pairs
from gradatim.recipes.policy_improvement import Optimizers, check_clip_norm, checkpoint_interval
from gradatim.recipes.supervised_tuning import SupervisedTuning
from gradatim.selection.top_fraction_by_group import top_fraction_by_group
from gradatim.training.batches import OrderedBatches, ShuffledBatches
from gradatim.training.checkpoint import (
    check_settings,
    load_checkpoint,
    load_weights,
    open_folder,
    save_checkpoint,
)
from gradatim.training.fit import PRECISIONS, Step, fit

ORDERS = ("easy_to_hard", "shuffled")
OBJECTIVES = ("simpo", "dpo")


@dataclass
class IterativeReinforcedFineTuning(Generic[TaskT]):
    r"""iTool: supervised tuning from easy to hard, then rounds of search and preference.

    The reference answers are learned in stages by difficulty. Then each round takes the share of
    the tasks whose reference answers have the highest perplexity under the present policy,

    .. math:: h_i = \exp \Bigl( - \tfrac{1}{T} \textstyle\sum_t \log \pi(y_{it} \mid x_i, y_{i<t})
        \Bigr),

    searches them for preference pairs of short pieces, and optimizes the policy on these with
    SimPO, or with DPO against the policy as the round began. The learning rate of each phase rises
    over its first tenth and falls to 0 along a cosine.

    With ``rounds=0`` it is plain supervised tuning, staged or shuffled. With a search of
    ``depth=1``, ``iterations=1`` and no separators the pairs are of whole sampled answers.

    Args:
        policy: the language model; it is trained in place.
        environment: sets the tasks and judges answers.
        tokenizer: between the environment's text and the policy's tokens.
        stop: tokens that end an answer; the first of them is put behind reference answers.
        search: how pairs are searched for.
        fast_reward: a first guess at the value of a piece, as for
            :meth:`gradatim.mining.tree_search.TreeSearchPairs.mine`; or None.
        longest: tokens of a continuation at most.
        temperature: that continuations are sampled with.
        order: "easy_to_hard" or "shuffled", of the supervised phase.
        stages: of the order from easy to hard, with as many updates each.
        supervised_steps: updates of the supervised phase; 0 leaves it out.
        rounds: how often is searched.
        ratio: share of the tasks of each group that are searched.
        objective: "simpo" or "dpo".
        beta: of the objective.
        target_margin: gamma of SimPO.
        steps: updates of a round; None goes through its pairs twice.
        most_pairs: pairs of a round at most, drawn at random.
        batch_size: answers or pairs in an update.
        supervised_optimizer: from parameters to an optimizer, for the supervised phase.
        optimizer: the same for rounds.
        clip_norm: largest norm of the gradients; None does not clip.
        precision: "float32", "bfloat16" or "float16"; None for the device's best.

    Raises:
        InputError: an unknown name, or a number outside its range.

    Source: Zeng et al. 2025, arXiv 2501.09766, and the authors' code, which has the rounds
    (``ratio`` 0.3, SimPO with beta 2.5 and gamma 0.5, two epochs, at most 4,000 pairs, one round
    in the script) and not the supervised phase.

    >>> from gradatim.language.characters import CharacterTokenizer
    >>> from gradatim.language.environments import Turn
    >>> from gradatim.networks.decoder import SmallDecoder
    >>> class Copy:
    ...     def prompt(self, task): return task
    ...     def step(self, task, answer): return Turn()
    ...     def verify(self, task, answer): return float(answer == task)
    >>> recipe = IterativeReinforcedFineTuning(
    ...     SmallDecoder(4, hidden_size=8, layers=1), Copy(), CharacterTokenizer("ab."), stop=[3],
    ...     stages=2, supervised_steps=4, rounds=1, ratio=0.5, longest=3, steps=2)
    >>> log = recipe.fit(["a", "b", "ab", "ba"], ["a", "b", "ab", "ba"], [1, 1, 2, 2])
    >>> len(log), "pairs" in log[1]
    (2, True)
    """

    policy: CausalLM
    environment: Environment[TaskT]
    tokenizer: TextTokens
    stop: Collection[int]
    search: TreeSearchPairs = field(default_factory=TreeSearchPairs)
    fast_reward: Callable[[TaskT, str], float] | None = None
    longest: int = 50
    temperature: float = 1.5
    order: str = "easy_to_hard"
    stages: int = 3
    supervised_steps: int = 300
    rounds: int = 3
    ratio: float = 0.3
    objective: str = "simpo"
    beta: float = 2.5
    target_margin: float = 0.5
    steps: int | None = None
    most_pairs: int = 4000
    batch_size: int = 8
    supervised_optimizer: Optimizers = field(
        default=lambda parameters: torch.optim.AdamW(parameters, 1e-5)
    )
    optimizer: Optimizers = field(default=lambda parameters: torch.optim.AdamW(parameters, 1e-6))
    clip_norm: float | None = 1.0
    precision: str | None = None

    def __post_init__(self) -> None:
        """Check the names and numbers."""
        check_choice("order", self.order, ORDERS)
        check_choice("objective", self.objective, OBJECTIVES)
        for name in ("longest", "stages", "most_pairs", "batch_size"):
            check_range(name, getattr(self, name), 1)
        for name in ("supervised_steps", "rounds"):
            check_range(name, getattr(self, name), 0)
        check_range("temperature", self.temperature, 0, open_low=True)
        check_range("ratio", self.ratio, 0, 1, open_low=True)
        check_range("steps", 1 if self.steps is None else self.steps, 1)
        check_clip_norm(self.clip_norm)
        if not self.stop:
            raise InputError("stop: expected at least one token that ends an answer")
        if self.precision is not None:
            check_choice("precision", self.precision, PRECISIONS)
        margin = self.target_margin if self.objective == "simpo" else None
        self._tuning = PreferenceTuning(self.beta, variant=self.objective, target_margin=margin)

    def fit(
        self,
        tasks: Sequence[TaskT],
        answers: Sequence[str],
        difficulty: Values,
        *,
        group: Values | Sequence[str] | None = None,
        seed: int = 0,
        checkpoint: str | Path | None = None,
    ) -> list[dict[str, float]]:
        """Tune on tasks with reference answers.

        With a ``checkpoint`` folder a run that was killed goes on where it was (a search that was
        broken off is made again), and a finished one loads its result.

        Args:
            tasks: what is asked.
            answers: the right answers, as text.
            difficulty: higher = harder, finite, shape [n]; see
                :func:`gradatim.difficulty.tool_complexity.tool_complexity`.
            group: groups of which the same share is searched, as answers with and without a call,
                shape [n]; None is one.
            seed: what everything random depends on.
            checkpoint: folder of this run's checkpoints; None keeps none.

        Returns:
            A row of figures for the supervised phase, if there is one, and for each round: loss,
            and of a round the number of ``pairs``, the mean ``reward`` of searched answers, the
            mean ``perplexity`` of all references before it, and the share of ``preferred`` pairs.

        Raises:
            InputError: no task, unequal lengths, or a checkpoint of other settings or data.
        """
        values = as_values("difficulty", difficulty)
        if not check_same_length(tasks=tasks, answers=answers, difficulty=values):
            raise InputError("tasks: expected at least one, got none")
        run = _Run(self, tasks, answers, values, group, seed, checkpoint)
        return run.train()

    def _precision(self) -> str:
        return self.precision or precision_name(default_dtype(self.policy.device))


class _Run(Generic[TaskT]):
    """One call of :meth:`IterativeReinforcedFineTuning.fit`."""

    def __init__(
        self,
        recipe: IterativeReinforcedFineTuning[TaskT],
        tasks: Sequence[TaskT],
        answers: Sequence[str],
        difficulty: Any,
        group: Values | Sequence[str] | None,
        seed: int,
        checkpoint: str | Path | None,
    ) -> None:
        self.recipe, self.tasks, self.seed = recipe, tasks, seed
        self.difficulty, self.group = difficulty, group
        self.folder = None if checkpoint is None else Path(checkpoint)
        encode, end = recipe.tokenizer.encode, next(iter(recipe.stop))
        self.texts = [
            (recipe.environment.prompt(task), answer)
            for task, answer in zip(tasks, answers, strict=True)
        ]
        self.prompts: Prompts = [encode(prompt) for prompt, _ in self.texts]
        self.answers = [[*encode(answer), end] for _, answer in self.texts]
        self.log: list[dict[str, float]] = []

    def train(self) -> list[dict[str, float]]:
        """Go through all phases, from the one that a checkpoint leads to."""
        settings = self._settings()
        newest = None if self.folder is None else open_folder(self.folder / "phases")
        if newest is not None:
            weights, state = load_checkpoint(newest)
            check_settings(state["settings"], settings, str(newest))
            load_weights(self.recipe.policy, weights, str(newest))
            self.log = state["log"]
        first = 0 if self.recipe.supervised_steps else 1
        for number in range(first + len(self.log), 1 + self.recipe.rounds):
            self.log.append(self._round(number) if number else self._supervised())
            if self.folder is not None:
                state = {"settings": settings, "log": self.log}
                weights = self.recipe.policy.state_dict()
                save_checkpoint(self.folder / "phases", len(self.log), weights, state)
                shutil.rmtree(self.folder / f"phase-{number:06d}", ignore_errors=True)
        return self.log

    def _supervised(self) -> dict[str, float]:
        """The reference answers, stage by stage."""
        recipe = self.recipe
        examples = ResponseExamples(self.prompts, as_responses(self.answers))
        order = self._order()
        plan = OrderedBatches(order, recipe.batch_size)
        result = self._fit(
            0, examples, SupervisedTuning().step, plan, recipe.supervised_optimizer, len(plan)
        )
        return {"loss": float(result[-1]["loss"])}

    def _order(self) -> Order:
        """Positions of all updates: each stage in as many, in passes that are shuffled."""
        recipe = self.recipe
        stages = recipe.stages if recipe.order == "easy_to_hard" else 1
        stage = difficulty_bins(self.difficulty, stages, seed=derive_seed(self.seed, "stages"))
        order = []
        for one, steps in enumerate(_parts(recipe.supervised_steps, stages)):
            places, wanted = np.flatnonzero(stage == one), steps * recipe.batch_size
            if not len(places):
                raise InputError(
                    f"stages: expected at most as many as tasks, {len(stage)}, got {stages}"
                )
            generator = numpy_generator(self.seed, "supervised", one)
            passes = [generator.permutation(places) for _ in range(-(-wanted // len(places)))]
            order += [np.concatenate(passes)[:wanted]] if wanted else []
        return np.concatenate(order)

    def _round(self, number: int) -> dict[str, float]:
        """Select, search, prefer."""
        recipe = self.recipe
        perplexity = self._perplexity()
        rows = top_fraction_by_group(
            perplexity.numpy(),
            self.group,
            ratio=recipe.ratio,
            seed=derive_seed(self.seed, "selection", number),
        )
        found = recipe.search.mine(
            recipe.environment,
            [self.tasks[row] for row in rows],
            tokenizer=recipe.tokenizer,
            propose=SampledContinuations(
                recipe.policy, recipe.stop, recipe.longest, recipe.temperature
            ),
            stop=recipe.stop,
            fast_reward=recipe.fast_reward,
            seed=derive_seed(self.seed, "search", number),
        )
        rewards = [reward for some in found.rewards for reward in some]
        figures = {
            "perplexity": float(perplexity.mean()),
            "reward": float(np.mean(rewards)) if rewards else 0.0,
            "pairs": float(len(found.pairs)),
        }
        return {**figures, **self._prefer(found.pairs, number)} if found.pairs else figures

    def _perplexity(self) -> torch.Tensor:
        """Of each reference answer under the present policy, shape [n]."""
        whole = [[*one, *two] for one, two in zip(self.prompts, self.answers, strict=True)]
        counted = [
            [place >= len(one) for place in range(len(one) + len(two))]
            for one, two in zip(self.prompts, self.answers, strict=True)
        ]
        dtype: torch.dtype = getattr(torch, self.recipe._precision())
        return score_completions(self.recipe.policy, whole, counted, dtype=dtype).loss.exp()

    def _prefer(self, pairs: list[FragmentPair], number: int) -> dict[str, float]:
        """Optimize the policy on pairs."""
        recipe = self.recipe
        generator = numpy_generator(self.seed, "pairs", number)
        kept = [pairs[row] for row in generator.permutation(len(pairs))[: recipe.most_pairs]]
        prefixes = [pair.prefix for pair in kept]
        chosen, rejected = (
            as_responses([getattr(pair, side) for pair in kept]) for side in ("chosen", "rejected")
        )
        if recipe.objective == "dpo":
            dtype: torch.dtype = getattr(torch, recipe._precision())
            examples = referenced_pairs(recipe.policy, prefixes, chosen, rejected, dtype=dtype)
        else:
            examples = PreferenceExamples(prefixes, chosen, rejected)
        plan = ShuffledBatches(
            len(kept), recipe.batch_size, seed=derive_seed(self.seed, "pairs", number)
        )
        steps = 2 * len(plan) if recipe.steps is None else recipe.steps
        last = self._fit(number, examples, recipe._tuning.step, plan, recipe.optimizer, steps)[-1]
        return {name: float(last[name]) for name in ("loss", "preferred")}

    def _fit(
        self, number: int, examples: Any, step: Step, plan: Any, optimizers: Optimizers, steps: int
    ) -> list[dict[str, Any]]:
        """The updates of one phase."""
        recipe = self.recipe
        optimizer = optimizers(list(recipe.policy.parameters()))
        return fit(
            recipe.policy,
            examples,
            step,
            optimizer=optimizer,
            schedulers=torch.optim.lr_scheduler.LambdaLR(
                optimizer, lambda done: _rate(done, steps)
            ),
            batches=plan,
            steps=steps,
            clip_norm=recipe.clip_norm,
            precision=recipe._precision(),
            checkpoint=None if self.folder is None else self.folder / f"phase-{number:06d}",
            checkpoint_every=checkpoint_interval(steps),
            seed=derive_seed(self.seed, "phase", number),
            progress_bar=False,
        ).history

    def _settings(self) -> dict[str, Any]:
        """What must not change between the start of a run and its resumption."""
        given = content_hash([str(self.texts), str(self.difficulty.tolist()), str(self.group)])
        return {
            **{name: getattr(self.recipe, name) for name in _SETTINGS},
            "search": str(self.recipe.search),
            "tasks and answers": given,
            "seed": self.seed,
            "precision": self.recipe._precision(),
        }


_SETTINGS = (
    "longest", "temperature", "order", "stages", "supervised_steps", "rounds", "ratio",
    "objective", "beta", "target_margin", "steps", "most_pairs", "batch_size", "clip_norm",
)  # fmt: skip


def _parts(steps: int, stages: int) -> list[int]:
    """Updates of each stage, the first ones with one more where they do not divide."""
    return [steps // stages + (one < steps % stages) for one in range(stages)]


def _rate(done: int, steps: int) -> float:
    """What the learning rate is multiplied with: it rises over a tenth and falls as a cosine."""
    rising = max(1.0, 0.1 * steps)
    falling = max(0.0, done - rising) / max(1.0, steps - rising)
    return min(1.0, (done + 1) / rising) * 0.5 * (1 + math.cos(math.pi * min(1.0, falling)))
