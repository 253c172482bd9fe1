"""Where the text of a row stands, and what is wrong with it."""

import numpy as np
import pyarrow as pa
import pytest

from gradatim.core.errors import InputError
from gradatim.workflows.level_column import parse_levels
from gradatim.workflows.score_inputs import ScoreColumns, find_layout
from gradatim.workflows.score_texts import text_rows

USER, SYSTEM = {"role": "user", "content": "hi"}, {"role": "system", "content": "be nice"}
GOOD, BAD = {"role": "assistant", "content": "yes"}, {"role": "assistant", "content": "no"}


def layout(columns, **named):
    return find_layout(pa.table(columns), ScoreColumns(**named), "data")


def rows(columns, **named):
    table = pa.table(columns)
    found = find_layout(table, ScoreColumns(**named), "data")
    return list(text_rows(found, table, lambda row: f"data, row {row}"))


@pytest.mark.parametrize(
    ("columns", "named", "kind", "read"),
    [
        ({"messages": [[USER, GOOD]]}, {}, "messages", ("messages",)),
        ({"prompt": ["a"], "completion": ["b"]}, {}, "completion", ("prompt", "completion")),
        ({"chosen": ["a"], "rejected": ["b"]}, {}, "preference", ("chosen", "rejected")),
        ({"question": ["a"], "answer": ["b"]}, {}, "question", ("question", "answer")),
        (
            {"problem": ["a"], "solution": ["b"], "answer": ["c"]},
            {},
            "question",
            ("problem", "solution"),
        ),
        (
            {"instruction": ["a"], "input": ["b"], "output": ["c"]},
            {},
            "question",
            ("instruction", "input", "output"),
        ),
        ({"text": ["a"], "other": ["b"]}, {}, "text", ("text",)),
        ({"body": ["a"], "n": [1]}, {}, "text", ("body",)),
        ({"a": ["x"], "b": ["y"]}, {}, "none", ()),
        ({"a": ["x"], "b": ["y"]}, {"inputs": ("a",), "label": "b"}, "question", ("a", "b")),
        ({"a": ["x"], "b": ["y"]}, {"inputs": ("a", "b")}, "text", ("a", "b")),
        ({"n": [1.0], "y": ["one two three"]}, {"label": "y"}, "none", ()),
        ({"body": ["one two three"], "y": [1]}, {"label": "y"}, "question", ("body", "y")),
        ({"talk": [[USER, GOOD]]}, {"inputs": ("talk",)}, "messages", ("talk",)),
        ({"talk": ['[{"role": "user"}]']}, {"inputs": ("talk",)}, "messages", ("talk",)),
    ],
)
def test_layouts(columns, named, kind, read):
    found = layout(columns, **named)
    assert (found.kind, found.columns) == (kind, read)
    assert found.describe()


def test_all_turns_of_the_assistant_count():
    (row,) = rows({"messages": [[SYSTEM, USER, GOOD, USER, BAD]]})
    assert row.counted == (2, 4) and row.completion == "yes\nno" and row.prompt == "hi\nhi"
    assert row.form == "chat" and row.rejected is None


def test_turns_in_other_shapes():
    shared = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yes"}]
    parts = [USER, {"role": "assistant", "content": [{"type": "text", "text": "yes"}]}]
    text = '[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]'
    columns = {"role": ["user", "assistant"], "content": ["hi", "yes"]}
    for value in (shared, text, columns):
        (row,) = rows({"messages": [value]})
        assert row.turns == (("user", "hi"), ("assistant", "yes"))
    (row,) = rows({"messages": [__import__("json").dumps(parts)]})
    assert row.turns == (("user", "hi"), ("assistant", "yes"))


def test_of_a_pair_the_last_turn_counts():
    history = [USER, GOOD, USER]
    (row,) = rows({"prompt": [history], "chosen": [[GOOD]], "rejected": [[BAD]]})
    assert row.counted == (3,) and row.completion == "yes" and row.prompt == "hi\nyes\nhi"
    assert row.rejected is not None and row.rejected[-1] == ("assistant", "no")
    (row,) = rows({"chosen": [[*history, GOOD]], "rejected": [[*history, BAD]]})
    assert row.counted == (3,) and len(row.rejected) == 4
    (row,) = rows({"prompt": ["hi"], "chosen": [[GOOD]], "rejected": [[BAD]]})
    assert row.turns == (("user", "hi"), ("assistant", "yes"))


def test_texts_that_begin_alike_share_a_prompt():
    chosen, rejected = "Human: why?\n\nAssistant: because it is", "Human: why?\n\nAssistant: beef"
    (row,) = rows({"chosen": [chosen], "rejected": [rejected]})
    assert row.prompt == "Human: why?\n\nAssistant: "
    assert row.completion == "because it is" and row.rejected[-1] == ("assistant", "beef")
    (row,) = rows({"chosen": ["same"], "rejected": ["same"]})
    assert row.completion == "same"


def test_prompts_may_be_missing_and_answers_numbers():
    (row,) = rows({"instruction": ["add"], "input": pa.array([None], pa.string()), "output": [3]})
    assert row.prompt == "add" and row.completion == "3"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"messages": [[USER, GOOD], [USER]]}, "row 1, column 'messages': expected a turn of"),
        ({"messages": [[USER, {"role": "assistant", "content": " "}]]}, "with text, got an empty"),
        ({"messages": [[USER, GOOD], []]}, "row 1, column 'messages': expected a list of turns"),
        ({"messages": ["hello"]}, "expected a list of turns with role and content, got 'hello'"),
        ({"messages": [[{"content": "hi"}]]}, "expected turns with role and content"),
        (
            {"prompt": ["a", "b"], "completion": ["c", " "]},
            "row 1, column 'completion': expected a",
        ),
        ({"prompt": ["a"], "completion": pa.array([None], pa.string())}, "got a missing value"),
        ({"chosen": ["a"], "rejected": [""]}, "column 'rejected': expected a completion, got an"),
        ({"question": ["a", ""], "answer": ["b", "c"]}, "row 1, column 'question': expected a que"),
        ({"text": ["a", " "]}, "row 1, column 'text': expected text, got an empty one"),
    ],
)
def test_errors_name_the_row(columns, message):
    with pytest.raises(InputError, match=message):
        rows(columns)


def test_named_columns_must_be_there():
    for named in ({"label": "answr"}, {"inputs": ("answr",)}, {"level": "answr"}, {"id": "answr"}):
        with pytest.raises(InputError, match=r"expected a column 'answr'.*Did you mean answer"):
            layout({"question": ["a"], "answer": ["b"]}, **named)
    with pytest.raises(InputError, match="columns other than the label, got 'answer'"):
        layout({"answer": ["b"]}, label="answer", inputs=("answer",))


def test_levels():
    told = ["Level 3", "easy", "HARD", "2.5", " 7 ", "grade -1"]
    found = parse_levels(pa.chunked_array([told]), "level", str)
    np.testing.assert_array_equal(found, [3, 0, 2, 2.5, 7, -1])
    np.testing.assert_array_equal(parse_levels(pa.chunked_array([[1, 2]]), "level", str), [1, 2])


@pytest.mark.parametrize(
    "value", ["Level ?", "1 of 2", "", "middling", None, True, float("nan"), float("inf")]
)
def test_levels_that_cannot_be_read(value):
    kind = pa.string() if value is None else None
    with pytest.raises(InputError, match="data, row 0, column 'lvl': expected a level"):
        parse_levels(pa.chunked_array([pa.array([value], kind)]), "lvl", lambda r: f"data, row {r}")
