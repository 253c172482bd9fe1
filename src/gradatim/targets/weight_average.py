"""Weight averages of a model: mean teachers and momentum encoders."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch.optim.swa_utils import AveragedModel

from gradatim.core.checks import check_choice, check_range

Buffers = Literal["copy", "average", "ignore"]
Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]


class WeightAverage:
    r"""An exponential moving average of a model's weights, itself a model.

    .. math:: m \leftarrow a_k \, m + (1 - a_k) \, w, \qquad k = 0, 1, \dots

    It starts at the weights that the model has when it is given, and is kept in their precision:
    with decays near 1 they should not be in half precision, where small moves are lost.

    Args:
        model: the model to follow; it is copied.
        decay: a, in [0, 1]; or a function of k, the number of updates done before, for example
            ``lambda k: sigmoid_ramp(k / 40_000, end=0.997)`` from
            :mod:`gradatim.curriculum.ramps`, or ``lambda k: min(1 - 1 / (k + 1), 0.999)`` for a
            true average that turns into a moving one.
        buffers: what happens to buffers such as the statistics of batch normalization: "copy"
            takes the model's, "average" averages those of floating point and copies the others,
            "ignore" leaves them to the average's own forward passes in training mode.

    Raises:
        InputError: the decay is outside [0, 1], or the word for buffers is not known.

    Source: Tarvainen and Valpola 2017, arXiv 1703.01780; with the ramp, Liu et al. 2020, arXiv
    2007.00151 (ELR+).

    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = torch.nn.init.constant_(model.weight, 0.0)
    >>> average = WeightAverage(model, decay=0.75)
    >>> _ = torch.nn.init.constant_(model.weight, 1.0)
    >>> average.update(model)
    >>> average.module.weight.item()
    0.25
    """

    def __init__(
        self,
        model: torch.nn.Module,
        decay: float | Callable[[int], float] = 0.999,
        buffers: Buffers = "copy",
    ) -> None:
        check_choice("buffers", buffers, ("copy", "average", "ignore"))
        if not callable(decay):
            check_range("decay", decay, 0, 1)
        self.decay, self.buffers = decay, buffers
        self._average = AveragedModel(
            model, multi_avg_fn=self._move, use_buffers=buffers == "average"
        )
        self._average.requires_grad_(False).eval()
        # AveragedModel would replace the average by the model at its first update.
        self._average.n_averaged.fill_(1)

    @property
    def module(self) -> torch.nn.Module:
        """The averaged model: without gradients, and in evaluation mode unless you change it."""
        return self._average.module

    @property
    def updates(self) -> int:
        """How many updates were made."""
        return int(self._average.n_averaged) - 1

    @torch.no_grad()
    def update(self, model: torch.nn.Module) -> None:
        """Move the average towards the model's present weights.

        Raises:
            InputError: the function for the decay left [0, 1].
        """
        own = list(self.module.buffers()) if self.buffers == "ignore" else []
        before = [buffer.clone() for buffer in own]
        self._average.update_parameters(model)
        for buffer, value in zip(own, before, strict=True):
            buffer.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights and the number of updates."""
        return self._average.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` returned."""
        self._average.load_state_dict(state)

    def _move(self, averages: Tensors, values: Tensors, _: object) -> None:
        decay = self.decay(self.updates) if callable(self.decay) else self.decay
        check_range("decay", decay, 0, 1)
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, values, 1 - decay)
        else:
            torch._foreach_copy_(averages, values)
