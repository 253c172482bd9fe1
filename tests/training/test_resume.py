"""Killed at any moment and run again, training ends with the same bits."""

import multiprocessing
import random
import signal
import time

import pytest
import torch

from gradatim.core.errors import InputError, StorageError
from gradatim.core.examples import TensorExamples
from gradatim.training import EarlyStopping, Loss, NonFiniteLossError, fit
from gradatim.training.checkpoint import list_checkpoints, load_checkpoint
from tests.training import scenario

FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["tests.training.scenario"])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The digest of a run that nothing interrupts, and how long it takes."""
    folder = tmp_path_factory.mktemp("whole")
    start = time.perf_counter()
    process = FORK.Process(target=scenario.run_into, args=(folder,))
    process.start()
    process.join()
    assert process.exitcode == 0
    return (folder / "digest.txt").read_text(), time.perf_counter() - start


def run_until_done(folder, kill_call=None, kill_after=None):
    """Run, kill as told, and run again undisturbed; return the digest and the exit codes."""
    codes = []
    process = FORK.Process(target=scenario.run_into, args=(folder, kill_call))
    process.start()
    if kill_after is not None:
        process.join(kill_after)
        process.kill()
    process.join()
    codes.append(process.exitcode)
    if process.exitcode != 0:
        process = FORK.Process(target=scenario.run_into, args=(folder,))
        process.start()
        process.join()
        codes.append(process.exitcode)
    assert codes[-1] == 0
    return (folder / "digest.txt").read_text(), codes


@pytest.mark.parametrize("attempt", range(5))
def test_killed_at_a_random_moment(tmp_path, undisturbed, attempt):
    digest, duration = undisturbed
    moment = random.Random(attempt).uniform(0.2, 1.0) * duration
    assert run_until_done(tmp_path, kill_after=moment)[0] == digest


@pytest.mark.parametrize("call", [1, 2, 3, 4, 5, 6, 7, 9, 13, 22, 35, 46])
def test_killed_while_a_checkpoint_is_written(tmp_path, undisturbed, call):
    digest, codes = run_until_done(tmp_path, kill_call=call)
    assert codes[0] == -signal.SIGKILL
    assert digest == undisturbed[0]


def test_killed_again_and_again(tmp_path, undisturbed):
    for call in (5, 30, 14, 22):
        process = FORK.Process(target=scenario.run_into, args=(tmp_path, call))
        process.start()
        process.join()
    assert run_until_done(tmp_path)[0] == undisturbed[0]
    leftovers = [p.name for p in (tmp_path / "checkpoints").iterdir() if p.name.startswith(".")]
    assert leftovers == []


def test_checkpoints_do_not_change_the_run(tmp_path, undisturbed):
    torch.set_num_threads(1)
    assert scenario.train(tmp_path, checkpoint_every=None) == undisturbed[0]


def test_a_finished_run_called_again_loads_its_result(tmp_path, undisturbed):
    assert scenario.train(tmp_path) == undisturbed[0]
    before = [p.stat().st_mtime_ns for p in list_checkpoints(tmp_path / "checkpoints")]
    assert scenario.train(tmp_path) == undisturbed[0]
    assert before == [p.stat().st_mtime_ns for p in list_checkpoints(tmp_path / "checkpoints")]


def simple(folder, model=None, epochs=3, **options):
    """A small regression run with checkpoints."""
    torch.manual_seed(0)
    model = model or torch.nn.Linear(2, 1)
    x = torch.linspace(-1, 1, 32)[:, None].repeat(1, 2)
    examples = TensorExamples(x=x, y=x.sum(dim=1, keepdim=True))

    def step(model, batch, state):
        return Loss.of((model(batch["x"]) - batch["y"]).square().mean(dim=1))

    options = {"batch_size": 8, **options}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return fit(
        model, examples, step, optimizer=optimizer, epochs=epochs, checkpoint=folder, **options
    )


def test_checkpoint_of_another_model(tmp_path):
    simple(tmp_path)
    with pytest.raises(InputError, match=r"checkpoint of another model: it lacks 'inner.weight'"):
        simple(tmp_path, _Wrapped())
    with pytest.raises(InputError, match=r"'weight' has shape \[1, 2\], the model's has \[3, 2\]"):
        simple(tmp_path, torch.nn.Linear(2, 3))


class _Wrapped(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(2, 1)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"batch_size": 16}, "batches an epoch = 4"), ({"seed": 1}, "seed = 0"),
     ({"epochs": 4}, "total steps = 12")],
)  # fmt: skip
def test_other_settings_are_refused(tmp_path, change, named):
    simple(tmp_path)
    with pytest.raises(InputError, match=f"was made with {named}"):
        simple(tmp_path, **change)


def test_pickle_in_place_of_safetensors(tmp_path):
    simple(tmp_path)
    newest = list_checkpoints(tmp_path)[-1]
    torch.save({"weight": torch.zeros(1, 2)}, newest / "model.safetensors")
    with pytest.raises(InputError, match="expected a safetensors file, got a pickle"):
        simple(tmp_path)


def test_damaged_checkpoint_is_named(tmp_path):
    simple(tmp_path)
    newest = list_checkpoints(tmp_path)[-1]
    content = (newest / "model.safetensors").read_bytes()
    (newest / "model.safetensors").write_bytes(content[:-3])
    with pytest.raises(StorageError, match=r"model\.safetensors: is not a whole safetensors file"):
        simple(tmp_path)


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    simple(tmp_path, checkpoint_every=1, keep_checkpoints=3)
    steps = [path.name for path in list_checkpoints(tmp_path)]
    assert steps == ["step-000000010", "step-000000011", "step-000000012"]


def test_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    simple(tmp_path, epochs=2)
    kept = {path.name: load_checkpoint(path)[0] for path in list_checkpoints(tmp_path)}

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gradatim.training.serialization.save_file", full)
    with pytest.raises(StorageError, match="the disk is full"):
        simple(tmp_path / "other")
    assert [path.name for path in (tmp_path / "other").iterdir()] == []
    assert {path.name for path in list_checkpoints(tmp_path)} == set(kept)


def test_non_finite_loss_keeps_the_last_good_checkpoint(tmp_path):
    model = torch.nn.Linear(2, 1)
    examples = TensorExamples(x=torch.ones(8, 2))

    def step(model, batch, state):
        value = model(batch["x"]).square().mean(dim=1)
        return Loss.of(value * (float("nan") if state.step == 5 else 1.0))

    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with pytest.raises(NonFiniteLossError, match="became nan at or before step 6"):
        fit(model, examples, step, optimizer=optimizer, epochs=10, batch_size=8,
            checkpoint=tmp_path, checkpoint_every=1)  # fmt: skip
    weights, state = load_checkpoint(list_checkpoints(tmp_path)[-1])
    assert state["place"][0] == 5
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


def test_early_stopping_survives_a_resume(tmp_path):
    def run(folder, epochs=30):
        torch.manual_seed(0)
        model = torch.nn.Linear(2, 1)
        stopping = EarlyStopping("error", goal="min", patience=2)

        def evaluate(model, state):
            return {"error": abs(state.epoch - 4) + 1.0}

        result = simple(folder, model, epochs, callbacks=[stopping], evaluate=evaluate)
        return result, stopping, model

    result, stopping, model = run(tmp_path)
    assert result.stopped_early and result.epoch == 7 and stopping.best_step == 20
    again, kept, reloaded = run(tmp_path)
    assert again.resumed_from == 28 and kept.best_step == 20
    assert torch.equal(model.weight, reloaded.weight)
