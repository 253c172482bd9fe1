import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError, StorageError
from gradatim.studies.claims import Budget, Items, Measurement
from gradatim.studies.ledger import (
    Fingerprint,
    Ledger,
    SeedRun,
    ledger_path,
    sidecar_path,
    write_items,
)

MARK = Fingerprint("0123", {"gradatim.core.files": "4567"}, "full")
RUN = SeedRun(1.5, "2026-01-31T12:00:00Z", {"python": "3.11.2"}, {"processor": "x", "cores": 2})


def ledger(folder: Path, seeds=(10, 11), budget="full") -> Ledger:
    measurements = {
        seed: (
            Measurement("a", "accuracy", seed / 7),
            Measurement("a", "accuracy", 1e-300, "noise=0.4, epoch=1"),
            Measurement("ä\u2028\n", "loss", -0.0),
        )
        for seed in seeds
    }
    path = ledger_path("npo", budget, folder)
    mark = replace(MARK, budget=budget)
    return Ledger(path, "npo", Budget(budget), mark, measurements, dict.fromkeys(seeds, RUN))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    for budget in ("full", "smoke"):
        written = ledger(tmp_path, budget=budget)
        written.write()
        assert Ledger.read(written.path) == written
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "npo.jsonl",
        "npo.meta.json",
        "npo.smoke.jsonl",
        "npo.smoke.meta.json",
    ]


def test_the_header_is_the_first_line_and_seeds_rise(tmp_path: Path) -> None:
    ledger(tmp_path, seeds=(12, 3)).write()
    first, *lines = (tmp_path / "npo.jsonl").read_text().removesuffix("\n").split("\n")
    assert json.loads(first) == {
        "gradatim_ledger": 1,
        "slug": "npo",
        "budget": "full",
        "fingerprint": MARK.digest,
        "study": "0123",
        "modules": {"gradatim.core.files": "4567"},
    }
    assert [json.loads(line)["seed"] for line in lines] == [3] * 3 + [12] * 3
    assert lines[0] == (
        '{"seed": 3, "arm": "a", "metric": "accuracy", "group": "", "value": 0.42857142857142855}'
    )


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_number_survives_bit_by_bit(tmp_path_factory, value) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    one = replace(ledger(folder), measurements={0: (Measurement("a", "b", value),)}, runs={})
    one.write()
    (back,) = Ledger.read(one.path).measurements[0]
    assert back.value.hex() == value.hex()


def test_rows_and_tables(tmp_path: Path) -> None:
    one = ledger(tmp_path)
    assert next(iter(one.rows)) == (10, "a", "accuracy", "", 10 / 7)
    assert one.seeds == (10, 11)
    assert one.tables[11]["a"].at("noise=0.4").curve("accuracy", over="epoch") == [(1.0, 1e-300)]


def test_the_digest_depends_on_study_parts_and_budget() -> None:
    others = [
        replace(MARK, study="9"),
        replace(MARK, budget="smoke"),
        replace(MARK, parts={"gradatim.core.files": "9"}),
        replace(MARK, parts={}),
    ]
    assert len({mark.digest for mark in [MARK, *others]}) == 5


def test_a_ledger_without_its_sidecar_is_whole_and_a_foreign_sidecar_is_named(tmp_path) -> None:
    one = ledger(tmp_path)
    one.write()
    sidecar = sidecar_path(one.path)
    sidecar.write_text('{"seeds": 3}')
    with pytest.raises(InputError, match=r"npo.meta.json: expected the sidecar of a ledger"):
        Ledger.read(one.path)
    sidecar.unlink()
    assert Ledger.read(one.path).runs == {}


GOOD = '{"seed": 1, "arm": "a", "metric": "m", "group": "", "value": 0.5}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,b,c", "line 2: expected JSON"),
        (GOOD[:-9], "line 2: expected JSON"),
        ("", "line 2: expected JSON"),
        ("[1]", "line 2: expected a JSON object, got list"),
        (GOOD.replace('"group": "", ', ""), "line 2: field 'group' is missing"),
        (GOOD.replace("}", ', "time": 3}'), "line 2: field 'time' is not one of seed"),
        (GOOD.replace("0.5", '"0.5"'), "line 2, field 'value': expected float, got '0.5'"),
        (GOOD.replace("1,", "true,"), "line 2, field 'seed': expected int, got True"),
        (GOOD.replace("0.5", "NaN"), "line 2, field 'value': expected a finite number"),
        (f"{GOOD}\n{GOOD}", "line 3: seed 1, arm 'a', metric 'm', group '' stands in line 2"),
    ],
)
def test_damaged_lines_are_named(tmp_path: Path, line, message) -> None:
    one = replace(ledger(tmp_path), measurements={})
    one.write()
    with one.path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match=rf"npo.jsonl, {message}"):
        Ledger.read(one.path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slug": "ps-kd"}, "this is the ledger of 'ps-kd' with budget 'full', .* ps-kd.jsonl"),
        ({"budget": "smoke"}, "this is the ledger of 'npo' with budget 'smoke'"),
        ({"budget": "big"}, "expected budget smoke or demo or full, got 'big'"),
        ({"gradatim_ledger": 2}, "expected ledger format 1, got 2"),
        ({"modules": {"gradatim.core.files": 3}}, "field 'modules': expected hashes"),
        ({"modules": {}}, "the fingerprint does not fit"),
        ({"study": None}, "field 'study': expected str, got None"),
    ],
)
def test_foreign_headers_are_named(tmp_path: Path, changes, message) -> None:
    one = ledger(tmp_path)
    header = json.loads(next(one.lines())) | changes
    one.path.write_text(json.dumps(header) + "\n")
    with pytest.raises(InputError, match=rf"npo.jsonl, line 1.*{message}"):
        Ledger.read(one.path)


def test_files_that_are_no_ledger_at_all(tmp_path: Path) -> None:
    path = tmp_path / "npo.jsonl"
    with pytest.raises(InputError, match=r"npo\.jsonl: there is no such file"):
        Ledger.read(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="expected a ledger, got an empty file"):
        Ledger.read(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="expected UTF-8 text"):
        Ledger.read(path)
    path.write_text(GOOD + "\n")
    with pytest.raises(InputError, match="line 1: field 'gradatim_ledger' is missing"):
        Ledger.read(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageError, match="reading failed"):
        Ledger.read(path)


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_old_ledger(tmp_path: Path, monkeypatch) -> None:
    ledger(tmp_path, seeds=(10,)).write()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr("pathlib.Path.replace", full_disk)
    with pytest.raises(StorageError, match="the disk is full; what stood there is unchanged"):
        ledger(tmp_path).write()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_write_that_stops_half_way_leaves_the_old_ledger(tmp_path: Path) -> None:
    """The system refuses to write more than 4096 bytes, as a disk that fills up in between."""
    resource = pytest.importorskip("resource")
    ledger(tmp_path, seeds=(10,)).write()
    before = (tmp_path / "npo.jsonl").read_bytes()
    large = replace(ledger(tmp_path, seeds=range(100)), runs={})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(StorageError, match="what stood there is unchanged"):
            large.write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "npo.jsonl").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"npo.jsonl", "npo.meta.json"}


def test_items_go_to_a_side_file(tmp_path: Path) -> None:
    columns = {"difficulty": np.array([0.5, 1.0]), "name": np.array(["a", "b"])}
    path = write_items(tmp_path / "npo.smoke.jsonl", 3, Items("test", columns))
    assert path == tmp_path / "npo.smoke.items" / "test-seed3.parquet"
    assert pq.read_table(path).to_pydict() == {"difficulty": [0.5, 1.0], "name": ["a", "b"]}
