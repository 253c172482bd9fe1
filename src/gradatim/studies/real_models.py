"""Runs of a paper's pipeline with a real language model on real problems."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.core.errors import InputError
from gradatim.studies.catalogue import find_paper

if TYPE_CHECKING:
    from gradatim.studies.tables import Table

RUNS = {"easy-to-hard-generalization": "gradatim.studies.real_easy_to_hard"}
"""Papers that offer such a run, and the modules whose function ``run`` makes it."""

Progress = Callable[[str, int, int], None]
"""Is told a phase, how many parts of it are done, and how many there are."""


@dataclass(frozen=True)
class RealModelOptions:
    """What such a run can be asked for.

    Attributes:
        candidates: solutions that are sampled of each problem.
        train_problems: easy problems that evaluators are trained on, at most.
        per_level: test problems of each level, at most.
        easy: the highest level that counts as easy; None takes what is usual for the task.
        hard: the lowest that counts as hard; None takes all that is not easy.
        longest: new tokens of a solution, at most.
        temperature: of sampling.
        continuations: how often each step is continued to label it; 0 takes its outcome instead.
        separator: text between the steps of a solution.
        chat: whether the model's chat template is used; None uses it if there is one.
        device: where the model runs; None takes a GPU if there is one, "auto" spreads it.
        allow_download: whether a model of the hub that is not on this machine may be downloaded.
        seed: what the choice of problems and all draws depend on.
        overwrite: whether the results of a run with other settings may be replaced.
    """

    candidates: int = 8
    train_problems: int = 100
    per_level: int = 25
    easy: int | None = None
    hard: int | None = None
    longest: int = 256
    temperature: float = 0.7
    continuations: int = 0
    separator: str = "\n"
    chat: bool | None = None
    device: str | None = None
    allow_download: bool = False
    seed: int = 0
    overwrite: bool = False


@dataclass(frozen=True)
class RealModelOutcome:
    """What such a run found.

    Attributes:
        tables: to be printed.
        notes: what a reader of the numbers should know.
        seconds: phase -> seconds.
        record: the same as plain values.
        folder: where everything was written.
        report: the page to read.
    """

    tables: "tuple[Table, ...]"
    notes: tuple[str, ...]
    seconds: Mapping[str, float]
    record: Mapping[str, Any]
    folder: Path
    report: Path


def check_real_model(slug: str) -> str:
    """Check that a paper offers a run with a real model, and return the paper's full name.

    Raises:
        InputError: there is no such paper, or it does not.
    """
    paper = find_paper(slug).slug
    if paper not in RUNS:
        raise InputError(
            f"{paper}: its study has no run with a real model (--model, --task); "
            f"{', '.join(RUNS)} has"
        )
    return paper


def run_real_model(
    slug: str,
    model: str,
    task: str,
    folder: str | Path,
    options: RealModelOptions | None = None,
    progress: Progress | None = None,
) -> RealModelOutcome:
    """Make a paper's run with a real model; one that was ended goes on from where it was.

    Args:
        slug: the paper.
        model: what :func:`~gradatim.language.loading.load_language_model` loads.
        task: what :func:`~gradatim.studies.data.tasks.load_task` loads.
        folder: where what was sampled is kept and results are written.
        options: how the run is made.
        progress: is told how it is coming along.

    Raises:
        InputError: the paper offers no such run, no such model or task, options out of range, or
            the folder holds results of other settings.
        MissingPackageError: a package is not installed.
        StorageError: the folder cannot be written.
    """
    module = importlib.import_module(RUNS[check_real_model(slug)])
    outcome: RealModelOutcome = module.run(
        model, task, Path(folder), options or RealModelOptions(), progress
    )
    return outcome
