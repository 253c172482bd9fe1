"""Checkpoints: a directory of safetensors and JSON that is there whole or not at all."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gradatim.core.errors import InputError
from gradatim.core.files import atomic_directory, check_output_folder, remove_leftovers
from gradatim.training.serialization import load_state, load_tensors, save_state, save_tensors

FORMAT = 1
_NAME = re.compile(r"step-(\d{9})")


def save_checkpoint(
    folder: Path,
    step: int,
    weights: Mapping[str, torch.Tensor],
    state: Mapping[str, Any],
    *,
    keep: int = 2,
) -> Path:
    """Write ``folder/step-000000123`` and remove all but the newest ``keep`` checkpoints.

    Args:
        folder: where checkpoints stand.
        step: number of updates done.
        weights: parameters and buffers by name: ``model.safetensors``, readable by any tool.
        state: all else, nested: ``state.safetensors`` and ``state.json``.
        keep: how many checkpoints to keep.

    Returns:
        The checkpoint's directory.
    """
    target = folder / f"step-{step:09d}"
    with atomic_directory(target) as temporary:
        aliases = _save_weights(weights, temporary / "model.safetensors")
        save_state({"format": FORMAT, "aliases": aliases, **state}, temporary, "state")
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def list_checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints in a folder, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def open_folder(folder: Path) -> Path | None:
    """Make a checkpoint folder ready to write, and return the newest checkpoint in it, if any."""
    check_output_folder(folder)
    remove_leftovers(folder)
    found = list_checkpoints(folder)
    return found[-1] if found else None


def load_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a checkpoint's weights and state.

    Raises:
        InputError: a checkpoint of another format, or a pickle in its place.
        StorageError: a file is missing or damaged.
    """
    state = load_state(path, "state")
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise InputError(f"{path}: expected a gradatim checkpoint of format {FORMAT}")
    tensors = load_tensors(path / "model.safetensors")
    return {name: tensors[place] for name, place in state["aliases"].items()}, state


def load_weights(model: torch.nn.Module, weights: Mapping[str, torch.Tensor], source: str) -> None:
    """Load weights into a model after checking that they are this model's.

    Args:
        model: what to load into; unchanged if the check fails.
        weights: tensors by name.
        source: what to call the weights' origin in an error.

    Raises:
        InputError: names or shapes differ; the error names the first of them.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in weights]
    foreign = [name for name in weights if name not in own]
    reshaped = [name for name in own if name in weights and weights[name].shape != own[name].shape]
    problem = ""
    if missing:
        problem = f"it lacks {missing[0]!r}" + _others(missing)
    elif foreign:
        problem = f"it holds {foreign[0]!r}{_others(foreign)}, which the model has not"
    elif reshaped:
        name = reshaped[0]
        problem = (
            f"{name!r} has shape {list(weights[name].shape)}, the model's has "
            f"{list(own[name].shape)}{_others(reshaped)}"
        )
    if problem:
        raise InputError(f"{source}: is a checkpoint of another model: {problem}")
    model.load_state_dict(dict(weights))


def check_settings(saved: Mapping[str, Any], current: Mapping[str, Any], source: str) -> None:
    """Refuse to resume a run under other settings, which would be neither run.

    Raises:
        InputError: a setting differs; the error names it with both values.
    """
    for name, value in current.items():
        if saved.get(name) != value:
            raise InputError(
                f"{source}: was made with {name} = {saved.get(name)}, this run has {value}; "
                f"use another checkpoint folder, or the old setting"
            )


def _save_weights(weights: Mapping[str, torch.Tensor], path: Path) -> dict[str, str]:
    """Write weights by their own names, tied ones once; return where each stands."""
    stored: dict[tuple[Any, ...], str] = {}
    tensors: dict[str, torch.Tensor] = {}
    aliases: dict[str, str] = {}
    for name, tensor in weights.items():
        key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        place = stored.setdefault(key, name) if tensor.numel() else name
        aliases[name] = place
        if place == name:
            tensors[name] = tensor.detach().to("cpu", copy=True).contiguous()
    save_tensors(tensors, path)
    return aliases


def _others(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
