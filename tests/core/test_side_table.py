"""Ids that follow content, and side tables that follow ids."""

import json

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError, StorageError
from gradatim.core.io.tables import write_table
from gradatim.core.side_table import SideTable, content_ids

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
ROW = st.fixed_dictionaries(
    {
        "text": st.none() | TEXT,
        "number": st.none() | FLOATS | st.integers(-9, 9).map(float),
        "whole": st.none() | st.integers(-(2**63), 2**63 - 1),
        "flag": st.none() | st.booleans(),
        "vector": st.none() | st.lists(st.none() | FLOATS, max_size=3),
        "tokens": st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
        "messages": st.lists(st.fixed_dictionaries({"role": TEXT, "n": st.none() | FLOATS})),
    }
)
SCHEMA = pa.schema(
    {
        **{"text": pa.string(), "number": pa.float64(), "whole": pa.int64(), "flag": pa.bool_()},
        **{"vector": pa.list_(pa.float64()), "tokens": pa.list_(pa.int64())},
        "messages": pa.list_(pa.struct({"role": pa.string(), "n": pa.float64()})),
    }
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ids")


@given(st.lists(ROW, min_size=1, max_size=5), st.randoms())
def test_ids_depend_on_content_alone(folder, rows, random):
    table = pa.Table.from_pylist(rows, SCHEMA)
    ids = content_ids(table)
    names = random.sample(SCHEMA.names, len(SCHEMA))
    cut = random.randint(0, len(rows))
    assert content_ids(table.select(names)) == ids
    assert content_ids(pa.concat_tables([table.slice(0, cut), table.slice(cut)])) == ids
    assert content_ids(table.append_column("nothing", pa.nulls(len(rows)))) == ids
    assert content_ids(write_table(table, folder / "a.parquet", overwrite=True)) == ids
    assert content_ids(write_table(table, folder / "a.jsonl", overwrite=True)) == ids
    assert content_ids(datasets.Dataset(table)) == ids
    frame = pd.DataFrame({name: table[name].to_pylist() for name in names}, dtype=object)
    assert content_ids(frame) == ids
    assert len(set(ids)) == len(rows)


@given(st.lists(ROW, min_size=1, max_size=5))
def test_rows_have_the_same_id_exactly_if_they_are_equal(rows):
    def plain(value):
        return json.dumps(value, sort_keys=True).replace("-0.0", "0.0")

    ids = [name.split("-")[0] for name in content_ids(pa.Table.from_pylist(rows, SCHEMA))]
    kept = [{k: v for k, v in row.items() if v is not None} for row in rows]
    assert len(set(ids)) == len({plain(row) for row in kept})


EQUAL = [
    ([1, 2], [1.0, 2.0]),
    ([1, None], [1.0, float("nan")]),
    ([0.0], [-0.0]),
    (pa.array([0.5], pa.float32()), [0.5]),
    (pa.array([1.5], pa.float16()), [1.5]),
    (pa.array([7], pa.int8()), pa.array([7], pa.uint64())),
    (pa.array([150], pa.int64()).cast(pa.decimal128(30, 2)), [150]),
    (pd.Categorical(["x", "y"]), ["x", "y"]),
    (pa.array(["x"], pa.large_string()), pa.array(["x"], pa.string_view())),
    (np.arange(6).reshape(3, 2), [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]),
    (pa.array([["x"]], pa.list_(pa.string_view())), [["x"]]),
    (pa.array([{"c": "x"}]).cast(pa.struct({"c": pa.large_string()})), [{"c": "x"}]),
    (pa.array([[]], pa.list_(pa.null())), pa.array([[]], pa.list_(pa.string()))),
    (pa.array([[None]], pa.list_(pa.null())), pa.array([[None]], pa.list_(pa.float32()))),
    (np.negative(np.array([[np.nan, 1.0]])), [[np.nan, -1.0]]),
    ([{"a": 1, "b": None}], [{"a": 1.0}]),
    (pa.array([2**60], pa.int64()), pa.array([2**60], pa.uint64())),
    (pa.array([10**9], pa.timestamp("ns")), pa.array([10**6], pa.timestamp("us"))),
    (pa.array([10**6], pa.timestamp("us")), ["1970-01-01T00:00:01"]),
]
DIFFERENT = [
    (["1"], [1]),
    ([True], [1]),
    (["a"], ["b"]),
    ([2**53], [2**53 + 1]),
    (pa.array([[2**53]]), pa.array([[2**53 + 1]])),
    (pa.array([2**64 - 1], pa.uint64()), pa.array([2**64 - 2], pa.uint64())),
    ([[1]], [1]),
    ([[]], [None]),
    ([[1, 2]], [[2, 1]]),
    ([["ab"]], [["a", "b"]]),
    ([b"x"], ["x"]),
    ([{"a": 1}], [{"b": 1}]),
    (pa.array([1], pa.duration("s")), pa.array([2], pa.duration("s"))),
]


def test_equal_values_in_unequal_clothes():
    for one, other in EQUAL:
        assert content_ids({"c": one}) == content_ids({"c": other}), (one, other)
    for one, other in DIFFERENT:
        assert content_ids({"c": one}) != content_ids({"c": other}), (one, other)
    swapped = content_ids({"a": ["x"], "b": ["y"]}), content_ids({"a": ["y"], "b": ["x"]})
    assert swapped[0] != swapped[1]


def test_ids_stay_what_they_are():
    """Ids are kept in files: a change of this value would orphan every side table."""
    columns = {"text": ["easy", "hard", "easy"], "x": [0.5, 1.0, 0.5], "l": [[1], [2, 3], [1]]}
    first = "42115324a6e8d2859afda099c5fdb1e6"
    assert content_ids(columns) == [first, "9c8a430c34f7ba59e9587a37cd1e4d75", f"{first}-1"]


def test_csv_whose_types_are_found_out_late(folder, monkeypatch):
    monkeypatch.setattr("gradatim.core.io.text_blocks.BLOCK_BYTES", 50)
    codes = [f"{i:03}" for i in range(100)] + ["none"]
    path = folder / "codes.csv"
    path.write_text("\n".join(["code", *codes]))
    assert content_ids(path) == content_ids({"code": codes})


IDS = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, max_size=12),
    st.lists(TEXT, unique=True, max_size=12),
)


@given(IDS, st.randoms(use_true_random=False))
def test_alignment_is_a_permutation(ids, random):
    side = SideTable(ids, {"rank": np.arange(len(ids)), "name": [str(i) for i in ids]})
    shuffled = random.sample(ids, len(ids))
    positions = side.align(shuffled)
    assert sorted(positions.tolist()) == list(range(len(ids)))
    assert [ids[position] for position in positions] == shuffled
    moved = side.reindex(shuffled)
    assert moved.ids.tolist() == shuffled
    assert moved.column("name").tolist() == [str(i) for i in shuffled]
    assert moved.reindex(ids).column("rank").tolist() == list(range(len(ids)))
    joined = side.join(SideTable(shuffled, {"again": moved.column("rank")}))
    assert joined.column("again").tolist() == joined.column("rank").tolist()


@given(IDS.filter(len), st.data())
def test_reindexing_to_some_and_others_is_that_of_pandas(ids, data):
    some = data.draw(st.lists(st.sampled_from(ids), unique=True))
    others = ["not there"] if isinstance(ids[0], str) else [5]
    wanted = [*some, *(other for other in others if other not in ids)]
    columns = {"x": np.arange(len(ids)) / 2, "n": np.arange(len(ids)), "t": list("ab" * 6)}
    columns["t"] = columns["t"][: len(ids)]
    side = SideTable(ids, columns).reindex(wanted, missing="nan")
    theirs = pd.DataFrame(columns, index=pd.Index(ids, dtype=object)).reindex(wanted)
    for name in ("x", "n"):
        np.testing.assert_array_equal(side.column(name), theirs[name].to_numpy(float))
    assert [value is None for value in side.column("t")] == theirs["t"].isna().tolist()


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("ids", [[3, 1, 2], ["c", "a", "b"]])
def test_saving_and_loading(tmp_path, ending, ids):
    columns = {"difficulty": [0.1, 0.25, 1e300], "x": [1.0, np.nan, 2.0], "name": ["p", "q", "r"]}
    side = SideTable(ids, columns)
    path = side.save(tmp_path / f"side.{ending}")
    back = SideTable.load(path, {"name": "text"})
    assert back.ids.tolist() == ids and back.column_names == list(columns)
    pd.testing.assert_frame_equal(back.to_pandas(), side.to_pandas())
    with pytest.raises(InputError, match="is not overwritten"):
        side.save(path)
    with pytest.raises(InputError, match="expected a column 'loss'"):
        SideTable.load(path, {"loss": "number"})


def test_what_a_file_may_not_hold(tmp_path):
    path = tmp_path / "side.csv"
    path.write_text("id,difficulty\na,0.5\nb,\nc,nan\n")
    told = (
        r"side\.csv, line 3, column 'difficulty': expected a finite number, got a missing .*1 more"
    )
    with pytest.raises(InputError, match=told):
        SideTable.load(path)
    assert np.isnan(SideTable.load(path, allow_missing=True).column("difficulty")[1:]).all()
    path.write_text("id,x\na,0.5\na,1\n")
    with pytest.raises(
        InputError, match="ids, row 1: expected different ids, but 'a' stands in ro"
    ):
        SideTable.load(path)
    path.write_text("name,x\na,0.5\n")
    with pytest.raises(InputError, match="expected a column 'id', got the columns name, x"):
        SideTable.load(path)
    with pytest.raises(InputError, match="a column called 'id' cannot be saved"):
        SideTable([1], {"id": [1]}).save(tmp_path / "new.csv")


def test_missing_difficulty_and_weight_are_refused():
    for name in ("difficulty", "weight"):
        told = (
            rf"row 1, id 'b', column '{name}': expected a finite number, got nan \(and 1 more row\)"
        )
        with pytest.raises(InputError, match=told):
            SideTable(["a", "b", "c"], {name: [0.0, np.nan, np.inf]})
        with pytest.raises(InputError, match=f"column '{name}': expected numbers, got object"):
            SideTable(["a"], {name: ["hard"]})
    side = SideTable(["a"], {"difficulty": [0.5]})
    wider = side.reindex(["a", "b"], missing="nan")
    assert np.isnan(wider.column("difficulty")[1])
    joined = wider.join(SideTable(["b", "a"], {"z": [1, 2]}))
    assert joined.column("z").tolist() == [2, 1] and np.isnan(joined.column("difficulty")[1])
    assert np.isnan(SideTable(["a"], {"other": [np.nan]}).column("other")[0])


def test_wrong_ids_and_columns():
    side = SideTable(["a", "b"], {"x": [1, 2]})
    positions = SideTable([0, 1], {"x": [1, 2]})
    for call, told in (
        (lambda: side.align(["b", "q", "r", "a"]), "2 ids of 4 are not in it, the first is 'q'"),
        (lambda: positions.reindex([1, 7]), "1 id of 2 are not in it, the first is 7"),
        (lambda: side.align([0, 1]), r"expected content ids \(text\).*, got positions"),
        (lambda: positions.align(["a"]), r"expected positions \(integers\).*, got content ids"),
        (
            lambda: side.reindex(["a", "a"]),
            "row 1: expected different ids, but 'a' stands in row 0",
        ),
        (lambda: side.reindex(["a"], missing="drop"), "missing: expected one of error, nan"),
        (lambda: side.join(side), "both tables have 'x'"),
        (lambda: side.join(SideTable(["a"], {"y": [1]})), "1 id of 2 .* the first is 'b'"),
        (lambda: side.column("z"), "side table: expected a column 'z', got the columns x"),
        (lambda: SideTable([1, "a"], {}), "ids: expected integers, or text, of one kind"),
        (lambda: SideTable([0.5], {}), "ids: expected integers, or text, of one kind: got double"),
        (lambda: SideTable(["a", None], {}), "ids, row 1: expected an id, got a missing value"),
        (lambda: SideTable([1], {"x": [1, 2]}), r"column 'x': .* shape \[1\], got shape \[2\]"),
        (lambda: SideTable([1], {"x": [[1, 2]]}), r"got shape \[1, 2\]"),
        (lambda: SideTable([1, 2], {"x": [[1], [1, 2]]}), r"got shape \[2, 1\]"),
        (lambda: SideTable([1], {"x": 5}), r"got shape \[\]"),
    ):
        with pytest.raises(InputError, match=told):
            call()


def test_columns_of_every_sort_are_kept_apart_from_their_source():
    values = np.array([1.0, 2.0])
    side = SideTable(
        torch.tensor([4, 5]),
        {"a": values, "t": torch.tensor([1, 2]), "s": pd.Series(["x", "y"]), "b": [True, False]},
    )
    values[0] = 9.0
    assert side.column("a").tolist() == [1.0, 2.0] and side.ids.tolist() == [4, 5]
    assert [side.column(name).dtype.kind for name in side.column_names] == ["f", "i", "O", "b"]
    for array in (side.column("a"), side.ids):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(InputError):
        side.with_column("difficulty", [np.nan, 1.0])
    assert side.with_column("a", [7, 8]).column("a").tolist() == [7, 8] and len(side) == 2


def test_an_unwritable_place(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        SideTable([1], {"x": [1]}).save(tmp_path / "file" / "side.csv")
