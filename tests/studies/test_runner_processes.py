"""Runs in real processes: deaths, interrupts and kills."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gradatim.core.errors import InputError
from gradatim.studies.ledger import Ledger
from gradatim.studies.runner import StudyError, run_study

from .conftest import PLAIN, SLUG

THREADS = """
import sys

def study(seed, budget):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        yield Measurement("threads", name, float(os.environ[name]))
    yield Measurement("torch", "imported", float("torch" in sys.modules))
    yield Measurement("a", "accuracy", seed / 97)
"""

WAITS = (
    PLAIN
    + """
    if seed == 1 and (HERE / "wait").exists():
        (HERE / "pid.tmp").write_text(str(os.getpid()))
        (HERE / "pid.tmp").rename(HERE / "pid")
        time.sleep(60)
"""
)

SCRIPT = """
from gradatim.studies.runner import run_study
if {guard}:
    run_study("npo", [0, 1, 2], out={out!r}, jobs=1, module={name!r})
"""


def test_the_number_of_jobs_changes_nothing(write_study, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    name = write_study(THREADS)
    for jobs in (1, 2):
        run_study(SLUG, [0, 1], out=tmp_path / str(jobs), jobs=jobs, module=name)
    one, two = ((tmp_path / jobs / "npo.jsonl").read_bytes() for jobs in ("1", "2"))
    assert one == two
    table = Ledger.read(tmp_path / "1/npo.jsonl").tables[0]
    assert table["threads"].OMP_NUM_THREADS == table["threads"].MKL_NUM_THREADS == 1
    assert table["torch"].imported == 0, "a study that needs no torch does not pay for it"
    assert (os.environ["OMP_NUM_THREADS"], os.environ.get("MKL_NUM_THREADS")) == ("3", None)


def test_a_process_that_dies_costs_its_own_seed_alone(write_study, tmp_path) -> None:
    body = """
import signal

def study(seed, budget):
    if seed == 0:
        os._exit(3)
    if seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGINT)  # an interrupt is the parent's to handle
    yield Measurement("a", "accuracy", 0.5)
"""
    with pytest.raises(StudyError) as caught:
        run_study(SLUG, [0, 1, 2], out=tmp_path, module=write_study(body))
    message = str(caught.value)
    assert "seed 0: its process ended with exit code 3 before it was done" in message
    assert "seed 1: its process was ended by SIGKILL" in message
    assert Ledger.read(tmp_path / "npo.jsonl").seeds == (2,)


def start(folder: Path, script: str) -> subprocess.Popen[str]:
    (folder / "script.py").write_text(script)
    paths = [str(folder / "modules"), *filter(None, sys.path)]
    return subprocess.Popen(
        [sys.executable, str(folder / "script.py")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at /proc")
@pytest.mark.parametrize("manner", ["interrupted", "killed"])
def test_a_run_that_is_cut_off_keeps_what_it_has(write_study, tmp_path, here, manner) -> None:
    name, out = write_study(WAITS), tmp_path / "out"
    (tmp_path / "modules/wait").touch()
    run = start(tmp_path, SCRIPT.format(guard="__name__ == '__main__'", out=str(out), name=name))
    pid_file = tmp_path / "modules/pid"
    wait_for(pid_file.exists)
    child = int(pid_file.read_text())
    if manner == "killed":
        run.kill()
    else:
        os.killpg(run.pid, signal.SIGINT)  # as the terminal does, to parent and children
    _, errors = run.communicate(timeout=30)
    if manner == "interrupted":
        assert run.returncode == -signal.SIGINT
        assert errors.count("KeyboardInterrupt") == 1
    wait_for(lambda: is_gone(child))
    assert Ledger.read(out / "npo.jsonl").seeds == (0,)
    (tmp_path / "modules/wait").unlink()
    for folder in (out, tmp_path / "whole"):
        run_study(SLUG, [0, 1, 2], out=folder, executor=here, module=name)
    assert (out / "npo.jsonl").read_bytes() == (tmp_path / "whole/npo.jsonl").read_bytes()


def test_a_script_without_a_guard_is_told_so(write_study, tmp_path) -> None:
    script = SCRIPT.format(guard="True", out=str(tmp_path / "out"), name=write_study())
    _, errors = start(tmp_path, script.replace("[0, 1, 2]", "[0]")).communicate(timeout=60)
    assert "in a script, call it under `if __name__ == '__main__':`" in errors
    assert "npo: 1 of 1 seeds failed: seed 0: its process ended with exit code 1" in errors


def test_the_guard_is_told_as_an_input_error(write_study, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("multiprocessing.process._current_process._inheriting", True, raising=False)
    with pytest.raises(InputError, match="because the process of each seed imports the script"):
        run_study(SLUG, [0], out=tmp_path, module=write_study())
