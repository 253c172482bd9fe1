import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.evaluators.step_scores import AGGREGATES, aggregate_steps, last_tokens, step_logits

every_aggregate = pytest.mark.parametrize("how", AGGREGATES)


def draw(seed, rows=5, steps=6):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, steps, dtype=torch.float64, generator=generator)
    return logits, torch.rand(rows, steps, generator=generator) > 0.4


def by_hand(scores, how):
    if not scores:
        return 0.0
    return {
        "product": math.prod(scores),
        "min": min(scores),
        "mean": sum(scores) / len(scores),
        "last": scores[-1],
    }[how]


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
@every_aggregate
def test_equals_a_loop_in_all_forms(how, seed):
    logits, mask = draw(seed)
    scores = logits.sigmoid()
    expected = torch.tensor(
        [by_hand(row[there].tolist(), how) for row, there in zip(scores, mask, strict=True)],
        dtype=torch.float64,
    )
    torch.testing.assert_close(aggregate_steps(scores, mask, how), expected)
    torch.testing.assert_close(aggregate_steps(logits, mask, how, logits=True), expected)
    torch.testing.assert_close(
        aggregate_steps(logits, mask, how, logits=True, log=True), expected.log()
    )


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_length_normalized_product_is_the_geometric_mean(seed):
    logits, mask = draw(seed)
    mask[:, 2] = True
    score = aggregate_steps(logits.sigmoid(), mask, length_normalized=True)
    product = aggregate_steps(logits.sigmoid(), mask)
    torch.testing.assert_close(score, product ** (1 / mask.sum(1)))


@every_aggregate
def test_a_solution_without_steps_scores_zero_and_has_no_gradient(how):
    logits = torch.ones(2, 3, requires_grad=True)
    mask = torch.tensor([[False] * 3, [True] * 3])
    scores = aggregate_steps(logits, mask, how, logits=True)
    scores.sum().backward()
    assert scores[0] == 0.0 < scores[1]
    assert aggregate_steps(logits, mask, how, logits=True, log=True)[0] == -math.inf
    assert torch.isfinite(logits.grad).all()
    assert not logits.grad[0].any()
    assert aggregate_steps(torch.ones(2, 0), torch.ones(2, 0), how).tolist() == [0.0, 0.0]


def test_five_hundred_steps_still_rank():
    scores = torch.full((2, 500), 0.3)
    scores[1, 7] = 0.2
    mask = torch.ones(2, 500, dtype=torch.bool)
    logs = aggregate_steps(scores, mask, log=True)
    torch.testing.assert_close(logs[0], torch.tensor(500 * math.log(0.3)))
    assert logs[0] > logs[1]
    torch.testing.assert_close(
        aggregate_steps(scores, mask, length_normalized=True)[0], torch.tensor(0.3)
    )


@every_aggregate
def test_extreme_logits(how):
    logits = torch.tensor([[1e4, -1e4], [1e4, 1e4], [-1e4, -1e4]], requires_grad=True)
    mask = torch.ones(3, 2, dtype=torch.bool)
    scores = aggregate_steps(logits, mask, how, logits=True)
    assert scores.tolist() == ([0.5, 1.0, 0.0] if how == "mean" else [0.0, 1.0, 0.0])
    logs = aggregate_steps(logits, mask, how, logits=True, log=True)
    logs.sum().backward()
    assert logs[2].item() == pytest.approx(-2e4 if how == "product" else -1e4)
    assert torch.isfinite(logits.grad).all()


@every_aggregate
def test_a_score_of_zero_and_padding_of_nan(how):
    scores, mask = torch.tensor([[0.0, torch.nan]]), torch.tensor([[True, False]])
    assert aggregate_steps(scores, mask, how).tolist() == [0.0]


@every_aggregate
def test_zeros_in_the_padding_spoil_no_gradient(how):
    scores = torch.tensor([[0.5, 0.25, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    aggregate_steps(scores, mask, how).sum().backward()
    by_hand = {"product": [0.25, 0.5], "min": [0.0, 1.0], "mean": [0.5, 0.5], "last": [0.0, 1.0]}
    torch.testing.assert_close(scores.grad[0], torch.tensor([*by_hand[how], 0.0]))
    assert not scores.grad[1].any()


@every_aggregate
def test_gradient_equals_finite_differences(how):
    logits, mask = draw(3)
    assert torch.autograd.gradcheck(
        lambda z: aggregate_steps(z, mask, how, logits=True), [logits.requires_grad_()]
    )


def test_half_precision_is_raised():
    scores = torch.full((1, 3), 0.9, dtype=torch.bfloat16)
    assert aggregate_steps(scores, torch.ones(1, 3)).dtype == torch.float32


def test_errors():
    scores, mask = torch.ones(2, 3), torch.ones(2, 3)
    with pytest.raises(InputError, match="how: expected one of product, min, mean, last"):
        aggregate_steps(scores, mask, "prod")
    with pytest.raises(InputError, match="length_normalized: expected how='product', got 'min'"):
        aggregate_steps(scores, mask, "min", length_normalized=True)
    with pytest.raises(InputError, match="mask: expected the shape of step_scores"):
        aggregate_steps(scores, mask[:1])
    with pytest.raises(InputError, match="segments: expected integers"):
        last_tokens(torch.zeros(2, 3))
    with pytest.raises(InputError, match="segments: expected the shape of token_logits"):
        step_logits(scores, torch.zeros(2, 2, dtype=torch.int64))


@st.composite
def segmented(draw):
    """Rows of prompt, steps of any length, and padding."""
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, 3), st.lists(st.integers(1, 4), max_size=5)),
            min_size=1,
            max_size=4,
        )
    )
    tokens = [
        [-1] * prompt + [step for step, n in enumerate(sizes) for _ in range(n)]
        for prompt, sizes in rows
    ]
    length = max(map(len, tokens)) + draw(st.integers(0, 2))
    padded = [row + [-1] * (length - len(row)) for row in tokens]
    return torch.tensor(padded, dtype=torch.int64).view(len(padded), length)


@settings(deadline=None)
@given(segments=segmented(), seed=st.integers(0, 99))
def test_logits_are_read_at_the_last_token_of_every_step(segments, seed):
    token_logits = torch.randn(segments.shape, generator=torch.Generator().manual_seed(seed))
    token_logits.requires_grad_()
    logits, mask = step_logits(token_logits, segments)
    read = torch.zeros_like(token_logits)
    for row, numbers in enumerate(segments.tolist()):
        assert mask[row].sum().item() == len(set(numbers) - {-1})
        for step in set(numbers) - {-1}:
            place = max(t for t, number in enumerate(numbers) if number == step)
            assert logits[row, step] == token_logits[row, place]
            read[row, place] = 1
    assert not logits[~mask].any()
    if logits.numel():
        logits.sum().backward()
        assert torch.equal(token_logits.grad, read)


def test_the_number_of_steps_may_be_given():
    segments = torch.tensor([[-1, 0, 1]], dtype=torch.int32)
    logits, mask = step_logits(torch.ones(1, 3), segments, 4)
    assert logits.tolist() == [[1.0, 1.0, 0.0, 0.0]]
    assert mask.tolist() == [[True, True, False, False]]
    assert step_logits(torch.ones(1, 3), segments.clamp(max=-1))[0].shape == (1, 0)
    assert last_tokens(torch.zeros(2, 0, dtype=torch.int64), 2).tolist() == [[-1, -1], [-1, -1]]
