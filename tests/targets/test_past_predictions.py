import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.targets.past_predictions import PastPredictions


def draw(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)).softmax(-1)


@settings(deadline=None)
@given(momentum=st.floats(0, 1), updates=st.integers(1, 6))
def test_rows_are_the_geometric_sum_of_the_predictions(momentum, updates):
    past = PastPredictions(4, 3, momentum=momentum)
    index = torch.tensor([2, 0])
    history = [draw(2, 3, seed=k) for k in range(updates)]
    for probabilities in history:
        rows = past.update(index, probabilities)
    expected = sum(
        (1 - momentum) * momentum ** (updates - 1 - k) * probabilities
        for k, probabilities in enumerate(history)
    )
    torch.testing.assert_close(rows, expected)
    torch.testing.assert_close(past.targets(index), expected)
    assert not past.targets(torch.tensor([1, 3])).any()


def test_momentum_zero_keeps_the_latest_prediction_and_labels_start_it():
    labels = torch.tensor([1, 0, 2])
    past = PastPredictions(3, 3, momentum=0.0, labels=labels)
    assert torch.equal(past.values, torch.eye(3)[labels])
    rows = draw(1, 3)
    past.update(torch.tensor([2]), rows)
    assert torch.equal(past.targets(torch.tensor([2])), rows)
    assert torch.equal(past.targets(torch.tensor([0])), torch.eye(3)[[1]])


def test_floor_clamps_and_scales_to_one():
    past = PastPredictions(1, 3, momentum=0.0, floor=0.1)
    rows = past.update(torch.tensor([0]), torch.tensor([[1.0, 0.0, 0.0]]))
    torch.testing.assert_close(rows, torch.tensor([[0.9, 0.1, 0.1]]) / 1.1)


def test_keeps_no_gradient_and_leaves_the_probabilities_alone():
    probabilities = draw(2, 3).requires_grad_()
    before = probabilities.detach().clone()
    rows = PastPredictions(2, 3, floor=0.2).update(torch.arange(2), probabilities)
    assert not rows.requires_grad
    assert torch.equal(probabilities.detach(), before)


def test_half_precision_predictions_are_averaged_in_float32():
    rows = PastPredictions(2, 3).update(torch.arange(2), draw(2, 3).bfloat16())
    assert rows.dtype == torch.float32


def test_state_comes_back():
    past, copy = PastPredictions(4, 3), PastPredictions(4, 3)
    past.update(torch.tensor([1, 3]), draw(2, 3))
    copy.load_state_dict(past.state_dict())
    assert torch.equal(copy.values, past.values)
    past.synchronize(lambda tensor: tensor)
    assert torch.equal(copy.values, past.values)


def test_errors_name_the_argument():
    with pytest.raises(InputError, match="momentum: expected a number in"):
        PastPredictions(2, 3, momentum=1.5)
    with pytest.raises(InputError, match="floor: expected a number in"):
        PastPredictions(2, 3, floor=0.5)
    with pytest.raises(InputError, match=r"labels: expected shape \[2\], got \[3\]"):
        PastPredictions(2, 3, labels=torch.tensor([0, 1, 2]))
    with pytest.raises(InputError, match=r"labels: expected classes from 0 to 2, got 0 to 3"):
        PastPredictions(2, 3, labels=torch.tensor([0, 3]))
    with pytest.raises(InputError, match=r"probabilities: expected shape \[1, 3\], got \[1, 2\]"):
        PastPredictions(2, 3).update(torch.tensor([0]), torch.zeros(1, 2))
