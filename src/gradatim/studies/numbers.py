"""How numbers are written in tables, figures and on the terminal."""

import math
from collections.abc import Iterable

MOST_DECIMALS = 6

MINUS = "\u2212"
UNKNOWN = "\u2013"
"""A dash where there is no number."""


def decimals_for(half_widths: Iterable[float]) -> int:
    """Decimals that a column deserves: to the second digit of its typical uncertainty up to 35.

    Beyond that the first digit suffices: ± 0.012 and ± 0.008 both are written with three.

    >>> decimals_for([0.012, 0.008, 0.5]), decimals_for([5.0]), decimals_for([])
    (3, 0, 3)
    """
    known = sorted(width for width in half_widths if math.isfinite(width) and width > 0)
    if not known:
        return 3
    typical = known[len(known) // 2]
    return min(max(-math.floor(math.log10(typical / 3.55)), 0), MOST_DECIMALS)


def fixed(value: float, decimals: int, *, sign: bool = False) -> str:
    """Write a number with fixed decimals and a true minus sign; zero has no sign.

    >>> fixed(-0.25, 2), fixed(0.25, 2, sign=True), fixed(float("nan"), 2), fixed(-0.001, 2)
    ('−0.25', '+0.25', '–', '0.00')
    """
    if math.isnan(value):
        return UNKNOWN
    rounded = round(value, decimals) + 0.0
    text = f"{rounded:{'+' if sign and rounded else ''}.{decimals}f}"
    return text.replace("-", MINUS)


def fixed_interval(mean: float, half_width: float, decimals: int) -> str:
    """Write a mean with the half-width of its interval.

    >>> fixed_interval(0.8231, 0.0124, 3), fixed_interval(0.8231, float("nan"), 3)
    ('0.823 ± 0.012', '0.823')
    """
    mean_text = fixed(mean, decimals)
    return mean_text if math.isnan(half_width) else f"{mean_text} ± {fixed(half_width, decimals)}"


def fixed_short(value: float) -> str:
    """Write a number that somebody chose, as short as it is.

    >>> fixed_short(0.0), fixed_short(-0.02), fixed_short(-0.0)
    ('0', '−0.02', '0')
    """
    return f"{value + 0.0:g}".replace("-", MINUS)


def p_value_text(p_value: float, *, equals: str = "") -> str:
    """Write a p value; ``equals`` stands before one that is written exactly.

    >>> p_value_text(0.0123), p_value_text(1e-9), p_value_text(float("nan"))
    ('0.012', '< 0.001', '–')
    """
    if math.isnan(p_value):
        return UNKNOWN
    return "< 0.001" if p_value < 0.001 else f"{equals}{p_value:.3f}"


def interval_text(
    estimate: float, low: float, high: float, *, threshold: float = 0.0, sign: bool = False
) -> str:
    """Write an estimate with the ends of its interval, to the digits that the interval allows.

    An end close to the threshold gets as many digits as show on which side of it it lies.

    >>> interval_text(0.1523, 0.1401, 0.1645, sign=True)
    '+0.152 [+0.140, +0.165]'
    >>> interval_text(0.0501, 0.0001, 0.1001)
    '0.0501 [0.0001, 0.1001]'
    >>> interval_text(0.5, float("nan"), float("nan"))
    '0.500'
    """
    decimals = decimals_for([(high - low) / 2])
    text = fixed(estimate, decimals, sign=sign)
    if math.isnan(low) or math.isnan(high):
        return text
    while decimals < MOST_DECIMALS and any(
        end != threshold and round(end, decimals) == round(threshold, decimals)
        for end in (low, high)
    ):
        decimals += 1
    told = (fixed(number, decimals, sign=sign) for number in (estimate, low, high))
    return "{} [{}, {}]".format(*told)


def finite_or_none(value: float) -> float | None:
    """A number as JSON can hold it: None for NaN and infinities.

    >>> finite_or_none(0.5), finite_or_none(float("nan"))
    (0.5, None)
    """
    return float(value) if math.isfinite(value) else None


def seconds_text(seconds: float) -> str:
    """Write a duration.

    >>> seconds_text(3.21), seconds_text(134), seconds_text(4020)
    ('3.2 s', '2 min 14 s', '1 h 7 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
