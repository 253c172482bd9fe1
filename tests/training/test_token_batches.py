"""Batches by a budget of tokens, and budgets by what memory allows."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.core.examples import TensorExamples
from gradatim.training.fit import fit
from gradatim.training.step import Loss
from gradatim.training.token_batches import TokenBatches, fitting_token_budget, halving

FULL = "CUDA out of memory."


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=50),
    st.integers(64, 400),
    st.sampled_from([1, 4, 16]),
    st.integers(0, 3),
)
def test_each_once_within_the_budget_and_as_many_batches_in_every_epoch(
    lengths, tokens, rounding, epoch
):
    plan = TokenBatches(lengths, tokens, rounding=rounding, seed=7)
    batches = [plan.batch(epoch, place, 0.0) for place in range(len(plan))]
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    sizes = np.asarray(lengths)
    assert all(len(rows) * sizes[rows].max() <= tokens for rows in batches)
    again = TokenBatches(lengths, tokens, rounding=rounding, seed=7)
    for place in reversed(range(len(again))):  # in whatever order they are asked for
        assert again.batch(epoch, place, 0.5).tolist() == batches[place].tolist()


def test_epochs_differ_and_rows_are_limited():
    plan = TokenBatches([5] * 40, 1000, most_rows=8)
    first, second = ([plan.batch(e, p, 0.0).tolist() for p in range(5)] for e in (0, 1))
    assert len(plan) == 5 and first != second and {len(rows) for rows in first} == {8}


@given(
    st.lists(st.integers(1, 60), min_size=3, max_size=50), st.integers(384, 900), st.integers(1, 3)
)
def test_no_batch_has_fewer_rows_than_there_are_processes(lengths, tokens, least):
    plan = TokenBatches(lengths, tokens, least_rows=least)
    batches = [plan.batch(1, place, 0.0) for place in range(len(plan))]
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert min(map(len, batches)) >= least
    assert all(len(rows) * np.asarray(lengths)[rows].max() <= tokens for rows in batches)


def test_padding_is_small():
    lengths = np.random.default_rng(0).integers(10, 1000, 2000)
    plan = TokenBatches(lengths, 8192)
    padded = sum(
        len(rows) * lengths[rows].max() for rows in (plan.batch(0, p, 0) for p in range(len(plan)))
    )
    assert padded < 1.05 * lengths.sum()


def test_bad_input_is_told():
    with pytest.raises(InputError, match=r"at least the 112 that sequence 1 takes \(100 tokens"):
        TokenBatches([5, 100], 99)
    with pytest.raises(InputError, match="lengths"):
        TokenBatches([], 99)
    with pytest.raises(InputError, match="rounding"):
        TokenBatches([5], 99, rounding=0)
    with pytest.raises(InputError, match="least_rows: with 2 rows a batch expected tokens of at l"):
        TokenBatches([16, 16, 16], 63, least_rows=2)
    with pytest.raises(InputError, match="least_rows"):
        TokenBatches([5], 99, least_rows=2)


def needs(limit, told):
    def run(tokens):
        told.append(tokens)
        if tokens > limit:
            raise torch.OutOfMemoryError(FULL)
        return tokens

    return run


def test_halving_stops_at_what_fits():
    told = []
    assert halving(needs(100, told), 1000) == 62 and told == [1000, 500, 250, 125, 62]
    with pytest.raises(InputError, match="even for a budget of 1"):
        halving(needs(0, []), 4)
    with pytest.raises(ZeroDivisionError):
        halving(lambda tokens: tokens // 0, 4)


class Hungry(torch.nn.Linear):
    """Has memory for so many numbers at once."""

    most = 200

    def forward(self, x):
        if x.numel() > self.most:
            raise torch.OutOfMemoryError(FULL)
        return super().forward(x)


def step(model, batch, state):
    return Loss.of(model(batch["x"]).sum((1, 2)))


def test_the_budget_that_fits_leaves_the_model_as_it_was():
    model = Hungry(2, 1).eval()
    before = [weight.clone() for weight in model.parameters()]
    examples = TensorExamples(x=torch.ones(40, 10, 2))
    found = fitting_token_budget(model, examples, step, [10] * 40, start=1024, rounding=1)
    assert found == 64  # 6 rows of 10 tokens of 2 numbers; with 128 tokens 12 rows are too much
    assert not model.training
    for weight, old in zip(model.parameters(), before, strict=True):
        assert torch.equal(weight, old) and weight.grad is None


def test_fit_takes_the_plan_and_its_means_are_right():
    """One epoch of plain SGD on a mean over tokens is the same however the batches are cut."""
    lengths = [1, 2, 3, 4]
    data = TensorExamples(x=torch.arange(4.0)[:, None], n=torch.tensor(lengths).float())

    def mean_over_tokens(model, batch, state):
        return Loss((model(batch["x"])[:, 0] * batch["n"]).sum(), batch["n"].sum())

    ends = []
    for tokens in (4, 6, 100):
        torch.manual_seed(0)
        model = torch.nn.Linear(1, 1)
        plan = TokenBatches(lengths, tokens, rounding=1)
        sgd = torch.optim.SGD(model.parameters(), 0.1)
        fit(model, data, mean_over_tokens, optimizer=sgd, batches=plan, epochs=1,
            accumulate=len(plan), progress_bar=False)  # fmt: skip
        ends.append(torch.cat([weight.detach().flatten() for weight in model.parameters()]))
    torch.testing.assert_close(ends[0], ends[2])
    torch.testing.assert_close(ends[1], ends[2])
