import json

import pandas as pd
import pytest

from tests.workflows.test_rerank import candidates


@pytest.fixture
def file(place):
    candidates().to_csv(place / "c.csv", index=False)
    return "c.csv"


def test_a_table_per_level_and_the_counts(call, file):
    result = call("rerank", file, "--level", "level", "--reference", "reference", "--ks", "1,8")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split()[:3] == ["Level", "Problems", "Rule"]
    assert [line.split()[0] for line in lines[1:17]] == [
        *["all"] * 4,
        *["1"] * 4,
        *["2"] * 4,
        *["3"] * 4,
    ]
    assert "pass@1  pass@8" in result.stdout and "problems: 30" in result.stdout
    assert "candidates without a readable answer" in result.stdout


def test_json_and_files(call, refused, file, place):
    options = ("--reference", "reference", "--out", "out")
    result = call("rerank", file, *options, "--json")
    record = json.loads(result.stdout)
    assert record["counts"]["problems"] == 30 and len(record["choices"]) == 30
    assert record["accuracy"][0]["rule"] == "majority" and record["written"] == "out"
    assert len(pd.read_csv(place / "out/accuracy.csv")) == 4
    assert "exists already" in refused("rerank", file, *options)
    assert call("rerank", file, *options, "--overwrite").exit_code == 0


def test_without_correctness_the_first_choices(call, file):
    text = call("rerank", file, "--score", "score").stdout
    assert text.startswith("problem") and "there are no accuracies" in text
    assert "--out DIR writes all" in text


def test_the_input_is_never_overwritten(refused, place):
    (place / "out").mkdir()
    candidates().to_csv(place / "out/curve.csv", index=False)
    line = refused("rerank", "out/curve.csv", "--out", "out", "--overwrite")
    assert "is an input of this job" in line


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--level", "levl"), "expected a column 'levl'"),
        (("--score", "prm,orm"), "expected a column 'prm'"),
        (("--ks", "1,x"), "--ks: expected numbers of at least 1 as in 1,2,4, got 'x'"),
        (("--rules", "best"), "rules: expected one of majority, weighted, best_of_n"),
        (("--equality", "same"), "equality: expected one of math, exact"),
    ],
)
def test_arguments_are_checked(refused, file, options, told):
    assert told in refused("rerank", file, *options)


def test_a_missing_file(refused, place):
    assert "none.csv" in refused("rerank", "none.csv")
