"""Features that are expensive to compute, kept on disk under a hash of all that they depend on."""

import json
import os
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import platformdirs
import pyarrow as pa
import torch
import xxhash
from numpy.typing import NDArray

from gradatim.core.errors import InputError, StorageError
from gradatim.core.files import atomic_write, remove_leftovers, storage_error

Content: TypeAlias = Sequence[str] | NDArray[Any] | torch.Tensor | pa.Table
Model: TypeAlias = torch.nn.Module | os.PathLike[str] | str

_CHUNK = 1 << 22  # bytes read, and strings hashed, at a time
_DIGEST_SIZE = 16
_ENTRY = re.compile(r"[0-9a-f]{32}\.npy")


class FeatureCache:
    """Arrays on disk, each under a key of the content, the model and the settings it came from.

    An entry is a ``.npy`` file, written atomically and followed by a checksum of itself: one that
    is damaged is computed anew, and processes that compute the same entry at once do no harm.

    Args:
        folder: where entries stand; by default ``features`` in the folder that the environment
            variable ``GRADATIM_CACHE`` names, or else in the user's cache folder.

    >>> from tempfile import TemporaryDirectory
    >>> def lengths(texts, model, *, scale):
    ...     return np.array([len(text) * scale for text in texts])
    >>> with TemporaryDirectory() as folder:
    ...     cache = FeatureCache(Path(folder))
    ...     cache.get_or_compute(["a", "bcd"], "length", lengths, scale=2).tolist()
    [2, 6]
    """

    def __init__(self, folder: Path | None = None) -> None:
        if folder is None:
            base = os.environ.get("GRADATIM_CACHE") or platformdirs.user_cache_dir(
                "gradatim", appauthor=False
            )
            folder = Path(base) / "features"
        self.folder = Path(folder)

    def get_or_compute(
        self,
        content: Content,
        model: Model,
        compute: Callable[..., NDArray[Any]],
        /,
        **settings: Any,
    ) -> NDArray[Any]:
        """Load ``compute(content, model, **settings)`` from the cache, or compute and keep it.

        The function gets exactly what the key is made of; whatever else it depends on (its own
        version, training or evaluation mode) belongs into the settings.

        Args:
            content: as in :func:`content_hash`.
            model: as in :func:`model_hash`.
            compute: called if there is no sound entry.
            settings: what ``compute`` is to know, as JSON values.

        Returns:
            The array, read-only, mapped from the file. If the entry cannot be written (a full
            disk), there is a warning, and the computed array is returned.

        Raises:
            InputError: a setting is not a JSON value, or ``compute`` returned no plain array.
        """
        path = self.folder / f"{_key(content, model, settings)}.npy"
        found = _load(path)
        if found is not None:
            return found
        features = compute(content, model, **settings)
        if not isinstance(features, np.ndarray) or features.dtype.hasobject:
            came = getattr(features, "dtype", type(features).__name__)
            raise InputError(f"compute: expected a numpy array of numbers or text, got {came}")
        try:
            _store(path, features)
        except StorageError as error:
            warnings.warn(f"features are not kept: {error}", stacklevel=2)
        found = _load(path)
        if found is not None:
            return found
        features = features.view()
        features.flags.writeable = False
        return features

    def size(self) -> int:
        """Bytes that the entries take on the disk."""
        total = 0
        for path in self._entries():
            with suppress(FileNotFoundError):  # another process may clear at the same time
                total += path.stat().st_size
        return total

    def clear(self) -> None:
        """Remove all entries, and nothing else that may stand in the folder."""
        for path in self._entries():
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise storage_error("removing", path, error) from error
        if self.folder.is_dir():
            remove_leftovers(self.folder)

    def _entries(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if _ENTRY.fullmatch(path.name)]


def content_hash(content: Content) -> str:
    """Hash texts, an array, a tensor or a table, by values, types and order.

    Args:
        content: a sequence of strings, a numpy array, a tensor on any device, or an Arrow table
            (its schema's metadata and its chunks do not count).

    Returns:
        32 hexadecimal digits (XXH3, 128 bits).

    Raises:
        InputError: content of another kind; for sequences the row is named.

    >>> content_hash(["ab", "c"]) == content_hash(["a", "bc"])
    False
    """
    digest = xxhash.xxh3_128()
    if isinstance(content, pa.Table):
        _add_table(digest, content)
    elif isinstance(content, torch.Tensor):
        _add_tensor(digest, content)
    elif isinstance(content, np.ndarray) and not content.dtype.hasobject:
        _add_array(digest, content)
    elif isinstance(content, (Sequence, np.ndarray)) and not isinstance(content, (str, bytes)):
        _add_texts(digest, content)
    else:
        raise InputError(
            "content: expected a list of strings, an array, a tensor or an Arrow table, "
            f"got {type(content).__name__}"
        )
    return str(digest.hexdigest())


def model_hash(model: Model) -> str:
    """Hash a model by what it computes with.

    Args:
        model: a module (its structure as printed, names and values of parameters and buffers); a
            path (names and bytes of the files there); or a string (a path if there is one of that
            name, else the name itself).

    Returns:
        32 hexadecimal digits (XXH3, 128 bits).

    Raises:
        InputError: a path where nothing stands, or a model of another kind.

    >>> model_hash("small-model") == model_hash("small-model@2")
    False
    """
    digest = xxhash.xxh3_128()
    if isinstance(model, torch.nn.Module):
        _add_module(digest, model)
    elif isinstance(model, os.PathLike) or (isinstance(model, str) and _exists(model)):
        _add_files(digest, Path(model))
    elif isinstance(model, str):
        _add_bytes(digest, "name", _encode(model))
    else:
        raise InputError(
            f"model: expected a module, a path or a string, got {type(model).__name__}"
        )
    return str(digest.hexdigest())


def _key(content: Content, model: Model, settings: dict[str, Any]) -> str:
    for name, value in settings.items():
        try:
            json.dumps(value, sort_keys=True)
        except (TypeError, ValueError) as error:
            raise InputError(f"{name}: expected a JSON value as a setting ({error})") from error
    parts = [content_hash(content), model_hash(model), json.dumps(settings, sort_keys=True)]
    return content_hash(parts)


def _add_bytes(digest: Any, kind: str, data: Any) -> None:
    """Add bytes after their kind and length, so that no two different inputs run together."""
    digest.update(f"{kind} {len(data)}\n".encode())
    digest.update(data)


def _add_texts(digest: Any, texts: Sequence[Any] | NDArray[Any]) -> None:
    digest.update(f"texts {len(texts)}\n".encode())
    for start in range(0, len(texts), 1 << 16):
        chunk = texts[start : start + (1 << 16)]
        for row, text in enumerate(chunk, start):
            if not isinstance(text, str):
                raise InputError(
                    f"content: expected strings, got {type(text).__name__} at row {row}"
                )
        encoded = [_encode(text) for text in chunk]
        digest.update(np.fromiter(map(len, encoded), np.int64, len(encoded)).tobytes())
        digest.update(b"".join(encoded))


def _add_array(digest: Any, array: NDArray[Any]) -> None:
    digest.update(f"array {array.dtype.descr} {array.shape}\n".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _add_tensor(digest: Any, tensor: torch.Tensor) -> None:
    if tensor.layout != torch.strided or tensor.is_meta:
        raise InputError(
            f"expected a dense tensor, got layout {tensor.layout} on device {tensor.device}"
        )
    digest.update(f"tensor {tensor.dtype} {tuple(tensor.shape)}\n".encode())
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().reshape(-1)
    digest.update(flat.view(torch.uint8).numpy().data)


def _add_table(digest: Any, table: pa.Table) -> None:
    class Sink:
        """The file that Arrow writes its stream to, a batch at a time."""

        closed = False

        def write(self, data: Any) -> int:
            digest.update(data)
            return len(data)

    bare = table.replace_schema_metadata(None).combine_chunks()
    digest.update(f"table {bare.num_rows}\n".encode())
    with pa.ipc.new_stream(Sink(), bare.schema) as stream:
        stream.write_table(bare, max_chunksize=1 << 16)


def _add_module(digest: Any, model: torch.nn.Module) -> None:
    _add_bytes(digest, "module", repr(model).encode())
    for name, part in model.named_modules():
        kind = type(part)
        _add_bytes(digest, "part", f"{name} {kind.__module__}.{kind.__qualname__}".encode())
    for group, tensors in (
        ("parameter", model.named_parameters()),
        ("buffer", model.named_buffers()),
    ):
        for name, tensor in tensors:
            _add_bytes(digest, group, name.encode())
            _add_tensor(digest, tensor)


def _add_files(digest: Any, path: Path) -> None:
    if not path.exists():
        raise InputError(f"model: {path} does not exist")
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    digest.update(f"files {len(files)}\n".encode())
    for file in files:
        name = file.name if file == path else file.relative_to(path).as_posix()
        _add_bytes(digest, "file", os.fsencode(name))
        try:
            digest.update(_file_digest(file, file.stat().st_size))
        except OSError as error:
            raise storage_error("reading", file, error) from error


def _file_digest(path: Path, length: int) -> bytes:
    """Digest of a file's first ``length`` bytes."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while length > 0 and (block := file.read(min(length, _CHUNK))):
            digest.update(block)
            length -= len(block)
    return bytes(digest.digest())


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # no file can have such a name
        return False


def _store(path: Path, features: NDArray[Any]) -> None:
    """Write the array with its checksum behind it, where readers of ``.npy`` do not look."""

    class Recorder:
        """Passes on what numpy writes, and hashes it on the way."""

        def __init__(self, file: Any) -> None:
            self.file, self.digest = file, xxhash.xxh3_128()

        def write(self, data: Any) -> int:
            self.digest.update(data)
            return int(self.file.write(data))

    with atomic_write(path, binary=True) as file:
        recorder = Recorder(file)
        np.lib.format.write_array(recorder, features, allow_pickle=False)
        file.write(recorder.digest.digest())


def _load(path: Path) -> NDArray[Any] | None:
    """Map an entry, or return None if there is none or it is damaged."""
    try:
        length = path.stat().st_size - _DIGEST_SIZE
        with path.open("rb") as file:
            file.seek(max(length, 0))
            checksum = file.read()
        if length <= 0 or _file_digest(path, length) != checksum:
            return None
        try:
            array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError:  # an array of size zero cannot be mapped
            array = np.load(path, allow_pickle=False)
            array.flags.writeable = False
        return array
    except (OSError, ValueError, EOFError):
        return None
