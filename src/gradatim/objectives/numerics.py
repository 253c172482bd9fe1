"""Precision inside objectives."""

import torch


def at_least_float32(values: torch.Tensor) -> torch.Tensor:
    """Raise half precision to float32, in which 1 - 1e-4 is not yet 1; leave the rest alone.

    >>> at_least_float32(torch.zeros(1, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return values.to(torch.promote_types(values.dtype, torch.float32))
