"""Reading JSON Lines whose objects differ from line to line, as logs do, one object at a time."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradatim.core.errors import InputError
from gradatim.core.io.columns import kind_of, show
from gradatim.core.io.table_files import TableFile, find_table
from gradatim.core.io.text_blocks import Block, cut_lines, not_utf8, text_blocks


def is_json_lines(source: Any) -> bool:
    """Whether a source is the path of a JSON Lines file.

    >>> is_json_lines("scores.csv"), is_json_lines({"x": [1]})
    (False, False)
    """
    if not isinstance(source, str | os.PathLike):
        return False
    path = Path(source).expanduser()
    found = find_table(path) if path.is_file() else None
    return isinstance(found, TableFile) and found.format == "jsonl"


def json_records(path: str | os.PathLike[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read a JSON Lines file (also .gz or .zst) object by object; no types are made to agree.

    Args:
        path: the file.

    Yields:
        The object's place for messages ("log.jsonl, line 3") and the object. Blank lines are
        passed over.

    Raises:
        InputError: there is no such file, it is no JSON Lines file, or a line holds no object.
        StorageError: it cannot be read.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder) / "log.jsonl"
    ...     _ = file.write_text('{"x": 1}' + chr(10) + '{"x": "a"}')
    ...     [record for _, record in json_records(file)]
    [{'x': 1}, {'x': 'a'}]
    """
    file = find_table(Path(path).expanduser())
    if not isinstance(file, TableFile) or file.format != "jsonl":
        raise InputError(f"{path}: expected a JSON Lines file")
    for block in text_blocks(file, cut_lines):
        for number, line in enumerate(block.data.split(b"\n"), start=block.line):
            if line.strip():
                place = f"{file.path}, line {number}"
                yield place, _record(file, place, Block(line, number))


def _record(file: TableFile, place: str, line: Block) -> dict[str, Any]:
    try:
        value = json.loads(line.data.decode())
    except UnicodeDecodeError as error:
        raise not_utf8(file, line) from error
    except json.JSONDecodeError as error:
        got = f"{show(line.data.decode().strip())} ({error.msg}, character {error.pos + 1})"
        raise InputError(f"{place}: expected one JSON object a line, got {got}") from error
    if not isinstance(value, dict):
        raise InputError(f"{place}: expected one JSON object a line, got {kind_of(value)}")
    return value
