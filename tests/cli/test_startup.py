import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import gradatim

SOURCE = Path(gradatim.__path__[0]).parent
HEAVY = ("torch", "pandas", "matplotlib", "numpy", "scipy", "jinja2", "rich.table")


def fresh(code: str) -> str:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n{code}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("module", ["gradatim", "gradatim.cli", "gradatim.cli.app"])
def test_imports_are_light(module):
    code = f"import {module}\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    assert fresh(code).strip() == "[]"


def test_import_and_help_are_quick():
    code = """import time
begin = time.process_time()
import gradatim
middle = time.process_time()
from gradatim.cli.app import app
from typer.testing import CliRunner
assert CliRunner().invoke(app, ["--help"]).exit_code == 0
print(middle - begin, time.process_time() - middle)
"""
    times = [tuple(map(float, fresh(code).split())) for _ in range(3)]
    assert min(one for one, _ in times) < 0.2
    assert min(two for _, two in times) < 0.5


def test_help_names_the_commands(process):
    result = process("--help")
    assert result.returncode == 0 and not result.stderr
    assert re.findall(r"^  (papers|show|run|report) ", result.stdout, re.MULTILINE) == [
        "papers",
        "show",
        "run",
        "report",
    ]


def test_version(process):
    project = SOURCE.parent / "pyproject.toml"
    assert process("--version").stdout == f"gradatim {gradatim.__version__}\n"
    if project.exists():
        assert tomllib.loads(project.read_text())["project"]["version"] == gradatim.__version__


def test_errors_in_a_process_are_one_line(process):
    result = process("show", "no-such-paper-at-all")
    assert result.returncode == 2 and not result.stdout
    assert result.stderr.startswith("error: paper: there is none called 'no-such-paper-at-all'")
    assert result.stderr.count("\n") == 1


def test_json_in_a_process(process):
    result = process("papers", "--json", "--search", "noisy labels")
    assert result.returncode == 0
    assert len(json.loads(result.stdout)) == 1


def test_a_reader_that_stops_early_is_no_error(process):
    code = "from gradatim.cli import main; main()"
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n{code}",
            "papers",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        running.stdout.close()
        errors = running.stderr.read()
    assert "Traceback" not in errors


def test_folders_are_attributes():
    assert gradatim.core.errors.InputError.__name__ == "InputError"
    assert "studies" in dir(gradatim)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gradatim.nothing
