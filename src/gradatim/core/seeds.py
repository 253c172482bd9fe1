"""Randomness that depends on named keys alone, never on what ran before."""

import hashlib
import random

import numpy as np
import torch

Key = int | str


def derive_seed(seed: int, *keys: Key) -> int:
    """Mix a seed with keys into an independent 63-bit seed.

    The result is a function of its arguments alone (SHA-256 of their text), the same on every
    machine, so that "epoch 3, step 17" can be drawn without drawing what came before.

    >>> derive_seed(0, "epoch", 3) == derive_seed(0, "epoch", 3)
    True
    >>> derive_seed(0, "epoch", 3) == derive_seed(0, "epoch", 4)
    False
    """
    text = repr((int(seed), *keys)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1


def torch_generator(seed: int, *keys: Key, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator seeded by :func:`derive_seed`.

    >>> a = torch.rand(2, generator=torch_generator(0, "noise"))
    >>> b = torch.rand(2, generator=torch_generator(0, "noise"))
    >>> bool((a == b).all())
    True
    """
    return torch.Generator(device=device).manual_seed(derive_seed(seed, *keys))


def numpy_generator(seed: int, *keys: Key) -> np.random.Generator:
    """A numpy generator seeded by :func:`derive_seed`.

    >>> bool(numpy_generator(1, "a").random() == numpy_generator(1, "a").random())
    True
    """
    return np.random.default_rng(derive_seed(seed, *keys))


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and torch's global generators (for code that draws from them)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the global generator is what foreign code uses
    torch.manual_seed(seed)
