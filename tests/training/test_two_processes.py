"""Two processes under ``accelerate launch`` end as one process would, and resume exactly."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tests.training import two_processes


def launch(out, *arguments):
    out.mkdir(exist_ok=True)
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
        "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
        "--main_process_port", "0", "-m", "tests.training.two_processes", str(out), *arguments,
    ]  # fmt: skip
    on_processors = {**os.environ, "ACCELERATE_USE_CPU": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=200, env=on_processors)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    out = tmp_path_factory.mktemp("two")
    run = launch(out)
    assert run.returncode == 0, run.stderr[-3000:]
    return {
        name: load_file(out / f"{name}.safetensors")
        for name in ("plain-0", "plain-1", "dropout-0", "dropout-1")
    }


def test_both_processes_end_alike(ended):
    for scenario in ("plain", "dropout"):
        for name, value in ended[f"{scenario}-0"].items():
            torch.testing.assert_close(
                value, ended[f"{scenario}-1"][name], rtol=0, atol=0, equal_nan=True
            )


def test_two_processes_equal_one(ended):
    for name, value in two_processes.train(None).items():
        torch.testing.assert_close(
            value, ended["plain-0"][name], rtol=1e-4, atol=1e-5, equal_nan=True
        )


def test_killed_and_run_again_they_end_with_the_same_bits(ended, tmp_path):
    assert launch(tmp_path, "5").returncode != 0
    run = launch(tmp_path)
    assert run.returncode == 0, run.stderr[-3000:]
    for rank in (0, 1):
        again = load_file(tmp_path / f"dropout-{rank}.safetensors")
        for name, value in ended[f"dropout-{rank}"].items():
            torch.testing.assert_close(again[name], value, rtol=0, atol=0, equal_nan=True)
