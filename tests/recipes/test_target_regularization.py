"""Regularizers of the target against their equations."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.core.examples import TensorExamples
from gradatim.recipes.input_mixing import InputMixing
from gradatim.recipes.target_regularization import ClassWise, LabelSmoothing, TeacherFree
from gradatim.targets.mixup import mixup

LABELS = torch.tensor([0, 2, 1, 2, 0, 1])
X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
BATCH = {"x": X, "label": LABELS}


def network():
    torch.manual_seed(1)
    return torch.nn.Linear(4, 3)


def step(recipe, seed=0):
    """The mean loss of a step, and its logits."""
    state = SimpleNamespace(generator=torch.Generator().manual_seed(seed))
    found = recipe.step(network(), BATCH, state)
    return found.sum / found.count


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_label_smoothing_is_that_of_torch(smoothing):
    wanted = functional.cross_entropy(network()(X), LABELS, label_smoothing=smoothing)
    torch.testing.assert_close(step(LabelSmoothing(smoothing)), wanted)


def test_label_smoothing_of_mixed_inputs():
    recipe = LabelSmoothing(0.1, mixing=InputMixing(mixup, 1.0))
    generator = torch.Generator().manual_seed(3)
    torch.rand((), generator=generator)
    mixed = mixup(X, functional.one_hot(LABELS, 3).float(), generator=generator)
    logits = network()(mixed.inputs)
    wanted = functional.cross_entropy(logits, mixed.targets[0], label_smoothing=0.1)
    torch.testing.assert_close(step(recipe, seed=3), wanted)


def test_the_virtual_teacher():
    recipe = TeacherFree(0.3, confidence=0.8, temperature=2.0)
    raw = torch.full((6, 3), 0.1).scatter(1, LABELS[:, None], 0.8).sqrt()
    teacher = raw / raw.sum(1, keepdim=True)
    torch.testing.assert_close(recipe.teacher(LABELS, 3), teacher)
    logits = network()(X)
    soft = functional.cross_entropy(logits / 2, teacher)
    wanted = 0.7 * functional.cross_entropy(logits, LABELS) + 0.3 * 4 * soft
    torch.testing.assert_close(step(recipe), wanted)


def test_agreement_within_classes():
    data = TensorExamples(**BATCH)
    recipe = ClassWise(data, LABELS, strength=0.7, temperature=3.0)
    partners = recipe.partners(LABELS, torch.Generator().manual_seed(0))
    assert torch.equal(LABELS[partners], LABELS)
    model = network()
    logits, other = model(X), (model(X[partners]) / 3).softmax(1).detach()
    wanted = functional.cross_entropy(logits, LABELS)
    wanted = wanted + 0.7 * 9 * functional.cross_entropy(logits / 3, other)
    torch.testing.assert_close(step(recipe), wanted)


def test_partners_are_all_of_the_class():
    recipe = ClassWise(TensorExamples(**BATCH), LABELS)
    generator = torch.Generator().manual_seed(0)
    found = recipe.partners(torch.full((400,), 2), generator).bincount(minlength=6)
    assert found[[0, 2, 4, 5]].sum() == 0
    assert found.sum() == 400 and 150 < found[1] < 250


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LabelSmoothing(1.2), "smoothing: expected"),
        (lambda: TeacherFree(confidence=1.0), "confidence: expected"),
        (lambda: TeacherFree(temperature=0.0), "temperature: expected"),
        (lambda: ClassWise(TensorExamples(**BATCH), LABELS[:3]), "expected equal lengths"),
        (lambda: ClassWise(TensorExamples(**BATCH), LABELS, strength=-1.0), "strength: expected"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message):
        make()
