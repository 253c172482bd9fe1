"""Prior distributions of item parameters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError

Normal = tuple[float, float]


@dataclass(frozen=True)
class ItemPriors:
    r"""Normal priors of what is free in an item, as (mean, standard deviation).

    Attributes:
        difficulty: of b.
        log_discrimination: of log a.
        logit_guessing: of logit c.
        logit_feasibility: of logit d.

    Raises:
        InputError: a deviation that is not positive.

    >>> ItemPriors(difficulty=(0.0, 1.0)).difficulty
    (0.0, 1.0)
    """

    difficulty: Normal = (0.0, 2.0)
    log_discrimination: Normal = (0.0, 0.5)
    logit_guessing: Normal = (math.log(0.2 / 0.8), 1.0)
    logit_feasibility: Normal = (math.log(0.95 / 0.05), 1.0)

    def __post_init__(self) -> None:
        """Check the deviations."""
        for name, (mean, deviation) in vars(self).items():
            check_range(f"priors: mean of {name}", mean)
            check_range(f"priors: deviation of {name}", deviation, 0, open_low=True)

    def columns(self, free: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Means and precisions of the free parameters, shape [len(free)]."""
        pairs = [list(vars(self).values())[column] for column in free]
        values = torch.tensor(pairs, dtype=torch.float64)
        return values[:, 0], values[:, 1] ** -2


def priors_of(priors: ItemPriors | str | None, model: str) -> ItemPriors | None:
    """The priors that a name stands for.

    Args:
        priors: "default", "vague" (those that py-irt calls so: b with deviation 1000 in the models
            without discrimination and 0.1 in the others, log a with 0.1), "none" or None for
            maximum likelihood, or the priors themselves.
        model: the model's name.

    Returns:
        The priors, or None.

    Raises:
        InputError: an unknown name.

    >>> priors_of("vague", "2pl").difficulty
    (0.0, 0.1)
    """
    if priors is None or isinstance(priors, ItemPriors):
        return priors
    if not isinstance(priors, str):
        raise InputError(f"priors: expected a name or ItemPriors, got {type(priors).__name__}")
    check_choice("priors", priors, ("default", "vague", "none"))
    if priors == "vague":
        scale = 1000.0 if model.startswith("1pl") else 0.1
        return ItemPriors(difficulty=(0.0, scale), log_discrimination=(0.0, 0.1))
    return ItemPriors() if priors == "default" else None
