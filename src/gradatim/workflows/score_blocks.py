"""Going through a data set of any size in blocks, and keeping what is done of them."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gradatim.core.cache import content_hash
from gradatim.core.errors import InputError, StorageError
from gradatim.core.files import atomic_path, atomic_write, remove_leftovers, storage_error
from gradatim.core.io.columns import is_text
from gradatim.core.io.table_files import find_table
from gradatim.core.io.table_sources import open_source
from gradatim.core.io.tables import iterate_table, read_table

PLAN_FILE = "plan.json"
_BLOCK, _STAGE = "rows-", "stage-"


class TableReader:
    """A table of any size, read in blocks of equally many rows, as often as wanted.

    Columns of a CSV file that hold numbers at first and text later on are text throughout, so that
    the same row has the same content wherever reading begins.

    Args:
        source: whatever :func:`~gradatim.core.io.tables.iterate_table` reads.

    Attributes:
        name: what messages call it.
        columns: names of its columns.
        head: its first rows.
        count: its number of rows, if that is known without reading.
    """

    HEAD = 200

    def __init__(self, source: Any) -> None:
        self.source = source
        opened = open_source(source)
        self.name, self.count = opened.name, opened.count()
        self._text = _columns_that_become_text(opened) if opened.untyped else set()
        self.head = next(self.blocks(self.HEAD))
        self.columns = list(self.head.column_names)

    def blocks(
        self, rows: int, *, select: Sequence[str] | None = None, skip: int = 0
    ) -> Iterator[pa.Table]:
        """Go through it.

        Args:
            rows: how many rows a block has.
            select: the columns to read; None for all.
            skip: how many rows to pass over.

        Raises:
            InputError: it holds no rows, or is broken.
            StorageError: a file cannot be read.
        """
        text = self._text if select is None else self._text & set(select)
        return iterate_table(
            self.source, dict.fromkeys(sorted(text), "text"), rows, select=select, skip=skip
        )

    def place(self, offset: int, row: int) -> str:
        """How messages call a row of a block."""
        return f"{self.name}, row {offset + row}"

    def fingerprint(self) -> str:
        """What tells this table from another or from a changed one.

        Of a file: where it stands, its size and when it was written; of data in memory: a hash.
        """
        if isinstance(self.source, str | os.PathLike):
            return content_hash(_file_marks(Path(self.source).expanduser()))
        known = getattr(self.source, "_fingerprint", None)  # of a datasets.Dataset
        if isinstance(known, str):
            return known
        if self.count is None:
            return content_hash(["stream", *self.columns])
        return content_hash(read_table(self.source))


def _columns_that_become_text(opened: Any) -> set[str]:
    kinds: dict[str, set[bool]] = {}
    for table in opened.tables():
        for field in table.schema:
            if not pa.types.is_null(field.type):
                kinds.setdefault(field.name, set()).add(is_text(field.type))
    return {name for name, both in kinds.items() if len(both) > 1}


def _file_marks(path: Path) -> list[str]:
    found = find_table(path)
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    if isinstance(found, list):
        files = [file.path for file in found]
    marks = []
    for file in files:
        told = file.stat()
        marks.append(f"{file.resolve()} {told.st_size} {told.st_mtime_ns}")
    return marks


class BlockStore:
    """Blocks of results on disk, each whole or not there, and stages for what needs all rows.

    Called again with the same plan, it goes on where it was ended; with another plan it refuses.

    Args:
        folder: where blocks are kept until all is done; None keeps them in memory.
        plan: all that results depend on, as JSON values.
        overwrite: whether blocks of another plan may be thrown away.

    Raises:
        InputError: the folder holds blocks of another plan.
        StorageError: it cannot be written.
    """

    def __init__(
        self, folder: Path | None, plan: Mapping[str, Any], *, overwrite: bool = False
    ) -> None:
        self.folder = folder
        self._blocks: dict[int, pa.Table] = {}
        self._stages: dict[str, pa.Table] = {}
        if folder is None:
            return
        wanted = json.loads(json.dumps(plan, sort_keys=True, default=str))
        kept = _read_plan(folder)
        if kept is not None and kept != wanted:
            if not overwrite:
                names = sorted(one for one in {*kept, *wanted} if kept.get(one) != wanted.get(one))
                raise InputError(
                    f"{folder}: holds the blocks of an unfinished job that differs in "
                    f"{', '.join(names)}; finish that one, remove the folder, or overwrite it"
                )
            self.remove()
        if folder.is_dir():
            remove_leftovers(folder)
        with atomic_write(folder / PLAN_FILE) as file:
            json.dump(wanted, file, indent=1, sort_keys=True)

    @property
    def done(self) -> int:
        """How many rows are done, from the first on without a gap."""
        rows = 0
        for start, size in sorted((start, self._size(start)) for start in self._starts()):
            if start != rows:
                break
            rows += size
        return rows

    def write(self, start: int, table: pa.Table) -> None:
        """Keep a block that begins at a row."""
        if self.folder is None:
            self._blocks[start] = table
        else:
            self._write(self._path(start), table)

    def blocks(self) -> Iterator[pa.Table]:
        """All blocks, in the order of their rows."""
        for start in sorted(self._starts()):
            yield self._blocks[start] if self.folder is None else _read(self._path(start))

    def stage(self, name: str) -> pa.Table | None:
        """What was kept of a stage; None if it is not done."""
        if self.folder is None:
            return self._stages.get(name)
        path = self.folder / f"{_STAGE}{name}.parquet"
        return _read(path) if path.exists() else None

    def write_stage(self, name: str, table: pa.Table) -> None:
        """Keep a stage."""
        if self.folder is None:
            self._stages[name] = table
        else:
            self._write(self.folder / f"{_STAGE}{name}.parquet", table)

    def remove(self) -> None:
        """Remove the folder, and nothing in it that was not written here."""
        if self.folder is None or not self.folder.is_dir():
            return
        for pattern in (f"{_BLOCK}*.parquet", f"{_STAGE}*.parquet", PLAN_FILE):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)
        remove_leftovers(self.folder)
        with suppress(OSError):  # something of the user's stands in it
            self.folder.rmdir()

    def _starts(self) -> list[int]:
        if self.folder is None:
            return list(self._blocks)
        names = self.folder.glob(f"{_BLOCK}*.parquet")
        return [int(path.stem.removeprefix(_BLOCK)) for path in names]

    def _size(self, start: int) -> int:
        if self.folder is None:
            return len(self._blocks[start])
        return int(pq.read_metadata(self._path(start)).num_rows)

    def _path(self, start: int) -> Path:
        assert self.folder is not None
        return self.folder / f"{_BLOCK}{start:012d}.parquet"

    def _write(self, path: Path, table: pa.Table) -> None:
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary)


def blocks_folder(table_file: Path) -> Path:
    """Where the blocks of a job that will write a table are kept meanwhile.

    >>> blocks_folder(Path("out/difficulty.parquet")).name
    'difficulty.parquet.blocks'
    """
    return table_file.with_name(f"{table_file.name}.blocks")


def _read_plan(folder: Path) -> dict[str, Any] | None:
    path = folder / PLAN_FILE
    if not path.exists():
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(f"{folder}: expected a folder of blocks, got one of something else")
        return None
    try:
        plan: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: reading failed: {error}") from error
    return plan


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except OSError as error:
        raise storage_error("reading", path, error) from error
    except pa.ArrowException as error:
        raise StorageError(f"{path}: reading failed, the file is damaged: {error}") from error
