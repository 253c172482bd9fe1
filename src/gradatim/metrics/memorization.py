"""Whether a model repeats the false labels it was trained on."""

from dataclasses import dataclass

import torch

from gradatim.core.checks import check_same_shape, check_shape


@dataclass(frozen=True, slots=True)
class MemorizationReport:
    """What a model predicts for training examples, apart for true and false labels.

    Shares are NaN where there is no such example.

    Attributes:
        true_correct: share of examples with a true label whose prediction is that label.
        true_other: share of examples with a true label whose prediction is another class.
        false_correct: share of examples with a false label whose prediction is the true class.
        false_memorized: share of examples with a false label whose prediction is that label.
        false_other: share of examples with a false label whose prediction is a third class.
        false_share: share of all examples whose label is false.
    """

    true_correct: float
    true_other: float
    false_correct: float
    false_memorized: float
    false_other: float
    false_share: float


def memorization_report(
    predictions: torch.Tensor, noisy: torch.Tensor, clean: torch.Tensor
) -> MemorizationReport:
    """Compare predictions on training examples with the labels trained on and the true ones.

    Args:
        predictions: predicted classes, integers, shape [n].
        noisy: labels that the model was trained on, integers, shape [n].
        clean: true classes, integers, shape [n].

    Returns:
        The shares.

    Raises:
        InputError: the shapes differ.

    Source: Liu et al. 2020, arXiv 2007.00151, figure 1.

    >>> report = memorization_report(
    ...     torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 1, 0])
    ... )
    >>> report.true_correct, report.false_memorized, report.false_other
    (1.0, 0.5, 0.5)
    """
    check_shape("predictions", predictions, "n")
    check_same_shape("noisy", noisy, "predictions", predictions)
    check_same_shape("clean", clean, "predictions", predictions)
    false = noisy != clean
    right = predictions == clean
    repeated = predictions == noisy
    return MemorizationReport(
        true_correct=_share(right[~false]),
        true_other=_share(~right[~false]),
        false_correct=_share(right[false]),
        false_memorized=_share(repeated[false]),
        false_other=_share(~(right | repeated)[false]),
        false_share=_share(false),
    )


def _share(values: torch.Tensor) -> float:
    return float(values.double().mean())
