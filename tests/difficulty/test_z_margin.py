"""The z-margin: higher is harder, scale does not matter, and the extremes."""

import math

import pytest
import torch
from scipy.stats import zscore

from gradatim.core.errors import InputError
from gradatim.difficulty.z_margin import z_margin
from gradatim.objectives.spherical import sums_of_outputs, z_score


def test_it_equals_the_z_score_of_scipy_and_that_of_the_sums():
    logits = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    expected = 2.0 - torch.tensor(zscore(logits.numpy(), axis=1)).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(z_margin(logits, labels, b=2.0), expected)
    torch.testing.assert_close(2.0 - z_score(*sums_of_outputs(logits, labels), 5), expected)
    torch.testing.assert_close(z_margin(3 * logits + 8, labels, b=2.0), expected)


def test_the_hardest_label_is_the_lowest_output():
    logits = torch.tensor([[5.0, 3.0, 1.0]]).expand(3, 3)
    margins = z_margin(logits, torch.arange(3))
    assert margins[0] < margins[1] < margins[2]
    alone = z_margin(-torch.eye(10)[:1], torch.tensor([0]))
    assert float(alone) == pytest.approx(math.sqrt(9), rel=1e-5)


def test_bad_input_is_told():
    with pytest.raises(InputError, match="num_classes: expected at least 2, got 1"):
        z_margin(torch.zeros(2, 1), torch.zeros(2, dtype=torch.long))
