"""Loaders give the plan's batches, each process its share, and go on where they stood."""

import copy
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from gradatim.core.errors import InputError
from gradatim.core.examples import TensorExamples
from gradatim.curriculum.orders import easy_to_hard
from gradatim.curriculum.pacing import Pacing
from gradatim.curriculum.rank_weights import rank_softmax
from gradatim.integrations.feedback import gather_over_processes, plan_and_feedback
from gradatim.integrations.torch_loader import CurriculumBatchSampler, CurriculumLoader
from gradatim.training import Loss, fit
from gradatim.training.batch_sequence import BatchSequence
from gradatim.training.batches import ShuffledBatches
from gradatim.training.curriculum_batches import CurriculumBatches
from gradatim.training.self_paced import SelfPaced
from gradatim.training.target_success import TargetSuccess

N = 23
DIFFICULTY = np.random.default_rng(0).normal(size=N)


def plan(**changes):
    options = {"pacing": Pacing("root", start=0.2), "seed": 3} | changes
    return CurriculumBatches(DIFFICULTY, 4, **options)


def epochs_of(loader, count):
    return [[int(i) for i in batch] for _ in range(count) for batch in loader]


def test_a_loader_equals_fit():
    seen = []

    def step(model, batch, state):
        seen.append(state.index.tolist())
        return Loss.of(model(batch["x"])[:, 0].square())

    model = torch.nn.Linear(2, 1)
    fit(model, TensorExamples(x=torch.randn(N, 2)), step, batches=plan(), epochs=3,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.0), progress_bar=False)  # fmt: skip
    assert epochs_of(CurriculumLoader(range(N), plan(), epochs=3), 3) == seen
    sampler = CurriculumBatchSampler(plan(), epochs=3)
    drawn = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        drawn += [batch.tolist() for batch in DataLoader(range(N), batch_sampler=sampler)]
    assert drawn == seen


@given(st.integers(0, 17), st.integers(0, 2))
def test_it_goes_on_after_any_batch(consumed, kind):
    changes = ({}, {"weights": lambda t: rank_softmax(0.1 + t), "pacing": None},
               {"order": easy_to_hard, "pacing": None})[kind]  # fmt: skip
    whole = epochs_of(CurriculumLoader(range(N), plan(**changes), epochs=3), 3)
    first = CurriculumLoader(range(N), plan(**changes), epochs=3)
    batches = (batch for _ in range(3) for batch in first)
    head = [next(batches).tolist() for _ in range(consumed)]
    second = CurriculumLoader(range(N), plan(**changes), epochs=3)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert head + epochs_of(second, 3) == whole


def test_workers_do_not_run_ahead():
    loader = CurriculumLoader(range(N), plan(), epochs=2, num_workers=2, prefetch_factor=3)
    batches = iter(loader)
    got = [next(batches).tolist() for _ in range(2)]
    assert loader.index.tolist() == got[-1]
    assert loader.state_dict()["consumed"] == 2
    assert loader.progress == pytest.approx(1 / 12)
    rest = CurriculumLoader(range(N), plan(), epochs=2)
    rest.load_state_dict(loader.state_dict())
    assert got + epochs_of(rest, 2) == [b.tolist() for b in BatchSequence(plan(), epochs=2)]


def test_self_paced_learns_at_the_end_of_an_epoch():
    def run(stop=None, state=None):
        paced = SelfPaced(N, 4, pacing=lambda t: 0.3, momentum=0.5, seed=1)
        loader = CurriculumLoader(range(N), paced, epochs=4)
        if state is not None:
            loader.load_state_dict(state)
        seen = []
        for _ in range(4):
            for batch in loader:
                seen.append(batch.tolist())
                paced.record(loader.index, torch.from_numpy(DIFFICULTY)[loader.index])
                if loader.consumed == stop:
                    return seen, copy.deepcopy(loader.state_dict())
        return seen, None

    whole, _ = run()
    easiest = set(np.argsort(DIFFICULTY)[:7].tolist())
    assert all(set(batch) <= easiest for batch in whole[6:])
    assert not all(set(batch) <= easiest for batch in whole[:6])
    for stop in (5, 6, 15):  # inside the first epoch, at its end, inside the third
        head, state = run(stop)
        assert head + run(state=state)[0] == whole


def test_target_success_counts_what_is_recorded():
    def run(stop=None, state=None):
        target = TargetSuccess(N, 4, weight=lambda rate: (rate < 0.5).float() + 0.01)
        loader = CurriculumLoader(range(N), target, epochs=4)
        if state is not None:
            loader.load_state_dict(state)
        seen = []
        for _ in range(4):
            for batch in loader:
                seen.append(batch.tolist())
                target.record(loader.index, batch % 2 == 0)
                if loader.consumed == stop:
                    return seen, copy.deepcopy(loader.state_dict()), target
        return seen, None, target

    whole, _, target = run()
    rate = target.rates.rate
    assert all(i % 2 for i in torch.nonzero(rate < 0.5).flatten().tolist())
    assert np.mean([i % 2 for batch in whole[12:] for i in batch]) > 0.8
    for stop in (4, 6, 15):
        head, state, _ = run(stop)
        tail, _, again = run(state=state)
        assert head + tail == whole
        assert torch.equal(again.rates.rate, rate)


@pytest.mark.parametrize("processes", [2, 3])
def test_shares_for_accelerate_make_up_each_batch(processes):
    sampler = CurriculumBatchSampler(plan(remainder="drop", order=easy_to_hard, pacing=None),
                                     epochs=1, processes=processes)  # fmt: skip
    shares = list(sampler)
    assert len(shares) == len(sampler)
    joined = [list(chain(*shares[i : i + processes])) for i in range(0, len(shares), processes)]
    assert joined == [np.argsort(DIFFICULTY)[i : i + 4].tolist() for i in range(0, 20, 4)]


def test_bad_input():
    with pytest.raises(InputError, match="shuffle: expected to be left out"):
        CurriculumLoader(range(N), plan(), epochs=1, shuffle=True)
    with pytest.raises(InputError, match=r"curriculum: expected a plan of batches.*got list"):
        CurriculumLoader(range(N), [1, 2], epochs=1)
    with pytest.raises(InputError, match="expected one of the two"):
        CurriculumLoader(range(N), plan())
    with pytest.raises(InputError, match="fewer than the 5 processes"):
        list(CurriculumBatchSampler(plan(), epochs=1, processes=5))
    with pytest.raises(InputError, match="expected a batch to have been handed out"):
        CurriculumLoader(range(N), plan(), epochs=1).index.tolist()


def test_foreign_states_are_refused():
    state = CurriculumLoader(range(N), plan(), epochs=2).state_dict()
    with pytest.raises(InputError, match="a run of 12 batches, this one has 18"):
        CurriculumLoader(range(N), plan(), epochs=3).load_state_dict(state)
    other = CurriculumBatches(DIFFICULTY[::-1].copy(), 4, pacing=Pacing(), seed=3)
    with pytest.raises(InputError, match="difficulty: expected that which the checkpoint"):
        CurriculumLoader(range(N), other, epochs=2).load_state_dict(state)
    with pytest.raises(InputError, match="another kind of curriculum"):
        CurriculumLoader(range(N), SelfPaced(N, 4), epochs=2).load_state_dict(state)


def test_plans_without_state_and_single_processes():
    shuffled = ShuffledBatches(N, 4)
    assert plan_and_feedback(shuffled) == (shuffled, None)
    loader = CurriculumLoader(range(N), shuffled, epochs=1)
    loader.load_state_dict(loader.state_dict())
    rows = torch.arange(3)
    assert gather_over_processes(rows) is rows
