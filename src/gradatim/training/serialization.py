"""Nested state to one safetensors file and one JSON file, and back, to the last bit.

No pickle is written or read. Tensors and arrays go to the safetensors file; numbers, text, None,
lists, tuples and dictionaries go to the JSON file, which names each tensor's place.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from gradatim.core.errors import InputError, StorageError
from gradatim.core.files import storage_error

PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")


def flatten_state(state: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """Separate a nested state into a JSON skeleton and named tensors.

    Tensors that share one memory (tied weights) are stored once.

    Raises:
        InputError: the state holds something else than tensors, arrays, numbers, text, None,
            lists, tuples and dictionaries; the error names its place.

    >>> skeleton, tensors = flatten_state({"step": 3, "momentum": torch.ones(2)})
    >>> skeleton
    {'dict': [['step', 3], ['momentum', {'tensor': 'momentum'}]]}
    >>> restore_state(skeleton, tensors)
    {'step': 3, 'momentum': tensor([1., 1.])}
    """
    tensors: dict[str, torch.Tensor] = {}
    stored: dict[tuple[Any, ...], str] = {}

    def walk(value: Any, place: str) -> Any:
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, np.generic):
            return walk(np.asarray(value), place)
        if isinstance(value, torch.Tensor):
            return {"tensor": _store(value, place, tensors, stored)}
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            name = _free_name(place, tensors)
            tensors[name] = torch.from_numpy(np.ascontiguousarray(value).copy())
            return {"array": name}
        if isinstance(value, Mapping):
            items = [
                [_key(key, place), walk(item, f"{place}/{key}")] for key, item in value.items()
            ]
            return {"dict": items}
        if isinstance(value, list | tuple):
            items = [walk(item, f"{place}/{position}") for position, item in enumerate(value)]
            return {"tuple": items} if isinstance(value, tuple) else {"list": items}
        raise InputError(
            f"state at {place.lstrip('/') or 'top'}: expected tensors, numbers, text, None, lists, "
            f"tuples or dictionaries, got {type(value).__name__}"
        )

    return walk(state, ""), tensors


def restore_state(skeleton: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """Undo :func:`flatten_state`."""
    if not isinstance(skeleton, dict):
        return skeleton
    ((kind, content),) = skeleton.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "array":
        array = tensors[content].numpy()
        return array[()] if array.ndim == 0 else array
    if kind == "dict":
        return {key: restore_state(item, tensors) for key, item in content}
    items = [restore_state(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items


def save_state(state: Any, folder: Path, name: str) -> None:
    """Write ``name.safetensors`` and ``name.json`` into a folder."""
    skeleton, tensors = flatten_state(state)
    save_tensors(tensors, folder / f"{name}.safetensors")
    text = json.dumps(skeleton, ensure_ascii=False, separators=(",", ":"))
    (folder / f"{name}.json").write_text(text, encoding="utf-8")


def load_state(folder: Path, name: str) -> Any:
    """Read what :func:`save_state` wrote.

    Raises:
        StorageError: a file is missing or damaged.
        InputError: a file is a pickle.
    """
    path = folder / f"{name}.json"
    try:
        skeleton = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise storage_error("reading", path, error) from error
    except ValueError as error:
        raise StorageError(f"{path}: is not the JSON of a checkpoint: {error}") from error
    return restore_state(skeleton, load_tensors(folder / f"{name}.safetensors"))


def save_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write named tensors as safetensors; a full disk becomes a clear error."""
    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:
        raise StorageError(f"{path}: writing failed: {error}") from error
    except OSError as error:
        raise storage_error("writing", path, error) from error


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read named tensors from a safetensors file.

    Raises:
        InputError: the file is a pickle (``.pt``, ``.bin``, ``.pkl``): it is not opened, since
            opening one runs whatever code is in it.
        StorageError: the file is missing or damaged.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise storage_error("reading", path, error) from error
    try:
        return load_file(path)  # which runs no code, whatever the file is
    except SafetensorError as error:
        # A safetensors file begins with the length of its header, which may be such bytes too.
        if start.startswith(PICKLE_STARTS):
            raise InputError(
                f"{path}: expected a safetensors file, got a pickle (or zip), which is not opened "
                f"because it can run code; convert it with safetensors.torch.save_file"
            ) from None
        raise StorageError(f"{path}: is not a whole safetensors file: {error}") from error


def _store(
    tensor: torch.Tensor,
    place: str,
    tensors: dict[str, torch.Tensor],
    stored: dict[tuple[Any, ...], str],
) -> str:
    """Store a tensor under its place, or point to the equal memory stored before."""
    plain = tensor.detach()
    key = (plain.data_ptr(), plain.shape, plain.stride(), plain.dtype, plain.device)
    if plain.numel() and key in stored:
        return stored[key]
    name = stored[key] = _free_name(place, tensors)
    tensors[name] = plain.to("cpu", copy=True).contiguous()
    return name


def _free_name(place: str, tensors: Mapping[str, torch.Tensor]) -> str:
    """A place as a name; a blank is added to one that is taken (keys "a/b" and "a" then "b")."""
    name = place.lstrip("/")
    while name in tensors:
        name += " "
    return name


def _key(key: Any, place: str) -> int | str:
    """Dictionary keys are numbers or text."""
    if isinstance(key, int | str):
        return key
    raise InputError(f"state at {place or 'top'}: expected keys of text or integers, got {key!r}")
