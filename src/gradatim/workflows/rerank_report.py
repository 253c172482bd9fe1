"""The report of re-ranking: one self-contained HTML page."""

from html import escape
from typing import TYPE_CHECKING, Protocol

from gradatim.workflows.figure_style import to_svg
from gradatim.workflows.pages import Rows, fixed, html_notes, html_page, html_table, interval_text
from gradatim.workflows.rerank_figure import draw_curves, words

if TYPE_CHECKING:
    import pandas as pd

SHOWN_UNPARSABLE = 20
SHOWN_CHOICES = 10


class Counted(Protocol):
    """Counts in words."""

    def lines(self) -> list[tuple[str, str]]:
        """What was counted, and how many."""


class Reranked(Protocol):
    """What a report is made of; see :class:`~gradatim.workflows.rerank_result.RerankResult`."""

    @property
    def choices(self) -> "pd.DataFrame": ...  # noqa: D102
    @property
    def accuracy(self) -> "pd.DataFrame | None": ...  # noqa: D102
    @property
    def pass_at_k(self) -> "pd.DataFrame | None": ...  # noqa: D102
    @property
    def curve(self) -> "pd.DataFrame | None": ...  # noqa: D102
    @property
    def counts(self) -> Counted: ...  # noqa: D102
    @property
    def notes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def unparsable(self) -> "pd.DataFrame": ...  # noqa: D102
    @property
    def source(self) -> str: ...  # noqa: D102


def render_page(result: Reranked) -> str:
    """The whole page."""
    body = [f"<h1>Re-ranked candidates</h1><p class='quiet'>{escape(result.source)}</p>"]
    body.append(render_tables(result))
    if result.curve is not None:
        body.append("<h2>Accuracy over the number of candidates</h2>")
        body.append(to_svg(draw_curves(result.curve), "Accuracy over the number of candidates"))
        body.append(
            "<p class='quiet'>Bands: 95% intervals over problems. Best of N and the oracle are "
            "exact, votes are means over random subsets of the candidates.</p>"
        )
    if result.pass_at_k is not None:
        body.append(f"<h2>pass@k</h2>{html_table(*pass_at_k_rows(result.pass_at_k))}")
    if len(result.unparsable):
        shown = result.unparsable.head(SHOWN_UNPARSABLE)
        rows = [tuple(map(str, row)) for row in shown.itertuples(index=False)]
        body.append("<h2>Candidates without a readable answer</h2>")
        body.append(html_table(("Problem", "Row", "What stood there"), rows, {1}))
        if len(result.unparsable) > len(shown):
            body.append(f"<p class='quiet'>and {len(result.unparsable) - len(shown):,} more</p>")
    return html_page("Re-ranked candidates", "".join(body))


def render_tables(result: Reranked) -> str:
    """Accuracies, counts and notes (and the first choices if nothing is known of correctness)."""
    body = []
    if result.accuracy is not None:
        body.append(f"<h2>Accuracy</h2>{html_table(*accuracy_rows(result.accuracy))}")
    else:
        shown = result.choices.head(SHOWN_CHOICES)
        rows = [tuple(map(str, row)) for row in shown.itertuples(index=False)]
        body.append(f"<h2>Choices</h2>{html_table(tuple(map(str, shown.columns)), rows, set())}")
    body.append(f"<h2>What was there</h2>{html_table(('', ''), result.counts.lines(), {1})}")
    body.append(html_notes(result.notes))
    return "".join(body)


def accuracy_rows(
    accuracy: "pd.DataFrame",
) -> Rows:
    """Heads, rows and the numeric columns of the table of accuracies, ready to be set."""
    rows: list[tuple[str, ...]] = []
    for row in accuracy.to_dict("records"):
        difference = interval_text(
            row["difference"], row["difference_low"], row["difference_high"], sign=True
        )
        cells = (words(row["rule"]), interval_text(row["accuracy"], row["low"], row["high"]))
        rows.append((str(row["level"]), str(row["problems"]), *cells, difference))
    heads = ("Level", "Problems", "Rule", "Accuracy [95% interval]", "Minus majority [95%]")
    return heads, rows, {1, 3, 4}


def pass_at_k_rows(
    table: "pd.DataFrame",
) -> Rows:
    """Heads, rows and the numeric columns of pass@k: a row a level, a column a k."""
    ks = list(dict.fromkeys(table["k"]))
    rows: list[tuple[str, ...]] = [
        (str(level), *(fixed(value) for value in part["pass_at_k"]))
        for level, part in table.groupby("level", sort=False)
    ]
    return ("Level", *(f"pass@{k}" for k in ks)), rows, set(range(1, len(ks) + 1))
