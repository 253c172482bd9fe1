"""What read_table gives, against pandas and Python's own readers and over round trips."""

import csv
import datetime
import gzip
import json

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.io import text_blocks
from gradatim.core.io.tables import iterate_table, read_table, write_table
from gradatim.core.io.text_blocks import cut_records, record_ends

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
MESSAGES = st.lists(st.fixed_dictionaries({"role": TEXT, "content": st.none() | TEXT}), max_size=3)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.none() | TEXT,
            "number": st.none() | FLOATS,
            "whole": st.integers(-(2**63), 2**63 - 1),
            "flag": st.booleans(),
            "messages": MESSAGES,
            "scores": st.lists(st.none() | FLOATS, max_size=3),
        }
    ),
    min_size=1,
    max_size=6,
)
SCHEMA = pa.schema(
    {
        "text": pa.string(),
        "number": pa.float64(),
        "whole": pa.int64(),
        "flag": pa.bool_(),
        "messages": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        "scores": pa.list_(pa.float64()),
    }
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


def put(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@given(ROWS)
def test_parquet_and_json_round_trips_keep_every_value(folder, rows):
    table = pa.Table.from_pylist(rows, SCHEMA)
    for name in ("a.parquet", "a.jsonl", "a.jsonl.gz"):
        back = read_table(write_table(table, folder / name, overwrite=True))
        assert back.to_pylist() == table.to_pylist()


def test_the_json_lines_are_plain_json(folder):
    rows = [{"text": "zwölf\n", "scores": [1.5, None]}, {"text": None, "scores": []}]
    path = write_table(pa.Table.from_pylist(rows), folder / "plain.jsonl", overwrite=True)
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == rows


@given(st.lists(st.tuples(TEXT, FLOATS, st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=6))
def test_csv_round_trip_and_foreign_readers_agree(folder, rows):
    columns = dict(
        zip(("text", "number", "whole"), map(list, zip(*rows, strict=True)), strict=True)
    )
    for name, mark in (("a.csv", ","), ("a.tsv", "\t"), ("a.csv.gz", ",")):
        path = write_table(columns, folder / name, overwrite=True)
        kinds = {"text": "text", "number": "number", "whole": "integer"}
        assert read_table(path, kinds).to_pydict() == columns
        opened = gzip.open if name.endswith("gz") else open
        with opened(path, "rt", encoding="utf-8", newline="") as file:
            _, *read = csv.reader(file, delimiter=mark)
        assert [(a, float(b), int(c)) for a, b, c in read] == rows


@given(
    st.lists(
        st.lists(st.text(alphabet='ab",\n 0.é', max_size=6), min_size=2, max_size=2),
        min_size=1,
        max_size=8,
    )
)
def test_quoted_csv_reads_as_python_and_pandas_read_it(folder, rows):
    path = folder / "quoted.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([["x", "y"], *rows])
    ours = read_table(path, {"x": "text", "y": "text"})
    assert list(zip(*ours.to_pydict().values(), strict=True)) == [tuple(row) for row in rows]
    theirs = pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False)
    assert ours.to_pydict() == theirs.to_dict("list")


def test_csv_types_are_those_of_pandas(folder):
    lines = "i,f,b,s,gap,all\n1,1.5,true,x,2,\n-2,-1e300,false,,NA,\n3,7,true,nan,5,\n"
    path = put(folder, "types.csv", lines)
    ours, theirs = read_table(path).to_pandas(), pd.read_csv(path)
    for name in ("i", "f", "b", "gap"):
        pd.testing.assert_series_equal(ours[name], theirs[name])
    assert ours["s"].tolist() == ["x", "", "nan"]
    assert ours["all"].isna().all()


def test_declared_text_stays_as_written_and_dates_stay_text(folder):
    path = put(folder, "codes.csv", "zip,day,hour\n007,2024-01-01,10:30\n12,2024-01-02,11:00\n")
    table = read_table(path, {"zip": "text"})
    assert table["zip"].to_pylist() == ["007", "12"]
    assert table["day"].to_pylist() == ["2024-01-01", "2024-01-02"]
    assert table["hour"].to_pylist() == ["10:30", "11:00"]


def test_dates_in_json_stay_text_at_every_depth(folder):
    row = {"day": "2024-01-01", "days": ["2024-01-01"], "nested": {"day": "2024-01-01 10:00:00"}}
    path = put(folder, "dates.jsonl", f"{json.dumps(row)}\n" * 3)
    assert read_table(path).to_pylist() == [row] * 3


def test_numbers_in_csv_that_arrow_takes_for_text(folder):
    path = put(folder, "plus.csv", "a,b,c\n+1,+2, 3\nNA,5,4 \n")
    table = read_table(path, {"a": "number or missing", "b": "integer", "c": "number"})
    assert table.to_pydict() == {"a": [1.0, None], "b": [2, 5], "c": [3.0, 4.0]}


def test_windows_line_ends_byte_order_mark_and_blank_lines(folder):
    path = put(folder, "bom.csv", b"\xef\xbb\xbf\r\na,b\r\n1,x\r\n\r\n2,y")
    assert read_table(path).to_pydict() == {"a": [1, 2], "b": ["x", "y"]}
    path = put(folder, "bom.jsonl", b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"a": 2}')
    assert read_table(path).to_pydict() == {"a": [1, 2]}


def test_a_field_longer_than_a_block(folder, monkeypatch):
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 1000)
    long = 'so "long",\n' * 2000
    for name in ("long.csv", "long.jsonl"):
        path = write_table({"t": ["a", long, "b"], "n": [1, 2, 3]}, folder / name, overwrite=True)
        assert read_table(path).to_pydict() == {"t": ["a", long, "b"], "n": [1, 2, 3]}


def test_types_that_change_between_blocks_as_if_read_whole(folder, monkeypatch):
    lines = [f"{i},{i},,{i:03}" for i in range(300)] + ["1,0.5,x,unknown"]
    path = put(folder, "late.csv", "\n".join(["a,b,c,d", *lines]))
    whole = read_table(path)
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 500)
    table = read_table(path)
    assert table.equals(whole)
    assert table["b"].to_pylist()[-2:] == [299.0, 0.5]
    assert table["c"].to_pylist()[-2:] == ["", "x"]
    assert table["d"].to_pylist()[:2] == ["000", "001"]

    rows = [{"a": i, "m": []} for i in range(300)] + [{"a": 0.5, "m": [{"b": 1}], "new": "x"}]
    path = put(folder, "late.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    table = read_table(path)
    assert table.to_pylist()[-1] == rows[-1]
    assert table["a"].type == pa.float64() and table["new"].null_count == 300


@given(st.text(alphabet='a",\n', max_size=40))
def test_the_ends_of_records_are_those_of_a_plain_state_machine(text):
    state, ends, at = "start", [], 0
    while at < len(text):
        char = text[at]
        if state == "quoted":
            if text[at : at + 2] == '""':
                at += 1
            elif char == '"':
                state = "field"
        elif char == '"' and state == "start":
            state = "quoted"
        else:
            ends += [at] if char == "\n" else []
            state = "start" if char in ",\n" else "field"
        at += 1
    assert record_ends(text.encode(), b",").tolist() == ends
    assert cut_records(text.encode(), b",") == (ends[-1] + 1 if ends else 0)


def test_every_source_gives_the_same_table(folder):
    columns = {"a": [1, 2, 3], "t": ["x", "y", "z"], "f": [0.5, 1.5, 2.5]}
    frame = pd.DataFrame(columns, index=[7, 8, 9])
    dataset = datasets.Dataset.from_dict(columns)
    dataset.save_to_disk(folder / "dataset")
    datasets.DatasetDict(train=dataset).save_to_disk(folder / "dict")
    frame.to_parquet(folder / "indexed.parquet")
    sources = [
        *(columns, frame, dataset, pa.table(columns), pa.RecordBatch.from_pydict(columns)),
        *(folder / "dataset", str(folder / "dict" / "train"), folder / "indexed.parquet"),
        {"a": torch.tensor([1, 2, 3]), "t": np.array(["x", "y", "z"]), "f": frame["f"]},
        dataset.select([2, 1, 0]).select([2, 1, 0]),
    ]
    for source in sources:
        assert read_table(source).to_pydict() == columns
        assert read_table(source, {"f": "number"}, select=["t"]).column_names == ["t", "f"]
        assert [t.num_rows for t in iterate_table(source, rows=2)] == [2, 1]


def test_categories_matrices_and_missing_values_of_pandas():
    frame = pd.DataFrame({"c": pd.Categorical(["x", "y"]), "n": [1.0, None]})
    table = read_table(frame, {"c": "label", "n": "number or missing"})
    assert table["c"].to_pylist() == ["x", "y"] and table["n"].to_pylist() == [1.0, None]
    table = read_table({"e": np.arange(6.0).reshape(3, 2)}, {"e": "list"})
    assert table["e"].to_pylist() == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]


def test_kinds_settle_types():
    table = read_table(
        {"n": [1, 2], "y": [0.0, 1.0], "i": np.array([1.0, 2.0]), "m": [float("nan"), 1]},
        {"n": "number", "y": "label", "i": "integer", "m": "number or missing"},
    )
    assert [str(field.type) for field in table.schema] == ["double", "int64", "int64", "double"]
    assert table["m"].to_pylist() == [None, 1.0]


def test_json_writes_nan_as_null_and_dates_as_text(folder):
    day = datetime.datetime(2024, 1, 2, 3, 4)
    columns = {"a": [float("nan"), 1.0], "d": [day, None], "l": [[float("nan")], [2.0]]}
    path = write_table(columns, folder / "nan.jsonl", overwrite=True)
    assert read_table(path).to_pylist() == [
        {"a": None, "d": "2024-01-02T03:04:00", "l": [None]},
        {"a": 1.0, "d": None, "l": [2.0]},
    ]


def test_shards_are_read_in_natural_order(folder):
    shards = folder / "shards"
    shards.mkdir()
    for number in (10, 2, 1):
        pq.write_table(pa.table({"x": [number]}), shards / f"part-{number}.parquet")
    put(shards, "_SUCCESS", "")
    put(shards, "README.md", "about")
    assert read_table(shards)["x"].to_pylist() == [1, 2, 10]
