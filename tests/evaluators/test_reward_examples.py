import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.evaluators.reward_examples import (
    monte_carlo_step_labels,
    outcome_and_process_examples,
    outcome_examples,
    process_examples,
)
from gradatim.objectives.token_rewards import token_reward_loss

NAN = float("nan")
# prompt, three steps of 2, 4 and 1 tokens, padding; and a short solution
SEGMENTS = torch.tensor([[-1, 0, 0, 1, 1, 1, 1, 2, -1], [-1, -1, 0, 1, -1, -1, -1, -1, -1]])
how_many = st.one_of(st.sampled_from(["all", "last"]), st.integers(1, 5))


def by_hand(segments, ratings, tokens, stop):
    """Labels and weights token by token, from ratings 1, 0, -1 and None for unrated."""
    labels, weights = [[0.0] * len(row) for row in segments], [[0.0] * len(row) for row in segments]
    for row, numbers in enumerate(segments):
        for step, rating in enumerate(ratings[row]):
            places = [t for t, number in enumerate(numbers) if number == step]
            if tokens != "all":
                places = places[-(1 if tokens == "last" else tokens) :]
            for t in places if rating is not None else []:
                labels[row][t], weights[row][t] = float(rating >= 0), 1.0
            if stop and rating == -1:
                break
    return labels, weights


@settings(deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(1, 4), max_size=5), min_size=1, max_size=4),
    tokens=how_many,
    stop=st.booleans(),
    data=st.data(),
)
def test_process_labels_equal_a_loop(sizes, tokens, stop, data):
    rows = [[-1] + [step for step, n in enumerate(row) for _ in range(n)] for row in sizes]
    segments = [row + [-1] * (max(map(len, rows)) + 1 - len(row)) for row in rows]
    steps = max(map(len, sizes))
    rating = st.sampled_from([1, 0, -1, None])
    ratings = data.draw(
        st.lists(
            st.lists(rating, min_size=steps, max_size=steps),
            min_size=len(rows),
            max_size=len(rows),
        )
    )
    numbers = torch.tensor([[NAN if r is None else r for r in row] for row in ratings])
    numbers = numbers.view(len(rows), steps)
    examples = process_examples(
        torch.tensor(segments), numbers, tokens=tokens, stop_at_first_error=stop
    )
    labels, weights = by_hand(segments, ratings, tokens, stop)
    assert examples.labels.tolist() == labels
    assert examples.weights.tolist() == weights


@pytest.mark.parametrize(
    ("labels", "scale"),
    [
        (torch.tensor([[True, False, True], [True, True, False]]), "rating"),
        (torch.tensor([[1, -1, 1], [0, 1, -1]]), "rating"),
        (torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]), "probability"),
    ],
)
def test_all_kinds_of_labels_say_the_same(labels, scale):
    examples = process_examples(SEGMENTS, labels, scale=scale, tokens="last")
    assert examples.labels.tolist() == [[0, 0, 1, 0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0, 0, 0, 0]]
    assert examples.weights.tolist() == [[0, 0, 1, 0, 0, 0, 1, 0, 0], [0, 0, 1, 1, 0, 0, 0, 0, 0]]


def test_soft_labels_are_kept():
    soft = torch.tensor([[0.75, 0.0, 0.5], [0.25, NAN, NAN]])
    examples = process_examples(SEGMENTS, soft, scale="probability", tokens="last")
    assert examples.labels[0, [2, 6, 7]].tolist() == [0.75, 0.0, 0.0]
    assert examples.weights[0, [2, 6, 7]].tolist() == [1.0, 1.0, 0.0]
    assert examples.labels[1, 2] == 0.25
    assert examples.weights[1].sum() == 1


def test_outcomes_label_the_solution_and_nothing_else():
    examples = outcome_examples(SEGMENTS, torch.tensor([True, False]))
    assert torch.equal(examples.weights, (SEGMENTS >= 0).float())
    assert torch.equal(examples.labels[0], examples.weights[0])
    assert not examples.labels[1].any()
    last = outcome_examples(SEGMENTS, torch.tensor([0.25, NAN]), tokens=2)
    assert last.labels[0].tolist() == [0, 0, 0, 0, 0, 0, 0.25, 0.25, 0]
    assert not last.weights[1].any()


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), tokens=how_many)
def test_union_has_the_loss_of_both_kinds_of_rows(seed, tokens):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 9, generator=generator, dtype=torch.float64)
    correct = torch.tensor([0.0, 1.0, NAN])[torch.randint(3, (2,), generator=generator)]
    ratings = torch.tensor([1.0, 0.0, -1.0, NAN])[torch.randint(4, (2, 3), generator=generator)]
    union = outcome_and_process_examples(SEGMENTS, correct, ratings, tokens=tokens)
    outcome = outcome_examples(SEGMENTS, correct, tokens=tokens)
    process = process_examples(SEGMENTS, ratings, tokens=tokens)
    rows = [torch.cat(pair) for pair in zip(outcome, process, strict=True)]
    torch.testing.assert_close(
        token_reward_loss(logits, *union), token_reward_loss(logits.repeat(2, 1), *rows)
    )


def test_rows_without_steps():
    nothing = torch.full((2, 3), -1)
    for examples in (
        outcome_examples(nothing, torch.tensor([True, False])),
        process_examples(nothing, torch.zeros(2, 0)),
        outcome_examples(nothing[:, :0], torch.tensor([True, False])),
    ):
        assert examples.labels.shape == examples.weights.shape
        assert not examples.weights.any()


def test_arguments_stay_as_they_are():
    segments, labels = SEGMENTS.clone(), torch.tensor([[1.0, NAN, -1.0], [0.0, 0.0, 0.0]])
    before = labels.clone()
    process_examples(segments, labels)
    assert torch.equal(segments, SEGMENTS)
    assert torch.equal(labels.nan_to_num(7), before.nan_to_num(7))


@pytest.mark.parametrize(
    ("labels", "given", "message"),
    [
        (torch.ones(2, 2), {}, "step_labels: expected a label for each of the 3 steps, got 2"),
        (torch.ones(1, 3), {}, r"step_labels: expected shape \[2, S\]"),
        (torch.full((2, 3), 0.5), {}, "ratings 1, 0, -1 or NaN, got 0.5 at row 0, 0"),
        (-torch.ones(2, 3), {"scale": "probability"}, r"numbers in \[0, 1\] or NaN, got -1.0"),
        (torch.ones(2, 3), {"scale": "soft"}, "scale: expected one of rating, probability"),
        (torch.ones(2, 3), {"tokens": "first"}, "tokens: expected one of all, last"),
        (torch.ones(2, 3), {"tokens": 0}, "tokens: expected a number"),
    ],
)
def test_errors_of_process_labels(labels, given, message):
    with pytest.raises(InputError, match=message):
        process_examples(SEGMENTS, labels, **given)


def test_errors_of_outcomes():
    with pytest.raises(InputError, match=r"correct: expected shape \[2\]"):
        outcome_examples(SEGMENTS, torch.ones(3))
    with pytest.raises(InputError, match=r"correct: expected .* got -1.0 at row 1"):
        outcome_examples(SEGMENTS, torch.tensor([1, -1]))
    with pytest.raises(InputError, match="segments: expected integers"):
        outcome_examples(SEGMENTS.float(), torch.ones(2))


def test_a_rollout_is_called_once_for_all_prefixes():
    calls = []

    def rollout(prefixes, k):
        calls.append((list(prefixes), k))
        return torch.tensor([[len(p) > j for j in range(k)] for p in prefixes])

    hard, soft = monte_carlo_step_labels(rollout, ["", "a", "abcd"], 4)
    assert calls == [(["", "a", "abcd"], 4)]
    assert hard.tolist() == [False, True, True]
    assert soft.tolist() == [0.0, 0.25, 1.0]


def test_errors_of_rollouts():
    with pytest.raises(InputError, match=r"rollout's result: expected shape \[1, 3\]"):
        monte_carlo_step_labels(lambda p, k: torch.ones(1, 2, dtype=torch.bool), ["a"], 3)
    with pytest.raises(InputError, match="rollout's result: expected booleans"):
        monte_carlo_step_labels(lambda p, k: torch.ones(1, k), ["a"], 3)
    with pytest.raises(InputError, match="k: expected"):
        monte_carlo_step_labels(lambda p, k: torch.ones(1, k), ["a"], 0)
    assert monte_carlo_step_labels(lambda p, k: 1 / 0, [], 3).hard.shape == (0,)
