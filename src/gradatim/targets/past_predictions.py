"""A model's own past predictions as targets."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional

from gradatim.core.checks import check_range, check_shape
from gradatim.core.memory import ExampleMemory
from gradatim.targets.labels import check_classes


class PastPredictions:
    r"""One running prediction for each training example.

    .. math:: T_i \leftarrow \beta T_i + (1 - \beta) \, p_i

    Rows start at zero, which damps what is built on them until an example has been seen a few
    times (no correction for the start, as in early-learning regularization), or at the given
    labels. With momentum 0 a row is simply the latest prediction (progressive self-distillation).

    Args:
        num_examples: how many examples there are.
        num_classes: C.
        momentum: beta, in [0, 1].
        labels: classes to start at, integers, shape [n]; None starts at zero.
        floor: predictions are first clamped to [floor, 1 - floor] and scaled to sum to one.
        device: where the predictions are kept.

    Raises:
        InputError: a number outside its range, labels of another length, or a label
            outside the classes.

    Source: Liu et al. 2020, arXiv 2007.00151, section 4; Kim et al. 2021, arXiv 2006.12000.

    >>> past = PastPredictions(num_examples=5, num_classes=2, momentum=0.5)
    >>> index = torch.tensor([3])
    >>> past.update(index, torch.tensor([[0.75, 0.25]]))
    tensor([[0.3750, 0.1250]])
    >>> past.targets(torch.tensor([0, 3]))
    tensor([[0.0000, 0.0000],
            [0.3750, 0.1250]])
    """

    def __init__(
        self,
        num_examples: int,
        num_classes: int,
        momentum: float = 0.7,
        *,
        labels: torch.Tensor | None = None,
        floor: float = 0.0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_range("num_classes", num_classes, 1)
        check_range("momentum", momentum, 0, 1)
        check_range("floor", floor, 0, 0.5, open_high=True)
        self.num_classes, self.momentum, self.floor = num_classes, momentum, floor
        self.memory = ExampleMemory(num_examples, (num_classes,), device=device)
        if labels is not None:
            check_shape("labels", labels, num_examples)
            check_classes("labels", labels, num_classes)
            rows = functional.one_hot(labels.to(device), num_classes).float()
            self.memory.set(torch.arange(num_examples, device=device), rows)

    def update(self, index: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
        """Move the rows of a batch towards its predictions.

        Args:
            index: position of each example, integers, shape [B].
            probabilities: predicted class probabilities, shape [B, C]; no gradient is kept.

        Returns:
            The rows after the update, shape [B, C].

        Raises:
            InputError: the shapes do not fit.
        """
        check_shape("index", index, "B")
        check_shape("probabilities", probabilities, len(index), self.num_classes)
        rows = probabilities.detach().float()
        if self.floor:
            rows = rows.clamp(self.floor, 1 - self.floor)
            rows = rows / rows.sum(1, keepdim=True)
        return self.memory.average(index, rows, self.momentum)

    def targets(self, index: torch.Tensor) -> torch.Tensor:
        """The rows of a batch as they stand, shape [B, C]."""
        return self.memory.get(index)

    @property
    def values(self) -> torch.Tensor:
        """All rows, shape [n, C]."""
        return self.memory.values

    def synchronize(self, gather: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Merge what several processes have seen; ``gather`` as for the memory."""
        self.memory.synchronize(gather)

    def state_dict(self) -> Mapping[str, Any]:
        """All rows."""
        return self.memory.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` returned."""
        self.memory.load_state_dict(state)
