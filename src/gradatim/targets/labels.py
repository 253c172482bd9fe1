"""Class labels: their range, and soft labels made of them."""

import torch
from torch.nn import functional

from gradatim.core.checks import check_range, check_shape
from gradatim.core.errors import InputError


def check_classes(name: str, labels: torch.Tensor, num_classes: int) -> None:
    """Check that labels are classes from 0 to num_classes - 1; for constructors, not hot loops.

    Raises:
        InputError: a label is outside the classes.

    >>> check_classes("labels", torch.tensor([0, 3]), 3)
    Traceback (most recent call last):
    gradatim.core.errors.InputError: labels: expected classes from 0 to 2, got 0 to 3
    """
    low, high = (int(labels.min()), int(labels.max())) if len(labels) else (0, num_classes - 1)
    if not 0 <= low <= high < num_classes:
        raise InputError(
            f"{name}: expected classes from 0 to {num_classes - 1}, got {low} to {high}"
        )


def mix_labels(
    labels: torch.Tensor, predictions: torch.Tensor, prediction_share: float
) -> torch.Tensor:
    r"""Mix one-hot labels with predicted probabilities.

    .. math:: q_i = (1 - s) \, \mathrm{onehot}(y_i) + s \, p_i

    Bootstrapping mixes with the current prediction, progressive self-distillation with that of
    the previous epoch.

    Args:
        labels: class of each example, integers, shape [B].
        predictions: class probabilities, floating point, shape [B, C].
        prediction_share: s, in [0, 1].

    Returns:
        Soft labels of the predictions' type, shape [B, C].

    Raises:
        InputError: the shapes do not fit, or the share is outside [0, 1].

    Source: Reed et al. 2015, arXiv 1412.6596; Kim et al. 2021, arXiv 2006.12000.

    >>> mix_labels(torch.tensor([1]), torch.tensor([[0.5, 0.5]]), 0.5)
    tensor([[0.2500, 0.7500]])
    """
    check_shape("predictions", predictions, "B", "C")
    check_shape("labels", labels, len(predictions))
    check_range("prediction_share", prediction_share, 0, 1)
    one_hot = functional.one_hot(labels, predictions.shape[1]).to(predictions.dtype)
    return (1 - prediction_share) * one_hot + prediction_share * predictions
