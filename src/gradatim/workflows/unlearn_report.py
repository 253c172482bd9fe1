"""The report of unlearning: one self-contained HTML page."""

import math
from html import escape
from typing import TYPE_CHECKING, Protocol

from gradatim.workflows.figure_style import to_svg
from gradatim.workflows.pages import Rows, html_notes, html_page, html_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SHOWN = 8
_WIDEST = 240
_SIDES = ("before", "after", "reference")


class Unlearned(Protocol):
    """What a report is made of; see :class:`~gradatim.workflows.unlearn_result.UnlearnResult`."""

    @property
    def source(self) -> str: ...  # noqa: D102
    @property
    def criterion(self) -> str: ...  # noqa: D102
    @property
    def figures(self) -> "pd.DataFrame": ...  # noqa: D102
    @property
    def rows(self) -> "pd.DataFrame": ...  # noqa: D102
    @property
    def notes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def seconds(self) -> float: ...  # noqa: D102
    def sentence(self) -> str: ...  # noqa: D102
    def figure(self) -> "Figure": ...  # noqa: D102


def render_page(result: Unlearned) -> str:
    """The whole page."""
    label = "Probability of what is forgotten and perplexity of what is kept over the updates"
    body = [f"<h1>Unlearning</h1><p class='quiet'>{escape(result.source)}</p>"]
    body.append(render_tables(result))
    body.append(f"<h2>Over the updates</h2>{to_svg(result.figure(), label)}")
    body.append("<p class='quiet'>The dot is the update whose weights were kept.</p>")
    for name, texts in result.rows.groupby("set", sort=False):
        body.append(f"<h2>What is said: {escape(str(name))}</h2>")
        body.append(html_table(*said_rows(texts, SHOWN, _WIDEST)))
        if len(texts) > SHOWN:
            body.append(f"<p class='quiet'>and {len(texts) - SHOWN:,} more</p>")
    body.append(f"<p class='quiet'>All took {result.seconds:.1f} seconds.</p>")
    return html_page("Unlearning", "".join(body))


def render_tables(result: Unlearned) -> str:
    """What was done, the figures, and notes."""
    body = [f"<p>{escape(result.sentence())}.</p><p>{escape(result.criterion)}.</p>"]
    body.append(f"<h2>Before and after</h2>{html_table(*figure_rows(result.figures))}")
    attack = attack_rows(result.figures)
    if attack[1]:
        body.append(f"<h2>Relearning attack</h2>{html_table(*attack)}")
    body.append(html_notes(result.notes))
    return "".join(body)


def figure_rows(figures: "pd.DataFrame") -> Rows:
    """Heads, rows and the numeric columns of the figures, ready to be set."""
    attacked = figures["name"].str.startswith("relearned/")
    return _rows(figures[~attacked], ("Figure", "Before", "After", "Reference"))


def attack_rows(figures: "pd.DataFrame") -> Rows:
    """The same of the relearning attack, from before it to after it."""
    attacked = figures["name"].str.startswith("relearned/")
    heads = ("Figure", "Before the attack", "After it", "Reference after it")
    return _rows(figures[attacked], heads)


def said_rows(rows: "pd.DataFrame", count: int, widest: int) -> Rows:
    """The same of what is said, the first rows."""
    told: list[tuple[str, ...]] = [
        tuple(
            _cut(str(row[name]), widest)
            for name in ("question", "expected", "said_before", "said_after")
        )
        for row in rows.head(count).to_dict("records")
    ]
    return ("Asked", "Expected", "Said before", "Said after"), told, set()


def _rows(figures: "pd.DataFrame", heads: tuple[str, ...]) -> Rows:
    known = figures[list(_SIDES)].notna().any()
    sides = [one for one in _SIDES if one != "reference" or known[one]]
    rows: list[tuple[str, ...]] = [
        (str(row["told"]), *(number(float(row[one])) for one in sides))
        for row in figures.to_dict("records")
    ]
    return heads[: 1 + len(sides)], rows, set(range(1, 1 + len(sides)))


def number(value: float) -> str:
    """A figure with as many places as it needs.

    >>> number(0.1234), number(0.00012), number(45.678), number(float("nan"))
    ('0.123', '1.2e-04', '45.7', '–')
    """
    if math.isnan(value):
        return "\u2013"
    if value and abs(value) < 0.0005:
        return f"{value:.1e}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def _cut(text: str, widest: int) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= widest else f"{plain[: widest - 1]}\u2026"
