"""Hard negatives by quantile and false ones, against sorting and loops."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gradatim.core.errors import InputError
from gradatim.mining.hard_negative_masks import FalseNegativeMask, QuantileHardNegatives
from gradatim.objectives.contrastive import info_nce_from_similarity

matrices = arrays(
    np.float32,
    st.tuples(st.integers(0, 5), st.integers(0, 8)),
    elements=st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0]),
)
shares = st.integers(1, 100).map(lambda percent: Fraction(percent, 100))


@given(values=matrices, alpha=shares, data=st.data())
def test_keeps_what_reaches_the_quantile_of_the_row(values, alpha, data):
    mask = data.draw(arrays(np.bool_, values.shape))
    found = QuantileHardNegatives(float(alpha))(torch.tensor(values), torch.tensor(mask)).numpy()
    for row, allowed, kept in zip(values, mask, found, strict=True):
        negatives = np.sort(row[allowed])[::-1]
        if not len(negatives):
            assert not kept.any()
            continue
        bound = negatives[math.ceil(alpha * len(negatives)) - 1]
        assert np.array_equal(kept, allowed & (row >= bound))


@pytest.mark.parametrize(("alpha", "count"), [(0.1, 51), (0.7, 357), (0.0819, 42), (1e-9, 1)])
def test_a_share_of_a_round_number_is_not_one_more(alpha, count):
    similarity = torch.randperm(510)[None].float()
    assert int(QuantileHardNegatives(alpha)(similarity).sum()) == count
    assert int(QuantileHardNegatives(alpha)(similarity.expand(3, -1)).sum()) == 3 * count


def test_all_are_kept_at_one_and_the_loss_is_the_ordinary_one():
    similarity, positive = torch.randn(4, 6), torch.randn(4)
    mask = QuantileHardNegatives(1.0)(similarity)
    assert mask.all()
    hard = info_nce_from_similarity(positive, similarity, mask=mask, temperature=0.5)
    assert torch.equal(hard, info_nce_from_similarity(positive, similarity, temperature=0.5))


def test_the_hardest_alone_is_a_softmax_of_two():
    similarity, positive = torch.tensor([[0.1, 0.7, 0.4]]), torch.tensor([0.8])
    mask = QuantileHardNegatives(0.1)(similarity)
    loss = info_nce_from_similarity(positive, similarity, mask=mask, temperature=0.5)
    assert float(loss) == pytest.approx(math.log1p(math.exp((0.7 - 0.8) / 0.5)))


def test_the_choice_has_no_gradient_and_changes_nothing():
    similarity = torch.randn(3, 5, requires_grad=True)
    allowed = torch.ones(3, 5, dtype=torch.bool)
    mask = QuantileHardNegatives(0.4)(similarity, allowed)
    assert not mask.requires_grad
    assert allowed.all()
    everything = QuantileHardNegatives(0.4)(similarity[:0], allowed[:0])
    everything.fill_(True)
    assert everything is not allowed


@given(values=matrices, threshold=st.sampled_from([-1.0, 0.0, 0.25]), relative=st.booleans())
def test_by_similarity(values, threshold, relative):
    positive = np.linspace(-0.5, 0.5, len(values)).astype(np.float32)
    rule = FalseNegativeMask(threshold, same_text=False, relative=relative)
    found = rule(torch.tensor(values), torch.tensor(positive))
    bound = threshold + (positive[:, None] if relative else 0)
    assert np.array_equal(found.numpy(), values <= bound)


@given(data=st.data(), rows=st.integers(1, 4), columns=st.integers(1, 5), each=st.booleans())
def test_by_text_or_id(data, rows, columns, each):
    names = st.sampled_from(["a", "b", "c"])
    own = data.draw(st.lists(names, min_size=rows, max_size=rows))
    one = st.lists(names, min_size=columns, max_size=columns)
    lists = data.draw(st.lists(one, min_size=rows, max_size=rows))
    lists = lists if each else [lists[0]] * rows
    rule, similarity = FalseNegativeMask(), torch.zeros(rows, columns)
    expected = [[other != mine for other in row] for mine, row in zip(own, lists, strict=True)]
    given_lists = lists if each else lists[0]
    assert rule(similarity, own=own, others=given_lists).tolist() == expected
    ids = [ord(name) for name in own]
    others = torch.tensor([[ord(name) for name in row] for row in lists])
    found = rule(similarity, own=torch.tensor(ids), others=others if each else others[0])
    assert found.tolist() == expected


def test_both_reasons_together_and_no_gradient():
    similarity = torch.tensor([[0.95, 0.5, 0.7]], requires_grad=True)
    rule = FalseNegativeMask(threshold=0.0, relative=True)
    found = rule(similarity, torch.tensor([0.8]), own=[7], others=[1, 7, 2])
    assert found.tolist() == [[False, False, True]]
    assert not found.requires_grad


def test_bad_input_is_told():
    with pytest.raises(InputError, match=r"alpha: expected a number in \(0.0, 1.0\], got 0"):
        QuantileHardNegatives(0)
    with pytest.raises(InputError, match="mask: expected the shape of similarity"):
        QuantileHardNegatives(0.5)(torch.zeros(2, 3), torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(InputError, match="threshold: expected a number where relative is set"):
        FalseNegativeMask(relative=True)
    similarity = torch.zeros(2, 3)
    with pytest.raises(InputError, match="positive: expected similarities"):
        FalseNegativeMask(0.5, relative=True)(similarity, own=[1, 2], others=[1, 2, 3])
    with pytest.raises(InputError, match="own, others: expected texts or ids where same_text"):
        FalseNegativeMask(0.5)(similarity)
    with pytest.raises(InputError, match=r"own, others: expected \[2\] and \[3\] or \[2, 3\]"):
        FalseNegativeMask()(similarity, own=[1], others=[1, 2, 3])
    with pytest.raises(InputError, match="others: expected lists of one length, got several"):
        FalseNegativeMask()(similarity, own=[1, 2], others=[[1, 2, 3], [1]])
