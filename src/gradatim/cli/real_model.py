"""``gradatim run SLUG --model M --task T``: a paper's pipeline with a real language model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradatim.core.errors import InputError

if TYPE_CHECKING:
    from gradatim.studies.real_models import RealModelOptions, RealModelOutcome


def _option(metavar: str, text: str) -> Any:
    return typer.Option(metavar=metavar, help=text)


Model = Annotated[
    str | None,
    _option("PATH|NAME", "Run with this language model: directory, .gguf file, smollm2, hub id."),
]
Task = Annotated[
    str | None, _option("TASK", "math, math-500, gsm8k or reasoning-gym:NAME[:PROPERTY].")
]
Candidates = Annotated[int, _option("N", "Solutions of each problem.")]
TrainProblems = Annotated[int, _option("N", "Easy problems to train evaluators on.")]
PerLevel = Annotated[int, _option("N", "Test problems of each level.")]
Easy = Annotated[int | None, _option("LEVEL", "Highest easy level; by default the task's.")]
Hard = Annotated[int | None, _option("LEVEL", "Lowest hard level; by default above easy.")]
Longest = Annotated[int, _option("N", "Tokens of a solution at most.")]
Temperature = Annotated[float, _option("T", "Of sampling.")]
Continuations = Annotated[
    int, _option("N", "Continue each step so often to label it; 0 takes the outcome.")
]
Separator = Annotated[str, _option("TEXT", "Between steps.")]
Chat = Annotated[
    bool | None,
    typer.Option("--chat/--no-chat", help="Use the chat template; by default if there is one."),
]
Device = Annotated[str | None, _option("NAME", "As cuda:1; auto spreads the model over all GPUs.")]
AllowDownload = Annotated[
    bool, typer.Option("--allow-download", help="Download the model from the hub if need be.")
]
Seed = Annotated[int, _option("N", "Of problems and draws.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace results of other settings in --out.")
]

STUDY_OPTIONS = ("seeds", "budget", "jobs", "fresh", "recheck")
MODEL_OPTIONS = (
    *("candidates", "train_problems", "per_level", "easy", "hard", "longest", "temperature"),
    *("continuations", "separator", "chat", "device", "allow_download", "seed", "overwrite"),
)


def wants_model(context: typer.Context, slugs: list[str]) -> bool:
    """Whether the command asks for a real model; its options must agree on that.

    Raises:
        InputError: --model without --task or the reverse, several papers, or an option of the
            other kind of run.
    """
    given = [
        name
        for name in context.params
        if (source := context.get_parameter_source(name)) is not None
        and source.name not in ("DEFAULT", "DEFAULT_MAP")
    ]
    model, task = "model" in given, "task" in given
    if model != task:
        have, lack = ("--model", "--task") if model else ("--task", "--model")
        raise InputError(f"{have}: expected {lack} with it")
    for name in given:
        option = f"--{name.replace('_', '-')}"
        if not model and name in MODEL_OPTIONS:
            raise InputError(f"{option}: only together with --model and --task")
        if model and name in STUDY_OPTIONS:
            raise InputError(f"{option}: not together with --model and --task")
    if model and len(slugs) != 1:
        raise InputError(f"--model: expected one paper, got {len(slugs)}")
    return model


def options_of(context: typer.Context) -> "RealModelOptions":
    r"""The options as they were given; the separator may be written with \n and \t."""
    from gradatim.studies.real_models import RealModelOptions

    asked = {name: context.params[name] for name in MODEL_OPTIONS}
    asked["separator"] = asked["separator"].replace("\\n", "\n").replace("\\t", "\t")
    return RealModelOptions(**asked)


def run_model(
    slug: str,
    model: str,
    task: str,
    out: Path | None,
    options: "RealModelOptions",
    as_json: bool,
) -> None:
    """Make the run, and print what it found.

    Raises:
        InputError: as :func:`gradatim.studies.real_models.run_real_model`.
    """
    from gradatim.studies.real_models import check_real_model, run_real_model

    paper = check_real_model(slug)
    folder = Path("runs") / paper if out is None else out

    def tell(phase: str, done: int, parts: int) -> None:
        typer.echo(f"{paper} {phase} [{done}/{parts}]", err=True)

    try:
        outcome = run_real_model(paper, model, task, folder, options, tell)
    except KeyboardInterrupt:
        text = f"interrupted: what was sampled is kept in {folder}; the same command goes on there"
        typer.echo(f"\n{text}", err=True)
        raise typer.Exit(130) from None
    present(outcome, as_json)


def present(outcome: "RealModelOutcome", as_json: bool) -> None:
    """Print tables and notes, and where the report is."""
    from gradatim.cli.output import print_json, print_table

    if as_json:
        print_json({**outcome.record, "report": str(outcome.report)})
        return
    for table in outcome.tables:
        typer.echo(table.title)
        print_table(table)
        typer.echo("")
    for note in outcome.notes:
        typer.echo(f"note: {note}")
    typer.echo(f"report: {outcome.report}")
