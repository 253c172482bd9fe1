import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.difficulty.top_two_margin import top_two_margin


@given(st.integers(1, 20), st.integers(2, 6), st.integers(0, 99))
def test_it_is_that_of_sorted_probabilities(n, classes, seed):
    p = np.random.default_rng(seed).dirichlet(np.ones(classes), n)
    ordered = np.sort(p, axis=1)
    got = top_two_margin(torch.from_numpy(p)).numpy()
    np.testing.assert_allclose(got, 1 - ordered[:, -1] + ordered[:, -2], atol=1e-15)
    assert (got >= 0).all() and (got <= 1).all()


def test_extremes_and_bad_input():
    p = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    assert top_two_margin(p).tolist() == [0.0, 1.0]
    with pytest.raises(InputError, match="probabilities: expected shape"):
        top_two_margin(p[0])
    with pytest.raises(InputError, match="at least 2 classes, got 1"):
        top_two_margin(p[:, :1])
