import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score

from gradatim.core.errors import InputError
from gradatim.metrics.memorization import memorization_report


@given(
    rows=st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=40).filter(
        lambda rows: 0 < sum(noisy != clean for _, noisy, clean in rows) < len(rows)
    )
)
def test_shares_equal_a_count_by_hand(rows):
    predictions, noisy, clean = torch.tensor(rows).T
    report = memorization_report(predictions, noisy, clean)
    false = [(p, n, c) for p, n, c in rows if n != c]
    true = [(p, c) for p, n, c in rows if n == c]
    assert report.false_share == pytest.approx(len(false) / len(rows))
    assert report.false_correct == pytest.approx(sum(p == c for p, _, c in false) / len(false))
    assert report.false_memorized == pytest.approx(sum(p == n for p, n, _ in false) / len(false))
    assert report.false_correct + report.false_memorized + report.false_other == pytest.approx(1)
    assert report.true_correct == pytest.approx(accuracy_score(*zip(*true, strict=True)))
    assert report.true_correct + report.true_other == pytest.approx(1)


def test_without_false_labels_their_shares_are_not_numbers():
    labels = torch.tensor([0, 1])
    report = memorization_report(labels, labels, labels)
    assert math.isnan(report.false_memorized)
    assert (report.true_correct, report.false_share) == (1, 0)


def test_errors_name_the_argument():
    with pytest.raises(InputError, match="clean: expected the shape of predictions"):
        memorization_report(torch.tensor([0, 1]), torch.tensor([0, 1]), torch.tensor([0]))
    with pytest.raises(InputError, match=r"predictions: expected shape \[n\], got \[2, 2\]"):
        memorization_report(torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2, 2))
