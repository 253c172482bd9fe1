"""Mixup and CutMix inside a training step, for batches of any columns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from gradatim.core.checks import check_range
from gradatim.targets.mixup import Mixed, interpolate

Batch = Mapping[str, Any]


@dataclass(frozen=True)
class InputMixing:
    """Mixes the inputs of a share of the batches.

    Attributes:
        function: mixes inputs, as :func:`~gradatim.targets.mixup.mixup` or
            :func:`~gradatim.targets.cutmix.cutmix` (with other settings through
            ``functools.partial``).
        probability: of a batch to be mixed, in [0, 1].
        inputs: name of the column of inputs, floating point.

    Raises:
        InputError: a probability outside [0, 1].

    >>> from gradatim.targets.mixup import mixup
    >>> mixing = InputMixing(mixup, probability=1.0)
    >>> batch, mixed = mixing.apply({"x": torch.eye(3)}, torch.Generator().manual_seed(0))
    >>> torch.equal(batch["x"], mixed.inputs)
    True
    """

    function: Callable[..., Mixed]
    probability: float = 0.5
    inputs: str = "x"

    def __post_init__(self) -> None:
        check_range("probability", self.probability, 0, 1)

    def apply(
        self, batch: Batch, generator: torch.Generator | None = None
    ) -> tuple[Batch, Mixed | None]:
        """A batch whose inputs may be mixed, and how they were; None if they were not.

        Args:
            batch: columns of a batch; labels among them stay as they are.
            generator: CPU generator for all that is drawn; None draws from torch's global one.
        """
        if float(torch.rand((), generator=generator)) >= self.probability:
            return batch, None
        mixed = self.function(batch[self.inputs], generator=generator)
        return {**batch, self.inputs: mixed.inputs}, mixed


def mix_targets(targets: torch.Tensor, mixed: Mixed | None) -> torch.Tensor:
    """Targets of a batch, mixed as its inputs were.

    Args:
        targets: floating point, shape [B, ...].
        mixed: what :meth:`InputMixing.apply` returned.
    """
    if mixed is None:
        return targets
    return interpolate("targets", targets, mixed.partner, mixed.coefficient)
