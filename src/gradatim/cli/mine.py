"""``gradatim mine``: hard negatives for pairs of queries and positives."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from gradatim.cli.options import AsJson

if TYPE_CHECKING:
    from gradatim.workflows.mine_result import MineResult

WIDEST = 70

Pairs = Annotated[
    Path, typer.Argument(metavar="PAIRS", help="Queries and positives: Parquet, CSV, JSON Lines.")
]
Out = Annotated[Path, typer.Option(metavar="FILE", help="Where to write the rows (.parquet, ...).")]
Corpus = Annotated[Path | None, typer.Option(metavar="DOCS", help="Documents, with ids or not.")]
Queries = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Queries with ids, if PAIRS holds ids.")
]
Model = Annotated[
    str | None, typer.Option(metavar="DIR|NAME", help="A sentence-transformers model.")
]
QueryVectors = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Ready vectors (.npy), a row a row of PAIRS.")
]
DocumentVectors = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Ready vectors (.npy), a row a row of DOCS.")
]
Query = Annotated[str | None, typer.Option(metavar="COL", help="Its column; by default the first.")]
Positive = Annotated[
    str | None, typer.Option(metavar="COL", help="Its column; by default the second.")
]
AddPositives = Annotated[
    bool, typer.Option("--add-positives", help="Add positives that DOCS lacks.")
]
QueryPrompt = Annotated[
    str | None, typer.Option(metavar="TEXT", help="What stands before each query.")
]
DocumentPrompt = Annotated[
    str | None, typer.Option(metavar="TEXT", help="What stands before each document.")
]
CrossEncoder = Annotated[
    Path | None, typer.Option(metavar="DIR", help="A cross-encoder that scores candidates anew.")
]
Negatives = Annotated[int, typer.Option(metavar="N", help="Negatives of a query.")]
RangeMin = Annotated[int, typer.Option(metavar="N", help="Best candidates to pass over.")]
RangeMax = Annotated[
    int | None, typer.Option(metavar="N", help="Rank at which the window of candidates ends.")
]
AbsoluteMargin = Annotated[
    float | None, typer.Option(metavar="X", help="Score this much below the positive at least.")
]
RelativeMargin = Annotated[
    float | None, typer.Option(metavar="X", help="The same as a share: 0.05 is 5% below.")
]
MaxScore = Annotated[float | None, typer.Option(metavar="X", help="Highest score of a negative.")]
MinScore = Annotated[float | None, typer.Option(metavar="X", help="Lowest score of a negative.")]
Duplicates = Annotated[
    float | None,
    typer.Option(metavar="C", help="Cosine from which on two documents are the same."),
]
Sampling = Annotated[
    str, typer.Option(metavar="top|random|softmax", help="How to take from the window.")
]
Temperature = Annotated[float, typer.Option(metavar="T", help="Of softmax.")]
Similarity = Annotated[str, typer.Option(metavar="cosine|dot", help="What a score is.")]
Search = Annotated[
    str, typer.Option(metavar="exact|approximate", help="approximate is FAISS, recall measured.")
]
TargetRecall = Annotated[float, typer.Option(metavar="R", help="Of an approximate search.")]
FalseNegatives = Annotated[
    bool,
    typer.Option(
        "--false-negatives/--no-false-negatives",
        help="Estimate how likely each negative is relevant.",
    ),
]
Relevant = Annotated[
    float | None, typer.Option(metavar="N", help="Relevant documents a query; default 2x labelled.")
]
Judged = Annotated[float, typer.Option(metavar="N", help="Documents a query somebody looked at.")]
OutputFormat = Annotated[
    str,
    typer.Option(
        "--format", metavar="triplet|n-tuple|labeled-pair|labeled-list", help="Of the rows."
    ),
]
Scores = Annotated[bool, typer.Option("--scores", help="Put scores into the rows.")]
RequireAll = Annotated[
    bool, typer.Option("--require-all", help="Stop if a query has fewer negatives.")
]
BatchSize = Annotated[int, typer.Option(metavar="N", help="Texts at a time.")]
Device = Annotated[str | None, typer.Option(metavar="NAME", help="As cuda or cpu.")]
Cache = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where vectors are kept; resumes from there.")
]
Seed = Annotated[int, typer.Option(metavar="N", help="Of the draws.")]
Report = Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write a report, HTML.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that stand there.")]


def mine(
    pairs: Pairs,
    out: Out,
    corpus: Corpus = None,
    queries: Queries = None,
    model: Model = None,
    query_vectors: QueryVectors = None,
    document_vectors: DocumentVectors = None,
    query: Query = None,
    positive: Positive = None,
    add_positives: AddPositives = False,
    query_prompt: QueryPrompt = None,
    document_prompt: DocumentPrompt = None,
    cross_encoder: CrossEncoder = None,
    negatives: Negatives = 3,
    range_min: RangeMin = 0,
    range_max: RangeMax = None,
    absolute_margin: AbsoluteMargin = None,
    relative_margin: RelativeMargin = None,
    max_score: MaxScore = None,
    min_score: MinScore = None,
    duplicate_similarity: Duplicates = None,
    sampling: Sampling = "top",
    temperature: Temperature = 0.05,
    similarity: Similarity = "cosine",
    search: Search = "exact",
    target_recall: TargetRecall = 0.95,
    false_negatives: FalseNegatives = True,
    relevant_per_query: Relevant = None,
    judged_per_query: Judged = 10.0,
    output_format: OutputFormat = "triplet",
    scores: Scores = False,
    require_all: RequireAll = False,
    batch_size: BatchSize = 64,
    device: Device = None,
    cache: Cache = None,
    seed: Seed = 0,
    report: Report = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Find hard negatives: documents that rank high for a query and do not answer it.

    PAIRS has a query and a positive in each row. FILE can be trained on with sentence-transformers
    as it is; beside it, FILE's name with .side.parquet holds difficulty, the probability that a
    negative is relevant all the same, and weights. A job that was killed goes on where it ended.
    """
    from gradatim.core.files import check_writable
    from gradatim.workflows.mine import mine as mine_negatives
    from gradatim.workflows.mine_result import check_save, side_path

    inputs = [one for one in (pairs, corpus, queries) if one is not None]
    check_save(out, overwrite=overwrite, inputs=inputs)
    if report is not None:
        check_writable(report, overwrite=overwrite, inputs=inputs)
    result = mine_negatives(
        pairs,
        corpus=corpus,
        queries=queries,
        model=model,
        query_vectors=query_vectors,
        document_vectors=document_vectors,
        query=query,
        positive=positive,
        missing_positives="add" if add_positives else "error",
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        cross_encoder=cross_encoder,
        negatives=negatives,
        range_min=range_min,
        range_max=range_max,
        absolute_margin=absolute_margin,
        relative_margin=relative_margin,
        max_score=max_score,
        min_score=min_score,
        duplicate_similarity=duplicate_similarity,
        sampling=cast(Any, sampling),
        temperature=temperature,
        similarity=cast(Any, similarity),
        search=cast(Any, search),
        target_recall=target_recall,
        false_negatives=false_negatives,
        relevant_per_query=relevant_per_query,
        judged_per_query=judged_per_query,
        output_format=output_format,
        output_scores=scores,
        require_all=require_all,
        batch_size=batch_size,
        device=device,
        cache=cache,
        seed=seed,
        progress=tell if sys.stderr.isatty() else None,
    )
    result.save(out, overwrite=overwrite)
    written = [out, side_path(out)]
    if report is not None:
        written.append(result.report(report, overwrite=overwrite))
    present(result, written, as_json)


def tell(what: str, done: int, size: int) -> None:
    """A line of progress on the terminal, which the next one replaces."""
    typer.echo(f"\r{what}: {done:,} of {size:,}   ", err=True, nl=done >= size)


def present(result: "MineResult", written: list[Path], as_json: bool) -> None:
    """Print what was passed over and why, scores, notes, and a sample to look at."""
    from gradatim.cli.output import print_json, print_parts, print_wrapped
    from gradatim.workflows.mine_report import sample_rows, score_rows, short_rows, skipped_rows

    if as_json:
        print_json(record(result, written))
        return
    typer.echo(result.sentence())
    print_parts(
        [
            ("Passed over", skipped_rows(result.skipped)),
            ("Scores", score_rows(result.scores)),
            ("Queries with fewer negatives", short_rows(result.short, 3)),
            ("A sample", sample_rows(result.sample, WIDEST)),
        ],
        yielding=lambda heads: heads.index("Document") if "Document" in heads else 0,
    )
    typer.echo("")
    print_wrapped([f"note: {note}" for note in result.notes])
    for path in written:
        typer.echo(f"written: {path}")


def record(result: "MineResult", written: list[Path]) -> dict[str, Any]:
    """The result as plain values; the rows themselves are left to ``--out``."""
    import json

    tables = {
        name: json.loads(getattr(result, name).to_json(orient="records"))
        for name in ("scores", "skipped", "short", "sample")
    }
    return {
        "source": result.source,
        "format": result.output_format,
        "counts": result.counts.record(),
        "recall": result.recall,
        "seconds": round(result.seconds, 3),
        "notes": list(result.notes),
        **tables,
        "written": [str(path) for path in written],
    }
