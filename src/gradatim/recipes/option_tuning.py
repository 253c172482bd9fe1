"""Tuning a language model to choose the right option of a question.

Used as every recipe is, on :class:`OptionExamples`::

    recipe = OptionTuning()
    fit(model, examples, recipe.step, optimizer=optimizer, epochs=3)

or, with the paper's numbers of updates, by :func:`tune_on_options`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch.nn import functional

from gradatim.core.checks import check_choice, check_range, check_same_length
from gradatim.core.errors import InputError
from gradatim.language.causal_lm import CausalLM
from gradatim.language.log_probabilities import sequence_log_probabilities
from gradatim.language.option_likelihood import Tokens
from gradatim.training.callbacks import Callback
from gradatim.training.fit import FitResult, Stateful, fit
from gradatim.training.length_batches import LengthGroupedBatches
from gradatim.training.step import Loss, State

OBJECTIVES = ("options", "likelihood")


class OptionExamples:
    """Questions with options and answers as examples.

    A batch ``examples[positions]`` holds ``ids``, ``mask`` (True where there is a token) and
    ``response`` (True where the token belongs to the option), each of shape [B, A, L] with A the
    largest number of options and L the longest prompt with an option of the batch; options that a
    question does not have are masked throughout. ``answers`` has shape [B].

    Args:
        prompts: tokens of each question's prompt.
        options: tokens of each option of each question.
        answers: which option is right, integers, shape [N].

    Raises:
        InputError: unequal numbers, an empty prompt or option, or an answer that is no option.

    >>> batch = OptionExamples([[1, 2], [3]], [[[4], [5, 6]], [[4], [5]]], [1, 0])[[1]]
    >>> batch["ids"].tolist(), batch["response"].tolist()
    ([[[3, 4], [3, 5]]], [[[False, True], [False, True]]])
    """

    def __init__(
        self,
        prompts: Sequence[Tokens],
        options: Sequence[Sequence[Tokens]],
        answers: ArrayLike,
    ) -> None:
        self._answers = np.asarray(answers, dtype=np.int64)
        check_same_length(prompts=prompts, options=options, answers=self._answers)
        for place, (prompt, own) in enumerate(zip(prompts, options, strict=True)):
            if not len(prompt) or not len(own) or not min(map(len, own)):
                raise InputError(
                    f"prompts, options: expected tokens in every prompt and option, got a prompt of"
                    f" {len(prompt)} and options of {[len(one) for one in own]} in question {place}"
                )
            if not 0 <= self._answers[place] < len(own):
                raise InputError(
                    f"answers: expected the number of an option, got {self._answers[place]} in "
                    f"question {place} with {len(own)}"
                )
        self._prompts, self._options = prompts, options
        self.lengths = np.array(
            [len(one) + max(map(len, own)) for one, own in zip(prompts, options, strict=True)]
        )

    def __len__(self) -> int:
        return len(self._prompts)

    def __getitem__(self, positions: Sequence[int]) -> dict[str, torch.Tensor]:
        """A batch of columns."""
        widest = max(len(self._options[place]) for place in positions)
        shape = (len(positions), widest, int(self.lengths[list(positions)].max()))
        ids = torch.zeros(shape, dtype=torch.long)
        mask, response = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
        for row, place in enumerate(positions):
            prompt = list(self._prompts[place])
            for column, option in enumerate(self._options[place]):
                tokens = torch.tensor([*prompt, *option])
                ids[row, column, : len(tokens)] = tokens
                mask[row, column, : len(tokens)] = True
                response[row, column, len(prompt) : len(tokens)] = True
        answers = torch.from_numpy(self._answers[list(positions)])
        return {"ids": ids, "mask": mask, "response": response, "answers": answers}


class OptionTuning:
    r"""Cross-entropy of the right option, among the options or among all sequences.

    With s the log-likelihood of an option given the prompt (per token with "mean"), the objective
    "options" is

    .. math:: L = - \log \frac{e^{s_{qy}}}{\sum_a e^{s_{qa}}}

    and "likelihood" is :math:`L = - s_{qy}`, for which the other options are not read.

    Args:
        objective: "options" or "likelihood".
        normalize: "sum" or "mean".
        chunk_tokens: tokens whose logits are held at once.

    Raises:
        InputError: an unknown name, or ``chunk_tokens`` below 1.

    Source: Hase et al. 2024, arXiv 2401.06751 (the former without, the latter with reasoning).

    >>> from gradatim.networks.decoder import SmallDecoder
    >>> model = SmallDecoder(10, hidden_size=8, layers=1, heads=2)
    >>> examples = OptionExamples([[1, 2], [3]], [[[4], [5, 6]], [[4], [5]]], [1, 0])
    >>> adam = torch.optim.Adam(model.parameters(), 0.01)
    >>> fit(model, examples, OptionTuning().step, optimizer=adam, steps=3).step
    3
    """

    def __init__(
        self, *, objective: str = "options", normalize: str = "sum", chunk_tokens: int = 4096
    ) -> None:
        check_choice("objective", objective, OBJECTIVES)
        check_choice("normalize", normalize, ("sum", "mean"))
        check_range("chunk_tokens", chunk_tokens, 1)
        self.objective, self.average = objective, normalize == "mean"
        self.chunk_tokens = chunk_tokens
        self.callbacks: tuple[Callback, ...] = ()
        self.stateful: Mapping[str, Stateful] = {}

    def step(self, model: CausalLM, batch: Mapping[str, Any], state: State) -> Loss:
        """Sum over questions, and their number."""
        answers, there = batch["answers"], batch["mask"].any(dim=2)
        if self.objective == "likelihood":
            there = there & functional.one_hot(answers, there.shape[1]).bool()
        values = sequence_log_probabilities(
            model,
            batch["ids"][there],
            batch["mask"][there],
            batch["response"][there],
            average=self.average,
            chunk_tokens=self.chunk_tokens,
        )
        if self.objective == "likelihood":
            return Loss(-values.sum(), len(values))
        scores = values.new_full(there.shape, -torch.inf).masked_scatter(there, values)
        right = (scores.detach().argmax(dim=1) == answers).float().mean()
        loss = functional.cross_entropy(scores, answers, reduction="sum")
        return Loss(loss, len(answers), {"accuracy": right})


def tune_on_options(
    model: CausalLM,
    prompts: Sequence[Tokens],
    options: Sequence[Sequence[Tokens]],
    answers: ArrayLike,
    *,
    objective: str = "options",
    normalize: str = "sum",
    lr: float = 1e-4,
    epochs: int = 3,
    update_size: int = 50,
    least_updates: int = 10,
    batch_size: int = 2,
    weight_decay: float = 0.01,
    clip_norm: float | None = 1.0,
    seed: int = 0,
) -> FitResult:
    """Tune whatever weights of a model can be trained, such as adapters, by AdamW.

    Args:
        model: the model, trained in place; it is left in evaluation mode.
        prompts: tokens of each question's prompt.
        options: tokens of each option of each question.
        answers: which option is right, integers, shape [N].
        objective: as in :class:`OptionTuning`.
        normalize: likewise.
        lr: the learning rate, the same throughout.
        epochs: passes over the questions, more if there would be too few updates.
        update_size: questions in an update at most.
        least_updates: updates at least.
        batch_size: questions read at once, each with all options; what is kept for the gradient
            grows with it, about 2 MB a token for a model of 30 layers and 576 dimensions. An
            update accumulates several such batches.
        weight_decay: of AdamW.
        clip_norm: largest norm of an update's gradient; None does not clip.
        seed: what the order of questions and dropout depend on.

    Returns:
        What came of :func:`~gradatim.training.fit.fit`.

    Raises:
        InputError: as in :class:`OptionExamples`, numbers out of range, or no weights to train.

    Source: Hase et al. 2024, arXiv 2401.06751, and the authors' code (AdamW at 1e-4, updates of up
    to 50 questions, 3 epochs, at least 10 updates).
    """
    for name, value in {
        "epochs": epochs,
        "update_size": update_size,
        "least_updates": least_updates,
        "batch_size": batch_size,
    }.items():
        check_range(name, value, 1)
    check_range("lr", lr, 0)
    recipe = OptionTuning(objective=objective, normalize=normalize)
    examples = OptionExamples(prompts, options, answers)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if not weights:
        raise InputError("model: expected weights that can be trained, got none")
    size = min(batch_size, update_size, len(examples))
    plan = LengthGroupedBatches(examples.lengths, size, seed=seed)
    accumulate = max(1, min(update_size, len(examples)) // size)
    updates = epochs * -(-len(plan) // accumulate)
    result = fit(
        model,
        examples,
        recipe.step,
        optimizer=torch.optim.AdamW(weights, lr=lr, weight_decay=weight_decay),
        steps=max(updates, least_updates),
        batches=plan,
        accumulate=accumulate,
        clip_norm=clip_norm,
        seed=seed,
        progress_bar=False,
    )
    model.eval()
    return result
