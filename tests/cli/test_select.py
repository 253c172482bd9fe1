import json

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from gradatim.cli.app import Commands
from gradatim.cli.select import select
from tests.workflows.test_select import pool


@pytest.fixture
def call(place):
    app = typer.Typer(cls=Commands, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(select)
    app.command("other")(lambda: None)
    return lambda *arguments: CliRunner().invoke(app, arguments)


@pytest.fixture
def file(place):
    pool().drop(columns="vector").to_csv(place / "p.csv", index=False)
    return "p.csv"


def test_strata_and_files(call, refused, file, place):
    options = ("--budget", "30", "--by", "level", "--out", "c.parquet", "--report", "r.html")
    result = call("select", file, *options)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "30 of 200 rows chosen by level (stratified)"
    assert [line.split()[0] for line in lines[2:6]] == ["Stratum", "easy", "medium", "hard"]
    assert "written: c.parquet" in result.stdout
    assert len(pd.read_parquet(place / "c.parquet")) == 30
    assert "Strata" in (place / "r.html").read_text()
    assert "exists already" in refused("select", file, *options)
    assert call("select", file, *options, "--overwrite").exit_code == 0


def test_the_first_rows_and_json(call, file):
    arguments = ("select", file, "--budget", "20", "--by", "fail_rate", "--method")
    text = call(*arguments, "top").stdout
    assert "fail_rate 1, rank 1 of 200" in text and "--out FILE writes all" in text
    record = json.loads(call(*arguments, "robust", "--teacher-accuracy", "0.8", "--json").stdout)
    assert record["method"] == "robust" and len(record["chosen"]) == 20
    shared = call("select", file, "--budget", "30", "--by", "level", "--shares", "easy=1,medium=2")
    assert "10" in shared.stdout and "20" in shared.stdout
    assert call("select", file, "--budget", "9", "--by", "x", "--strata", "3").exit_code == 0
    centers = call(
        "select", file, "--budget", "9", "--method", "k-center", "--features", "x, fail_rate"
    )
    assert centers.exit_code == 0 and "choice 2: the farthest" in centers.stdout


def test_responses(call, file):
    options = ("--budget", "1000", "--by", "fail_rate", "--method", "prop2diff")
    text = call("select", file, *options, "--unit", "responses", "--max-trials", "64").stdout
    assert text.startswith("1,000 responses shared out over 200 rows by fail_rate (prop2diff)")
    assert "Responses" in text and "right responses" in text


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--budget", "900", "--by", "level"), "budget: expected at most 200"),
        (("--budget", "9", "--by", "levl"), "expected a column 'levl'"),
        (("--budget", "9", "--by", "level", "--shares", "hard"), "--shares: expected as in easy=1"),
        (("--budget", "9", "--by", "topic"), "column 'topic': expected a level"),
        (("--budget", "9", "--method", "best"), "method: expected one of"),
        (("--budget", "9", "--method", "uniform", "--out", "p.csv"), "is an input of this job"),
        (("--budget", "9", "--method", "uniform", "--out", "c.txt"), "whose name ends in"),
    ],
)
def test_arguments_are_checked(refused, file, options, told):
    assert told in refused("select", file, *options)


def test_a_missing_file(refused, place):
    assert "none.csv" in refused("select", "none.csv", "--budget", "1", "--method", "uniform")
