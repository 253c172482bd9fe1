"""Curves of re-ranking: accuracy over the number of candidates, a panel a level."""

import math
from typing import TYPE_CHECKING, Any

from gradatim.core.errors import InputError
from gradatim.workflows.figure_style import INK, LINE, SERIES, SETTINGS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_MARKERS = {"majority": "D", "weighted": "o", "best_of_n": "^", "oracle": "x"}
_LINES = {"best_of_n": ":", "oracle": "--"}
MOST_BANDS = 5
"""With more rules only the majority and the oracle have bands, or nothing could be seen."""

MOST_PANELS = 9
PANELS_A_ROW = 3


def draw_curves(curve: "pd.DataFrame | None") -> "Figure":
    """Draw a curve table; the oracle (pass@N) is dashed, bands are 95% intervals over problems.

    With many rules only the majority and the oracle have bands.

    Args:
        curve: columns level, rule, n, accuracy, low, high, problems.

    Raises:
        InputError: there is none, since correctness is not known.
    """
    if curve is None:
        raise InputError("figure: correctness is not known; give correct or reference")
    import matplotlib
    from matplotlib.figure import Figure

    levels = list(dict.fromkeys(curve["level"]))[:MOST_PANELS]
    columns = min(len(levels), PANELS_A_ROW)
    rows = math.ceil(len(levels) / columns)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        figure = Figure(figsize=(3.4 * columns + 0.6, 2.8 * rows + 0.5), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
        for panel, level in zip(panels, levels, strict=False):
            _draw_panel(panel, curve[curve["level"] == level])
            panel.set_title(_title(level), fontsize=10)
        for panel in panels[len(levels) :]:
            panel.set_visible(False)
        panels[0].set_ylabel("accuracy")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=min(len(labels), 4), frameon=False
        )
    return figure


def _title(level: object) -> str:
    """What a panel is called.

    >>> _title("all"), _title(3), _title("3"), _title("easy")
    ('all problems', 'level 3', 'level 3', 'easy')
    """
    number = not isinstance(level, str) or level.lstrip("-").replace(".", "", 1).isdecimal()
    return "all problems" if level == "all" else f"level {level}" if number else str(level)


def _draw_panel(panel: Any, table: "pd.DataFrame") -> None:
    """One curve a rule: a colour a score, solid for votes, dotted for the best of N."""
    numbers = sorted(set(table["n"]))
    rules = [str(rule) for rule in dict.fromkeys(table["rule"])]
    scores = list(dict.fromkeys(rule.partition(":")[2] or rule for rule in rules))
    scores = [score for score in scores if score not in ("majority", "oracle")]
    for rule in rules:
        points = table[table["rule"] == rule]
        name, _, column = rule.partition(":")
        place = scores.index(column or rule) if (column or rule) in scores else 0
        color = INK if name in ("majority", "oracle") else SERIES[place % len(SERIES)]
        panel.plot(
            points["n"],
            points["accuracy"],
            color=color,
            marker=_MARKERS.get(name, "s"),
            markersize=4.5,
            linestyle=_LINES.get(name, "-"),
            label=words(rule),
        )
        if len(rules) <= MOST_BANDS or name in ("majority", "oracle"):
            panel.fill_between(
                points["n"], points["low"], points["high"], color=color, alpha=0.12, linewidth=0
            )
    panel.set_xscale("log", base=2)
    panel.set_xticks(numbers, [str(n) for n in numbers])
    panel.minorticks_off()
    panel.set_xlabel("candidates N")
    panel.grid(axis="y", color=LINE, linewidth=0.8)
    panel.set_axisbelow(True)


def words(rule: str) -> str:
    """A rule's name for people.

    >>> words("best_of_n:prm"), words("oracle")
    ('best of N (prm)', 'oracle (pass@N)')
    """
    name, _, column = rule.partition(":")
    told = {"weighted": "weighted vote", "best_of_n": "best of N", "oracle": "oracle (pass@N)"}
    return told.get(name, name) + (f" ({column})" if column else "")
