"""Ids of rows that depend on what the rows hold, and on nothing else."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from gradatim.core.io.columns import is_list, is_text
from gradatim.core.io.tables import read_table

_EXACT = 2**53


def content_ids(table: Any) -> list[str]:
    """Give every row an id made from its content.

    The id is the sum, modulo 2^64 in each of two lanes, of the 128-bit XXH3 hashes of the row's
    values, each hashed with its column's name. It depends neither on the order of the columns,
    nor on chunks, nor on how equal values are stored: 1 and 1.0, float32 and float64, text and
    categories, null, NaN and a column that is not there, Parquet, JSON Lines and data frames all
    give the same ids. Rows with the same content get "-1", "-2"... in their order.

    Args:
        table: whatever :func:`gradatim.core.io.tables.read_table` reads.

    Returns:
        One id a row: 32 hexadecimal digits, and a suffix where a row stands there again.

    >>> a, b, c = content_ids({"text": ["x", "y", "x"], "label": [0, 1, 0]})
    >>> len(a), a == b, c == f"{a}-1"
    (32, False, True)
    """
    rows = read_table(table, allow_empty=True)
    total = np.zeros((rows.num_rows, 2), np.uint64)
    for name in rows.column_names:
        present = pc.invert(pc.is_null(rows[name], nan_is_null=True))
        seed = xxhash.xxh3_64_intdigest(name.encode())
        digests = b"".join(
            [
                xxhash.xxh3_128_digest(encoded, seed)
                for chunk in rows[name].filter(present).chunks
                for encoded in _encoded(chunk)
            ]
        )
        total[present.to_numpy()] += np.frombuffer(digests, ">u8").reshape(-1, 2)
    return _numbered(total)


def _numbered(total: np.ndarray) -> list[str]:
    text = total.astype(">u8").tobytes().hex()
    ids = [text[start : start + 32] for start in range(0, len(text), 32)]
    if len(set(ids)) < len(ids):
        seen: Counter[str] = Counter()
        for row, digits in enumerate(ids):
            ids[row] = f"{digits}-{seen[digits]}" if seen[digits] else digits
            seen[digits] += 1
    return ids


def _encoded(values: pa.Array) -> list[bytes]:
    """Values, none of them missing, as bytes that say what each is, whatever its column's type."""
    kind = values.type
    if is_text(kind):
        return _encoded_text(values.cast(pa.large_binary()))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        numbers = values.to_numpy(zero_copy_only=False)
        return _encoded_numbers(numbers, np.arange(1, len(numbers) + 1), b"n", values)
    if is_list(kind) and (pa.types.is_integer(kind.value_type) or _is_float(kind.value_type)):
        flat = pc.list_flatten(values)
        if not (flat.null_count and pa.types.is_integer(flat.type)):
            ends = np.cumsum(pc.list_value_length(values).to_numpy(zero_copy_only=False))
            return _encoded_numbers(flat.to_numpy(zero_copy_only=False), ends, b"l", values)
    return [_encoded_value(value) for value in values.to_pylist()]


def _encoded_text(values: pa.Array) -> list[bytes]:
    if not len(values):
        return []
    _, offsets, data = values.buffers()
    bounds = np.frombuffer(offsets, np.int64)[values.offset :][: len(values) + 1]
    octets = memoryview(data or b"")
    return [b"t" + octets[start:end] for start, end in pairwise(bounds.tolist())]


def _encoded_numbers(
    numbers: np.ndarray, ends: np.ndarray, tag: bytes, values: pa.Array
) -> list[bytes]:
    """Encode runs of numbers as float64, and those with larger integers than it holds exactly."""
    nearest = numbers.astype("<f8") + 0.0  # -0.0 + 0.0 is 0.0
    nearest[np.isnan(nearest)] = np.nan
    data = nearest.tobytes()
    bounds = [0, *(ends * 8).tolist()]
    encoded = [tag + data[start:end] for start, end in pairwise(bounds)]
    if numbers.dtype.kind in "iu":
        large = np.flatnonzero(np.abs(nearest) >= _EXACT)
        for row in np.unique(np.searchsorted(ends, large, side="right")).tolist():
            encoded[row] = _encoded_value(values[row].as_py())
    return encoded


def _encoded_value(value: Any) -> bytes:
    if isinstance(value, str):
        return b"t" + value.encode()
    if isinstance(value, bytes):
        return b"b" + value
    if isinstance(value, list) and all(item is None or _is_number(item) for item in value):
        return b"l" + _packed(value)
    if _is_number(value):
        return b"n" + _packed([value])
    if hasattr(value, "isoformat"):
        return b"t" + str(value.isoformat()).encode()
    canonical = json.dumps(_canonical(value), sort_keys=True, ensure_ascii=False, default=str)
    return b"j" + canonical.encode()


def _is_float(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _packed(values: Sequence[Any]) -> bytes:
    """Numbers as float64, followed by what the integers among them are away from that."""
    nearest = [math.nan if value is None else float(value) + 0.0 for value in values]
    away = [
        value - int(near) if isinstance(value, int) else 0
        for value, near in zip(values, nearest, strict=True)
    ]
    data = np.array([math.nan if near != near else near for near in nearest], "<f8").tobytes()
    return data + (np.array(away, "<f8").tobytes() if any(away) else b"")


def _canonical(value: Any) -> Any:
    """A nested value with whole floats as integers, and without fields that are missing."""
    if isinstance(value, dict):
        items = {key: _canonical(item) for key, item in value.items()}
        return {key: item for key, item in items.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float):
        if value != value:
            return None
        return int(value) if value.is_integer() else value
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, Decimal):
        return _canonical(float(value))
    return value.isoformat() if hasattr(value, "isoformat") else value
