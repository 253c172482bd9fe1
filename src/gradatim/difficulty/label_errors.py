"""Which labels are probably errors, by predictions that did not see them."""

import torch

from gradatim.core.checks import check_shape
from gradatim.core.errors import InputError


def confident_label_errors(probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    r"""Examples that belong with confidence to another class than their label.

    With the mean confidence of the examples that are labelled c as a threshold for class c,

    .. math:: t_c = \operatorname*{mean}_{i : y_i = c} p_{ic}, \qquad
        \hat y_i = \operatorname*{arg\,max}_{c : p_{ic} \ge t_c} p_{ic}, \qquad
        \text{error: } \hat y_i \ne y_i

    Thresholds of each class's own make up for classes of which a model is always less sure. An
    example that reaches no threshold is not called an error.

    Args:
        probabilities: out-of-sample class probabilities, shape [n, C].
        labels: given class of each example, integers, shape [n].

    Returns:
        Which are probably errors, booleans, shape [n].

    Raises:
        InputError: the shapes do not fit, or there is a label without a column.

    Source: Northcutt et al. 2021, arXiv 1911.00068 (the confident joint).

    >>> p = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.95, 0.05]])
    >>> confident_label_errors(p, torch.tensor([0, 0, 1, 1, 1])).tolist()
    [False, False, False, False, True]
    """
    check_shape("probabilities", probabilities, "n", "C")
    check_shape("labels", labels, len(probabilities))
    classes = probabilities.shape[1]
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise InputError(
            f"labels: expected classes from 0 to {classes - 1}, "
            f"got {int(labels.min())} to {int(labels.max())}"
        )
    own = probabilities.gather(1, labels[:, None]).squeeze(1)
    sums = own.new_zeros(classes).index_add_(0, labels, own)
    threshold = sums / labels.bincount(minlength=classes)  # NaN, never reached, for an empty class
    confident = probabilities >= threshold
    best = probabilities.where(confident, -torch.inf).argmax(1)
    return confident.any(1) & (best != labels)
