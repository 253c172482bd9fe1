"""Streams give what read_table gives, in even pieces, from any row on, in bounded memory."""

import itertools
import json
import subprocess
import sys

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.core.io import text_blocks
from gradatim.core.io.tables import count_rows, iterate_table, read_table, write_table

ROWS = 137
COLUMNS = {
    "x": np.arange(ROWS) / 4,
    "label": np.arange(ROWS) % 3,
    "text": [f'row "{row}"\n' for row in range(ROWS)],
}
KINDS = {"x": "number", "label": "label", "text": "text"}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streams")
    table = pa.table(COLUMNS)
    shards = folder / "shards"
    shards.mkdir()
    for number, start in enumerate((0, 50, 50, 120)):
        stop = (50, 50, 120, ROWS)[number]
        shard = table.slice(start, stop - start)
        pq.write_table(shard, shards / f"part-{number}.parquet", row_group_size=20)
    dataset = datasets.Dataset.from_dict({name: list(c) for name, c in COLUMNS.items()})
    return {
        "parquet": write_table(table, folder / "a.parquet"),
        "shards": shards,
        "csv": write_table(table, folder / "a.csv"),
        "jsonl": write_table(table, folder / "a.jsonl.gz"),
        "memory": table,
        "dataset": dataset,
        "stream": dataset.to_iterable_dataset(num_shards=3),
    }


@given(
    st.sampled_from(["parquet", "shards", "csv", "jsonl", "memory", "dataset", "stream"]),
    st.integers(1, ROWS + 5),
    st.integers(0, ROWS + 5),
    st.sampled_from([40, 1000, 10**6]),
)
def test_any_piece_from_any_row(sources, name, rows, skip, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_blocks, "BLOCK_BYTES", block)
        tables = list(iterate_table(sources[name], KINDS, rows=rows, skip=skip))
    left = max(ROWS - skip, 0)
    assert [t.num_rows for t in tables] == [rows] * (left // rows) + [left % rows] * (
        left % rows > 0
    )
    expected = pa.table(COLUMNS).slice(skip).to_pylist()
    assert list(itertools.chain(*(t.to_pylist() for t in tables))) == expected
    assert len({t.schema for t in tables}) <= 1


def test_counting_without_reading(sources):
    for name in ("parquet", "shards", "memory", "dataset"):
        assert count_rows(sources[name]) == ROWS
    for name in ("csv", "jsonl", "stream"):
        assert count_rows(sources[name]) is None


def test_only_the_selected_columns(sources):
    for source in sources.values():
        for table in iterate_table(source, {"label": "integer"}, rows=50, select=["x"]):
            assert table.column_names == ["x", "label"]


def test_undeclared_columns_widen_and_are_all_there(tmp_path, monkeypatch):
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 100)
    lines = ["a,b,c"] + [f"{i},,{i}" for i in range(50)] + ["0.5,word,word"] + ["7,8,9"] * 50
    path = tmp_path / "a.csv"
    path.write_text("\n".join(lines))
    tables = list(iterate_table(path, rows=10))
    assert sum(t.num_rows for t in tables) == 101
    seen = [tuple(str(field.type) for field in t.schema) for t in tables]
    assert list(dict.fromkeys(seen)) == [
        ("int64", "null", "int64"),
        ("double", "string", "string"),
    ]
    assert tables[-1].to_pylist()[-1] == {"a": 7.0, "b": "8", "c": "9"}
    path = tmp_path / "a.jsonl"
    rows = [{"a": 1}] * 50 + [{"a": 0.5, "m": [{"r": "x"}]}] + [{"a": 2, "m": []}] * 50
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    tables = list(iterate_table(path, {"a": "number"}, rows=10))
    assert tables[0].column_names == ["a"]
    assert tables[-1].to_pylist()[-1] == {"a": 2.0, "m": []}


def test_what_came_before_a_fault_is_handed_out(tmp_path, monkeypatch):
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 100)
    path = tmp_path / "a.csv"
    path.write_text("x\n" + "1\n" * 500 + "bad\n" + "1\n" * 500 + '"never closed\n')
    got = 0
    with pytest.raises(InputError, match="line 502, column 'x': expected a finite number"):
        for table in iterate_table(path, {"x": "number"}, rows=10):
            got += table.num_rows
    assert got >= 440


def test_a_fault_after_skipped_rows_is_named_by_its_place_in_the_file(tmp_path):
    values = np.arange(100.0)
    values[77] = np.nan
    for ending, place in (("parquet", "row 77"), ("csv", "line 79"), ("jsonl", "line 78")):
        path = write_table({"x": values, "n": range(100)}, tmp_path / f"a.{ending}")
        for skip in (0, 60, 77):
            with pytest.raises(InputError, match=rf"a\.{ending}, {place}, column 'x'"):
                list(iterate_table(path, {"x": "number"}, rows=7, skip=skip))
        assert sum(t.num_rows for t in iterate_table(path, {"x": "number"}, skip=78)) == 22


def test_a_wrong_size(sources):
    for wrong in ({"rows": 0}, {"skip": -1}):
        with pytest.raises(InputError, match="expected rows of at least 1 and skip of at least 0"):
            iterate_table(sources["csv"], **wrong)


STREAM = """
import sys, psutil
import pyarrow as pa
from gradatim.core.io import tables, text_blocks

text_blocks.BLOCK_BYTES = 1 << 20
small, big = sys.argv[1:]
list(tables.iterate_table(small, {"x": "number"}, rows=500))
resident = psutil.Process().memory_info
before, most, arrow, rows = resident().rss, 0, 0, 0
for part in tables.iterate_table(big, {"x": "number"}, rows=500):
    rows += part.num_rows
    arrow = max(arrow, pa.total_allocated_bytes())
    most = max(most, resident().rss - before)
print(rows, arrow, most)
"""


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_memory_does_not_grow_with_the_file(tmp_path, ending):
    """60 MB, as Parquet one row group, are streamed in less, by a process of their own."""
    text = np.random.default_rng(0).integers(97, 123, (20_000, 3000), dtype=np.uint8)
    column = pa.array(text.view("S3000").ravel()).cast(pa.string())
    table = pa.table({"x": np.arange(20_000.0), "text": column})
    big, small = (tmp_path / f"{name}.{ending}" for name in ("big", "small"))
    if ending == "parquet":
        options = {"use_dictionary": False, "compression": "none", "write_statistics": False}
        pq.write_table(table, big, row_group_size=20_000, **options)
    else:
        write_table(table, big)
    write_table(table[:1000], small)
    assert big.stat().st_size > 60e6
    run = [sys.executable, "-c", STREAM, str(small), str(big)]
    printed = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    rows, arrow, resident = (int(word) for word in printed.split())
    assert rows == 20_000 and arrow < 15e6 and resident < 45e6


def test_read_table_and_iterate_table_agree_on_kinds(sources):
    for source in (sources["csv"], sources["shards"]):
        whole = read_table(source, KINDS)
        pieces = pa.concat_tables(iterate_table(source, KINDS, rows=50))
        assert whole.equals(pieces)
