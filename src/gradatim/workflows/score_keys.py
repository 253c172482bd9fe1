"""Which row of a data set a key in another file means: an id, a row number, or a prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from gradatim.core.errors import InputError
from gradatim.core.io.columns import count, show


@dataclass(frozen=True)
class RowKeys:
    """What the rows of a data set can be called by.

    Attributes:
        ids: id of each row, shape [N].
        own_ids: whether these are the user's own, and not made of the content.
        prompts: :func:`prompt_key` of each row's prompt, shape [N]; None without text.
    """

    ids: NDArray[Any]
    own_ids: bool
    prompts: NDArray[np.uint64] | None


@dataclass(frozen=True)
class Matched:
    """Keys and the rows that they mean.

    Attributes:
        key: position of each row's key, -1 for rows without one, shape [N].
        by: what the keys are, in words.
        unknown: how many keys mean no row.
    """

    key: NDArray[np.int64]
    by: str
    unknown: int

    def spread(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give every row the value of its key, and NaN to rows without one."""
        found = np.full(len(self.key), np.nan)
        there = self.key >= 0
        found[there] = np.asarray(values, dtype=np.float64)[self.key[there]]
        return found


def prompt_key(prompt: str) -> int:
    """What a prompt is matched by: a hash of its text, blanks around it aside.

    >>> prompt_key(" 1 + 1?") == prompt_key("1 + 1?")
    True
    """
    return xxhash.xxh3_64_intdigest(prompt.strip().encode("utf-8", "surrogatepass"))


def match_keys(keys: Sequence[Any], rows: RowKeys, source: str) -> Matched:
    """Find out what keys are, and which rows they mean.

    Ids come first, then (if ids are made of the content) row numbers from 0, then prompts; what
    finds most keys is taken.

    Args:
        keys: all different.
        rows: what the rows can be called by.
        source: where the keys stand, for messages.

    Raises:
        InputError: no key means a row.

    >>> rows = RowKeys(np.array(["x", "y", "z"], dtype=object), True, None)
    >>> match_keys(["z", "x"], rows, "log").key.tolist()
    [1, -1, 0]
    """
    tries = [("ids", _by_text(keys, rows.ids))]
    if not rows.own_ids:
        tries.append(("row numbers", _by_number(keys, len(rows.ids))))
    if rows.prompts is not None:
        tries.append(("prompts", _by_prompt(keys, rows.prompts)))
    found = [(len(np.unique(place[place >= 0])), by, place) for by, place in tries]
    most, by, place = max(found, key=lambda one: one[0])
    if not most:
        told = ", ".join(by for by, _ in tries)
        raise InputError(
            f"{source}: expected {told} of the data, but {count(len(keys), 'key')} of it mean no "
            f"row; the first is {show(keys[0])}, and the first id of the data is "
            f"{show(rows.ids[0])}"
        )
    return Matched(place, by, len(keys) - most)


def _by_text(keys: Sequence[Any], ids: NDArray[Any]) -> NDArray[np.int64]:
    """Ids and keys as text, so that 7 and "7" are one."""
    import pandas as pd

    known = pd.Index([str(key) for key in keys])
    if not known.is_unique:  # 7 and "7" are two keys of the file
        return np.full(len(ids), -1, dtype=np.int64)
    return np.asarray(known.get_indexer(pd.Index([str(one) for one in ids])), dtype=np.int64)


def _by_number(keys: Sequence[Any], rows: int) -> NDArray[np.int64]:
    place = np.full(rows, -1, dtype=np.int64)
    for number, key in enumerate(keys):
        text = str(key)
        if text.isdecimal() and int(text) < rows:
            place[int(text)] = number
    return place


def _by_prompt(keys: Sequence[Any], prompts: NDArray[np.uint64]) -> NDArray[np.int64]:
    hashes = np.array([prompt_key(str(key)) for key in keys], dtype=np.uint64)
    order = np.argsort(hashes)
    place = np.searchsorted(hashes[order], prompts).clip(max=len(keys) - 1)
    found = order[place]
    return np.where(hashes[found] == prompts, found, -1)
