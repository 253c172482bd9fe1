import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gradatim.core.errors import InputError
from gradatim.curriculum.ramps import sigmoid_ramp
from gradatim.targets.weight_average import WeightAverage


def make_model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def shake(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    model(torch.randn(8, 3, generator=generator))


@settings(deadline=None, max_examples=20)
@given(decay=st.floats(0, 1), updates=st.integers(1, 5))
def test_weights_follow_the_recursion_from_the_starting_weights(decay, updates):
    model = make_model()
    expected = [parameter.detach().clone() for parameter in model.parameters()]
    average = WeightAverage(model, decay=decay)
    for seed in range(updates):
        shake(model, seed)
        average.update(model)
        expected = [
            decay * old + (1 - decay) * new.detach()
            for old, new in zip(expected, model.parameters(), strict=True)
        ]
    assert average.updates == updates
    for value, parameter in zip(expected, average.module.parameters(), strict=True):
        torch.testing.assert_close(parameter, value)


def test_decay_may_be_a_function_of_the_updates_done_before():
    model = nn.Linear(1, 1)
    seen = []

    def decay(step):
        seen.append(step)
        return min(1 - 1 / (step + 1), 0.999)

    average = WeightAverage(model, decay)
    history = []
    for seed in range(4):
        nn.init.normal_(model.weight, generator=torch.Generator().manual_seed(seed))
        history.append(model.weight.item())
        average.update(model)
    assert seen == [0, 1, 2, 3]
    assert average.module.weight.item() == pytest.approx(sum(history) / 4, abs=1e-6)


def test_ramped_decay_of_the_paper():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = WeightAverage(model, lambda step: sigmoid_ramp((step + 1) / 2, end=0.997))
    nn.init.ones_(model.weight)
    average.update(model)
    average.update(model)
    first = 1 - 0.997 * 2.718281828 ** (-5 / 4)
    assert average.module.weight.item() == pytest.approx(0.997 * first + 0.003, abs=1e-6)


@pytest.mark.parametrize("buffers", ["copy", "average", "ignore"])
def test_buffers(buffers):
    model = make_model()
    start = copy.deepcopy(model)[1]
    average = WeightAverage(model, decay=0.75, buffers=buffers)
    shake(model, 0)
    average.update(model)
    mean = {
        "copy": model[1].running_mean,
        "average": 0.75 * start.running_mean + 0.25 * model[1].running_mean,
        "ignore": start.running_mean,
    }[buffers]
    torch.testing.assert_close(average.module[1].running_mean, mean)
    assert average.module[1].num_batches_tracked == (0 if buffers == "ignore" else 1)
    torch.testing.assert_close(
        average.module[0].weight, 0.75 * start_weight() + 0.25 * model[0].weight
    )


def start_weight():
    return make_model()[0].weight


def test_the_averaged_model_is_apart_from_the_model():
    model = make_model()
    average = WeightAverage(model, decay=0.5)
    assert not any(parameter.requires_grad for parameter in average.module.parameters())
    assert not average.module.training
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    before = average.module[0].weight.clone()
    shake(model, 0)
    assert torch.equal(average.module[0].weight, before)


def test_state_comes_back_and_continues_alike():
    def decay(step):
        return sigmoid_ramp(step / 10)

    model = make_model()
    average = WeightAverage(model, decay)
    for seed in range(3):
        shake(model, seed)
        average.update(model)
    other = WeightAverage(make_model(seed=9), decay)
    other.load_state_dict({key: value.clone() for key, value in average.state_dict().items()})
    shake(model, 7)
    average.update(model)
    other.update(model)
    assert other.updates == 4
    for key, value in average.state_dict().items():
        assert torch.equal(other.state_dict()[key], value)


def test_errors_name_the_argument():
    with pytest.raises(InputError, match="decay: expected a number in"):
        WeightAverage(make_model(), decay=1.5)
    with pytest.raises(InputError, match="buffers: expected one of copy, average, ignore"):
        WeightAverage(make_model(), buffers="drop")
    average = WeightAverage(make_model(), decay=lambda step: 2.0)
    with pytest.raises(InputError, match="decay: expected a number in"):
        average.update(make_model())
