"""Rejection tuning: sample solutions, keep the right ones, tune a model on them, by difficulty.

    recipe = RejectionTuner(generate, verify, strategy="prop2diff", k=40)
    data = recipe.sample(prompts, log="runs/sampling.jsonl")  # goes on after a kill
    recipe.fit(student, prompts, data, encode, encode_response, optimizer=optimizer, epochs=3)

``generate`` may be any model behind any server; the student learns what was kept.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.curriculum.response_budget import STRATEGIES, response_targets
from gradatim.difficulty.fail_rate import fail_rate
from gradatim.language.causal_lm import CausalLM
from gradatim.language.response_examples import ResponseExamples
from gradatim.language.sampling import as_responses
from gradatim.recipes.rejection_log import RejectionLog, as_job
from gradatim.recipes.supervised_tuning import SupervisedTuning
from gradatim.selection.rejection_sampling import (
    Generate,
    Kept,
    RejectionSet,
    Verify,
    rejection_sample,
)
from gradatim.training.fit import FitResult, fit

Encode = Callable[[Any], Sequence[int]]

_NUMBERS = ("k", "first_trials", "max_trials", "batch")
_SETTINGS = (*_NUMBERS, "strategy", "deduplicate")


@dataclass(frozen=True)
class Synthesis:
    """What was sampled.

    Attributes:
        found: right responses and trials, those of the first pass among them.
        difficulty: fail rate of each question in the first pass, shape [N].
    """

    found: RejectionSet[Any]
    difficulty: NDArray[np.float64]

    def chosen(self, seed: int = 0) -> list[Kept[Any]]:
        """The responses to learn from, at most as many of each question as it shall have."""
        return self.found.chosen(seed)


@dataclass(frozen=True)
class RejectionTuner:
    """Difficulty-aware rejection tuning.

    A first pass of equally many trials tells how often the sampler fails at each question; from
    that follows how many right responses each shall have; sampling goes on until it has them. The
    right responses of the first pass count.

    Attributes:
        generate: ``generate(prompts, n)``, see
            :mod:`gradatim.selection.rejection_sampling`; a
            :class:`~gradatim.selection.rejection_generators.LanguageGenerator`, or a call of a
            server.
        verify: ``verify(prompt, response)``.
        strategy: "uniform", "prop2diff" or "vanilla" (k trials of every question, all right
            responses are kept).
        k: as in :func:`~gradatim.curriculum.response_budget.response_targets`.
        first_trials: trials of every question in the first pass.
        max_trials: trials of one question at most.
        batch: responses that a call asks for at most.
        deduplicate: keep equal responses to a question once.

    Raises:
        InputError: an unknown strategy, or a number out of range.

    Source: Tong et al. 2024, arXiv 2407.13690.

    >>> from gradatim.language.characters import CharacterTokenizer
    >>> from gradatim.networks.decoder import SmallDecoder
    >>> from gradatim.selection.rejection_generators import LanguageGenerator
    >>> words = CharacterTokenizer("ab#")
    >>> model = SmallDecoder(len(words), hidden_size=8, layers=1)
    >>> generate = LanguageGenerator(model, words.encode, words.decode, longest=4)
    >>> recipe = RejectionTuner(generate, lambda prompt, text: prompt in text, k=2, max_trials=64)
    >>> data = recipe.sample(["a", "b"])
    >>> data.found.counts.min() > 0
    np.True_
    >>> adam = torch.optim.Adam(model.parameters(), 0.01)
    >>> recipe.fit(model, ["a", "b"], data, words.encode, words.encode, optimizer=adam, steps=2,
    ...            batch_size=4).step
    2
    """

    generate: Generate[Any, Any]
    verify: Verify[Any, Any]
    strategy: str = "uniform"
    k: int = 40
    first_trials: int = 16
    max_trials: int = 2048
    batch: int = 1024
    deduplicate: bool = True

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_choice("strategy", self.strategy, STRATEGIES)
        for name in _NUMBERS:
            check_range(name, getattr(self, name), 1)

    def sample(
        self,
        prompts: Sequence[Any],
        *,
        log: str | Path | None = None,
        first: RejectionSet[Any] | None = None,
    ) -> Synthesis:
        """Sample until every question has its responses, or its trials are used up.

        Args:
            prompts: the questions.
            first: what a first pass found, as :meth:`first_pass` gives it, so that several
                strategies can go on from the same one; not together with a log.
            log: a file that every call is written to; if it is there the run goes on from it.
                Responses must then be JSON-able (text, numbers, lists).

        Raises:
            InputError: no prompt, both a log and a first pass, or the log of another job.
            StorageError: the log cannot be written.
        """
        if not len(prompts):
            raise InputError("prompts: expected at least one, got none")
        if log is not None and first is not None:
            raise InputError("log and first: expected one of them, got both")
        settings = {name: getattr(self, name) for name in _SETTINGS}
        kept = None if log is None else RejectionLog(log, as_job(prompts, **settings))
        cap = self.k if self.strategy == "vanilla" else self.max_trials
        if kept is None or kept.plan is None:
            first = first or self.first_pass(prompts, kept)
            difficulty = fail_rate(first.n_correct, first.n_trials)
            targets = response_targets(difficulty, self.strategy, self.k)
            if kept is not None:
                kept.settle({"targets": targets.tolist(), "difficulty": difficulty.tolist()})
            state = dataclasses.replace(first, targets=targets)
        else:
            targets = np.array(kept.plan["targets"], dtype=np.int64)
            difficulty = np.array(kept.plan["difficulty"], dtype=np.float64)
            state = RejectionSet.begin(targets, kept.calls)
        return Synthesis(self._until(prompts, targets, cap, kept, state), difficulty)

    def first_pass(
        self, prompts: Sequence[Any], log: RejectionLog | None = None
    ) -> RejectionSet[Any]:
        """Equally many trials of every question, which tell how hard it is."""
        trials = self.first_trials
        if self.strategy == "vanilla":
            trials = min(trials, self.k)
        return self._until(prompts, np.full(len(prompts), trials), trials, log)

    def _until(
        self,
        prompts: Sequence[Any],
        targets: NDArray[np.int64],
        cap: int,
        log: RejectionLog | None,
        state: RejectionSet[Any] | None = None,
    ) -> RejectionSet[Any]:
        if state is None and log is not None:
            state = RejectionSet.begin(targets, log.calls)
        return rejection_sample(
            self.generate,
            self.verify,
            prompts,
            targets,
            max_trials=cap,
            batch=self.batch,
            deduplicate=self.deduplicate,
            state=state,
            after_call=None if log is None else log.add,
        )

    def fit(
        self,
        student: CausalLM,
        prompts: Sequence[Any],
        data: Synthesis,
        encode: Encode,
        encode_response: Encode,
        *,
        optimizer: torch.optim.Optimizer,
        chunk_tokens: int = 4096,
        seed: int = 0,
        **options: Any,
    ) -> FitResult:
        """Tune a model on the chosen responses.

        Args:
            student: any language model; it need not be the one that was sampled from.
            prompts: the questions.
            data: what :meth:`sample` gave.
            encode: from a prompt to token ids, as the student shall read it.
            encode_response: from a response to token ids, its end included.
            optimizer: of the student's parameters.
            chunk_tokens: tokens whose logits are held at once.
            seed: what the choice among surplus responses and the order depend on.
            options: as for :func:`gradatim.training.fit.fit`, such as ``epochs`` or ``steps``.

        Raises:
            InputError: nothing was kept, or options that contradict one another.
        """
        examples = tuning_examples(prompts, data.chosen(seed), encode, encode_response)
        return fit(
            student,
            examples,
            SupervisedTuning(chunk_tokens=chunk_tokens).step,
            optimizer=optimizer,
            seed=seed,
            **options,
        )


def tuning_examples(
    prompts: Sequence[Any],
    kept: Sequence[Kept[Any]],
    encode: Encode,
    encode_response: Encode,
) -> ResponseExamples:
    """Prompts with the responses to learn, ready for :class:`SupervisedTuning`.

    Args:
        prompts: the questions.
        kept: responses; each names its question.
        encode: from a prompt to token ids.
        encode_response: from a response to token ids, its end included.

    Raises:
        InputError: there is no response.

    >>> examples = tuning_examples([[5]], [Kept(0, 0, [6, 7])], list, list)
    >>> examples[[0]]["ids"].tolist()
    [[5, 6, 7]]
    """
    if not kept:
        raise InputError("kept: expected at least one right response to learn from, got none")
    responses = as_responses([encode_response(one.response) for one in kept])
    questions = torch.tensor([one.question for one in kept])
    return ResponseExamples(
        [encode(prompt) for prompt in prompts],
        dataclasses.replace(responses, prompt=questions),
    )
