"""Peers that must not share our environment get their own, under the temporary folder."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def peer_python(package: str) -> str:
    """The Python of an environment that holds one package; it is made when it is first needed.

    Args:
        package: as pip is asked for it.

    Returns:
        The path of the interpreter.
    """
    folder = Path(tempfile.gettempdir()) / "gradatim-peers" / package.replace("=", "-")
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        command = [python, "-m", "pip", "install", "--quiet", package]
        subprocess.run(command, check=True, stdout=sys.stderr)
        done.touch()
    return str(python)


def run_peer(python: str, script: str, *arguments: str) -> dict[str, Any]:
    """Run a script there on one thread, and read the JSON on the last line that it prints."""
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    run = subprocess.run(
        ["env", *(f"{name}=1" for name in threads), python, "-c", script, *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found
