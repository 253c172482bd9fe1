"""Ranking losses against closed forms and torch's own losses."""

import pytest
import torch
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.objectives.ranking import pairwise_ranking_loss, pointwise_ranking_loss

GENERATOR = torch.Generator().manual_seed(0)
POSITIVE = torch.randn(8, dtype=torch.float64, generator=GENERATOR)
NEGATIVE = torch.randn(8, 3, dtype=torch.float64, generator=GENERATOR)
LABELS = torch.tensor([1, 0, 3, 0, 1, 0, 2, 0])


def test_softmax_of_one_negative_is_a_sigmoid():
    found = pairwise_ranking_loss(POSITIVE, NEGATIVE[:, 0], reduction="none")
    torch.testing.assert_close(found, torch.sigmoid(NEGATIVE[:, 0] - POSITIVE))


def test_softmax_and_cross_entropy_of_several_negatives():
    scores = torch.cat([POSITIVE[:, None], NEGATIVE], dim=1)
    first = torch.zeros(8, dtype=torch.long)
    softmax = pairwise_ranking_loss(POSITIVE, NEGATIVE)
    torch.testing.assert_close(softmax, 1 - scores.softmax(1)[:, 0].mean())
    entropy = pairwise_ranking_loss(POSITIVE, NEGATIVE, kind="cross_entropy")
    torch.testing.assert_close(entropy, functional.cross_entropy(scores, first))


def test_logistic_is_binary_cross_entropy_of_the_difference():
    found = pairwise_ranking_loss(POSITIVE, NEGATIVE, kind="logistic")
    difference = POSITIVE[:, None] - NEGATIVE
    wanted = functional.binary_cross_entropy_with_logits(difference, torch.ones_like(difference))
    torch.testing.assert_close(found, wanted)
    one = pairwise_ranking_loss(POSITIVE, NEGATIVE[:, 0], kind="logistic")
    entropy = pairwise_ranking_loss(POSITIVE, NEGATIVE[:, 0], kind="cross_entropy")
    torch.testing.assert_close(one, entropy)


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_self_normalized_weights_have_no_size(scale):
    weights = torch.rand(8, dtype=torch.float64, generator=GENERATOR)
    plain = pairwise_ranking_loss(POSITIVE, NEGATIVE, reduction="none")
    found = pairwise_ranking_loss(POSITIVE, NEGATIVE, weights=scale * weights, self_normalize=True)
    torch.testing.assert_close(found, (weights * plain).sum() / weights.sum())
    none = pairwise_ranking_loss(POSITIVE, NEGATIVE, weights=0 * weights, self_normalize=True)
    assert float(none) == 0.0


@pytest.mark.parametrize("margin", [0.0, 1.0])
def test_hinge_is_the_mean_of_margin_ranking_losses(margin):
    found = pairwise_ranking_loss(POSITIVE, NEGATIVE, kind="hinge", margin=margin)
    pairs = torch.broadcast_tensors(POSITIVE[:, None], NEGATIVE)
    wanted = functional.margin_ranking_loss(*pairs, torch.ones(8, 3), margin=margin)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ("kind", "reference"),
    [
        ("mse", functional.mse_loss),
        ("l1", functional.l1_loss),
        ("smooth_l1", functional.smooth_l1_loss),
    ],
)
def test_pointwise_losses_are_those_of_torch(kind, reference):
    found = pointwise_ranking_loss(POSITIVE, LABELS, kind=kind)
    torch.testing.assert_close(found, reference(POSITIVE, LABELS.double()))


def test_pointwise_cross_entropy_takes_grades_as_relevant_or_not():
    found = pointwise_ranking_loss(POSITIVE, LABELS, kind="cross_entropy")
    target = (LABELS > 0).double()
    wanted = functional.binary_cross_entropy_with_logits(POSITIVE, target)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("loss", [pairwise_ranking_loss, pointwise_ranking_loss])
def test_the_weighted_mean_divides_by_the_number_of_examples(loss):
    other = NEGATIVE if loss is pairwise_ranking_loss else LABELS
    weights = torch.rand(8, dtype=torch.float64).requires_grad_()
    scores = POSITIVE.clone().requires_grad_()
    plain = loss(POSITIVE, other, reduction="none")
    found = loss(scores, other, weights=weights)
    torch.testing.assert_close(found, (weights * plain).sum() / 8)
    found.backward()
    assert weights.grad is None and scores.grad is not None


def test_a_certain_pair_keeps_its_small_loss_in_single_precision():
    found = pairwise_ranking_loss(torch.tensor([20.0]), torch.tensor([0.0]))
    torch.testing.assert_close(found, torch.tensor(2.0611537e-9), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: pairwise_ranking_loss(POSITIVE, NEGATIVE, kind="mse"), "kind: expected one of"),
        (lambda: pairwise_ranking_loss(POSITIVE, NEGATIVE[:5]), "negative: expected shape"),
        (lambda: pairwise_ranking_loss(POSITIVE, NEGATIVE[:, :0]), "negative: expected at least"),
        (lambda: pairwise_ranking_loss(NEGATIVE, NEGATIVE), "positive: expected shape"),
        (lambda: pairwise_ranking_loss(POSITIVE, NEGATIVE, margin=1), "margin: expected 0 for"),
        (
            lambda: pairwise_ranking_loss(POSITIVE, NEGATIVE, kind="hinge", margin=-1),
            "margin: expected a number",
        ),
        (
            lambda: pairwise_ranking_loss(POSITIVE, NEGATIVE, weights=torch.ones(3)),
            "weights: expected the shape",
        ),
        (lambda: pointwise_ranking_loss(POSITIVE, LABELS, kind="hinge"), "kind: expected one of"),
        (lambda: pointwise_ranking_loss(POSITIVE, LABELS[:2]), "relevance: expected the shape"),
        (lambda: pointwise_ranking_loss(NEGATIVE, LABELS), "scores: expected shape"),
    ],
)
def test_bad_input(act, message):
    with pytest.raises(InputError, match=message):
        act()
