"""What is recorded on the way equals the functions of the whole history."""

import numpy as np
import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.core.examples import TensorExamples
from gradatim.difficulty.training_dynamics import (
    area_under_margin,
    correctness,
    data_map,
    el2n,
    forgetting_events,
    logit_margins,
)
from gradatim.training import Callback, Loss, fit
from gradatim.training.batches import ShuffledBatches
from gradatim.training.dynamics import DynamicsRecorder

EXAMPLES, CLASSES, EPOCHS = 60, 3, 7


def data():
    random = np.random.default_rng(1)
    x = random.normal(size=(EXAMPLES, 4)).astype(np.float32)
    label = x[:, :CLASSES].argmax(axis=1)
    label[:8] = (label[:8] + 1) % CLASSES
    return TensorExamples(x=x, label=label)


def train(dynamics, kept, *, folder=None, callbacks=(), **options):
    """Train, and write down the logits of every presentation."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, CLASSES)
    )

    def step(model, batch, state):
        logits = model(batch["x"])
        dynamics.record(state, logits, batch["label"])
        kept[state.epoch, state.index] = logits.detach()
        losses = torch.nn.functional.cross_entropy(logits, batch["label"], reduction="none")
        return Loss.of(losses)

    return fit(
        model, data(), step, optimizer=torch.optim.SGD(model.parameters(), 0.5), epochs=EPOCHS,
        callbacks=[dynamics, *callbacks], checkpoint=folder, checkpoint_every=3, **options,
    )  # fmt: skip


def history():
    return torch.full((EPOCHS, EXAMPLES, CLASSES), torch.nan)


@pytest.mark.parametrize("early", [None, 2])
def test_equals_the_functions_of_the_whole_history(early):
    dynamics, kept = DynamicsRecorder(EXAMPLES, early=early), history()
    train(dynamics, kept, batch_size=7)
    label = data().column("label")
    margins = torch.stack([logit_margins(z, label) for z in kept])
    p = kept.softmax(-1)
    own = p.gather(2, label.expand(EPOCHS, -1)[..., None])[..., 0]
    found, mapped = dynamics.values(), data_map(own)
    assert found["presentations"].tolist() == [EPOCHS] * EXAMPLES
    assert found["forgetting"].max() > 0
    for name, expected in {
        "el2n": el2n(p[:early], label),
        "forgetting": forgetting_events(margins > 0),
        "confidence": mapped.confidence,
        "variability": mapped.variability,
        "correctness": correctness(margins > 0),
        "aum": area_under_margin(margins),
    }.items():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5)


class SomeOnly:
    """A plan that leaves the first ten examples out, as a curriculum does."""

    def __init__(self):
        self.inner = ShuffledBatches(EXAMPLES - 10, 10)

    def __len__(self):
        return len(self.inner)

    def batch(self, epoch, position, progress):
        return self.inner.batch(epoch, position, progress) + 10


def test_what_never_came_up_is_nan():
    dynamics = DynamicsRecorder(EXAMPLES)
    train(dynamics, history(), batches=SomeOnly())
    for name, values in dynamics.values().items():
        if name != "presentations":
            assert values[:10].isnan().all() and values[10:].isfinite().all(), name
    assert dynamics.values()["presentations"][:10].sum() == 0


def test_difficulty_is_higher_where_labels_are_wrong():
    dynamics = DynamicsRecorder(EXAMPLES)
    train(dynamics, history(), batch_size=16)
    found = dynamics.difficulty()
    for name in ("el2n", "map_confidence", "correctness", "aum"):
        assert found[name][:8].mean() > found[name][8:].mean(), name
    plain = dynamics.values()
    torch.testing.assert_close(found["map_confidence"], 1 - plain["confidence"])
    torch.testing.assert_close(found["aum"], -plain["aum"])


class Stop(Callback):
    def step_end(self, state):
        if state.step == 13:
            raise KeyboardInterrupt


def test_an_interrupted_run_records_the_same(tmp_path):
    whole, taken_up = DynamicsRecorder(EXAMPLES), DynamicsRecorder(EXAMPLES)
    train(whole, history(), batch_size=7, folder=tmp_path / "whole", callbacks=[Callback()])
    with pytest.raises(KeyboardInterrupt):
        train(
            DynamicsRecorder(EXAMPLES), history(), batch_size=7, folder=tmp_path / "cut",
            callbacks=[type("Callback", (Stop,), {})()],
        )  # fmt: skip
    result = train(
        taken_up, history(), batch_size=7, folder=tmp_path / "cut", callbacks=[Callback()]
    )
    assert result.resumed_from == 12
    for name, values in whole.values().items():
        torch.testing.assert_close(taken_up.values()[name], values, rtol=0, atol=0)


def test_recording_changes_nothing_in_training():
    with_it = train(DynamicsRecorder(EXAMPLES), history(), batch_size=7)
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, CLASSES)
    )

    def step(model, batch, state):
        losses = torch.nn.functional.cross_entropy(
            model(batch["x"]), batch["label"], reduction="none"
        )
        return Loss.of(losses)

    without = fit(
        model, data(), step, optimizer=torch.optim.SGD(model.parameters(), 0.5), epochs=EPOCHS,
        batch_size=7,
    )  # fmt: skip
    assert with_it.history[-1]["loss"] == without.history[-1]["loss"]


class Seen:
    """All that a recorder reads of the state."""

    def __init__(self, index, epoch=0):
        self.index, self.epoch = torch.tensor(index), epoch


def test_figures_of_a_step_of_ones_own():
    dynamics = DynamicsRecorder(4)
    for epoch, (p, right) in enumerate([([0.2, 0.8], [0, 1]), ([0.4, 0.6], [1, 0])]):
        state = Seen([3, 1], epoch)
        dynamics.record_figures(state, torch.tensor(p), torch.tensor(right).bool())
    found = dynamics.values()
    assert found["confidence"][[3, 1]].tolist() == pytest.approx([0.3, 0.7])
    assert found["variability"][[3, 1]].tolist() == pytest.approx([0.1, 0.1])
    assert found["forgetting"][[3, 1]].tolist() == [0.0, 1.0]
    assert found["el2n"].isnan().all() and found["aum"].isnan().all()


def test_half_precision_logits_are_recorded_in_float32():
    dynamics = DynamicsRecorder(2)
    logits = torch.tensor([[4.0, 0.0], [0.0, 1.0]], dtype=torch.bfloat16)
    dynamics.record(Seen([0, 1]), logits, torch.tensor([0, 1]))
    expected = logits.float().softmax(1)[[0, 1], [0, 1]]
    torch.testing.assert_close(dynamics.values()["confidence"], expected)


def test_errors_name_the_argument():
    dynamics = DynamicsRecorder(4)
    with pytest.raises(InputError, match="early: expected a number"):
        DynamicsRecorder(4, early=0)
    with pytest.raises(InputError, match="labels: expected shape"):
        dynamics.record(Seen([0]), torch.zeros(1, 2), torch.zeros(2).long())
    with pytest.raises(InputError, match=r"probability: expected shape \[2\]"):
        dynamics.record_figures(Seen([0, 1]), torch.zeros(1), torch.zeros(1))
    with pytest.raises(InputError, match="margin: expected the shape of probability"):
        dynamics.record_figures(Seen([0, 1]), torch.zeros(2), torch.zeros(2), margin=torch.zeros(1))
