"""``gradatim score``: how hard each example of a data set is, by whatever measures it allows."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradatim.cli.options import AsJson

if TYPE_CHECKING:
    from gradatim.workflows.score_result import ScoreResult

SHOWN_TEXT = 90

Data = Annotated[
    Path, typer.Argument(metavar="DATA", help="Parquet, JSON Lines or CSV, or a sampler's log.")
]
Measure = Annotated[
    str,
    typer.Option(
        metavar="auto|NAME[,NAME]",
        help="words, length, steps, level; loss, perplexity, confidence, margin, entropy, tokens, "
        "preference (with --model); fail_rate; irt_1pl to irt_4pl, glicko, elo; oof_confidence, "
        "oof_margin, oof_entropy, disagreement, ensemble, mdl, el2n, forgetting, map_confidence, "
        "variability, correctness, aum (with --label).",
    ),
]
Model = Annotated[
    str | None, typer.Option(metavar="PATH|NAME", help="Language model: directory, .gguf, smollm2.")
]
Label = Annotated[str | None, typer.Option(metavar="COL", help="The class, or the answer.")]
Level = Annotated[str | None, typer.Option(metavar="COL", help="Level that people gave.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="COL", help="Question, text or input; may be repeated."),
]
Id = Annotated[str | None, typer.Option("--id", metavar="COL", help="Ids of your own.")]
Options = Annotated[
    str | None, typer.Option(metavar="COL", help="List of options, for multiple choice.")
]
Attempts = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Attempts: table (id, correct), or log of vLLM, lm-eval..."),
]
Responses = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Responses: subject, item, correct.")
]
Games = Annotated[Path | None, typer.Option(metavar="FILE", help="Games: player, opponent, score.")]
Encoder = Annotated[
    str, typer.Option(metavar="minilm|tfidf|PATH|none", help="What encodes text for classes.")
]
Samples = Annotated[
    int, typer.Option(metavar="N", help="Attempts at each, for fail_rate without --attempts.")
]
Longest = Annotated[int, typer.Option(metavar="N", help="Tokens of such an attempt at most.")]
Temperature = Annotated[float, typer.Option(metavar="T", help="Of sampling.")]
Compare = Annotated[
    bool, typer.Option("--compare", help="How measures agree, and which foretells failures.")
]
Out = Annotated[
    Path | None,
    typer.Option(metavar="FILE|DIR", help="Side table, or folder for it with report and picture."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that stand in --out.")]
BatchTokens = Annotated[int, typer.Option(metavar="N", help="Tokens that a model reads at once.")]
BlockRows = Annotated[
    int | None, typer.Option(metavar="N", help="Rows that are lost at most by a kill.")
]
Device = Annotated[str | None, typer.Option(metavar="NAME", help="Where the model runs: cuda:1.")]
AllowDownload = Annotated[
    bool, typer.Option("--allow-download", help="Download the model from the hub if need be.")
]
Seed = Annotated[int, typer.Option(metavar="N", help="Of folds and draws.")]


def score(
    data: Data,
    measure: Measure = "auto",
    model: Model = None,
    label: Label = None,
    level: Level = None,
    inputs: Inputs = None,
    identity: Id = None,
    options: Options = None,
    attempts: Attempts = None,
    responses: Responses = None,
    games: Games = None,
    encoder: Encoder = "minilm",
    samples: Samples = 8,
    longest: Longest = 256,
    temperature: Temperature = 0.7,
    compare: Compare = False,
    out: Out = None,
    overwrite: Overwrite = False,
    batch_tokens: BatchTokens = 8192,
    block_rows: BlockRows = None,
    device: Device = None,
    allow_download: AllowDownload = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Say how hard each example is, and write a side table; the data are never changed.

    DATA holds conversations (messages), prompts and completions, preference pairs, questions and
    answers, texts, or columns with a label. Killed with --out, the same command goes on where it
    was.
    """
    from gradatim.workflows.score import score as score_data
    from gradatim.workflows.score_job import NOTED

    with warnings.catch_warnings():
        for kind in NOTED:
            warnings.simplefilter("ignore", kind)
        try:
            result = score_data(
                data,
                measure=measure,
                model=model,
                label=label,
                level=level,
                input=inputs or None,
                id=identity,
                options=options,
                attempts=attempts,
                responses=responses,
                games=games,
                encoder=None if encoder == "none" else encoder,
                samples=samples,
                longest=longest,
                temperature=temperature,
                compare=compare,
                out=out,
                overwrite=overwrite,
                batch_tokens=batch_tokens,
                block_rows=block_rows,
                device=device,
                allow_download=allow_download,
                seed=seed,
                tell=lambda line: typer.echo(f"to do: {line}", err=True),
                progress=_tell_progress,
            )
        except KeyboardInterrupt:
            kept = "what was done is kept, the same command goes on" if out else "nothing is kept"
            typer.echo(f"\ninterrupted: {kept}", err=True)
            raise typer.Exit(130) from None
    present(result, out, as_json)


def _tell_progress(done: int, total: int, left: float) -> None:
    from gradatim.workflows.score_costs import duration

    if done < total:
        typer.echo(f"{done:,} of {total:,} rows, about {duration(left)} left", err=True)


def present(result: "ScoreResult", out: Path | None, as_json: bool) -> None:
    """Print the measures, examples from easy to hard, what was compared, and notes."""
    from gradatim.cli.output import print_end, print_json, print_parts
    from gradatim.workflows.score_report import (
        agreement_rows,
        decile_rows,
        foretelling_rows,
        measure_rows,
        overview,
    )

    if as_json:
        print_json(record(result, out))
        return
    for name, text in overview(result):
        typer.echo(f"{name}: {text}")
    parts = [
        ("Measures", measure_rows(result)),
        (
            f"From easy to hard by {result.measure}",
            decile_rows(result.deciles, result.measure, SHOWN_TEXT),
        ),
    ]
    if result.agreement is not None:
        parts.append(("Rank correlation (Spearman)", agreement_rows(result.agreement)))
    if result.foretelling is not None:
        title = f"What foretells failures ({result.failures})"
        parts.append((title, foretelling_rows(result.foretelling)))
    print_parts(parts, _yielding)
    print_end(result.notes, out)


def _yielding(heads: tuple[str, ...]) -> int:
    """The column that gives way on a narrow terminal: the last if it holds words."""
    return len(heads) - 1 if heads[-1] in ("Higher where", "Example") else 0


def record(result: "ScoreResult", out: Path | None) -> dict[str, Any]:
    """The result as plain values; the rows themselves are left to the side table."""
    import json

    found: dict[str, Any] = {}
    for name in ("measures", "deciles", "agreement", "foretelling"):
        table = getattr(result, name)
        orient = "index" if name == "agreement" else "records"
        found[name] = None if table is None else json.loads(table.to_json(orient=orient))
    return {
        "source": result.source,
        "rows": len(result),
        "layout": result.layout,
        "measure": result.measure,
        **found,
        "failures": result.failures,
        "costs": list(result.costs),
        "notes": list(result.notes),
        "written": None if out is None else str(out),
    }
