"""Choosing among options with a language model that is shown worked examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from gradatim.core.checks import check_range
from gradatim.core.seeds import Key, numpy_generator
from gradatim.language.causal_lm import CausalLM
from gradatim.language.option_likelihood import option_log_likelihoods
from gradatim.language.questions import QUESTION, encode_questions


@dataclass(frozen=True)
class OptionScores:
    """Scores of the options of questions.

    Attributes:
        values: log-likelihoods, normalized as asked for, shape [Q, A]; minus infinity where a
            question has no such option.
        dropped: how many exemplars were left out of each prompt for lack of room, shape [Q].
    """

    values: NDArray[np.float64]
    dropped: NDArray[np.int64]

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Softmax over the options of each question, shape [Q, A]."""
        return np.asarray(special.softmax(self.values, axis=1))


def in_context_scores(
    model: CausalLM,
    tokenizer: Any,
    questions: Sequence[str],
    options: Sequence[Sequence[str]],
    exemplars: Sequence[tuple[str, str]] = (),
    *,
    template: str = QUESTION,
    normalize: str = "sum",
    overflow: str = "error",
    batch_tokens: int = 8192,
) -> OptionScores:
    r"""Score the options of questions after exemplars; nothing is trained.

    .. math:: p_{qa} \propto p(o_{qa} \mid \text{exemplars}, x_q)

    Without exemplars this is the zero-shot choice. Class labels are options like others: the same
    names for every question.

    Args:
        model: the language model, in evaluation mode.
        tokenizer: its tokenizer.
        questions: the texts.
        options: the options of each question.
        exemplars: questions with their right answers, shown before each question.
        template: how a question is asked; see
            :func:`~gradatim.language.questions.encode_questions`.
        normalize: "sum", "mean" or "unconditional"; see
            :func:`~gradatim.language.option_likelihood.option_log_likelihoods`.
        overflow: what to do if a prompt does not fit the context: "error", or "drop" exemplars.
        batch_tokens: tokens read together at most.

    Returns:
        The scores.

    Raises:
        InputError: as in these two functions.

    Source: Hase et al. 2024, arXiv 2401.06751 (10 exemplars for ARC and MMLU, sums).
    """
    encoded = encode_questions(
        tokenizer,
        questions,
        options,
        exemplars,
        template=template,
        context_length=model.context_length,
        overflow=overflow,
    )
    values = option_log_likelihoods(
        model,
        encoded.prompts,
        encoded.options,
        normalize=normalize,
        unconditional=encoded.unconditional if normalize == "unconditional" else None,
        batch_tokens=batch_tokens,
    )
    return OptionScores(values.double().numpy(), np.array(encoded.dropped, dtype=np.int64))


def draw_exemplars(rows: ArrayLike, shots: int, seed: int, *keys: Key) -> NDArray[np.int64]:
    """Which training rows are shown, and in which order.

    Args:
        rows: positions of the training rows, shape [N].
        shots: how many to draw, without replacement; all if there are fewer.
        seed: what the draw depends on.
        keys: what it depends on besides, such as the number of a fold.

    Returns:
        Positions, shape [min(shots, N)].

    Raises:
        InputError: a negative number.

    >>> draw_exemplars([4, 7, 9], 2, 0).tolist() == draw_exemplars([4, 7, 9], 2, 0).tolist()
    True
    """
    check_range("shots", shots, 0)
    random = numpy_generator(seed, "exemplars", *keys)
    return random.permutation(np.asarray(rows, dtype=np.int64))[:shots]
