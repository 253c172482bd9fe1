"""The one place that decides in which precision models compute."""

import torch


def default_dtype(device: torch.device | str = "cpu") -> torch.dtype:
    """The precision for large matrix products on a device: bfloat16 where it is fast.

    Args:
        device: where the products are computed.

    Returns:
        ``torch.bfloat16`` on GPUs that support it and on processors with instructions for it,
        else ``torch.float32``.

    >>> default_dtype("cpu") in (torch.bfloat16, torch.float32)
    True
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if kind == "cpu" and _has_bfloat16_instructions():
        return torch.bfloat16
    return torch.float32


def precision_name(dtype: torch.dtype) -> str:
    """A precision's name, as ``fit(precision=...)`` takes it.

    >>> precision_name(torch.bfloat16)
    'bfloat16'
    """
    return str(dtype).removeprefix("torch.")


def at_least_float32(values: torch.Tensor) -> torch.Tensor:
    """Raise half precision to float32, in which 1 - 1e-4 is not yet 1; leave the rest alone.

    >>> at_least_float32(torch.zeros(1, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _has_bfloat16_instructions() -> bool:
    """Whether the processor multiplies bfloat16 matrices itself."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, bool)() for probe in probes)
