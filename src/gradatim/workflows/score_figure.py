"""The pictures of scores: histograms, agreement of measures, and what foretells failures."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gradatim.workflows.figure_style import INK, LINE, MUTED, SERIES, SETTINGS
from gradatim.workflows.score_summary import histogram

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MOST_HISTOGRAMS = 12
MOST_SCATTERED = 5
_A_ROW = 4
_WIDTH, _HEIGHT = 10.4, 2.2


class Scored(Protocol):
    """What is drawn; see :class:`~gradatim.workflows.score_result.ScoreResult`."""

    @property
    def measure(self) -> str: ...  # noqa: D102
    @property
    def names(self) -> list[str]: ...  # noqa: D102
    @property
    def agreement(self) -> "pd.DataFrame | None": ...  # noqa: D102
    @property
    def foretelling(self) -> "pd.DataFrame | None": ...  # noqa: D102
    @property
    def points(self) -> "pd.DataFrame | None": ...  # noqa: D102
    def values(self, name: str) -> NDArray[np.float64]: ...  # noqa: D102


def draw_scores(result: Scored) -> "Figure":
    """Draw the histograms; with the agreement of measures below them if they were compared."""
    upper_height = _HEIGHT * _histogram_rows(result)
    lower_height = 0.0 if result.agreement is None else _agreement_height(result)
    with _style() as new:
        figure: Figure = new(_WIDTH, upper_height + lower_height)
        if result.agreement is None:
            _draw_histograms(figure, result)
        else:
            parts: Any = figure.subfigures(2, 1, height_ratios=[upper_height, lower_height])
            _draw_histograms(parts[0], result)
            _draw_agreement(parts[1], result)
    return figure


def draw_histograms(result: Scored) -> "Figure":
    """Draw the histogram of each measure, of at most twelve."""
    with _style() as new:
        figure: Figure = new(_WIDTH, _HEIGHT * _histogram_rows(result))
        _draw_histograms(figure, result)
    return figure


def draw_agreement(result: Scored) -> "Figure":
    """Draw the rank correlations, and how well each measure ranks failures if that is known."""
    with _style() as new:
        figure: Figure = new(_WIDTH, _agreement_height(result))
        _draw_agreement(figure, result)
    return figure


def draw_scatter(result: Scored) -> "Figure | None":
    """Draw measures against one another, at most five of them; None if there is only one."""
    if result.points is None or result.points.shape[1] < 2 or not len(result.points):
        return None
    names = [str(name) for name in result.points.columns][:MOST_SCATTERED]
    size = len(names) - 1
    with _style() as new:
        figure: Figure = new(2.3 * size + 0.8, 2.1 * size + 0.5)
        panels = figure.subplots(size, size, squeeze=False)
        for y, row in enumerate(panels):
            for x, panel in enumerate(row):
                if x > y:
                    panel.set_visible(False)
                    continue
                panel.scatter(
                    result.points[names[x]],
                    result.points[names[y + 1]],
                    s=5,
                    color=SERIES[0],
                    alpha=0.35,
                    linewidths=0,
                    rasterized=True,
                )
                panel.set_xlabel(names[x] if y == size - 1 else "")
                panel.set_ylabel(names[y + 1] if x == 0 else "")
    return figure


@contextmanager
def _style() -> Iterator[Any]:
    """The settings of all pictures, and what makes a figure of some width and height."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield lambda width, height: Figure(figsize=(width, height), layout="constrained")


def _histogram_rows(result: Scored) -> int:
    return max(1, math.ceil(min(len(result.names), MOST_HISTOGRAMS) / _A_ROW))


def _agreement_height(result: Scored) -> float:
    return max(3.6, 0.3 * len(result.names) + 1.4)


def _draw_histograms(figure: Any, result: Scored) -> None:
    names = result.names[:MOST_HISTOGRAMS]
    rows = _histogram_rows(result)
    panels = figure.subplots(rows, min(_A_ROW, len(names)), squeeze=False).ravel()
    for panel, name in zip(panels, names, strict=False):
        counts, edges = histogram(result.values(name))
        color = SERIES[1] if name == result.measure else SERIES[0]
        if len(counts):
            panel.bar(edges[:-1], counts, np.diff(edges), align="edge", color=color, linewidth=0)
        panel.set_title(name, fontsize=10)
        panel.tick_params(labelsize=8)
        panel.locator_params(nbins=4)
        panel.grid(axis="y", color=LINE, linewidth=0.8)
        panel.set_axisbelow(True)
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    panels[0].set_ylabel("rows")


def _draw_agreement(figure: Any, result: Scored) -> None:
    assert result.agreement is not None
    known = result.foretelling is not None and result.foretelling["auroc"].notna().any()
    left, *right = figure.subplots(1, 2 if known else 1, squeeze=False)[0]
    names = [str(name) for name in result.agreement.columns]
    values = result.agreement.to_numpy(dtype=float)
    left.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    small = len(names) <= 14
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            if small and np.isfinite(value):
                color = "#fff" if abs(value) > 0.6 else INK
                left.text(x, y, f"{value:.2f}", ha="center", va="center", color=color, fontsize=8)
    left.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
    left.set_yticks(range(len(names)), names, fontsize=8)
    left.tick_params(length=0)
    left.spines[:].set_visible(False)
    left.set_title("Rank correlation (Spearman)", fontsize=10)
    if right:
        _draw_foretelling(right[0], result.foretelling)


def _draw_foretelling(panel: Any, table: "pd.DataFrame | None") -> None:
    assert table is not None
    shown = table[table["auroc"].notna()][::-1].reset_index(drop=True)
    places = range(len(shown))
    colors = [SERIES[4] if one else SERIES[2] for one in shown["knows"]]
    panel.hlines(places, shown["low"], shown["high"], color=colors, linewidth=2)
    panel.scatter(shown["auroc"], places, color=colors, zorder=3)
    panel.axvline(0.5, color=MUTED, linewidth=1.0, linestyle=":")
    marked = [
        f"{name}{' *' if one else ''}"
        for name, one in zip(shown["measure"], shown["knows"], strict=True)
    ]
    panel.set_yticks(places, marked, fontsize=8)
    panel.set_ylim(-0.6, len(shown) - 0.4)
    panel.set_xlabel("unseen failures ranked (area under the ROC curve)")
    panel.grid(axis="x", color=LINE, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.set_title("What foretells failures (* knows the answer)", fontsize=10)
