"""The one policy of precision."""

import pytest
import torch

from gradatim.core.precision import at_least_float32, default_dtype, precision_name
from gradatim.training.fit import PRECISIONS


def test_the_default_follows_the_processor(monkeypatch):
    for probe in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, probe, lambda: False, raising=False)
    assert default_dtype() == torch.float32
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    assert default_dtype() == torch.bfloat16
    assert default_dtype(torch.device("meta")) == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_names_are_those_of_fit(dtype):
    assert precision_name(dtype) in PRECISIONS
    assert getattr(torch, precision_name(dtype)) is dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_only_half_precision_is_raised(dtype):
    expected = torch.float32 if dtype.itemsize == 2 else dtype
    assert at_least_float32(torch.ones(2, dtype=dtype)).dtype == expected
