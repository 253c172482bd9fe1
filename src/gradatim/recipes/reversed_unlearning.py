"""Forget by an assistant that remembers: the goals of forgetting and keeping, reversed.

With everything that a run needs, on any causal language model of this library::

    outcome, combined = ReversedUnlearner().fit(model, forget, retain)
    sample(combined, prompts)

or as a recipe, :class:`ReversedStep`, for a loop of your own over the assistant.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradatim.core.checks import check_range
from gradatim.language.adapters import add_lora
from gradatim.language.causal_lm import CausalLM
from gradatim.language.log_probabilities import token_log_probabilities
from gradatim.language.logit_difference import LogitDifferenceLM
from gradatim.language.response_examples import ResponseExamples
from gradatim.language.transformers_lm import TransformersLM
from gradatim.language.truncated_lm import truncate_lm
from gradatim.language.uniform_divergence import token_uniform_divergences
from gradatim.objectives.tokens import reduce_tokens
from gradatim.recipes.forget_retain import ForgetRetainBatches, ForgetRetainExamples
from gradatim.recipes.guarded_training import GuardedTraining, UnlearningOutcome
from gradatim.recipes.unlearning_guard import Watch
from gradatim.training.callbacks import Callback
from gradatim.training.fit import Evaluate, Stateful
from gradatim.training.step import Loss, State


class ReversedStep:
    r"""The loss of an assistant that is to remember what the model forgets, and nothing else.

    .. math:: L = - \frac{1}{|R_f|} \sum_{t \in R_f} \log p_A(x_t \mid x_{<t})
        + \lambda\, \frac{1}{|T_r|} \sum_{t \in T_r} \mathrm{KL}(U \Vert p_A(\cdot \mid x_{<t}))

    R_f are the response tokens of what is to be forgotten, T_r all tokens but padding of what is to
    be kept, prompts too. Both terms are bounded below.

    Args:
        retain_weight: lambda.
        chunk_tokens: tokens whose logits are held at once.

    Attributes:
        callbacks: none.
        stateful: none.

    Raises:
        InputError: a number outside its range.

    Source: Ji et al. 2024, arXiv 2406.08607, equations 4 and 5, and the authors' code, which
    averages the second term over padding, too.
    """

    def __init__(self, *, retain_weight: float = 5.0, chunk_tokens: int = 256) -> None:
        check_range("retain_weight", retain_weight, 0)
        check_range("chunk_tokens", chunk_tokens, 1)
        self.retain_weight, self.chunk_tokens = retain_weight, chunk_tokens
        self.callbacks: tuple[Callback, ...] = ()
        self.stateful: Mapping[str, Stateful] = {}

    def step(self, model: CausalLM, batch: Mapping[str, Any], state: State) -> Loss:
        """The sum of both terms, counted by pairs."""
        ids, mask, response = (batch[f"forget_{name}"] for name in ("ids", "mask", "response"))
        logp = token_log_probabilities(
            model, ids, mask, only=response, chunk_tokens=self.chunk_tokens
        )
        remembered = -reduce_tokens(logp, response, "mean")
        ids, mask = batch["retain_ids"], batch["retain_mask"]
        values, predicted = token_uniform_divergences(
            model, ids, mask, chunk_tokens=self.chunk_tokens
        )
        ignorance = reduce_tokens(values, predicted, "mean")
        logs = {"forget_term": remembered.detach(), "retain_term": ignorance.detach()}
        pairs = len(ids)
        return Loss((remembered + self.retain_weight * ignorance) * pairs, pairs, logs)


@dataclass(kw_only=True)
class ReversedUnlearner(GuardedTraining):
    """A whole run of unlearning by logit difference: an assistant, its training, both as one model.

    The model itself is never changed. The assistant is made of its first blocks; of a model of
    transformers only low-rank adapters on all its linear layers are trained. Before training the
    figures of ``Unlearner`` are read of the model, afterwards of model and assistant together.

    Args:
        layers: blocks of the assistant, at most; a model with fewer gives all it has.
        rank: of the adapters; None trains all weights, as is always done for models of this
            library.
        alpha: scale of the adapters.
        dropout: of what enters the adapters.
        retain_weight: lambda of :class:`ReversedStep`.
        weight: by which the assistant's logits are added, see
            :class:`~gradatim.language.logit_difference.LogitDifferenceLM`.
        relative_top: of the same.
        options: those of :class:`~gradatim.recipes.guarded_training.GuardedTraining`.

    Raises:
        InputError: a number outside its range.

    Source: Ji et al. 2024, arXiv 2406.08607; numbers from the authors' scripts for TOFU.

    >>> from gradatim.language.sampling import as_responses
    >>> from gradatim.networks.decoder import SmallDecoder
    >>> model = SmallDecoder(10, hidden_size=8, layers=2)
    >>> forget, retain = (ResponseExamples([[1]], as_responses([[a, 5]])) for a in (2, 3))
    >>> outcome, combined = ReversedUnlearner(layers=1, epochs=30).fit(model, forget, retain)
    >>> outcome.curve[-1]["forget_probability"] < outcome.curve[0]["forget_probability"]
    True
    """

    layers: int = 8
    rank: int | None = 16
    alpha: float = 32
    dropout: float = 0.05
    retain_weight: float = 5.0
    weight: float = -0.8
    relative_top: float = 0.01
    lr: float = 1e-3
    perplexity_growth: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        check_range("layers", self.layers, 1)
        check_range("weight", self.weight)
        check_range("relative_top", self.relative_top, 0, 1)
        check_range("retain_weight", self.retain_weight, 0)

    def assistant_of(self, model: CausalLM) -> CausalLM:
        """A new assistant: a function of the model and the seed."""
        assistant = truncate_lm(model, self.layers, at_most=True)
        if self.rank is None or not isinstance(assistant, TransformersLM):
            return assistant.requires_grad_(True)
        return add_lora(
            assistant, rank=self.rank, alpha=self.alpha, dropout=self.dropout,
            targets="all-linear", seed=self.seed,
        )  # fmt: skip

    def combined(self, model: CausalLM, assistant: CausalLM) -> LogitDifferenceLM:
        """Both as one model."""
        return LogitDifferenceLM(
            model, assistant, weight=self.weight, relative_top=self.relative_top
        )

    def fit(
        self,
        model: CausalLM,
        forget: ResponseExamples,
        retain: ResponseExamples,
        *,
        assistant: CausalLM | None = None,
        evaluate: Evaluate | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: int | None = None,
    ) -> tuple[UnlearningOutcome, LogitDifferenceLM]:
        """Train an assistant; one that was killed goes on from its newest checkpoint.

        Args:
            model: the model, which stays as it is.
            forget: responses to forget, and paraphrases of them if there are any.
            retain: responses to keep; wrong answers to the forgotten questions among them teach the
                assistant the fact instead of the topic.
            assistant: one of your own, whose parameters that need a gradient are trained; None
                makes one with :meth:`assistant_of`.
            evaluate: further figures, as ``fit`` takes it, of the assistant.
            checkpoint: folder of checkpoints; None keeps none.
            checkpoint_every: updates between them; None for the end of each epoch.

        Returns:
            What came of it, and both models as one.

        Raises:
            InputError: a response without tokens, unequal vocabularies, or a folder with
                checkpoints of another run.
        """
        made = self.assistant_of(model) if assistant is None else assistant
        both = self.combined(model, made)
        watch = Watch(forget, retain, rows=self.watched, dtype=self.dtype)
        outcome = self.train(
            made,
            ForgetRetainExamples(forget, retain),
            ForgetRetainBatches(len(forget), len(retain), self.batch_size, seed=self.seed),
            ReversedStep(retain_weight=self.retain_weight).step,
            lambda _: watch.figures(both),
            watch.figures(model),
            evaluate=evaluate,
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,
        )
        return outcome, both
