"""Curricula driven by what the model did: losses and successes, their lag and their state."""

import numpy as np
import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.core.examples import TensorExamples
from gradatim.curriculum.pass_rates import PassRates
from gradatim.curriculum.weights import success_band_weights
from gradatim.training import Loss, fit
from gradatim.training.self_paced import SelfPaced
from gradatim.training.target_success import TargetSuccess


def epoch_of(plan, epoch, progress=0.5):
    return np.concatenate([plan.batch(epoch, p, progress) for p in range(len(plan))])


def test_every_example_comes_once_before_anything_is_ranked():
    for length in (None, 3):
        paced = SelfPaced(50, 6, pacing=lambda t: 0.2, length=length)
        first = [paced.batches.batch(k // len(paced.batches), k % len(paced.batches), 0.0)
                 for k in range(8)]  # fmt: skip
        assert sorted(np.concatenate(first).tolist()) == list(range(50))


def test_the_smallest_losses_are_drawn_from_the_next_epoch_on():
    paced = SelfPaced(100, 10, pacing=lambda t: 0.2)
    losses = torch.from_numpy(np.random.default_rng(0).permutation(100)).double()
    epoch_of(paced.batches, 0)
    paced.record(torch.arange(100), losses)
    early = epoch_of(paced.batches, 1)
    assert len(set(early.tolist())) <= 20
    paced.refresh()
    assert set(epoch_of(paced.batches, 1).tolist()) == set(early.tolist())  # the lag
    assert losses[epoch_of(paced.batches, 2)].max() < 20
    hard = SelfPaced(100, 10, pacing=lambda t: 0.2, hardest=True)
    hard.record(torch.arange(100), losses)
    hard.refresh()
    assert losses[epoch_of(hard.batches, 2)].min() >= 80


def test_losses_are_smoothed_and_those_not_seen_come_last():
    paced = SelfPaced(4, 2, momentum=0.75)
    paced.record(torch.tensor([0, 2]), torch.tensor([4.0, 8.0]))
    paced.record(torch.tensor([0]), torch.tensor([0.0]))
    assert paced.memory.values.tolist() == [3, 0, 8, 0]
    paced.record(torch.tensor([3]), torch.tensor([1.0]))
    paced.refresh()
    assert set(epoch_of(paced.batches, 3, progress=0.0).tolist()) == {0, 3}
    untold = SelfPaced(4, 2)
    untold.refresh()  # with nothing recorded, nothing changes
    assert untold.batches.state_dict()["next"] is None


def test_what_is_learned_early_is_trained_on_early():
    # half of the labels are noise: they keep large losses and wait
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 5, generator=generator)
    noise = torch.arange(200) < 100
    y = torch.where(noise, 10 * torch.randn(200, generator=generator), x.sum(dim=1))
    model = torch.nn.Linear(5, 1)
    paced = SelfPaced(200, 20, pacing=lambda t: 0.4, momentum=0.5)
    drawn = []

    def step(model, batch, state):
        losses = (model(batch["x"])[:, 0] - batch["y"]).square()
        paced.record(state.index, losses)
        drawn.append(noise[state.index].double().mean().item())
        return Loss.of(losses)

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    fit(model, TensorExamples(x=x, y=y), step, optimizer=optimizer, epochs=8,
        batches=paced.batches, callbacks=[paced])  # fmt: skip
    assert np.mean(drawn[:10]) == pytest.approx(0.5, abs=0.01) and np.mean(drawn[-10:]) < 0.2


def test_target_success_keeps_what_is_solved_sometimes():
    target = TargetSuccess(4, 8, weight=success_band_weights, seed=1)
    assert set(epoch_of(target.batches, 0).tolist()) <= {0, 1, 2, 3}
    target.record(torch.arange(4).repeat(2), torch.tensor([0, 5, 12, 20] * 2), attempts=20)
    target.refresh()
    assert len(set(epoch_of(target.batches, 0).tolist())) > 2  # the lag
    drawn = np.concatenate([epoch_of(target.batches, e) for e in range(1, 9)])
    assert set(drawn.tolist()) == {1, 2}
    assert target.rates.rate.tolist() == pytest.approx([1 / 42, 11 / 42, 25 / 42, 41 / 42])


def test_by_default_the_others_are_tried_again_now_and_then():
    target = TargetSuccess(2, 1000)
    target.record(torch.tensor([0, 1]), torch.tensor([50, 100]), attempts=100)
    target.refresh()
    share = np.mean(epoch_of(target.batches, 1) == 1)
    assert share == pytest.approx(0.05 / 1.05, abs=0.02)


def test_all_too_hard_draws_all_alike():
    target = TargetSuccess(3, 30, weight=success_band_weights)
    target.record(torch.arange(3), torch.zeros(3), attempts=100)
    target.refresh()
    assert set(epoch_of(target.batches, 1).tolist()) == {0, 1, 2}


def test_wrong_arguments():
    with pytest.raises(InputError, match="momentum: expected"):
        SelfPaced(4, 2, momentum=1.0)
    with pytest.raises(InputError, match="batch_size: expected"):
        SelfPaced(4, 5)
    with pytest.raises(InputError, match="num_examples: expected"):
        TargetSuccess(0, 5)
    with pytest.raises(InputError, match="rates: expected 4 examples, got 3"):
        TargetSuccess(4, 2, rates=PassRates(3))
