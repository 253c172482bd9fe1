"""Language recipes on batches by tokens end in two processes as in one."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tests.training.two_processes_language import tune

pytest.importorskip("transformers", reason="needs transformers: pip install 'gradatim[llm]'")


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """The folder in which both processes left their weights."""
    out = tmp_path_factory.mktemp("two")
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
        "--main_process_port", "0", "-m", "tests.training.two_processes_language", str(out),
    ]  # fmt: skip
    on_processors = {**os.environ, "ACCELERATE_USE_CPU": "1"}
    run = subprocess.run(command, capture_output=True, text=True, timeout=200, env=on_processors)
    assert run.returncode == 0, run.stderr[-3000:]
    return out


@pytest.mark.parametrize("kind", ["supervised", "preference", "unlearning"])
def test_two_processes_equal_one(ended, kind):
    first, second = (load_file(ended / f"{kind}-{rank}.safetensors") for rank in (0, 1))
    alone = tune(kind)
    start = {name: value for name, value in _weights_before().items() if name in alone}
    moved = sum(float((alone[name] - value).norm()) for name, value in start.items())
    assert moved > 0.1
    for name, value in alone.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-5)


def _weights_before():
    from gradatim.language.transformers_lm import TransformersLM
    from tests.language.tiny_models import tiny_model

    return dict(TransformersLM(tiny_model()).named_parameters())
