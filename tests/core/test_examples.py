"""The example protocol: every source gives the same columns for the same positions."""

import time

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from gradatim.core.errors import InputError
from gradatim.core.examples import (
    Examples,
    ExampleStream,
    RowExamples,
    TensorExamples,
    as_examples,
    batched,
    collate,
    example_count,
)

COLUMNS = {"x": [[0.5, 1.0], [1.5, 2.0], [2.5, 3.0]], "y": [0, 1, 2], "t": ["a", "b", "c"]}


class RowDataset(torch.utils.data.Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return {name: column[index] for name, column in COLUMNS.items()}


class BatchDataset(RowDataset):
    def __getitems__(self, indices):
        return [self[index] for index in indices]


class ColumnSource:
    def __len__(self):
        return 3

    def __getitem__(self, indices):
        return {name: [column[i] for i in indices] for name, column in COLUMNS.items()}


SOURCES = {
    "mapping": COLUMNS,
    "tensors": {"x": torch.tensor(COLUMNS["x"]), "y": np.array(COLUMNS["y"]), "t": COLUMNS["t"]},
    "table": pa.table(COLUMNS),
    "frame": pd.DataFrame(COLUMNS, index=[5, 6, 7]),
    "dataset": datasets.Dataset.from_dict(COLUMNS),
    "rows": [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)],
    "torch": RowDataset(),
    "torch with __getitems__": BatchDataset(),
    "columns": ColumnSource(),
    "dataset columns": {n: datasets.Dataset.from_dict(COLUMNS)[n] for n in COLUMNS},
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_gives_the_same_batch(name):
    examples = as_examples(SOURCES[name])
    assert isinstance(examples, Examples)
    assert len(examples) == example_count(examples) == 3
    batch = collate(examples[[2, 0, 2]])
    assert list(batch) == ["x", "y", "t"]
    torch.testing.assert_close(batch["x"].double(), torch.tensor(COLUMNS["x"]).double()[[2, 0, 2]])
    assert batch["y"].dtype == torch.int64 and batch["y"].tolist() == [2, 0, 2]
    assert batch["t"] == ["c", "a", "c"]


def test_sources_that_are_examples_already_are_kept():
    for source in (SOURCES["dataset"], TensorExamples(**COLUMNS), SOURCES["columns"]):
        assert as_examples(source) is source
    rows = as_examples(SOURCES["rows"])
    assert isinstance(rows, RowExamples) and as_examples(rows) is rows


@given(st.data())
def test_every_sort_of_index_is_that_of_numpy(data):
    length = data.draw(st.integers(1, 6))
    values = np.arange(length * 2).reshape(length, 2)
    examples = TensorExamples(x=values, t=[str(i) for i in range(length)])
    index = data.draw(st.lists(st.integers(-length, length - 1), max_size=8))
    expected = values[np.array(index, dtype=int)]
    for form in (index, tuple(index), np.array(index, int), torch.tensor(index).long()):
        batch = examples[form]
        assert batch["x"].tolist() == expected.tolist()
        assert batch["t"] == [str(row[0] // 2) for row in expected]
        assert examples.select(form)[slice(None)]["x"].tolist() == expected.tolist()
    start, stop = data.draw(st.tuples(st.integers(-8, 8), st.integers(-8, 8)))
    assert examples[start:stop]["x"].tolist() == values[start:stop].tolist()
    assert examples[start:stop]["t"] == [str(i) for i in range(length)][start:stop]
    assert examples[index[0]]["x"].tolist() == expected[0].tolist() if index else True


def test_wrong_indices():
    examples = TensorExamples(**COLUMNS)
    for index in ([3], [-4], [0, 99], np.array([3]), torch.tensor([-4])):
        with pytest.raises(IndexError, match=r"is out of range for 3 examples"):
            examples[index]
    texts = TensorExamples(t=["a"])
    with pytest.raises(IndexError, match="index 1 is out of range for 1 examples"):
        texts[[1]]
    wrong = ([0.5], [True, False, True], [[0]], ["a"], np.array([0.5]), torch.tensor([True]))
    for index in (*wrong, torch.tensor([[0]]), [None]):
        with pytest.raises(InputError, match=r"index: expected integers of shape \[B\]"):
            examples[index]


def test_columns_keep_type_and_share_memory():
    array = np.zeros((4, 2))
    examples = TensorExamples(a=array, h=np.zeros(4, np.float16), b=[True] * 4, r=range(4))
    array[0, 0] = 7.0
    assert examples.column("a")[0, 0] == 7.0
    kinds = [examples.column(name).dtype for name in examples.column_names]
    assert kinds == [torch.float64, torch.float16, torch.bool, torch.int64]
    for dtype in (np.uint8, np.uint16, np.uint32, np.uint64, ">i4", ">f8"):
        column = np.arange(3).astype(dtype)
        assert TensorExamples(x=column)[[2, 1]]["x"].tolist() == [2, 1]
    frozen = np.arange(3)
    frozen.flags.writeable = False
    assert TensorExamples(x=frozen, y=frozen[::-1])[[0]]["y"].tolist() == [2]


def test_columns_that_are_no_numbers_stay_lists():
    columns = {
        "text": np.array(["a", "b"]),
        "ragged": [[1], [1, 2]],
        "gaps": [1, None],
        "messages": [[{"role": "user"}], []],
        "days": np.array(["2024-01-01", "2024-01-02"], "datetime64[D]"),
        "huge": [2**70, 1],
    }
    batch = TensorExamples(**columns)[[1, 0]]
    assert all(isinstance(column, list) for column in batch.values())
    assert batch["ragged"] == [[1, 2], [1]] and batch["gaps"] == [None, 1]


def test_columns_of_tables():
    frame = pd.DataFrame({"i": pd.array([1, None], "Int64"), "b": [True, False], "c": ["x", None]})
    frame["e"] = [np.array([1.0, 2.0]), np.array([3.0, 4.0])]
    batch = as_examples(frame)[[0, 1]]
    assert batch["i"][0] == 1 and batch["i"][1].isnan()
    assert batch["b"].tolist() == [True, False] and batch["c"] == ["x", None]
    assert batch["e"].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert as_examples(pa.table({"l": [[1], [1, 2]], "n": [[1], None]}))[[0]]["l"] == [[1]]


def test_examples_go_into_a_data_loader():
    loader = DataLoader(TensorExamples(**COLUMNS), batch_size=2)
    assert [batch["y"].tolist() for batch in loader] == [[0, 1], [2]]


def test_unfit_sources():
    different = [{"a": 1}, {"b": 1}]
    for source, told in (
        ({}, "expected columns of one length, but there are none"),
        ({"a": [1], "b": [1, 2]}, "expected columns of one length, but a has 1, b has 2"),
        ({"a": "text"}, "a: expected a tensor, array or list, got 'text'"),
        ({"a": torch.tensor(1.0)}, r"a: expected a tensor, array or list, got tensor\(1\.\)"),
        ({"a": 3}, "a: expected a tensor, array or list, got 3"),
        ("data.csv", "got the path data.csv; read_table reads it"),
        (datasets.DatasetDict(train=SOURCES["dataset"]), "a dictionary of the splits train"),
        (SOURCES["dataset"].to_iterable_dataset(), "got IterableDataset"),
        (iter([1]), "got list_iterator"),
        ([], "expected at least one example, got none"),
        (TensorDataset(torch.zeros(2, 2)), r"rows that are mappings .*, got a list \(tuple\)"),
        ([1, 2], r"got a number \(int\)"),
    ):
        with pytest.raises(InputError, match=told):
            as_examples(source)
    with pytest.raises(InputError, match=r"example 1: expected .* columns \['a'\], got \['b'\]"):
        as_examples(different)[[0, 1]]
    with pytest.raises(InputError, match="expected one of the columns x, y, t, got 'z'"):
        TensorExamples(**COLUMNS).column("z")
    with pytest.raises(InputError, match="a source of known length, got a generator"):
        example_count(x for x in ())


def test_collate():
    tensor = torch.zeros(2, 3, dtype=torch.bfloat16)
    batch = collate(
        {
            "tensor": tensor,
            "tensors": [torch.ones(2), torch.zeros(2)],
            "arrays": [np.ones(2), np.zeros(2)],
            "scalars": [np.float32(1.5), np.float32(2.5)],
            "floats": [1, 0.5],
            "rows": [[1, 2], [3, 4]],
            "unequal": [torch.ones(2), torch.ones(3)],
            "ragged": [np.ones(2), np.ones(3)],
            "texts": ["a", "b"],
            "lists": [["a"], ["b"]],
            "nothing": [None, None],
        }
    )
    assert batch["tensor"] is tensor
    shapes = {name: list(v.shape) for name, v in batch.items() if isinstance(v, torch.Tensor)}
    assert shapes == {
        **{"tensor": [2, 3], "tensors": [2, 2], "arrays": [2, 2], "scalars": [2]},
        **{"floats": [2], "rows": [2, 2]},
    }
    assert batch["floats"].dtype == torch.float32 and batch["rows"].dtype == torch.int64
    assert batch["texts"] == ["a", "b"] and batch["nothing"] == [None, None]


@given(st.integers(0, 20), st.integers(1, 7))
def test_batches_of_a_stream_hold_every_example_once_in_order(length, size):
    stream = [{"x": i, "t": str(i)} for i in range(length)]
    assert isinstance(stream, ExampleStream)
    batches = list(batched(iter(stream), size))
    assert [x for batch in batches for x in batch["x"]] == list(range(length))
    assert all(len(batch["t"]) == size for batch in batches[:-1])


def test_faults_in_a_stream():
    with pytest.raises(InputError, match="example 3: expected a mapping with the columns"):
        list(batched([{"x": 1}, {"x": 1}, {"x": 1}, {"y": 1}], 2))
    with pytest.raises(InputError, match=r"example 1: .* got a number"):
        list(batched([{"x": 1}, 5], 2))
    with pytest.raises(InputError, match="size: expected at least 1, got 0"):
        next(batched([], 0))


def test_the_cost_of_a_batch_does_not_grow_with_the_number_of_examples():
    """A batch is gathered by index: 100 times the examples may cost thrice as much, not 100."""

    def cost(length):
        examples = TensorExamples(x=torch.zeros(length, 8), y=torch.zeros(length))
        index = list(range(64))
        times = []
        for _ in range(200):
            start = time.perf_counter()
            examples[index]
            times.append(time.perf_counter() - start)
        return min(times)

    assert cost(100_000) < 3 * cost(1_000)
