"""How the figures of workflows look, and a figure as part of a page."""

import io
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, LINE = "#1d2430", "#5d6777", "#d5dae2"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#b5629b", "#c98a00", "#4aa3dc", "#8c6239")

SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "gradatim",
    "font.family": "sans-serif",
    "font.size": 10.0,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
}


def to_svg(figure: "Figure", label: str) -> str:
    """A figure as inline SVG: same drawing, same bytes; the label tells what it shows."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(SETTINGS):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    body = buffer.getvalue()
    body = re.sub(r"<metadata>.*?</metadata>", "", body[body.index("<svg") :], flags=re.DOTALL)
    return body.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
