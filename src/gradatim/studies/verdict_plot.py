"""A verdict as a picture: the interval, each seed, the threshold, and the margin of equivalence."""

import math
from typing import Any

from gradatim.studies import svg
from gradatim.studies.verdicts import Verdict

STATUS_COLORS = {
    "shown": svg.SHOWN,
    "contradicted": svg.CONTRADICTED,
    "equivalent": svg.UNDECIDED,
    "inconclusive": svg.MUTED,
}

WIDTH = 380.0
"""Natural width in CSS pixels: it stands beside words, or alone on a telephone."""

BAR, SEEDS = 1.0, 0.3
"""Heights of the interval and of the seeds' dots."""


def draw_verdict(verdict: Verdict) -> str:
    """Draw one claim's interval against its threshold as inline SVG.

    The thick bar is the 95% interval of the estimand (for a cost claim its range), the small dots
    are the seeds, the vertical line is the threshold with an arrow to the side on which the claim
    holds, and the shaded strip is threshold ± smallest effect, if one was declared.
    """
    with svg.drawing():
        axes = svg.new_axes(112, left=10, right=10, top=22, bottom=38, width=WIDTH)
        color = STATUS_COLORS[verdict.status]
        claim = verdict.claim
        values = [value for value in verdict.values.values() if math.isfinite(value)]
        axes.scatter(values, [SEEDS] * len(values), s=26, color=color, alpha=0.45, linewidths=0)
        if math.isfinite(verdict.low):
            axes.plot([verdict.low, verdict.high], [BAR, BAR], color=color, linewidth=6)
        if math.isfinite(verdict.estimate):
            axes.plot([verdict.estimate], [BAR], marker="o", markersize=11, color=color)
        axes.plot([claim.threshold] * 2, [-0.1, 1.6], color=svg.INK, linewidth=1.5)
        if claim.smallest_effect:
            margin = (
                claim.threshold - claim.smallest_effect,
                claim.threshold + claim.smallest_effect,
            )
            axes.axvspan(*margin, color=svg.MUTED, alpha=0.16, linewidth=0)
        _frame(axes, verdict)
        return svg.to_svg(axes, f"{claim.statement}: {verdict.status}")


def _frame(axes: Any, verdict: Verdict) -> None:
    """Axis, grid, and the words at the threshold."""
    claim = verdict.claim
    axes.set_ylim(0, 1.5)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="x", length=3)
    axes.locator_params(axis="x", nbins=5)
    axes.margins(x=0.06)
    axes.set_xlabel(claim.unit or "difference")
    low, high = axes.get_xlim()
    greater = claim.direction == "greater"
    share = (claim.threshold - low) / (high - low)
    words = "claim holds →" if greater else "← claim holds"
    right_of = share < 0.7 if greater else share < 0.3
    axes.annotate(
        words,
        (claim.threshold, 1.5),
        xytext=(6 if right_of else -6, 16),
        textcoords="offset points",
        ha="left" if right_of else "right",
        va="top",
        color=svg.MUTED,
    )
