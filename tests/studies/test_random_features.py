import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.studies.data.random_features import RIDGE, Sample, forgetting_task


def task(seed=1, distance=1.0):
    return forgetting_task(seed, distance, retain=400, forget=80, test=100)


def objective(weights, *samples):
    total = sum(-one.logp(weights[:, None]).sum() for one in samples)
    return total / sum(len(one.sign) for one in samples) + RIDGE / 2 * weights.square().sum()


@pytest.mark.parametrize("distance", [0.0, 1.0])
def test_models_are_optimal_on_what_they_were_fitted_to(distance):
    found = task(distance=distance)
    for weights, samples in (
        (found.start, (found.retain, found.forget)),
        (found.target, (found.retain,)),
    ):
        variable = weights.clone().requires_grad_()
        objective(variable, *samples).backward()
        assert variable.grad.norm() < 1e-5


def test_the_populations_are_those_of_the_paper():
    found = forgetting_task(0, 1.0, retain=20_000, forget=20_000, test=2)
    # 1 + a standard normal logit: 0.6985 of the labels are the preferred ones
    assert (found.retain.sign == 1).double().mean() == pytest.approx(0.6985, abs=0.015)
    assert (found.forget.sign == -1).double().mean() == pytest.approx(0.6985, abs=0.015)
    assert found.random.mean().abs() < 0.03
    near = forgetting_task(0, 0.0, retain=2000, forget=2000, test=2)
    gap = (near.retain.features.mean(dim=0) - near.forget.features.mean(dim=0)).abs().max()
    apart = (found.retain.features.mean(dim=0) - found.forget.features.mean(dim=0)).abs().max()
    assert gap < 0.15 < 1 < apart


def test_log_probabilities_are_those_of_both_classes():
    features = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    weights = torch.tensor([[0.3], [-1.0]], dtype=torch.float64)
    both = [Sample(features, torch.tensor([sign]).double()).logp(weights) for sign in (1, -1)]
    assert torch.cat(both).exp().sum().item() == pytest.approx(1.0)
    assert both[0].item() == pytest.approx(torch.tensor(-1.7).sigmoid().log().item())


def test_all_depends_on_the_seed():
    one, same, other = task(1), task(1), task(2)
    assert torch.equal(one.start, same.start)
    assert not torch.equal(one.forget.features, other.forget.features)
    assert len(one.validation.sign) == 200


def test_a_negative_distance_is_refused():
    with pytest.raises(InputError, match="distance: expected"):
        forgetting_task(0, -1.0)
