"""Self-distillation in ``fit`` and in a bare loop against the same steps written out by hand."""

import pytest
import torch
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.core.examples import TensorExamples
from gradatim.core.seeds import derive_seed
from gradatim.networks.reference import MLP
from gradatim.recipes.input_mixing import InputMixing, mix_targets
from gradatim.recipes.self_distillation import ProgressiveSelfDistillation
from gradatim.targets.compact_predictions import CompactPredictions
from gradatim.targets.mixup import mixup
from gradatim.targets.past_predictions import PastPredictions
from gradatim.training import Callback, ShuffledBatches, fit

SIZE, CLASSES, BATCH, EPOCHS = 40, 3, 16, 4
PLAN = ShuffledBatches(SIZE, BATCH, seed=1)


def examples(masked=()):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(SIZE, 5, generator=generator)
    labels = torch.randint(CLASSES, (SIZE,), generator=generator)
    labels[list(masked)] = -100
    return TensorExamples(x=x, label=labels)


def network():
    torch.manual_seed(0)
    return MLP((5, 8, CLASSES))


def run(recipe, model, data=None, epochs=EPOCHS, **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    return fit(model, data or examples(), recipe.step, optimizer=optimizer, batches=PLAN,
               epochs=epochs, callbacks=[*recipe.callbacks, *options.pop("more", ())],
               stateful=recipe.stateful, **options)  # fmt: skip


def by_hand(model, loss_of, data=None, epochs=EPOCHS):
    """Plain SGD with ``loss_of(model, batch, index, epoch, position) -> scalar``."""
    data = data or examples()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for epoch in range(epochs):
        for position in range(len(PLAN)):
            index = torch.from_numpy(PLAN.batch(epoch, position, 0.0))
            loss = loss_of(model, data[index], index, epoch, position)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def assert_same(model, reference):
    for ours, other in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-6)


def cross_entropy(model, batch, index, epoch, position):
    return functional.cross_entropy(model(batch["x"]), batch["label"])


@pytest.mark.parametrize(("alpha", "epochs"), [(0.0, EPOCHS), (0.9, 1)], ids=["alpha 0", "epoch 1"])
def test_it_begins_as_cross_entropy(alpha, epochs):
    model, reference = network(), network()
    run(ProgressiveSelfDistillation(SIZE, CLASSES, alpha=alpha), model, epochs=epochs)
    by_hand(reference, cross_entropy, epochs=epochs)
    assert_same(model, reference)


def test_fit_is_the_loop_of_the_paper():
    model, reference = network(), network()
    recipe = ProgressiveSelfDistillation(SIZE, CLASSES, alpha=0.8)
    run(recipe, model)
    data = examples()
    bank = functional.one_hot(data.column("label"), CLASSES).float()

    def loss(model, batch, index, epoch, position):
        share = 0.8 * (epoch + 1) / EPOCHS
        one_hot = functional.one_hot(batch["label"], CLASSES).float()
        target = (1 - share) * one_hot + share * bank[index]
        logits = model(batch["x"])
        bank[index] = logits.softmax(1).detach()
        return functional.cross_entropy(logits, target)

    # in the first epoch the bank holds labels, whatever the share is
    by_hand(reference, loss)
    assert_same(model, reference)
    torch.testing.assert_close(recipe.past.values, bank, rtol=1e-4, atol=1e-6)


def test_a_bare_loop_is_the_same():
    model, reference = network(), network()
    run(ProgressiveSelfDistillation(SIZE, CLASSES), model)
    distill = ProgressiveSelfDistillation(SIZE, CLASSES)

    def loss(model, batch, index, epoch, position):
        return distill.loss(index, model(batch["x"]), batch["label"], distill.share(epoch, EPOCHS))

    by_hand(reference, loss)
    assert_same(model, reference)


def test_hand_value():
    distill = ProgressiveSelfDistillation(1, 3)
    index, label = torch.tensor([0]), torch.tensor([0])
    distill.loss(index, torch.tensor([[0.6, 0.3, 0.1]]).log(), label, 0.0)
    logits = torch.tensor([[0.7, 0.2, 0.1]]).log().requires_grad_()
    target = distill.targets(index, label, 0.5)
    torch.testing.assert_close(target, torch.tensor([[0.8, 0.15, 0.05]]))
    distill.loss(index, logits, label, 0.5).backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[-0.1, 0.05, 0.05]]))
    torch.testing.assert_close(distill.past.values, logits.detach().exp())


def test_shares():
    distill = ProgressiveSelfDistillation(1, 2, alpha=0.8)
    found = [distill.share(epoch, 4) for epoch in range(5)]
    assert found == pytest.approx([0.0, 0.4, 0.6, 0.8, 0.8])


def test_the_share_of_fit_rises_by_epochs_also_under_accumulation():
    class Shares(Callback):
        def step_start(self, state):
            noted.append(recipe.share_of(state))

    noted, recipe = [], ProgressiveSelfDistillation(SIZE, CLASSES)
    run(recipe, network(), more=[Shares()], accumulate=2)
    assert noted == pytest.approx([0.0, 0.0, 0.4, 0.4, 0.6, 0.6, 0.8, 0.8])


def test_mixed_batches_get_mixed_targets_and_keep_nothing():
    model, reference = network(), network()
    recipe = ProgressiveSelfDistillation(SIZE, CLASSES, mixing=InputMixing(mixup))
    run(recipe, model, seed=7)
    bank, met, mixed_batches = torch.zeros(SIZE, CLASSES), torch.zeros(SIZE, dtype=torch.bool), []

    def loss(model, batch, index, epoch, position):
        share = 0.8 * (epoch + 1) / EPOCHS
        one_hot = functional.one_hot(batch["label"], CLASSES).float()
        past = torch.where(met[index][:, None], bank[index], one_hot)
        target = one_hot if epoch == 0 else (1 - share) * one_hot + share * past
        generator = torch.Generator().manual_seed(derive_seed(7, 0, epoch, position))
        if float(torch.rand((), generator=generator)) < 0.5:
            found = mixup(batch["x"], target, generator=generator)
            mixed_batches.append((epoch, position))
            return functional.cross_entropy(model(found.inputs), found.targets[0])
        logits = model(batch["x"])
        bank[index], met[index] = logits.softmax(1).detach(), True
        return functional.cross_entropy(logits, target)

    by_hand(reference, loss)
    assert 0 < len(mixed_batches) < EPOCHS * len(PLAN)
    assert_same(model, reference)


def test_masked_labels_take_no_part():
    masked = (0, 5, 17, 18, 30)
    model, reference = network(), network()
    run(ProgressiveSelfDistillation(SIZE, CLASSES, alpha=0.0), model, examples(masked))
    by_hand(reference, cross_entropy, examples(masked))  # torch ignores -100 too
    assert_same(model, reference)
    distill = ProgressiveSelfDistillation(2, CLASSES)
    labels, logits = torch.tensor([-100, -100]), torch.randn(2, CLASSES)
    assert distill.loss(torch.arange(2), logits, labels, 0.5) == 0.0
    assert distill.targets(torch.arange(2), labels, 0.5).abs().sum() == 0


class KilledError(Exception):
    pass


class Kill(Callback):
    def __init__(self, step):
        self.step = step

    def step_start(self, state):
        if state.step == self.step:
            raise KilledError


@pytest.mark.parametrize("top_k", [None, 2])
@pytest.mark.parametrize("killed", [2, 6, 7])
def test_resume(tmp_path, killed, top_k):
    def recipe():
        past = CompactPredictions(SIZE, CLASSES, top_k=top_k) if top_k else None
        return ProgressiveSelfDistillation(SIZE, CLASSES, past=past)

    whole, broken = network(), network()
    run(recipe(), whole)
    settings = {"checkpoint": tmp_path, "checkpoint_every": 1}
    with pytest.raises(KilledError):
        run(recipe(), broken, more=[Kill(killed)], **settings)
    fresh, again = network(), recipe()
    result = run(again, fresh, more=[Kill(99)], **settings)
    assert result.resumed_from == killed
    for ours, other in zip(fresh.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, other)


def test_compact_predictions_come_close():
    model, rounded = network(), network()
    run(ProgressiveSelfDistillation(SIZE, CLASSES), model)
    past = CompactPredictions(SIZE, CLASSES)
    run(ProgressiveSelfDistillation(SIZE, CLASSES, past=past), rounded)
    for ours, other in zip(rounded.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, other, rtol=0, atol=2e-3)


def test_half_precision_logits():
    distill = ProgressiveSelfDistillation(2, 3)
    logits = torch.randn(2, 3).bfloat16().requires_grad_()
    loss = distill.loss(torch.arange(2), logits, torch.tensor([0, 2]), 0.0)
    assert loss.dtype == distill.past.values.dtype == torch.float32
    loss.backward()
    assert logits.grad.dtype == torch.bfloat16
    extreme = torch.tensor([[1e4, -1e4, 0.0]])
    assert distill.loss(torch.tensor([0]), extreme, torch.tensor([1]), 0.8).isfinite()


def test_probability_of_mixing():
    generator, batch = torch.Generator().manual_seed(0), {"x": torch.eye(3), "label": [0, 1, 2]}
    for probability in (0.0, 0.3, 1.0):
        mixing = InputMixing(mixup, probability)
        found = [mixing.apply(batch, generator) for _ in range(200)]
        share = sum(mixed is not None for _, mixed in found) / 200
        assert share == pytest.approx(probability, abs=0.1 * (0 < probability < 1))
        assert all(one["label"] is batch["label"] for one, _ in found)
    assert mix_targets(torch.eye(3), None).equal(torch.eye(3))
    assert torch.equal(batch["x"], torch.eye(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ProgressiveSelfDistillation(5, 2, alpha=1.5), "alpha: expected"),
        (
            lambda: ProgressiveSelfDistillation(5, 2, past=PastPredictions(4, 2, 0.0)),
            "past: expected predictions for 5 examples of 2 classes, got 4 of 2",
        ),
        (
            lambda: ProgressiveSelfDistillation(5, 2, mixing=InputMixing(mixup, 1.0)),
            "mixing: expected a probability below 1",
        ),
        (lambda: InputMixing(mixup, 1.5), "probability: expected"),
        (
            lambda: ProgressiveSelfDistillation(5, 2).loss(
                torch.tensor([0]), torch.zeros(1, 3), torch.tensor([0]), 0.5
            ),
            "logits: expected shape",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message):
        make()
