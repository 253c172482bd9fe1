"""Recipes for noisy labels against the same steps written out by hand."""

import copy
import math

import pytest
import torch
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.core.examples import TensorExamples
from gradatim.core.seeds import derive_seed
from gradatim.networks.reference import MLP
from gradatim.recipes.noisy_labels import (
    Bootstrapping,
    CrossEntropy,
    EarlyLearning,
    EarlyLearningPlus,
    SmallLoss,
)
from gradatim.targets.mixup import mixup
from gradatim.training import ShuffledBatches, fit

SIZE, CLASSES, BATCH, EPOCHS = 40, 3, 16, 4
PLAN = ShuffledBatches(SIZE, BATCH, seed=1)


def examples():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(SIZE, 5, generator=generator)
    return TensorExamples(x=x, label=torch.randint(CLASSES, (SIZE,), generator=generator))


def network(seed=0):
    torch.manual_seed(seed)
    return MLP((5, 8, CLASSES))


def run(recipe, models, **options):
    modules = models.values() if isinstance(models, dict) else [models]
    optimizer = torch.optim.SGD([p for m in modules for p in m.parameters()], lr=0.2)
    fit(models, examples(), recipe.step, optimizer=optimizer, batches=PLAN, epochs=EPOCHS,
        callbacks=recipe.callbacks, stateful=recipe.stateful, **options)  # fmt: skip


def by_hand(model, loss_of):
    """Plain SGD with ``loss_of(logits, labels, index, epoch) -> scalar``."""
    data = examples()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    for epoch in range(EPOCHS):
        for position in range(len(PLAN)):
            index = torch.from_numpy(PLAN.batch(epoch, position, 0.0))
            batch = data[index]
            loss = loss_of(model(batch["x"]), batch["label"], index, epoch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def assert_same(model, reference):
    for ours, other in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-6)


def test_cross_entropy():
    model, reference = network(), network()
    run(CrossEntropy(), model)
    by_hand(
        reference, lambda logits, labels, index, epoch: functional.cross_entropy(logits, labels)
    )
    assert_same(model, reference)


def test_early_learning():
    model, reference, bank = network(), network(), torch.zeros(SIZE, CLASSES)
    recipe = EarlyLearning(SIZE, CLASSES, momentum=0.8, strength=2.0)
    run(recipe, model)

    def loss(logits, labels, index, epoch):
        p = logits.softmax(1).clamp(1e-4, 1 - 1e-4)
        bank[index] = 0.8 * bank[index] + 0.2 * (p / p.sum(1, keepdim=True)).detach()
        regularizer = torch.log(1 - (bank[index] * p).sum(1)).mean()
        return functional.cross_entropy(logits, labels) + 2.0 * regularizer

    by_hand(reference, loss)
    assert_same(model, reference)
    torch.testing.assert_close(recipe.past.values, bank, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_bootstrapping_begins_after_its_warmup(kind):
    model, reference = network(), network()
    run(Bootstrapping(0.3, kind=kind, warmup=2), model)

    def loss(logits, labels, index, epoch):
        p = logits.softmax(1)
        own = functional.one_hot(p.argmax(1), CLASSES).float() if kind == "hard" else p
        share = 1.0 if epoch < 2 else 0.3
        target = share * functional.one_hot(labels, CLASSES) + (1 - share) * own
        return -(target * logits.log_softmax(1)).sum(1).mean()

    by_hand(reference, loss)
    assert_same(model, reference)


def test_small_loss_ignores_the_largest_of_the_epoch_before():
    model, reference = network(), network()
    recipe = SmallLoss(SIZE, 0.25, warmup=2)
    run(recipe, model)
    losses, kept, seen = torch.zeros(SIZE), torch.ones(SIZE), {"epoch": 0}

    def loss(logits, labels, index, epoch):
        if epoch != seen["epoch"]:
            seen["epoch"] = epoch
            if epoch >= 2:
                order = losses.argsort()
                kept.zero_()[order[:30]] = 1.0
        values = functional.cross_entropy(logits, labels, reduction="none")
        losses[index] = values.detach()
        return (values * kept[index]).sum() / kept[index].sum()

    by_hand(reference, loss)
    assert_same(model, reference)
    assert int(recipe.kept.values.sum()) == 30


def test_early_learning_plus():
    first, second = network(0), network(1)
    references = {"first": copy.deepcopy(first), "second": copy.deepcopy(second)}
    recipe = EarlyLearningPlus((first, second), SIZE, CLASSES, momentum=0.6, strength=1.5,
                               decay=0.9, ramp_steps=5)  # fmt: skip
    run(recipe, recipe.networks, seed=7)

    averages = copy.deepcopy(references)
    banks = {name: torch.zeros(SIZE, CLASSES) for name in references}
    optimizer = torch.optim.SGD([p for m in references.values() for p in m.parameters()], lr=0.2)
    data, updates = examples(), 0
    for epoch in range(EPOCHS):
        for position in range(len(PLAN)):
            index = torch.from_numpy(PLAN.batch(epoch, position, 0.0))
            x, y = data[index]["x"], functional.one_hot(data[index]["label"], CLASSES).float()
            generator = torch.Generator().manual_seed(derive_seed(7, 0, epoch, position))
            total = torch.zeros(())
            for name, other in (("first", "second"), ("second", "first")):
                p = averages[other](x).softmax(1).detach()
                banks[name][index] = 0.6 * banks[name][index] + 0.4 * p
                mixed = mixup(x, y, banks[name][index], generator=generator)
                logits, (labels, target) = references[name](mixed.inputs), mixed.targets
                p = logits.softmax(1).clamp(1e-4, 1 - 1e-4)
                total = total - (labels * logits.log_softmax(1)).sum(1).mean()
                total = total + 1.5 * torch.log(1 - (target * p).sum(1)).mean()
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            updates += 1
            decay = 0.9 * math.exp(-5 * (1 - min(updates / 5, 1)) ** 2)
            with torch.no_grad():
                for name, average in averages.items():
                    for a, w in zip(
                        average.parameters(), references[name].parameters(), strict=True
                    ):
                        a.mul_(decay).add_(w, alpha=1 - decay)
    assert_same(first, references["first"])
    assert_same(second, references["second"])
    assert_same(recipe.averages["first"].module, averages["first"])
    mean = (first(data[[0]]["x"]) + second(data[[0]]["x"])) / 2
    torch.testing.assert_close(recipe.predict(data[[0]]["x"]), mean)


def test_a_model_that_takes_the_whole_batch():
    recipe = EarlyLearning(SIZE, CLASSES, label="y", logits=lambda model, batch: model(batch["in"]))
    data = TensorExamples(**{"in": examples().column("x"), "y": examples().column("label")})
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    result = fit(model, data, recipe.step, optimizer=optimizer, epochs=1)
    assert result.step == 1 and float(recipe.past.values.sum()) > 0


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: EarlyLearning(5, 2, strength=-1.0), "strength"),
        (lambda: EarlyLearning(5, 2, momentum=1.5), "momentum"),
        (lambda: SmallLoss(5, 1.0), "ignored"),
        (lambda: Bootstrapping(1.2), "beta"),
        (lambda: Bootstrapping(kind="other"), "kind"),
    ],
)
def test_settings_outside_their_range(make, named):
    with pytest.raises(InputError, match=f"{named}: expected"):
        make()
