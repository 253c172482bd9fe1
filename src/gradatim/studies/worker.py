"""One seed of a study, run and checked: what happens inside each process of a run."""

import math
import os
import platform
import re
import sys
import time
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import gradatim
from gradatim.core.errors import GradatimError, InputError
from gradatim.studies.claims import Budget, Items, Measurement, as_measured, group_key
from gradatim.studies.ledger import SeedRun
from gradatim.studies.registry import load_study

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
LONGEST_REASON = 600

_RECORDED_PACKAGES = ("torch", "numpy")
_ITEMS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class SeedResult:
    """What a finished seed hands back."""

    measurements: tuple[Measurement, ...]
    items: tuple[Items, ...]
    run: SeedRun


@dataclass(frozen=True)
class SeedFailure:
    """Why a seed did not finish.

    Attributes:
        reason: one line: what the last line of the traceback says.
        details: the whole traceback, or "".
    """

    reason: str
    details: str = ""


def measure_seed(slug: str, module: str, seed: int, budget: str) -> SeedResult | SeedFailure:
    """Run one seed of a study, with one thread; whatever the study raises comes back as a value.

    Args:
        slug: the paper.
        module: the module that holds the study; it is imported here.
        seed: the seed.
        budget: the budget's name.
    """
    try:
        study = load_study(slug, module)
        _limit_torch_threads()
        begin = time.perf_counter()
        measurements, items = check_outcomes(study.function(seed, Budget(budget)))
        seconds = time.perf_counter() - begin
        return SeedResult(measurements, items, _describe_run(seconds))
    except (Exception, SystemExit) as error:
        return SeedFailure(_reason(error), traceback.format_exc())


def check_outcomes(outcomes: Iterable[Any]) -> tuple[tuple[Measurement, ...], tuple[Items, ...]]:
    """Collect what a study yields, as plain floats and arrays.

    Raises:
        InputError: something other than a measurement or items was yielded, something twice, a
            number that is not finite, or no measurement at all.
    """
    if not isinstance(outcomes, Iterable):
        raise InputError(
            f"study: expected it to yield Measurement or Items, got {type(outcomes).__name__}"
        )
    measurements: dict[Any, Measurement] = {}
    items: dict[str, Items] = {}
    for outcome in outcomes:
        if isinstance(outcome, Measurement):
            one = _check_measurement(outcome)
            key = (one.arm, one.metric, group_key(one.group))
            if key in measurements:
                raise InputError(f"study: {_place(one)} was yielded twice")
            measurements[key] = one
        elif isinstance(outcome, Items):
            if outcome.name in items:
                raise InputError(f"study: items {outcome.name!r} were yielded twice")
            items[outcome.name] = _check_items(outcome)
        else:
            raise InputError(f"study: expected Measurement or Items, got {outcome!r}")
    if not measurements:
        raise InputError("study: it yielded no measurement")
    return tuple(measurements.values()), tuple(items.values())


def available_cores() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _reason(error: BaseException) -> str:
    """An error as one line, with its kind unless it is one of ours, which are whole sentences."""
    words = " ".join(str(error).split())[:LONGEST_REASON]
    if isinstance(error, GradatimError):
        return words
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _place(one: Measurement) -> str:
    return f"arm {one.arm!r}, metric {one.metric!r}, group {one.group!r}"


def _check_measurement(one: Measurement) -> Measurement:
    for name in ("arm", "metric", "group"):
        text = getattr(one, name)
        if not isinstance(text, str) or (not text and name != "group"):
            raise InputError(f"study: expected {name} to be a name, got {text!r}")
    if len(group_key(one.group)) != len([part for part in one.group.split(",") if part.strip()]):
        raise InputError(
            f"study: {_place(one)}: expected a group such as 'noise=0.4, epoch=12', each key once"
        )
    value = as_measured(one.value)
    if not math.isfinite(value):
        raise InputError(f"study: {_place(one)}: expected a finite number, got {one.value!r}")
    return Measurement(one.arm, one.metric, value, one.group)


def _check_items(items: Items) -> Items:
    import numpy as np

    if not _ITEMS_NAME.fullmatch(items.name):
        raise InputError(f"study: expected letters, digits, - or _ in {items.name!r}")
    columns = {name: np.asarray(values) for name, values in items.columns.items()}
    shapes = {name: array.shape for name, array in columns.items()}
    if len(set(shapes.values())) != 1 or any(len(shape) != 1 for shape in shapes.values()):
        told = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()) or "none"
        raise InputError(f"study: items {items.name!r}: expected columns of one length, got {told}")
    return Items(items.name, columns)


def _limit_torch_threads() -> None:
    """Give torch one thread, if the study has imported it."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


def _describe_run(seconds: float) -> SeedRun:
    finished = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    machine: dict[str, str | int] = {
        "processor": _processor(),
        "cores": available_cores(),
        "threads": 1,
    }
    return SeedRun(round(seconds, 3), finished, _versions(), machine)


def _versions() -> Mapping[str, str]:
    found = {"python": platform.python_version(), "gradatim": gradatim.__version__}
    for package in _RECORDED_PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    """The processor's name: Linux keeps it where the standard library does not look."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
