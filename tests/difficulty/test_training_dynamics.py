import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.difficulty.training_dynamics import (
    area_under_margin,
    correctness,
    data_map,
    el2n,
    error_lengths,
    forgetting_events,
    logit_margins,
)

NAN = math.nan


def logits(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def test_el2n_is_numpys_norm_averaged_over_runs():
    p, labels = logits(3, 20, 4).softmax(-1), torch.arange(20) % 4
    errors = p.numpy() - np.eye(4)[labels.numpy()]
    np.testing.assert_allclose(el2n(p, labels), np.linalg.norm(errors, axis=2).mean(axis=0))
    torch.testing.assert_close(el2n(p[:1], labels), el2n(p[0], labels))


def test_el2n_extremes():
    p = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    labels = torch.tensor([0, 0, 0])
    expected = torch.tensor([0.0, math.sqrt(2), math.sqrt(2 / 3)])
    torch.testing.assert_close(el2n(p, labels), expected)


def test_small_errors_do_not_cancel():
    p = torch.tensor([[1 - 2e-6, 2e-6]])
    assert float(error_lengths(p, torch.tensor([0]))) == pytest.approx(2e-6 * math.sqrt(2), 0.05)


def test_forgetting_by_hand():
    right = torch.tensor(
        [
            [1, 0, 1, 0, 1],
            [0, 0, 1, 1, NAN],
            [1, 0, 1, 1, NAN],
            [0, 0, 1, 0, 0],
        ]
    )
    # Forgotten twice; never learned; never forgotten; once; once, with epochs left out between.
    assert forgetting_events(right).tolist() == [2, 4, 0, 1, 1]


@given(st.lists(st.lists(st.sampled_from([0.0, 1.0, NAN]), min_size=3, max_size=3), min_size=1))
def test_forgetting_by_brute_force(rows):
    found = forgetting_events(torch.tensor(rows)).tolist()
    for example in range(3):
        seen = [row[example] for row in rows if row[example] == row[example]]
        pairs = itertools.pairwise(seen)
        expected = sum(now == 1 and then == 0 for now, then in pairs)
        if not seen:
            assert math.isnan(found[example])
        elif 1 not in seen:
            assert found[example] == len(seen) > (len(seen) - 1) // 2
        else:
            assert found[example] == expected


def test_the_map_is_numpys_mean_and_standard_deviation():
    p = logits(6, 9).sigmoid()
    p[2, 3] = NAN
    found = data_map(p)
    np.testing.assert_allclose(found.confidence, np.nanmean(p.numpy(), axis=0))
    np.testing.assert_allclose(found.variability, np.nanstd(p.numpy(), axis=0), atol=1e-12)


def test_correctness_and_margin_average_over_the_epochs_that_were_seen():
    right = torch.tensor([[1.0, NAN, 0.0], [0.0, NAN, 0.0], [1.0, NAN, 0.0]])
    np.testing.assert_allclose(correctness(right), [2 / 3, NAN, 0.0])
    assert correctness(right > 0).tolist() == pytest.approx([2 / 3, 0, 0])
    margins = torch.tensor([[2.0, NAN], [-1.0, 4.0]])
    assert area_under_margin(margins).tolist() == [0.5, 4.0]


def test_margins_by_brute_force_tell_what_is_predicted():
    z, labels = logits(40, 5), torch.arange(40) % 5
    for row, margin in enumerate(logit_margins(z, labels)):
        others = [z[row, c] for c in range(5) if c != labels[row]]
        assert margin == pytest.approx(float(z[row, labels[row]] - max(others)))
    assert torch.equal(logit_margins(z, labels) > 0, z.argmax(1) == labels)


def test_wrong_labels_are_what_dynamics_call_hard():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(300, 2, generator=generator)
    true = (x.sum(1) > 0).long()
    labels = true.clone()
    labels[:30] = 1 - labels[:30]
    weights = torch.zeros(2, 2, requires_grad=True)
    told = []
    for _ in range(8):
        z = x @ weights
        told.append(z.detach())
        torch.nn.functional.cross_entropy(z, labels).backward()
        with torch.no_grad():
            weights -= weights.grad
            weights.grad = None
    margins = torch.stack([logit_margins(z, labels) for z in told])
    assert area_under_margin(margins)[:30].mean() < area_under_margin(margins)[30:].mean() - 1
    p = torch.stack(told).softmax(-1)
    assert el2n(p, labels)[:30].mean() > el2n(p, labels)[30:].mean() + 0.3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: el2n(torch.ones(3), torch.ones(3)), "probabilities: expected shape"),
        (lambda: el2n(torch.ones(3, 2), torch.zeros(2).long()), "labels: expected shape"),
        (lambda: forgetting_events(torch.ones(3)), r"correct: expected shape \[E, n\]"),
        (lambda: forgetting_events(torch.ones(0, 3)), "correct: expected at least one epoch"),
        (lambda: forgetting_events(torch.tensor([[1.0, 0.5]])), "got 0.5 in row 0 for example 1"),
        (lambda: data_map(torch.ones(2, 2, 2)), "probability: expected shape"),
        (lambda: logit_margins(torch.ones(2, 2), torch.zeros(3).long()), "labels: expected shape"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(InputError, match=message):
        call()
