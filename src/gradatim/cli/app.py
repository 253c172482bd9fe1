"""The application: its commands, and how errors end it."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import gradatim
from gradatim.cli.demo import demo
from gradatim.cli.mine import mine
from gradatim.cli.output import end_with
from gradatim.cli.papers import papers
from gradatim.cli.profile import profile
from gradatim.cli.report import report
from gradatim.cli.rerank import rerank
from gradatim.cli.run import run
from gradatim.cli.score import score
from gradatim.cli.select import select
from gradatim.cli.show import show
from gradatim.cli.task_difficulty import task_difficulty
from gradatim.cli.unlearn import unlearn
from gradatim.core.errors import GradatimError


class Commands(TyperGroup):
    """The commands in the order in which they are used; a user's error is one line, and code 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except GradatimError as error:
            end_with([error])

    def list_commands(self, ctx: Any) -> list[str]:
        """Keep the order in which the commands were added."""
        return list(self.commands)


app = typer.Typer(
    name="gradatim",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gradatim {gradatim.__version__}")
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Easy-to-hard learning: find out how hard each example is, and put that to use."""


COMMANDS = (
    demo, papers, show, run, report, score, select, mine, rerank, profile, task_difficulty,
    unlearn,
)  # fmt: skip

for command in COMMANDS:
    app.command()(command)
