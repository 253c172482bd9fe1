"""The figure of mining: how far negatives score below positives, and which are to be doubted."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.workflows.figure_style import LINE, MUTED, SERIES, SETTINGS
from gradatim.workflows.mine_formats import Mined

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BINS, _GROUPS = 40, 8


def draw_scores(mined: Mined, ranks: NDArray[np.int32]) -> "Figure":
    """Draw the scores of positives and negatives, and how likely negatives are relevant by rank.

    Args:
        mined: the negatives.
        ranks: of the negatives among the candidates that passed the tests, [Q, n].
    """
    import matplotlib
    from matplotlib.figure import Figure

    doubted = mined.suspicion is not None
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        figure = Figure(figsize=(8.4 if doubted else 4.6, 3.1), layout="constrained")
        panels = figure.subplots(1, 2 if doubted else 1, squeeze=False)[0]
        _draw_scores(panels[0], mined)
        if mined.suspicion is not None:
            _draw_doubts(panels[1], mined.suspicion, ranks)
        for panel in panels:
            panel.grid(axis="y", color=LINE, linewidth=0.8)
            panel.set_axisbelow(True)
    return figure


def _draw_scores(panel: Any, mined: Mined) -> None:
    right = mined.positive_scores[mined.positives >= 0]
    wrong = mined.scores[mined.negatives >= 0]
    both = np.concatenate([right, wrong])
    low, high = float(both.min()), float(both.max())
    edges = np.linspace(low, high if high > low else low + 1.0, _BINS + 1)
    for place, (name, values) in enumerate((("positives", right), ("negatives", wrong))):
        counts = np.histogram(values, edges)[0] / max(len(values), 1)
        panel.stairs(counts, edges, color=SERIES[place], linewidth=1.6, label=name)
        panel.stairs(counts, edges, color=SERIES[place], alpha=0.12, fill=True)
    panel.set_xlabel("score")
    panel.set_ylabel("share")
    panel.legend(frameon=False)


def _draw_doubts(panel: Any, suspicion: NDArray[np.float64], ranks: NDArray[np.int32]) -> None:
    """Median and quartiles by groups of ranks of about equal size."""
    there = ranks >= 0
    rank, doubt = ranks[there] + 1, suspicion[there]
    cuts = np.unique(np.quantile(rank, np.linspace(0, 1, _GROUPS + 1)).astype(int))
    groups = np.searchsorted(cuts, rank, side="right")
    points = [
        (rank[groups == one].mean(), *np.quantile(doubt[groups == one], (0.25, 0.5, 0.75)))
        for one in np.unique(groups)
    ]
    place, low, middle, high = np.array(points).T
    panel.fill_between(place, low, high, color=SERIES[1], alpha=0.15, linewidth=0)
    panel.plot(place, middle, color=SERIES[1], marker="o", markersize=4.5)
    panel.set_xlabel("rank of the negative")
    panel.set_ylabel("probability of being relevant")
    panel.set_ylim(bottom=0.0)
    place_of_words = {"transform": panel.transAxes, "va": "top", "ha": "right"}
    panel.text(0.98, 0.97, "median and quartiles", color=MUTED, **place_of_words)
