"""A temperature that moves as training progresses."""

import math
from dataclasses import dataclass
from typing import Literal

from gradatim.core.checks import check_choice, check_range
from gradatim.curriculum.ramps import cosine_ramp, linear_ramp

SHAPES = ("linear", "cosine", "exp")


@dataclass(frozen=True)
class TemperatureSchedule:
    r"""The temperature of a contrastive loss at progress t.

    .. math::
        \text{linear: } \tau = \tau_0 + (\tau_1 - \tau_0) \, t, \qquad
        \text{cosine: } \tau = \tau_0 + (\tau_1 - \tau_0) (1 - \cos \pi t) / 2, \qquad
        \text{exp: } \tau = \tau_0^{1 - t} \, \tau_1^t

    A falling temperature goes from easy to hard negatives: a high one repels all negatives nearly
    alike, a low one only the hardest (:func:`gradatim.difficulty.negative_hardness`).

    Attributes:
        start: :math:`\tau_0`, temperature at t = 0, above 0.
        end: :math:`\tau_1`, temperature at t = 1, above 0.
        shape: "linear", "cosine" or "exp" (a constant factor each step).

    Raises:
        InputError: a temperature that is not above 0, or an unknown shape; when called, progress
            that is not finite.

    Source: Wang and Liu 2021, arXiv 2012.09740, for what the temperature
    does; the schedule itself is not theirs.

    >>> round(TemperatureSchedule(1.0, 0.01, "exp")(0.5), 4)
    0.1
    """

    start: float
    end: float
    shape: Literal["linear", "cosine", "exp"] = "linear"

    def __post_init__(self) -> None:
        check_range("start", self.start, 0.0, open_low=True)
        check_range("end", self.end, 0.0, open_low=True)
        check_choice("shape", self.shape, SHAPES)

    def __call__(self, progress: float) -> float:
        """The temperature at this progress; below 0 counts as 0, above 1 as 1."""
        if self.shape == "exp":
            found = math.exp(linear_ramp(progress, math.log(self.start), math.log(self.end)))
        else:
            ramp = cosine_ramp if self.shape == "cosine" else linear_ramp
            found = ramp(progress, self.start, self.end)
        low, high = sorted((self.start, self.end))
        return min(max(found, low), high)
