"""Writing is whole or not at all, and never over an input."""

import errno
import resource

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradatim.core.errors import InputError, StorageError
from gradatim.core.io.tables import iterate_table, read_table, write_table

COLUMNS = {"x": [1.5, None], "t": ["a", 'b"\n']}
ENDINGS = ["parquet", "jsonl", "csv", "tsv", "jsonl.gz", "csv.zst"]


def pieces(number=3, rows=1000):
    for piece in range(number):
        values = np.random.default_rng(piece).random(rows)
        yield pa.table({"x": values, "t": [str(value) for value in values]})


@pytest.mark.parametrize("ending", ENDINGS)
def test_tables_are_written_as_they_come(tmp_path, ending):
    path = write_table(pieces(), tmp_path / "new" / f"a.{ending}")
    assert read_table(path, {"t": "text"}).to_pydict() == pa.concat_tables(pieces()).to_pydict()
    streamed = write_table(iterate_table(path, {"t": "text"}, rows=700), tmp_path / "b.parquet")
    assert read_table(streamed).to_pydict() == pa.concat_tables(pieces()).to_pydict()


def test_parquet_is_written_in_small_row_groups(tmp_path):
    path = write_table({"x": np.zeros(200_000)}, tmp_path / "a.parquet")
    assert pq.ParquetFile(path).num_row_groups == 4


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_is_overwritten_unasked_and_an_input_never(tmp_path, ending):
    path = write_table(COLUMNS, tmp_path / f"a.{ending}")
    before = path.read_bytes()
    (tmp_path / f"link.{ending}").symlink_to(path)
    for data, target, options in (
        (COLUMNS, path, {}),
        (path, path, {"overwrite": True}),
        (path, tmp_path / f"link.{ending}", {"overwrite": True}),
        (COLUMNS, path, {"overwrite": True, "inputs": [path]}),
    ):
        with pytest.raises(InputError, match="is not overwritten"):
            write_table(data, target, **options)
    assert path.read_bytes() == before
    write_table({"x": [7.0]}, path, overwrite=True)
    assert read_table(path)["x"].to_pylist() == [7.0]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_that_cannot_grow_leaves_nothing(tmp_path, ending):
    """The kernel refuses to write beyond a limit, as it does on a full disk."""
    path = write_table({"x": [1.0]}, tmp_path / f"a.{ending}")
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(StorageError, match=rf"a\.{ending}: writing failed.*is unchanged"):
            write_table(pieces(20, 10_000), path, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv"])
def test_a_full_disk(tmp_path, ending, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(
        f"gradatim.core.io.tables.write_{'json' if ending == 'jsonl' else ending}", full
    )
    with pytest.raises(StorageError, match=rf"a\.{ending}: writing failed: the disk is full"):
        write_table(COLUMNS, tmp_path / f"a.{ending}")
    assert list(tmp_path.iterdir()) == []


def test_a_fault_in_what_is_being_read_leaves_nothing(tmp_path):
    source = tmp_path / "a.csv"
    source.write_text("x\n" + "1\n" * 100_000 + "bad\n")
    with pytest.raises(InputError, match="line 100002"):
        write_table(iterate_table(source, {"x": "number"}, rows=100), tmp_path / "b.parquet")
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    ("name", "columns", "told"),
    [
        ("a.csv", {"m": [[1]]}, "column 'm' holds lists or objects, which CSV cannot hold"),
        ("a.csv", {"m": [b"x"]}, "column 'm' holds bytes, which CSV cannot hold"),
        ("a.jsonl", {"m": [{"b": b"x"}]}, "column 'm' holds bytes, which JSON cannot hold"),
        ("a.jsonl", {"a": [0], "m": [[float("inf")]]}, "row 0, column 'm': expected a finite"),
        ("a.parquet", {"m": [{}]}, "column 'm' holds objects without fields, which Parquet"),
        ("a.txt", {"m": [1]}, "got .txt"),
        ("a.pkl", {"m": [1]}, "expected a table, got a pickle"),
        ("a.parquet", iter([]), "expected tables to write, got none"),
    ],
)
def test_what_a_format_cannot_hold(tmp_path, name, columns, told):
    with pytest.raises(InputError) as caught:
        write_table(columns, tmp_path / name)
    assert told in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_schema_that_changes_on_the_way(tmp_path):
    def tables(second):
        return iter([pa.table({"x": [1]}), pa.table(second)])

    path = write_table(tables({"x": pa.array([2], pa.int8())}), tmp_path / "a.parquet")
    assert read_table(path)["x"].to_pylist() == [1, 2]
    for second in ({"x": ["text"]}, {"x": [0.5]}, {"y": [1]}):
        with pytest.raises(InputError, match="expected tables of one schema"):
            write_table(tables(second), tmp_path / "b.parquet")
    path = write_table(tables({"x": [0.5], "y": ["new"]}), tmp_path / "c.jsonl")
    assert read_table(path).to_pylist() == [{"x": 1.0, "y": None}, {"x": 0.5, "y": "new"}]


def test_tables_without_rows_and_rows_without_values(tmp_path):
    empty = pa.table({"x": pa.array([], pa.float64())})
    for ending in ENDINGS:
        path = write_table(empty, tmp_path / f"a.{ending}")
        with pytest.raises(InputError, match=r"holds no rows|is empty"):
            read_table(path)
        path = write_table({"x": [1.0, None, None, 2.0]}, tmp_path / f"gaps.{ending}")
        back = read_table(path, {"x": "number or missing"})
        assert back["x"].to_pylist() == [1.0, None, None, 2.0]
