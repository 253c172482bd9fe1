"""Difficulty from the stages of a boosted model, against brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gradatim.core.errors import InputError
from gradatim.difficulty.boosting_stages import residual_difficulty, stage_solved
from gradatim.difficulty.training_dynamics import el2n


@given(arrays(bool, st.tuples(st.integers(1, 6), st.integers(0, 5))))
def test_stage_solved_is_the_first_after_which_all_is_right(correct):
    found = stage_solved(torch.from_numpy(correct))
    wanted = [
        next((t for t in range(len(correct)) if correct[t:, i].all()), len(correct))
        for i in range(correct.shape[1])
    ]
    assert found.tolist() == wanted
    assert stage_solved(torch.from_numpy(correct.astype(float))).tolist() == wanted


def test_the_residuals_of_one_stage():
    y, f = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[4.0, 6.0], [0.0, 0.0]])
    assert residual_difficulty(y, f, "squared").tolist() == [5.0, 0.0]
    signs, f = torch.tensor([1.0, 1.0]), torch.tensor([3.0, -3.0])
    easy, hard = residual_difficulty(signs, f, "logistic").tolist()
    assert (easy, hard) == pytest.approx((2 / (1 + np.exp(6)), 2 / (1 + np.exp(-6))))


def test_classes_have_the_length_of_the_error_vector():
    generator = torch.Generator().manual_seed(0)
    stages = torch.randn(3, 5, 4, generator=generator)
    labels = torch.tensor([0, 1, 2, 3, 0])
    found = residual_difficulty(torch.eye(4)[labels], stages, "softmax")
    torch.testing.assert_close(found, el2n(stages.softmax(-1), labels))


def test_stages_are_averaged():
    y = torch.tensor([1.0, 3.0])
    stages = torch.tensor([[0.0, 0.0], [1.0, 0.5], [4.0, 3.0]])
    one_by_one = torch.stack([residual_difficulty(y, stage, "squared") for stage in stages])
    torch.testing.assert_close(residual_difficulty(y, stages, "squared"), one_by_one.mean(0))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: stage_solved(torch.ones(3)), "correct: expected shape"),
        (lambda: stage_solved(torch.ones(0, 3)), "at least one stage"),
        (lambda: stage_solved(torch.tensor([[1.0, 0.5]])), "got 0.5 in row 0 for example 1"),
        (lambda: stage_solved(torch.tensor([[1.0, torch.nan]])), "got nan in row 0"),
        (lambda: residual_difficulty(torch.ones(2), torch.ones(0, 2), "squared"), "one stage"),
        (lambda: residual_difficulty(torch.ones(2), torch.ones(3), "squared"), "outputs"),
        (lambda: residual_difficulty(torch.ones(2), torch.ones(2), "other"), "loss"),
    ],
)
def test_bad_arguments(call, named):
    with pytest.raises(InputError, match=named):
        call()
