"""The report of re-ranking: one self-contained HTML page."""

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

from gradatim.workflows.rerank_figure import draw_curves, to_svg, words

if TYPE_CHECKING:
    import pandas as pd

SHOWN_UNPARSABLE = 20
SHOWN_CHOICES = 10

_STYLE = """
body { margin: 0 auto; max-width: 68em; padding: 2.5rem 1.5rem 4rem; background: #fff;
  color: #1d2430; font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.9rem; margin: 0 0 .4rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .8rem; }
table { border-collapse: collapse; font-size: .94rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem 1.4rem .35rem 0; font-weight: 400;
  border-bottom: 1px solid #d5dae2; overflow-wrap: anywhere; }
thead th { color: #5d6777; font-size: .875rem; border-bottom: 1.5px solid #1d2430; }
.number { text-align: right; white-space: nowrap; } .wide { overflow-x: auto; }
.quiet { color: #5d6777; font-size: .9rem; } svg { width: 100%; height: auto; }
"""


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
        body.append(to_svg(draw_curves(result.curve)))
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


def html_page(title: str, body: str) -> str:
    """One self-contained page around a body."""
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<meta name='generator' content='gradatim'><title>{escape(title)}</title>"
        f"<style>{_STYLE}</style></head><body>{body}</body></html>\n"
    )


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
    body += [f"<p class='quiet'>Note: {escape(note)}.</p>" for note in result.notes]
    return "".join(body)


def accuracy_rows(
    accuracy: "pd.DataFrame",
) -> tuple[tuple[str, ...], list[tuple[str, ...]], set[int]]:
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
) -> tuple[tuple[str, ...], list[tuple[str, ...]], set[int]]:
    """Heads, rows and the numeric columns of pass@k: a row a level, a column a k."""
    ks = list(dict.fromkeys(table["k"]))
    rows: list[tuple[str, ...]] = [
        (str(level), *(_fixed(value) for value in part["pass_at_k"]))
        for level, part in table.groupby("level", sort=False)
    ]
    return ("Level", *(f"pass@{k}" for k in ks)), rows, set(range(1, len(ks) + 1))


def interval_text(estimate: float, low: float, high: float, *, sign: bool = False) -> str:
    """An estimate with its interval.

    >>> interval_text(0.5, 0.25, 0.75), interval_text(0.1, float("nan"), 0.0, sign=True)
    ('0.500 [0.250, 0.750]', '+0.100')
    """
    text = _fixed(estimate, sign=sign)
    if math.isnan(low) or math.isnan(high):
        return text
    return f"{text} [{_fixed(low, sign=sign)}, {_fixed(high, sign=sign)}]"


def _fixed(value: float, *, sign: bool = False) -> str:
    if math.isnan(value):
        return "\u2013"
    rounded = round(value, 3) + 0.0
    return f"{rounded:{'+' if sign and rounded else ''}.3f}".replace("-", "\u2212")


def html_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], numeric: set[int]) -> str:
    """A table of HTML; the numbers of its numeric columns are set flush right."""

    def cells(tag: str, row: Sequence[Any]) -> str:
        return "".join(
            f"<{tag}{' class=number' if place in numeric else ''}>{escape(str(cell))}</{tag}>"
            for place, cell in enumerate(row)
        )

    head = f"<thead><tr>{cells('th', columns)}</tr></thead>" if any(columns) else ""
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<div class='wide'><table>{head}<tbody>{body}</tbody></table></div>"
