import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gradatim.core.errors import InputError
from gradatim.targets.mixup import interpolate, mixup


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), alpha=st.floats(0.1, 10), keep_larger=st.booleans())
def test_every_row_lies_between_itself_and_its_partner(seed, alpha, keep_larger):
    x = torch.randn(6, 2, 3, generator=generator(seed))
    y = torch.randn(6, 4, generator=generator(seed + 1))
    mixed = mixup(x, y, alpha=alpha, keep_larger=keep_larger, generator=generator(seed))
    share = mixed.coefficient
    assert (0.5 if keep_larger else 0.0) <= share <= 1
    assert sorted(mixed.partner.tolist()) == list(range(6))
    torch.testing.assert_close(mixed.inputs, share * x + (1 - share) * x[mixed.partner])
    torch.testing.assert_close(mixed.targets[0], share * y + (1 - share) * y[mixed.partner])


def test_coefficient_has_the_beta_distribution():
    x, source = torch.zeros(1, 1), generator()
    drawn = [
        mixup(x, alpha=0.4, keep_larger=False, generator=source).coefficient for _ in range(2000)
    ]
    assert stats.kstest(drawn, stats.beta(0.4, 0.4).cdf).pvalue > 0.01


def test_alpha_zero_leaves_everything_as_it_is():
    x = torch.randn(4, 3)
    mixed = mixup(x, x, alpha=0.0)
    assert mixed.coefficient == 1
    assert torch.equal(mixed.inputs, x)
    assert torch.equal(mixed.targets[0], x)


def test_generator_decides_the_draw_and_arguments_are_not_modified():
    x = torch.randn(5, 3)
    before = x.clone()
    first, second = (mixup(x, generator=generator(3)) for _ in range(2))
    assert torch.equal(first.inputs, second.inputs)
    assert first.coefficient == second.coefficient
    assert first.targets == ()
    assert torch.equal(x, before)
    assert mixup(x, generator=generator(4)).coefficient != first.coefficient


def test_mass_of_soft_labels_is_kept():
    labels = torch.randn(5, 3).softmax(1)
    mixed = mixup(torch.zeros(5, 1), labels)
    torch.testing.assert_close(mixed.targets[0].sum(1), torch.ones(5))


def test_errors_name_the_argument():
    with pytest.raises(InputError, match=r"targets\[0\]: expected floating-point values"):
        mixup(torch.zeros(2, 1), torch.tensor([0, 1]))
    with pytest.raises(InputError, match=r"inputs has 2, targets\[0\] has 3"):
        mixup(torch.zeros(2, 1), torch.zeros(3, 1))
    with pytest.raises(InputError, match="alpha: expected a number in"):
        mixup(torch.zeros(2, 1), alpha=-1.0)
    with pytest.raises(InputError, match="images: expected floating-point values"):
        interpolate("images", torch.zeros(2, dtype=torch.uint8), torch.tensor([1, 0]), 0.5)
