"""Difficulty by an ensemble: how little its members, on average, believe in the right answer."""

import math

import torch

from gradatim.core.checks import check_finite, check_shape
from gradatim.core.errors import InputError


def ensemble_difficulty(
    probability_correct: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    r"""Mean over models of the probability that each leaves for wrong answers.

    .. math:: d_i = \frac{\sum_m w_m (1 - p_{mi})}{\sum_m w_m}

    Args:
        probability_correct: what each model gives the right answer of each example, shape [M, n].
        weights: of the models, at least 0 and not all 0, shape [M]; None weighs all alike.

    Returns:
        Difficulty of each example in [0, 1], shape [n].

    Raises:
        InputError: the shapes do not fit, no model, or weights that are negative or all 0.

    Source: Yang et al. 2024, arXiv 2408.07888, section 3 (difficulty defined by language models).

    >>> ensemble_difficulty(torch.tensor([[1.0, 0.25], [0.5, 0.25]]))
    tensor([0.2500, 0.7500])
    """
    check_shape("probability_correct", probability_correct, "M", "n")
    if not len(probability_correct):
        raise InputError("probability_correct: expected at least one model, got none")
    wrong = 1 - probability_correct
    if weights is None:
        mean: torch.Tensor = wrong.mean(0)
        return mean
    check_shape("weights", weights, len(wrong))
    check_finite("weights", weights)
    if bool((weights < 0).any()) or not bool(weights.any()):
        raise InputError(f"weights: expected numbers of at least 0, not all 0, got {weights}")
    share = weights.to(wrong) / weights.sum().to(wrong)
    found: torch.Tensor = share @ wrong
    return found


def ensemble_error(probability_correct: torch.Tensor) -> torch.Tensor:
    r"""Standard error of :func:`ensemble_difficulty` over models as a sample of models.

    .. math:: s_i = \frac{1}{\sqrt M} \sqrt{\tfrac{1}{M - 1} \sum_m (p_{mi} - \bar p_i)^2}

    Args:
        probability_correct: shape [M, n].

    Returns:
        Shape [n]; NaN for a single model.

    Raises:
        InputError: another shape.

    >>> ensemble_error(torch.tensor([[0.25], [0.75]]))
    tensor([0.2500])
    """
    check_shape("probability_correct", probability_correct, "M", "n")
    models = len(probability_correct)
    if models < 2:
        return torch.full_like(probability_correct[0], torch.nan)
    spread: torch.Tensor = probability_correct.std(0)
    return spread / math.sqrt(models)


def choice_probabilities(logits: torch.Tensor, choice_ids: torch.Tensor) -> torch.Tensor:
    r"""Probabilities of the choices alone: the softmax over the logits of their tokens.

    .. math:: P(c) = \frac{e^{z_c}}{\sum_{c'} e^{z_{c'}}}, \qquad c, c' \text{ among the choices}

    A letter with a blank before it and one without are different tokens for many tokenizers; take
    the one that follows the prompt.

    Args:
        logits: of the token behind the prompt, shape [n, V].
        choice_ids: the tokens of the choices, shape [C], or of each example, shape [n, C].

    Returns:
        Shape [n, C], in float32 (float64 for such logits).

    Raises:
        InputError: the shapes do not fit, or a token that is not in the vocabulary.

    Source: Yang et al. 2024, arXiv 2408.07888, section 3.

    >>> choice_probabilities(torch.tensor([[0.0, 5.0, 0.0]]), torch.tensor([0, 2]))
    tensor([[0.5000, 0.5000]])
    """
    check_shape("logits", logits, "n", "V")
    if choice_ids.ndim == 1:
        choice_ids = choice_ids.expand(len(logits), -1)
    check_shape("choice_ids", choice_ids, len(logits), "C")
    size = logits.shape[1]
    if choice_ids.numel() and not 0 <= int(choice_ids.min()) <= int(choice_ids.max()) < size:
        raise InputError(
            f"choice_ids: expected tokens in [0, {size}), got {int(choice_ids.min())} to "
            f"{int(choice_ids.max())}"
        )
    chosen = logits.gather(1, choice_ids)
    return chosen.to(torch.promote_types(chosen.dtype, torch.float32)).softmax(dim=1)
