import json

import pytest
import typer
from typer.testing import CliRunner

from gradatim.cli.app import Commands
from gradatim.cli.task_difficulty import task_difficulty
from tests.workflows.profile_tables import numbers

app = typer.Typer(cls=Commands, pretty_exceptions_enable=False, rich_markup_mode=None)
app.command()(task_difficulty)


@app.callback()
def top():
    pass


@pytest.fixture
def call(place):
    return lambda *arguments: CliRunner().invoke(app, ["task-difficulty", *arguments])


@pytest.fixture
def refused(call):
    def run(*arguments):
        result = call(*arguments)
        assert result.exit_code == 2, result.output
        line = result.stderr.strip().splitlines()[-1]
        assert line.startswith("error: ") and "Traceback" not in result.output
        return line

    return run


@pytest.fixture
def file(place):
    numbers(rows=150)[0].drop(columns="level").to_csv(place / "t.csv", index=False)
    return "t.csv"


OPTIONS = ("--label", "label", "--error", "0.1")


def test_sentence_tables_and_files(call, refused, file, place):
    result = call(file, *OPTIONS, "--out", "out")
    assert result.exit_code == 0, result.output
    assert "to do: neighbours in 5 numbers a row" in result.stderr
    text = result.stdout
    assert text.startswith("150 rows of 2 classes vary along ")
    for line in (
        "intrinsic dimension: ",
        "bits, bound for learners of any kind: 10^",
        "bits, exact for smooth functions: ",
        "\nDimension and bound\n",
        "\nBy error\n",
        "\nBeside well-known data\n",
        "ImageNet",
        "\nRows nearest to another class\n",
        "written: out",
    ):
        assert line in text
    assert {one.name for one in (place / "out").iterdir()} == {
        "report.html",
        "task_difficulty.png",
        "difficulty.parquet",
    }
    assert "exists already" in refused(file, *OPTIONS, "--out", "out")


def test_json(call, file):
    result = call(
        file, *OPTIONS, "--input", "a", "--input", "b", "--no-exact", "--seed", "2", "--json"
    )
    record = json.loads(result.stdout)
    assert (record["rows"], record["classes"], record["features"]) == (150, 2, 2)
    assert record["log10_bits_low"] <= record["log10_bits"] <= record["log10_bits_high"]
    assert len(record["sensitivity"]) >= 10 and record["written"] is None
    assert record["curve"][0]["exact_bits"] is None


def test_the_input_is_never_overwritten(refused, place):
    (place / "out").mkdir()
    numbers(rows=60)[0].to_parquet(place / "out/difficulty.parquet")
    line = refused("out/difficulty.parquet", "--label", "label", "--out", "out", "--overwrite")
    assert "is an input of this job" in line


def test_errors_are_one_line(refused, file):
    assert "expected a column 'lbl'" in refused(file, "--label", "lbl")
    assert "none.csv" in refused("none.csv", "--label", "y")
    assert "error: expected a number in (0.0, 1.0), got 2.0" in refused(
        file, "--label", "label", "--error", "2"
    )
