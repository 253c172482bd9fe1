"""Ranks and top-k errors against sorting."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn.metrics import top_k_accuracy_score

from gradatim.core.errors import InputError
from gradatim.metrics.top_k import target_rank, top_k_error


@given(rows=st.integers(1, 8), classes=st.integers(2, 6), seed=st.integers(0, 200))
def test_ranks_equal_those_of_scipy_with_ties(rows, classes, seed):
    draw = np.random.default_rng(seed)
    logits = draw.integers(0, 4, (rows, classes)).astype(float)
    labels = draw.integers(0, classes, rows)
    expected = rankdata(-logits, axis=1, method="average")[np.arange(rows), labels]
    found = target_rank(torch.tensor(logits), torch.tensor(labels))
    assert np.array_equal(found.numpy(), expected)


def test_errors_equal_those_of_scikit_learn():
    draw = np.random.default_rng(0)
    logits, labels = draw.normal(size=(200, 9)), draw.integers(0, 9, 200)
    found = top_k_error(torch.tensor(logits), torch.tensor(labels), ks=(1, 3, 8, 9))
    for k in (1, 3, 8):
        accuracy = top_k_accuracy_score(labels, logits, k=k, labels=range(9))
        assert found[k] == pytest.approx(1 - accuracy)
    assert found[9] == 0


def test_a_constant_output_has_no_good_rank():
    assert top_k_error(torch.zeros(4, 10), torch.arange(4), ks=(1, 5, 6)) == {1: 1, 5: 1, 6: 0}


def test_bad_input_is_told():
    logits = torch.zeros(2, 3)
    with pytest.raises(InputError, match="labels: expected classes from 0 to 2, got 1 to 3"):
        target_rank(logits, torch.tensor([1, 3]))
    with pytest.raises(InputError, match=r"ks: expected a number in \[1, inf\), got 0"):
        top_k_error(logits, torch.tensor([1, 2]), ks=(0,))
    with pytest.raises(InputError, match="logits: expected at least one example, got none"):
        top_k_error(logits[:0], torch.tensor([], dtype=torch.long))
