"""Training that forgets, with a guard: what all unlearners of language models share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gradatim.core.checks import check_choice, check_range
from gradatim.recipes.unlearning_guard import NON_FINITE, CollapseGuard
from gradatim.training.fit import PRECISIONS, Evaluate, Step, fit
from gradatim.training.history import NonFiniteLossError, Row
from gradatim.training.step import State

Figures = Callable[[Any], Mapping[str, float]]


@dataclass(frozen=True)
class UnlearningOutcome:
    """What came of a run of unlearning.

    Attributes:
        reason: why it ended before its time: "forgotten", "collapse" or "non-finite"; "" if all
            updates were made.
        step: the update after which the model's weights are as they are now.
        steps: updates made, with those that were taken back.
        curve: results of the evaluations, a row each, the first before training.
        history: rows of the training loss; empty if the loss became non-finite.
    """

    reason: str
    step: int
    steps: int
    curve: list[dict[str, float]]
    history: list[Row] = field(default_factory=list)


@dataclass(kw_only=True)
class GuardedTraining:
    """Updates of AdamW, evaluations, and an end in time.

    The learning rate rises by a line, and then falls to 0 by one.

    Args:
        lr: largest learning rate.
        weight_decay: of AdamW.
        warmup: share of the updates in which the learning rate rises.
        epochs: passes over what is to be forgotten.
        batch_size: pairs in a batch.
        accumulate: batches in an update.
        clip_norm: largest norm of the gradients; None does not clip.
        precision: "float32" or what else ``fit`` takes; references are read in it.
        evaluate_every: updates between evaluations; None for the end of each epoch.
        watched: how many responses of either kind are read at an evaluation, at most.
        perplexity_growth: a collapse is when the perplexity of what is to be kept has grown by
            more than this factor; None for never.
        forget_target: end once ``forget_probability`` is at most this; None for never.
        seed: what the order depends on.

    Raises:
        InputError: a number outside its range.
    """

    lr: float = 1e-5
    weight_decay: float = 0.01
    warmup: float = 0.1
    epochs: int = 10
    batch_size: int = 4
    accumulate: int = 1
    clip_norm: float | None = None
    precision: str = "float32"
    evaluate_every: int | None = None
    watched: int = 64
    perplexity_growth: float | None = 2.0
    forget_target: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_range("lr", self.lr, 0, open_low=True)
        check_range("warmup", self.warmup, 0, 1, open_high=True)
        for name in ("epochs", "batch_size", "accumulate", "watched"):
            check_range(name, getattr(self, name), 1)
        check_choice("precision", self.precision, PRECISIONS)
        self.guard({})

    @property
    def dtype(self) -> torch.dtype:
        """The precision of training."""
        dtype: torch.dtype = getattr(torch, self.precision)
        return dtype

    def guard(self, initial: Mapping[str, float]) -> CollapseGuard:
        """What ends the run, from the figures before it."""
        return CollapseGuard(
            initial,
            perplexity_growth=self.perplexity_growth,
            forget_target=self.forget_target,
            check_gradients=self.precision != "float16",
        )

    def train(
        self,
        model: torch.nn.Module,
        examples: Any,
        batches: Any,
        step: Step,
        figures: Figures,
        initial: Mapping[str, float],
        *,
        evaluate: Evaluate | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: int | None = None,
    ) -> UnlearningOutcome:
        """Train the parameters of a model that need a gradient, in place.

        Args:
            model: what is trained.
            examples: a source of batches.
            batches: the order, with a length in batches an epoch.
            step: the losses.
            figures: what is read of the model at every evaluation.
            initial: the same before training.
            evaluate: further figures, as ``fit`` takes it.
            checkpoint: folder of checkpoints; None keeps none.
            checkpoint_every: updates between them; None for the end of each epoch.

        Returns:
            What came of it; the weights are those that the guard has left.
        """
        guard = self.guard(initial)
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(trained, self.lr, weight_decay=self.weight_decay)
        total = self.epochs * -(-len(batches) // self.accumulate)

        def measure(given: Any, state: State) -> Mapping[str, float]:
            return {**figures(given), **(evaluate(given, state) if evaluate else {})}

        try:
            result = fit(
                model, examples, step,
                optimizer=optimizer, batches=batches, epochs=self.epochs,
                schedulers=torch.optim.lr_scheduler.LambdaLR(optimizer, self._schedule(total)),
                accumulate=self.accumulate, clip_norm=self.clip_norm, precision=self.precision,
                callbacks=(guard,), evaluate=measure, evaluate_every=self.evaluate_every,
                checkpoint=checkpoint, checkpoint_every=checkpoint_every, seed=self.seed,
                progress_bar=False,
            )  # fmt: skip
        except NonFiniteLossError:
            if guard.reason != NON_FINITE:
                raise
            return UnlearningOutcome(guard.reason, guard.step, guard.step, guard.curve)
        finally:
            model.eval()
        at = result.step if not guard.reason else guard.step
        return UnlearningOutcome(guard.reason, at, result.step, guard.curve, result.history)

    def _schedule(self, total: int) -> Callable[[int], float]:
        rising = max(1, round(self.warmup * total))

        def factor(done: int) -> float:
            if done < rising:
                return (done + 1) / rising
            return (total - done) / max(1, total - rising)

        return factor
