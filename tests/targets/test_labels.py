import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.targets.labels import mix_labels

LABELS = torch.tensor([2, 0])
PREDICTIONS = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]], dtype=torch.float64)


@given(share=st.floats(0, 1))
def test_probabilities_move_from_the_label_to_the_prediction(share):
    mixed = mix_labels(LABELS, PREDICTIONS, share)
    torch.testing.assert_close(mixed.sum(1), torch.ones(2, dtype=torch.float64))
    assert mixed.dtype == torch.float64
    one_hot = functional.one_hot(LABELS, 3)
    torch.testing.assert_close(mixed - one_hot, share * (PREDICTIONS - one_hot))


def test_errors_name_the_argument():
    with pytest.raises(InputError, match="prediction_share: expected a number in"):
        mix_labels(LABELS, PREDICTIONS, -0.1)
    with pytest.raises(InputError, match=r"labels: expected shape \[2\], got \[3\]"):
        mix_labels(torch.tensor([0, 1, 2]), PREDICTIONS, 0.5)
