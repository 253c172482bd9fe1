import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.difficulty.label_disagreement import label_disagreement


def test_is_the_mass_on_all_other_classes():
    probabilities = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)).softmax(1)
    labels = torch.arange(9) % 4
    score = label_disagreement(probabilities, labels)
    others = probabilities.clone()
    others[torch.arange(9), labels] = 0
    torch.testing.assert_close(score, others.sum(1))


def test_ends_of_the_scale():
    score = label_disagreement(torch.eye(2)[[0, 0]], torch.tensor([0, 1]))
    assert score.tolist() == [0.0, 1.0]


def test_errors_name_the_argument():
    with pytest.raises(InputError, match=r"labels: expected shape \[2\], got \[3\]"):
        label_disagreement(torch.eye(2), torch.tensor([0, 1, 1]))
    with pytest.raises(InputError, match=r"probabilities: expected shape \[n, C\], got \[2\]"):
        label_disagreement(torch.ones(2), torch.tensor([0, 1]))
