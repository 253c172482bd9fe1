import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.difficulty.ensemble import (
    choice_probabilities,
    ensemble_difficulty,
    ensemble_error,
)


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)).double()


def test_reference_values():
    assert ensemble_difficulty(torch.ones(1, 1)).item() == 0.0
    assert ensemble_difficulty(torch.full((3, 1), 0.2)).item() == pytest.approx(0.8)


@given(st.integers(0, 1000), st.integers(1, 6))
def test_is_numpys_weighted_average(seed, models):
    p, weights = drawn(models, 7, seed=seed), drawn(models, seed=seed + 1) + 0.01
    expected = np.average(1 - p.numpy(), axis=0, weights=weights.numpy())
    np.testing.assert_allclose(ensemble_difficulty(p, weights), expected)
    torch.testing.assert_close(ensemble_difficulty(p, torch.ones(models)), ensemble_difficulty(p))
    one = torch.zeros(models)
    one[-1] = 2
    torch.testing.assert_close(ensemble_difficulty(p, one), 1 - p[-1])


def test_error_is_that_of_a_mean():
    p = drawn(5, 9)
    expected = p.numpy().std(axis=0, ddof=1) / np.sqrt(5)
    np.testing.assert_allclose(ensemble_error(p), expected)
    assert ensemble_error(p[:1]).isnan().all()


def test_choices_are_the_full_distribution_given_the_choices():
    logits, ids = 3 * drawn(6, 11), torch.tensor([7, 2, 5])
    whole = logits.softmax(dim=1)[:, ids]
    expected = whole / whole.sum(dim=1, keepdim=True)
    torch.testing.assert_close(choice_probabilities(logits, ids), expected)
    own = torch.stack([ids.roll(row % 3) for row in range(6)])
    found = choice_probabilities(logits, own)
    for row in range(6):
        torch.testing.assert_close(found[row], expected[row].roll(row % 3))


def test_choices_of_half_precision_are_worked_out_in_float32():
    logits = torch.tensor([[0.0, 1.0]], dtype=torch.bfloat16)
    assert choice_probabilities(logits, torch.tensor([0, 1])).dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ensemble_difficulty(torch.ones(3)), "probability_correct: expected shape"),
        (lambda: ensemble_difficulty(torch.ones(0, 3)), "expected at least one model"),
        (lambda: ensemble_difficulty(torch.ones(2, 3), torch.ones(3)), "weights: expected shape"),
        (lambda: ensemble_difficulty(torch.ones(2, 3), torch.zeros(2)), "weights: expected"),
        (lambda: ensemble_difficulty(torch.ones(2, 3), torch.tensor([1.0, -1])), "at least 0"),
        (lambda: choice_probabilities(torch.ones(1, 4), torch.tensor([4])), "tokens in .0, 4."),
        (lambda: choice_probabilities(torch.ones(2, 4), torch.ones(3, 1).long()), "choice_ids"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(InputError, match=message):
        call()
