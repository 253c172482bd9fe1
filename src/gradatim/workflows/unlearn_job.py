"""One job of unlearning: measure, train, measure again, attack."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from gradatim.core.errors import InputError
from gradatim.language.adapters import add_lora
from gradatim.language.causal_lm import CausalLM
from gradatim.language.loading import LanguageModel
from gradatim.metrics.forgetting import forget_quality
from gradatim.recipes.guarded_training import UnlearningOutcome
from gradatim.recipes.reversed_unlearning import ReversedUnlearner
from gradatim.recipes.unlearning import Unlearner, UnlearningStep
from gradatim.training.step import State
from gradatim.workflows.unlearn_encoding import EncodedTexts, TextEncoder
from gradatim.workflows.unlearn_evaluation import FORGET, RETAIN, Evaluation, Evaluator
from gradatim.workflows.unlearn_inputs import UnlearnTexts
from gradatim.workflows.unlearn_models import (
    ADAPTER,
    DIFFERENCE,
    WHOLE,
    UnlearnedModel,
    base_name,
    load_model,
    ready_tokenizer,
    save_unlearned,
)
from gradatim.workflows.unlearn_relearning import RelearningAttack
from gradatim.workflows.unlearn_settings import UnlearnSettings
from gradatim.workflows.unlearn_store import RunFolder

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""

LONG = 1024
"""Tokens of a text from which on a note tells what that costs."""


@dataclass(frozen=True)
class UnlearnData:
    """All texts of a job.

    Attributes:
        forget: what is to be forgotten.
        retain: what is to be kept; None if nothing is.
        refusals: what is said instead, one a row of ``forget``; None if the method needs none.
        utility: further texts that should still be known, by name.
        unrelated: text whose perplexity is watched.
    """

    forget: UnlearnTexts
    retain: UnlearnTexts | None
    refusals: tuple[str, ...] | None
    utility: Mapping[str, UnlearnTexts]
    unrelated: UnlearnTexts

    def marks(self) -> dict[str, Any]:
        """Hashes of all texts."""
        return {
            "forget": self.forget.mark(),
            "retain": None if self.retain is None else self.retain.mark(),
            "refusals": None if self.refusals is None else list(self.refusals),
            "utility": {name: texts.mark() for name, texts in self.utility.items()},
            "unrelated": self.unrelated.mark(),
        }

    def sets(self) -> dict[str, UnlearnTexts]:
        """What is measured, by name."""
        kept = {} if self.retain is None else {RETAIN: self.retain}
        return {FORGET: self.forget, **kept, **self.utility}


class UnlearnJob:
    """Unlearning, once its texts are read.

    Args:
        source: the model, as :func:`~gradatim.workflows.unlearn_models.load_model` takes it.
        reference: one that was trained without what is forgotten; None if there is none.
        data: all texts.
        settings: the settings.
        folder: where stages, checkpoints and the model are kept.
        device: where models go; None takes a GPU if there is one.
        dtype: precision of the weights.
        progress: called as work goes on.

    Raises:
        InputError: the model cannot be loaded, or a text is too long for it.
    """

    def __init__(
        self,
        source: Any,
        reference: Any,
        data: UnlearnData,
        settings: UnlearnSettings,
        folder: RunFolder,
        *,
        device: str | None,
        dtype: str | None,
        progress: Progress,
    ) -> None:
        self.source, self.reference, self.data = source, reference, data
        self.settings, self.folder, self.progress = settings, folder, progress
        self.notes: list[str] = []
        self._places = {"device": device, "dtype": dtype}
        loaded = load_model(source, device=device, dtype=dtype)
        tokenizer, note = ready_tokenizer(loaded.tokenizer)
        self.notes += [note] if note else []
        self.loaded = LanguageModel(loaded.model, tokenizer, loaded.name)
        lengths = [one for one in (loaded.model.context_length, settings.max_tokens) if one]
        self.encoder = TextEncoder(
            tokenizer, loaded.stop,
            limit=min(lengths, default=None), chunk_tokens=settings.chunk_tokens,
        )  # fmt: skip
        if not self.encoder.chat:
            self.notes.append(
                "the tokenizer has no chat template: questions are asked as 'Question: ...', and "
                "answered behind 'Answer:'"
            )
        self.forget = self.encoder.texts(data.forget)
        self.retain = None if data.retain is None else self.encoder.texts(data.retain)
        self.precision = settings.precision_on(loaded.model.device)
        self.evaluator = Evaluator(
            self.encoder, data.sets(), data.unrelated,
            settings.evaluated, settings.longest, getattr(torch, self.precision),
        )  # fmt: skip
        self.attack = RelearningAttack(
            settings.relearn_steps, settings.attack_rate, settings.batch_size,
            self.precision, settings.seed,
        )  # fmt: skip
        self._describe()

    def run(self, started: float) -> tuple[dict[str, Any], UnlearnedModel]:
        """Do all that is left to do.

        Returns:
            The record of the result, and the model.

        Raises:
            InputError: the model's loss on what is to be forgotten is not finite to begin with.
        """
        self._check_finite(self.loaded.model)
        self.folder.begin()
        before = self._evaluated("before", self.loaded.model)
        without = self._without()
        outcome, found = self._train()
        after = self._evaluated("after", found.model)
        attacked = self.folder.stage("relearning", lambda: self._attacked(found))
        if self.folder.folder is not None:
            self.progress("writing the model", 0, 1)
            save_unlearned(found, self.folder.folder)
            self.progress("writing the model", 1, 1)
        record = {
            "outcome": {
                "reason": outcome.reason,
                "step": outcome.step,
                "steps": outcome.steps,
                "planned": self.updates,
            },
            "curve": outcome.curve,
            "before": before.record(),
            "after": after.record(),
            "without": without,
            "relearning": attacked,
            "quality": self._quality(before, after, without),
            "notes": self.notes,
            "seconds": time.monotonic() - started,
        }
        self.folder.finish(record)
        return record, found

    @property
    def updates(self) -> int:
        """Updates of a whole run."""
        batches = -(-len(self.forget) // self.settings.batch_size)
        return self.settings.epochs * -(-batches // self.settings.accumulate)

    def _evaluated(self, stage: str, model: CausalLM) -> Evaluation:
        def compute() -> dict[str, Any]:
            self.progress(f"figures {stage}", 0, 1)
            found = self.evaluator(model)
            self.progress(f"figures {stage}", 1, 1)
            return found.record()

        record = self.folder.stage(stage, compute)
        assert record is not None
        return Evaluation(**record)

    def _without(self) -> dict[str, Any] | None:
        """Figures of the model that never saw what is to be forgotten."""
        if self.reference is None:
            return None

        def compute() -> dict[str, Any]:
            loaded = load_model(self.reference, **self._places, name="reference")
            found = self._evaluated_without(loaded)
            attacked = self.attack(loaded.model, self._attackable(), self._measure)
            return {**found.record(), "relearning": attacked}

        return self.folder.stage("without", compute)

    def _evaluated_without(self, loaded: LanguageModel) -> Evaluation:
        if loaded.model.vocabulary_size != self.loaded.model.vocabulary_size:
            raise InputError(
                f"reference: expected the model's vocabulary of "
                f"{self.loaded.model.vocabulary_size} tokens, got one of "
                f"{loaded.model.vocabulary_size}"
            )
        self.progress("figures of the reference", 0, 1)
        found = self.evaluator(loaded.model)
        self.progress("figures of the reference", 1, 1)
        return found

    def _train(self) -> tuple[UnlearningOutcome, UnlearnedModel]:
        settings, loaded = self.settings, self.loaded
        epoch = self.updates // settings.epochs
        shared: dict[str, Any] = {
            "lr": settings.rate, "epochs": settings.epochs, "batch_size": settings.batch_size,
            "accumulate": settings.accumulate, "clip_norm": settings.clip_norm,
            "precision": self.precision, "evaluate_every": settings.evaluations(epoch),
            "watched": settings.watched, "perplexity_growth": settings.watched_growth,
            "forget_target": settings.forget_target, "seed": settings.seed,
        }  # fmt: skip
        kept: dict[str, Any] = {
            "evaluate": self._tell, "checkpoint": self.folder.checkpoints,
            "checkpoint_every": settings.checkpoints(epoch),
        }  # fmt: skip
        forget = self.forget.examples()
        retain = None if self.retain is None else self.retain.examples()
        if settings.by_difference:
            assert retain is not None
            reversed_unlearner = ReversedUnlearner(
                layers=settings.layers, retain_weight=settings.kept_weight,
                weight=settings.assistant_weight, relative_top=settings.relative_top, **shared,
            )  # fmt: skip
            outcome, both = reversed_unlearner.fit(loaded.model, forget, retain, **kept)
            return outcome, self._unlearned(both.eval(), DIFFERENCE)
        model, kind = loaded.model, WHOLE
        if settings.lora is not None:
            model, kind = add_lora(model, rank=settings.lora, seed=settings.seed), ADAPTER
        step = UnlearningStep(
            settings.method, beta=settings.beta, forget_weight=settings.forget_weight,
            retain_weight=settings.kept_weight, per_token=self._per_token,
        )  # fmt: skip
        outcome = Unlearner(step, **shared).fit(
            model, forget, retain, refusals=self._refusals(), **kept
        )
        return outcome, self._unlearned(model, kind)

    def _unlearned(self, model: CausalLM, kind: str) -> UnlearnedModel:
        loaded = self.loaded
        return UnlearnedModel(model, loaded.tokenizer, loaded.stop, kind, base_name(self.source))

    def _tell(self, model: CausalLM, state: State) -> Mapping[str, float]:
        self.progress("updates", state.step, state.total_steps)
        return {}

    def _refusals(self) -> Any:
        if self.data.refusals is None:
            return None
        rows = self.forget.rows
        said = [self.data.refusals[row] for row in rows]
        return self.encoder.answers(self.data.forget, rows, said).examples()

    def _check_finite(self, model: CausalLM) -> None:
        """Refuse a model that is broken before anything is done to it."""
        first = self.evaluator.probabilities(model, self.forget.take([0]))
        if not math.isfinite(first[0]):
            raise InputError(
                "model: its loss on what is to be forgotten is not finite before any update; "
                "its weights are broken, or its precision is too low"
            )

    @property
    def _per_token(self) -> bool:
        given = self.settings.per_token
        return self.data.forget.questions is None if given is None else given

    def _attackable(self) -> EncodedTexts:
        """What the attack learns and is measured on: as many texts as are evaluated."""
        return self.forget.spread(self.settings.evaluated)

    def _attacked(self, found: UnlearnedModel) -> dict[str, Any] | None:
        if found.kind == DIFFERENCE:
            return None
        self.progress("relearning attack", 0, 1)
        figures = self.attack(found.model, self._attackable(), self._measure)
        self.progress("relearning attack", 1, 1)
        return figures

    def _measure(self, model: CausalLM, texts: EncodedTexts) -> dict[str, float]:
        return {
            "probability": float(self.evaluator.probabilities(model, texts).mean()),
            "extracted": float(self.evaluator.extracted(model, texts).subsequence.mean()),
        }

    def _quality(
        self, before: Evaluation, after: Evaluation, without: dict[str, Any] | None
    ) -> dict[str, float] | None:
        """Forget quality before and after, against the model that never saw it."""
        if without is None:
            return None
        return {
            name: forget_quality(one.ratios, without["ratios"])
            for name, one in (("before", before), ("after", after))
        }

    def _describe(self) -> None:
        """Notes on what the texts and the settings mean."""
        settings, forget = self.settings, self.forget
        longest = max(map(len, forget.responses))
        if longest > LONG:
            self.notes.append(
                f"texts of up to {longest:,} tokens are read at once; chunk_tokens cuts documents"
            )
        if len(forget) > len(self.data.forget):
            self.notes.append(
                f"{len(self.data.forget):,} documents were cut into {len(forget):,} pieces"
            )
        if settings.method.startswith("npo") and settings.per_token is None and self._per_token:
            self.notes.append("documents: the losses of npo are means a token, not sums")
        if settings.by_difference and settings.relearn_steps:
            self.notes.append(
                "no relearning attack with uld: the model itself is unchanged, and whoever has its "
                "weights has what was to be forgotten"
            )
        if self.reference is not None and self.data.forget.perturbed is None:
            self.notes.append(
                "forget quality compares probabilities of answers, for want of wrong answers to "
                "make truth ratios of"
            )


def criterion(settings: UnlearnSettings, outcome: Mapping[str, Any], curve: Sequence[Any]) -> str:
    """Why training ended, by which criterion, and what was kept."""
    step, steps, limit = outcome["step"], outcome["steps"], settings.perplexity_growth
    back = f"the weights are those after update {step}" if step else "the weights are unchanged"
    if outcome["reason"] == "collapse":
        grown = _growth(curve)
        how = f"had grown to {grown:.3g} times what it was" if grown else "was no number any more"
        told = "" if limit is None else f" (collapse is more than {limit:g} times)"
        advice = "" if step else "; lower lr, or evaluate more often"
        return (
            f"stopped before collapse: at update {steps} the perplexity of what is kept "
            f"{how}{told}; {back}{advice}"
        )
    if outcome["reason"] == "non-finite":
        return f"stopped behind update {steps}: the next gradient was not finite; {back}"
    if outcome["reason"] == "forgotten":
        return (
            f"stopped at update {steps}: what is to be forgotten has at most the probability "
            f"{settings.forget_target:g}"
        )
    made = f"all {steps} updates were made"
    grown = _growth(curve)
    if settings.by_difference:
        return f"{made}; {_of_assistant(grown, limit)}"
    if grown is None or limit is None:
        return f"{made}; nothing was watched for a collapse"
    return (
        f"{made}; the perplexity of what is kept is {grown:.2f} times what it was "
        f"(collapse is more than {limit:g} times)"
    )


def _of_assistant(grown: float | None, limit: float | None) -> str:
    """How the assistant does; training was not stopped, since it begins with one that knows less.

    Args:
        grown: by how much the perplexity of what is kept has grown with it.
        limit: what would be called a collapse.
    """
    if grown is None:
        return "with the assistant the loss of what is kept is no number"
    told = f"with the assistant the perplexity of what is kept is {grown:.3g} times what it was"
    if limit is None or grown <= limit:
        return told
    return (
        f"{told}, a collapse (more than {limit:g} times): it has not learned to leave the rest "
        "alone; give it more epochs, or a larger retain_weight"
    )


def _growth(curve: Sequence[Mapping[str, float]]) -> float | None:
    """By how much the perplexity of what is kept has grown; None if that is not known."""
    if "retain_loss" not in curve[-1]:
        return None
    rise = curve[-1]["retain_loss"] - curve[0]["retain_loss"]
    return math.exp(min(rise, 700.0)) if math.isfinite(rise) else None
