"""A job that is killed goes on where it was, and ends as if nothing had happened."""

import json
import os
import signal

import numpy as np
import pyarrow as pa
import pytest

import gradatim
from gradatim.core.errors import InputError, StorageError
from gradatim.core.io.tables import write_table
from gradatim.workflows import score_classes
from gradatim.workflows.score import score
from gradatim.workflows.score_blocks import BlockStore, TableReader
from tests.workflows.profile_tables import numbers
from tests.workflows.score_data import sums, tiny


def run(source, out, kill_at=None):
    """Score in blocks of three rows; how many were made. Killed while it makes one, if asked."""
    write, made = BlockStore.write, []

    def counting(self, start, table):
        made.append(start)
        if len(made) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, start, table)

    BlockStore.write = counting
    try:
        score(source, measure="words,loss,entropy", model=tiny(), out=out, block_rows=3)
    finally:
        BlockStore.write = write
    return len(made)


def killed(source, out, at):
    """The same in a process that kills itself; the signal that ended it."""
    process = os.fork()
    if process == 0:
        try:
            run(source, out, at)
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(process, 0)[1])


def test_a_killed_job_goes_on(tmp_path):
    source = write_table(sums(), tmp_path / "data.jsonl")
    cut, whole = tmp_path / "cut.parquet", tmp_path / "whole.parquet"
    assert run(source, whole) == 7
    for at in (4, 2):
        assert killed(source, cut, at) == signal.SIGKILL and not cut.exists()
    blocks = tmp_path / "cut.parquet.blocks"
    names = sorted(one.name for one in blocks.glob("rows-*"))
    assert names == [f"rows-{start:012d}.parquet" for start in (0, 3, 6, 9)]
    assert run(source, cut) == 3
    assert cut.read_bytes() == whole.read_bytes()
    assert not blocks.exists() and not (tmp_path / "whole.parquet.blocks").exists()


class Stop(Exception):  # noqa: N818
    pass


def stopping(after):
    seen = []

    def progress(done, total, left):
        seen.append(done)
        if len(seen) == after:
            raise Stop

    return progress, seen


def test_blocks_are_told_and_only_the_rest_is_done(tmp_path):
    progress, seen = stopping(2)
    with pytest.raises(Stop):
        score(sums(), measure="length", out=tmp_path / "out", block_rows=6, progress=progress)
    told, later = [], []
    result = score(
        sums(), measure="length", out=tmp_path / "out", block_rows=6, tell=told.append,
        progress=lambda *numbers: later.append(numbers[:2]),
    )  # fmt: skip
    assert seen == [6, 12] and later == [(18, 20), (20, 20)]
    assert told[-1] == "12 of 20 rows are done already"
    expected = score(sums(), measure="length")
    assert result.table.equals(expected.table)


@pytest.mark.parametrize("what", ["data", "measures", "model", "seed", "columns"])
def test_another_job_does_not_go_on_with_these_blocks(what, tmp_path):
    source = write_table(sums(), tmp_path / "data.jsonl")
    options = {"measure": "loss", "model": tiny(), "out": tmp_path / "out.csv", "block_rows": 6}
    with pytest.raises(Stop):
        score(source, **options, progress=stopping(1)[0])
    if what == "data":
        write_table(sums(seed=1), source, overwrite=True)
    change = {
        "measures": {"measure": "loss,words"},
        "model": {"model": tiny(hidden_size=16)},
        "seed": {"seed": 1},
        "columns": {"level": "level", "measure": "loss"},
    }.get(what, {})
    with pytest.raises(InputError, match=f"unfinished job that differs in .*{what}"):
        score(source, **{**options, **change})
    result = score(source, **{**options, **change}, overwrite=True)
    assert len(result) == 20 and not (tmp_path / "out.csv.blocks").exists()


def test_data_in_memory_that_changed_are_noticed(tmp_path):
    with pytest.raises(Stop):
        score(sums(), measure="length", out=tmp_path / "o.csv", progress=stopping(1)[0])
    with pytest.raises(InputError, match="differs in data"):
        score(sums(seed=2), measure="length", out=tmp_path / "o.csv")


def test_models_of_classes_are_not_trained_again(tmp_path, monkeypatch):
    frame, _ = numbers(60)
    options = {"measure": "el2n,words", "label": "label", "input": ["a", "kind"]}
    expected = score(frame, **options).rows
    save = gradatim.workflows.score_result.ScoreResult.save
    monkeypatch.setattr(gradatim.workflows.score_result.ScoreResult, "save", None)
    with pytest.raises(TypeError):
        score(frame, **options, out=tmp_path / "o.csv")
    monkeypatch.setattr(gradatim.workflows.score_result.ScoreResult, "save", save)
    monkeypatch.setattr(score_classes, "short_fit", None)
    result = score(frame, **options, out=tmp_path / "o.csv")
    np.testing.assert_array_equal(result.rows, expected)


def test_nothing_of_the_users_is_removed(tmp_path):
    blocks = tmp_path / "o.csv.blocks"
    blocks.mkdir()
    (blocks / "mine.txt").write_text("kept")
    with pytest.raises(InputError, match="expected a folder of blocks, got one of something else"):
        score(sums(), measure="length", out=tmp_path / "o.csv")
    (blocks / "mine.txt").unlink()
    with pytest.raises(Stop):
        score(sums(), measure="length", out=tmp_path / "o.csv", progress=stopping(1)[0])
    (blocks / "mine.txt").write_text("kept")
    score(sums(), measure="length", out=tmp_path / "o.csv")
    assert [one.name for one in blocks.iterdir()] == ["mine.txt"]


def test_a_store_counts_rows_without_gaps(tmp_path):
    for folder in (None, tmp_path / "blocks"):
        store = BlockStore(folder, {"a": 1})
        assert store.done == 0
        store.write(0, pa.table({"x": [1, 2]}))
        store.write(4, pa.table({"x": [5]}))
        assert store.done == 2
        store.write(2, pa.table({"x": [3, 4]}))
        assert store.done == 5
        assert pa.concat_tables(store.blocks())["x"].to_pylist() == [1, 2, 3, 4, 5]
    (tmp_path / "blocks/rows-000000000002.parquet").write_text("broken")
    with pytest.raises(StorageError, match="damaged"):
        list(BlockStore(tmp_path / "blocks", {"a": 1}).blocks())
    (tmp_path / "blocks/plan.json").write_text("{")
    with pytest.raises(StorageError, match=r"plan\.json: reading failed"):
        BlockStore(tmp_path / "blocks", {"a": 1})


def test_the_fingerprint_of_a_file_tells_when_it_was_written(tmp_path):
    path = write_table(sums(), tmp_path / "d.parquet")
    before = TableReader(path).fingerprint()
    assert TableReader(path).fingerprint() == before
    os.utime(path, ns=(1, 1))
    assert TableReader(path).fingerprint() != before
    assert TableReader(sums()).fingerprint() == TableReader(sums()).fingerprint()


def test_the_plan_can_be_read(tmp_path):
    with pytest.raises(Stop):
        score(sums(), measure="length", out=tmp_path / "o.csv", progress=stopping(1)[0])
    plan = json.loads((tmp_path / "o.csv.blocks/plan.json").read_text())
    assert plan["measures"] == ["length"] and plan["rows of a block"] == 8192


def test_no_more_than_a_block_is_read_at_once(tmp_path, monkeypatch):
    source = write_table(
        {"text": [f"row {n} of many" for n in range(20_000)]}, tmp_path / "t.jsonl"
    )
    sizes = []
    blocks = TableReader.blocks

    def watched(self, rows, **options):
        for part in blocks(self, rows, **options):
            sizes.append(part.num_rows)
            yield part

    monkeypatch.setattr(TableReader, "blocks", watched)
    monkeypatch.setattr("gradatim.workflows.score_blocks.read_table", None)
    result = score(source, measure="words,length", out=tmp_path / "out.parquet")
    assert len(result) == 20_000 and max(sizes) == 8192
