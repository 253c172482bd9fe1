"""The latest prediction for each example, in less memory than a float32 for every class."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from gradatim.core.checks import check_choice, check_range, check_shape
from gradatim.core.errors import InputError
from gradatim.core.memory import ExampleMemory

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class CompactPredictions:
    r"""The latest predicted probabilities of each example: rounded, or the largest ones only.

    .. math:: \hat p_{ic} = p_{ic} \text{ for the } k \text{ largest}, \qquad
        \hat p_{ic} = \frac{1 - \sum_{j \in \text{largest}} p_{ij}}{C - k} \text{ for the others}

    It takes the place of :class:`~gradatim.targets.past_predictions.PastPredictions` with momentum
    0. A row takes ``C * size`` bytes without ``top_k`` (size is 2 for float16 and bfloat16, 4 for
    float32), and ``top_k * (size + 2)`` with it (``+ 4`` beyond 32,767 classes): a million examples
    of 1,000 classes are 4 GB in float32, 2 GB in float16, and 40 MB with the ten largest.

    Args:
        num_examples: how many examples there are.
        num_classes: C.
        top_k: how many probabilities are kept; None for all.
        dtype: "float16" (the smallest above 0 is 6e-8, three digits), "bfloat16" or "float32".
        device: where the predictions are kept.

    Raises:
        InputError: a number outside its range, or another type.

    >>> past = CompactPredictions(num_examples=5, num_classes=4, top_k=2)
    >>> past.update(torch.tensor([3]), torch.tensor([[0.5, 0.125, 0.25, 0.125]]))
    tensor([[0.5000, 0.1250, 0.2500, 0.1250]])
    >>> past.bytes
    40
    """

    def __init__(
        self,
        num_examples: int,
        num_classes: int,
        *,
        top_k: int | None = None,
        dtype: str = "float16",
        device: torch.device | str = "cpu",
    ) -> None:
        check_range("num_classes", num_classes, 1)
        check_choice("dtype", dtype, tuple(_DTYPES))
        if top_k is not None:
            check_range("top_k", top_k, 1, num_classes)
        self.num_classes, self.top_k = num_classes, top_k
        kept = num_classes if top_k is None else top_k
        self.memory = ExampleMemory(num_examples, (kept,), dtype=_DTYPES[dtype], device=device)
        self.classes: ExampleMemory | None = None
        if top_k is not None:
            small = num_classes <= torch.iinfo(torch.int16).max
            kind = torch.int16 if small else torch.int32
            self.classes = ExampleMemory(num_examples, (kept,), dtype=kind, device=device)

    @property
    def bytes(self) -> int:
        """How many bytes the probabilities and their classes take."""
        stored = [self.memory, *([] if self.classes is None else [self.classes])]
        return sum(part.values.numel() * part.values.element_size() for part in stored)

    def update(self, index: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
        """Keep the predictions of a batch.

        Args:
            index: position of each example, integers, shape [B].
            probabilities: predicted class probabilities, shape [B, C]; no gradient is kept.

        Returns:
            The rows as they can be read from now on, float32, shape [B, C].

        Raises:
            InputError: the shapes do not fit.
        """
        check_shape("index", index, "B")
        check_shape("probabilities", probabilities, len(index), self.num_classes)
        rows = probabilities.detach()
        if self.classes is not None:
            rows, classes = rows.topk(self.memory.values.shape[1], dim=1, sorted=False)
            self.classes.set(index, classes)
        self.memory.set(index, rows)
        return self.targets(index)

    def targets(self, index: torch.Tensor) -> torch.Tensor:
        """The rows of a batch, float32, shape [B, C]; each sums to one, or to 0 if none is kept."""
        rows = self.memory.get(index).float()
        total = rows.sum(dim=1, keepdim=True)
        if self.classes is None:
            return rows / total.clamp(min=torch.finfo(rows.dtype).tiny)
        rest = (1 - total).clamp(min=0) * (total > 0)
        others = max(self.num_classes - rows.shape[1], 1)
        spread = (rest / others).expand(-1, self.num_classes)
        return spread.scatter(1, self.classes.get(index).long(), rows)

    def synchronize(self, gather: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Merge what several processes have seen; ``gather`` as for the memory."""
        self.memory.synchronize(gather)
        if self.classes is not None:
            self.classes.synchronize(gather)

    def state_dict(self) -> Mapping[str, Any]:
        """All rows as they are kept."""
        classes = None if self.classes is None else self.classes.state_dict()
        return {"probabilities": self.memory.state_dict(), "classes": classes}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` returned.

        Raises:
            InputError: a state of another size, type or number of probabilities.
        """
        if (state["classes"] is None) != (self.classes is None):
            raise InputError("top_k: expected the state of predictions with the same top_k")
        self.memory.load_state_dict(state["probabilities"])
        if self.classes is not None:
            self.classes.load_state_dict(state["classes"])
