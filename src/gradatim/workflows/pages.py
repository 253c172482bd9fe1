"""The pages that workflows write: self-contained HTML, no scripts, nothing fetched."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

Rows = tuple[tuple[str, ...], list[tuple[str, ...]], set[int]]
"""Heads, rows, and which columns are numbers: a table, ready to be set."""

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


def html_page(title: str, body: str) -> str:
    """One self-contained page around a body."""
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<meta name='generator' content='gradatim'><title>{escape(title)}</title>"
        f"<style>{_STYLE}</style></head><body>{body}</body></html>\n"
    )


def html_notes(notes: Iterable[str]) -> str:
    """Notes, a paragraph each."""
    return "".join(f"<p class='quiet'>Note: {escape(note)}.</p>" for note in notes)


def html_costs(costs: Iterable[str], seconds: float) -> str:
    """What was computed, as it was told beforehand, and how long all took."""
    lines = "".join(f"<li>{escape(line)}</li>" for line in costs)
    return (
        f"<h2>What was computed</h2><ul>{lines}</ul>"
        f"<p class='quiet'>All took {seconds:.1f} seconds.</p>"
    )


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


def interval_text(estimate: float, low: float, high: float, *, sign: bool = False) -> str:
    """An estimate with its interval.

    >>> interval_text(0.5, 0.25, 0.75), interval_text(0.1, float("nan"), 0.0, sign=True)
    ('0.500 [0.250, 0.750]', '+0.100')
    """
    text = fixed(estimate, sign=sign)
    if math.isnan(low) or math.isnan(high):
        return text
    return f"{text} [{fixed(low, sign=sign)}, {fixed(high, sign=sign)}]"


def fixed(value: float, *, sign: bool = False) -> str:
    """A number with three decimals, a dash where there is none.

    >>> fixed(0.12345), fixed(float("nan"))
    ('0.123', '–')
    """
    if math.isnan(value):
        return "\u2013"
    rounded = round(value, 3) + 0.0
    return f"{rounded:{'+' if sign and rounded else ''}.3f}".replace("-", "\u2212")
