"""Arguments and options that several commands share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import gradatim
from gradatim.core.errors import InputError, nearest_names

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Results = Annotated[
    Path | None,
    typer.Option(
        "--results",
        metavar="DIR",
        help="Folder with results; by default ./results, else those that came with gradatim.",
    ),
]

BudgetName = Annotated[
    str, typer.Option("--budget", metavar="smoke|demo|full", help="Whose results: of which budget.")
]


def results_folder(chosen: Path | None) -> Path:
    """The results folder to read.

    Raises:
        InputError: the one that was named is not there.
    """
    if chosen is None:
        return default_results()
    if not chosen.is_dir():
        raise InputError(f"--results {chosen}: there is no such folder")
    return chosen


def default_results() -> Path:
    """The results folder to read: ``./results`` if there is one, else what gradatim came with.

    An installed package carries its results in itself; in a checkout they stand beside ``src``.
    """
    here = Path("results")
    if here.is_dir():
        return here
    package = Path(gradatim.__path__[0])
    shipped = package / "results"
    checkout = package.parent.parent / "results"
    return shipped if shipped.is_dir() or not checkout.is_dir() else checkout


def check_option(name: str, value: str | None, choices: Sequence[str]) -> None:
    """Check that an option's value is one of several, or not given.

    Raises:
        InputError: it is another; the nearest is told.

    >>> check_option("--format", "htm", ("html", "csv"))
    Traceback (most recent call last):
    gradatim.core.errors.InputError: --format: expected html or csv, got 'htm'. Did you mean html?
    """
    if value is not None and value not in choices:
        expected = f"{', '.join(choices[:-1])} or {choices[-1]}"
        near = nearest_names(value, choices)
        raise InputError(f"{name}: expected {expected}, got {value!r}.{near}".removesuffix("."))
