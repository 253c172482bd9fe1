"""A file that rejection sampling writes down call by call, to go on from after a kill."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gradatim.core.errors import InputError
from gradatim.core.files import storage_error
from gradatim.selection.rejection_sampling import Call, Kept

_KIND = "rejection sampling"


class RejectionLog:
    """JSON Lines: what is sampled, then a line a call, then the plan, then further calls.

    A line that a kill left unfinished is dropped; its call is made again.

    Args:
        path: the file; it is made, or gone on with if it is of the same job.
        job: what tells one job from another, JSON-able: questions, settings.

    Raises:
        InputError: the file is of another job, or no such log.
        StorageError: it cannot be read or written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "log.jsonl"
    ...     RejectionLog(path, "job").add(Call([0], [2], [1], [Kept(0, 1, "right")]))
    ...     RejectionLog(path, "job").calls
    [Call(questions=[0], trials=[2], correct=[1], kept=[Kept(question=0, trial=1,
    response='right')])]
    """

    def __init__(self, path: str | Path, job: Any) -> None:
        self.path = Path(path)
        self.calls: list[Call[Any]] = []
        """The calls, in their order; those made before the plan and those made after it."""
        self.plan: Mapping[str, Any] | None = None
        """What was planned after the first phase."""
        self.planned_after = 0
        """How many calls were made before the plan."""
        text = json.dumps(job, sort_keys=True, ensure_ascii=False, default=str)
        self._head = {"log": _KIND, "job": hashlib.sha256(text.encode()).hexdigest()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists() and self.path.stat().st_size:
                self._read()
            else:
                self._append(self._head)
        except OSError as error:
            raise storage_error("writing to", self.path, error) from error

    def add(self, call: Call[Any]) -> None:
        """Write a call down."""
        self._append({**dataclasses.asdict(call), "kept": [list(one) for one in call.kept]})
        self.calls.append(call)

    def settle(self, plan: Mapping[str, Any]) -> None:
        """Write down what is planned for the calls that follow."""
        self._append({"plan": plan})
        self.plan, self.planned_after = plan, len(self.calls)

    def _read(self) -> None:
        whole = self.path.read_bytes()
        end = whole.rfind(b"\n") + 1
        if end < len(whole):
            with self.path.open("r+b") as file:
                file.truncate(end)
        lines = whole[:end].splitlines()
        head = self._parsed(lines[0], 1) if lines else None
        if head is None:
            self._append(self._head)
            return
        if head.get("log") != _KIND:
            raise InputError(f"{self.path}: expected a log of rejection sampling, got another file")
        if head != self._head:
            raise InputError(
                f"{self.path}: is the log of another job (other questions or settings); give "
                "another path, or remove it"
            )
        for number, line in enumerate(lines[1:], start=2):
            self._take(self._parsed(line, number), number)

    def _take(self, record: Mapping[str, Any], number: int) -> None:
        if "plan" in record:
            self.plan, self.planned_after = record["plan"], len(self.calls)
            return
        try:
            kept = [Kept(*one) for one in record["kept"]]
            call = Call(record["questions"], record["trials"], record["correct"], kept)
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{self.path}, line {number}: expected a call of rejection sampling, got "
                f"{str(record)[:60]}"
            ) from error
        self.calls.append(call)

    def _parsed(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except ValueError as error:
            raise InputError(f"{self.path}, line {number}: expected JSON: {error}") from error
        if not isinstance(record, dict):
            raise InputError(f"{self.path}, line {number}: expected an object, got {record!r:.60}")
        return record

    def _append(self, record: Mapping[str, Any]) -> None:
        line = json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
        try:
            with self.path.open("ab") as file:
                file.write(line.encode())
        except OSError as error:
            raise storage_error("writing to", self.path, error) from error


def as_job(prompts: Sequence[Any], **settings: Any) -> list[Any]:
    """What tells one job from another: its prompts, by their text, and its settings.

    >>> as_job(["a"], k=2) == as_job(["a"], k=3)
    False
    """
    return [_texts(prompts), settings]


def _texts(prompts: Iterable[Any]) -> list[str]:
    return [one if isinstance(one, str) else repr(one) for one in prompts]
