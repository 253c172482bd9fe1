"""The ledger of a study: what was measured, by which code; the same inputs give the same bytes.

``<slug>.jsonl`` holds a header and one line a measurement, and is committed. Times, versions and
hardware go to ``<slug>.meta.json``, per-item outcomes to ``<slug>.items/``. Budgets other than
"full" have files of their own, as ``<slug>.smoke.jsonl``.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from gradatim.core.errors import InputError
from gradatim.core.files import atomic_path, atomic_write, storage_error
from gradatim.studies.claims import BUDGETS, Budget, Items, Measurement, SeedTable

FORMAT = 1
DIGEST_LENGTH = 16

_HEADER: dict[str, type] = {
    "gradatim_ledger": int,
    "slug": str,
    "budget": str,
    "fingerprint": str,
    "study": str,
    "modules": dict,
}
_LINE: dict[str, type] = {"seed": int, "arm": str, "metric": str, "group": str, "value": float}


@dataclass(frozen=True)
class Fingerprint:
    """What a study's numbers depend on.

    Attributes:
        study: hash of the paper module.
        parts: module name -> hash, for every module of gradatim that it uses.
        budget: the budget it was run with.
    """

    study: str
    parts: Mapping[str, str]
    budget: str

    @cached_property
    def digest(self) -> str:
        """One hash of it all, 16 hexadecimal digits."""
        return digest_of(
            self.study, self.budget, *(f"{k}={self.parts[k]}" for k in sorted(self.parts))
        )


def digest_of(*texts: str) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of some texts."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:DIGEST_LENGTH]


@dataclass(frozen=True)
class SeedRun:
    """How one seed was run, from the sidecar.

    Attributes:
        seconds: wall-clock time.
        finished: when, UTC, as "2026-01-31T12:00:00Z".
        versions: of python and the packages that matter.
        machine: processor, cores, and threads used; never a host name.
    """

    seconds: float
    finished: str
    versions: Mapping[str, str]
    machine: Mapping[str, str | int]


@dataclass(frozen=True)
class Ledger:
    """The measurements of one study with one budget.

    Attributes:
        path: its file.
        slug: the paper.
        budget: the budget.
        fingerprint: what the numbers depend on.
        measurements: seed -> measurements in the study's order, by rising seed.
        runs: seed -> how it was run; seeds without an entry in the sidecar are missing here.
    """

    path: Path
    slug: str
    budget: Budget
    fingerprint: Fingerprint
    measurements: Mapping[int, tuple[Measurement, ...]] = field(default_factory=dict, repr=False)
    runs: Mapping[int, SeedRun] = field(default_factory=dict, repr=False)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The finished seeds, rising."""
        return tuple(self.measurements)

    @cached_property
    def tables(self) -> dict[int, SeedTable]:
        """The table of each seed, as :func:`~gradatim.studies.verdicts.decide` reads them."""
        return {seed: SeedTable(found) for seed, found in self.measurements.items()}

    @property
    def rows(self) -> Iterator[tuple[int, str, str, str, float]]:
        """All measurements as (seed, arm, metric, group, value)."""
        for seed, found in self.measurements.items():
            for one in found:
                yield seed, one.arm, one.metric, one.group, one.value

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Ledger":
        """Read a ledger and its sidecar.

        Raises:
            InputError: the file is missing, foreign or damaged; file and line are named.
            StorageError: it cannot be read.
        """
        path = Path(path)
        lines = _read_text(path).removesuffix("\n").split("\n")
        if lines == [""]:
            raise InputError(f"{path}: expected a ledger, got an empty file")
        header = _parse_header(path, lines[0])
        measurements = _parse_measurements(path, lines[1:])
        fingerprint = Fingerprint(header["study"], header["modules"], header["budget"])
        if fingerprint.digest != header["fingerprint"]:
            raise InputError(f"{path}, line 1: the fingerprint does not fit the modules listed")
        runs = _read_sidecar(sidecar_path(path))
        return cls(
            path,
            header["slug"],
            Budget(header["budget"]),
            fingerprint,
            measurements,
            {seed: runs[seed] for seed in measurements if seed in runs},
        )

    def write(self) -> None:
        """Write the sidecar, then the ledger, each whole or not at all.

        Raises:
            StorageError: the disk is full or the folder cannot be written; the old files stand.
        """
        runs = {str(seed): vars(self.runs[seed]) for seed in sorted(self.runs)}
        with atomic_write(sidecar_path(self.path)) as file:
            file.write(json.dumps({"gradatim_meta": FORMAT, "seeds": runs}, indent=1) + "\n")
        with atomic_write(self.path) as file:
            file.writelines(line + "\n" for line in self.lines())

    def lines(self) -> Iterator[str]:
        """The ledger's text, line by line."""
        yield _json(
            {
                "gradatim_ledger": FORMAT,
                "slug": self.slug,
                "budget": str(self.budget),
                "fingerprint": self.fingerprint.digest,
                "study": self.fingerprint.study,
                "modules": dict(sorted(self.fingerprint.parts.items())),
            }
        )
        for seed in sorted(self.measurements):
            for one in self.measurements[seed]:
                yield measurement_line(seed, one)


def measurement_line(seed: int, one: Measurement) -> str:
    """A measurement as a line of the ledger.

    >>> measurement_line(10, Measurement("elr", "accuracy", 0.5))
    '{"seed": 10, "arm": "elr", "metric": "accuracy", "group": "", "value": 0.5}'
    """
    row = {"seed": seed, "arm": one.arm, "metric": one.metric, "group": one.group}
    return _json(row | {"value": one.value})


def file_stem(slug: str, budget: str) -> str:
    """What the names of a ledger's files begin with.

    >>> file_stem("npo", "full"), file_stem("npo", "smoke")
    ('npo', 'npo.smoke')
    """
    return slug if budget == "full" else f"{slug}.{budget}"


def ledger_path(slug: str, budget: str, folder: str | os.PathLike[str]) -> Path:
    """Where the ledger of a paper stands in a results folder.

    >>> ledger_path("npo", "full", "results").as_posix()
    'results/npo.jsonl'
    """
    return Path(folder) / f"{file_stem(slug, budget)}.jsonl"


def sidecar_path(ledger: Path) -> Path:
    """Where a ledger's times, versions and hardware stand.

    >>> sidecar_path(Path("npo.jsonl")).name, sidecar_path(Path("npo.jsonl.0123abcd")).name
    ('npo.meta.json', 'npo.meta.json.0123abcd')
    """
    return ledger.with_name(ledger.name.replace(".jsonl", ".meta.json"))


def items_folder(ledger: Path) -> Path:
    """Where a ledger's per-item outcomes stand.

    >>> items_folder(Path("npo.jsonl")).name
    'npo.items'
    """
    return ledger.with_name(ledger.name.replace(".jsonl", ".items"))


def write_items(ledger: Path, seed: int, items: Items) -> Path:
    """Write per-item outcomes as ``<slug>.items/<name>-seed<k>.parquet``.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    target = items_folder(ledger) / f"{items.name}-seed{seed}.parquet"
    with atomic_path(target) as temporary:
        pq.write_table(pa.table(dict(items.columns)), temporary)
    return target


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, so that runs side by side add to one ledger without losing seeds.

    The lock is on the folder itself, leaves no file, and ends with the process. Where the system
    has no such locks, nothing is held.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8 text, got other bytes ({error})") from error
    except OSError as error:
        raise storage_error("reading", path, error) from error


def _parse_object(where: str, text: str, fields: Mapping[str, type]) -> dict[str, Any]:
    """Parse a line as an object with exactly these fields, or say what is wrong with it."""
    try:
        row = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where}: expected JSON ({error})") from error
    if not isinstance(row, dict):
        raise InputError(f"{where}: expected a JSON object, got {type(row).__name__}")
    missing = [name for name in fields if name not in row]
    if missing:
        raise InputError(f"{where}: field {missing[0]!r} is missing; this is no ledger line")
    if extra := [name for name in row if name not in fields]:
        raise InputError(f"{where}: field {extra[0]!r} is not one of {', '.join(fields)}")
    for name, kind in fields.items():
        if type(row[name]) is not kind:
            raise InputError(
                f"{where}, field {name!r}: expected {kind.__name__}, got {row[name]!r}"
            )
    return row


def _parse_header(path: Path, text: str) -> dict[str, Any]:
    where = f"{path}, line 1"
    header = _parse_object(where, text, _HEADER)
    if header["gradatim_ledger"] != FORMAT:
        raise InputError(
            f"{where}: expected ledger format {FORMAT}, got {header['gradatim_ledger']}, "
            "which another version of gradatim wrote"
        )
    if header["budget"] not in BUDGETS:
        raise InputError(
            f"{where}: expected budget {' or '.join(BUDGETS)}, got {header['budget']!r}"
        )
    if not all(isinstance(value, str) for value in header["modules"].values()):
        raise InputError(f"{where}, field 'modules': expected hashes")
    stem = file_stem(header["slug"], header["budget"])
    if not path.name.startswith(f"{stem}.jsonl"):
        raise InputError(
            f"{where}: this is the ledger of {header['slug']!r} with budget "
            f"{header['budget']!r}, whose file is named {stem}.jsonl"
        )
    return header


def _parse_measurements(path: Path, lines: list[str]) -> dict[int, tuple[Measurement, ...]]:
    found: dict[int, list[Measurement]] = {}
    seen: dict[tuple[int, str, str, str], int] = {}
    for number, text in enumerate(lines, start=2):
        where = f"{path}, line {number}"
        row = _parse_object(where, text, _LINE)
        if not math.isfinite(row["value"]):
            raise InputError(f"{where}, field 'value': expected a finite number")
        key = (row["seed"], row["arm"], row["metric"], row["group"])
        if key in seen:
            raise InputError(
                f"{where}: seed {key[0]}, arm {key[1]!r}, metric {key[2]!r}, group {key[3]!r} "
                f"stands in line {seen[key]} already"
            )
        seen[key] = number
        one = Measurement(row["arm"], row["metric"], row["value"], row["group"])
        found.setdefault(row["seed"], []).append(one)
    return {seed: tuple(found[seed]) for seed in sorted(found)}


def _read_sidecar(path: Path) -> dict[int, SeedRun]:
    """What is known of the runs; a ledger without a sidecar is whole."""
    if not path.exists():
        return {}
    try:
        seeds = json.loads(_read_text(path))["seeds"]
        return {int(seed): SeedRun(**run) for seed, run in seeds.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: expected the sidecar of a ledger, which may be removed without loss ({error})"
        ) from error
