import json

import datasets
import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from gradatim.cli.app import Commands
from gradatim.cli.mine import mine
from gradatim.core.content_ids import content_ids
from gradatim.core.side_table import SideTable


@pytest.fixture
def call(place):
    app = typer.Typer(cls=Commands, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(mine)
    app.command("other")(lambda: None)
    return lambda *arguments: CliRunner().invoke(app, arguments)


@pytest.fixture
def files(place):
    """Twenty pairs, more documents, and vectors of all."""
    random = np.random.default_rng(0)
    words = random.choice(["red", "blue", "sea", "fruit", "sky", "leaf"], (40, 6))
    documents = [f"{' '.join(row)} {number}" for number, row in enumerate(words)]
    queries = [f"what is {' '.join(row[:2])} {number}?" for number, row in enumerate(words[:20])]
    pairs = pd.DataFrame({"query": queries, "answer": documents[:20], "level": range(20)})
    pairs.to_csv(place / "pairs.csv", index=False)
    pd.DataFrame({"id": range(40), "text": documents}).to_json(
        place / "docs.jsonl", orient="records", lines=True
    )
    vectors = random.normal(size=(40, 8)).astype(np.float32)
    np.save(place / "d.npy", vectors)
    np.save(place / "q.npy", vectors[:20] + 0.8 * random.normal(size=(20, 8)))
    return (
        *("mine", "pairs.csv", "--corpus", "docs.jsonl"),
        *("--query-vectors", "q.npy", "--document-vectors", "d.npy", "--out", "m.parquet"),
    )


def test_files_what_was_passed_over_and_a_sample(call, refused, files, place):
    options = ("--relative-margin", "0.1", "--negatives", "4", "--report", "r.html")
    result = call(*files, *options)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].endswith("for 20 queries from 40 documents (80 rows, triplet)") or (
        "negatives for 20 queries" in lines[0]
    )
    for told in ("Passed over", "is a positive", "relative_margin", "A sample", "note: false neg"):
        assert told in result.stdout
    for name in ("m.parquet", "m.side.parquet", "r.html"):
        assert f"written: {name}" in result.stdout and (place / name).is_file()
    rows = datasets.Dataset.from_parquet("m.parquet", cache_dir=str(place / "cache"))
    assert rows.column_names == ["query", "answer", "negative"]
    side = SideTable.load(place / "m.side.parquet").reindex(content_ids(rows))
    assert set(side.column_names) == {"difficulty", "false_negative", "weight"}
    assert "exists already" in refused(*files)
    (place / "m.parquet").unlink()
    assert "m.side.parquet: exists already" in refused(*files)
    assert call(*files, "--overwrite").exit_code == 0
    assert "is an input" in refused(*files[:-1], "pairs.csv", "--overwrite")


def test_json_and_other_formats(call, files, place):
    options = ("--format", "n-tuple-scores", "--no-false-negatives", "--search", "approximate")
    record = json.loads(call(*files[:-1], "n.jsonl", *options, "--json").stdout)
    assert record["format"] == "n-tuple" and record["counts"]["rows"] == 20
    assert record["recall"] == 1.0 and record["written"] == ["n.jsonl", "n.side.parquet"]
    rows = pd.read_json(place / "n.jsonl", lines=True)
    assert list(rows.columns) == [
        "query", "answer", "negative_1", "negative_2", "negative_3", "scores",
    ]  # fmt: skip


def test_errors_are_one_line(refused, files, call):
    base = files[:4]
    assert "neither" in refused(*base, "--out", "m.parquet")
    assert "expected a column 'q'" in refused(*files, "--query", "q")
    assert "got 3.5" in refused(*files, "--duplicate-similarity", "3.5")
    assert "encoder: expected minilm" in refused(*base, "--out", "m.parquet", "--model", "no")
    assert "expected at least 62 different documents" in refused(*files, "--negatives", "61")
    assert "m.txt" in refused(*files[:-1], "m.txt")
    assert call("mine", "none.csv", "--out", "m.parquet").exit_code == 2
