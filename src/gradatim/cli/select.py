"""``gradatim select``: choose rows of a pool under a budget, with reasons."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradatim.cli.options import AsJson
from gradatim.core.errors import InputError

if TYPE_CHECKING:
    from gradatim.workflows.select_result import SelectResult

SHOWN = 5

Pool = Annotated[Path, typer.Argument(metavar="POOL", help="Table: Parquet, CSV or JSON Lines.")]
Count = Annotated[
    int, typer.Option("--budget", metavar="N", help="Rows to choose, or responses to sample.")
]
By = Annotated[
    str | None, typer.Option(metavar="COL", help="Difficulty: numbers, or easy, medium, hard.")
]
Method = Annotated[
    str,
    typer.Option(metavar="top|uniform|stratified|prop2diff|robust|k-center", help="How to choose."),
]
StrataOption = Annotated[
    str | None,
    typer.Option("--strata", metavar="COL|K", help="Column of labels, or a number of strata."),
]
Shares = Annotated[
    str | None,
    typer.Option(metavar="NAME=X[,NAME=X]", help="Shares of strata, as easy=1,hard=3."),
]
NumWrong = Annotated[
    int | None, typer.Option(metavar="M", help="robust: wrong labels of the pool.")
]
Accuracy = Annotated[
    float | None, typer.Option(metavar="A", help="robust: how often the teacher is right.")
]
Features = Annotated[
    str | None, typer.Option(metavar="COL[,COL]", help="k-center: columns to tell distances by.")
]
Unit = Annotated[
    str, typer.Option(metavar="rows|responses", help="What the budget counts; see below.")
]
MaxTrials = Annotated[
    int | None, typer.Option(metavar="N", help="responses: trials of one row at most.")
]
Seed = Annotated[int, typer.Option(metavar="N", help="Of the draws.")]
Out = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Where to write the rows (.parquet, .csv, ...).")
]
Report = Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write a report, HTML.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that stand there.")]


def select(
    pool: Pool,
    budget: Count,
    by: By = None,
    method: Method = "stratified",
    strata: StrataOption = None,
    shares: Shares = None,
    num_wrong: NumWrong = None,
    teacher_accuracy: Accuracy = None,
    features: Features = None,
    unit: Unit = "rows",
    max_trials: MaxTrials = None,
    seed: Seed = 0,
    out: Out = None,
    report: Report = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Choose which rows of a pool to label, or how many responses to sample for each.

    Every chosen row gets a reason in words and the probability it was chosen with. With --unit
    responses all rows are kept, and the column target says how many right responses each shall
    have (uniform or prop2diff).
    """
    from gradatim.core.files import check_writable
    from gradatim.core.io.table_files import file_format
    from gradatim.workflows.select import select as select_rows

    for path in (out, report):
        if path is not None:
            check_writable(path, overwrite=overwrite, inputs=[pool])
    if out is not None:
        file_format(out)
    result = select_rows(
        pool,
        budget,
        by=by,
        method=method,
        strata=int(strata) if strata is not None and strata.isdecimal() else strata,
        shares=parse_shares(shares),
        num_wrong=num_wrong,
        teacher_accuracy=teacher_accuracy,
        features=None if features is None else [one.strip() for one in features.split(",")],
        unit=unit,
        max_trials=max_trials,
        seed=seed,
    )
    if out is not None:
        result.save(out, overwrite=overwrite)
    if report is not None:
        result.report(report, overwrite=overwrite)
    present(result, [path for path in (out, report) if path is not None], as_json)


def parse_shares(text: str | None) -> dict[str, float] | None:
    """Shares as they are written on the command line.

    Raises:
        InputError: something that is not of the form name=number.

    >>> parse_shares("easy=1, hard=3")
    {'easy': 1.0, 'hard': 3.0}
    """
    if text is None:
        return None
    found = {}
    for part in text.split(","):
        name, equals, value = part.rpartition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals or not name.strip():
            raise InputError(f"--shares: expected as in easy=1,hard=3, got {part.strip()!r}")
    return found


def present(result: "SelectResult", written: list[Path], as_json: bool) -> None:
    """Print what was chosen of each stratum, notes, and the first rows if nothing was written."""
    from gradatim.cli.output import print_json, print_table
    from gradatim.studies.tables import Table
    from gradatim.workflows.select_report import first_rows, strata_rows

    if as_json:
        print_json(record(result, written))
        return
    typer.echo(f"{result.sentence()}\n")
    heads, rows, numeric = strata_rows(result)
    print_table(Table("Strata", heads, tuple(rows), frozenset(numeric)))
    typer.echo("")
    for note in result.notes:
        typer.echo(f"note: {note}")
    if written:
        for path in written:
            typer.echo(f"written: {path}")
        return
    heads, rows, numeric = first_rows(result.rows, SHOWN)
    print_table(Table("Rows", heads, tuple(rows), frozenset(numeric)))
    typer.echo("(the first rows; --out FILE writes all)")


def record(result: "SelectResult", written: list[Path]) -> dict[str, Any]:
    """The result as plain values; the rows themselves are left to ``--out``."""
    import json

    return {
        "source": result.source,
        "method": result.method,
        "budget": result.budget,
        "unit": result.unit,
        "by": result.by,
        "pool": result.size,
        "chosen": [int(row) for row in result.positions],
        "strata": json.loads(result.strata.to_json(orient="records")),
        "notes": list(result.notes),
        "written": [str(path) for path in written],
    }
