"""The picture of a task's difficulty: dimension, bound, exact measure."""

import math
from typing import TYPE_CHECKING, Any, Protocol

from gradatim.difficulty.inductive_bias_tasks import PUBLISHED_TASKS, published_complexity
from gradatim.difficulty.task_difficulty import TaskDifficulty
from gradatim.workflows.figure_style import LINE, MUTED, SERIES, SETTINGS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_CROWDED = 3.0  # powers of ten


class Drawn(Protocol):
    """What is drawn: a ``TaskDifficultyResult``."""

    @property
    def measured(self) -> TaskDifficulty: ...  # noqa: D102


def draw_task(result: Drawn) -> "Figure":
    """Draw the dimension by sample and neighbours, the bound, and the exact measure."""
    import matplotlib
    from matplotlib.figure import Figure

    task = result.measured
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        wide = 2 if task.exact is None else 3
        figure = Figure(figsize=(4.6 * wide, 3.9), layout="constrained")
        panels = list(figure.subplots(1, wide, squeeze=False).ravel())
        table = task.table()
        _draw_dimension(panels[0], table)
        _draw_bound(panels[1], table, task.error)
        if task.exact is not None:
            _draw_exact(panels[2], task.curve(), task.error)
    return figure


def _draw_dimension(panel: Any, table: "pd.DataFrame") -> None:
    for place, (k, part) in enumerate(table.groupby("k", sort=True)):
        color = SERIES[place % len(SERIES)]
        panel.plot(
            part["points"],
            part["dimension"],
            color=color,
            marker="o",
            markersize=4.5,
            label=f"{k} neighbours",
        )
        panel.fill_between(
            part["points"], part["low"], part["high"], color=color, alpha=0.12, linewidth=0
        )
    panel.set_xscale("log")
    ticks = sorted(set(table["points"]))
    panel.set_xticks(ticks, [f"{one:,}" for one in ticks])
    panel.minorticks_off()
    panel.set_xlabel("rows looked at")
    panel.set_ylabel("intrinsic dimension")
    panel.legend(frameon=False, fontsize=9)
    _grid(panel)
    panel.set_title("Dimension", fontsize=10)


def _draw_bound(panel: Any, table: "pd.DataFrame", error: float) -> None:
    whole = table[table["points"] == table["points"].max()]
    panel.errorbar(
        whole["k"].astype(str),
        whole["log10_bits"],
        yerr=[
            whole["log10_bits"] - whole["log10_low"],
            (whole["log10_high"] - whole["log10_bits"]).fillna(0.0),
        ],
        color=SERIES[0],
        marker="o",
        linestyle="none",
        capsize=3,
    )
    levels = {name: published_complexity(name, error).log10_bits for name in PUBLISHED_TASKS}
    for name, level in levels.items():
        crowded = any(level < other < level + _CROWDED for other in levels.values())
        panel.axhline(level, color=MUTED, linewidth=1.0, linestyle=":")
        panel.annotate(
            name,
            (0.98, level),
            xycoords=("axes fraction", "data"),
            xytext=(0, -2 if crowded else 2),
            textcoords="offset points",
            color=MUTED,
            ha="right",
            va="top" if crowded else "bottom",
            fontsize=8.5,
        )
    panel.set_ylim(bottom=0.0)
    panel.set_xlabel("neighbours looked at")
    panel.set_ylabel("log10 of bits")
    _grid(panel)
    panel.set_title("Bound, beside published tasks", fontsize=10)


def _draw_exact(panel: Any, curve: "pd.DataFrame", error: float) -> None:
    shown = curve[curve["exact_bits"] < math.inf]
    panel.plot(shown["error"], shown["exact_bits"], color=SERIES[1], marker="o", markersize=4.5)
    panel.fill_between(
        shown["error"],
        shown["exact_low"],
        shown["exact_high"],
        color=SERIES[1],
        alpha=0.12,
        linewidth=0,
    )
    panel.axvline(error, color=MUTED, linewidth=1.0, linestyle=":")
    panel.set_xscale("log")
    panel.invert_xaxis()
    ticks = sorted(set(curve["error"]))
    panel.set_xticks(ticks, [f"{one:.3g}" for one in ticks])
    panel.minorticks_off()
    panel.set_yscale("symlog", linthresh=1.0)
    panel.set_ylim(bottom=0.0)
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    panel.set_xlabel("error to be reached")
    panel.set_ylabel("bits")
    _grid(panel)
    panel.set_title("Exact, for smooth functions", fontsize=10)


def _grid(panel: Any) -> None:
    panel.grid(axis="y", color=LINE, linewidth=0.8)
    panel.set_axisbelow(True)
