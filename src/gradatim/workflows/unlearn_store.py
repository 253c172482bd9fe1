"""What an output folder holds of a run of unlearning, and whose run it is."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gradatim.core.errors import InputError, StorageError
from gradatim.core.files import atomic_write, check_output_folder, remove_leftovers

PLAN, RESULT, CHECKPOINTS = "plan.json", "result.json", "checkpoints"

Record = dict[str, Any]


class RunFolder:
    """The output folder of one run; stages that are done there are not done again.

    Args:
        folder: where to; None keeps nothing.
        plan: all that the run depends on. A folder is taken up again by the same plan only.

    Raises:
        InputError: the folder holds another run, or files of the user's.
        StorageError: it cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, plan: Mapping[str, Any]) -> None:
        self.folder = None if folder is None else Path(folder)
        self.plan = _plain(plan)
        if self.folder is None:
            return
        if (self.folder / PLAN).is_file():
            _check_same(_read(self.folder / PLAN), self.plan, self.folder)
            return
        check_output_folder(self.folder)
        if there := sorted(one.name for one in self.folder.iterdir()):
            raise InputError(
                f"out: {self.folder} holds other files ({there[0]}); nothing is overwritten, "
                "name another folder"
            )

    def begin(self) -> None:
        """Make the folder this run's own, once it is clear that the run can begin."""
        if self.folder is not None:
            remove_leftovers(self.folder)
            if not (self.folder / PLAN).is_file():
                _write(self.folder / PLAN, self.plan)

    @property
    def checkpoints(self) -> Path | None:
        """Where checkpoints stand."""
        return None if self.folder is None else self.folder / CHECKPOINTS

    def stage(self, name: str, compute: Callable[[], Record | None]) -> Record | None:
        """What a stage gives: read if it is there, else computed and written."""
        if self.folder is None:
            return compute()
        path = self.folder / f"{name}.json"
        if path.is_file():
            return _value(path)
        found = compute()
        _write(path, {"value": found})
        return _value(path)  # as another run will read it

    def finished(self) -> Record | None:
        """The result, if the run is finished."""
        if self.folder is None or not (self.folder / RESULT).is_file():
            return None
        return _read(self.folder / RESULT)

    def finish(self, record: Record) -> None:
        """Write the result, and remove the checkpoints."""
        if self.folder is not None:
            _write(self.folder / RESULT, record)
            shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)


def _check_same(then: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    names = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    if names:
        raise InputError(
            f"out: {folder} holds another run, which differs in {', '.join(names)}; nothing is "
            "overwritten, name another folder"
        )


def _plain(values: Mapping[str, Any]) -> Record:
    """Values as they come back from a file."""
    found: Record = json.loads(json.dumps(values))
    return found


def _read(path: Path) -> Record:
    try:
        found: Record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: is damaged; remove it, and its stage is done again") from error
    return found


def _value(path: Path) -> Record | None:
    """What a stage has written."""
    found: Record | None = _read(path).get("value")
    return found


def _write(path: Path, record: Record) -> None:
    with atomic_write(path) as stream:
        json.dump(record, stream, indent=1)
