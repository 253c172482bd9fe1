"""The blockwise loss equals the plain one, in value and gradient, whatever the options."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.objectives.contrastive import info_nce
from gradatim.objectives.contrastive_blocks import blockwise_info_nce

SIZE, SHARED, DIM, TAU = 11, 4, 6, 0.1


def mask_of(pairs, shape=(SIZE, SIZE + SHARED)):
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[tuple(pairs.T)] = True
    return mask


def rule(similarity, own, used):
    """Weights of mean 1 over the negatives of each query, as a curriculum would give them."""
    logits = (5 * similarity).masked_fill(~used, -torch.inf)
    return used.sum(1, keepdim=True) * logits.softmax(1)


def draw(seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    shapes = (SIZE, SIZE, SHARED)
    tensors = [torch.randn(n, DIM, generator=generator, dtype=torch.float64) for n in shapes]
    pairs = [torch.randint(SIZE, (8, 2), generator=generator) for _ in range(2)]
    pairs[1] = torch.cat([pairs[1], torch.tensor([[2, SIZE + 1], [5, SIZE + 3]])])
    return [x.to(dtype).requires_grad_() for x in tensors], *pairs


def value_and_gradients(function, embeddings, upstream=None, **options):
    query, positive, negatives = embeddings
    loss = function(query, positive, negatives=negatives, temperature=TAU, **options)
    total = loss if upstream is None else loss @ upstream
    return loss.detach(), *torch.autograd.grad(total, embeddings)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 12),
    several=st.sampled_from(["mean_of_logs", "log_of_sum"]),
    symmetric=st.booleans(),
    reduction=st.sampled_from(["mean", "sum", "none"]),
    weights=st.sampled_from(["none", "tensor", "rule"]),
)
def test_options_in_any_combination(seed, rows, several, symmetric, reduction, weights):
    embeddings, more, excluded = draw(seed)
    generator = torch.Generator().manual_seed(seed)
    beta = torch.rand(SIZE + SHARED, dtype=torch.float64, generator=generator)
    given_weights = {"none": None, "tensor": beta, "rule": rule}[weights]
    shared = {
        "sample_weights": torch.rand(SIZE, dtype=torch.float64, generator=generator),
        "negative_weights": given_weights,
        "several": several,
        "symmetric": symmetric,
        "reduction": reduction,
    }
    upstream = torch.randn(SIZE, dtype=torch.float64, generator=generator)
    upstream = upstream if reduction == "none" else None
    ours = value_and_gradients(
        blockwise_info_nce, embeddings, upstream,
        positive_pairs=more, excluded_pairs=excluded, block_rows=rows, **shared,
    )  # fmt: skip
    plain = value_and_gradients(
        info_nce, embeddings, upstream,
        positive_mask=mask_of(more), negative_mask=~mask_of(excluded), **shared,
    )  # fmt: skip
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_gradient_equals_finite_differences(reduction, symmetric):
    (query, positive, negatives), more, excluded = draw(1)
    tau = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)

    def loss(query, positive, negatives, tau):
        return blockwise_info_nce(
            query, positive, negatives=negatives, temperature=tau, positive_pairs=more,
            excluded_pairs=excluded, symmetric=symmetric, reduction=reduction, block_rows=4,
        )  # fmt: skip

    assert torch.autograd.gradcheck(loss, (query, positive, negatives, tau))


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_large_batch_equals_the_plain_form(dtype, symmetric):
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(4096, 384, generator=generator)
    positive = query + 4 * torch.randn(4096, 384, generator=generator)
    query, positive = (x.to(dtype).requires_grad_() for x in (query, positive))
    outcomes = []
    for function, options in ((blockwise_info_nce, {"block_rows": 1000}), (info_nce, {})):
        loss = function(query, positive, symmetric=symmetric, **options)
        outcomes.append([loss, *torch.autograd.grad(loss, (query, positive))])
    precision = (
        {"rtol": 1e-4, "atol": 1e-5} if dtype is torch.float32 else {"rtol": 0.01, "atol": 0.01}
    )
    assert outcomes[0][0].dtype == torch.float32
    torch.testing.assert_close(outcomes[0][0], outcomes[1][0], rtol=1e-6, atol=1e-6)
    for ours, plain in zip(outcomes[0][1:], outcomes[1][1:], strict=True):
        assert ours.dtype == dtype
        scale = plain.abs().max()
        torch.testing.assert_close(ours / scale, plain / scale, **precision)


def test_small_losses_are_as_exact_as_in_the_plain_form():
    """Where the positive takes nearly all of the denominator, little is left to tell."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(512, 64, generator=generator)
    positive = query + 0.3 * torch.randn(512, 64, generator=generator)

    def errors(function, exact=None):
        pair = [x.detach().clone().requires_grad_() for x in (query, positive)]
        pair = [x.double().detach().requires_grad_() for x in pair] if exact is None else pair
        loss = function(*pair)
        found = [loss.detach(), *torch.autograd.grad(loss, pair)]
        if exact is None:
            return found
        return [
            float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, exact, strict=True)
        ]

    exact = errors(info_nce)
    assert exact[0] < 1e-3
    ours, plain = errors(blockwise_info_nce, exact), errors(info_nce, exact)
    assert all(a <= max(2 * b, 1e-6) for a, b in zip(ours, plain, strict=True))


@pytest.mark.parametrize("temperature", [1e-4, 1e-2, 1e4])
def test_extreme_temperatures_stay_finite_and_equal(temperature):
    (query, positive, _), _, _ = draw(2)
    losses = []
    for function in (blockwise_info_nce, info_nce):
        loss = function(query, positive, temperature=temperature, symmetric=True)
        losses.append([loss, *torch.autograd.grad(loss, (query, positive))])
        assert all(torch.isfinite(value).all() for value in losses[-1])
    for ours, plain in zip(*losses, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-12)


def test_two_backward_passes_add_up():
    (query, positive, _), _, _ = draw(3)
    loss = 3 * blockwise_info_nce(query, positive)
    loss.backward(retain_graph=True)
    once = query.grad.clone()
    loss.backward()
    torch.testing.assert_close(query.grad, 2 * once)


def test_one_side_may_be_frozen_and_nothing_is_kept_without_gradient():
    (query, positive, _), _, _ = draw(4)
    loss = blockwise_info_nce(query, positive.detach())
    plain = info_nce(query, positive.detach())
    torch.testing.assert_close(*(torch.autograd.grad(value, query)[0] for value in (loss, plain)))
    with torch.no_grad():
        assert not blockwise_info_nce(query, positive).requires_grad
    assert not blockwise_info_nce(query.detach(), positive.detach()).requires_grad


def test_a_queue_may_be_empty_and_weights_of_another_precision():
    (query, positive, _), _, _ = draw(7, torch.float32)
    weights = torch.rand(SIZE, dtype=torch.float64)
    loss = blockwise_info_nce(query, positive, negatives=query[:0], sample_weights=weights)
    torch.testing.assert_close(loss, info_nce(query, positive, sample_weights=weights))


def test_autocast_does_not_lower_the_precision():
    (query, positive, _), _, _ = draw(5, torch.float32)
    plain = info_nce(query, positive)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(blockwise_info_nce(query, positive), plain)


def test_inputs_are_not_modified():
    (query, positive, negatives), more, excluded = draw(6)
    before = [x.detach().clone() for x in (query, positive, negatives, more, excluded)]
    blockwise_info_nce(
        query, positive, negatives=negatives, positive_pairs=more, excluded_pairs=excluded,
        normalize=False, temperature=1.0,
    ).backward()  # fmt: skip
    for was, now in zip(before, (query, positive, negatives, more, excluded), strict=True):
        assert torch.equal(was, now)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"query": torch.zeros(3, 2)}, "query: expected embeddings that are not zero"),
        ({"positive": torch.full((3, 2), torch.nan)}, "positive: expected finite"),
        ({"negatives": torch.ones(3, 1, 2)}, r"negatives: expected shape \[N, D\]"),
        ({"temperature": 0.0}, "temperature: expected"),
        ({"several": "both"}, "several: expected one of"),
        ({"reduction": "average"}, "reduction: expected one of"),
        ({"block_rows": 0}, "block_rows: expected a number in"),
        ({"positive_pairs": torch.tensor([[0, 3]])}, r"positive_pairs: expected .* below \(3, 3\)"),
        ({"excluded_pairs": torch.tensor([[-1, 0]])}, "excluded_pairs: expected"),
        ({"excluded_pairs": torch.tensor([[0.0, 1.0]])}, "excluded_pairs: expected integers"),
        ({"excluded_pairs": torch.tensor([0, 1])}, r"excluded_pairs: expected shape \[E, 2\]"),
        ({"negative_weights": torch.ones(2)}, r"negative_weights: expected shape \[3\]"),
        ({"negative_weights": lambda s, own, used: own}, "negative_weights: expected shape"),
        ({"sample_weights": torch.ones(2)}, "sample_weights: expected"),
        (
            {"excluded_pairs": torch.tensor([[1, 0], [1, 2], [1, 1]])},
            r"excluded_pairs: expected a negative .* query 1 \(1 of 3\)",
        ),
        (
            {"excluded_pairs": torch.tensor([[0, 1], [2, 1]]), "symmetric": True},
            r"excluded_pairs: expected a negative .* query 1 \(1 of 3\)",
        ),
        (
            {"positive_pairs": torch.tensor([[1, 0], [1, 2]])},
            "positive_pairs: expected a negative for each",
        ),
    ],
)
def test_what_cannot_be_right_is_refused_by_name(options, message):
    with pytest.raises(InputError, match=message):
        blockwise_info_nce(
            **{"query": torch.eye(3, 2) + 1, "positive": torch.ones(3, 2), **options}
        )


def test_without_a_negative_the_loss_is_zero_if_allowed():
    pairs = torch.tensor([[0, 1], [1, 0]])
    loss = blockwise_info_nce(
        torch.eye(2), torch.ones(2, 2), excluded_pairs=pairs, require_negatives=False
    )
    torch.testing.assert_close(loss, torch.tensor(0.0), atol=1e-6, rtol=0)
