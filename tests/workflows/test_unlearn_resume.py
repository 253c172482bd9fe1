"""A run that is killed goes on where it was, and ends as if nothing had happened."""

import json
import os
import signal

import pytest
import torch

from gradatim.core.errors import InputError, StorageError
from gradatim.workflows.unlearn import unlearn
from gradatim.workflows.unlearn_models import load_unlearned
from gradatim.workflows.unlearn_store import RunFolder
from tests.workflows.unlearn_data import FORGET, QUICK, RETAIN, taught, weights

OPTIONS = {
    **QUICK,
    "method": "npo+kl",
    "lr": 3e-3,
    "epochs": 4,
    "evaluate_every": 1,
    "checkpoint_every": 2,
    "perplexity_growth": None,
}


def run(out, kill_at=None, **options):
    """Unlearn; killed when this much is told, if asked. What was told."""
    told = []

    def progress(what, done, size):
        told.append((what, done))
        if (what, done) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    return unlearn(
        taught(), FORGET, RETAIN, out=out, progress=progress, **{**OPTIONS, **options}
    ), told


def killed(out, at, **options):
    """The same in a process that kills itself; the signal that ended it."""
    process = os.fork()
    if process == 0:
        try:
            run(out, at, **options)
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(process, 0)[1])


@pytest.mark.parametrize("method", ["npo+kl", "uld"])
def test_a_killed_run_goes_on(tmp_path, method):
    taught()  # before the first fork
    options = {"method": method} | ({"layers": 1, "lr": 1e-2} if method == "uld" else {})
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    expected, told = run(whole, **options)
    assert [done for what, done in told if what == "updates"] == list(range(1, 9))
    places = [("updates", 5), ("figures after", 0), ("writing the model", 0)]
    for at in places:
        assert killed(cut, at, **options) == signal.SIGKILL
        assert (cut / "checkpoints").is_dir() and not (cut / "result.json").exists()
    found, told = run(cut, **options)
    assert not [one for one in told if one[0] in ("updates", "figures before", "figures after")]
    assert found.figures.equals(expected.figures) and found.curve.equals(expected.curve)
    base = taught() if method == "uld" else None
    one, other = (load_unlearned(folder, base=base, device="cpu") for folder in (cut, whole))
    assert torch.equal(weights(one), weights(other))


def test_only_the_rest_of_the_updates_is_made(tmp_path):
    taught()
    assert killed(tmp_path / "out", ("updates", 5)) == signal.SIGKILL
    _, told = run(tmp_path / "out")
    assert [done for what, done in told if what == "updates"] == [5, 6, 7, 8]


@pytest.mark.parametrize(
    "changes", [{"lr": 1e-3}, {"method": "ga"}, {"seed": 1}], ids=lambda one: next(iter(one))
)
def test_nothing_of_another_run_is_overwritten(tmp_path, changes):
    run(tmp_path / "out", epochs=1)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    name = next(iter(changes))
    with pytest.raises(InputError, match=f"holds another run, which differs in {name}; nothing"):
        run(tmp_path / "out", **{"epochs": 1, **changes})
    with pytest.raises(InputError, match="differs in forget"):
        unlearn(taught(), ["other"], RETAIN, out=tmp_path / "out", **{**OPTIONS, "epochs": 1})
    with pytest.raises(InputError, match="differs in model"):
        unlearn(
            taught(kept_only=True), FORGET, RETAIN, out=tmp_path / "out",
            **{**OPTIONS, "epochs": 1},
        )  # fmt: skip
    after = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert after == before


def test_files_of_the_users_are_not_touched(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(InputError, match=r"holds other files \(mine.txt\); nothing is overwritten"):
        run(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["mine.txt"]


def test_a_run_that_cannot_begin_leaves_the_folder_to_others(tmp_path):
    with pytest.raises(InputError, match="the limit is 10"):
        run(tmp_path / "out", epochs=1, max_tokens=10)
    assert not list((tmp_path / "out").iterdir())
    result, _ = run(tmp_path / "out", epochs=1, relearn_steps=0)
    assert result.folder == tmp_path / "out"


def test_a_damaged_stage_is_told(tmp_path):
    store = RunFolder(tmp_path / "out", {"a": (1, 2)})
    store.begin()
    assert store.stage("one", lambda: {"x": (1, 2)}) == {"x": [1, 2]}
    assert RunFolder(tmp_path / "out", {"a": [1, 2]}).stage("one", None) == {"x": [1, 2]}
    assert store.stage("none", lambda: None) is None and store.stage("none", None) is None
    (tmp_path / "out/one.json").write_text("{")
    with pytest.raises(StorageError, match=r"one\.json: is damaged"):
        store.stage("one", None)
    assert json.loads((tmp_path / "out/plan.json").read_text()) == {"a": [1, 2]}
    nothing = RunFolder(None, {})
    assert nothing.stage("one", lambda: {"x": 1}) == {"x": 1} and nothing.finished() is None
