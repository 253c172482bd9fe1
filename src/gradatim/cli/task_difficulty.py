"""``gradatim task-difficulty``: how hard a classification task is, before anything is trained."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradatim.cli.options import AsJson

if TYPE_CHECKING:
    from gradatim.workflows.task_difficulty_result import TaskDifficultyResult

SHOWN = 5

Data = Annotated[Path, typer.Argument(metavar="DATA", help="Table: Parquet, CSV or JSON Lines.")]
Label = Annotated[str, typer.Option(metavar="COL", help="The class.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="COL", help="An input; may be repeated. All others if none."),
]
Error = Annotated[float, typer.Option(metavar="RATE", help="Error rate that is to be reached.")]
Encoder = Annotated[
    str, typer.Option(metavar="minilm|tfidf|PATH|none", help="What encodes text columns.")
]
Exact = Annotated[
    bool, typer.Option("--exact/--no-exact", help="Compute the exact measure beside the bound.")
]
Seed = Annotated[int, typer.Option(metavar="N", help="Of samples and splits.")]
Out = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where to write report, picture and rows.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that stand in --out.")]


def task_difficulty(
    data: Data,
    label: Label,
    inputs: Inputs = None,
    error: Error = 0.01,
    encoder: Encoder = "minilm",
    exact: Exact = True,
    seed: Seed = 0,
    out: Out = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Say how many bits a learner must bring to a task, and how sure that figure is.

    DATA has one row an example. Nothing is trained: the intrinsic dimension of the rows and the
    distance between classes give a bound for learners of any kind, and a Gaussian process an exact
    figure for smooth functions.
    """
    from gradatim.workflows.task_difficulty import task_difficulty as measure
    from gradatim.workflows.task_difficulty_result import check_task_folder

    if out is not None:
        check_task_folder(out, overwrite=overwrite, inputs=[data])
    result = measure(
        data,
        label=label,
        input=inputs or None,
        error=error,
        encoder=None if encoder == "none" else encoder,
        exact=exact,
        seed=seed,
        tell=lambda line: typer.echo(f"to do: {line}", err=True),
    )
    if out is not None:
        result.save(out, overwrite=overwrite)
    present(result, out, as_json)


def present(result: "TaskDifficultyResult", out: Path | None, as_json: bool) -> None:
    """Print the sentence, findings, sensitivity, both measures by error, and notes."""
    from gradatim.cli.output import print_end, print_json, print_parts, print_wrapped
    from gradatim.workflows.task_difficulty_report import (
        curve_rows,
        enemy_rows,
        findings,
        published_rows,
        sensitivity_rows,
    )

    if as_json:
        print_json(record(result, out))
        return
    print_wrapped([result.sentence()])
    typer.echo("")
    for name, text in findings(result):
        typer.echo(f"{name}: {text}")
    parts = [
        ("Dimension and bound", sensitivity_rows(result.measured)),
        ("By error", curve_rows(result.measured)),
        ("Beside well-known data", published_rows(result.measured)),
    ]
    if result.rows is not None:
        parts.append(("Rows nearest to another class", enemy_rows(result.rows, SHOWN)))
    print_parts(parts)
    print_end(result.notes, out)


def record(result: "TaskDifficultyResult", out: Path | None) -> dict[str, Any]:
    """The result as plain values; the rows themselves are left to ``difficulty.parquet``."""
    import json

    from gradatim.studies.numbers import finite_or_none

    task = result.measured
    low, high = task.log10_range
    return {
        "source": result.source,
        "sentence": result.sentence(),
        "rows": task.n,
        "classes": task.classes,
        "features": task.features,
        "error": task.error,
        "dimension": finite_or_none(task.dimension.estimate),
        "margin": task.margin.distance,
        "margin_method": task.margin.method,
        "radius": task.radius,
        "log10_bits": finite_or_none(task.complexity.log10_bits),
        "log10_bits_low": finite_or_none(low),
        "log10_bits_high": finite_or_none(high),
        "sensitivity": json.loads(task.table().to_json(orient="records")),
        "curve": json.loads(task.curve().to_json(orient="records")),
        "notes": list(result.notes),
        "written": None if out is None else str(out),
    }
