"""What is scored and what is known of it: the data, and files of attempts, responses, games."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gradatim.core.errors import InputError
from gradatim.core.io.json_records import json_records
from gradatim.workflows.candidate_logs import log_format
from gradatim.workflows.score_attempts import AttemptLog, read_attempts
from gradatim.workflows.score_inputs import ScoreColumns
from gradatim.workflows.score_ratings import (
    GameTable,
    Responses,
    read_game_table,
    read_response_table,
)


@dataclass(frozen=True)
class Sources:
    """What is scored, and what was tried.

    Attributes:
        data: the rows.
        columns: which of their columns hold what.
        attempts: attempts at them; None if there is no such file.
        responses: responses of subjects to them.
        games: games that they took part in.
        files: paths of all that was given.
    """

    data: Any
    columns: ScoreColumns
    attempts: AttemptLog | None
    responses: Responses | None
    games: GameTable | None
    files: tuple[str, ...]


def open_sources(
    data: Any, columns: ScoreColumns, attempts: Any, responses: Any, games: Any
) -> Sources:
    """Read the files beside the data.

    If the data are themselves a sampler's log, or one of the files, then their rows are the
    different questions in it.

    Args:
        data: the rows.
        columns: which columns hold what.
        attempts: a table or log of attempts, or None.
        responses: a table of responses, or None.
        games: a table of games, or None.

    Raises:
        InputError: as :func:`~gradatim.workflows.score_attempts.read_attempts` and its like.
    """
    if attempts is None and log_format(data) is not None:
        attempts = data
    given = [
        one for one in (data, attempts, responses, games) if isinstance(one, str | os.PathLike)
    ]
    found = Sources(
        data,
        columns,
        None if attempts is None else _named("attempts", read_attempts, attempts),
        None if responses is None else _named("responses", read_response_table, responses),
        None if games is None else _named("games", read_game_table, games),
        tuple(dict.fromkeys(str(os.fspath(one)) for one in given)),
    )
    for side, read in (
        (attempts, found.attempts),
        (responses, found.responses),
        (games, found.games),
    ):
        if read is not None and _same(data, side):
            return replace(found, data=_items(data, read.keys), columns=ScoreColumns(id="id"))
    return found


def _named(what: str, read: Any, source: Any) -> Any:
    try:
        return read(source)
    except InputError as error:
        raise InputError(f"{what}: {error}") from error


def _same(data: Any, other: Any) -> bool:
    if data is other:
        return True
    paths = [Path(one).expanduser() for one in (data, other) if isinstance(one, str | os.PathLike)]
    return len(paths) == 2 and paths[0].exists() and paths[0].samefile(paths[1])


def _items(source: Any, keys: list[Any]) -> Any:
    """The questions of a file as a table, with what a log tells of them."""
    import pandas as pd

    same = len({type(key) for key in keys}) == 1
    ids = np.array(keys if same else list(map(str, keys)), dtype=object)
    frame = pd.DataFrame({"id": ids})
    if log_format(source) != "lm-eval":
        return frame.infer_objects()
    told: dict[str, dict[str, Any]] = {}
    for _, record in json_records(source):
        key = str(record.get("doc_id", record.get("doc_hash")))
        doc: Mapping[str, Any] = record["doc"] if isinstance(record.get("doc"), dict) else {}
        plain = {
            name: value
            for name, value in doc.items()
            if isinstance(value, str | int | float) and name != "id"
        }
        told.setdefault(key, plain)
    more = pd.DataFrame([told[str(key)] for key in keys])
    return pd.concat([frame, more], axis=1).infer_objects()
