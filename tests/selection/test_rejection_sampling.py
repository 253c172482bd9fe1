import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.curriculum.response_budget import expected_trials, response_targets
from gradatim.selection.match_size import match_size, match_sizes, match_trials
from gradatim.selection.rejection_sampling import RejectionSet, rejection_sample


class Coin:
    """A model that passes question i with probability p_i, and never says the same twice."""

    def __init__(self, p, seed=0, distinct=10**9):
        self.p, self.seed, self.distinct, self.asked = p, seed, distinct, []

    def reseed(self, call):
        self.random = np.random.default_rng([self.seed, call])

    def __call__(self, prompts, n):
        self.asked.append((len(prompts), n))
        return [
            [
                (bool(self.random.random() < self.p[i]), int(self.random.integers(self.distinct)))
                for _ in range(n)
            ]
            for i in prompts
        ]


def verify(prompt, response):
    return response[0]


def run(p, targets, **options):
    return rejection_sample(Coin(p), verify, range(len(p)), targets, **options)


def test_uniform_targets_are_met_wherever_anything_passes():
    p = np.array([0.9, 0.4, 0.05, 0.0])
    found = run(p, response_targets(1 - p, "uniform", 12), max_trials=2048)
    assert (found.counts[:3] >= 12).all() and found.counts[3] == 0
    assert found.n_trials[3] == 2048
    assert len(found.chosen()) == 36


def test_the_cost_is_near_that_of_the_negative_binomial():
    p = np.repeat([0.9, 0.5, 0.1], 200)
    found = run(p, np.full(600, 8))
    cost = expected_trials([8] * 600, p).reshape(3, -1).sum(axis=1)
    spent = found.n_trials.reshape(3, -1).sum(axis=1)
    assert (cost <= spent * 1.06).all() and (spent < 1.12 * cost).all()
    assert found.calls < 4 * found.n_trials.sum() / 1024


def test_vanilla_gives_equal_trials_and_keeps_in_proportion_of_the_pass_rate():
    p = np.repeat([0.8, 0.2], 300)
    found = run(p, response_targets(1 - p, "vanilla", 20), max_trials=20)
    assert (found.n_trials == 20).all()
    kept = found.counts.reshape(2, -1).mean(axis=1)
    assert kept == pytest.approx([16, 4], rel=0.05)
    assert found.n_correct.tolist() == found.counts.tolist()


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 6)), min_size=1, max_size=12),
    st.integers(1, 40),
    st.integers(1, 20),
    st.one_of(st.none(), st.integers(0, 200)),
)
def test_caps_and_budgets_are_respected_and_only_right_responses_kept(rows, cap, batch, budget):
    p = np.array([row[0] for row in rows])
    targets = np.array([row[1] for row in rows])
    coin = Coin(p)
    found = rejection_sample(
        coin, verify, range(len(p)), targets, max_trials=cap, batch=batch, trial_budget=budget
    )
    assert (found.n_trials <= cap).all() and found.n_trials.sum() <= (budget or 10**9) * (
        budget != 0
    )
    assert all(prompts * n <= batch for prompts, n in coin.asked)
    assert all(one.response[0] for one in found.kept)
    assert (found.n_trials[targets == 0] == 0).all()
    assert (found.counts <= found.n_correct).all() and (found.n_correct <= found.n_trials).all()
    done = (found.counts >= targets) | (found.n_trials == cap)
    assert done.all() or found.n_trials.sum() == budget
    trials = [(one.question, one.trial) for one in found.kept]
    assert len(set(trials)) == len(trials)
    assert all(trial < found.n_trials[question] for question, trial in trials)
    chosen = np.bincount([one.question for one in found.chosen(1)], minlength=len(p))
    assert (chosen == np.minimum(found.counts, targets)).all()


def test_a_resumed_run_gives_what_an_uninterrupted_one_gives():
    p, targets = np.linspace(0.05, 0.9, 30), np.full(30, 6)
    calls = []
    whole = run(p, targets, batch=32, after_call=calls.append)
    assert whole.calls == len(calls) > 10
    for stop in (0, 1, 7, len(calls)):
        state = RejectionSet.begin(targets, calls[:stop])
        before = (state.n_trials.copy(), len(state.kept))
        again = run(p, targets, batch=32, state=state)
        assert again.kept == whole.kept and (again.n_trials == whole.n_trials).all()
        assert (again.n_correct == whole.n_correct).all() and again.calls == whole.calls
        assert (state.n_trials == before[0]).all() and len(state.kept) == before[1]


def test_equal_responses_are_kept_and_counted_once():
    p = [1.0]
    few = rejection_sample(Coin(p, distinct=3), verify, [0], [5], max_trials=64)
    assert few.counts.tolist() == [3] and few.n_trials.tolist() == [64]
    assert few.n_correct.tolist() == [64]
    again = rejection_sample(
        Coin(p, distinct=3), verify, [0], [5], max_trials=64, deduplicate=False
    )
    assert again.counts[0] >= 5 and again.n_trials[0] < 16
    lists = rejection_sample(
        lambda _, n: [[["a", {"b": 1}]] * n], lambda *_: 1, [0], [2], max_trials=4
    )
    assert lists.counts.tolist() == [1]


def test_hopeless_questions_are_given_up():
    found = run(np.array([0.0, 0.5]), [4, 4], lowest_pass_rate=0.05)
    assert found.n_trials[0] < 200 and found.counts[1] >= 4


def test_surplus_is_chosen_from_at_random():
    found = run(np.ones(1), [4], batch=64)
    found.targets[:] = 2
    picks = {tuple(one.trial for one in found.chosen(seed)) for seed in range(30)}
    assert len(picks) > 3 and found.chosen(3) == found.chosen(3)


def test_prefixes_are_earlier_stops_of_the_same_run():
    p = np.array([0.9, 0.5, 0.2, 0.05])
    found = run(p, [20] * 4, max_trials=100)
    total = int(found.n_trials.sum())
    for trials in (0, 1, 10, 40, total - 1, total):
        part = match_trials(found, trials, seed=1)
        assert part.n_trials.sum() == trials and (part.n_trials <= found.n_trials).all()
        assert all(one.trial < part.n_trials[one.question] for one in part.kept)
        assert set(part.kept) <= set(found.kept)
        open_ = part.n_trials < found.n_trials
        if open_.any():
            low = part.n_trials[open_]
            assert low.max() - low.min() <= 1 and (part.n_trials[~open_] <= low.max()).all()
    assert match_trials(found, total).kept == found.kept
    with pytest.raises(InputError, match="trials: expected a number"):
        match_trials(found, total + 1)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(0, 300))
def test_matched_sizes(sizes, total):
    if sum(sizes) < total:
        with pytest.raises(InputError, match="total: expected at most"):
            match_size(sizes, total)
        return
    rows = match_size(sizes, total)
    reached = sum(np.array(sizes)[rows])
    assert total - max(sizes) < reached <= total and len(set(rows.tolist())) == len(rows)


def test_arms_of_one_size():
    parts = match_sizes({"a": np.ones(50), "b": np.ones(20)}, seed=4)
    assert {name: len(rows) for name, rows in parts.items()} == {"a": 20, "b": 20}
    assert match_sizes({"a": np.ones(50)}, 10, seed=1)["a"].tolist() != list(range(10))
    small, large = (match_size([1] * 50, total, seed=2) for total in (10, 30))
    assert set(small) <= set(large)
    with pytest.raises(InputError, match="b: total: expected at most 20"):
        match_sizes({"a": np.ones(50), "b": np.ones(20)}, 30)
    with pytest.raises(InputError, match="sizes: expected numbers above 0, got 0 at row 1"):
        match_size([1, 0], 1)


@pytest.mark.parametrize(
    ("generate", "check", "options", "told"),
    [
        (lambda _, n: [[1] * n] * 3, verify, {}, "generate: expected responses to 2 prompts"),
        (lambda _, n: [[1], []], lambda *_: True, {}, "expected 1 to 2 responses .* got 0 to"),
        (lambda _, n: [[1] * 9] * 2, lambda *_: True, {}, "got 9 to question 0"),
        (lambda _, n: [[1] * n] * 2, lambda *_: 0.5, {}, "verify: expected true or false, got 0.5"),
        (lambda _, n: [[1] * n] * 2, lambda *_: None, {}, "verify: expected true or false"),
        (Coin([1, 1]), verify, {"max_trials": 0}, "max_trials"),
        (Coin([1, 1]), verify, {"batch": 0}, "batch"),
        (Coin([1, 1]), verify, {"trial_budget": -1}, "trial_budget"),
        (Coin([1, 1]), verify, {"state": RejectionSet.begin([2, 3])}, "state: expected one of the"),
    ],
)
def test_bad_input(generate, check, options, told):
    with pytest.raises(InputError, match=told):
        rejection_sample(generate, check, [0, 1], [2, 2], **options)


@pytest.mark.parametrize("targets", [[1.5, 2], [-1, 2], [[1, 2]]])
def test_targets_must_be_whole(targets):
    with pytest.raises(InputError, match="targets: expected whole numbers from 0"):
        rejection_sample(Coin([1, 1]), verify, [0, 1], targets)


def test_lengths_must_agree():
    with pytest.raises(InputError, match="prompts has 1, targets has 2"):
        rejection_sample(Coin([1]), verify, [0], [1, 2])
