"""``fit`` against plain loops written out by hand."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.core.examples import TensorExamples
from gradatim.training import (
    Averaging,
    Callback,
    EarlyStopping,
    EpochHook,
    GradientNoise,
    Loss,
    OrderedBatches,
    PacedBatches,
    ShuffledBatches,
    TrainingDynamics,
    WeightedBatches,
    fit,
)
from gradatim.training.callbacks import EVENTS


def regression(n=37, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=generator)
    return TensorExamples(x=x, y=x @ torch.tensor([1.0, -2.0, 0.5, 0.0]), w=torch.rand(n))


def linear(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Linear(4, 1)


def squared(model, batch, state):
    return Loss.of((model(batch["x"])[:, 0] - batch["y"]).square())


def weighted(model, batch, state):
    values = (model(batch["x"])[:, 0] - batch["y"]).square()
    return Loss.of(values, weights=batch["w"])


def sgd(model, lr=0.05):
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


@pytest.mark.parametrize("accumulate", [1, 2, 5])
@pytest.mark.parametrize("step", [squared, weighted])
def test_equals_a_bare_loop(accumulate, step):
    examples, model, reference = regression(), linear(), linear()
    plan = ShuffledBatches(37, 8, seed=4)
    schedule = torch.optim.lr_scheduler.StepLR
    optimizer = sgd(model)
    fit(model, examples, step, optimizer=optimizer, batches=plan, epochs=3, clip_norm=0.5,
        accumulate=accumulate, schedulers=schedule(optimizer, 3))  # fmt: skip

    other = sgd(reference)
    scheduler = schedule(other, 3)
    for epoch in range(3):
        batches = [plan.batch(epoch, position, 0.0) for position in range(len(plan))]
        for start in range(0, len(batches), accumulate):
            index = np.concatenate(batches[start : start + accumulate])
            batch = examples[index.tolist()]
            errors = (reference(batch["x"])[:, 0] - batch["y"]).square()
            weights = batch["w"] if step is weighted else torch.ones(len(index))
            other.zero_grad()
            ((errors * weights).sum() / weights.sum()).backward()
            torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.5)
            other.step()
            scheduler.step()
    torch.testing.assert_close(model.weight, reference.weight, rtol=1e-5, atol=1e-6)
    assert optimizer.param_groups[0]["lr"] == other.param_groups[0]["lr"]


def test_history_holds_the_exact_means():
    examples, model = regression(), linear()
    frozen = torch.optim.SGD(model.parameters(), lr=0.0)
    result = fit(model, examples, weighted, optimizer=frozen, epochs=2, batch_size=8)
    everything = examples[list(range(37))]
    errors = (model(everything["x"])[:, 0] - everything["y"]).square()
    expected = float((errors * everything["w"]).sum().detach() / everything["w"].sum())
    assert [row["epoch"] for row in result.history] == [0, 1]
    assert [row["step"] for row in result.history] == [5, 10]
    assert result.history[1]["loss"] == pytest.approx(expected, rel=1e-5)


def test_empty_mask_moves_nothing():
    examples, model = regression(), linear()
    before = model.weight.clone()

    def step(model, batch, state):
        return Loss.of(squared(model, batch, state).sum[None], weights=torch.zeros(1))

    fit(model, examples, step, optimizer=torch.optim.SGD(model.parameters(), lr=1.0), steps=2)
    assert torch.equal(model.weight, before)


def test_events_come_in_their_order():
    seen = []

    class Recorder(Callback):
        pass

    for name in EVENTS:
        setattr(Recorder, name, lambda self, state, name=name: seen.append((name, state.step)))
    fit(linear(), regression(16), squared, optimizer=sgd(model := linear()), epochs=2,
        batch_size=8, callbacks=[Recorder()], evaluate=lambda model, state: {})  # fmt: skip
    assert model is not None
    update = ["step_start", "gradients_ready", "optimizer_step_start", "step_end"]
    epoch = ["epoch_start", *update, *update, "evaluated", "epoch_end"]
    assert [name for name, _ in seen] == ["fit_start", *epoch, *epoch, "fit_end"]
    assert [step for name, step in seen if name == "step_end"] == [1, 2, 3, 4]


def test_several_models_and_optimizers_take_turns():
    models = {"a": linear(0), "b": linear(1)}
    optimizers = {name: torch.optim.SGD(m.parameters(), lr=0.1) for name, m in models.items()}
    track = []

    def step(models, batch, state):
        turn = "ab"[state.step % 2]
        track.append({name: m.weight.detach().clone() for name, m in models.items()})
        both = models["a"](batch["x"])[:, 0] + models["b"](batch["x"])[:, 0]
        return Loss.of((both - batch["y"]).square(), optimizers=(turn,))

    fit(models, regression(), step, optimizer=optimizers, steps=4, batch_size=37)
    for number, (old, new) in enumerate(itertools.pairwise(track)):
        moved = "ab"[number % 2]
        assert {n for n in "ab" if not torch.equal(old[n], new[n])} == {moved}


def test_unknown_optimizer_is_named():
    model = linear()

    def step(model, batch, state):
        return Loss.of(model(batch["x"])[:, 0], optimizers=("optimiser",))

    with pytest.raises(InputError, match=r"got 'optimiser' Did you mean optimizer\?"):
        fit(model, regression(), step, optimizer=sgd(model), steps=1)


def test_phases_follow_one_another(tmp_path):
    model = linear()
    first = fit(model, regression(), squared, optimizer=sgd(model), epochs=2,
                checkpoint=tmp_path / "one")  # fmt: skip
    second = fit(model, regression(seed=1), squared, optimizer=sgd(model), epochs=1,
                 checkpoint=tmp_path / "two")  # fmt: skip
    assert (first.step, second.step) == (2, 1)


def test_weight_average_follows_every_update():
    model = linear()
    seen = []

    class Mean:
        def update(self, model):
            seen.append(model.weight.detach().clone())

        def state_dict(self):
            return {}

    fit(model, regression(), squared, optimizer=sgd(model), epochs=1, batch_size=8,
        callbacks=[Averaging(Mean())])  # fmt: skip
    assert len(seen) == 5 and torch.equal(seen[-1], model.weight)


def test_gradient_noise_has_the_stated_deviation():
    model = torch.nn.Linear(300, 300, bias=False)
    start = model.weight.detach().clone()
    examples = TensorExamples(x=torch.zeros(4, 300))

    def step(model, batch, state):
        return Loss.of(model(batch["x"]).sum(dim=1))

    one = torch.optim.SGD(model.parameters(), lr=1.0)
    fit(model, examples, step, optimizer=one, steps=1, callbacks=[GradientNoise(0.25, 0.5)])
    assert float((model.weight.detach() - start).std()) == pytest.approx(0.5, rel=0.02)
    assert GradientNoise(0.25, 0.5).deviation(15) == pytest.approx(0.25)


def test_dynamics_hold_each_examples_loss_of_each_epoch():
    examples, model = regression(20), linear()
    dynamics = TrainingDynamics(20, 3, ("loss",))

    def step(model, batch, state):
        loss = squared(model, batch, state)
        errors = (model(batch["x"])[:, 0] - batch["y"]).square()
        dynamics.record(state, loss=errors)
        return loss

    frozen = torch.optim.SGD(model.parameters(), lr=0.0)
    fit(model, examples, step, optimizer=frozen, epochs=2, batch_size=6, callbacks=[dynamics])
    everything = examples[list(range(20))]
    expected = (model(everything["x"])[:, 0] - everything["y"]).square().detach()
    torch.testing.assert_close(dynamics.values("loss")[:2], expected.expand(2, 20))
    assert dynamics.values("loss")[2].isnan().all()


def test_early_stopping_restores_the_best_weights():
    model, kept = linear(), {}

    def evaluate(model, state):
        kept[state.epoch] = model.weight.detach().clone()
        return {"score": [0.1, 0.5, 0.3, 0.2, 0.9][state.epoch]}

    stopping = EarlyStopping("score", patience=2)
    result = fit(model, regression(), squared, optimizer=sgd(model), epochs=5, evaluate=evaluate,
                 callbacks=[stopping])  # fmt: skip
    assert result.stopped_early and result.epoch == 4
    assert torch.equal(model.weight, kept[1])


def test_early_stopping_names_a_missing_metric():
    model = linear()
    with pytest.raises(InputError, match="expected 'acc' among the results, got accuracy"):
        fit(model, regression(), squared, optimizer=sgd(model), epochs=1,
            evaluate=lambda m, s: {"accuracy": 1.0}, callbacks=[EarlyStopping("acc")])  # fmt: skip


def test_evaluation_leaves_the_modes_of_modules_alone():
    model = torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.Dropout())
    modes = []

    def evaluate(model, state):
        modes.append(model[1].training)
        return {}

    class Freeze(Callback):
        def fit_start(self, state):
            state.unwrap()[1].eval()

    fit(model, regression(), squared, optimizer=sgd(model), epochs=1, evaluate=evaluate,
        callbacks=[Freeze()])  # fmt: skip
    assert modes == [False] and model[0].training and not model[1].training


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_learns(precision):
    model = linear()
    dtypes = set()

    def step(model, batch, state):
        output = model(batch["x"])
        dtypes.add(output.dtype)
        return Loss.of((output[:, 0].float() - batch["y"]).square())

    result = fit(model, regression(), step, optimizer=sgd(model), epochs=30, precision=precision,
                 clip_norm=10.0)  # fmt: skip
    assert dtypes == {getattr(torch, precision)} and model.weight.dtype == torch.float32
    assert result.history[-1]["loss"] < 0.05 * result.history[0]["loss"]


def test_workers_give_the_same_weights():
    models = [linear(), linear()]
    for model, workers in zip(models, (0, 2), strict=True):
        fit(model, regression(), squared, optimizer=sgd(model), epochs=2, batch_size=8,
            workers=workers)  # fmt: skip
    assert torch.equal(models[0].weight, models[1].weight)


def test_state_generator_depends_on_the_place_alone():
    draws = []

    def step(model, batch, state):
        draws.append(float(torch.rand(1, generator=state.generator)))
        if state.step == 1:
            torch.rand(100, generator=state.generator)
        return squared(model, batch, state)

    for _ in range(2):
        fit(model := linear(), regression(), step, optimizer=sgd(model), steps=4, seed=9)
    assert draws[:4] == draws[4:] and len(set(draws)) == 4


def test_datasets_dataset_is_taken_as_it_is():
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"x": [[float(i), 1.0] for i in range(12)], "y": range(12)})
    model = torch.nn.Linear(2, 1)

    def step(model, batch, state):
        assert batch["x"].dtype == torch.float32
        assert torch.equal(batch["x"][:, 0].long(), state.index)
        return Loss.of((model(batch["x"])[:, 0] - batch["y"]).square())

    result = fit(model, rows, step, optimizer=torch.optim.Adam(model.parameters()), epochs=1,
                 batch_size=5)  # fmt: skip
    assert result.step == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "epochs, steps: expected one of the two, got none"),
        ({"epochs": 1, "steps": 1}, "epochs, steps: expected one of the two, got both"),
        ({"epochs": 0}, "epochs: expected a number in"),
        ({"epochs": 1, "accumulate": 0}, "accumulate: expected a number"),
        ({"epochs": 1, "precision": "int8"}, "precision: expected one of float32"),
        ({"epochs": 1, "clip_norm": 0.0}, "clip_norm: expected a number"),
        ({"epochs": 1, "batch_size": 4, "batches": ShuffledBatches(4, 2)}, "got both"),
    ],
)
def test_arguments_that_contradict(options, message):
    model = linear()
    with pytest.raises(InputError, match=message):
        fit(model, regression(), squared, optimizer=sgd(model), **options)


def test_plateau_scheduler_is_refused():
    model = linear()
    optimizer = sgd(model)
    with pytest.raises(InputError, match="ReduceLROnPlateau needs a metric"):
        fit(model, regression(), squared, optimizer=optimizer, epochs=1,
            schedulers=torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer))  # fmt: skip


@given(
    n=st.integers(1, 60),
    size=st.integers(1, 20),
    epoch=st.integers(0, 5),
    remainder=st.sampled_from(["keep", "merge", "drop"]),
)
def test_shuffled_batches_are_a_permutation(n, size, epoch, remainder):
    plan = ShuffledBatches(n, size, seed=1, remainder=remainder)
    drawn = np.concatenate([plan.batch(epoch, p, 0.0) for p in range(len(plan))])
    if remainder == "drop" and n >= size:
        assert len(drawn) == len(set(drawn)) == n // size * size
    else:
        assert sorted(drawn) == list(range(n))


def test_ordered_batches_keep_the_order():
    plan = OrderedBatches([4, 2, 0, 1], 3)
    assert [plan.batch(7, p, 0.5).tolist() for p in range(len(plan))] == [[4, 2, 0], [1]]


@given(progress=st.floats(0, 1), size=st.integers(1, 8))
def test_paced_batches_stay_within_the_pace(progress, size):
    difficulty = np.random.default_rng(0).permutation(30)
    plan = PacedBatches(difficulty, size, pacing=lambda t: 0.1 + 0.9 * t, seed=2)
    drawn = plan.batch(0, 3, progress)
    assert len(set(drawn)) == size
    assert difficulty[drawn].max() < max(size, np.ceil((0.1 + 0.9 * progress) * 30))


def test_moving_curriculum_reaches_the_step():
    hardest = []

    def step(model, batch, state):
        hardest.append(int(state.index.max()))
        return squared(model, batch, state)

    plan = PacedBatches(np.arange(37), 4, pacing=lambda t: max(0.1, t), seed=0)
    fit(model := linear(), regression(), step, optimizer=sgd(model), epochs=4, batches=plan)
    assert hardest[0] < 4 and max(hardest[-5:]) > 25


def test_weighted_batches_follow_their_weights():
    plan = WeightedBatches([1.0, 0.0, 3.0], 4000, seed=0)
    counts = np.bincount(plan.batch(0, 0, 0.0), minlength=3)
    assert counts[1] == 0 and counts[2] / counts[0] == pytest.approx(3, rel=0.15)


def test_new_weights_hold_from_the_next_epoch():
    plan = WeightedBatches([1.0, 0.0], 2, length=2)
    assert plan.batch(0, 0, 0.0).tolist() == [0, 0]
    plan.set_weights([0.0, 1.0])
    assert plan.batch(0, 1, 0.0).tolist() == [0, 0]
    assert plan.batch(1, 0, 0.0).tolist() == [1, 1]


def test_epoch_hook_moves_the_weights():
    plan = WeightedBatches(np.ones(37), 37)
    seen = []

    def step(model, batch, state):
        seen.append(set(state.index.tolist()))
        return squared(model, batch, state)

    hook = EpochHook(lambda state: plan.set_weights(np.eye(37)[state.epoch]))
    fit(model := linear(), regression(), step, optimizer=sgd(model), epochs=3, batches=plan,
        callbacks=[hook])  # fmt: skip
    assert len(seen[0]) > 10 and seen[1:] == [{0}, {1}]


@pytest.mark.parametrize("bad", [[-1.0, 2.0], [0.0, 0.0], [float("nan"), 1.0], [[1.0]]])
def test_weights_that_are_none(bad):
    with pytest.raises(InputError, match="weights: expected"):
        WeightedBatches(bad, 1)


def test_nan_difficulty_is_refused_with_its_row():
    with pytest.raises(InputError, match=r"difficulty: expected finite numbers, got nan at row 2"):
        PacedBatches([0.0, 1.0, float("nan")], 1, pacing=lambda t: 1.0)
