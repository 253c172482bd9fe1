import json

import pandas as pd
import pytest

from gradatim.core.side_table import SideTable
from tests.language.tiny_models import character_tokenizer, tiny_model
from tests.workflows.profile_tables import numbers


@pytest.fixture
def file(place):
    numbers(rows=200, wrong=6)[0].to_csv(place / "t.csv", index=False)
    return "t.csv"


OPTIONS = ("--label", "label", "--level", "level", "--measure", "level,confidence")


def test_findings_and_files(call, refused, file, place):
    result = call("profile", file, *OPTIONS, "--out", "out")
    assert result.exit_code == 0, result.output
    assert "to do: out-of-fold predictions, two rounds: 10 fits" in result.stderr
    text = result.stdout
    assert text.startswith("rows: 200: ") and "supervision gap recovered: " in text
    for title in ("Accuracy", "Likeliest label errors", "Measures"):
        assert f"\n{title}\n" in text
    assert "written: out" in text
    assert {one.name for one in (place / "out").iterdir()} == {
        "report.html",
        "profile.png",
        "difficulty.parquet",
    }
    assert len(SideTable.load(place / "out/difficulty.parquet")) == 200
    assert "exists already" in refused("profile", file, *OPTIONS, "--out", "out")


def test_json(call, file):
    result = call("profile", file, *OPTIONS, "--input", "a", "--input", "b", "--json")
    record = json.loads(result.stdout)
    assert record["measure"] == "level" and record["written"] is None
    assert sum(record["kinds"].values()) == 200 and len(record["matrix"]) == 8
    assert {row["measure"] for row in record["measures"]} == {"level", "confidence"}


def test_the_input_is_never_overwritten(refused, place):
    (place / "out").mkdir()
    numbers(rows=60)[0].to_parquet(place / "out/difficulty.parquet")
    line = refused(
        "profile", "out/difficulty.parquet", "--label", "label", "--out", "out", "--overwrite"
    )
    assert "is an input of this job" in line


def test_errors_are_one_line(refused, file, place):
    assert "expected a column 'lbl'" in refused("profile", file, "--label", "lbl")
    assert "none.csv" in refused("profile", "none.csv", "--label", "y")
    assert "measure: expected auto or some of" in refused(
        "profile", file, "--label", "label", "--measure", "best"
    )
    text = pd.DataFrame({"text": ["some words here"] * 30, "label": ["a", "b"] * 15})
    text["text"] += [f" {row}" for row in range(30)]
    text.to_csv(place / "text.csv", index=False)
    line = refused("profile", "text.csv", "--label", "label", "--encoder", "none")
    assert "encoder: expected one for the text columns, got none" in line


def test_heads_of_language_models(call, refused, place):
    frame = pd.DataFrame(
        {
            "question": [f"what is {a} plus {b}" for a in range(8) for b in range(6)],
            "options": [json.dumps([str(a + b), "x"]) for a in range(8) for b in range(6)],
            "answer": [str(a + b) for a in range(8) for b in range(6)],
            "level": [1] * 24 + [2] * 24,
        }
    )
    frame.to_csv(place / "q.csv", index=False)
    given = ("q.csv", "--label", "answer", "--options", "options", "--level", "level")
    line = refused("profile", *given, "--head", "lora")
    assert "model: expected a language model with head='lora'" in line
    assert "head: expected one of probe" in refused("profile", *given, "--head", "best")
    assert "model: expected none" in refused("profile", *given, "--model", "smollm2")
    line = refused("profile", *given, "--head", "lora", "--model", "m", "--shots", "3")
    assert "shots: expected none with head='lora'" in line
    pytest.importorskip("transformers", reason="needs transformers: pip install 'gradatim[llm]'")
    tiny_model(max_position_embeddings=256).save_pretrained(place / "tiny")
    character_tokenizer().save_pretrained(place / "tiny")
    small = ("--folds", "2", "--draws", "2", "--most-tested", "10", "--most-trained", "6")
    result = call(
        "profile", *given, *small, "--head", "in-context", "--model", "tiny", "--shots", "2"
    )
    assert result.exit_code == 0, result.output
    assert "to do: zero-shot: 48 rows asked, 96 options read by tiny" in result.stderr
    assert "model: 2 exemplars in context on text, read by tiny" in result.stdout
    assert "note: every prompt of the matrix shows 2 of 6 rows, in 2 draws" in result.stdout
