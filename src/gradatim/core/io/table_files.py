"""Finding the files of a table, refusing what is none, and reading Parquet files in parts."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gradatim.core.errors import InputError, StorageError, nearest_names
from gradatim.core.files import storage_error
from gradatim.core.io.columns import Part, missing_column, row_place

_FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
}
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_PICKLES = {".pkl", ".pickle", ".pt", ".pth", ".joblib"}
_SPLIT_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}\.(parquet|pq)$")


@dataclass(frozen=True)
class TableFile:
    """A file and what its ending says: "parquet", "jsonl", "csv" or "tsv", and compression."""

    path: Path
    format: str
    compression: str | None


def file_format(path: Path) -> TableFile:
    """Tell a table file's format from its ending.

    Raises:
        InputError: the ending belongs to no table format, or to a pickle.

    >>> file_format(Path("a/scores.csv.gz")).format
    'csv'
    """
    endings = [ending.lower() for ending in path.suffixes]
    compression = _COMPRESSIONS.get(endings[-1]) if endings else None
    if compression:
        endings.pop()
    ending = endings[-1] if endings else ""
    if ending in _PICKLES:
        raise InputError(
            f"{path}: expected a table, got a pickle, which can run code when it is opened; "
            "save the data as Parquet"
        )
    if ending not in _FORMATS or (compression and _FORMATS[ending] == "parquet"):
        known = ", ".join(_FORMATS)
        raise InputError(
            f"{path}: expected a table whose name ends in one of {known} "
            f"(text also compressed, .gz or .zst), got {''.join(path.suffixes[-2:]) or 'no ending'}"
        )
    return TableFile(path, _FORMATS[ending], compression)


def find_table(path: Path) -> TableFile | list[TableFile] | None:
    """Find what stands under a path.

    Returns:
        A file; the shards of a directory of Parquet files, in natural order; or None for a
        directory that ``datasets`` saved.

    Raises:
        InputError: there is nothing, it is no table, it is empty, or it holds several splits.
        StorageError: it cannot be opened.
    """
    try:
        if path.is_dir():
            return _find_in_directory(path)
        if not path.exists():
            raise InputError(_absent(path))
        file = file_format(path)
        _check_head(path)
    except OSError as error:
        raise storage_error("reading", path, error) from error
    return file


def parquet_rows(files: Sequence[TableFile]) -> int:
    """Count the rows of Parquet files from their footers."""
    return sum(_open_parquet(file.path).metadata.num_rows for file in files)


def parquet_parts(
    files: Sequence[TableFile],
    rows: int | None = None,
    select: Sequence[str] | None = None,
    skip: int = 0,
) -> Iterator[Part]:
    """Read Parquet files one after the other.

    All footers are read first, so that a broken shard, or one with other columns, is found before
    the work begins.

    Args:
        files: the files.
        rows: how many rows a part has at most; None for whole files.
        select: the columns to read; None for all.
        skip: how many rows to pass over; row groups that lie wholly before are not read.
    """
    schemas = [_open_parquet(file.path).schema_arrow for file in files]
    names = _common_columns(files, schemas)
    if select is not None:
        for name in select:
            if name not in names:
                raise missing_column(str(files[0].path), name, names)
        names = list(select)
    for file in files:
        opened = _open_parquet(file.path)
        total = opened.metadata.num_rows
        if skip and skip >= total:
            skip -= total
            continue
        try:
            yield from _file_parts(opened, file.path, names, rows, skip)
        except (OSError, pa.ArrowException) as error:
            raise StorageError(
                f"{file.path}: reading failed, the file is damaged: {error}"
            ) from error
        skip = 0


def _file_parts(
    opened: Any, path: Path, names: list[str], rows: int | None, skip: int
) -> Iterator[Part]:
    if rows is None:
        yield Part(opened.read(columns=names).select(names), row_place(str(path)))
        return
    groups, offset = list(range(opened.num_row_groups)), 0
    while groups and offset + opened.metadata.row_group(groups[0]).num_rows <= skip:
        offset += opened.metadata.row_group(groups.pop(0)).num_rows
    for batch in opened.iter_batches(batch_size=rows, row_groups=groups, columns=names):
        table = pa.Table.from_batches([batch]).select(names)
        drop = min(max(skip - offset, 0), table.num_rows)
        yield Part(table.slice(drop), row_place(str(path), offset + drop))
        offset += table.num_rows


def _open_parquet(path: Path) -> Any:
    # Without pre-buffering, memory holds pages rather than whole row groups.
    try:
        return pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
    except pa.ArrowException as error:
        raise InputError(f"{path}: expected a Parquet file, got a broken one: {error}") from error
    except OSError as error:
        raise storage_error("reading", path, error) from error


def _common_columns(files: Sequence[TableFile], schemas: Sequence[Any]) -> list[str]:
    """The columns of all files in the first one's order, without pandas' unnamed index."""
    first = schemas[0]
    twice = [name for name in first.names if first.names.count(name) > 1]
    if twice:
        raise InputError(f"{files[0].path}: column {twice[0]!r} stands there twice")
    for file, schema in zip(files, schemas, strict=True):
        for name in set(first.names) - set(schema.names):
            raise missing_column(str(file.path), name, schema.names)
        for name in set(schema.names) - set(first.names):
            raise InputError(
                f"{file.path}: has a column {name!r} that {files[0].path.name} has not"
            )
        for name in first.names:
            try:
                pa.unify_schemas(
                    [pa.schema([first.field(name)]), pa.schema([schema.field(name)])],
                    promote_options="permissive",
                )
            except pa.ArrowException as error:
                raise InputError(
                    f"{file.path}: column {name!r}: expected {first.field(name).type} as in "
                    f"{files[0].path.name}, got {schema.field(name).type}"
                ) from error
    return [name for name in first.names if not re.fullmatch(r"__index_level_\d+__", name)]


def _find_in_directory(path: Path) -> list[TableFile] | None:
    if (path / "dataset_dict.json").exists():
        splits = json.loads((path / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
        raise InputError(several_splits(str(path), splits))
    if (path / "state.json").exists() and (path / "dataset_info.json").exists():
        return None
    entries = [entry for entry in path.iterdir() if not entry.name.startswith((".", "_"))]
    shards = [entry for entry in entries if entry.suffix.lower() in (".parquet", ".pq")]
    if not shards:
        there = ", ".join(sorted(entry.name for entry in entries)[:10]) or "nothing"
        raise InputError(
            f"{path}: expected a directory of Parquet files or a saved dataset, found {there}"
        )
    matches = [_SPLIT_SHARD.match(shard.name) for shard in shards]
    splits = sorted({match.group(1) for match in matches if match})
    if len(splits) > 1:
        raise InputError(
            f"{path}: expected the shards of one split, got several: {', '.join(splits)}; "
            "put each into a directory of its own"
        )
    for shard in shards:
        _check_head(shard)
    return [TableFile(shard, "parquet", None) for shard in sorted(shards, key=_natural)]


def several_splits(name: str, splits: Sequence[str]) -> str:
    """The message for a dataset dictionary where one split is needed."""
    return (
        f"{name}: expected one split of a dataset, got a dictionary of the splits "
        f"{', '.join(splits)}; choose one, as in {name}/{splits[0] if splits else 'train'}"
    )


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort "part-2" before "part-10"."""
    pieces = re.split(r"(\d+)", path.name)
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in pieces]


def _absent(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"{path}: no such file, and the folder {folder} does not exist"
    near = nearest_names(path.name, sorted(entry.name for entry in folder.iterdir()))
    return f"{path}: no such file or directory.{near}" if near else f"{path}: no such file"


def _check_head(path: Path) -> None:
    """Refuse what its first bytes show to be empty, a pickle, or the stand-in for a large file."""
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        raise InputError(f"{path}: the file is empty (0 bytes)")
    if head[0] == 0x80 and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise InputError(
            f"{path}: expected a table, got a pickle, which can run code when it is opened; "
            "save the data as Parquet"
        )
    if head.startswith(b"version ") and b"git-lfs" in head:
        raise InputError(
            f"{path}: expected a table, got the Git LFS stand-in for one; run 'git lfs pull'"
        )
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path}: expected text in UTF-8, got UTF-16; save it as UTF-8")
