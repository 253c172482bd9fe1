"""Reward models against loops written out, and by finite differences."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from gradatim.core.errors import InputError
from gradatim.evaluators.reward_models import LikelihoodRewardModel, StepRewardModel
from gradatim.language.log_probabilities import token_log_probabilities
from gradatim.language.sampling import right_padded
from gradatim.networks.decoder import SmallDecoder
from gradatim.objectives.token_rewards import token_reward_loss


def decoder(seed=0):
    torch.manual_seed(seed)
    return SmallDecoder(9, hidden_size=8, layers=1, window=3, embedding_size=4)


@st.composite
def divisions(draw):
    """Numbers that were read, and a division into steps: runs, with tokens outside anywhere."""
    rows = []
    for _ in range(draw(st.integers(1, 3))):
        row, step = [], draw(st.integers(0, 1))
        for length in draw(st.lists(st.integers(0, 4), min_size=1, max_size=4)):
            row += [-1] * draw(st.integers(0, 2)) + [step] * length
            step += draw(st.integers(1, 2))
        rows.append(row[:12] + [-1] * (12 - len(row[:12])))
    seed = draw(st.integers(0, 999))
    return torch.tensor(rows), torch.Generator().manual_seed(seed)


@given(divisions(), st.floats(-2, 2), st.floats(-2, 2), st.booleans())
def test_judge_against_a_naive_loop(division, scale, shift, certain):
    segments, generator = division
    read = -torch.rand(segments.shape, generator=generator, dtype=torch.float64)
    if certain:  # log-probabilities of 0: tokens that had to come
        read = read * (torch.rand(read.shape, generator=generator) < 0.3)
    model = LikelihoodRewardModel(decoder(), scale=scale, shift=shift)
    found = model.judge(read, segments).detach()
    for row in range(len(segments)):
        total, previous = 0.0, -1
        for token, step in enumerate(segments[row].tolist()):
            total = float(read[row, token]) + (total if step == previous else 0.0)
            previous = step
            expected = scale * total + shift if step >= 0 else shift
            assert float(found[row, token]) == pytest.approx(expected, abs=1e-5)


def test_what_stands_outside_the_solution_has_no_part():
    model = LikelihoodRewardModel(decoder(), scale=1.0, shift=1.0)
    segments = torch.tensor([[-1, 0, 0, 1, -1]])
    read = torch.tensor([[0.0, -1.0, -2.0, -4.0, 0.0]])
    wild = torch.tensor([[float("nan"), -1.0, -2.0, -4.0, -torch.inf]], requires_grad=True)
    found = model.judge(wild, segments)
    assert torch.equal(found, model.judge(read, segments))
    assert found.tolist() == [[1.0, 0.0, -2.0, -3.0, 1.0]]
    found.sum().backward()
    assert wild.grad.tolist() == [[0.0, 2.0, 1.0, 1.0, 0.0]]
    assert float(model.scale.grad) == -1 - 3 - 4 and float(model.shift.grad) == 5


@pytest.mark.parametrize("zeros", [False, True])
def test_judge_by_finite_differences(zeros):
    model = LikelihoodRewardModel(decoder()).double()
    segments = torch.tensor([[-1, 0, 0, 1, 1, 1, 2, -1], [0, 0, -1, 1, -1, 2, 2, 2]])
    read = -torch.rand(segments.shape, dtype=torch.float64)
    read = read * 0 if zeros else read  # as a saturated model gives: all sums are equal
    scale, shift = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.7, -0.2))

    def judge(read, scale, shift):
        del model.scale, model.shift
        model.scale, model.shift = scale, shift
        return model.judge(read, segments)

    assert torch.autograd.gradcheck(judge, (read.requires_grad_(), scale, shift))


def test_gradients_flow_into_backbone_scale_and_shift():
    model = LikelihoodRewardModel(decoder())
    ids, mask = right_padded([[1, 2, 3, 4, 5], [6, 7, 8]])
    segments = torch.tensor([[-1, -1, 0, 0, 1], [-1, 0, 0, -1, -1]])
    model(ids, mask, segments)[segments >= 0].square().sum().backward()
    assert all(w.grad is not None and torch.isfinite(w.grad).all() for w in model.parameters())
    assert model.scale.grad != 0 and model.shift.grad != 0
    assert model.backbone.head.weight.grad.any() and model.backbone.embedding.weight.grad.any()


def test_both_stages_are_the_whole():
    ids, mask = right_padded([[1, 2, 3, 4, 5], [6, 7, 8]])
    segments = torch.tensor([[-1, -1, 0, 0, 1], [-1, 0, 0, -1, -1]])
    likelihood = LikelihoodRewardModel(decoder(), scale=2.0, shift=0.5)
    logs = token_log_probabilities(likelihood.backbone, ids, mask)
    torch.testing.assert_close(likelihood.read(ids, mask), logs)
    torch.testing.assert_close(
        likelihood(ids, mask, segments)[0, 3], 2 * (logs[0, 2] + logs[0, 3]) + 0.5
    )
    linear = StepRewardModel(decoder(), outputs=3)
    torch.nn.init.normal_(linear.head.weight)
    hidden = linear.backbone(ids, mask)
    expected = (hidden @ linear.head.weight.T).mean(dim=2)
    torch.testing.assert_close(linear(ids, mask, segments), expected)
    torch.testing.assert_close(linear.read(ids, mask), expected)


def test_a_linear_head_starts_at_one_half_and_log_two():
    model = StepRewardModel(decoder())
    ids, mask = right_padded([[1, 2, 3, 4, 5], [6, 7, 8]])
    logits = model(ids, mask, mask.long() - 1)
    assert torch.equal(logits.sigmoid(), torch.full(ids.shape, 0.5))
    loss = token_reward_loss(logits, mask.float(), mask.float())
    assert float(loss.detach()) == pytest.approx(0.693147, abs=1e-5)
    loss.backward()
    assert model.head.weight.grad.any()  # it can learn, though the backbone's gradient is 0 yet
    assert not model.backbone.mix.weight.grad.any()


def test_half_precision_backbones_give_float32():
    ids, mask = right_padded([[1, 2, 3], [6]])
    for model in (StepRewardModel(decoder().bfloat16()), LikelihoodRewardModel(decoder().half())):
        assert model(ids, mask, mask.long() - 1).dtype == torch.float32


def test_wrong_arguments():
    with pytest.raises(InputError, match="outputs: expected a number in"):
        StepRewardModel(decoder(), outputs=0)
    with pytest.raises(InputError, match="chunk_tokens: expected a number in"):
        LikelihoodRewardModel(decoder(), chunk_tokens=0)
    for model in (StepRewardModel(decoder()), LikelihoodRewardModel(decoder())):
        with pytest.raises(InputError, match="expected the shape of"):
            model.judge(torch.zeros(2, 3), torch.zeros(2, 4, dtype=torch.long))
