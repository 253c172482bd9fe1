"""A classifier of two blobs forgets a third one."""

import copy

import pytest
import torch
from safetensors.torch import load_model
from torch import nn
from torch.nn import functional

import gradatim
from gradatim.core.errors import InputError
from gradatim.metrics.unlearning_gap import unlearning_gap
from gradatim.recipes.label_agnostic_forgetting import LabelAgnosticUnlearner, split_classifier
from gradatim.workflows.unlearn_classifier import unlearn_classifier


def blobs(count: int, seed: int):
    """Points around three centers, and the center of each."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 3
    centers = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 3.0]])
    return centers[y] + 0.3 * torch.randn(count, 2, generator=generator), y


def trained(x, y):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    for _ in range(100):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.eval()


X, Y = blobs(240, 0)
TEST = blobs(120, 1)
GONE = Y == 2
FORGET, REMAIN = (X[GONE], Y[GONE]), (X[~GONE], Y[~GONE])
OPTIONS = {
    "negative-gradient": {"lr": 1e-2, "epochs": 10, "weight": 0.9},
    "scrub": {"lr": 5e-2, "epochs": 6, "max_epochs": 4},
}
LAF = {"lr_ue": 1e-2, "lr_ra": 2e-2, "epochs": 3}


@pytest.fixture(scope="module")
def model():
    return trained(X, Y)


@pytest.mark.parametrize("method", OPTIONS)
def test_the_class_is_forgotten_and_the_others_stay(model, method):
    before = copy.deepcopy(model.state_dict())
    result = unlearn_classifier(
        model, FORGET, REMAIN, method=method, test=TEST, retrained=trained(*REMAIN),
        **OPTIONS[method],
    )  # fmt: skip
    figures = result.figures.set_index("figure")
    assert figures.loc["accuracy on what is forgotten", "before"] > 95
    assert figures.loc["accuracy on what is forgotten", "after"] < 60
    assert figures.loc["accuracy on what remains", "after"] > 90
    assert figures.loc["accuracy on what is forgotten", "retrained"] == 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        right = (result.model(FORGET[0]).argmax(1) == 2).double().mean()
    assert figures.loc["accuracy on what is forgotten", "after"] == pytest.approx(100 * right)
    expected = unlearning_gap(figures["after"].to_dict(), figures["retrained"].to_dict())
    assert result.gap["after"] == pytest.approx(expected)
    assert result.gap["after"] < result.gap["before"]
    assert result.sentence().startswith(f"{method}: the figures are {expected:.1f} points")


def test_without_labels_the_whole_model_is_split_and_joined(model):
    result = unlearn_classifier(model, FORGET, REMAIN, seed=3, repair=(X[:6], Y[:6]), **LAF)
    extractor, head = split_classifier(model, "2")
    expected = LabelAgnosticUnlearner(extractor, head, seed=3, **LAF).fit(FORGET[0], REMAIN[0])
    expected.repair(X[:6], Y[:6])
    with torch.no_grad():
        assert torch.equal(result.model(X), expected.model_(X))
        assert not torch.equal(result.model(X), model(X))
    assert list(result.model.state_dict()) == list(model.state_dict())


def test_no_label_is_needed(model):
    options = {**LAF, "head": "2"}
    result = unlearn_classifier(model, FORGET[0], REMAIN[0], test=TEST[0], **options)
    assert result.figures["figure"].tolist() == ["success of a membership attack"]
    with_labels = unlearn_classifier(model, FORGET, REMAIN, test=TEST, **options)
    for one, other in zip(result.model.parameters(), with_labels.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert "not known how much" in result.notes[0] and not result.gap


def test_it_is_written(model, tmp_path):
    result = unlearn_classifier(model, FORGET, REMAIN, repair=(X[:6], Y[:6]), **LAF)
    folder = result.save(tmp_path / "out")
    again = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 3))
    load_model(again, folder / "model.safetensors")
    assert torch.equal(again(X), result.model(X))
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "accuracy on what remains" in page and "went from" in page
    assert (folder / "figures.csv").is_file() and "Before" in result._repr_html_()
    with pytest.raises(InputError, match="not overwritten"):
        result.save(folder)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"method": "la"}, "method: expected one of laf, negative-gradient, scrub"),
        ({"head": "fc"}, "head: expected one of 0, 1, 2, got 'fc'"),
        ({"model": nn.ReLU()}, "head: the model has no linear layer"),
        ({"forget": X[:0]}, "forget: expected at least one example, got none"),
        ({"forget": X[:3], "remain": X[3:]}, "test: expected examples to measure on, or labels"),
        ({"method": "scrub", "forget": X[:3]}, "forget: expected a column 'label'"),
        ({"method": "scrub", "repair": REMAIN}, "repair: expected method 'laf', got 'scrub'"),
    ],
)
def test_bad_input(model, changes, told):
    given = {"model": model, "forget": FORGET, "remain": REMAIN, **changes}
    with pytest.raises(InputError, match=told):
        unlearn_classifier(**given)


def test_the_function_is_an_attribute_of_the_package():
    assert gradatim.unlearn_classifier is unlearn_classifier
