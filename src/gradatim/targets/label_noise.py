"""False labels made on purpose, to study how training copes with them."""

from collections.abc import Mapping

import torch

from gradatim.core.checks import check_choice, check_range, check_shape
from gradatim.core.errors import InputError
from gradatim.targets.labels import check_classes


def inject_label_noise(
    labels: torch.Tensor,
    rate: float,
    *,
    kind: str | Mapping[int, int] | torch.Tensor = "symmetric",
    num_classes: int | None = None,
    include_true: bool = True,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Draw new labels for a share of the examples.

    Exactly ``round(rate * n)`` examples are chosen at random, and each draws a new label given
    its true one, so no label is changed twice.

    Args:
        labels: true classes, integers, shape [n].
        rate: share of examples that draw a new label, in [0, 1].
        kind: "symmetric" draws from all classes alike; "pairs" takes the next class, the first
            after the last; a mapping from class to class leaves the classes it does not name
            alone; a tensor of shape [C, C] holds in row c the probabilities of the new label of
            class c.
        num_classes: C; None takes the largest label plus one.
        include_true: whether the symmetric draw may return the true class. If so, only
            rate * (1 - 1/C) of the labels become false; this is what many published noise rates
            mean, those of early-learning regularization among them.
        generator: CPU generator; None draws from torch's global one.

    Returns:
        New labels, shape [n].

    Raises:
        InputError: a label outside the classes, a rate outside [0, 1], an unknown kind, or rows
            that are no probabilities.

    Source: Liu et al. 2020, arXiv 2007.00151, section 6.

    >>> inject_label_noise(torch.tensor([0, 1, 2]), 1.0, kind="pairs")
    tensor([1, 2, 0])
    >>> inject_label_noise(torch.tensor([0, 1, 2]), 1.0, kind={2: 0})
    tensor([0, 1, 0])
    """
    check_shape("labels", labels, "n")
    check_range("rate", rate, 0, 1)
    classes = num_classes or (int(labels.max()) + 1 if len(labels) else 1)
    check_classes("labels", labels, classes)
    transitions = _transitions(kind, classes, include_true)
    chosen = torch.randperm(len(labels), generator=generator)[: round(rate * len(labels))]
    noisy = labels.cpu().clone()
    if len(chosen):
        rows = transitions[noisy[chosen]]
        drawn = torch.multinomial(rows, 1, generator=generator).squeeze(1)
        noisy[chosen] = drawn.to(noisy.dtype)
    return noisy.to(labels.device)


def _transitions(
    kind: str | Mapping[int, int] | torch.Tensor, classes: int, include_true: bool
) -> torch.Tensor:
    """Probabilities of the new label (column) given the true one (row), shape [C, C]."""
    stay = torch.eye(classes, dtype=torch.float64)
    if isinstance(kind, torch.Tensor):
        check_shape("kind", kind, classes, classes)
        rows = kind.double().cpu()
        sums = rows.sum(1)
        if bool((rows < 0).any()) or not torch.allclose(sums, torch.ones_like(sums), atol=1e-6):
            raise InputError("kind: expected rows of probabilities that sum to one")
        return rows
    if isinstance(kind, Mapping):
        for source, new in kind.items():
            if not (0 <= source < classes and 0 <= new < classes):
                raise InputError(
                    f"kind: expected classes from 0 to {classes - 1}, got {source} -> {new}"
                )
            stay[source] = 0
            stay[source, new] = 1
        return stay
    check_choice("kind", kind, ("symmetric", "pairs"))
    if kind == "pairs":
        return stay.roll(1, dims=1)
    if not include_true and classes == 1:
        raise InputError("num_classes: expected at least 2 to draw another class, got 1")
    others = 1 - stay if not include_true else torch.ones_like(stay)
    return others / others.sum(1, keepdim=True)
