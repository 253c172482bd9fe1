"""Contrastive losses against their sums written out, closed forms and other libraries' formulas."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.objectives.contrastive import (
    info_nce,
    info_nce_from_similarity,
    simple_contrastive,
)

TAU = 0.3
HAND = torch.tensor([0.8], dtype=torch.float64), torch.tensor([[0.6, 0.2]], dtype=torch.float64)


def draw(seed=0, size=5, dim=4, shared=3):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(n, dim, dtype=torch.float64, generator=generator) for n in (size, size, shared)
    ]


def cosine(a, b):
    return float(functional.cosine_similarity(a, b, dim=0))


def written_out(query, candidates, own, *, positives=None, used=None, weights=None, tau=TAU):
    """The losses of queries by loops: the mean of logs, and the log of the sum."""
    means, sums = [], []
    for i, q in enumerate(query):
        mine = positives[i] if positives else {own[i]}
        e = [math.exp(cosine(q, c) / tau) for c in candidates]
        beta = [1.0 if weights is None else float(weights[i][j]) for j in range(len(e))]
        there = [j for j in range(len(e)) if j not in mine and (used is None or used[i][j])]
        bottom = sum(e[p] for p in mine) + sum(beta[j] * e[j] for j in there)
        means.append(-sum(math.log(e[p] / bottom) for p in mine) / len(mine))
        sums.append(-math.log(sum(e[p] for p in mine) / bottom))
    return torch.tensor(means, dtype=torch.float64), torch.tensor(sums, dtype=torch.float64)


def test_hand_values_of_the_reference_checks():
    loss = partial(info_nce_from_similarity, *HAND)
    assert loss(temperature=0.5).item() == pytest.approx(0.678802, abs=1e-6)
    assert loss(temperature=0.1).item() == pytest.approx(0.129109, abs=1e-6)
    weights = torch.tensor([1.761594, 0.238406], dtype=torch.float64)
    weighted = loss(temperature=0.5, negative_weights=weights)
    assert weighted.item() == pytest.approx(0.812102, abs=1e-6)


def test_gradients_of_similarities_are_shares_over_the_temperature():
    positive, negatives = (value.clone().requires_grad_() for value in HAND)
    info_nce_from_similarity(positive, negatives, temperature=0.5).backward()
    assert positive.grad.item() == pytest.approx(-0.985551, abs=1e-6)
    assert negatives.grad.flatten().tolist() == pytest.approx([0.680005, 0.305546], abs=1e-6)


def test_limits_of_the_temperature():
    positive, negatives = torch.tensor([0.3, 0.9]), torch.tensor([[0.7, 0.1], [0.5, 0.2]])
    cold = info_nce_from_similarity(positive, negatives, temperature=1e-3, reduction="none")
    torch.testing.assert_close(1e-3 * cold, torch.tensor([0.4, 0.0]), atol=1e-3, rtol=0)
    tau = 1e3
    hot = info_nce_from_similarity(
        positive.double(), negatives.double(), temperature=tau, reduction="none"
    )
    linear = simple_contrastive(positive.double(), negatives.double(), weight=0.5, reduction="none")
    torch.testing.assert_close(tau * (hot - math.log(3)) * 3 / 2, linear, atol=1e-3, rtol=0)


def test_in_batch_is_cross_entropy_over_the_batch():
    query, positive, negatives = draw()
    q, p, n = (functional.normalize(x, dim=1) for x in (query, positive, negatives))
    logits = torch.cat([q @ p.T, q @ n.T], 1) / TAU
    target = torch.arange(5)
    loss = info_nce(query, positive, negatives=negatives, temperature=TAU)
    torch.testing.assert_close(loss, functional.cross_entropy(logits, target))
    both = info_nce(query, positive, temperature=TAU, symmetric=True)
    expected = functional.cross_entropy(logits[:, :5], target) / 2
    expected = expected + functional.cross_entropy(logits[:, :5].T, target) / 2
    torch.testing.assert_close(both, expected)


def test_own_negatives_and_a_batch_that_does_not_take_part():
    query, positive, _ = draw()
    own = torch.randn(5, 2, 4, dtype=torch.float64)
    loss = partial(info_nce, query, positive, negatives=own, temperature=TAU, reduction="none")
    alone, among = loss(in_batch=False), loss()
    for i in range(5):
        expected = written_out([query[i]], [positive[i], *own[i]], [0])[0][0]
        assert alone[i] == pytest.approx(float(expected))
        expected = written_out([query[i]], [*positive, *own[i]], [i])[0][0]
        assert among[i] == pytest.approx(float(expected))


def test_a_queue_without_the_batch():
    query, positive, queue = draw()
    loss = info_nce(
        query, positive, negatives=queue, temperature=TAU, in_batch=False, reduction="none"
    )
    expected = [
        written_out([q], [p, *queue], [0])[0][0] for q, p in zip(query, positive, strict=True)
    ]
    torch.testing.assert_close(loss, torch.stack(expected))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_every_option_at_once_equals_the_sums_written_out(seed, symmetric):
    generator = torch.Generator().manual_seed(seed)
    query, positive, negatives = draw(seed)
    more = torch.rand(5, 8, generator=generator) < 0.2
    used = torch.rand(5, 8, generator=generator) < 0.8
    weights = 3 * torch.rand(5, 8, dtype=torch.float64, generator=generator)
    samples = torch.rand(5, dtype=torch.float64, generator=generator)
    own = list(range(5))
    positives = [{i, *torch.nonzero(more[i]).flatten().tolist()} for i in range(5)]
    there = written_out(
        query, [*positive, *negatives], own, positives=positives, used=used, weights=weights
    )
    turned = [{i, *torch.nonzero(more[:, i]).flatten().tolist()} for i in range(5)]
    back = written_out(
        positive, [*query], own, positives=turned, used=used[:, :5].T, weights=weights[:, :5].T
    )
    for place, several in enumerate(("mean_of_logs", "log_of_sum")):
        loss = info_nce(
            query, positive, negatives=negatives, temperature=TAU, positive_mask=more,
            negative_mask=used, negative_weights=weights, sample_weights=samples,
            symmetric=symmetric, several=several, require_negatives=False, reduction="none",
        )  # fmt: skip
        expected = (there[place] + back[place]) / 2 if symmetric else there[place]
        torch.testing.assert_close(loss, expected * samples)


def test_two_views_are_nt_xent():
    """As in pytorch-metric-learning's NTXentLoss: one positive, and all others of both views."""
    one, other, _ = draw()
    both, turned = torch.cat([one, other]), torch.cat([other, one])
    unit = functional.normalize(both, dim=1)
    logits = (unit @ unit.T / TAU).fill_diagonal_(-torch.inf)
    expected = functional.cross_entropy(logits, torch.arange(10).roll(5))
    not_itself = ~torch.eye(10, dtype=torch.bool).roll(5, 1)
    loss = info_nce(both, turned, temperature=TAU, negative_mask=not_itself)
    torch.testing.assert_close(loss, expected)


def test_classes_are_supervised_contrastive_learning():
    """SupCon's outer form over one view: each positive of the class, without the anchor itself."""
    x = draw(size=6)[0]
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    unit = functional.normalize(x, dim=1)
    logs = (unit @ unit.T / TAU).fill_diagonal_(-torch.inf).log_softmax(1)
    same = (labels[:, None] == labels).fill_diagonal_(False)
    expected = -(logs.masked_fill(~same, 0).sum(1) / same.sum(1)).mean()
    partner = torch.tensor([1, 2, 0, 4, 5, 3])
    loss = info_nce(
        x, x[partner], temperature=TAU, positive_mask=same[:, partner],
        negative_mask=(~torch.eye(6, dtype=torch.bool))[:, partner],
    )  # fmt: skip
    torch.testing.assert_close(loss, expected)


def test_weights_from_a_function_are_given_similarities_and_negatives():
    query, positive, negatives = draw()
    seen = {}

    def rule(similarity, own, used):
        seen.update(similarity=similarity, own=own, used=used)
        return (5 * similarity).exp()

    keep = torch.ones(5, 8, dtype=torch.bool)
    keep[0, 6] = False
    options = {"negatives": negatives, "temperature": TAU, "negative_mask": keep}
    loss = info_nce(query.requires_grad_(), positive, negative_weights=rule, **options)
    similarity = functional.cosine_similarity(
        query[:, None], torch.cat([positive, negatives])[None], dim=2
    ).detach()
    torch.testing.assert_close(seen["similarity"], similarity)
    torch.testing.assert_close(seen["own"], similarity.diagonal())
    assert not seen["similarity"].requires_grad
    assert torch.equal(seen["used"], keep & ~torch.eye(5, 8, dtype=torch.bool))
    given_weights = info_nce(query, positive, negative_weights=(5 * similarity).exp(), **options)
    torch.testing.assert_close(loss, given_weights)


def test_exponential_weights_of_one_strength_are_another_temperature():
    """beta = e^{gamma (s - s+)} over tau is the temperature 1 / (1 / tau + gamma)."""
    query, positive, _ = draw()
    gamma = 2.0
    weighted = info_nce(
        query, positive, temperature=TAU,
        negative_weights=lambda s, own, used: (gamma * (s - own[:, None])).exp(),
    )  # fmt: skip
    torch.testing.assert_close(
        weighted, info_nce(query, positive, temperature=1 / (1 / TAU + gamma))
    )


def test_a_weight_of_zero_is_a_mask():
    query, positive, _ = draw()
    keep = ~torch.eye(5, dtype=torch.bool).roll(1, 1)
    losses = [
        info_nce(query, positive, temperature=TAU, negative_mask=keep),
        info_nce(query, positive, temperature=TAU, negative_weights=keep.double()),
    ]
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1.0, 1e30])
def test_lengths_of_embeddings_do_not_matter(scale):
    query, positive, _ = (x.float() for x in draw())
    moved = (scale * query).requires_grad_()
    loss = info_nce(moved, positive, temperature=TAU)
    torch.testing.assert_close(loss, info_nce(query, positive, temperature=TAU))
    loss.backward()
    still = query.clone().requires_grad_()
    info_nce(still, positive, temperature=TAU).backward()
    torch.testing.assert_close(moved.grad * scale, still.grad, rtol=1e-4, atol=1e-7)


def test_dot_products_are_taken_as_they_are():
    query, positive, _ = draw()
    logits = query @ positive.T / TAU
    loss = info_nce(query, positive, temperature=TAU, normalize=False)
    torch.testing.assert_close(loss, functional.cross_entropy(logits, torch.arange(5)))
    assert torch.isfinite(info_nce(0 * query, positive, normalize=False))


def test_a_temperature_can_be_learned():
    query, positive, _ = draw()
    temperature = torch.tensor(TAU, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda tau: info_nce(query, positive, temperature=tau), [temperature]
    )


def test_autocast_does_not_lower_the_precision():
    query, positive, _ = (x.float() for x in draw())
    plain = info_nce(query, positive)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(info_nce(query, positive), plain)


def test_a_batch_of_one_has_nothing_to_lose():
    query, positive, _ = draw(size=1)
    assert info_nce(query, positive) == 0
    keep = torch.zeros(1, 1, dtype=torch.bool)
    assert info_nce(query, positive, negative_mask=keep, require_negatives=False) == 0


def test_a_queue_may_be_empty_still():
    query, positive, _ = draw()
    loss = info_nce(query, positive, negatives=query[:0], temperature=TAU)
    torch.testing.assert_close(loss, info_nce(query, positive, temperature=TAU))


def test_simple_contrastive_repels_what_the_mask_leaves():
    positive, negatives = torch.tensor([0.5, 0.1]), torch.tensor([[0.2, 0.4], [0.6, torch.nan]])
    mask = torch.tensor([[True, True], [True, False]])
    loss = simple_contrastive(positive, negatives, weight=2.0, mask=mask, reduction="none")
    torch.testing.assert_close(loss, torch.tensor([0.7, 1.1]))


def bad(**options):
    query, positive, negatives = draw()
    return info_nce(**{"query": query, "positive": positive, "negatives": negatives, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"query": torch.zeros(5, 4)}, "query: expected embeddings that are not zero.* at row 0"),
        ({"positive": torch.full((5, 4), torch.nan)}, "positive: expected finite numbers, got nan"),
        ({"negatives": torch.full((3, 4), torch.inf)}, "negatives: expected finite numbers"),
        ({"negatives": torch.zeros(5, 2, 4)}, "negatives: expected .*zero at row 0, 0"),
        (
            {"query": torch.ones(0, 4), "positive": torch.ones(0, 4)},
            r"query: expected at least one embedding, got shape \[0, 4\]",
        ),
        ({"query": torch.ones(5)}, r"query: expected shape \[B, D\]"),
        ({"positive": torch.ones(4, 4)}, "positive: expected the shape of query"),
        ({"negatives": torch.ones(3, 5)}, r"negatives: expected shape \[N, 4\]"),
        ({"negatives": torch.ones(3, 2, 4)}, r"negatives: expected shape \[5, N, 4\]"),
        ({"temperature": 0.0}, r"temperature: expected a number in \(0"),
        ({"temperature": -0.1}, "temperature: expected"),
        ({"temperature": torch.tensor([0.1, 0.2])}, "temperature: expected one number"),
        ({"temperature": torch.tensor(torch.nan)}, "temperature: expected a number"),
        ({"several": "mean"}, "several: expected one of mean_of_logs, log_of_sum"),
        ({"reduction": "average"}, "reduction: expected one of"),
        ({"negative_mask": torch.ones(5, 5)}, "negative_mask: expected booleans"),
        ({"negative_mask": torch.ones(5, 5) > 0}, r"negative_mask: expected .* \[5, 8\]"),
        ({"negative_weights": torch.ones(5, 3)}, r"negative_weights: expected .* \[5, 8\]"),
        ({"negative_weights": lambda s, own, used: own}, "negative_weights: expected the shape"),
        ({"positive_mask": torch.ones(5, 3) > 0}, r"positive_mask: expected shape \[5, 8\]"),
        ({"positive_mask": torch.ones(5, 8) > 0}, "positive_mask: expected a negative for each"),
        ({"sample_weights": torch.ones(4)}, "sample_weights: expected the shape"),
        ({"in_batch": False, "symmetric": True}, "symmetric: expected False with in_batch=False"),
        ({"in_batch": False, "negatives": None}, "negatives: expected a tensor with in_batch"),
        (
            {"in_batch": False, "positive_mask": torch.ones(5, 5) > 0},
            "positive_mask: expected None with in_batch",
        ),
        (
            {"negative_mask": torch.arange(5)[:, None].expand(5, 8) != 3},
            r"negative_mask: expected a negative for each query, got none for query 3 \(1 of 5\)",
        ),
    ],
)
def test_what_cannot_be_right_is_refused_by_name(options, message):
    with pytest.raises(InputError, match=message):
        bad(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature: expected"),
        ({"mask": torch.zeros(1, 2) > 0}, "mask: expected a negative for each query"),
        ({"positive": torch.ones(2)}, r"negatives: expected shape \[2, K\]"),
    ],
)
def test_bad_similarities_are_refused_by_name(options, message):
    with pytest.raises(InputError, match=message):
        info_nce_from_similarity(**{"positive": HAND[0], "negatives": HAND[1], **options})


def test_a_weight_that_is_no_number_is_refused():
    with pytest.raises(InputError, match="weight: expected"):
        simple_contrastive(*HAND, weight=math.nan)
