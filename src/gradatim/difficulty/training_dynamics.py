"""Difficulty from how examples are learned: EL2N, forgetting, data maps, area under the margin."""

from dataclasses import dataclass

import torch

from gradatim.core.checks import check_shape
from gradatim.core.errors import InputError


@dataclass(frozen=True)
class DataMap:
    """Where examples lie on the map of a training run, in the paper's own orientation.

    Attributes:
        confidence: mean probability of the label over presentations, low = hard, shape [n].
        variability: its standard deviation, high = ambiguous, shape [n].
    """

    confidence: torch.Tensor
    variability: torch.Tensor


def el2n(probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    r"""Length of the error vector early in training, averaged over runs.

    .. math:: d_i = \operatorname*{mean}_r \lVert p^{(r)}_i - e_{y_i} \rVert_2

    Args:
        probabilities: class probabilities of each run (or of several epochs), shape [R, n, C], or
            of one, shape [n, C].
        labels: given class of each example, integers, shape [n].

    Returns:
        Difficulty of each example in [0, sqrt 2], shape [n].

    Raises:
        InputError: the shapes do not fit.

    Source: Paul et al. 2021, arXiv 2107.07075, definition 2.2.

    >>> el2n(torch.tensor([[1.0, 0.0], [0.5, 0.5]]), torch.tensor([0, 0]))
    tensor([0.0000, 0.7071])
    """
    runs = probabilities if probabilities.ndim == 3 else probabilities[None]
    check_shape("probabilities", runs, "R", "n", "C")
    check_shape("labels", labels, runs.shape[1])
    lengths = error_lengths(runs.flatten(0, 1), labels.repeat(len(runs)))
    return lengths.view(len(runs), -1).mean(0)


def error_lengths(probabilities: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    r"""Length of the error vector of each prediction, :math:`\lVert p_i - e_{y_i} \rVert_2`.

    Args:
        probabilities: class probabilities, shape [n, C].
        labels: integers, shape [n].

    Returns:
        Shape [n], exact also where the error is small.
    """
    place = labels[:, None]
    own = probabilities.gather(1, place)
    found: torch.Tensor = torch.linalg.vector_norm(probabilities.scatter(1, place, 1 - own), dim=1)
    return found


def forgetting_events(correct: torch.Tensor) -> torch.Tensor:
    r"""How often an example that was predicted right is predicted wrong when it next comes up.

    .. math:: d_i = \sum_t [\, a^t_i = 1, \; a^{t+1}_i = 0 \,]

    with t over the presentations of example i. An example that was never right was never learned,
    and so cannot be forgotten; it counts as the hardest: it gets the number of its presentations,
    more than any count of events can be.

    Args:
        correct: whether each example was predicted right when it came up, before the update, 0 or
            1 (NaN where it did not come up) in the order of time, shape [E, n].

    Returns:
        Difficulty of each example, shape [n]; NaN for one that never came up.

    Raises:
        InputError: another shape, or a value other than 0, 1 and NaN (its place is named).

    Source: Toneva et al. 2019, arXiv 1812.05159, section 3.

    >>> forgetting_events(torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]))
    tensor([1., 3.])
    """
    right = _figures("correct", correct)
    seen = ~right.isnan()
    odd = (seen & (right != 0) & (right != 1)).nonzero()
    if len(odd):
        epoch, row = odd[0].tolist()
        raise InputError(
            f"correct: expected 0, 1 or NaN, got {right[epoch, row]:g} in row {epoch} for example "
            f"{row}"
        )
    last = torch.zeros_like(right[0])
    events = torch.zeros_like(right[0])
    for now, came_up in zip(right.nan_to_num(), seen, strict=True):
        events += came_up * (last - now).clamp(min=0)
        last = torch.where(came_up, now, last)
    presentations = seen.sum(0).to(right)
    learned = (right.nan_to_num() > 0).any(0)
    found = torch.where(learned, events, presentations)
    return found.masked_fill(presentations == 0, torch.nan)


def data_map(probability: torch.Tensor) -> DataMap:
    r"""Confidence and variability of the label's probability over training.

    .. math:: \mu_i = \frac1E \sum_e p_e(y_i \mid x_i), \qquad
        \sigma_i = \sqrt{\tfrac1E \sum_e (p_e(y_i \mid x_i) - \mu_i)^2}

    Args:
        probability: what the model gave the label in each epoch, NaN where the example did not
            come up, shape [E, n].

    Returns:
        The map; NaN for an example that never came up.

    Raises:
        InputError: another shape.

    Source: Swayamdipta et al. 2020, arXiv 2009.10795, section 2.

    >>> found = data_map(torch.tensor([[0.25, 1.0], [0.75, 1.0]]))
    >>> found.confidence, found.variability
    (tensor([0.5000, 1.0000]), tensor([0.2500, 0.0000]))
    """
    given = _figures("probability", probability)
    mean = given.nanmean(0)
    return DataMap(mean, (given - mean).square().nanmean(0).sqrt())


def correctness(correct: torch.Tensor) -> torch.Tensor:
    r"""Share of the epochs in which an example was predicted right (low = hard).

    Args:
        correct: 0 or 1, NaN where the example did not come up, shape [E, n].

    Returns:
        Shape [n]; NaN for an example that never came up.

    Raises:
        InputError: another shape.

    Source: Swayamdipta et al. 2020, arXiv 2009.10795, section 2.

    >>> correctness(torch.tensor([[1.0, 0.0], [0.0, torch.nan]]))
    tensor([0.5000, 0.0000])
    """
    return _figures("correct", correct).nanmean(0)


def area_under_margin(margins: torch.Tensor) -> torch.Tensor:
    r"""Mean over training of how far the label's logit is ahead of the best other (low = hard).

    .. math:: \mathrm{AUM}_i = \frac1E \sum_e \bigl( z^e_{y_i} - \max_{c \ne y_i} z^e_c \bigr)

    Wrong labels have low, mostly negative areas.

    Args:
        margins: :func:`logit_margins` of each epoch, NaN where the example did not come up, shape
            [E, n].

    Returns:
        Shape [n]; NaN for an example that never came up.

    Raises:
        InputError: another shape.

    Source: Pleiss et al. 2020, arXiv 2001.10528, equation 2.

    >>> area_under_margin(torch.tensor([[1.0, -1.0], [3.0, 0.0]]))
    tensor([ 2.0000, -0.5000])
    """
    return _figures("margins", margins).nanmean(0)


def logit_margins(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    r"""How far the label's logit is ahead of the best other, :math:`z_y - \max_{c \ne y} z_c`.

    It is above 0 exactly where the label, and nothing else, is predicted.

    Args:
        logits: shape [n, C] with C at least 2.
        labels: integers, shape [n].

    Returns:
        Shape [n].

    Raises:
        InputError: the shapes do not fit.

    >>> logit_margins(torch.tensor([[2.0, 0.5], [2.0, 0.5]]), torch.tensor([0, 1]))
    tensor([ 1.5000, -1.5000])
    """
    check_shape("logits", logits, "n", "C")
    check_shape("labels", labels, len(logits))
    place = labels[:, None]
    others = logits.scatter(1, place, -torch.inf).amax(1)
    return logits.gather(1, place)[:, 0] - others


def _figures(name: str, values: torch.Tensor) -> torch.Tensor:
    """Figures of each epoch as floating point."""
    check_shape(name, values, "E", "n")
    if not len(values):
        raise InputError(f"{name}: expected at least one epoch, got none")
    return values if values.is_floating_point() else values.float()
