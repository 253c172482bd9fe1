"""The report of mining: one self-contained HTML page."""

import math
from html import escape
from typing import TYPE_CHECKING, Protocol

from gradatim.workflows.figure_style import to_svg
from gradatim.workflows.pages import Rows, fixed, html_notes, html_page, html_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SHOWN_SHORT = 20
_WIDEST = 160


class MinedNegatives(Protocol):
    """What a report is made of; see :class:`~gradatim.workflows.mine_result.MineResult`."""

    @property
    def scores(self) -> "pd.DataFrame": ...  # noqa: D102
    @property
    def skipped(self) -> "pd.DataFrame": ...  # noqa: D102
    @property
    def short(self) -> "pd.DataFrame": ...  # noqa: D102
    @property
    def sample(self) -> "pd.DataFrame": ...  # noqa: D102
    @property
    def notes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def seconds(self) -> float: ...  # noqa: D102
    @property
    def source(self) -> str: ...  # noqa: D102
    def sentence(self) -> str: ...  # noqa: D102
    def figure(self) -> "Figure": ...  # noqa: D102


def render_page(result: MinedNegatives) -> str:
    """The whole page."""
    label = "Scores of positives and negatives"
    body = [f"<h1>Hard negatives</h1><p class='quiet'>{escape(result.source)}</p>"]
    body.append(render_tables(result))
    body.append(f"<h2>Scores</h2>{to_svg(result.figure(), label)}")
    body.append(html_table(*score_rows(result.scores)))
    body.append(
        "<p class='quiet'>Differences are between a negative and the lowest positive of its "
        "query.</p>"
    )
    if len(result.short):
        body.append("<h2>Queries with fewer negatives</h2>")
        body.append(html_table(*short_rows(result.short, SHOWN_SHORT)))
        if len(result.short) > SHOWN_SHORT:
            body.append(f"<p class='quiet'>and {len(result.short) - SHOWN_SHORT:,} more</p>")
    body.append(f"<p class='quiet'>All took {result.seconds:.1f} seconds.</p>")
    return html_page("Hard negatives", "".join(body))


def render_tables(result: MinedNegatives) -> str:
    """What was passed over, notes, and a sample."""
    body = [f"<p>{escape(result.sentence())}.</p>"]
    if len(result.skipped):
        body.append(f"<h2>Passed over</h2>{html_table(*skipped_rows(result.skipped))}")
    body.append(html_notes(result.notes))
    body.append(f"<h2>A sample</h2>{html_table(*sample_rows(result.sample, _WIDEST))}")
    return "".join(body)


def skipped_rows(skipped: "pd.DataFrame") -> Rows:
    """Heads, rows and the numeric columns of the table of reasons, ready to be set."""
    rows: list[tuple[str, ...]] = [
        (str(row["told"]), f"{row['candidates']:,}", f"{row['share']:.1%}", f"{row['queries']:,}")
        for row in skipped.to_dict("records")
    ]
    return ("Candidate", "Passed over", "Share", "Of queries"), rows, {1, 2, 3}


def score_rows(scores: "pd.DataFrame") -> Rows:
    """The same of the table of scores."""
    rows: list[tuple[str, ...]] = []
    for row in scores.to_dict("records"):
        values = [float(row[name]) for name in ("positive", "negative", "difference")]
        told = [f"{one:,.0f}" if row["metric"] == "count" else fixed(one) for one in values]
        rows.append((str(row["metric"]), *told))
    return ("", "Positive", "Negative", "Difference"), rows, {1, 2, 3}


def short_rows(short: "pd.DataFrame", count: int) -> Rows:
    """The same of queries that have too few negatives, the first ones."""
    rows: list[tuple[str, ...]] = [
        (_cut(str(row["query"]), _WIDEST), str(row["negatives"]), str(row["why"]))
        for row in short.head(count).to_dict("records")
    ]
    return ("Query", "Negatives", "Why"), rows, {1}


def sample_rows(sample: "pd.DataFrame", widest: int) -> Rows:
    """The same of the sample; a query stands before its first document."""
    doubted = bool(sample["false_negative"].notna().any())
    rows: list[tuple[str, ...]] = []
    last = None
    for row in sample.to_dict("records"):
        query = "" if row["query"] == last else _cut(str(row["query"]), widest)
        last = row["query"]
        cells = (query, str(row["kind"]), _cut(str(row["document"]), widest), fixed(row["score"]))
        doubt = float(row["false_negative"])
        more = (("" if math.isnan(doubt) else f"{doubt:.1%}"),) if doubted else ()
        rows.append((*cells, *more))
    heads = ("Query", "", "Document", "Score", *(("Relevant?",) if doubted else ()))
    return heads, rows, set(range(3, len(heads)))


def _cut(text: str, widest: int) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= widest else f"{plain[: widest - 1]}\u2026"
