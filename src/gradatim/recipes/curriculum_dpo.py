"""Preference optimization from easy to hard pairs, stage by stage."""

import copy
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gradatim.core.cache import content_hash
from gradatim.core.checks import check_choice, check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.core.precision import default_dtype, precision_name
from gradatim.core.seeds import derive_seed, numpy_generator
from gradatim.curriculum.orders import Order, Values, as_values, difficulty_bins
from gradatim.difficulty.pair_difficulty import pair_difficulty
from gradatim.evaluators.scorers import Prompts
from gradatim.language.causal_lm import CausalLM
from gradatim.language.response_examples import PreferenceExamples
from gradatim.language.sampling import Responses
from gradatim.metrics.preference import adjusted_win_rate, reward_margin
from gradatim.mining.ranked_pairs import MODES
from gradatim.recipes.iterative_dpo import PreferenceTuning, rated_pairs, referenced_pairs
from gradatim.recipes.policy_improvement import (
    Optimizers,
    check_clip_norm,
    checkpoint_interval,
)
from gradatim.training.batches import OrderedBatches
from gradatim.training.checkpoint import (
    check_settings,
    load_checkpoint,
    load_weights,
    open_folder,
    save_checkpoint,
)
from gradatim.training.fit import PRECISIONS, fit

ORDERS = ("easy_to_hard", "hard_to_easy")
SCOPES = ("within_prompt", "global")
SCHEDULES = ("refreshed_reference", "fixed_reference", "single_pass")
DIFFICULTIES = ("rating", "log_probability", "mean_log_probability")
Pairs = tuple[Prompts, Responses, Responses]
"""Prompts, the preferred responses, and the others in the same order."""


@dataclass
class CurriculumDPO:
    r"""Curri-DPO: several preference pairs a prompt, learned from easy to hard.

    The pairs are cut into T stages by difficulty. In stage t the policy starts from that of the
    stage before, and with a refreshed reference that policy is the reference, too:

    .. math:: L_t = - \log \sigma \left( \beta \left[ \log \frac{\pi(y_w)}{\pi_{t-1}(y_w)} -
        \log \frac{\pi(y_l)}{\pi_{t-1}(y_l)} \right] \right), \qquad \pi_0 = \pi^{SFT}

    With one stage and ``mode="best_worst"`` it is plain DPO, with one stage otherwise DPO on all
    pairs shuffled. Each stage has a fresh optimizer. The default numbers are those of this
    library, for large models; the paper's were not found.

    Args:
        policy: the language model; it is trained in place.
        stages: T, how many stages.
        order: "easy_to_hard", or "hard_to_easy" as a control.
        scope: "within_prompt" takes the easiest pair of each prompt first, then the next of each;
            "global" cuts all pairs by difficulty.
        schedule: "refreshed_reference"; "fixed_reference" keeps the first policy as the reference
            of all stages; "single_pass" is one run without a break over the stages' pairs, with
            that reference.
        mode: which pairs :meth:`fit` makes; see
            :func:`gradatim.mining.ranked_pairs.ranked_pairs`.
        min_gap: the smallest difference of ratings that a pair must have.
        beta: strength of the pull to the reference.
        variant: "dpo" or "ipo".
        label_smoothing: share of pairs that are taken to be the wrong way round.
        steps: updates of a stage; None goes through its pairs once.
        batch_size: pairs in an update.
        optimizer: from the policy's parameters to an optimizer.
        warmup: share of a run's updates in which the learning rate rises from 0, in [0, 1].
        clip_norm: largest norm of the gradients; None does not clip.
        precision: "float32", "bfloat16" or "float16"; None for the device's best.

    Raises:
        InputError: an unknown name, or a number outside its range.

    Source: Pattnaik et al. 2024, arXiv 2403.07230, section 3.

    >>> from gradatim.networks.decoder import SmallDecoder
    >>> from gradatim.language.sampling import sample
    >>> policy = SmallDecoder(6, hidden_size=8, layers=1)
    >>> responses = sample(policy, [[1, 2], [4, 5]], copies=4, longest=6, stop=[0])
    >>> recipe = CurriculumDPO(policy, stages=2, batch_size=4)
    >>> log = recipe.fit([[1, 2], [4, 5]], responses, torch.arange(8))  # the later, the better
    >>> [figures["pairs"] for figures in log]
    [4.0, 2.0]
    """

    policy: CausalLM
    stages: int = 3
    order: str = "easy_to_hard"
    scope: str = "within_prompt"
    schedule: str = "refreshed_reference"
    mode: str = "best_vs_rest"
    min_gap: float = 0.0
    beta: float = 0.1
    variant: str = "dpo"
    label_smoothing: float = 0.0
    steps: int | None = None
    batch_size: int = 32
    optimizer: Optimizers = field(default=lambda parameters: torch.optim.AdamW(parameters, 5e-7))
    warmup: float = 0.1
    clip_norm: float | None = 1.0
    precision: str | None = None

    def __post_init__(self) -> None:
        """Check the names and numbers."""
        for name, choices in (
            ("order", ORDERS), ("scope", SCOPES), ("schedule", SCHEDULES), ("mode", MODES)
        ):  # fmt: skip
            check_choice(name, getattr(self, name), choices)
        check_range("stages", self.stages, 1)
        check_range("steps", 1 if self.steps is None else self.steps, 1)
        check_range("batch_size", self.batch_size, 1)
        check_range("warmup", self.warmup, 0, 1)
        check_clip_norm(self.clip_norm)
        if self.precision is not None:
            check_choice("precision", self.precision, PRECISIONS)
        self._tuning = PreferenceTuning(
            self.beta, variant=self.variant, label_smoothing=self.label_smoothing
        )

    def fit(
        self,
        prompts: Prompts,
        responses: Responses,
        ratings: torch.Tensor,
        *,
        difficulty: str = "rating",
        validation: tuple[Prompts, Responses, torch.Tensor] | None = None,
        seed: int = 0,
        checkpoint: str | Path | None = None,
    ) -> list[dict[str, float]]:
        """Make pairs of rated responses and learn them; see :meth:`fit_pairs`.

        Args:
            prompts: token ids of each prompt.
            responses: several to each prompt, from whatever source.
            ratings: higher = better, shape [R].
            difficulty: what the gap of a pair is measured in: "rating", or "log_probability" or
                "mean_log_probability" (a token) under the policy as it is given.
            validation: prompts, responses and ratings that are not trained on.
            seed: what everything random depends on.
            checkpoint: folder of this run's checkpoints; None keeps none.

        Returns:
            The figures of each stage.

        Raises:
            InputError: no two responses to a prompt whose ratings differ, or as for
                :meth:`fit_pairs`.
        """
        check_choice("difficulty", difficulty, DIFFICULTIES)
        chosen, rejected, gap = rated_pairs(
            responses, ratings, mode=self.mode, min_gap=self.min_gap
        )
        measured = -gap
        if difficulty != "rating":
            lengths = {"chosen_lengths": chosen.lengths, "rejected_lengths": rejected.lengths}
            logs = self._referenced((prompts, chosen, rejected)).rows
            measured = pair_difficulty(
                *logs.values(), **(lengths if difficulty == "mean_log_probability" else {})
            )
        held_out: Pairs | None = None
        if validation is not None:
            others, theirs, rated = validation
            better, worse, _ = rated_pairs(theirs, rated, mode=self.mode, min_gap=self.min_gap)
            held_out = (others, better, worse)
        return self.fit_pairs(
            (prompts, chosen, rejected),
            measured,
            validation=held_out,
            seed=seed,
            checkpoint=checkpoint,
        )

    def fit_pairs(
        self,
        pairs: Pairs,
        difficulty: Values,
        *,
        validation: Pairs | None = None,
        seed: int = 0,
        checkpoint: str | Path | None = None,
    ) -> list[dict[str, float]]:
        """Learn pairs, stage by stage.

        With validation pairs the policy ends as that of the stage with the largest mean reward
        margin on them, and otherwise as that of the last stage. With a ``checkpoint`` folder a run
        that was killed goes on where it was, and a finished one loads its result.

        Args:
            pairs: prompts, preferred and other responses.
            difficulty: higher = harder, finite, shape [P]; see
                :func:`gradatim.difficulty.pair_difficulty.pair_difficulty`.
            validation: pairs that are not trained on.
            seed: what everything random depends on.
            checkpoint: folder of this run's checkpoints; None keeps none.

        Returns:
            The figures of each stage (one row for a single pass): number of pairs, mean
            difficulty, loss and share of ``preferred`` pairs in the last pass, and on validation
            pairs the mean margin and the accuracy of preferences, against the first policy.

        Raises:
            InputError: unequal numbers of pairs and difficulties, a stage without a pair, or a
                checkpoint of other settings or data.
        """
        values = as_values("difficulty", difficulty)
        check_same_length(pairs=pairs[1], difficulty=values)
        stage = self._stages(values, pairs[1].prompt.numpy(), seed)
        run = _StagedRun(self, pairs, values, stage, seed, checkpoint)
        return run.train(validation)

    def _stages(self, difficulty: Any, prompt: Any, seed: int) -> Order:
        """The stage of each pair, in the order of training."""
        group = prompt if self.scope == "within_prompt" else None
        stage = difficulty_bins(difficulty, self.stages, group=group, seed=seed)
        filled = np.bincount(stage, minlength=self.stages)
        if not filled.all():
            raise InputError(
                f"stages: expected at most {int((filled > 0).sum())} (a prompt has no more pairs, "
                f"or there are no more in all), got {self.stages}"
            )
        return stage if self.order == "easy_to_hard" else self.stages - 1 - stage

    def _referenced(self, pairs: Pairs) -> PreferenceExamples:
        """Pairs with their log-probabilities under the policy as it is now."""
        dtype: torch.dtype = getattr(torch, self._precision())
        return referenced_pairs(self.policy, *pairs, dtype=dtype)

    def _precision(self) -> str:
        return self.precision or precision_name(default_dtype(self.policy.device))


class _StagedRun:
    """One call of :meth:`CurriculumDPO.fit_pairs`: what is trained on, and what came of it."""

    def __init__(
        self,
        recipe: CurriculumDPO,
        pairs: Pairs,
        difficulty: Any,
        stage: Order,
        seed: int,
        checkpoint: str | Path | None,
    ) -> None:
        self.recipe, self.pairs, self.difficulty = recipe, pairs, difficulty
        self.stage, self.seed = stage, seed
        self.folder = None if checkpoint is None else Path(checkpoint)
        self.rows = [np.flatnonzero(stage == number) for number in range(recipe.stages)]
        if recipe.schedule == "single_pass":
            self.rows = [np.arange(len(stage))]
        self.log: list[dict[str, float]] = []
        self.best: dict[str, torch.Tensor] = {}
        self.first: dict[str, dict[str, torch.Tensor]] = {}
        """Log-probabilities under the first policy, of training and of validation pairs."""

    def train(self, validation: Pairs | None) -> list[dict[str, float]]:
        """Go through all stages, from the one that a checkpoint leads to."""
        settings = self._settings(validation)
        self._begin(settings, validation)
        for number in range(len(self.log), len(self.rows)):
            figures = self._learn(number)
            if validation is not None:
                figures |= self._validate(validation)
            self.log.append(figures)
            self._save(settings)
        if self.best:
            self.recipe.policy.load_state_dict(self.best)
        return self.log

    def _begin(self, settings: dict[str, Any], validation: Pairs | None) -> None:
        """Take up the last stage that is kept, or read what depends on the first policy."""
        newest = None if self.folder is None else open_folder(self.folder / "stages")
        if newest is not None:
            weights, state = load_checkpoint(newest)
            check_settings(state["settings"], settings, str(newest))
            load_weights(self.recipe.policy, weights, str(newest))
            self.log, self.best, self.first = state["log"], state["best"], state["first"]
            self._remove_finished()
            return
        if self.recipe.schedule != "refreshed_reference":
            self.first["pairs"] = dict(self.recipe._referenced(self.pairs).rows)
        if validation is not None:
            self.first["validation"] = dict(self.recipe._referenced(validation).rows)
        self._save(settings)

    def _learn(self, number: int) -> dict[str, float]:
        """One stage."""
        recipe, rows = self.recipe, torch.from_numpy(self.rows[number])
        prompts, chosen, rejected = self.pairs
        some = prompts, chosen.select(rows), rejected.select(rows)
        if "pairs" in self.first:
            logs = {name: values[rows] for name, values in self.first["pairs"].items()}
            examples = PreferenceExamples(*some, rows=logs)
        else:
            examples = recipe._referenced(some)
        plan = OrderedBatches(self._order(number), recipe.batch_size)
        optimizer = recipe.optimizer(list(recipe.policy.parameters()))
        rising = max(1.0, recipe.warmup * len(plan))
        result = fit(
            recipe.policy,
            examples,
            recipe._tuning.step,
            optimizer=optimizer,
            schedulers=torch.optim.lr_scheduler.LambdaLR(
                optimizer, lambda step: min(1.0, (step + 1) / rising)
            ),
            batches=plan,
            epochs=1,
            clip_norm=recipe.clip_norm,
            precision=recipe._precision(),
            checkpoint=self._inside(number),
            checkpoint_every=checkpoint_interval(len(plan)),
            seed=derive_seed(self.seed, "stage", number),
            progress_bar=False,
        )
        return {
            "pairs": float(len(rows)),
            "difficulty": float(self.difficulty[self.rows[number]].mean()),
            **{name: float(result.history[-1][name]) for name in ("loss", "preferred")},
        }

    def _order(self, number: int) -> Order:
        """Places among a run's pairs, in the order of training: stage by stage, shuffled inside."""
        stages, size = self.stage[self.rows[number]], self.recipe.batch_size
        order = []
        for one in np.unique(stages):
            places = np.flatnonzero(stages == one)
            wanted = len(places) if self.recipe.steps is None else self.recipe.steps * size
            generator = numpy_generator(self.seed, "pairs of a stage", int(one))
            passes = [generator.permutation(places) for _ in range(-(-wanted // len(places)))]
            order.append(np.concatenate(passes)[:wanted])
        return np.concatenate(order)

    def _validate(self, validation: Pairs) -> dict[str, float]:
        """Preferences on validation pairs; the policy is kept if it is the best so far."""
        policy, first = self.recipe.policy, self.first["validation"]
        now = self.recipe._referenced(validation).rows
        margin = reward_margin(*now.values(), *first.values(), beta=self.recipe.beta)
        mean = float(margin.mean())
        if mean > max((row["validation_margin"] for row in self.log), default=-np.inf):
            self.best = copy.deepcopy(policy.state_dict())
        accuracy = adjusted_win_rate(margin, torch.zeros_like(margin))
        return {"validation_margin": mean, "validation_accuracy": accuracy}

    def _settings(self, validation: Pairs | None) -> dict[str, Any]:
        """What must not change between the start of a run and its resumption."""
        plain = {name: getattr(self.recipe, name) for name in _SETTINGS}
        given = {"pairs": _digest(self.pairs), "stages of pairs": content_hash(self.stage)}
        held_out = None if validation is None else _digest(validation)
        precision = self.recipe._precision()
        more = {"validation": held_out, "seed": self.seed, "precision": precision}
        return {**plain, **given, **more}

    def _save(self, settings: dict[str, Any]) -> None:
        if self.folder is None:
            return
        state = {"settings": settings, "log": self.log, "best": self.best, "first": self.first}
        weights = self.recipe.policy.state_dict()
        save_checkpoint(self.folder / "stages", len(self.log), weights, state)
        self._remove_finished()

    def _inside(self, number: int) -> Path | None:
        """Where training inside a stage keeps checkpoints, until the stage is done."""
        return None if self.folder is None else self.folder / f"stage-{number:06d}"

    def _remove_finished(self) -> None:
        for number in range(len(self.log)):
            folder = self._inside(number)
            if folder is not None and folder.exists():
                shutil.rmtree(folder, ignore_errors=True)


_SETTINGS = (
    "stages", "order", "scope", "schedule", "beta", "variant", "label_smoothing", "steps",
    "batch_size", "warmup", "clip_norm",
)  # fmt: skip


def _digest(pairs: Pairs) -> str:
    """A hash of prompts and responses."""
    prompts, *sides = pairs
    texts = [str([list(map(int, prompt)) for prompt in prompts])]
    texts += [str((side.prompt.tolist(), side.lists())) for side in sides]
    return content_hash(texts)
