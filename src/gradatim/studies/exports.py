"""Tables and records as Markdown, LaTeX, CSV and JSON, and verdicts written into a README."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.core.errors import InputError
from gradatim.core.files import atomic_write, storage_error
from gradatim.studies.numbers import MINUS, UNKNOWN
from gradatim.studies.tables import Table, count_text, paper_table, verdict_table

if TYPE_CHECKING:
    from gradatim.studies.outcomes import Outcome

BEGIN, END = "<!-- verdicts -->", "<!-- /verdicts -->"


def to_markdown(table: Table) -> str:
    """Set a table in Markdown.

    >>> print(to_markdown(Table("", ("Arm", "loss"), (("a|b", "1.0"),), frozenset({1}))))
    | Arm | loss |
    |---|---:|
    | a\\|b | 1.0 |
    """
    rules = ("---:" if place in table.numeric else "---" for place in range(len(table.columns)))
    lines = [_markdown_row(table.columns), f"|{'|'.join(rules)}|"]
    return "\n".join(lines + [_markdown_row(row) for row in table.rows])


def verdict_markdown(outcomes: Sequence[Outcome]) -> str:
    """The verdicts as a Markdown table below a line that counts them."""
    return f"{count_text(outcomes)}.\n\n{to_markdown(verdict_table(outcomes))}"


def paper_markdown(outcomes: Sequence[Outcome]) -> str:
    """One row a paper as a Markdown table below a line that counts the verdicts, for a README."""
    return f"{count_text(outcomes)}.\n\n{to_markdown(paper_table(outcomes))}"


def to_latex(table: Table) -> str:
    r"""Set a table in LaTeX, for the package booktabs.

    >>> print(to_latex(Table("", ("Arm", "loss"), (("a_b", "1.0 ± 0.1"),), frozenset({1}))))
    \begin{tabular}{lr}
    \toprule
    Arm & loss \\
    \midrule
    a\_b & 1.0 $\pm$ 0.1 \\
    \bottomrule
    \end{tabular}
    """
    sides = "".join("r" if place in table.numeric else "l" for place in range(len(table.columns)))
    body = [rf"{' & '.join(map(_latex, row))} \\" for row in (table.columns, *table.rows)]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{sides}}}",
            r"\toprule",
            body[0],
            r"\midrule",
            *body[1:],
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def to_csv(records: Sequence[dict[str, Any]]) -> str:
    """Write records of equal keys as CSV with a header; None becomes an empty field.

    >>> print(to_csv([{"arm": "a, b", "mean": 0.5, "low": None}]))
    arm,mean,low
    "a, b",0.5,
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(records[0]) if records else [], lineterminator="\n")
    if records:
        writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue().rstrip("\n")


def to_json(value: Any) -> str:
    """Write plain values as readable JSON that every parser accepts (no NaN).

    >>> print(to_json({"estimate": None}))
    {
      "estimate": null
    }
    """
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)


def replace_between_markers(path: Path, text: str) -> None:
    """Put a text between ``<!-- verdicts -->`` and ``<!-- /verdicts -->`` of an existing file.

    All else in the file keeps its bytes, and the new file replaces the old one in one step.

    Raises:
        InputError: the file does not hold each marker exactly once, in this order: writing the
            table over it would lose what it holds.
        StorageError: it cannot be read or written.
    """
    try:
        old = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8 text, got other bytes") from error
    except OSError as error:
        raise storage_error("reading", path, error) from error
    first, last = old.find(BEGIN), old.find(END)
    if old.count(BEGIN) != 1 or old.count(END) != 1 or last < first:
        raise InputError(
            f"{path}: expected the markers {BEGIN} and {END} once each, in this order; the file is "
            "not touched, since the table would replace what it holds"
        )
    newline = "\r\n" if "\r\n" in old else "\n"
    lines = ["", *text.splitlines(), ""]
    new = old[: first + len(BEGIN)] + newline.join(lines) + old[last:]
    with atomic_write(path.resolve(), binary=True) as file:
        file.write(new.encode("utf-8"))


def _markdown_row(cells: Sequence[str]) -> str:
    escaped = (" ".join(cell.split()).replace("|", "\\|").replace("<", "&lt;") for cell in cells)
    return f"| {' | '.join(escaped)} |"


_LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    MINUS: "$-$",
    UNKNOWN: "--",
    "≈": r"$\approx$",
    "✓": r"$\checkmark$",
    "✗": r"$\times$",
    "<": r"$<$",
    ">": r"$>$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))
