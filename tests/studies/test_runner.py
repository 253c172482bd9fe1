import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gradatim.core import files
from gradatim.core.errors import InputError, StorageError
from gradatim.studies.ledger import Ledger
from gradatim.studies.runner import Event, StudyError, recheck, run_study

from .conftest import PLAIN, SLUG

USES_PART = "\nfrom gradatim.core.files import atomic_write\n" + PLAIN


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_run_measures_what_is_missing_and_keeps_the_rest(write_study, tmp_path, here) -> None:
    name, out, events = write_study(), tmp_path / "new" / "out", []
    first = run_study(SLUG, [3, 1], "smoke", out, executor=here, module=name)
    assert first.seeds == (1, 3)
    before = (out / "npo.smoke.jsonl").read_text().splitlines()
    both = run_study(
        "npo", [3, 2, 1], "smoke", out, executor=here, module=name, on_event=events.append
    )
    assert [(e.kind, e.seed, e.done, e.total) for e in events] == [
        ("kept", 3, 1, 3),
        ("kept", 1, 2, 3),
        ("finished", 2, 3, 3),
    ]
    assert both.seeds == (1, 2, 3)
    assert Ledger.read(out / "npo.smoke.jsonl") == both
    assert set(both.runs) == {1, 2, 3}
    assert set(before) < set((out / "npo.smoke.jsonl").read_text().splitlines())


def test_the_ledger_is_the_same_however_it_came_about(write_study, tmp_path, here) -> None:
    name = write_study()
    for out, parts in (("a", [[5, 6, 7]]), ("b", [[7], [6, 5]])):
        for seeds in parts:
            run_study(SLUG, seeds, out=tmp_path / out, executor=here, module=name)
    assert (tmp_path / "a/npo.jsonl").read_bytes() == (tmp_path / "b/npo.jsonl").read_bytes()


def test_the_sidecar_tells_no_host_and_no_path(write_study, tmp_path, here) -> None:
    run_study(SLUG, [0], out=tmp_path / "out", executor=here, module=write_study())
    text = (tmp_path / "out/npo.meta.json").read_text()
    assert os.uname().nodename not in text
    assert str(tmp_path) not in text
    assert json.loads(text)["seeds"]["0"]["finished"].endswith("Z")


def test_budgets_do_not_mix_and_items_have_their_folder(write_study, tmp_path, here) -> None:
    body = PLAIN + "    yield Items('test', {'difficulty': [seed, 2]})\n"
    name = write_study(body)
    for budget in ("full", "smoke"):
        run_study(SLUG, [4], budget, tmp_path / "out", executor=here, module=name)
    found = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*"))
    assert found == [
        "npo.items",
        "npo.items/test-seed4.parquet",
        "npo.jsonl",
        "npo.meta.json",
        "npo.smoke.items",
        "npo.smoke.items/test-seed4.parquet",
        "npo.smoke.jsonl",
        "npo.smoke.meta.json",
    ]
    table = pq.read_table(tmp_path / "out/npo.items/test-seed4.parquet")
    assert table.to_pydict() == {"difficulty": [4, 2]}


def test_a_seed_that_fails_is_told_and_the_others_are_kept(write_study, tmp_path, here) -> None:
    body = """
def study(seed, budget):
    if seed in (2, 3):
        raise ValueError("bad luck")
    yield Measurement("a", "accuracy", 0.5 if seed != 5 else float("nan"))
"""
    events: list[Event] = []
    with pytest.raises(StudyError) as caught:
        run_study(
            SLUG,
            range(1, 6),
            out=tmp_path,
            executor=here,
            module=write_study(body),
            on_event=events.append,
        )
    assert str(caught.value) == (
        "npo: 3 of 5 seeds failed: seeds 2-3: ValueError: bad luck; "
        "seed 5: study: arm 'a', metric 'accuracy', group '': expected a finite number, got nan; "
        f"the others are kept in {tmp_path / 'npo.jsonl'}"
    )
    assert Ledger.read(tmp_path / "npo.jsonl").seeds == (1, 4)
    assert {event.seed for event in events if event.kind == "failed"} == {2, 3, 5}
    assert "bad luck" in next(event.details for event in events if event.seed == 2)


def test_nothing_is_written_when_all_seeds_fail(write_study, tmp_path, here) -> None:
    name = write_study("def study(seed, budget):\n    return []\n")
    with pytest.raises(InputError, match="npo: 1 of 1 seeds failed: seed 0: study: it yielded no"):
        run_study(SLUG, [0], out=tmp_path / "out", executor=here, module=name)
    assert contents(tmp_path / "out") == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"slug": "noo"}, "paper: there is none called 'noo'. Did you mean npo"),
        ({"seeds": []}, "seeds: expected at least one"),
        ({"seeds": [1, 1]}, "seeds: 1 stands there twice"),
        ({"budget": "fast"}, "budget: expected one of smoke, demo, full"),
        ({"jobs": 0}, "jobs: expected at least 1, got 0"),
        ({"module": "no_such"}, "npo: the study has no module 'no_such'"),
    ],
)
def test_bad_arguments(write_study, tmp_path, arguments, message) -> None:
    defaults = {"slug": SLUG, "seeds": [0], "out": tmp_path, "module": write_study()}
    with pytest.raises(InputError, match=message):
        run_study(**defaults | arguments)


def test_a_stale_ledger_is_refused_and_set_aside_when_told(write_study, tmp_path, here) -> None:
    out = tmp_path / "out"
    name = write_study(PLAIN + "    yield Items('test', {'x': [1]})\n")

    def run(**more) -> Ledger:
        return run_study(SLUG, [0], out=out, executor=here, module=name, **more)

    old = run()
    before = contents(out)
    write_study(PLAIN.replace("0.7", "0.75"), name)
    with pytest.raises(
        InputError, match=r"npo.jsonl: was measured by other code \(study changed\)"
    ):
        run()
    assert contents(out) == before
    new = run(fresh=True)
    assert new.measurements[0][0].value == 0.75
    assert run(fresh=True).measurements == new.measurements
    aside = f"npo.jsonl.{old.fingerprint.digest[:8]}"
    assert (out / aside).read_bytes() == before["npo.jsonl"]
    assert Ledger.read(out / aside).runs == old.runs
    assert (out / aside.replace("jsonl", "items") / "test-seed0.parquet").is_file()
    assert (out / f"npo.jsonl.{new.fingerprint.digest[:8]}").is_file()
    run(fresh=True)
    assert (out / f"npo.jsonl.{new.fingerprint.digest[:8]}-2").is_file()


def test_a_stale_ledger_names_the_parts_that_changed(write_study, tmp_path, here) -> None:
    name = write_study(USES_PART)
    run_study(SLUG, [0], out=tmp_path, executor=here, module=name)
    change_part(tmp_path / "npo.jsonl")
    with pytest.raises(
        InputError,
        match=r"\(parts changed: gradatim.core.errors\); .* --fresh, .* --recheck",
    ):
        run_study(SLUG, [0], out=tmp_path, executor=here, module=name)


def change_part(path: Path) -> None:
    """Make a ledger look as if it had been measured with another ``gradatim.core.errors``."""
    ledger = Ledger.read(path)
    parts = {**ledger.fingerprint.parts, "gradatim.core.errors": "0000"}
    Ledger(
        path,
        ledger.slug,
        ledger.budget,
        type(ledger.fingerprint)(ledger.fingerprint.study, parts, "full"),
        ledger.measurements,
        ledger.runs,
    ).write()


@pytest.mark.parametrize("fresh", [False, True])
def test_a_foreign_file_is_refused_and_never_lost(write_study, tmp_path, here, fresh) -> None:
    (tmp_path / "npo.jsonl").write_text("my notes\n")
    arguments = {"out": tmp_path, "executor": here, "module": write_study(), "fresh": fresh}
    if fresh:
        assert run_study(SLUG, [0], **arguments).seeds == (0,)
    else:
        with pytest.raises(InputError, match=r"npo\.jsonl, line 1: expected JSON"):
            run_study(SLUG, [0], **arguments)
    assert b"my notes\n" in contents(tmp_path).values()


def test_recheck_stamps_equal_numbers_and_refuses_others(write_study, tmp_path, here) -> None:
    name, path = write_study(USES_PART), tmp_path / "npo.jsonl"
    fresh = run_study(SLUG, [2, 1], out=tmp_path, executor=here, module=name)
    before = contents(tmp_path)

    def check() -> Ledger:
        return recheck(SLUG, tmp_path, executor=here, module=name)

    assert check() == fresh
    change_part(path)
    assert check() == fresh
    assert contents(tmp_path) == before
    write_study(USES_PART.replace("0.6", "0.61"), name)
    with pytest.raises(
        InputError, match=r'seed 1 gives other .* was {"seed": 1, "arm": "b".*, is {'
    ):
        check()
    write_study(USES_PART + "    yield Measurement('c', 'm', 1.0)\n", name)
    with pytest.raises(InputError, match=r'was nothing, is {"seed": 1, "arm": "c"'):
        check()
    write_study("def study(seed, budget):\n    return 1 / 0\n", name)
    with pytest.raises(StudyError, match="npo: seed 1 failed: ZeroDivisionError"):
        check()
    assert contents(tmp_path) == before
    with pytest.raises(InputError, match="there is no such file"):
        recheck(SLUG, tmp_path / "none", module=name)


def test_a_file_where_the_folder_should_be(write_study, tmp_path, here) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(StorageError, match="out: expected a folder to write to, got a file"):
        run_study(SLUG, [0], out=tmp_path / "out", executor=here, module=write_study())
    assert (tmp_path / "out").read_text() == "mine"


def fail_with(code: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def test_a_folder_that_cannot_be_written_is_told_before_any_work(
    write_study, tmp_path, here, monkeypatch
) -> None:
    body = "def study(seed, budget):\n    HERE.with_name('worked').touch()\n"
    monkeypatch.setattr(files.tempfile, "NamedTemporaryFile", fail_with(errno.EACCES))
    with pytest.raises(StorageError, match="permission denied"):
        run_study(SLUG, [0], out=tmp_path, executor=here, module=write_study(body))
    assert not (tmp_path / "worked").exists()


def test_a_disk_that_fills_leaves_the_ledger_as_it_was(
    write_study, tmp_path, here, monkeypatch
) -> None:
    name, out = write_study(), tmp_path / "out"
    run_study(SLUG, [0], out=out, executor=here, module=name)
    before = contents(out)
    monkeypatch.setattr(files, "synchronize_file", fail_with(errno.ENOSPC))
    with pytest.raises(StorageError, match="the disk is full; what stood there is unchanged"):
        run_study(SLUG, [1], out=out, executor=here, module=name)
    assert contents(out) == before


def test_runs_side_by_side_do_not_lose_each_others_seeds(write_study, tmp_path, here) -> None:
    """The study itself runs another seed into the same ledger before it is finished."""
    body = (
        PLAIN
        + """
    from concurrent.futures import ThreadPoolExecutor
    from gradatim.studies.runner import run_study
    if seed == 0:
        with ThreadPoolExecutor(1) as pool:
            run_study("npo", [1], out=HERE.with_name("out"), executor=pool, module=__name__)
"""
    )
    out = tmp_path / "out"
    ledger = run_study(SLUG, [0], out=out, executor=here, module=write_study(body))
    assert ledger.seeds == (0, 1)
    assert set(Ledger.read(out / "npo.jsonl").runs) == {0, 1}
