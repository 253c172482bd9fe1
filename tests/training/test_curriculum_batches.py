"""Batches by difficulty: what each way promises, and the same bits after a kill."""

import multiprocessing
import signal
from functools import partial

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from scipy import stats

from gradatim.core.errors import InputError
from gradatim.curriculum.draws import pool_size
from gradatim.curriculum.orders import easy_to_hard, hard_to_easy, random_order
from gradatim.curriculum.pacing import Pacing
from gradatim.curriculum.practice_orders import blocked
from gradatim.curriculum.rank_weights import RankBins, easiest, rank_softmax
from gradatim.training.batches import Batches
from gradatim.training.curriculum_batches import CurriculumBatches
from gradatim.training.loading import Loader
from tests.training import curriculum_scenario as scenario

FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["tests.training.curriculum_scenario"])
names = pytest.mark.parametrize("name", scenario.NAMES)


def epoch_of(plan, epoch, total=1):
    """The batches of one of several epochs."""
    count = len(plan) * total
    return [plan.batch(epoch, p, (epoch * len(plan) + p) / count) for p in range(len(plan))]


@pytest.mark.parametrize("stop_at", [1, 4, 9, 17])
@names
def test_interrupted_and_run_again_it_ends_with_the_same_bits(tmp_path, name, stop_at):
    with pytest.raises(KeyboardInterrupt):
        scenario.train(name, tmp_path, scenario.Interrupted(stop_at))
    assert scenario.train(name, tmp_path) == scenario.train(name, None)


def test_killed_and_run_again_it_ends_with_the_same_bits(tmp_path):
    for attempt in (14, 0):
        process = FORK.Process(target=scenario.run_into, args=("self-paced", tmp_path, attempt))
        process.start()
        process.join()
        assert process.exitcode == (-signal.SIGKILL if attempt else 0)
    assert (tmp_path / "digest.txt").read_text() == scenario.train("self-paced", None)


@names
def test_workers_that_prefetch_change_nothing(name):
    assert scenario.train(name, None, workers=2) == scenario.train(name, None)


@names
def test_they_are_plans_of_batches_and_different_seeds_differ(name):
    plan, _ = scenario.make(name)
    assert isinstance(plan, Batches)
    again, _ = scenario.make(name)
    whole = [epoch_of(plan, e, 4) for e in range(4)]
    jumped = [epoch_of(again, e, 4) for e in (2, 0, 3)]
    for e, batches in zip((2, 0, 3), jumped, strict=True):
        assert all((a == b).all() for a, b in zip(batches, whole[e], strict=True))
    flat = [np.concatenate(batches).tolist() for batches in whole]
    assert flat[1] != flat[2]


@given(
    st.integers(2, 60), st.integers(1, 9), st.integers(0, 3), st.integers(0, 3),
    st.sampled_from(["order", "pacing", "weights"]),
)  # fmt: skip
def test_each_example_once_an_epoch(n, batch_size, seed, epoch, way):
    batch_size = min(batch_size, n)
    difficulty = np.random.default_rng(seed).integers(0, 5, n)
    options = {
        "order": {"order": easy_to_hard},
        "pacing": {"pacing": Pacing(), "replacement": False, "epochs": 2},
        "weights": {"weights": lambda t: rank_softmax(0.1 + t), "replacement": False, "epochs": 4},
    }[way]
    for remainder in ("keep", "drop", "merge"):
        plan = CurriculumBatches(difficulty, batch_size, seed=seed, remainder=remainder, **options)
        batches = epoch_of(plan, epoch)
        found = np.concatenate(batches).tolist()
        assert len(found) == len(set(found))
        left_out = n - len(found)
        assert left_out == (n % batch_size if remainder == "drop" else 0)
        assert all(len(batch) == batch_size for batch in batches[:-1])
        assert batches[0].dtype == np.int64


def test_pacing_draws_from_the_easiest_share_only():
    n, pacing = 500, Pacing("linear", start=0.1, end=0.8)
    difficulty = np.random.default_rng(0).permutation(n)
    plan = CurriculumBatches(difficulty, 20, pacing=pacing, length=40)
    assert len(plan) == 40
    reached = []
    for p in range(40):
        batch = plan.batch(0, p, p / 40)
        assert len(set(batch.tolist())) == 20
        assert difficulty[batch].max() < pool_size(pacing(p / 40), n)
        reached.append(difficulty[batch].max() / pool_size(pacing(p / 40), n))
    assert np.mean(reached) > 0.9  # from all of the share


def test_weights_may_move_at_every_step():
    levels = np.repeat([1, 2, 3], 40)
    edges = [0, 1 / 3, 2 / 3, 1]
    plan = CurriculumBatches(
        levels, 120, weights=lambda t: RankBins(edges, [1 - t, t / 2, t / 2]), length=100
    )
    for t, expected in ((0.0, [1, 0, 0]), (0.5, [0.5, 0.25, 0.25]), (1.0, [0, 0.5, 0.5])):
        drawn = np.concatenate([plan.batch(0, p, t) for p in range(100)])
        counts = np.bincount(levels[drawn], minlength=4)[1:]
        wanted = np.array(expected) * len(drawn)
        assert (counts[wanted == 0] == 0).all()
        if (wanted > 0).sum() > 1:
            assert stats.chisquare(counts[wanted > 0], wanted[wanted > 0]).pvalue > 1e-3


def test_orders_reshuffle_ties_every_epoch_and_keep_the_difficulty():
    difficulty = np.repeat([2, 0, 1], 30)
    plan = CurriculumBatches(difficulty, 9, order=easy_to_hard, seed=4)
    epochs = [np.concatenate(epoch_of(plan, e)) for e in range(2)]
    for order in epochs:
        assert (np.diff(difficulty[order]) >= 0).all()
    assert (epochs[0] != epochs[1]).any()
    fixed = CurriculumBatches(difficulty, 9, order=np.arange(90)[::-1])
    assert np.concatenate(epoch_of(fixed, 5)).tolist() == list(range(89, -1, -1))
    group = np.arange(90) % 3
    blocks = CurriculumBatches(difficulty, 30, order=partial(blocked, group))
    assert [set(group[batch].tolist()) for batch in epoch_of(blocks, 0)] == [{0}, {1}, {2}]
    for order in (hard_to_easy, lambda d, seed: random_order(len(d), seed=seed)):
        plan = CurriculumBatches(difficulty, 30, order=order)
        assert sorted(np.concatenate(epoch_of(plan, 0)).tolist()) == list(range(90))


def test_new_difficulty_holds_from_the_next_epoch_on():
    easy_first, hard_first = np.arange(20.0), -np.arange(20.0)
    for way in ({"order": easy_to_hard}, {"pacing": lambda t: 0.1},
                {"pacing": lambda t: 0.1, "replacement": False, "epochs": 1}):  # fmt: skip
        plan = CurriculumBatches(easy_first, 2, **way)
        assert sorted(plan.batch(0, 0, 0.0)) == [0, 1]
        plan.set_difficulty(hard_first)
        assert plan.batch(0, 1, 0.0).max() <= 3
        assert sorted(plan.batch(1, 0, 0.0)) == [18, 19]


def test_state_is_taken_up_in_the_middle_of_an_epoch():
    def new():
        return CurriculumBatches(np.arange(20.0), 2, pacing=lambda t: 0.2)

    plan, resumed, untouched = new(), new(), new()
    plan.batch(0, 0, 0.0)
    plan.set_difficulty(-np.arange(20.0))
    plan.batch(1, 0, 0.0)
    plan.set_difficulty(np.arange(20) % 7)
    resumed.load_state_dict(plan.state_dict())
    for epoch in (1, 2):
        for p in range(3):
            assert (plan.batch(epoch, p, 0.0) == resumed.batch(epoch, p, 0.0)).all()
    assert untouched.state_dict()["difficulty"] is None
    with pytest.raises(InputError, match="expected that which the checkpoint was made with"):
        CurriculumBatches(-np.arange(20.0), 2, pacing=Pacing()).load_state_dict(
            untouched.state_dict()
        )


def test_processes_share_each_batch():
    data = [{"x": torch.tensor(i)} for i in range(30)]

    class Rows:
        def __len__(self):
            return 30

        def __getitem__(self, rows):
            return {"x": torch.stack([data[i]["x"] for i in rows])}

    def shares(world):
        plans = [CurriculumBatches(np.arange(30), 8, pacing=Pacing(), seed=1) for _ in range(world)]
        loaders = [
            Loader(Rows(), plan, collate=None, workers=0, rank=rank, world=world,
                   device=torch.device("cpu"))
            for rank, plan in enumerate(plans)
        ]  # fmt: skip
        return [
            np.concatenate([index.numpy() for index, _ in parts])
            for parts in zip(*[one.epoch(0, 0, lambda e, p: p / 4) for one in loaders], strict=True)
        ]

    assert all((a == b).all() for a, b in zip(shares(1), shares(3), strict=True))


def test_draws_keep_four_bytes_an_example():
    plan = CurriculumBatches(np.random.default_rng(0).random(10_000), 8, pacing=Pacing())
    arrays = [value for value in vars(plan).values() if isinstance(value, np.ndarray)]
    assert sum(array.nbytes for array in arrays) == 4 * 10_000


D = [3.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda: CurriculumBatches(D, 2), "expected one of the three, got none"),
     (lambda: CurriculumBatches(D, 2, pacing=Pacing(), order=easy_to_hard), "got pacing and order"),
     (lambda: CurriculumBatches(D, 4, pacing=Pacing()), "batch_size: expected"),
     (lambda: CurriculumBatches([], 1, pacing=Pacing()), "difficulty: expected at least one"),
     (lambda: CurriculumBatches([1, float("nan")], 1, pacing=Pacing()), "difficulty: expected fin"),
     (lambda: CurriculumBatches(D, 1, pacing=Pacing(), replacement=False), "epochs: expected toge"),
     (lambda: CurriculumBatches(D, 1, pacing=Pacing(), epochs=3), "epochs: expected together"),
     (lambda: CurriculumBatches(D, 1, order=easy_to_hard, length=3), "length: expected None"),
     (lambda: CurriculumBatches(D, 1, pacing=Pacing(), length=0), "length: expected"),
     (lambda: CurriculumBatches(D, 1, pacing=Pacing(), remainder="pad"), "remainder: expected"),
     (lambda: CurriculumBatches(D, 1, order=[0, 1, 1]).batch(0, 0, 0), "order: expected each of"),
     (lambda: CurriculumBatches(D, 1, order=[0, 1]).batch(0, 0, 0), "order: expected each of"),
     (lambda: CurriculumBatches(D, 1, order=[0, 1, 3]).batch(0, 0, 0), "order: expected each of"),
     (lambda: CurriculumBatches(D, 1, pacing=lambda t: 2.0).batch(0, 0, 0), r"pacing\(progress\)"),
     (lambda: CurriculumBatches(D, 1, weights=lambda t: easiest(0)).batch(0, 0, 0), "share: exp"),
     (lambda: CurriculumBatches(D, 1, pacing=Pacing()).set_difficulty([1, 2]), "expected 3 numb")],
)  # fmt: skip
def test_wrong_arguments(call, message):
    with pytest.raises(InputError, match=message):
        call()
