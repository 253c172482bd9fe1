import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gradatim.core.errors import InputError
from gradatim.targets.label_noise import inject_label_noise


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


LABELS = torch.arange(20_000) % 10


def test_symmetric_noise_that_may_return_the_true_class_flips_nine_tenths():
    noisy = inject_label_noise(LABELS, 0.4, generator=generator())
    flipped = (noisy != LABELS).double().mean().item()
    assert flipped == pytest.approx(0.4 * 0.9, abs=0.01)


def test_symmetric_noise_over_the_other_classes_flips_exactly_the_rate():
    noisy = inject_label_noise(LABELS, 0.4, include_true=False, generator=generator())
    assert (noisy != LABELS).sum() == 8000
    shift = (noisy - LABELS)[noisy != LABELS] % 10
    assert stats.chisquare(torch.bincount(shift, minlength=10)[1:].numpy()).pvalue > 0.001


def test_pairs_move_to_the_next_class():
    noisy = inject_label_noise(LABELS, 0.4, kind="pairs", generator=generator())
    changed = noisy != LABELS
    assert changed.sum() == 8000
    assert torch.equal(noisy[changed], (LABELS[changed] + 1) % 10)


def test_a_mapping_changes_only_the_classes_it_names_and_never_twice():
    noisy = inject_label_noise(LABELS, 1.0, kind={3: 5, 5: 3}, generator=generator())
    assert (noisy[LABELS == 3] == 5).all()
    assert (noisy[LABELS == 5] == 3).all()
    others = (LABELS != 3) & (LABELS != 5)
    assert torch.equal(noisy[others], LABELS[others])


def test_a_matrix_gives_the_distribution_of_the_new_label():
    matrix = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])
    labels = torch.arange(30_000) % 3
    noisy = inject_label_noise(labels, 1.0, kind=matrix, generator=generator())
    for source in range(3):
        shares = torch.bincount(noisy[labels == source], minlength=3) / 10_000
        torch.testing.assert_close(shares, matrix[source], atol=0.02, rtol=0)


@settings(deadline=None)
@given(
    size=st.integers(0, 60),
    rate=st.floats(0, 1),
    kind=st.sampled_from(["symmetric", "pairs"]),
    seed=st.integers(0, 1000),
)
def test_at_most_the_rate_is_changed_and_classes_stay_in_range(size, rate, kind, seed):
    labels = torch.randint(4, (size,), generator=generator(seed))
    before = labels.clone()
    draws = [
        inject_label_noise(labels, rate, kind=kind, num_classes=4, generator=generator(seed))
        for _ in range(2)
    ]
    assert torch.equal(*draws)
    assert torch.equal(labels, before)
    assert (draws[0] != labels).sum() <= round(rate * size)
    assert ((draws[0] >= 0) & (draws[0] < 4)).all()


def test_errors_name_the_argument():
    labels = torch.tensor([0, 1, 2])
    with pytest.raises(InputError, match=r"rate: expected a number in \[0, 1\], got 40"):
        inject_label_noise(labels, 40)
    with pytest.raises(InputError, match="labels: expected classes from 0 to 1, got 0 to 2"):
        inject_label_noise(labels, 0.1, num_classes=2)
    with pytest.raises(InputError, match="kind: expected one of symmetric, pairs"):
        inject_label_noise(labels, 0.1, kind="asymmetric")
    with pytest.raises(InputError, match="kind: expected classes from 0 to 2, got 1 -> 7"):
        inject_label_noise(labels, 0.1, kind={1: 7})
    with pytest.raises(InputError, match="kind: expected rows of probabilities"):
        inject_label_noise(labels, 0.1, kind=torch.ones(3, 3))
    with pytest.raises(InputError, match="kind: expected rows of probabilities"):
        inject_label_noise(labels, 0.1, kind=torch.full((3, 3), float("nan")))
    with pytest.raises(InputError, match=r"kind: expected shape \[3, 3\], got \[2, 2\]"):
        inject_label_noise(labels, 0.1, kind=torch.eye(2))
    with pytest.raises(InputError, match="num_classes: expected at least 2"):
        inject_label_noise(torch.tensor([0]), 1.0, include_true=False)
