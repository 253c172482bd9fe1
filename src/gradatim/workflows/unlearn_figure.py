"""The figure of unlearning: what is forgotten and what is kept, over the updates."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gradatim.workflows.figure_style import LINE, MUTED, SERIES, SETTINGS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDE = 20.0
"""From this growth of the perplexity on its axis is logarithmic."""


def draw_curves(curve: Sequence[Mapping[Any, Any]], step: int) -> "Figure":
    """Draw the probability of what is forgotten, and the perplexity of what is kept.

    Args:
        curve: a row an evaluation, the first before training.
        step: the update whose weights were kept.
    """
    return draw_methods({"": (curve, step)})


def draw_methods(curves: Mapping[str, tuple[Sequence[Mapping[Any, Any]], int]]) -> "Figure":
    """The same for several runs in one figure.

    Args:
        curves: by name, the curve and the update whose weights were kept, which has a dot.
    """
    import matplotlib
    from matplotlib.figure import Figure

    watched = any("retain_loss" in row for curve, _ in curves.values() for row in curve)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        figure = Figure(figsize=(8.4 if watched else 4.6, 3.1), layout="constrained")
        panels = figure.subplots(1, 2 if watched else 1, squeeze=False)[0]
        for place, (name, (curve, step)) in enumerate(curves.items()):
            color = SERIES[place % len(SERIES)]
            _line(panels[0], curve, step, color, name, _probability)
            if watched:
                _line(panels[1], curve, step, color, name, _growth(curve))
        panels[0].set_ylim(bottom=0.0)
        panels[0].set_ylabel("probability of what is forgotten")
        if watched:
            panels[1].set_ylabel("perplexity of what is kept, times")
            if panels[1].get_ylim()[1] > _WIDE:
                panels[1].set_yscale("log")
            panels[1].axhline(1.0, color=MUTED, linewidth=0.8)
        for panel in panels:
            panel.set_xlabel("update")
            panel.grid(axis="y", color=LINE, linewidth=0.8)
            panel.set_axisbelow(True)
        if len(curves) > 1:
            panels[0].legend(frameon=False)
    return figure


def _line(
    panel: Any, curve: Sequence[Mapping[Any, Any]], step: int, color: str, name: str, value: Any
) -> None:
    points = [(row["step"], value(row)) for row in curve]
    points = [(at, number) for at, number in points if math.isfinite(number)]
    panel.plot(*zip(*points, strict=True), color=color, linewidth=1.6, label=name or None)
    kept = [point for point in points if point[0] == step][-1:]
    for at, number in kept:
        panel.plot([at], [number], color=color, marker="o", markersize=5.5)


def _probability(row: Mapping[Any, Any]) -> float:
    return float(row["forget_probability"])


def _growth(curve: Sequence[Mapping[Any, Any]]) -> Any:
    def value(row: Mapping[Any, Any]) -> float:
        rise = float(row.get("retain_loss", math.nan)) - float(curve[0].get("retain_loss", 0.0))
        return math.exp(rise) if rise < 700 else math.inf

    return value
