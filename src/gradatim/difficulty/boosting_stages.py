"""Difficulty from boosting: what stays wrong, and the stage from which an example stays right."""

import torch

from gradatim.core.checks import check_shape
from gradatim.core.errors import InputError
from gradatim.objectives.boosting_steps import pseudo_residuals


def residual_difficulty(targets: torch.Tensor, outputs: torch.Tensor, loss: str) -> torch.Tensor:
    r"""How much is still wrong with an example, averaged over the stages of a boosted model.

    .. math:: d_i = \frac1T \sum_t \lVert r_{t, i} \rVert_2

    with the pseudo-residuals r of :func:`gradatim.objectives.boosting_steps.pseudo_residuals`. With
    "softmax" and one-hot targets, each term is the length of the error vector, as in
    :func:`gradatim.difficulty.training_dynamics.el2n`.

    Args:
        targets: y, shape [N, K], or [N] where there is one output.
        outputs: F after each stage, shape [T, N, K] or [T, N]; or of one stage, of the shape of the
            targets.
        loss: "squared", "logistic" or "softmax".

    Returns:
        Difficulty of each example, 0 or more, shape [N].

    Raises:
        InputError: another loss, no stage, or shapes that do not fit.

    Source: Emami and Martínez-Muñoz 2019, arXiv 1909.12098 (the residuals; the mean of their
    lengths over stages is this library's).

    >>> outputs = torch.tensor([[0.0, 0.0], [1.0, 0.5]])
    >>> residual_difficulty(torch.tensor([1.0, 3.0]), outputs, "squared")
    tensor([0.5000, 2.7500])
    """
    stages = outputs if outputs.ndim == targets.ndim + 1 else outputs[None]
    if not len(stages):
        raise InputError("outputs: expected at least one stage, got none")
    lengths = [_lengths(pseudo_residuals(targets, stage, loss)) for stage in stages]
    return torch.stack(lengths).mean(dim=0)


def stage_solved(correct: torch.Tensor) -> torch.Tensor:
    r"""The first stage after which an example stays right.

    .. math:: d_i = \min \{ t : c_{s, i} = 1 \text{ for all } s \ge t \}

    Args:
        correct: whether each example is right after each stage, booleans or 0 and 1, in the order
            of the stages, shape [T, N].

    Returns:
        Integers from 0 (right from the first row on) to T (wrong in the last), shape [N].

    Raises:
        InputError: another shape, no stage, or a value other than 0 and 1.

    Source: Emami and Martínez-Muñoz 2019, arXiv 1909.12098 (units learned first, and last).

    >>> stage_solved(torch.tensor([[1, 0, 1], [1, 1, 0], [1, 1, 0]]))
    tensor([0, 1, 3])
    """
    check_shape("correct", correct, "T", "N")
    if not len(correct):
        raise InputError("correct: expected at least one stage, got none")
    odd = ((correct != 0) & (correct != 1)).nonzero()
    if len(odd):
        stage, row = odd[0].tolist()
        raise InputError(
            f"correct: expected 0 or 1, got {correct[stage, row].item():g} in row {stage} for "
            f"example {row}"
        )
    position = torch.arange(1, len(correct) + 1, device=correct.device)[:, None]
    return torch.where(correct == 0, position, 0).amax(dim=0)


def _lengths(residuals: torch.Tensor) -> torch.Tensor:
    """Size of each row, shape [N]."""
    if residuals.ndim == 1:
        return residuals.abs()
    found: torch.Tensor = torch.linalg.vector_norm(residuals, dim=1)
    return found
