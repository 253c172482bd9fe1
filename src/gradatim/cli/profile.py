"""``gradatim profile``: how hard each row of a table is, and how far easy training reaches."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradatim.cli.options import AsJson

if TYPE_CHECKING:
    from gradatim.workflows.profile_result import ProfileResult

SHOWN = 10

Data = Annotated[Path, typer.Argument(metavar="DATA", help="Table: Parquet, CSV or JSON Lines.")]
Label = Annotated[str, typer.Option(metavar="COL", help="The class, or the right option.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="COL", help="An input; may be repeated. All others if none."),
]
Options = Annotated[
    str | None, typer.Option(metavar="COL", help="List of options, for multiple choice.")
]
Level = Annotated[str | None, typer.Option(metavar="COL", help="Level that people gave.")]
Measure = Annotated[
    str,
    typer.Option(
        metavar="auto|NAME[,NAME]",
        help="level, length, mdl, confidence, margin, entropy, disagreement.",
    ),
]
HeadName = Annotated[
    str,
    typer.Option(
        "--head", metavar="probe|lora|in-context", help="What is trained: see docs/profile.md."
    ),
]
Model = Annotated[
    str | None,
    typer.Option(metavar="PATH|smollm2", help="Language model that lora and in-context need."),
]
Shots = Annotated[int, typer.Option(metavar="K", help="Rows that in-context shows.")]
Folds = Annotated[int, typer.Option(metavar="N", help="Folds of the out-of-fold predictions.")]
Draws = Annotated[int, typer.Option(metavar="N", help="Draws of the matrix.")]
MostTrained = Annotated[
    int | None,
    typer.Option(metavar="N", help="Rows a model is trained on at most; 400, with lora 160."),
]
MostTested = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Rows of a stratum tested in a draw at most; 1000, of a model 100."
    ),
]
Encoder = Annotated[
    str, typer.Option(metavar="minilm|tfidf|PATH|none", help="What encodes text columns.")
]
Test = Annotated[Path | None, typer.Option(metavar="FILE", help="Table to test on.")]
Seed = Annotated[int, typer.Option(metavar="N", help="Of folds and draws.")]
Out = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where to write report, picture and rows.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that stand in --out.")]


def profile(
    data: Data,
    label: Label,
    inputs: Inputs = None,
    options: Options = None,
    level: Level = None,
    measure: Measure = "auto",
    head: HeadName = "probe",
    model: Model = None,
    shots: Shots = 10,
    encoder: Encoder = "minilm",
    test: Test = None,
    folds: Folds = 5,
    draws: Draws = 10,
    most_trained: MostTrained = None,
    most_tested: MostTested = None,
    seed: Seed = 0,
    out: Out = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Say how hard each row is, which labels are probably wrong, and how far easy training reaches.

    DATA has one row an example. Text is read by the encoder, other columns by a preprocessor, and a
    linear probe is trained on both; or a language model reads the text, after LoRA fine-tuning or
    with some rows in its context. All figures are out-of-fold.
    """
    from gradatim.workflows.profile import profile as profile_table
    from gradatim.workflows.profile_result import check_profile_folder

    sources = [data] if test is None else [data, test]
    if out is not None:
        check_profile_folder(out, overwrite=overwrite, inputs=sources)
    result = profile_table(
        data,
        label=label,
        input=inputs or None,
        options=options,
        level=level,
        measure=measure,
        head=head,
        model=model,
        shots=shots,
        encoder=None if encoder == "none" else encoder,
        test=test,
        folds=folds,
        draws=draws,
        most_trained=most_trained,
        most_tested=most_tested,
        seed=seed,
        tell=lambda line: typer.echo(f"to do: {line}", err=True),
    )
    if out is not None:
        result.save(out, overwrite=overwrite)
    present(result, out, as_json)


def present(result: "ProfileResult", out: Path | None, as_json: bool) -> None:
    """Print findings, segments, label errors, the matrix, measures and notes."""
    from gradatim.cli.output import print_end, print_json, print_parts
    from gradatim.workflows.profile_report import (
        error_rows,
        findings,
        matrix_rows,
        measure_rows,
        segment_rows,
    )

    if as_json:
        print_json(record(result, out))
        return
    for name, text in findings(result):
        typer.echo(f"{name}: {text}")
    parts = [
        ("Hardest segments", segment_rows(result.segments)),
        ("Likeliest label errors", error_rows(result.label_errors, SHOWN)),
        ("Measures", measure_rows(result.measures)),
    ]
    if result.matrix is not None:
        parts.insert(0, ("Accuracy", matrix_rows(result.matrix)))
    print_parts(parts)
    print_end(result.notes, out)


def record(result: "ProfileResult", out: Path | None) -> dict[str, Any]:
    """The result as plain values; the rows themselves are left to ``difficulty.parquet``."""
    import dataclasses
    import json

    from gradatim.studies.numbers import finite_or_none

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(one) for name, one in value.items()}
        return finite_or_none(value) if isinstance(value, float) else value

    tables = ("measures", "strata", "segments", "label_errors", "curve", "matrix", "noise")
    found: dict[str, Any] = {}
    for name in tables:
        table = getattr(result, name)
        found[name] = None if table is None else json.loads(table.to_json(orient="records"))
    for name in ("gap", "crossing"):
        value = getattr(result, name)
        found[name] = None if value is None else plain(dataclasses.asdict(value))
    return {
        "source": result.source,
        "measure": result.measure,
        "accuracy": list(result.accuracy),
        "kinds": result.kinds,
        "baseline": result.baseline,
        **found,
        "notes": list(result.notes),
        "written": None if out is None else str(out),
    }
