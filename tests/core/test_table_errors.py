"""Every way a table can be wrong gives one sentence that says where and what."""

import gzip
import json
import os
import pickle

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from gradatim.core.errors import InputError, StorageError
from gradatim.core.io import text_blocks
from gradatim.core.io.tables import count_rows, iterate_table, read_table

NUMBER = {"d": "number"}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 64)


def drain(*args, **kwargs):
    for _ in iterate_table(*args, **kwargs):
        pass


def message(folder, name, content, columns=None, error=InputError):
    """The message of read_table, which must be that of iterate_table but for the count."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    told = []
    for read in (read_table, drain):
        with pytest.raises(error) as caught:
            read(path, columns)
        told.append(str(caught.value).replace(f"{folder}{os.sep}", ""))
    assert told[0].split(" (and")[0] == told[1].split(" (and")[0]
    return told[0]


CSV_FAULTS = {
    "d\n1\nabc\nx\n": "line 3, column 'd': expected a finite number, got 'abc' (and 1 more row)",
    "d\n1\n\ninf\n": "line 4, column 'd': expected a finite number, got inf",
    'a,d\n"x\n\n""y",1\n"z",\n': "line 5, column 'd': expected a finite number, got a missing "
    "value",
    "d\n1\nTrue\n": "line 3, column 'd': expected a finite number, got 'True'",
    "d\n1\n1_000\n": "line 3, column 'd': expected a finite number, got '1_000'",
    "d\ntrue\n": "line 2, column 'd': expected a finite number, got True",
    "\n\nd\n2024-01-01\n": "line 4, column 'd': expected a finite number, got '2024-01-01'",
    "a,d\n1,2\n3\n4,5,6\n": "line 3: expected 2 fields, got 1 (and 1 more row)",
    'a,d\n"x\ny",2\n3\n': "line 4: expected 2 fields, got 1",
    'a,d\n1,2\n3,"x\n4,5\n': "line 3: a quote in the row that begins here is never closed",
    "d,d\n1,2\n": "line 1: column 'd' stands there twice",
    "d\r1\r": "line 1: expected lines that end in \\n or \\r\\n, got a lone \\r",
    "e,dd\n1,2\n": "expected a column 'd', got the columns e, dd. Did you mean dd?",
    "d\n": "holds no rows",
    "\n\n": "holds no rows",
    "": "the file is empty (0 bytes)",
}


@pytest.mark.parametrize(("content", "told"), CSV_FAULTS.items())
def test_csv(tmp_path, content, told):
    expected = told if told.startswith("line") else f": {told}"
    joint = ", " if told.startswith("line") else ""
    assert message(tmp_path, "s.csv", content, NUMBER) == f"s.csv{joint}{expected}"


def test_csv_lines_are_right_beyond_the_first_block(tmp_path):
    rows = ['"two\nlines",1', "", '5" pipe,2', '"a ""b""",3'] * 50
    start = "a,d\n" + "\n".join(rows) + "\n"
    line = start.count("\n") + 1
    told = f"s.csv, line {line}"
    kinds = {"a": "text", "d": "number"}
    fault = message(tmp_path, "s.csv", f"{start}x,abc\ny,\n", kinds)
    assert fault == f"{told}, column 'd': expected a finite number, got 'abc' (and 1 more row)"
    assert message(tmp_path, "s.csv", f"{start}x\n", kinds) == f"{told}: expected 2 fields, got 1"
    fault = message(tmp_path, "s.csv", start.encode() + b"caf\xe9,1\n", kinds)
    assert fault == f"{told}: expected text in UTF-8, got the byte 0xe9"
    fault = message(tmp_path, "s.csv.gz", gzip.compress(f"{start}x,abc\n".encode()), kinds)
    assert fault.startswith(f"s.csv.gz, line {line}, column 'd'")


JSON_FAULTS = {
    '{"d": 1}\n\n{"d": "abc"}\n': "line 3, column 'd': expected a number as in the lines before, "
    "got 'abc'",
    '{"d": "abc"}\n': "line 1, column 'd': expected a finite number, got 'abc'",
    '{"d": 1}\n{"d": null}\n{}\n': "line 2, column 'd': expected a finite number, got a missing "
    "value (and 1 more row)",
    '{"d": 1}\n{"d": NaN}\n': "line 2, column 'd': expected a finite number, got nan",
    '{"d": 1}\n{"d": 2\n': "line 2: expected one JSON object a line, got '{\"d\": 2' "
    "(Expecting ',' delimiter, character 8)",
    '{"d": 1}\n[2]\n': "line 2: expected one JSON object a line, got a list",
    '{"d": 1} {"d": 2}\n': 'line 1: expected one JSON object a line, got \'{"d": 1} {"d": 2}\' '
    "(Extra data, character 10)",
    '{"d": 1, "d": 2}\n': "line 1, column 'd': stands there twice",
    '{"d": 1, "m": [{"c": "x"}]}\n{"d": 1, "m": [{"c": ["x"]}]}\n': "line 2, column 'm[].c': "
    "expected text as in the lines before, got a list",
    '{"d": 1, "t": "\\ud83d"}\n': "line 1: JSON parse error: The surrogate pair in string is "
    "invalid. in row 0",
}


@pytest.mark.parametrize(("content", "told"), JSON_FAULTS.items())
def test_json(tmp_path, content, told):
    assert message(tmp_path, "s.jsonl", content, NUMBER) == f"s.jsonl, {told}"


def test_json_lines_are_right_beyond_the_first_block(tmp_path):
    start = ('{"d": 1, "t": "some text"}\n\n' + '{"d": 2}\n') * 40
    for line, told in (
        ('{"d": "abc"}', "column 'd': expected a number as in the lines before, got 'abc'"),
        ('{"d": 1, "t": [1]}', "column 't': expected text as in the lines before, got a list"),
        ('{"d": null}', "column 'd': expected a finite number, got a missing value"),
    ):
        assert message(tmp_path, "s.jsonl", f"{start}{line}\n", NUMBER) == (
            f"s.jsonl, line 121, {told}"
        )
    fault = message(tmp_path, "s.jsonl", start.encode() + b'{"d": 1, "t": "caf\xe9"}\n', NUMBER)
    assert fault == "s.jsonl, line 121: expected text in UTF-8, got the byte 0xe9"


def test_a_json_column_that_is_nowhere(tmp_path):
    path = tmp_path / "s.jsonl"
    path.write_text('{"e": 1}\n{"d": 1}\n')
    assert read_table(path, {"d": "number or missing"})["d"].to_pylist() == [None, 1.0]
    told = message(tmp_path, "s.jsonl", '{"e": 1}\n' * 30, NUMBER)
    assert told == "s.jsonl: expected a column 'd', got the columns e."


KINDS = [
    ("number", ["1"], 0, "a finite number, got '1'"),
    ("number", [1.0, np.inf], 1, "a finite number, got inf"),
    ("number", [1.0, None], 1, "a finite number, got a missing value"),
    ("number or missing", [1.0, None, -np.inf], 2, "a finite number or a missing value, got -inf"),
    ("number or missing", [None, "x"], 1, "a finite number or a missing value, got 'x'"),
    ("integer", [1.0, 2.5], 1, "an integer, got 2.5"),
    ("integer", [1, None], 1, "an integer, got a missing value"),
    ("integer", [2.0**60], 0, "an integer, got 1.152921504606847e+18"),
    ("integer", [True], 0, "an integer, got True"),
    ("text", ["a", None], 1, "text, got a missing value"),
    ("text", [1], 0, "text, got 1"),
    ("label", [0.5], 0, "a label (integer, true/false or text), got 0.5"),
    ("label", ["a", None], 1, "a label (integer, true/false or text), got a missing value"),
    ("label", [[1]], 0, "a label (integer, true/false or text), got [1]"),
    ("list", [[1], None], 1, "a list, got a missing value"),
    ("list", ["abc" * 50], 0, "a list, got 'abcabc"),
]


@pytest.mark.parametrize(("kind", "values", "row", "told"), KINDS)
def test_kinds(tmp_path, kind, values, row, told):
    pq.write_table(pa.table({"d": pa.array(values)}), tmp_path / "d.parquet")
    sources = {"data": {"d": values}, str(tmp_path / "d.parquet"): tmp_path / "d.parquet"}
    for name, source in sources.items():
        for read in (read_table, drain):
            with pytest.raises(InputError) as caught:
                read(source, {"d": kind})
            assert str(caught.value).startswith(f"{name}, row {row}, column 'd': expected {told}")


def test_unknown_kind():
    with pytest.raises(InputError, match=r"columns\['d'\]: expected one of any, text.*'numbr'"):
        read_table({"d": [1]}, {"d": "numbr"})


def test_empty_text_is_no_label_in_csv_only(tmp_path):
    told = message(tmp_path, "s.csv", "a,y\n1,x\n2,\n", {"y": "label"})
    assert told.startswith("s.csv, line 3, column 'y': expected a label")
    assert read_table({"y": ["", "x"]}, {"y": "label"}).num_rows == 2


FILES = {
    "scores.xlsx": (b"PK", "got .xlsx"),
    "scores": (b"x", "got no ending"),
    "model.pkl": (b"x", "got a pickle, which can run code"),
    "pickle.csv": (pickle.dumps([1, 2]), "got a pickle, which can run code"),
    "broken.parquet": (b"PAR1 and then nothing", "expected a Parquet file, got a broken one"),
    "pointer.parquet": (b"version 1 git-lfs\n", "run 'git lfs pull'"),
    "utf16.csv": ("a,b".encode("utf-16"), "got UTF-16"),
    "latin.csv": (b"a,caf\xe9\n1,2\n", "line 1: expected text in UTF-8, got the byte 0xe9"),
    "key.jsonl": (b'{"\xe9": 1}\n', "line 1: expected text in UTF-8, got the byte 0xe9"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_tables(tmp_path, name):
    content, told = FILES[name]
    assert told in message(tmp_path, name, content)


def test_a_pickle_is_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    for name in ("a.csv", "a.parquet", "a.jsonl", "a.pkl"):
        message(tmp_path, name, pickle.dumps(Trap(), protocol=5))
    assert not (tmp_path / "sprung").exists()


def test_truncated_and_false_compression(tmp_path):
    whole = gzip.compress("".join(f"{i}\n" for i in range(10_000)).encode())
    for content in (whole[:500], b"d\n1\n"):
        told = message(tmp_path, "s.csv.gz", content, error=StorageError)
        assert told.startswith("s.csv.gz: reading")


def test_nothing_under_the_path(tmp_path):
    (tmp_path / "scores.csv").write_text("a\n1\n")
    with pytest.raises(InputError, match=r"score\.csv: no such file.*Did you mean scores\.csv\?"):
        read_table(tmp_path / "score.csv")
    with pytest.raises(InputError, match=r"the folder .* does not exist"):
        read_table(tmp_path / "none" / "score.csv")


def test_unreadable_file(tmp_path, monkeypatch):
    (tmp_path / "scores.csv").write_text("a\n1\n")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(StorageError, match=r"scores\.csv: reading failed: permission denied"):
        read_table(tmp_path / "scores.csv")


def test_no_source():
    for source in ([1, 2], 5, None):
        with pytest.raises(InputError, match="expected a path, a pandas DataFrame"):
            read_table(source)


def test_columns_in_memory():
    for source, told in (
        ({"a": [1, "x"]}, "data, row 1, column 'a': expected a number as in the rows before"),
        (pd.DataFrame({"a": [None, "x", 5]}), "data frame, row 2, column 'a': expected text"),
        ({"a": [1], "b": [1, 2]}, "expected columns of one length, but 'a' has 1, 'b' has 2"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "column 'a' stands there twice"),
        ({}, "holds no rows"),
        (pd.DataFrame({"a": []}), "holds no rows"),
        ({"a": 5}, "column 'a': expected a column"),
        ({"a": torch.tensor(1.0)}, "column 'a': expected a column"),
    ):
        with pytest.raises(InputError) as caught:
            read_table(source)
        assert told in str(caught.value)


def test_dataset_dictionaries_list_their_splits(tmp_path):
    split = datasets.Dataset.from_dict({"a": [1]})
    both = datasets.DatasetDict(train=split, test=split)
    both.save_to_disk(tmp_path / "both")
    for source in (tmp_path / "both", both):
        with pytest.raises(InputError, match=r"splits train, test; choose one, as in .*/train"):
            read_table(source)
    (tmp_path / "both" / "train" / "dataset_info.json").write_text("{")
    with pytest.raises(InputError, match="expected a saved dataset, got a broken one"):
        read_table(tmp_path / "both" / "train")


def shards(folder, **tables):
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return folder


def test_shards_are_all_looked_at_first(tmp_path):
    shards(tmp_path, a={"x": [1]}, b={"x": [1], "y": [2]})
    with pytest.raises(InputError, match=r"b\.parquet: has a column 'y' that a\.parquet has not"):
        next(iterate_table(tmp_path))
    shards(tmp_path, b={"z": [1]})
    with pytest.raises(InputError, match=r"b\.parquet: expected a column 'x', got the columns z"):
        next(iterate_table(tmp_path))
    shards(tmp_path, b={"x": ["text"]})
    with pytest.raises(InputError, match=r"b\.parquet: column 'x': expected int64 as in a\.parq"):
        next(iterate_table(tmp_path))
    (tmp_path / "b.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(InputError, match=r"b\.parquet: expected a Parquet file, got a broken one"):
        next(iterate_table(tmp_path))


def test_a_fault_in_a_shard_names_the_shard_and_its_row(tmp_path):
    shards(tmp_path, a={"x": [1.0, 2.0]}, b={"x": [3.0, float("nan")]})
    for read in (read_table, drain):
        with pytest.raises(InputError, match=r"b\.parquet, row 1, column 'x': .*, got nan"):
            read(tmp_path, {"x": "number"})


def test_faults_in_all_parts_are_counted(tmp_path):
    shards(tmp_path, a={"x": [1.0, None], "y": [1, 2]}, b={"x": [None, None], "y": [None, 2]})
    with pytest.raises(InputError, match=r"a\.parquet, row 1, column 'x': .*\(and 2 more rows\)"):
        read_table(tmp_path, {"y": "integer", "x": "number"})


def test_a_damaged_page(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"x": list(range(5000))})
    pq.write_table(table, path, compression="gzip", use_dictionary=False)
    octets = bytearray(path.read_bytes())
    octets[200:400] = b"\x00" * 200
    path.write_bytes(octets)
    for read in (read_table, drain):
        with pytest.raises(StorageError, match=r"a\.parquet: reading failed, the file is damaged"):
            read(path)


def test_directories_without_a_table(tmp_path):
    with pytest.raises(InputError, match="found nothing"):
        read_table(tmp_path)
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(InputError, match=r"found notes\.md"):
        count_rows(tmp_path)
    names = ("train-00000-of-00001", "test-00000-of-00001")
    shards(tmp_path, **{name: {"x": [1]} for name in names})
    with pytest.raises(InputError, match="expected the shards of one split, got several: test, tr"):
        read_table(tmp_path)


def test_a_column_that_is_not_there_is_asked_for(tmp_path):
    columns = {"alpha": [1], "beta": ["x"]}
    dataset = datasets.Dataset.from_dict(columns)
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("alpha,beta\n1,x\n")
    (tmp_path / "a.jsonl").write_text(json.dumps({"alpha": 1, "beta": "x"}))
    files = [tmp_path / f"a.{ending}" for ending in ("parquet", "csv", "jsonl")]
    for source in (columns, dataset, *files):
        with pytest.raises(InputError, match=r"expected a column 'alfa'.* Did you mean alpha\?"):
            read_table(source, select=["alfa"])


def test_labels_of_a_stream_keep_their_type(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("y\n" + "1\n" * 200 + "unknown\n")
    assert read_table(path, {"y": "label"})["y"].to_pylist() == ["1"] * 200 + ["unknown"]
    with pytest.raises(InputError, match="expected labels of one type, int64 as in the rows befor"):
        drain(path, {"y": "label"})
