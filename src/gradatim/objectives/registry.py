"""All objectives by name, with inputs to try each on: one test walks the whole table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch

from gradatim.objectives.bootstrapping import hard_bootstrapping, soft_bootstrapping
from gradatim.objectives.early_learning import early_learning_loss, early_learning_regularizer
from gradatim.objectives.soft_targets import soft_target_cross_entropy

Inputs = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Objective:
    """An objective and how to try it.

    Attributes:
        function: takes the inputs by name, and ``reduction=``.
        example: draws inputs from a generator: floating-point ones in float64, and examples along
            the first dimension of each.
        outputs: names of the inputs that are a model's outputs: a gradient flows into them, and
            they may take any value.
    """

    function: Callable[..., torch.Tensor]
    example: Callable[[torch.Generator], Inputs]
    outputs: tuple[str, ...] = ("logits",)


def _logits(generator: torch.Generator) -> torch.Tensor:
    return torch.randn(6, 4, dtype=torch.float64, generator=generator)


def _labelled(generator: torch.Generator) -> Inputs:
    labels = torch.randint(4, (6,), generator=generator)
    return {"logits": _logits(generator), "labels": labels}


def _targeted(generator: torch.Generator) -> Inputs:
    return {"logits": _logits(generator), "target": _logits(generator).softmax(1)}


def _labelled_and_targeted(generator: torch.Generator) -> Inputs:
    return {**_labelled(generator), **_targeted(generator)}


OBJECTIVES: Mapping[str, Objective] = MappingProxyType(
    {
        "early-learning loss": Objective(early_learning_loss, _labelled_and_targeted),
        "early-learning regularizer": Objective(early_learning_regularizer, _targeted),
        "hard bootstrapping": Objective(hard_bootstrapping, _labelled),
        "soft bootstrapping": Objective(soft_bootstrapping, _labelled),
        "soft-target cross-entropy": Objective(soft_target_cross_entropy, _targeted),
    }
)
