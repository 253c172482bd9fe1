import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import gradatim
from gradatim.core.content_ids import content_ids
from gradatim.core.errors import InputError
from gradatim.core.side_table import SideTable
from gradatim.difficulty import task_difficulty as difficulty_module
from gradatim.difficulty.class_margin import nearest_enemies
from gradatim.difficulty.intrinsic_dimension import local_dimension
from gradatim.difficulty.task_difficulty import measure_task
from gradatim.workflows import task_difficulty as workflow_module
from gradatim.workflows.task_difficulty import task_difficulty
from tests.workflows.profile_tables import numbers, texts

QUICK = {"n_train": 60, "n_test": 30, "splits": 2}
NUMBERS = ["a", "b", "c"]


@pytest.fixture(scope="module")
def frame():
    return numbers(rows=240)[0]


@pytest.fixture(scope="module")
def measured(frame):
    told = []
    result = task_difficulty(
        frame, label="label", input=NUMBERS, error=0.05, tell=told.append, **QUICK
    )
    return result, told


def test_a_table_is_standardized_and_measured(frame, measured):
    result, told = measured
    X = frame[NUMBERS].to_numpy()
    X = ((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32)
    expected = measure_task(X, frame["label"], error=0.05, **QUICK)
    assert result.measured.dimension.estimate == pytest.approx(expected.dimension.estimate, 1e-4)
    assert result.measured.complexity.log10_bits == pytest.approx(
        expected.complexity.log10_bits, 1e-4
    )
    assert result.sentence().startswith("240 rows of 2 classes vary along ")
    assert result.table().columns[0] == "points" and len(result.curve()) == 6
    assert told == list(result.costs) and len(told) == 3
    assert "in samples of 60, 120, 240 rows: less than a second" in told[0]
    assert "2 Gaussian processes of 60 rows, tested on 30" in told[2]


def test_each_row_is_told_of(frame, measured):
    result, _ = measured
    rows = result.rows
    assert rows["id"].tolist() == content_ids(frame) and rows["id"].is_unique
    assert rows["label"].tolist() == frame["label"].tolist()
    np.testing.assert_array_equal(rows["difficulty"], -rows["enemy_distance"])
    assert (rows["enemy_label"] != rows["label"]).all()
    assert (frame["label"].to_numpy()[rows["enemy_row"]] == rows["enemy_label"]).all()
    score = abs(frame[NUMBERS].to_numpy() @ [2.0, -1.0, 0.5])  # distance to the border
    assert np.corrcoef(score, rows["enemy_distance"])[0, 1] > 0.6
    assert np.isfinite(rows["local_dimension"]).all()
    side = result.side_table()
    assert side.ids.tolist() == rows["id"].tolist()


def test_arrays_are_taken_as_they_are():
    X = np.random.default_rng(0).normal(size=(150, 2, 2)) * [[100, 1], [1, 1]]
    y = (X[:, 0, 0] > 0).astype(int)
    result = task_difficulty(X, y, error=0.1, **QUICK)
    flat = X.reshape(150, -1)
    assert result.measured.sentence() == measure_task(flat, y, error=0.1, **QUICK).sentence()
    np.testing.assert_array_equal(result.rows["enemy_distance"], nearest_enemies(flat, y).distance)
    np.testing.assert_array_equal(result.rows["local_dimension"], local_dimension(flat, k=20))
    assert result.rows["id"].is_unique and result.source == "array of 150 rows"


def test_a_data_frame_with_labels_is_a_table(frame, measured):
    result, _ = measured
    other = task_difficulty(frame[NUMBERS], frame["label"], error=0.05, **QUICK)
    assert other.sentence() == result.sentence()
    named = frame[NUMBERS].rename(columns={"a": "label"})
    again = task_difficulty(named, frame["label"].to_numpy(), error=0.05, **QUICK)
    assert again.sentence() == result.sentence()


def test_categories_and_copies(frame):
    result = task_difficulty(
        pd.concat([frame, frame.head(10)]), label="label", error=0.1, exact=False
    )
    assert result.measured.features == 6  # three numbers, a level, two indicators
    assert any("10 rows are copies of others" in note for note in result.notes)
    assert not any("split" in note for note in result.notes)
    assert result.rows["id"].is_unique


def test_text(tmp_path):
    result = task_difficulty(texts(), label="topic", encoder="tfidf", error=0.1, **QUICK)
    assert result.features == "text by tfidf" and result.measured.features <= 128
    nearest = result.rows["enemy_distance"]
    assert (nearest > 0).all()


def test_files_and_the_report(frame, tmp_path):
    frame[[*NUMBERS, "label"]].to_csv(tmp_path / "table.csv", index=False)
    result = task_difficulty(tmp_path / "table.csv", label="label", error=0.05, **QUICK)
    assert result.is_file
    folder = result.save(tmp_path / "out")
    assert {one.name for one in folder.iterdir()} == {
        "report.html",
        "task_difficulty.png",
        "difficulty.parquet",
    }
    assert len(SideTable.load(folder / "difficulty.parquet")) == 240
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page and not re.search(r"(src|href)=.http", page)
    for text in (
        "How hard is this task?",
        "What the bits mean",
        "Dimension and bound, by what was looked at",
        "5 (taken)",
        "By the error that is to be reached",
        "ImageNet",
        "Rows nearest to another class",
        "<svg",
    ):
        assert text in page
    assert result.measured.sentence()[:40] in result._repr_html_()
    with pytest.raises(InputError, match="exists already"):
        result.save(folder)
    result.save(folder, overwrite=True)
    with pytest.raises(InputError, match="is an input of this job"):
        result.report(tmp_path / "table.csv", overwrite=True)


def test_the_first_example_of_the_page_runs(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs/task-difficulty.md").read_text(encoding="utf-8")
    example = re.findall(r"^```python\n(.*?)^```", page, re.S | re.M)[0]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(gradatim.WORKFLOWS, "task_difficulty", "gradatim.workflows.task_difficulty")
    names = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(example, "task-difficulty.md", "exec"), names)
    assert names["result"].sentence() in printed.getvalue()
    assert (tmp_path / "task/report.html").is_file()


def test_without_the_exact_measure_and_without_a_bound(tmp_path):
    line = np.random.default_rng(0).random((500, 1))
    result = task_difficulty(line, line[:, 0] > 0.5, error=0.2, exact=False, margin=0.2)
    assert "the bound says nothing here" in result.sentence()
    page = result.report(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "nothing can be told" in page and "exact for smooth" not in page
    assert len(result.costs) == 2


def test_many_rows_are_sampled(monkeypatch):
    for module in (difficulty_module, workflow_module):
        monkeypatch.setattr(module, "MOST_ROWS_EXACT", 1000)
    monkeypatch.setattr(difficulty_module, "N_PAIRS", 50_000)
    X = np.random.default_rng(0).normal(size=(1500, 2))
    result = task_difficulty(X, X[:, 0] > 0, error=0.1, exact=False)
    margin = result.measured.margin
    assert (margin.method, margin.n_pairs) == ("extrapolated", 50_000)
    assert result.rows is None and "random pairs" in result.costs[1]
    assert result.measured.dimension.estimate == pytest.approx(2, rel=0.1)
    with pytest.raises(InputError, match="rows: expected at most 20,000 rows"):
        result.side_table()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "label, y: expected one of them, got none"),
        ({"label": "label", "y": [0] * 240}, "label, y: expected one of them, got both"),
        ({"label": "lable"}, "expected a column 'lable'"),
        ({"label": "label", "input": []}, "input: expected at least one column, got none"),
        ({"y": [0, 1]}, r"y: expected one label a row, \[240\], got \[2\]"),
        ({"label": "label", "error": 0.0}, "error: expected a number in"),
        ({"label": "a"}, r"column 'a': expected a label \(integer, true/false or text\)"),
    ],
)
def test_bad_input(frame, options, told):
    with pytest.raises(InputError, match=told):
        task_difficulty(frame, **options)


def test_bad_tables(frame):
    with pytest.raises(InputError, match="expected at least two classes, got 'yes' in every row"):
        task_difficulty(frame.assign(label="yes"), label="label")
    with pytest.raises(InputError, match=r"expected a feature that varies, got 1.0 in every row"):
        task_difficulty(frame.assign(a=1.0), label="label", input=["a"])
    with pytest.raises(InputError, match="input columns that vary, got only constant ones"):
        task_difficulty(frame[["a", "label"]].assign(a=1.0), label="label")
    twins = pd.DataFrame({"a": np.repeat(np.arange(30.0), 2), "label": [0, 1] * 30})
    with pytest.raises(InputError, match="of different classes that differ, got equal rows only"):
        task_difficulty(twins, label="label")
    with pytest.raises(InputError, match="encoder: expected one for the text columns"):
        task_difficulty(texts(), label="topic", encoder=None)
    with pytest.raises(InputError, match="input: expected none together with y"):
        task_difficulty(np.zeros((4, 2)), [0, 1, 0, 1], input="a")
