"""A paper whose study is there, for this process and for those that it starts."""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import gradatim
import gradatim.papers
from gradatim.cli.app import app
from gradatim.studies.catalogue import find_paper
from tests.studies import synthetic_paper
from tests.studies.synthetic_results import SLUG, write_ledger

SOURCE = str(Path(gradatim.__path__[0]).resolve().parent)
MODULE = find_paper(SLUG).module

STARTUP = """
import os
import gradatim.papers
gradatim.papers.__path__.insert(0, os.environ["EXTRA_PAPERS"])
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, empty, with no results."""
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", SOURCE)
    return folder


@pytest.fixture
def study(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], None]]:
    """Put the synthetic study into ``gradatim.papers``; call it with a text to append to it."""
    papers, site = tmp_path / "papers", tmp_path / "site"
    papers.mkdir()
    site.mkdir()
    (site / "sitecustomize.py").write_text(STARTUP)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), SOURCE]))
    monkeypatch.setenv("EXTRA_PAPERS", str(papers))
    monkeypatch.setattr(
        gradatim.papers, "__path__", [str(papers), *gradatim.papers.__path__], raising=True
    )
    before = sys.modules.pop(MODULE, None)

    def write(more: str = "") -> None:
        text = Path(synthetic_paper.__file__).read_text() + more
        (papers / f"{MODULE.rpartition('.')[2]}.py").write_text(text)
        sys.modules.pop(MODULE, None)
        importlib.invalidate_caches()

    write()
    yield write
    sys.modules.pop(MODULE, None)
    if before is not None:
        sys.modules[MODULE] = before


@pytest.fixture
def results(study: Callable[[str], None], place: Path) -> Path:
    """``./results`` with ten seeds of the synthetic study."""
    write_ledger(place / "results", module=MODULE)
    return place / "results"


@pytest.fixture
def call(place: Path) -> Callable[..., Result]:
    """Call a command in this process."""

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, arguments)

    return run


@pytest.fixture
def refused(call: Callable[..., Result]) -> Callable[..., str]:
    """Call a command that must end with code 2 and one line on the error stream; return it."""

    def run(*arguments: str) -> str:
        result = call(*arguments)
        assert result.exit_code == 2, result.output
        line = result.stderr.strip()
        assert line.startswith("error: ") and "\n" not in line
        assert "Traceback" not in result.output
        return line

    return run


@pytest.fixture
def process(place: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Call a command in a process of its own."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", "from gradatim.cli import main; main()", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run
