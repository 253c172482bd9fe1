"""Bad input: one sentence that names the column, the row, what was expected and what came."""

import json

import numpy as np
import pandas as pd
import pytest

import gradatim
from gradatim.core.errors import InputError
from tests.workflows.profile_tables import numbers, questions, texts

INPUT = ["a", "b", "c", "kind"]


def refused(data, **options):
    options = {"label": "label", "draws": 2, "measure": "confidence", **options}
    with pytest.raises(InputError) as caught:
        gradatim.profile(data, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def frame():
    return numbers(rows=120)[0]


def test_a_label_that_occurs_once(frame):
    frame.loc[7, "label"] = "maybe"
    assert refused(frame) == (
        "data frame, row 7, column 'label': expected every label at least twice, got 'maybe' once"
    )


def test_a_missing_label(frame):
    frame.loc[3, "label"] = None
    assert "data frame, row 3, column 'label': expected a label" in refused(frame)


def test_one_class_only(frame):
    told = refused(frame.assign(label="yes"))
    assert "column 'label': expected at least two classes, got 'yes' in every row" in told


def test_a_column_that_is_not_there(frame):
    assert "expected a column 'lable'" in refused(frame, label="lable")
    assert "expected a column 'aa'" in refused(frame, input=["aa"])
    assert "input: expected columns other than the label" in refused(frame, input=["label"])


def test_a_level_that_does_not_parse(frame):
    levels = frame["level"].astype(object)
    levels[5] = "tricky"
    told = refused(frame.assign(level=levels.map(str)), level="level")
    assert "data frame, row 5, column 'level': expected a level (a number, text with" in told
    assert "expected at least two levels, got 1" in refused(frame.assign(level=1), level="level")


def test_a_level_in_a_file_that_does_not_parse(frame, tmp_path):
    levels = frame["level"].astype(object)
    levels[5] = "tricky"
    frame.assign(level=levels).to_csv(tmp_path / "t.csv", index=False)
    told = refused(tmp_path / "t.csv", level="level")
    assert "t.csv, row 5, column 'level': expected a level (a number" in told
    assert told.endswith("got 'tricky'")


def test_strata_that_are_too_small(frame):
    told = refused(frame.head(40), input=INPUT)
    assert "measure 'confidence': expected at least 20 different rows in the easy stratum" in told
    few = frame.assign(level=[1] * 110 + [2] * 10)
    told = refused(few, input=INPUT, level="level", measure="level")
    assert "20 different rows in the hard stratum (from 2 on), got 10" in told


def test_constant_features(frame):
    told = refused(frame.assign(a=1.5), input=["a", "b"])
    assert "column 'a': expected a feature that varies, got 1.5 in every row" in told
    told = refused(frame[["a", "label"]].assign(a=0.0))
    assert "expected input columns that vary, got only constant ones (a)" in told
    told = refused(frame, features=np.ones((120, 2)))
    assert "features: expected features that vary" in told
    result = gradatim.profile(frame.assign(same="x"), label="label", measure="confidence", draws=2)
    assert any("constant features are left out: 'same'" in note for note in result.notes)


def test_numbers_that_are_not_finite(frame):
    frame.loc[9, "b"] = np.inf
    assert "column 'b': expected finite numbers, got inf at row 9" in refused(frame)


def test_a_test_file_with_other_columns(frame):
    told = refused(frame, input=INPUT, test=frame.drop(columns="b"))
    assert "test: data frame: expected a column 'b'" in told
    told = refused(frame, input=INPUT, test=frame.assign(b="x"))
    assert "column 'b': expected numbers as in the table, got text" in told
    told = refused(frame, input=INPUT, test=frame.assign(label="other"))
    assert "row 0, column 'label': expected a label of the table (no, yes), got 'other'" in told
    told = refused(frame, input=INPUT, test=frame.head(50))
    assert "test: expected rows that do not also stand in the table" in told


def test_options_that_lack_the_answer():
    table = questions(rows=30)
    answers = table["answer"].astype(object)
    answers[4] = 3
    told = refused(table.assign(label=answers), options="options", encoder="tfidf")
    assert "row 4, column 'label': expected one of the options (" in told and "got 3" in told
    broken = table.assign(label=table["answer"], options=[["x"], *list(table["options"][1:])])
    told = refused(broken, options="options", encoder="tfidf")
    assert "row 0, column 'options': expected a list of at least two options" in told


def test_options_as_json_in_a_file(tmp_path):
    table = questions(rows=70)
    table["options"] = table["options"].map(json.dumps)
    table.to_csv(tmp_path / "q.csv", index=False)
    result = gradatim.profile(
        tmp_path / "q.csv",
        label="answer",
        options="options",
        encoder="tfidf",
        measure="confidence",
        draws=2,
    )
    assert len(result.rows) == 70


def test_encoders(tmp_path):
    table = texts(rows=60).rename(columns={"topic": "label"})
    assert "encoder: expected minilm or a directory, got 'minilmm'" in refused(
        table, encoder="minilmm"
    )
    assert "has no config.json" in refused(table, encoder=tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert refused(table, encoder=tmp_path).endswith("has no weights (*.safetensors)")
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert "has no tokenizer" in refused(table, encoder=str(tmp_path))
    assert "encoder: expected one for the text columns, got none" in refused(table, encoder=None)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"measure": "mld"}, "measure: expected auto or some of"),
        ({"measure": ""}, "got none"),
        ({"measure": "level"}, "needs a level column"),
        ({"measure": "length"}, "needs a text column"),
        ({"estimator": object()}, "estimator: expected a classifier"),
        ({"folds": 1}, "folds: expected a number in [2,"),
        ({"features": np.zeros((3, 2))}, "features: expected shape [120, D], got [3, 2]"),
        ({"pred_probs": np.zeros((120, 3))}, "pred_probs: expected shape [120, 2]"),
        ({"pred_probs": np.full((120, 2), 0.4)}, "pred_probs, row 0: expected probabilities that"),
        ({"pred_probs": np.full((120, 2), 0.5), "measure": "mdl"}, "models that can be trained"),
        ({"input": []}, "input: expected at least one column"),
    ],
)
def test_arguments(frame, options, told):
    assert told in refused(frame, **options)


def test_columns_of_lists_and_of_dates(frame):
    days = pd.date_range("2026-01-01", periods=len(frame))
    told = refused(frame.assign(day=days), input=["a", "day"])
    assert "column 'day': expected numbers, true/false or text as input" in told
    result = gradatim.profile(frame.assign(day=days), label="label", measure="confidence", draws=2)
    assert any("column 'day' is left out" in note for note in result.notes)


def test_the_right_option_twice():
    table = questions()
    options = [list(one) for one in table["options"]]
    place = table["answer"][2]
    options[2][place - 1] = options[2][place]
    told = refused(table.assign(label=table["answer"], options=options), options="options")
    assert "row 2, column 'label': expected the right option once, got" in told


def test_a_word_in_a_column_of_numbers_is_told(frame, tmp_path):
    frame.astype({"a": object}).assign(a=frame["a"].where(frame.index != 9, "unknown")).to_csv(
        tmp_path / "t.csv", index=False
    )
    result = gradatim.profile(
        tmp_path / "t.csv", label="label", measure="confidence", draws=2, encoder="tfidf"
    )
    note = "column 'a' holds numbers as text and is read as text, since row 9 holds 'unknown'"
    assert note in result.notes


def test_levels_are_read_as_score_reads_them(frame):
    words = frame.assign(level=[f"Level {1 + row % 3}" for row in range(len(frame))])
    assert len(gradatim.profile(words, label="label", level="level", draws=2).rows) == len(frame)
    words.loc[3, "level"] = "tough"
    told = refused(words, level="level")
    assert "row 3, column 'level'" in told and "easy, medium or hard), got 'tough'" in told


def test_a_measure_that_says_the_same_of_every_row_is_left_out_or_told():
    frame = texts()
    frame["text"] = [f"{text.split()[0]} of the {row}" for row, text in enumerate(frame["text"])]
    result = gradatim.profile(frame, label="topic", encoder="tfidf", draws=2)
    assert "length is left out: it says 4 of every row" in result.notes
    assert "length" not in set(result.measures["measure"])
    message = refused(frame, label="topic", encoder="tfidf", measure="length")
    assert message.startswith("measure 'length': difficulty: expected at least two different")


def test_rows_that_nothing_tells_apart():
    rows = np.repeat(np.arange(12.0), 10)
    same = pd.DataFrame({"a": rows, "label": ["x", "y"] * 60})
    probabilities = np.full((120, 2), 0.5)
    message = refused(same, measure="auto", pred_probs=probabilities)
    assert "expected one that tells rows apart, but confidence, margin, entropy say" in message


def test_fewer_different_rows_than_folds():
    same = pd.DataFrame({"a": [1.0, 2.0] * 40, "label": ["x", "x", "y", "y"] * 20})
    assert "10 rows that differ in their inputs, got 2" in refused(same, measure="auto")


def test_an_encoder_directory_that_cannot_be_loaded(tmp_path):
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"junk")
    message = refused(texts(), label="topic", encoder=tmp_path)
    assert message.startswith(f"encoder: {tmp_path} cannot be loaded as a sentence encoder (")
