"""Run a study over seeds: each in a process of its own, each kept as soon as it is finished."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from gradatim.core.errors import InputError
from gradatim.core.files import check_output_folder, storage_error
from gradatim.studies.claims import Budget
from gradatim.studies.fingerprint import describe_change, fingerprint
from gradatim.studies.ledger import (
    Fingerprint,
    Ledger,
    digest_of,
    items_folder,
    ledger_path,
    locked,
    measurement_line,
    sidecar_path,
    write_items,
)
from gradatim.studies.processes import ProcessDiedError, ProcessPerCall, environment
from gradatim.studies.registry import Study, load_study
from gradatim.studies.seed_lists import check_seeds, format_seeds
from gradatim.studies.worker import (
    THREAD_VARIABLES,
    SeedFailure,
    SeedResult,
    available_cores,
    measure_seed,
)

Outcomes = Iterator[tuple[int, SeedResult | SeedFailure]]


class StudyError(InputError):
    """Some seeds of a study failed; the others are kept."""


@dataclass(frozen=True)
class Event:
    """What a run reports of a seed.

    Attributes:
        kind: "kept" (it was in the ledger already), "finished", or "failed".
        seed: the seed.
        done: how many of the wanted seeds are settled by now.
        total: how many are wanted.
        seconds: how long the seed took; 0 unless finished.
        reason: why it failed, one line; "" otherwise.
        details: the whole traceback of a failure, or "".
    """

    kind: Literal["kept", "finished", "failed"]
    seed: int
    done: int
    total: int
    seconds: float = 0.0
    reason: str = ""
    details: str = ""


def run_study(
    slug: str,
    seeds: Sequence[int],
    budget: str = "full",
    out: str | os.PathLike[str] = "results",
    *,
    jobs: int | None = None,
    fresh: bool = False,
    on_event: Callable[[Event], None] | None = None,
    executor: Executor | None = None,
    module: str | None = None,
) -> Ledger:
    """Run a study for some seeds and keep what it measures in its ledger.

    Seeds that the ledger holds already, measured by the same code, are not run again. Each
    finished seed is written at once, so an interrupted run keeps what it has, and running it
    again completes it to the same bytes.

    Args:
        slug: the paper.
        seeds: which seeds.
        budget: "smoke", "demo" or "full"; each has its own ledger.
        out: the results folder; it is made.
        jobs: how many seeds run at once, each with one thread; None for one a core.
        fresh: set an older ledger aside, as ``<slug>.jsonl.<digest>``, and begin anew.
        on_event: called in this thread as seeds are settled.
        executor: another pool, as one over several machines; its processes must be able to import
            the study. It is not shut down.
        module: as in :func:`~gradatim.studies.registry.load_study`.

    Returns:
        The ledger with all its seeds, those of earlier runs too.

    Raises:
        InputError: a bad argument, a foreign ledger, or one measured by other code.
        StudyError: some seeds failed; they are named with the reason, the others are kept.
        StorageError: the ledger cannot be written; what was in it stands.
    """
    _refuse_unguarded_script()
    wanted, budget = check_seeds(seeds), Budget(budget)
    study = load_study(slug, module)
    slug = study.paper.slug
    path = ledger_path(slug, budget, check_output_folder(out))
    blank = Ledger(path, slug, Budget(budget), fingerprint(slug, budget, study.module))
    ledger = _open(blank, fresh)
    report = _Report(on_event, len(wanted))
    missing = [seed for seed in wanted if seed not in ledger.measurements]
    for seed in wanted:
        if seed in ledger.measurements:
            report.settle("kept", seed)
    failures: dict[int, SeedFailure] = {}
    with _outcomes(study, missing, budget, jobs, executor) as outcomes:
        for seed, outcome in outcomes:
            if isinstance(outcome, SeedFailure):
                failures[seed] = outcome
                report.settle("failed", seed, reason=outcome.reason, details=outcome.details)
            else:
                ledger = _keep(blank, seed, outcome)
                report.settle("finished", seed, seconds=outcome.run.seconds)
    if failures:
        raise StudyError(_failure_text(blank, failures, len(wanted)))
    return ledger


def recheck(
    slug: str,
    out: str | os.PathLike[str] = "results",
    budget: str = "full",
    *,
    executor: Executor | None = None,
    module: str | None = None,
) -> Ledger:
    """Run the first seed of a ledger again; if it gives the same bytes, the ledger is fresh again.

    For changes of the code that should not change the numbers.

    Args:
        slug: the paper.
        out: the results folder.
        budget: which of its ledgers.
        executor: as in :func:`run_study`.
        module: as in :func:`~gradatim.studies.registry.load_study`.

    Returns:
        The ledger, stamped with the fingerprint of the present code.

    Raises:
        InputError: there is no such ledger, or the numbers differ; the first difference is told.
        StudyError: the seed failed.
        StorageError: the ledger cannot be written.
    """
    _refuse_unguarded_script()
    study = load_study(slug, module)
    path = ledger_path(study.paper.slug, Budget(budget), out)
    ledger = Ledger.read(path)
    if not ledger.seeds:
        raise InputError(f"{path}: expected at least one seed to check, got none")
    now = fingerprint(study.paper.slug, budget, study.module)
    if now == ledger.fingerprint:
        return ledger
    seed = ledger.seeds[0]
    with _outcomes(study, [seed], budget, 1, executor) as outcomes:
        _, outcome = next(outcomes)
    if isinstance(outcome, SeedFailure):
        raise StudyError(f"{ledger.slug}: seed {seed} failed: {outcome.reason}")
    before, after = (
        [measurement_line(seed, one) for one in measurements]
        for measurements in (ledger.measurements[seed], outcome.measurements)
    )
    for old, new in zip_longest(before, after, fillvalue="nothing"):
        if old != new:
            raise InputError(
                f"{path}: seed {seed} gives other numbers with the present code: "
                f"was {old}, is {new}; measure anew with --fresh"
            )
    with locked(path.parent):
        stamped = replace(Ledger.read(path), fingerprint=now)
        stamped.write()
    return stamped


@dataclass
class _Report:
    on_event: Callable[[Event], None] | None
    total: int
    done: int = 0

    def settle(
        self,
        kind: Literal["kept", "finished", "failed"],
        seed: int,
        seconds: float = 0.0,
        reason: str = "",
        details: str = "",
    ) -> None:
        self.done += 1
        if self.on_event is not None:
            self.on_event(Event(kind, seed, self.done, self.total, seconds, reason, details))


def _refuse_unguarded_script() -> None:
    """Say what is wrong when a seed's process, importing the caller's script, runs the study."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise InputError(
            "run_study: in a script, call it under `if __name__ == '__main__':`, because the "
            "process of each seed imports the script again"
        )


def _open(blank: Ledger, fresh: bool) -> Ledger:
    """The ledger to go on with: the one that stands there if the same code made it."""
    path = blank.path
    if fresh:
        with locked(path.parent):
            _set_aside(path)
    if not path.exists():
        return blank
    ledger = Ledger.read(path)
    if ledger.fingerprint != blank.fingerprint:
        raise InputError(_stale_text(ledger, blank.fingerprint))
    return ledger


def _stale_text(ledger: Ledger, now: Fingerprint) -> str:
    return (
        f"{ledger.path}: was measured by other code ({describe_change(ledger.fingerprint, now)}); "
        "measure anew with --fresh, which keeps the old ledger as "
        f"{_aside(ledger.path, ledger.fingerprint.digest).name}, or see with --recheck whether "
        "the numbers are still the same"
    )


def _set_aside(path: Path) -> None:
    """Rename a ledger and what belongs to it, a foreign or damaged one too."""
    if not path.is_file():
        return
    try:
        digest = Ledger.read(path).fingerprint.digest
    except InputError:
        digest = digest_of(path.read_text(encoding="utf-8", errors="replace"))
    aside = _aside(path, digest)
    try:
        for name in (items_folder, sidecar_path, Path):
            if name(path).exists():
                name(path).rename(name(aside))
    except OSError as error:
        raise storage_error("setting aside", path, error) from error


def _aside(path: Path, digest: str) -> Path:
    """A free name for an old ledger: nothing that was set aside before is replaced."""
    aside, count = path.with_name(f"{path.name}.{digest[:8]}"), 1
    while any(name(aside).exists() for name in (items_folder, sidecar_path, Path)):
        count += 1
        aside = path.with_name(f"{path.name}.{digest[:8]}-{count}")
    return aside


def _keep(blank: Ledger, seed: int, result: SeedResult) -> Ledger:
    """Add a seed to the ledger on the disk, which another run may have added to meanwhile."""
    path = blank.path
    with locked(path.parent):
        ledger = Ledger.read(path) if path.exists() else blank
        if ledger.fingerprint != blank.fingerprint:
            raise InputError(_stale_text(ledger, blank.fingerprint))
        for items in result.items:
            write_items(path, seed, items)
        measurements = {**ledger.measurements, seed: result.measurements}
        runs = {**ledger.runs, seed: result.run}
        ledger = replace(
            ledger,
            measurements={one: measurements[one] for one in sorted(measurements)},
            runs={one: runs[one] for one in sorted(runs)},
        )
        ledger.write()
    return ledger


@contextmanager
def _outcomes(
    study: Study, seeds: Sequence[int], budget: str, jobs: int | None, executor: Executor | None
) -> Iterator[Outcomes]:
    """Run seeds and give each outcome as it comes; whatever ends the block ends the processes."""
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs: expected at least 1, got {jobs}")
    call = partial(measure_seed, study.paper.slug, study.module, budget=str(budget))
    own = ProcessPerCall(min(jobs or available_cores(), max(len(seeds), 1)))
    with environment(**dict.fromkeys(THREAD_VARIABLES, "1")):
        futures = {(executor or own).submit(call, seed): seed for seed in seeds}
        try:
            yield _settled(futures)
        finally:
            own.kill()
            for future in futures:
                future.cancel()


def _settled(futures: Mapping[Future[SeedResult | SeedFailure], int]) -> Outcomes:
    for future in as_completed(futures):
        try:
            yield futures[future], future.result()
        except (ProcessDiedError, BrokenExecutor) as error:
            yield futures[future], SeedFailure(str(error) or type(error).__name__)


def _failure_text(blank: Ledger, failures: Mapping[int, SeedFailure], total: int) -> str:
    reasons: dict[str, list[int]] = {}
    for seed in sorted(failures):
        reasons.setdefault(failures[seed].reason, []).append(seed)
    told = "; ".join(
        f"seed{'s' if len(seeds) > 1 else ''} {format_seeds(seeds)}: {reason}"
        for reason, seeds in reasons.items()
    )
    kept = f"; the others are kept in {blank.path}" if len(failures) < total else ""
    return f"{blank.slug}: {len(failures)} of {total} seeds failed: {told}{kept}"
