"""Evaluators on a real model's states, trained on easy real problems, judging hard ones."""

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.files import check_output_folder
from gradatim.language.loading import load_language_model
from gradatim.studies.data.tasks import Task, load_task
from gradatim.studies.numbers import seconds_text
from gradatim.studies.real_models import Progress, RealModelOptions, RealModelOutcome
from gradatim.studies.tables import Table
from gradatim.workflows.easy_to_hard import check_easy_to_hard, evaluate_easy_to_hard
from gradatim.workflows.easy_to_hard_candidates import Sampling
from gradatim.workflows.easy_to_hard_result import RECORD_FILE, REPORT_FILE, EasyToHardResult
from gradatim.workflows.easy_to_hard_run import Clock
from gradatim.workflows.easy_to_hard_settings import EasyToHardSettings
from gradatim.workflows.pages import interval_text
from gradatim.workflows.rerank_report import accuracy_rows

if TYPE_CHECKING:
    import pandas as pd

KEPT = "kept"
"""The folder, within that of the results, with what was sampled and read."""


def run(
    model: str, task: str, folder: Path, options: RealModelOptions, progress: Progress | None
) -> RealModelOutcome:
    """Sample, train, re-rank and write; see :func:`gradatim.studies.real_models.run_real_model`."""
    for name in ("candidates", "train_problems", "per_level", "longest"):
        check_range(name, getattr(options, name), 1)
    check_range("temperature", options.temperature, 0, open_low=True)
    loaded_task = _load_task(task, options)
    easy = loaded_task.easy if options.easy is None else options.easy
    settings = _settings(loaded_task, options)
    asked = {"task": task, "model": model, "easy": easy, "hard": options.hard, **settings.record()}
    check_easy_to_hard(loaded_task.problems, easy, options.hard, settings)
    check_output_folder(folder)
    if not options.overwrite:
        _check_same(folder, asked)
    clock = Clock()
    with clock("loading the model"):
        loaded = load_language_model(
            model, device=options.device, allow_download=options.allow_download
        )
    found = evaluate_easy_to_hard(
        loaded,
        loaded_task.problems,
        easy=easy,
        hard=options.hard,
        verifier=loaded_task.verifier,
        settings=settings,
        folder=folder / KEPT,
        progress=progress,
    )
    result = dataclasses.replace(
        found,
        settings={"task": task, **found.settings},
        seconds={**found.seconds, **clock.seconds},
    )
    result.save(folder, overwrite=True)
    return RealModelOutcome(
        tables=_tables(result),
        notes=result.notes,
        seconds=result.seconds,
        record=_record(result),
        folder=folder,
        report=folder / REPORT_FILE,
    )


def _load_task(task: str, options: RealModelOptions) -> Task:
    """The task; of generated ones as many problems as training and test need."""
    easy = options.easy or 2
    train = math.ceil(options.train_problems / easy)
    each = max(2 * options.per_level, options.per_level + train)
    return load_task(task, seed=options.seed, per_level=each)


def _settings(task: Task, options: RealModelOptions) -> EasyToHardSettings:
    sampling = Sampling(
        copies=options.candidates, longest=options.longest, temperature=options.temperature
    )
    return EasyToHardSettings(
        train_problems=options.train_problems,
        test_per_level=options.per_level,
        sampling=sampling,
        continuations=options.continuations,
        separator=options.separator,
        chat=options.chat,
        exemplars=task.exemplars,
        instruction=task.instruction,
        seed=options.seed,
    )


def _check_same(folder: Path, asked: dict[str, Any]) -> None:
    """Check that results that stand in the folder, if any, are of the same settings.

    Raises:
        InputError: they are of others, or cannot be read.
    """
    path = folder / RECORD_FILE
    if not path.exists():
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))["settings"]
        differing = [name for name in before | asked if before.get(name) != asked.get(name)]
    except (OSError, ValueError, KeyError, TypeError):
        differing = ["no readable settings"]
    if differing:
        raise InputError(
            f"{folder}: holds the results of a run with other settings ({', '.join(differing)}); "
            "choose another folder, or pass --overwrite: what was sampled is kept in any case"
        )


def _tables(result: EasyToHardResult) -> tuple[Table, ...]:
    """Accuracies on easy and hard problems and by level, evaluators, and time."""
    tables = []
    for title, part in (("Easy and hard problems", result.by_part), ("By level", result.by_level)):
        assert part.accuracy is not None
        heads, rows, numeric = accuracy_rows(part.accuracy)
        if part is result.by_level:  # its first rows, of all problems, stand in the other
            rows = [row for row in rows if row[0] != "all"]
        tables.append(Table(title, heads, tuple(rows), frozenset(numeric), yielding=2))
    greedy = tuple(
        (
            str(row["level"]),
            str(row["problems"]),
            interval_text(row["accuracy"], row["low"], row["high"]),
        )
        for row in result.greedy.to_dict("records")
    )
    heads = ("Level", "Problems", "Accuracy [95% interval]")
    tables.append(Table("Likeliest solution", heads, greedy, frozenset({1, 2})))
    tables.append(_evaluators(result.evaluators))
    seconds = tuple((name, seconds_text(value)) for name, value in result.seconds.items())
    tables.append(Table("Time", ("Phase", "Time"), seconds, frozenset({1})))
    return tuple(tables)


def _evaluators(table: "pd.DataFrame") -> Table:
    """How well each score tells right from wrong solutions."""
    rows = tuple(
        (
            str(row["evaluator"]),
            str(row["part"]),
            f"{row['solutions']:,}",
            interval_text(row["auc"], math.nan, math.nan),
            f"{row['training_states']:,}",
        )
        for row in table.to_dict("records")
    )
    heads = ("Score", "Part", "Solutions", "Area under ROC", "Trained on")
    return Table("Scores", heads, rows, frozenset({2, 3, 4}))


def _record(result: EasyToHardResult) -> dict[str, Any]:
    """The result as plain values."""

    def records(table: "pd.DataFrame | None") -> Any:
        return None if table is None else json.loads(table.to_json(orient="records"))

    return {
        "settings": dict(result.settings),
        "by_part": records(result.by_part.accuracy),
        "by_level": records(result.by_level.accuracy),
        "greedy": records(result.greedy),
        "evaluators": records(result.evaluators),
        "counts": dataclasses.asdict(result.by_level.counts),
        "seconds": {name: round(value, 3) for name, value in result.seconds.items()},
        "notes": list(result.notes),
    }
