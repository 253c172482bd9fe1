"""The report of a selection: one self-contained HTML page."""

import math
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

from gradatim.workflows.pages import Rows, html_notes, html_page, html_table

if TYPE_CHECKING:
    import pandas as pd

SHOWN_ROWS = 20
_WIDEST = 80


class Selected(Protocol):
    """What a report is made of; see :class:`~gradatim.workflows.select_result.SelectResult`."""

    @property
    def rows(self) -> "pd.DataFrame": ...  # noqa: D102
    @property
    def strata(self) -> "pd.DataFrame": ...  # noqa: D102
    @property
    def unit(self) -> str: ...  # noqa: D102
    @property
    def notes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def source(self) -> str: ...  # noqa: D102
    def sentence(self) -> str: ...  # noqa: D102


def render_page(result: Selected) -> str:
    """The whole page."""
    title = "Selected rows" if result.unit == "rows" else "Responses shared out"
    head = f"<h1>{title}</h1><p class='quiet'>{escape(result.source)}</p>"
    return html_page(title, head + render_tables(result))


def render_tables(result: Selected) -> str:
    """Strata, notes and the first rows."""
    body = [f"<p>{escape(result.sentence())}.</p>"]
    body.append(f"<h2>Strata</h2>{html_table(*strata_rows(result))}")
    body.append(html_notes(result.notes))
    body.append(f"<h2>Rows</h2>{html_table(*first_rows(result.rows, SHOWN_ROWS))}")
    if len(result.rows) > SHOWN_ROWS:
        body.append(f"<p class='quiet'>and {len(result.rows) - SHOWN_ROWS:,} more</p>")
    return "".join(body)


def strata_rows(result: Selected) -> Rows:
    """Heads, rows and the numeric columns of the table of strata, ready to be set."""
    chosen = "Chosen" if result.unit == "rows" else "Responses"
    heads = ["Stratum", "What", "Pool", "Share", chosen, "Share"]
    there = "mean_difficulty" in result.strata
    rows: list[tuple[str, ...]] = []
    for row in result.strata.to_dict("records"):
        cells = [str(row["stratum"]), str(row["told"])]
        cells += [f"{row['pool']:,}", f"{row['pool_share']:.1%}"]
        cells += [f"{row['chosen']:,}", f"{row['chosen_share']:.1%}"]
        if there:
            value = row["mean_difficulty"]
            cells.append("\u2013" if math.isnan(value) else f"{value:.3g}")
        rows.append(tuple(cells))
    heads += ["Mean difficulty"] if there else []
    return tuple(heads), rows, set(range(2, len(heads)))


def first_rows(rows: "pd.DataFrame", count: int) -> Rows:
    """Heads and cells of the first rows, why they were chosen first of all."""
    reasons = [name for name in rows.columns if str(name).startswith("reason")]
    last = reasons[-1] if reasons else rows.columns[-1]
    names = [last, *(name for name in rows.columns if name != last)]
    shown = rows.head(count)[names]
    cells = [tuple(_cell(value) for value in row) for row in shown.itertuples(index=False)]
    return tuple(map(str, names)), cells, set()


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}\u2026"
