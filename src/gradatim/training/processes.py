"""What several processes must agree on: gathering rows, randomness, what is supported."""

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gradatim.core.errors import InputError
from gradatim.core.seeds import derive_seed, seed_everything

if TYPE_CHECKING:
    from accelerate import Accelerator


def check_supported(accelerator: "Accelerator") -> None:
    """Refuse set-ups whose weights or optimizer states are sharded.

    Raises:
        InputError: FSDP, DeepSpeed, Megatron or TPU.
    """
    kind = str(accelerator.distributed_type.value)
    if kind not in ("NO", "MULTI_CPU", "MULTI_GPU", "MULTI_XPU", "MULTI_NPU", "MULTI_MLU"):
        raise InputError(f"accelerator: expected one process or data parallel (DDP), got {kind}")


def gather_rows(accelerator: "Accelerator", rows: torch.Tensor) -> torch.Tensor:
    """Concatenate tensors over processes in rank order; their first dimensions may differ."""
    if accelerator.num_processes == 1:
        return rows
    rows = rows.to(accelerator.device)
    sizes = accelerator.gather(torch.tensor([len(rows)], device=rows.device)).tolist()
    padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
    padded[: len(rows)] = rows
    parts = accelerator.gather(padded).split(max(sizes)) if max(sizes) else (rows,)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=False)])


def read_random_state() -> dict[str, Any]:
    """The state of Python's, numpy's and torch's global generators in this process."""
    version, words, gauss = random.getstate()
    name, keys, place, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    state = {
        "python": {"version": version, "words": torch.tensor(words), "gauss": gauss},
        "numpy": {"name": name, "keys": keys, "place": place, "gauss": (has_gauss, cached)},
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def write_random_state(state: dict[str, Any]) -> None:
    """Take up what :func:`read_random_state` returned."""
    python, numpy = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    np.random.set_state(  # noqa: NPY002
        (numpy["name"], numpy["keys"].astype(np.uint32), numpy["place"], *numpy["gauss"])
    )
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def seed_process(seed: int, rank: int) -> None:
    """Seed the global generators of this process (dropout and foreign code draw from them)."""
    seed_everything(derive_seed(seed, "fit", rank))
