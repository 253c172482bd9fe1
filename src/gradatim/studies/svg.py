"""From a matplotlib figure to an SVG that lives inside a page: the page's font and colours."""

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INK = "#1d2430"
MUTED = "#5d6777"
LINE = "#d5dae2"
SHOWN = "#00755a"
CONTRADICTED = "#b5400a"
UNDECIDED = "#4d6a94"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#b5629b", "#c98a00", "#4aa3dc", "#6b7280", "#8c6239")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")

VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    SHOWN: "shown",
    CONTRADICTED: "contradicted",
    UNDECIDED: "undecided",
    **{color: f"series-{number}" for number, color in enumerate(SERIES, 1)},
}
"""The page's CSS variable that each drawn colour follows; the colour itself is the fallback."""

FONT_SIZE = 12.0
WIDTH = 460.0
"""Natural width of a figure in CSS pixels: two stand side by side on a wide page, and one still
reads at a telephone's width."""


@contextmanager
def drawing() -> Iterator[None]:
    """Draw under the report's settings of matplotlib, and leave the user's as they were."""
    import matplotlib

    settings: Any = {
        "svg.fonttype": "none",
        "font.size": FONT_SIZE,
        "font.family": "sans-serif",
        "text.color": INK,
        "text.parse_math": False,
        "axes.edgecolor": LINE,
        "axes.labelcolor": MUTED,
        "axes.linewidth": 1.0,
        "axes.formatter.use_mathtext": False,
        "axes.unicode_minus": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": LINE,
        "ytick.color": LINE,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": MUTED,
        "xtick.labelsize": FONT_SIZE - 0.5,
        "ytick.labelsize": FONT_SIZE - 0.5,
    }
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield


def new_axes(
    height: float,
    *,
    left: float,
    right: float,
    top: float,
    bottom: float,
    width: float = WIDTH,
) -> Any:
    """Axes of a new figure; all sizes and margins are in CSS pixels."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(width / 72, height / 72), dpi=72)
    canvas.patch.set_alpha(0)
    box = (
        left / width,
        bottom / height,
        (width - left - right) / width,
        (height - bottom - top) / height,
    )
    axes = canvas.add_axes(box)
    axes.patch.set_alpha(0)
    axes.set_axisbelow(True)
    return axes


def to_svg(axes: Any, label: str) -> str:
    """Turn axes into inline SVG: same drawing, same bytes.

    Text stays text in the page's font, colours follow the page's CSS variables (so that a dark
    page has a dark figure), and every id carries a prefix of its own, so that several figures in
    one page cannot refer to each other's shapes.

    Args:
        axes: what :func:`new_axes` gave, drawn on.
        label: what the figure shows, for readers who cannot see it.
    """
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "gradatim"}):
        axes.figure.savefig(buffer, format="svg", metadata={"Date": None})
    body = buffer.getvalue()
    body = body[body.index("<svg") :]
    body = body.replace(body[: body.index("viewBox")], _opening(label), 1)
    for pattern, replacement in _LEFT_OUT:
        body = pattern.sub(replacement, body)
    body = re.sub(r' (?:d|x|y|width|height|transform)="[^"]*"', _coarse, body)
    for color, name in VARIABLES.items():
        body = body.replace(f": {color}", f": var(--{name}, {color})")
    return _own_ids(body, "g" + hashlib.sha256(body.encode()).hexdigest()[:10])


_LEFT_OUT = tuple(
    (re.compile(pattern, re.DOTALL), replacement)
    for pattern, replacement in (
        (r"xlink:href", "href"),
        (r"<metadata>.*?</metadata>", ""),
        (r"<defs>\s*<style.*?</style>\s*</defs>", ""),
        (r"; font-family: [^;\"]*", ""),
        (r' transform="rotate\(-0 [^)]*\)"', ""),
        (r'<path d="[^"]*" style="fill: none; opacity: 0"/>', ""),
        (r"\s*\n\s*", "\n"),
        (r"<g>\s*</g>\s*", ""),
    )
)
"""What matplotlib writes that says nothing, or would fix what the page is to decide."""


def _coarse(attribute: re.Match[str]) -> str:
    """Round coordinates to hundredths of a pixel."""
    return re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", attribute[0])


def _opening(label: str) -> str:
    return (
        f'<svg role="img" aria-label="{_escape(label)}" '
        'style="font-family: var(--figure-font, system-ui, sans-serif); stroke-linejoin: round" '
    )


def _own_ids(body: str, prefix: str) -> str:
    """Drop ids that nothing refers to, and give the others a prefix."""
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', body))
    body = re.sub(
        r' id="([^"]+)"',
        lambda found: f' id="{prefix}-{found[1]}"' if found[1] in used else "",
        body,
    )
    return re.sub(r'(href="#|url\(#)', rf"\1{prefix}-", body)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
