import json

import pytest
import typer
from typer.testing import CliRunner

from gradatim.cli.app import Commands
from gradatim.cli.score import score
from gradatim.core.io.tables import write_table
from gradatim.core.side_table import SideTable
from tests.workflows.profile_tables import numbers
from tests.workflows.score_data import sums, write_jsonl


@pytest.fixture
def call(place):
    app = typer.Typer(cls=Commands, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.callback()(lambda: None)
    app.command()(score)
    return lambda *arguments: CliRunner().invoke(app, arguments)


@pytest.fixture
def file(place):
    write_table(sums(), place / "t.jsonl")
    return "t.jsonl"


def test_measures_examples_and_files(call, refused, file, place):
    result = call("score", file, "--level", "level", "--compare", "--out", "out")
    assert result.exit_code == 0, result.output
    assert "to do: level, words, length, steps: one pass over 20 rows" in result.stderr
    text = result.stdout
    assert text.startswith("rows: 20\ntext: questions in 'question', completed by 'answer'\n")
    for title in ("Measures", "From easy to hard by level", "Rank correlation (Spearman)"):
        assert f"\n{title}\n" in text
    assert "▁" in text or "█" in text
    assert text.rstrip().endswith("written: out")
    assert {one.name for one in (place / "out").iterdir()} == {
        "report.html",
        "score.png",
        "difficulty.parquet",
    }
    assert "exists already" in refused("score", file, "--level", "level", "--out", "out")
    assert call("score", file, "--measure", "length", "--out", "s.csv").exit_code == 0
    assert len(SideTable.load(place / "s.csv")) == 20


def test_json(call, file):
    result = call("score", file, "--measure", "length", "--input", "question", "--json")
    found = json.loads(result.stdout)
    assert found["measure"] == "length" and found["rows"] == 20 and found["written"] is None
    assert [one["measure"] for one in found["measures"]] == ["length"]
    assert len(found["deciles"]) == 11 and found["agreement"] is None


def test_labels_attempts_and_responses(call, place):
    numbers(60)[0].to_csv(place / "t.csv", index=False)
    result = call("score", "t.csv", "--label", "label", "--measure", "ensemble", "--compare")
    assert "What foretells failures (labels that models of other folds" in result.stdout
    write_table({"id": [0, 0, 1], "correct": [0, 0, 1]}, place / "a.csv")
    result = call("score", "t.csv", "--attempts", "a.csv", "--measure", "fail_rate")
    assert result.exit_code == 0, result.output
    assert "note: of 2 items 1 was solved by all" in result.stdout
    assert "Warning" not in result.output
    lines = [{"doc_id": 0, "doc": {"q": "x"}, "target": "1", "resps": [["1"]], "acc": 1.0}]
    write_jsonl(place / "log.jsonl", lines)
    assert call("score", "log.jsonl", "--measure", "fail-rate").exit_code == 0


def test_errors_are_one_line(refused, file):
    assert "got 'los'. Did you mean loss" in refused("score", file, "--measure", "los")
    assert "expected a column 'lvl'" in refused("score", file, "--level", "lvl")
    assert "'loss' needs a language model" in refused("score", file, "--measure", "loss")
    assert "none.csv" in refused("score", "none.csv")
    line = refused("score", file, "--responses", file, "--measure", "irt")
    assert "responses: t.jsonl: expected a column for who responded" in line
    assert "nothing named 'smolm3'" in refused(
        "score", file, "--measure", "loss", "--model", "smolm3"
    )
