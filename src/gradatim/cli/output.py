"""Printing: tables that fit a terminal, whole plain text where there is none, and JSON."""

import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import typer

from gradatim.core.errors import GradatimError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console
    from rich.text import Text

    from gradatim.studies.tables import Table
    from gradatim.workflows.pages import Rows

GAP = 2
"""Blanks between the columns of a table on a terminal, of which its frame has one."""

NARROWEST = 12

STYLES = {"shown": "green", "contradicted": "red", "equivalent": "blue", "inconclusive": "yellow"}


_HANGING = re.compile(r"\s*(?:- |\S+(?: \S+)?  +)?")


def print_table(table: "Table", console: "Console | None" = None) -> None:
    """Print a table: on a terminal within its width, elsewhere as plain text, nothing cut off.

    Cells of several lines are one line in plain text.
    """
    from rich.console import Console

    console = console or Console()
    if console.is_terminal:
        console.print(_rich(table, console.width))
    else:
        for line in plain_lines(table):
            typer.echo(line)


def print_parts(
    parts: Iterable[tuple[str, "Rows"]],
    yielding: Callable[[tuple[str, ...]], int] = lambda heads: 0,
) -> None:
    """Print tables, each under its title, those without rows left out.

    Args:
        parts: titles, and heads, rows and numeric columns.
        yielding: from the heads, which column gives way on a narrow terminal.
    """
    from gradatim.studies.tables import Table

    for title, (heads, rows, numeric) in parts:
        if rows:
            typer.echo(f"\n{title}")
            told = frozenset(numeric)
            print_table(Table(title, heads, tuple(rows), told, yielding=yielding(heads)))


def print_end(notes: Iterable[str], written: "Path | None") -> None:
    """Print notes, and where the result was written to."""
    typer.echo("")
    print_wrapped([f"note: {note}" for note in notes])
    if written is not None:
        typer.echo(f"written: {written}")


def plain_lines(table: "Table") -> list[str]:
    """A table as lines of aligned text.

    >>> from gradatim.studies.tables import Table
    >>> plain_lines(Table("", ("Arm", "loss"), (("elr", "10.5"), ("none", "9.0")), frozenset({1})))
    ['Arm   loss', 'elr   10.5', 'none   9.0']
    """
    rows = [[cell.replace("\n", " ") for cell in row] for row in (table.columns, *table.rows)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(table.columns))]
    return [
        "  ".join(
            cell.rjust(width) if place in table.numeric else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def print_wrapped(lines: Iterable[str]) -> None:
    """Print lines, wrapped to a terminal's width; where there is none they stay whole.

    What is wrapped goes on below the first word, or below the first after a "- " or a label.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    for line in lines:
        indent = " " * len(_HANGING.match(line)[0])  # type: ignore[index]  # may match nothing
        wrapped = textwrap.wrap(line, width, subsequent_indent=indent) if width else [line]
        for part in wrapped or [""]:
            typer.echo(part)


def print_json(value: Any) -> None:
    """Print plain values as JSON."""
    from gradatim.studies.exports import to_json

    typer.echo(to_json(value))


def end_with(problems: Sequence[GradatimError]) -> None:
    """Tell each problem in a line of its own, and end with code 2 if there are any."""
    for problem in problems:
        typer.echo(f"error: {' '.join(str(problem).split())}", err=True)
    if problems:
        raise typer.Exit(2)


def _rich(table: "Table", width: int) -> Any:
    """The table with its yielding column as wide as the others leave room for."""
    from rich import box
    from rich.table import Table as RichTable

    widths = [
        max(len(line) for row in (table.columns, *table.rows) for line in row[place].split("\n"))
        for place in range(len(table.columns))
    ]
    room = width - sum(widths) + widths[table.yielding] - GAP * (len(widths) - 1)
    widths[table.yielding] = max(min(room, widths[table.yielding]), NARROWEST)
    drawn = RichTable(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, GAP - 1, 0, 0),
        header_style="bold",
    )
    for place, name in enumerate(table.columns):
        one_line = place != table.yielding or name == "Title"
        drawn.add_column(
            name,
            justify="right" if place in table.numeric else "left",
            no_wrap=one_line,
            overflow="ellipsis" if one_line else "fold",
            width=widths[place],
        )
    for row in table.rows:
        drawn.add_row(*map(_colored, row))
    return drawn


def _colored(cell: str) -> "Text":
    """A cell, coloured where it is a verdict."""
    from rich.text import Text

    from gradatim.studies.tables import MARKS

    text = Text(cell)
    for status, mark in MARKS.items():
        text.highlight_regex(
            rf"{'[?]' if mark == '?' else mark} [^\n]*{status}[^\n,]*", STYLES[status]
        )
    return text
