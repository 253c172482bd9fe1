"""``gradatim rerank``: choose among sampled candidates, and print what that is worth."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradatim.cli.options import AsJson
from gradatim.core.errors import InputError

if TYPE_CHECKING:
    from gradatim.workflows.rerank_result import RerankResult


File = Annotated[
    Path, typer.Argument(metavar="FILE", help="Table of candidates, or a sampler's log.")
]
Problem = Annotated[str, typer.Option(metavar="COL", help="Names the problem.")]
Answer = Annotated[str, typer.Option(metavar="COL", help="The final answer.")]
Scores = Annotated[
    str, typer.Option(metavar="COL[,COL]", help="Higher = better; each gets its rules.")
]
Level = Annotated[str | None, typer.Option(metavar="COL", help="Level of difficulty.")]
Correct = Annotated[str | None, typer.Option(metavar="COL", help="Whether the candidate is right.")]
Reference = Annotated[
    str | None, typer.Option(metavar="COL", help="The right answer, to compare with.")
]
Rules = Annotated[str, typer.Option(metavar="RULE[,RULE]", help="Which rules.")]
ScoreKind = Annotated[
    str | None,
    typer.Option(
        metavar="weight|logit|logprob",
        help="What scores are, for the weighted vote; by default logprob for logs, else weight.",
    ),
]
Numbers = Annotated[
    str | None, typer.Option(metavar="N[,N]", help="Candidates of pass@k and curves.")
]
Seed = Annotated[int, typer.Option(metavar="N", help="Of the random subsets.")]
Extract = Annotated[
    bool, typer.Option("--extract", help="Find the final answer in whole responses.")
]
LastNumber = Annotated[
    bool, typer.Option("--last-number", help="Else a response's last number is its answer.")
]
Equality = Annotated[str, typer.Option(metavar="math|exact", help="When answers are equal.")]
Out = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where to write tables and a report.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that stand in --out.")]


def rerank(
    file: File,
    problem: Problem = "problem",
    answer: Answer = "answer",
    score: Scores = "score",
    level: Level = None,
    correct: Correct = None,
    reference: Reference = None,
    rules: Rules = "majority,weighted,best_of_n",
    score_kind: ScoreKind = None,
    ks: Numbers = None,
    seed: Seed = 0,
    extract: Extract = False,
    last_number: LastNumber = False,
    equality: Equality = "math",
    out: Out = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Choose among sampled candidates by majority, weighted vote and best of N.

    FILE has one row a candidate (Parquet, CSV, JSON Lines), or is the log of OpenAI's API, of vLLM
    or of lm-eval. With --correct or --reference it prints accuracies, a row a level and rule.
    """
    from gradatim.workflows.rerank import rerank as rerank_candidates
    from gradatim.workflows.rerank_result import check_save

    numbers = parse_numbers("--ks", ks)
    if out is not None:
        check_save(out, overwrite=overwrite, inputs=[file])
    result = rerank_candidates(
        file,
        problem=problem,
        answer=answer,
        score="score" if score == "score" else split(score),
        level=level,
        correct=correct,
        reference=reference,
        rules=split(rules),
        score_kind=score_kind,
        ks=numbers,
        seed=seed,
        extract=extract,
        last_number=last_number,
        equality=equality,
    )
    if out is not None:
        result.save(out, overwrite=overwrite)
    present(result, out, as_json)


def split(names: str) -> list[str]:
    """The names in a list with commas.

    >>> split("prm, orm")
    ['prm', 'orm']
    """
    return [name.strip() for name in names.split(",") if name.strip()]


def parse_numbers(option: str, text: str | None) -> list[int] | None:
    """The numbers in a list with commas, or None if there is none.

    Raises:
        InputError: something that is no number of at least 1.

    >>> parse_numbers("--ks", "1,2,4")
    [1, 2, 4]
    """
    if text is None:
        return None
    parts = split(text)
    bad = [part for part in parts if not part.isdecimal() or int(part) < 1]
    if bad or not parts:
        raise InputError(
            f"{option}: expected numbers of at least 1 as in 1,2,4, got {(bad or [text])[0]!r}"
        )
    return [int(part) for part in parts]


def present(result: "RerankResult", out: Path | None, as_json: bool) -> None:
    """Print accuracies (or the first choices), counts and notes."""
    from gradatim.cli.output import print_json, print_table
    from gradatim.studies.tables import Table
    from gradatim.workflows.rerank_report import SHOWN_CHOICES, accuracy_rows, pass_at_k_rows

    if as_json:
        print_json(record(result, out))
        return
    if result.accuracy is not None and result.pass_at_k is not None:
        for title, told in (
            ("Accuracy", accuracy_rows(result.accuracy)),
            ("pass@k", pass_at_k_rows(result.pass_at_k)),
        ):
            print_table(Table(title, told[0], tuple(told[1]), frozenset(told[2])))
            typer.echo("")
    else:
        shown = result.choices.head(SHOWN_CHOICES)
        rows = tuple(tuple(map(str, row)) for row in shown.itertuples(index=False))
        print_table(Table("Choices", tuple(map(str, shown.columns)), rows))
        typer.echo("" if out else "(the first choices; --out DIR writes all)\n")
    for name, text in result.counts.lines():
        typer.echo(f"{name}: {text}")
    for note in result.notes:
        typer.echo(f"note: {note}")
    for row in result.unparsable.head(3).itertuples(index=False):
        typer.echo(
            f"no answer could be read in row {row.row} (problem {row.problem}): {row.given!r}"
        )
    if out is not None:
        typer.echo(f"written: {out}")


def record(result: "RerankResult", out: Path | None) -> dict[str, Any]:
    """The result as plain values; the chosen answers are among them."""
    import dataclasses
    import json

    tables = {
        name: None if table is None else json.loads(table.to_json(orient="records"))
        for name, table in (
            ("accuracy", result.accuracy),
            ("pass_at_k", result.pass_at_k),
            ("curve", result.curve),
            ("choices", result.choices),
        )
    }
    return {
        "source": result.source,
        "counts": dataclasses.asdict(result.counts),
        "notes": list(result.notes),
        **tables,
        "written": None if out is None else str(out),
    }
