import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from gradatim.core.errors import InputError
from gradatim.networks.reference import SmallConvNet
from gradatim.recipes.classifier_unlearning import NegativeGradient, Scrub
from gradatim.recipes.unlearning_pairs import PairedBatches

METHODS = (NegativeGradient, Scrub)


def blobs(seed=0, count=120):
    """Three classes around three centres; the last is to be forgotten."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    centres = 3 * torch.eye(3, 6)
    x = centres[labels] + torch.randn(count, 6, generator=generator)
    return (x[labels == 2], labels[labels == 2]), (x[labels != 2], labels[labels != 2])


def trained(x, labels, seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(100):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
    return model


@pytest.fixture(scope="module")
def world():
    forget, remain = blobs()
    model = trained(*(torch.cat(pair) for pair in zip(forget, remain, strict=True)))
    return model, forget, remain


def accuracy(model, part):
    return (model(part[0]).argmax(1) == part[1]).double().mean().item()


@pytest.mark.parametrize(
    ("method", "options"),
    [(NegativeGradient, {"weight": 0.6}), (Scrub, {"max_epochs": 6, "temperature": 1.0})],
)
def test_a_class_is_forgotten_the_others_are_not_and_the_model_is_left_alone(
    world, method, options
):
    model, forget, remain = world
    before = copy.deepcopy(model.state_dict())
    new = method(model, lr=0.01, epochs=10, batch_size=8, **options).fit(forget, remain).model_
    assert accuracy(model, forget) > 0.9
    assert accuracy(new, forget) < 0.3
    assert accuracy(new, remain) > 0.95
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("method", METHODS)
def test_in_place_the_model_itself_is_trained(world, method):
    model, forget, remain = world
    mine = copy.deepcopy(model)
    unlearner = method(mine, lr=0.01, epochs=2, in_place=True).fit(forget, remain)
    assert unlearner.model_ is mine
    assert not torch.equal(mine[0].weight, model[0].weight)


@pytest.mark.parametrize("method", METHODS)
def test_tensors_and_a_dataset_give_the_same(world, method):
    model, forget, remain = world
    options = {"lr": 0.01, "epochs": 2, "seed": 3}
    first = method(model, **options).fit(forget, remain).model_
    second = method(model, **options).fit(TensorDataset(*forget), TensorDataset(*remain)).model_
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_negative_gradient_equals_a_loop_written_out(world):
    model, forget, remain = world
    mine = copy.deepcopy(model)
    optimizer = torch.optim.Adam(mine.parameters(), 0.01)
    x, labels = (torch.cat(pair) for pair in zip(forget, remain, strict=True))
    plan = PairedBatches(len(forget[0]), len(remain[0]), 16, seed=5)
    for epoch in range(2):
        for place in range(len(plan)):
            rows = torch.from_numpy(plan.batch(epoch, place, 0.0))
            lost, kept = rows[::2], rows[1::2]
            optimizer.zero_grad()
            loss = 0.7 * functional.cross_entropy(mine(x[kept]), labels[kept])
            loss = loss - 0.3 * functional.cross_entropy(mine(x[lost]), labels[lost])
            loss.backward()
            optimizer.step()
    new = NegativeGradient(model, weight=0.7, lr=0.01, epochs=2, batch_size=16, seed=5)
    new.fit(forget, remain)
    for one, other in zip(mine.parameters(), new.model_.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_scrub_without_its_first_epochs_and_weights_stays_at_the_original(world):
    """The divergence alone is at its minimum, 0, at the original model."""
    model, forget, remain = world
    unlearner = Scrub(model, max_epochs=0, gamma=0.0, epochs=1, lr=1e-4).fit(forget, remain)
    x = remain[0]
    torch.testing.assert_close(
        unlearner.model_(x).softmax(1), model(x).softmax(1), rtol=0, atol=0.01
    )


def test_scrub_loss_is_a_divergence_of_torch(world):
    model, forget, remain = world
    unlearner = Scrub(model, alpha=0.3, gamma=0.8, temperature=2.0, epochs=2, lr=0.01)
    unlearner.fit(forget, remain)
    student = unlearner.model_
    x, labels = torch.cat([forget[0][:2], remain[0][:3]]), torch.cat([forget[1][:2], remain[1][:3]])

    class Place:
        index = torch.tensor([0, 1, 40, 41, 42])

    student.zero_grad()
    unlearner.step(student, {"x": x, "label": labels}, Place()).sum.backward()
    made = [p.grad.clone() for p in student.parameters()]
    student.zero_grad()
    logits, target = student(x), model(x).detach()
    divergence = functional.kl_div(
        (logits / 2).log_softmax(1), (target / 2).log_softmax(1), log_target=True, reduction="none"
    ).sum(1)
    losses = 0.3 * 4 * divergence + 0.8 * functional.cross_entropy(logits, labels, reduction="none")
    (losses[2:].sum() - 4 * divergence[:2].sum()).backward()
    for one, p in zip(made, student.parameters(), strict=True):
        torch.testing.assert_close(one, p.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_batch_statistics_stay_as_they_are(method):
    torch.manual_seed(0)
    model = SmallConvNet((4,), 3, dropout=0.5)
    x, labels = torch.randn(24, 1, 8, 8), torch.arange(24) % 3
    unlearner = method(model, lr=0.01, epochs=2)
    unlearner.fit((5 + x[:8], labels[:8]), (x[8:], labels[8:]))
    before, after = dict(model.named_buffers()), dict(unlearner.model_.named_buffers())
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(value, after[name]), name
    assert not any(module.training for module in unlearner.model_.modules())


@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_run_is_taken_up_again(world, method, tmp_path):
    model, forget, remain = world
    options = {"lr": 0.01, "epochs": 3, "seed": 1}
    whole = method(model, **options).fit(forget, remain).model_
    first = method(model, checkpoint=tmp_path, **options).fit(forget, remain).model_
    again = method(model, checkpoint=tmp_path, **options).fit(forget, remain).model_
    for one, other, third in zip(
        whole.parameters(), first.parameters(), again.parameters(), strict=True
    ):
        assert torch.equal(one, other)
        assert torch.equal(other, third)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (NegativeGradient, {"weight": 1.5}),
        (NegativeGradient, {"lr": 0.0}),
        (Scrub, {"max_epochs": 7}),
        (Scrub, {"temperature": 0.0}),
        (Scrub, {"epochs": 0}),
        (Scrub, {"batch_size": 0}),
    ],
)
def test_bad_settings(method, options):
    with pytest.raises(InputError, match=next(iter(options))):
        method(nn.Linear(2, 2), **options)


@pytest.mark.parametrize("method", METHODS)
def test_labels_are_needed(method, world):
    model, forget, remain = world
    with pytest.raises(InputError, match="forget: expected a column 'label'"):
        method(model).fit(forget[0], remain)
