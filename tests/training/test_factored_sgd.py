"""The factored optimizer beside those of torch: schedules, clipping, accumulation, checkpoints."""

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.core.examples import TensorExamples
from gradatim.networks.factored_spherical import FactoredSphericalLinear
from gradatim.objectives.spherical import sums_of_outputs, z_loss
from gradatim.training import Loss, fit
from gradatim.training.factored_sgd import FactoredSGD

DOUBLE, CLASSES = torch.float64, 30


class Factored(torch.nn.Module):
    def __init__(self):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.body = torch.nn.Linear(5, 6, dtype=DOUBLE)
        torch.nn.init.normal_(self.body.weight, std=0.5, generator=draw)
        torch.nn.init.zeros_(self.body.bias)
        self.head = FactoredSphericalLinear(6, CLASSES, std=0.2, dtype=DOUBLE, generator=draw)

    def forward(self, inputs, labels):
        return self.head(self.body(inputs).tanh(), labels)


class Dense(torch.nn.Module):
    def __init__(self):
        super().__init__()
        factored = Factored()
        self.body = factored.body
        self.head = torch.nn.Parameter(factored.head.weight())

    def forward(self, inputs, labels):
        return sums_of_outputs(self.body(inputs).tanh() @ self.head.T, labels)


def examples(count=48):
    draw = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, 5, dtype=DOUBLE, generator=draw)
    return TensorExamples(x=inputs, label=torch.randint(CLASSES, (count,), generator=draw))


def step(model, batch, state):
    values = z_loss(*model(batch["x"], batch["label"]), CLASSES, b=3.0, reduction="none")
    return Loss.of(values)


def optimizers(model, lr=0.5):
    dense = isinstance(model, Dense)
    head = torch.optim.SGD([model.head], lr) if dense else FactoredSGD(model.head, lr)
    return {"body": torch.optim.SGD(model.body.parameters(), lr), "head": head}


def trained(model, one_step=step, *, epochs=3, scheduled=True, **options):
    both = optimizers(model)
    schedulers = [torch.optim.lr_scheduler.StepLR(one, 4, gamma=0.5) for one in both.values()]
    options = {"batch_size": 8, "seed": 3, **options}
    return fit(
        model, examples(), one_step, optimizer=both, epochs=epochs,
        schedulers=schedulers if scheduled else (), **options,
    )  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.05}, {"accumulate": 3, "clip_norm": 0.1}])
def test_fit_trains_it_as_a_dense_layer(options):
    factored, dense = Factored(), Dense()
    ours, theirs = trained(factored, **options), trained(dense, **options)
    assert ours.history[-1]["loss"] == pytest.approx(theirs.history[-1]["loss"], rel=1e-6)
    torch.testing.assert_close(factored.body.weight, dense.body.weight, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(factored.head.weight(), dense.head, rtol=1e-6, atol=1e-8)


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path):
    whole, parted = Factored(), Factored()
    trained(whole, epochs=4, scheduled=False, checkpoint=tmp_path / "whole")

    def step_until_killed(model, batch, state):
        if state.step == 11:
            raise KeyboardInterrupt
        return step(model, batch, state)

    options = {"epochs": 4, "scheduled": False, "checkpoint": tmp_path / "parted"}
    with pytest.raises(KeyboardInterrupt):
        trained(parted, step_until_killed, **options)
    resumed = Factored()
    result = trained(resumed, **options)
    assert result.resumed_from == 6
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_its_state_holds_rate_and_steps():
    model = Factored()
    optimizer = FactoredSGD(model.head, 0.5, weight_decay=0.1, stabilize_every=7)
    data = examples()[[0, 1, 2]]
    for _ in range(2):
        z_loss(*model(data["x"], data["label"]), CLASSES).backward()
        optimizer.step()
    other = FactoredSGD(Factored().head, 0.1)
    other.load_state_dict(optimizer.state_dict())
    assert {key: other.param_groups[0][key] for key in ("lr", "weight_decay", "stabilize_every")}
    assert other.param_groups[0]["lr"] == 0.5
    assert other.state_dict()["state"] == {0: {"steps": 2}}


def test_stabilization_comes_when_it_is_due(monkeypatch):
    model, calls = Factored(), []
    optimizer = FactoredSGD(model.head, 0.01, stabilize_every=3)
    monkeypatch.setattr(model.head, "stabilize", lambda: calls.append(model.head.steps))
    data = examples()[[0, 1, 2]]
    for _ in range(7):
        z_loss(*model(data["x"], data["label"]), CLASSES).backward()
        optimizer.step()
    assert calls == [3, 6]


def test_steps_without_a_gradient_and_dropped_gradients_change_nothing():
    model = Factored()
    optimizer = FactoredSGD(model.head, 0.5)
    before = model.head.weight()
    optimizer.step()
    data = examples()[[0, 1]]
    z_loss(*model(data["x"], data["label"]), CLASSES, b=3.0).backward()
    optimizer.zero_grad()
    optimizer.step()
    assert torch.equal(model.head.weight(), before)


def test_a_closure_computes_the_loss():
    model = Factored()
    optimizer = FactoredSGD(model.head, 0.5)
    data = examples()[[0, 1]]
    before = model.head.weight()

    def closure():
        loss = z_loss(*model(data["x"], data["label"]), CLASSES, b=3.0)
        loss.backward()
        return float(loss.detach())

    assert optimizer.step(closure) > 0
    assert not torch.equal(model.head.weight(), before)


def test_backward_after_a_step_and_a_second_optimizer_are_refused():
    model = Factored()
    old = FactoredSGD(model.head, 0.5)
    data = examples()[[0, 1]]
    early = z_loss(*model(data["x"], data["label"]), CLASSES, b=3.0)
    z_loss(*model(data["x"], data["label"]), CLASSES, b=3.0).backward()
    old.step()
    with pytest.raises(InputError, match="backward: expected the weights of the forward pass"):
        early.backward()
    FactoredSGD(model.head, 0.5)
    with pytest.raises(InputError, match="another one was made for it"):
        old.step()


def test_optimizers_of_torch_and_bad_numbers_are_refused():
    model = Factored()
    torch.optim.Adam(model.parameters())  # trains the body; the layer asks for its own optimizer
    data = examples()[[0, 1]]
    with pytest.raises(InputError, match="optimizers of torch cannot train the layer"):
        model(data["x"], data["label"])
    with pytest.raises(ValueError, match="empty parameter list"):
        torch.optim.SGD(model.head.parameters(), 0.1)
    with pytest.raises(InputError, match="layer: expected a FactoredSphericalLinear, got Linear"):
        FactoredSGD(torch.nn.Linear(2, 2), 0.1)
    with pytest.raises(InputError, match=r"stabilize_every: expected a number in \[1, inf\)"):
        FactoredSGD(model.head, 0.1, stabilize_every=0)
    optimizer = FactoredSGD(model.head, 2.0, weight_decay=0.5)
    z_loss(*model(data["x"], data["label"]), CLASSES).backward()
    with pytest.raises(InputError, match=r"lr \* weight_decay: expected a number in \[0, 1\)"):
        optimizer.step()


def test_several_processes_are_refused(monkeypatch):
    optimizer = FactoredSGD(Factored().head, 0.1)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(InputError, match="expected one process, got 2"):
        optimizer.step()
