r"""Pacing: the share of the easiest data that is in play at progress t.

All curves rise from ``start`` at t = 0 to 1 at t = ``end`` and stay there. With
:math:`s = \min(1, t / \text{end})` and :math:`c_0 = \text{start}` they differ in how they rise.
"""

from dataclasses import dataclass

from gradatim.core.checks import check_choice, check_range

SHAPES = ("linear", "root", "geometric", "step", "competence")


def linear_pacing(progress: float, start: float = 0.1, end: float = 1.0) -> float:
    r"""Let data in at a constant rate.

    .. math:: c(t) = c_0 + (1 - c_0) \, s

    Args:
        progress: t; below 0 counts as 0, above 1 as 1.
        start: share at t = 0, in [0, 1].
        end: progress at which all data are in play, in [0, 1]; 0 lets all in at once.

    Returns:
        The share, in [start, 1].

    Raises:
        InputError: progress that is not finite, or a start or end outside [0, 1].

    Source: Platanios et al. 2019, arXiv 1903.09848.

    >>> linear_pacing(0.25, start=0.5, end=0.5)
    0.75
    """
    share = _share_of_ramp(progress, start, end)
    return _rising(start + (1.0 - start) * share, start, share)


def root_pacing(progress: float, start: float = 0.1, end: float = 1.0, power: float = 2.0) -> float:
    r"""Let data in fast at first and slower later: each example in play is seen equally long.

    .. math:: c(t) = \bigl( s \, (1 - c_0^p) + c_0^p \bigr)^{1/p}

    Args:
        progress: t; below 0 counts as 0, above 1 as 1.
        start: share at t = 0, in [0, 1].
        end: progress at which all data are in play, in [0, 1].
        power: p, above 0; 1 is linear, larger ones rise earlier.

    Returns:
        The share, in [start, 1].

    Raises:
        InputError: as for :func:`linear_pacing`, or a power of 0 or less.

    Source: Platanios et al. 2019, arXiv 1903.09848.

    >>> round(root_pacing(0.5, start=0.0, power=3), 4)
    0.7937
    """
    check_range("power", power, 0.0, open_low=True)
    share = _share_of_ramp(progress, start, end)
    low = start**power
    return _rising((share * (1.0 - low) + low) ** (1.0 / power), start, share)


def competence_pacing(progress: float, start: float = 0.01, end: float = 1.0) -> float:
    r"""The square-root competence of a learner: :func:`root_pacing` with p = 2, from 1%.

    .. math:: c(t) = \sqrt{s \, (1 - c_0^2) + c_0^2}

    Args:
        progress: t; below 0 counts as 0, above 1 as 1.
        start: initial competence, in [0, 1].
        end: progress at which the learner is fully competent, in [0, 1].

    Returns:
        The share, in [start, 1].

    Raises:
        InputError: as for :func:`linear_pacing`.

    Source: Platanios et al. 2019, arXiv 1903.09848.

    >>> competence_pacing(0.25, start=0.0)
    0.5
    """
    return root_pacing(progress, start, end, power=2.0)


def geometric_pacing(progress: float, start: float = 0.1, end: float = 1.0) -> float:
    r"""Let data in slowly at first: the amount in play grows by a constant factor.

    .. math:: c(t) = c_0^{\,1 - s}

    Args:
        progress: t; below 0 counts as 0, above 1 as 1.
        start: share at t = 0, in (0, 1].
        end: progress at which all data are in play, in [0, 1].

    Returns:
        The share, in [start, 1].

    Raises:
        InputError: as for :func:`linear_pacing`, or a start of 0.

    Source: Penha and Hauff 2020, arXiv 1912.08555.

    >>> round(geometric_pacing(0.5, start=0.01), 4)
    0.1
    """
    check_range("start", start, 0.0, 1.0, open_low=True)
    share = _share_of_ramp(progress, start, end)
    return _rising(start ** (1.0 - share), start, share)


def step_pacing(progress: float, start: float = 0.1, end: float = 1.0, steps: int = 4) -> float:
    r"""Let data in by stairs of equal height and length.

    .. math:: c(t) = c_0 + (1 - c_0) \, \lfloor k s \rfloor / k

    One step keeps the easiest share until ``end`` and then lets everything in.

    Args:
        progress: t; below 0 counts as 0, above 1 as 1.
        start: share at t = 0, in [0, 1].
        end: progress at which all data are in play, in [0, 1].
        steps: k, the number of jumps, at least 1.

    Returns:
        The share, in [start, 1].

    Raises:
        InputError: as for :func:`linear_pacing`, or fewer than one step.

    Source: Hacohen and Weinshall 2019, arXiv 1904.03626 (single step pacing; its fixed
    exponential pacing has stairs that grow by a factor).

    >>> [step_pacing(t, start=0.5, steps=2) for t in (0.0, 0.49, 0.5, 0.99, 1.0)]
    [0.5, 0.5, 0.75, 0.75, 1.0]
    """
    check_range("steps", steps, 1)
    share = _share_of_ramp(progress, start, end)
    # a stair that begins at j / k must not be missed by a rounding error of the division by end
    stairs = min(int(share * steps + 1e-9), int(steps)) / int(steps)
    return _rising(start + (1.0 - start) * stairs, start, share)


@dataclass(frozen=True)
class Pacing:
    """A pacing curve with its settings, to call with the progress.

    Attributes:
        shape: "linear", "root", "geometric", "step" or "competence" (root with power 2).
        start: share at t = 0.
        end: progress at which all data are in play.
        power: p of "root".
        steps: number of jumps of "step".

    Raises:
        InputError: an unknown shape, or settings that its function refuses.

    >>> Pacing("root", start=0.0, power=4)(0.0625)
    0.5
    """

    shape: str = "root"
    start: float = 0.1
    end: float = 1.0
    power: float = 2.0
    steps: int = 4

    def __post_init__(self) -> None:
        check_choice("shape", self.shape, SHAPES)
        self(0.0)

    def __call__(self, progress: float) -> float:
        """The share of the easiest data in play."""
        if self.shape == "linear":
            return linear_pacing(progress, self.start, self.end)
        if self.shape == "root":
            return root_pacing(progress, self.start, self.end, self.power)
        if self.shape == "geometric":
            return geometric_pacing(progress, self.start, self.end)
        if self.shape == "step":
            return step_pacing(progress, self.start, self.end, self.steps)
        return competence_pacing(progress, self.start, self.end)


def _share_of_ramp(progress: float, start: float, end: float) -> float:
    """How much of the way to full data is done, in [0, 1]."""
    check_range("progress", progress)
    check_range("start", start, 0.0, 1.0)
    check_range("end", end, 0.0, 1.0)
    done = min(max(progress, 0.0), 1.0)
    return 1.0 if done >= end else done / end


def _rising(value: float, start: float, share: float) -> float:
    """A value kept between the ends of its curve whatever rounding does to it."""
    return 1.0 if share >= 1.0 else min(max(value, start), 1.0)
