"""Batches of like length: every example once, little padding, and drawn by keys alone."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from gradatim.core.errors import InputError
from gradatim.core.examples import TensorExamples
from gradatim.training import Loss, ShuffledBatches, fit
from gradatim.training.batches import Batches
from gradatim.training.length_batches import LengthGroupedBatches


def epoch_of(plan, epoch):
    return [plan.batch(epoch, position, 0.0) for position in range(len(plan))]


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 9), st.integers(1, 4),
    st.integers(0, 3),
)  # fmt: skip
def test_each_example_once_an_epoch(lengths, batch_size, window, epoch):
    plan = LengthGroupedBatches(lengths, batch_size, window=window)
    batches = epoch_of(plan, epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    sizes = sorted((len(batch) for batch in batches), reverse=True)
    assert all(size == batch_size for size in sizes[:-1]) and 1 <= sizes[-1] <= batch_size
    assert isinstance(plan, Batches)


def padding(lengths, batches):
    return sum(int((lengths[one].max() - lengths[one]).sum()) for one in batches)


def test_far_less_padding_than_shuffled_batches():
    lengths = np.random.default_rng(0).integers(10, 200, size=1000)
    shuffled = padding(lengths, epoch_of(ShuffledBatches(1000, 16), 0))
    grouped = {
        window: padding(lengths, epoch_of(LengthGroupedBatches(lengths, 16, window=window), 0))
        for window in (1, 4, 16)
    }
    assert grouped[16] < grouped[4] < grouped[1] and grouped[16] < 0.1 * shuffled
    assert 0.9 < grouped[1] / shuffled < 1.1  # a window of one batch is plain shuffling


def test_a_function_of_seed_epoch_and_position():
    lengths = np.arange(50) % 7
    plan, jumping = (LengthGroupedBatches(lengths, 4, seed=3, window=3) for _ in range(2))
    whole = {epoch: epoch_of(plan, epoch) for epoch in (0, 1, 2)}
    for epoch, position in [(2, 5), (0, 0), (2, 4), (1, 12), (0, 3)]:
        found = jumping.batch(epoch, position, 0.7)
        assert found.tolist() == whole[epoch][position].tolist()
    order = [np.concatenate(batches).tolist() for batches in whole.values()]
    other = np.concatenate(epoch_of(LengthGroupedBatches(lengths, 4, seed=4), 0)).tolist()
    assert order[0] != order[1] != order[2] and order[0] != other


def test_the_order_of_batches_does_not_follow_length():
    lengths = np.arange(640)
    plan = LengthGroupedBatches(lengths, 10, window=64)
    means = [lengths[one].mean() for one in epoch_of(plan, 0)]
    assert abs(np.corrcoef(means, range(64))[0, 1]) < 0.4


def test_fit_takes_them():
    model, seen = torch.nn.Linear(1, 1), []
    examples = TensorExamples(x=torch.arange(10.0)[:, None])

    def step(model, batch, state):
        seen.extend(state.index.tolist())
        return Loss.of(model(batch["x"]).square().mean(dim=1))

    plan = LengthGroupedBatches(torch.arange(10), 4)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    fit(model, examples, step, optimizer=optimizer, epochs=2, batches=plan)
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(([], 2), "lengths: expected shape"), (([[1]], 2), "lengths: expected shape"),
     (([1.0, float("nan")], 2), "lengths: expected finite"), (([1], 0), "batch_size: expected")],
)  # fmt: skip
def test_wrong_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        LengthGroupedBatches(*arguments)
    with pytest.raises(InputError, match="window: expected"):
        LengthGroupedBatches([1], 1, window=0)
