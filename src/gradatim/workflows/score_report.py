"""The report of scores: what was measured, how it is spread, examples, and how measures agree."""

import math
from html import escape
from typing import TYPE_CHECKING, Protocol

from gradatim.workflows.figure_style import to_svg
from gradatim.workflows.pages import (
    Rows,
    html_costs,
    html_notes,
    html_page,
    html_table,
    interval_text,
)
from gradatim.workflows.score_figure import (
    Scored,
    draw_agreement,
    draw_histograms,
    draw_scatter,
)
from gradatim.workflows.score_summary import bars, histogram

if TYPE_CHECKING:
    import pandas as pd

MOST_TABLED = 14
"""Measures up to which the table of correlations is set beside its picture."""


class Reported(Scored, Protocol):
    """What a report is made of; see :class:`~gradatim.workflows.score_result.ScoreResult`."""

    @property
    def measures(self) -> "pd.DataFrame": ...  # noqa: D102
    @property
    def deciles(self) -> "pd.DataFrame": ...  # noqa: D102
    @property
    def failures(self) -> str | None: ...  # noqa: D102
    @property
    def costs(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def seconds(self) -> float: ...  # noqa: D102
    @property
    def notes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def layout(self) -> str: ...  # noqa: D102
    @property
    def source(self) -> str: ...  # noqa: D102
    def __len__(self) -> int: ...


def render_scores(result: Reported) -> str:
    """The whole page."""
    body = [
        "<h1>Which examples are hard?</h1>",
        f"<p class='quiet'>{escape(result.source)}</p>",
        render_overview(result),
        "<h2>How the measures are spread</h2>",
        to_svg(draw_histograms(result), "Histogram of each measure"),
        "<h2>Examples from easy to hard</h2>",
    ]
    for name in sorted(result.names, key=lambda one: one != result.measure):
        rows = decile_rows(result.deciles, name)
        opened = " open" if name == result.measure else ""
        body.append(
            f"<details{opened}><summary>{escape(name)}</summary>{html_table(*rows)}</details>"
        )
    body += _compared(result)
    body.append(html_costs(result.costs, result.seconds))
    return html_page("Which examples are hard?", "".join(body))


def render_overview(result: Reported) -> str:
    """Rows, measures and notes."""
    body = [html_table(("", ""), overview(result), set())]
    body.append(f"<h2>Measures</h2>{html_table(*measure_rows(result))}")
    body.append(
        "<p class='quiet'>Every measure is higher where a row is harder; the column "
        f"<code>difficulty</code> holds {escape(result.measure)}.</p>"
    )
    body.append(html_notes(result.notes))
    return "".join(body)


def overview(result: Reported) -> list[tuple[str, str]]:
    """What was scored, in words."""
    found = [("rows", f"{len(result):,}"), ("text", result.layout)]
    if result.foretelling is not None and len(result.foretelling):
        best = result.foretelling.iloc[0]
        if math.isfinite(best["auroc"]):
            area = interval_text(best["auroc"], best["low"], best["high"])
            found.append(("foretells failures best", f"{best['measure']}, area {area}"))
    return found


def measure_rows(result: Reported) -> Rows:
    """A row a measure, with its histogram in a line."""
    rows: list[tuple[str, ...]] = []
    for row in result.measures.to_dict("records"):
        counts, _ = histogram(result.values(row["measure"]))
        numbers = (_short(row[one]) for one in ("low", "median", "high"))
        rows.append(
            (row["measure"], f"{row['rows']:,}", *numbers, bars(counts), f"{row['meaning']}")
        )
    heads = ("Measure", "Rows", "Lowest", "Median", "Highest", "Histogram", "Higher where")
    return heads, rows, {1, 2, 3, 4}


def decile_rows(deciles: "pd.DataFrame", name: str, width: int | None = None) -> Rows:
    """Examples of one measure from the easiest to the hardest."""
    rows: list[tuple[str, ...]] = []
    for row in deciles[deciles["measure"] == name].to_dict("records"):
        text = str(row["text"])
        if width is not None and len(text) > width:
            text = f"{text[: width - 1]}…"
        rows.append((f"{row['decile'] * 10}%", _short(row["value"]), f"{row['row']:,}", text))
    return ("Harder than", name, "Row", "Example"), rows, {0, 1, 2}


def agreement_rows(agreement: "pd.DataFrame") -> Rows:
    """The matrix of rank correlations."""
    names = [str(name) for name in agreement.columns]
    rows: list[tuple[str, ...]] = [
        (name, *map(_correlation, agreement.loc[name].to_numpy(dtype=float))) for name in names
    ]
    return ("", *names), rows, set(range(1, len(names) + 1))


def foretelling_rows(table: "pd.DataFrame") -> Rows:
    """A row a measure: the area under its ROC curve."""
    rows: list[tuple[str, ...]] = [
        (
            row["measure"],
            interval_text(row["auroc"], row["low"], row["high"]),
            f"{row['rows']:,}",
            "yes" if row["knows"] else "no",
        )
        for row in table.to_dict("records")
    ]
    return ("Measure", "Area [95%]", "Rows", "Knows the answer"), rows, {1, 2}


def _compared(result: Reported) -> list[str]:
    if result.agreement is None:
        return []
    body = [
        "<h2>How the measures agree</h2>",
        to_svg(draw_agreement(result), "Rank correlations, and what foretells failures"),
    ]
    if len(result.names) <= MOST_TABLED:
        body.append(html_table(*agreement_rows(result.agreement)))
    scatter = draw_scatter(result)
    if scatter is not None:
        body.append(to_svg(scatter, "Measures against one another"))
    body.append("<h2>What foretells failures</h2>")
    if result.foretelling is None:
        body.append("<p>Nothing is known of failures: give labels, attempts or responses.</p>")
        return body
    body.append(html_table(*foretelling_rows(result.foretelling)))
    body.append(
        f"<p class='quiet'>Failures: {escape(result.failures or '')}; no measure has seen them. "
        "0.5 is chance; below it, what the measure calls easy fails more often. A measure that "
        "knows the answer has an easier task than one that can be told beforehand.</p>"
    )
    return body


def _correlation(value: float) -> str:
    return "\u2013" if math.isnan(value) else f"{value:+.2f}".replace("-", "\u2212")


def _short(value: float) -> str:
    return "\u2013" if math.isnan(value) else f"{value:.4g}".replace("-", "\u2212")
