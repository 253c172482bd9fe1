"""Make a language model forget responses, and keep others: gradient ascent, NPO and relatives.

With everything that a run needs, on any causal language model of this library::

    unlearner = Unlearner("npo+rt", epochs=10)
    outcome = unlearner.fit(model, forget, retain, checkpoint="runs/forget")

or as a recipe, :class:`UnlearningStep`, for a loop of your own::

    step = UnlearningStep("npo+rt")
    examples, batches = step.pairs(model, forget, retain, batch_size=8)
    fit(model, examples, step.step, batches=batches, optimizer=optimizer, epochs=10)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.difficulty.remaining_memory import npo_weight
from gradatim.language.causal_lm import CausalLM
from gradatim.language.log_probabilities import token_log_probabilities
from gradatim.language.response_examples import ResponseExamples
from gradatim.language.token_divergence import model_before, token_kl_divergences
from gradatim.objectives.tokens import reduce_tokens
from gradatim.objectives.unlearning import dpo_to_refusal, gradient_ascent, kto_forget, npo
from gradatim.recipes.forget_retain import (
    ForgetRetainBatches,
    ForgetRetainExamples,
    response_log_probabilities,
)
from gradatim.recipes.guarded_training import GuardedTraining, UnlearningOutcome
from gradatim.recipes.unlearning_guard import Watch
from gradatim.training.callbacks import Callback
from gradatim.training.fit import Evaluate, Stateful
from gradatim.training.step import Loss, State

LOSSES = ("npo", "ga", "idk", "dpo", "kto")
METHODS = tuple(f"{loss}{kept}" for loss in LOSSES for kept in ("", "+rt", "+kl"))
"""Each loss alone, with cross-entropy of what is kept, or with divergence from the model before."""

Batch = Mapping[str, Any]


class UnlearningStep:
    r"""The losses of unlearning, ready for ``fit``.

    .. math:: L = w_f L_{forget} + w_r L_{retain}

    Losses of what is to be forgotten: "npo", negative preference optimization; "ga", gradient
    ascent on the mean log-probability a token; "idk", cross-entropy of refusals; "dpo", refusals
    preferred to the responses; "kto", which takes refusals for its estimate of the divergence.
    Of what is to be kept: "+rt", cross-entropy a token of responses; "+kl", divergence of
    predictions from the model before, at every token but padding, of prompts too. Both are means
    over the tokens of a batch, and ``Loss`` counts the pairs.

    Args:
        method: one of ``METHODS``.
        beta: of npo, dpo and kto: how soon the loss lets go, above 0.
        forget_weight: w_f.
        retain_weight: w_r.
        per_token: npo of mean log-probabilities a token instead of sums; with long responses sums
            let go after little change.
        reference: the model before, for "+kl"; None makes :meth:`pairs` find it.
        chunk_tokens: tokens whose logits are held at once.

    Attributes:
        callbacks: none.
        stateful: none.

    Raises:
        InputError: an unknown method, or a number outside its range.

    Source: Zhang et al. 2024, arXiv 2404.05868, sections 2 and 3, and the authors' code.

    >>> from gradatim.language.sampling import as_responses
    >>> from gradatim.networks.decoder import SmallDecoder
    >>> model = SmallDecoder(10, hidden_size=8, layers=1)
    >>> forget, retain = (ResponseExamples([[1]], as_responses([[a, 5]])) for a in (2, 3))
    >>> step = UnlearningStep("npo+rt")
    >>> examples, batches = step.pairs(model, forget, retain)
    >>> adam = torch.optim.Adam(model.parameters(), 0.01)
    >>> from gradatim.training.fit import fit
    >>> fit(model, examples, step.step, batches=batches, optimizer=adam, epochs=3).step
    3
    """

    def __init__(
        self,
        method: str = "npo+rt",
        *,
        beta: float = 0.1,
        forget_weight: float = 1.0,
        retain_weight: float = 1.0,
        per_token: bool = False,
        reference: CausalLM | None = None,
        chunk_tokens: int = 256,
    ) -> None:
        check_choice("method", method, METHODS)
        check_range("beta", beta, 0, open_low=True)
        check_range("forget_weight", forget_weight, 0)
        check_range("retain_weight", retain_weight, 0)
        check_range("chunk_tokens", chunk_tokens, 1)
        self.method, self.beta, self.per_token = method, beta, per_token
        self.loss, _, self.kept = method.partition("+")
        self.forget_weight, self.retain_weight = forget_weight, retain_weight
        self.reference, self.chunk_tokens = reference, chunk_tokens
        self.callbacks: tuple[Callback, ...] = ()
        self.stateful: Mapping[str, Stateful] = {}

    @property
    def needs_refusals(self) -> bool:
        """Whether refusals are read."""
        return self.loss in ("idk", "dpo", "kto")

    def pairs(
        self,
        model: CausalLM,
        forget: ResponseExamples,
        retain: ResponseExamples | None = None,
        *,
        refusals: ResponseExamples | None = None,
        batch_size: int = 4,
        dtype: torch.dtype | None = torch.float32,
        seed: int = 0,
    ) -> tuple[ForgetRetainExamples, ForgetRetainBatches]:
        """Make examples and batches, with all that is read of the model before training.

        Args:
            model: the model before; for "+kl" it becomes the reference: without its adapters, if
                it has some that change nothing yet, else as a copy.
            forget: responses to forget.
            retain: responses to keep; for "+rt" and "+kl".
            refusals: what to say instead, one for each response to forget, in their order; for
                "idk", "dpo" and "kto".
            batch_size: pairs in a batch.
            dtype: the precision of training, in which log-probabilities are read.
            seed: what the order depends on.

        Raises:
            InputError: what the method needs is missing, or a response has no token.
        """
        if self.kept and retain is None:
            raise InputError(f"retain: method {self.method!r} needs responses to keep, got none")
        if self.needs_refusals and refusals is None:
            raise InputError(f"refusals: method {self.method!r} needs refusals, got none")
        retain = retain if self.kept else None
        refusals = refusals if self.needs_refusals else None
        rows: dict[str, torch.Tensor] = {}
        examples = ForgetRetainExamples(forget, retain, refusals=refusals)
        if self.loss in ("npo", "dpo", "kto"):
            rows["forget_reference"] = response_log_probabilities(model, forget, dtype=dtype)
        if refusals is not None and self.loss != "idk":
            rows["refusal_reference"] = response_log_probabilities(model, refusals, dtype=dtype)
        examples.rows.update(rows)
        if self.kept == "kl" and self.reference is None:
            self.reference = model_before(model)
        kept = 0 if retain is None else len(retain)
        return examples, ForgetRetainBatches(len(forget), kept, batch_size, seed=seed)

    def step(self, model: CausalLM, batch: Batch, state: State) -> Loss:
        """The weighted sum of both losses, counted by pairs."""
        logs: dict[str, torch.Tensor] = {}
        value = self.forget_weight * self._forget(model, batch, logs)
        if self.kept:
            kept = self._retain(model, batch)
            logs["retain_term"] = kept.detach()
            value = value + self.retain_weight * kept
        pairs = len(batch["forget_ids"])
        return Loss(value * pairs, pairs, logs)

    def _forget(self, model: CausalLM, batch: Batch, logs: dict[str, torch.Tensor]) -> torch.Tensor:
        """The loss of what is to be forgotten; writes figures of it into the logs."""
        if self.loss == "idk":
            return -reduce_tokens(*self._tokens(model, batch, "refusal"), "mean")
        tokens, counted = self._tokens(model, batch, "forget")
        lengths, logp = counted.sum(dim=1), tokens.sum(dim=1)
        logs["forget_term"] = -(logp.sum() / lengths.sum()).detach()
        if self.loss == "ga":
            return gradient_ascent(tokens, mask=counted)
        reference = batch["forget_reference"]
        if self.loss == "npo":
            divided = lengths if self.per_token else None
            weight = npo_weight(logp, reference, beta=self.beta, lengths=divided)
            logs["remaining_memory"] = weight.mean()
            return npo(logp, reference, beta=self.beta, lengths=divided)
        with torch.set_grad_enabled(self.loss == "dpo" and torch.is_grad_enabled()):
            refusal = self._tokens(model, batch, "refusal")[0].sum(dim=1)
        refusal_reference = batch["refusal_reference"]
        if self.loss == "kto":
            moved = (refusal - refusal_reference).mean()
            return kto_forget(logp, reference, kl=moved, beta=self.beta)
        return dpo_to_refusal(refusal, logp, refusal_reference, reference, beta=self.beta)

    def _retain(self, model: CausalLM, batch: Batch) -> torch.Tensor:
        """The loss of what is to be kept, a mean over tokens."""
        if self.kept == "rt":
            return -reduce_tokens(*self._tokens(model, batch, "retain"), "mean")
        if self.reference is None:
            raise InputError(f"reference: method {self.method!r} needs the model before, got none")
        ids, mask = batch["retain_ids"], batch["retain_mask"]
        values = token_kl_divergences(
            model, self.reference.to(ids.device), ids, mask, chunk_tokens=self.chunk_tokens
        )
        predicted = torch.nn.functional.pad(mask[:, 1:] & mask[:, :-1], (1, 0))
        return reduce_tokens(values, predicted, "mean")

    def _tokens(
        self, model: CausalLM, batch: Batch, kind: str
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities of response tokens, and where they are, both of shape [B, T]."""
        ids, mask, response = (batch[f"{kind}_{name}"] for name in ("ids", "mask", "response"))
        values = token_log_probabilities(
            model, ids, mask, only=response, chunk_tokens=self.chunk_tokens
        )
        return values, response


@dataclass
class Unlearner(GuardedTraining):
    """A whole run of unlearning: references, updates, evaluations, and an end in time.

    Before training and at every evaluation three figures are read: ``forget_loss`` and
    ``retain_loss``, mean losses a token, and ``forget_probability``, the mean over responses of
    the geometric mean of their tokens' probabilities. By them
    :class:`~gradatim.recipes.unlearning_guard.CollapseGuard` ends the run.

    Args:
        step: the losses; a name from ``METHODS`` makes an :class:`UnlearningStep` of it.
        options: those of :class:`~gradatim.recipes.guarded_training.GuardedTraining`.

    Raises:
        InputError: a number outside its range.

    >>> from gradatim.language.sampling import as_responses
    >>> from gradatim.networks.decoder import SmallDecoder
    >>> model = SmallDecoder(10, hidden_size=8, layers=1)
    >>> forget, retain = (ResponseExamples([[1]], as_responses([[a, 5]])) for a in (2, 3))
    >>> unlearner = Unlearner("ga", lr=0.05, epochs=50, perplexity_growth=1.5)
    >>> outcome = unlearner.fit(model, forget, retain)
    >>> outcome.reason, outcome.step < outcome.steps
    ('collapse', True)
    """

    step: UnlearningStep | str = "npo+rt"

    def __post_init__(self) -> None:
        """Check the numbers."""
        if isinstance(self.step, str):
            self.step = UnlearningStep(self.step)
        super().__post_init__()

    def fit(
        self,
        model: CausalLM,
        forget: ResponseExamples,
        retain: ResponseExamples | None = None,
        *,
        refusals: ResponseExamples | None = None,
        evaluate: Evaluate | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: int | None = None,
    ) -> UnlearningOutcome:
        """Train a model in place; one that was killed goes on from its newest checkpoint.

        Args:
            model: as it was before unlearning, also when a run is taken up again; parameters that
                need no gradient are left alone.
            forget: responses to forget.
            retain: responses to keep: for "+rt" and "+kl"; with the other methods they are only
                watched.
            refusals: for "idk", "dpo" and "kto": one for each response to forget, in their order.
            evaluate: further figures, as ``fit`` takes it.
            checkpoint: folder of checkpoints; None keeps none.
            checkpoint_every: updates between them; None for the end of each epoch.

        Raises:
            InputError: what the method needs is missing, a response has no token, or the folder
                holds checkpoints of another run.
        """
        assert isinstance(self.step, UnlearningStep)
        examples, batches = self.step.pairs(
            model, forget, retain, refusals=refusals,
            batch_size=self.batch_size, dtype=self.dtype, seed=self.seed,
        )  # fmt: skip
        watch = Watch(forget, retain, rows=self.watched, dtype=self.dtype)
        return self.train(
            model, examples, batches, self.step.step,
            watch.figures, watch.figures(model),
            evaluate=evaluate, checkpoint=checkpoint, checkpoint_every=checkpoint_every,
        )  # fmt: skip
