"""Vectors of many texts on disk, encoded a block at a time: a kill costs one block at most."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import platformdirs
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from gradatim.core.cache import content_hash
from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.core.files import atomic_path, atomic_write, storage_error

Texts: TypeAlias = Sequence[str] | pa.Array | pa.ChunkedArray
Encode: TypeAlias = Callable[[list[str]], NDArray[Any]]
Progress: TypeAlias = Callable[[int, int], None]

_FORMAT = 1


@dataclass(frozen=True)
class StoredVectors:
    """Vectors as they lie on the disk.

    Attributes:
        array: shape [N, D], read-only, mapped from the file.
        encoded: how many texts were encoded now.
        damaged: how many of those were there, but not as they had been written.
        path: the file.
    """

    array: NDArray[Any]
    encoded: int
    damaged: int
    path: Path


class VectorStore:
    """Vectors of texts on disk, under a key of the texts, the model and the prompt.

    All vectors of one key are one ``.npy`` file of full length, filled block by block. Beside it
    stands the checksum of every block that is done, written after the block is on the disk. What
    was done before a kill is not encoded again; a block that is not what its checksum says is.

    Args:
        folder: where files stand; by default ``vectors`` in the folder that the environment
            variable ``GRADATIM_CACHE`` names, or else in the user's cache folder.

    >>> from tempfile import TemporaryDirectory
    >>> def encode(texts):
    ...     return np.array([[len(text), 1.0] for text in texts])
    >>> with TemporaryDirectory() as folder:
    ...     store = VectorStore(Path(folder))
    ...     first = store.get_or_encode(["a", "bcd"], encode, model="length")
    ...     again = store.get_or_encode(["a", "bcd"], encode, model="length")
    ...     first.array.tolist(), first.encoded, again.encoded
    ([[1.0, 1.0], [3.0, 1.0]], 2, 0)
    """

    def __init__(self, folder: Path | None = None) -> None:
        if folder is None:
            base = os.environ.get("GRADATIM_CACHE") or platformdirs.user_cache_dir(
                "gradatim", appauthor=False
            )
            folder = Path(base) / "vectors"
        self.folder = Path(folder)

    def get_or_encode(
        self,
        texts: Texts,
        encode: Encode,
        *,
        model: str,
        prompt: str = "",
        dtype: Literal["float16", "float32"] = "float16",
        block: int = 4096,
        progress: Progress | None = None,
    ) -> StoredVectors:
        """Load the vectors of texts, encoding what is not there.

        Args:
            texts: N texts, or an Arrow array of them.
            encode: gives the vectors of some texts, [n, D].
            model: what tells the model from others, such as ``core.cache.model_hash`` gives.
            prompt: what the model is told before each text.
            dtype: of the numbers on the disk.
            block: texts encoded and written at a time.
            progress: called with how many texts are done, and of how many.

        Raises:
            InputError: no texts, a missing text, vectors of another shape, or a number that is not
                finite or too large for the dtype (its row is named).
            StorageError: the disk is full, or the folder cannot be written.
        """
        check_choice("dtype", dtype, ("float16", "float32"))
        check_range("block", block, 1)
        if not len(texts):
            raise InputError("texts: expected at least one, got none")
        starts = range(0, len(texts), block)
        parts = [content_hash(_texts(texts, start, block)) for start in starts]
        key = content_hash([*parts, model, prompt, dtype, str(block), str(_FORMAT)])
        file = _BlockFile(self.folder / f"{key}.npy", len(texts), block, np.dtype(dtype))
        done = file.sound_blocks()
        damaged = file.damaged
        left = [number for number in range(len(parts)) if number not in done]
        ready = len(texts) - sum(len(_range(texts, number, block)) for number in left)
        encoded = 0
        for number in left:
            part = _texts(texts, number * block, block)
            file.write(number, _checked(encode(part), len(part), number * block, dtype))
            encoded += len(part)
            if progress is not None:
                progress(ready + encoded, len(texts))
        return StoredVectors(file.array(), encoded, damaged, file.path)

    def size(self) -> int:
        """Bytes that the files take on the disk."""
        return sum(path.stat().st_size for path in self.folder.glob("*.npy"))

    def clear(self) -> None:
        """Remove the files of all keys."""
        for path in (*self.folder.glob("*.npy"), *self.folder.glob("*.blocks.json")):
            path.unlink(missing_ok=True)


class _BlockFile:
    """A ``.npy`` file that is filled block by block, and the checksums of those that are there."""

    def __init__(self, path: Path, rows: int, block: int, dtype: np.dtype[Any]) -> None:
        self.path, self.rows, self.block, self.dtype = path, rows, block, dtype
        self.marks = path.with_suffix(".blocks.json")
        self.checksums: dict[int, str] = {}
        self.width, self.offset, self.damaged = 0, 0, 0

    def sound_blocks(self) -> set[int]:
        """Blocks that are on the disk as they were written; counts the rows of others."""
        try:
            record = json.loads(self.marks.read_text(encoding="utf-8"))
            checksums = {int(number): str(one) for number, one in record["checksums"].items()}
            array = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            return set()
        if array.ndim != 2 or array.dtype != self.dtype or len(array) != self.rows:
            return set()
        self.width, self.offset = array.shape[1], array.offset
        for number, checksum in checksums.items():
            part = array[number * self.block : (number + 1) * self.block]
            if _checksum(part) == checksum:
                self.checksums[number] = checksum
            else:
                self.damaged += len(part)
        return set(self.checksums)

    def write(self, number: int, rows: NDArray[Any]) -> None:
        """Put a block where it belongs, and then its checksum beside the others'."""
        if not self.width:
            self._allocate(rows.shape[1])
        if rows.shape[1] != self.width:
            raise InputError(
                f"encode: expected vectors of {self.width} numbers as before, got {rows.shape[1]}"
            )
        try:
            with self.path.open("r+b") as file:
                file.seek(self.offset + number * self.block * self.width * self.dtype.itemsize)
                file.write(rows.tobytes())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise storage_error("writing", self.path, error) from error
        self.checksums[number] = _checksum(rows)
        with atomic_write(self.marks) as stream:
            json.dump({"checksums": self.checksums}, stream)

    def array(self) -> NDArray[Any]:
        """All rows, mapped."""
        found: NDArray[Any] = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return found

    def _allocate(self, width: int) -> None:
        """A file of full length, of which the disk holds only what is written."""
        if not width:
            raise InputError("encode: expected vectors with numbers, got shape [n, 0]")
        with atomic_path(self.path) as target, target.open("wb") as file:
            header = {
                "descr": np.lib.format.dtype_to_descr(self.dtype),
                "fortran_order": False,
                "shape": (self.rows, width),
            }
            np.lib.format.write_array_header_1_0(file, header)
            self.offset = file.tell()
            file.truncate(self.offset + self.rows * width * self.dtype.itemsize)
        self.width = width


def _range(texts: Texts, number: int, block: int) -> range:
    return range(number * block, min((number + 1) * block, len(texts)))


def _texts(texts: Texts, start: int, block: int) -> list[str]:
    """Some of the texts as a list of strings."""
    part = texts[start : start + block]
    return part.to_pylist() if isinstance(part, pa.Array | pa.ChunkedArray) else list(part)


def _checked(vectors: Any, rows: int, start: int, dtype: str) -> NDArray[Any]:
    """Vectors as they are written."""
    given = np.asarray(vectors)
    if given.ndim != 2 or len(given) != rows:
        raise InputError(f"encode: expected shape [{rows}, D], got {list(given.shape)}")
    with np.errstate(over="ignore"):
        held = np.ascontiguousarray(given, dtype=dtype)
    wrong = np.flatnonzero(~np.isfinite(held).all(axis=1))
    if len(wrong):
        came = "nan or infinity"
        if np.isfinite(given[wrong[0]]).all():
            came = f"up to {np.abs(given[wrong[0]]).max():.3g}, too large for {dtype}"
        raise InputError(f"vector of row {start + wrong[0]}: expected finite numbers, got {came}")
    return held


def _checksum(rows: NDArray[Any]) -> str:
    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(rows).data)
