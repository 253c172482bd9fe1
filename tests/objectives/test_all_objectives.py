"""Every objective of the registry, held to the same rules."""

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.objectives.registry import OBJECTIVES

EXTREME = 1e4
every_objective = pytest.mark.parametrize("name", sorted(OBJECTIVES))


def inputs_of(name, *, seed=0, dtype=torch.float64, extreme=False):
    objective = OBJECTIVES[name]
    inputs = dict(objective.example(torch.Generator().manual_seed(seed)))
    for key in objective.outputs if extreme else ():
        inputs[key] = torch.where(inputs[key] > 0, EXTREME, -EXTREME)
    inputs = {
        key: value.to(dtype) if value.is_floating_point() else value
        for key, value in inputs.items()
    }
    for key in objective.outputs:
        inputs[key].requires_grad_()
    return inputs


@every_objective
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_gradient_equals_finite_differences(name, reduction):
    objective, inputs = OBJECTIVES[name], inputs_of(name)

    def loss(*outputs):
        given = {**inputs, **dict(zip(objective.outputs, outputs, strict=True))}
        return objective.function(**given, reduction=reduction)

    assert torch.autograd.gradcheck(loss, [inputs[key] for key in objective.outputs])


@every_objective
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("seed", range(3))
def test_value_and_gradient_are_finite_at_extreme_outputs(name, dtype, seed):
    inputs = inputs_of(name, seed=seed, dtype=dtype, extreme=True)
    loss = OBJECTIVES[name].function(**inputs)
    loss.backward()
    assert torch.isfinite(loss)
    for key in OBJECTIVES[name].outputs:
        assert inputs[key].grad.dtype == dtype
        assert torch.isfinite(inputs[key].grad).all()


@every_objective
def test_half_precision_is_close_to_double(name):
    inputs = inputs_of(name)
    rounded = {
        key: value.detach().bfloat16() if value.is_floating_point() else value
        for key, value in inputs.items()
    }
    function = OBJECTIVES[name].function
    torch.testing.assert_close(
        function(**rounded).double(), function(**inputs), rtol=0.05, atol=0.02
    )


@every_objective
def test_reductions_agree(name):
    function, inputs = OBJECTIVES[name].function, inputs_of(name)
    values = function(**inputs, reduction="none")
    if OBJECTIVES[name].weights is None:
        weights = torch.ones(len(next(iter(inputs.values()))), dtype=torch.float64)
    else:
        weights = inputs[OBJECTIVES[name].weights].double()
    assert values.shape == weights.shape
    assert not values[weights == 0].any()
    torch.testing.assert_close(function(**inputs, reduction="sum"), values.sum())
    for mean in (function(**inputs, reduction="mean"), function(**inputs)):
        torch.testing.assert_close(mean, values.sum() / weights.sum(), rtol=1e-6, atol=1e-7)
    with pytest.raises(InputError, match="reduction: expected one of mean, sum, none"):
        function(**inputs, reduction="average")


@every_objective
def test_values_follow_their_examples(name):
    function, inputs = OBJECTIVES[name].function, inputs_of(name)
    values = function(**inputs, reduction="none")
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(1))
    permuted = {key: value[order] for key, value in inputs.items()}
    torch.testing.assert_close(function(**permuted, reduction="none"), values[order])


@every_objective
def test_inputs_are_not_modified(name):
    inputs = inputs_of(name)
    before = {key: value.detach().clone() for key, value in inputs.items()}
    OBJECTIVES[name].function(**inputs).backward()
    for key, value in inputs.items():
        assert torch.equal(value, before[key])


@every_objective
def test_examples_are_drawn_from_the_generator_in_double_precision(name):
    inputs = inputs_of(name)
    assert inputs.keys() >= set(OBJECTIVES[name].outputs)
    assert all(
        torch.equal(value, other)
        for value, other in zip(inputs.values(), inputs_of(name).values(), strict=True)
    )
    drawn = OBJECTIVES[name].example(torch.Generator().manual_seed(0)).values()
    assert {value.dtype for value in drawn if value.is_floating_point()} == {torch.float64}
