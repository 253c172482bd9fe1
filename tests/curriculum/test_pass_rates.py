"""Pass rates: counts by hand, several processes, and what is forgotten."""

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.curriculum.pass_rates import PassRates


def test_counts_and_the_prior():
    rates = PassRates(3, prior=(2, 1))
    assert rates.rate.tolist() == pytest.approx([2 / 3] * 3)
    rates.record(torch.tensor([1, 1, 2]), torch.tensor([True, False, True]))
    rates.record(torch.tensor([1]), torch.tensor([3]), attempts=torch.tensor([8]))
    assert rates.rate.tolist() == pytest.approx([2 / 3] * 3)  # nothing is counted yet
    rates.settle()
    assert rates.attempts.tolist() == [0, 10, 1] and rates.successes.tolist() == [0, 4, 1]
    assert rates.rate.tolist() == pytest.approx([2 / 3, 6 / 13, 3 / 4])


def test_decay_forgets_only_where_there_is_news():
    rates = PassRates(2, prior=(0, 1), decay=0.5)
    for solved in (8, 0, 0):
        rates.record(torch.tensor([0]), torch.tensor([solved]), attempts=8)
        rates.settle()
    rates.settle()
    assert rates.successes.tolist() == [2, 0] and rates.attempts.tolist() == [8 + 4 + 2, 0]


def test_two_processes_count_as_one():
    parts = [(torch.tensor([0, 2]), torch.tensor([1, 0])), (torch.tensor([2, 2]), torch.ones(2))]
    alone = PassRates(3, decay=0.5)
    for index, solved in parts * 2:
        alone.record(index, solved)
    alone.settle()
    both = [PassRates(3, decay=0.5) for _ in parts]
    for rates, (index, solved) in zip(both, parts, strict=True):
        rates.record(index, solved)
        rates.record(index, solved)
    rows = torch.cat([one for rates in both for one in rates._waiting])
    for rates in both:
        rates.settle(lambda own: rows)
        assert torch.equal(rates.rate, alone.rate)


def test_state_is_taken_up():
    rates, other = PassRates(2), PassRates(2)
    rates.record(torch.tensor([1]), torch.tensor([1]))
    rates.settle()
    other.load_state_dict(rates.state_dict())
    assert torch.equal(other.rate, rates.rate)
    with pytest.raises(InputError, match="expected a state of 3 examples, got 2"):
        PassRates(3).load_state_dict(rates.state_dict())


def record(index, successes, attempts=1):
    PassRates(2).record(torch.tensor(index), torch.tensor(successes), attempts)


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda: record([2], [1]), "positions below 2, got 2"),
     (lambda: record([-1], [1]), "positions below 2, got -1"),
     (lambda: record([0, 1], [1]), "shape"),
     (lambda: record([0, 1], [0, 3], 2), "0 to 2 at row 1, got 3"),
     (lambda: record([0], [float("nan")]), "0 to 1 at row 0"),
     (lambda: PassRates(0), "num_examples"), (lambda: PassRates(1, prior=(0, 0)), "prior"),
     (lambda: PassRates(1, decay=0), "decay")],
)  # fmt: skip
def test_wrong_arguments(call, message):
    with pytest.raises(InputError, match=message):
        call()
