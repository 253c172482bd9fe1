"""What methods choose and reward, against brute force and computations by hand."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from gradatim.core.errors import InputError
from gradatim.evaluators.reward_models import StepRewardModel
from gradatim.language.log_probabilities import token_log_probabilities
from gradatim.language.response_examples import PreferenceExamples, ResponseExamples
from gradatim.language.sampling import Responses, as_responses
from gradatim.networks.decoder import SmallDecoder
from gradatim.recipes.expert_iteration import RestEM
from gradatim.recipes.iterative_dpo import IterativeDPO, PreferenceTuning
from gradatim.recipes.policy_improvement import NonFiniteRewardError, Run, Sampling, group_ranks
from gradatim.recipes.ppo import PPO, PolicyAndValue, _of_unit_deviation

NAN = math.nan


def responses_to(prompts, lengths=None, finished=None):
    """Responses with these prompts; what they say does not matter."""
    found = as_responses([[1] * length for length in lengths or [2] * len(prompts)])
    ended = found.finished if finished is None else torch.tensor(finished)
    return Responses(
        torch.tensor(prompts), found.tokens, found.lengths, found.log_probabilities, ended
    )


def run_of(correct, scores, problems):
    """A run whose answers and scores are given."""
    return Run(
        None, lambda prompts, responses: torch.tensor(scores), [[1]] * problems,
        lambda responses: torch.tensor(correct), Sampling(),
    )  # fmt: skip


def test_responses_are_sampled_without_dropout():
    class Dropping(SmallDecoder):
        def begin(self, *arguments):
            assert not self.training
            return super().begin(*arguments)

    policy = Dropping(8, hidden_size=8, layers=1, window=3, embedding_size=4).train()
    sampling = Sampling(copies=3, longest=4, stop=[0], batch_rows=2)
    run = Run(policy, None, [[1]], None, sampling, seed=5)
    first, again, other = (run.sample([[1], [2]], number) for number in (0, 0, 1))
    assert torch.equal(first.tokens, again.tokens) and first.lists() != other.lists()
    assert len(first) == 6 and int(first.lengths.max()) <= 4


judged = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([0.0, 1.0, NAN]), st.integers(0, 8)),
    min_size=1, max_size=14,
)  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-2, 3)), max_size=12))
def test_group_ranks_against_brute_force(rows):
    groups, scores = [group for group, _ in rows], [float(score) for _, score in rows]
    found = group_ranks(
        torch.tensor(groups, dtype=torch.long), torch.tensor(scores, dtype=torch.float32)
    )
    expected = [
        sum(g == group and (s > score or (s == score and other < row))
            for other, (g, s) in enumerate(zip(groups, scores, strict=True)))
        for row, (group, score) in enumerate(zip(groups, scores, strict=True))
    ]  # fmt: skip
    assert found.tolist() == expected


def test_group_ranks_of_unequal_shapes():
    with pytest.raises(InputError, match="scores: expected the shape of groups"):
        group_ranks(torch.zeros(2), torch.zeros(3))


@given(judged, st.integers(1, 3), st.sampled_from([0.0, 0.25, 0.5]), st.sampled_from([0.0, 0.5]))
def test_rest_em_chooses_as_brute_force_does(rows, keep, threshold, verified):
    prompts, correct = [row[0] for row in rows], [row[1] for row in rows]
    scores = [row[2] / 8 for row in rows]
    expected = []
    for problem in range(4):
        good = [
            row
            for row, (prompt, answer, mark) in enumerate(rows)
            if prompt == problem
            and (mark / 8 >= threshold if math.isnan(answer) else answer and mark / 8 >= verified)
        ]
        expected += sorted(good, key=lambda row: -scores[row])[:keep]
    method = RestEM(keep=keep, threshold=threshold, verified_threshold=verified)
    run, responses = run_of(correct, scores, 4), responses_to(prompts)
    if not expected:
        with pytest.raises(InputError, match="threshold: expected at least one response"):
            method.choose(run, responses)
        return
    kept, figures = method.choose(run, responses)
    assert kept.tolist() == sorted(expected)
    assert figures["kept"] == len(expected)
    assert figures["problems"] == len({prompts[row] for row in expected}) / 4
    assert figures["score"] == pytest.approx(sum(scores) / len(scores))


@given(judged, st.integers(1, 3), st.sampled_from([0.0, 0.25, 0.5]))
def test_iterative_dpo_pairs_as_brute_force_does(rows, most, gap):
    prompts, correct = [row[0] for row in rows], [row[1] for row in rows]
    scores = [row[2] / 8 for row in rows]
    expected = set()
    for problem in range(4):
        own = [row for row, prompt in enumerate(prompts) if prompt == problem]
        good = sorted((r for r in own if correct[r] != 0), key=lambda row: -scores[row])
        bad = sorted((r for r in own if correct[r] != 1), key=lambda row: scores[row])
        for first, second in list(zip(good, bad, strict=False))[:most]:
            told = not math.isnan(correct[first]) and not math.isnan(correct[second])
            apart = first != second and scores[first] - scores[second] >= gap
            if told or apart:
                expected.add((first, second))
    method = IterativeDPO(pairs=most, gap=gap)
    run, responses = run_of(correct, scores, 4), responses_to(prompts)
    if not expected:
        with pytest.raises(InputError, match="gap: expected at least one pair"):
            method.choose(run, responses)
        return
    pairs, figures = method.choose(run, responses)
    found = [tuple(pair) for pair in pairs.tolist()]
    assert len(found) == len(set(found)) == figures["pairs"]
    assert set(found) == expected
    for first, second in found:
        assert prompts[first] == prompts[second] and first != second


class GivenSteps:
    """An evaluator whose logits and steps are given."""

    def __init__(self, logits, segments):
        self.logits, self.segments = logits, segments

    def segment(self, tokens, mask):
        return self.segments

    def steps(self, prompts, responses):
        count = self.segments.amax(dim=1, keepdim=True) + 1
        return self.logits, torch.arange(self.logits.shape[1]) < count

    def __call__(self, prompts, responses):
        raise AssertionError("the steps are all that is asked for")


SEGMENTS = torch.tensor([[0, 0, 1, 1, 2], [0, 1, 1, -1, -1], [0, 0, 0, 0, -1]])
SCORES = torch.tensor([[0.9, 0.4, 0.3], [0.6, 0.2, 0.5], [0.45, 0.5, 0.5]])


def ppo_rewards(correct, finished=(True, True, True), evaluator=None, **options):
    evaluator = evaluator or GivenSteps(SCORES.logit(), SEGMENTS)
    run = Run(None, evaluator, [[1]] * 3, lambda responses: torch.tensor(correct), Sampling())
    return PPO(**options).rewards(run, responses_to([0, 1, 2], [5, 3, 4], list(finished)))


def test_ppo_rewards_by_hand():
    found, figures = ppo_rewards([1.0, 0.0, NAN], bonus=0.3, process_weight=2.0, unavailable=0.2)
    expected = torch.tensor([
        [0, 2 * (0.0 + 0.1), 0, 2 * (-0.1 + 0.1), 2 * (-0.1 + 0.1) + 1.0],
        [2 * (0.0 + 0.15), 0, 2 * (-0.3 + 0.15) + 0.0, 0, 0],
        [0, 0, 0, 2 * (-0.05 + 0.3) + 0.2, 0],
    ])  # fmt: skip
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert figures["score"] == pytest.approx((0.3 + 0.2 + 0.45) / 3)
    assert figures["finished"] == 1


@pytest.mark.parametrize("scheme", ["min", "product"])
@pytest.mark.parametrize("bound", [0.5, 1.0])
def test_ppo_rewards_telescope(scheme, bound):
    finished = [True, False, True]
    found, _ = ppo_rewards(
        [1.0, 0.0, NAN], finished, scheme=scheme, upper_bound=bound, bonus=0.0, penalty=0.7,
        process_weight=3.0, unavailable=0.25,
    )  # fmt: skip
    steps = [[0.9, 0.4, 0.3], [0.6, 0.2], [0.45]]
    for row, (scores, outcome) in enumerate(zip(steps, [1.0, -0.7, 0.25], strict=True)):
        reached = min(scores) if scheme == "min" else math.prod(scores)
        expected = 3 * (min(bound, reached) - bound) + outcome
        assert float(found[row].sum()) == pytest.approx(expected, abs=1e-5)
    assert not found[1, 3:].any() and not found[2, 4:].any()


def test_ppo_rewards_without_steps():
    def whole(prompts, responses):
        return torch.tensor([0.9, 0.8, 0.7])

    found, figures = ppo_rewards([1.0, 0.0, NAN], [True, True, False], whole, penalty=0.5)
    expected = torch.zeros(3, 5)
    expected[0, 4], expected[1, 2], expected[2, 3] = 1.0, 0.0, 0.7 - 0.5
    torch.testing.assert_close(found, expected)
    assert figures["score"] == pytest.approx(0.8)
    assert figures["finished"] == pytest.approx(2 / 3)


def test_ppo_looks_only_at_steps_that_are_there():
    logits = SCORES.logit()
    clean, _ = ppo_rewards([1.0, 0.0, NAN])
    logits[1, 2] = logits[2, 1] = torch.nan
    found, figures = ppo_rewards([1.0, 0.0, NAN], evaluator=GivenSteps(logits, SEGMENTS))
    assert torch.equal(found, clean) and math.isfinite(figures["score"])
    logits[1, 1] = torch.nan
    with pytest.raises(NonFiniteRewardError, match=r"got nan for response 1 \(1 of 9\)"):
        ppo_rewards([1.0, 0.0, NAN], evaluator=GivenSteps(logits, SEGMENTS))


def decoder(seed=0):
    torch.manual_seed(seed)
    return SmallDecoder(8, hidden_size=8, layers=1, window=3, embedding_size=4)


def test_ppo_step_at_the_old_policy_is_the_policy_gradient():
    policy, value = decoder(), StepRewardModel(decoder(1), outputs=1)
    torch.nn.init.normal_(value.head.weight)
    both, responses = PolicyAndValue(policy, value), as_responses([[3, 4, 5], [6]])
    examples = ResponseExamples([[1], [2, 2]], responses)
    batch = examples[[0, 1]]
    with torch.no_grad():
        old, values = both(batch["ids"], batch["mask"])
    advantages, returns = torch.randn(old.shape), torch.randn(old.shape)
    batch |= {"old": old, "old_values": values, "advantages": advantages, "returns": returns}
    loss = PPO(value_weight=0.3).step(both, batch, None)
    assert int(loss.count) == 4
    loss.sum.backward()
    trained = [one for one in both.parameters() if one.grad is not None]
    found = [weights.grad.clone() for weights in trained]
    assert len(trained) == len(list(both.parameters())) - 1  # but the value's output layer
    both.zero_grad()
    inside = batch["response"]
    logs = token_log_probabilities(policy, batch["ids"], batch["mask"])
    expected = -(advantages * logs)[inside].sum()
    expected = (
        expected
        + 0.15 * (both.values(batch["ids"], batch["mask"]) - returns)[inside].square().sum()
    )
    expected.backward()
    for gradient, weights in zip(found, trained, strict=True):
        torch.testing.assert_close(gradient, weights.grad, rtol=1e-4, atol=1e-5)


def test_values_stand_before_their_tokens():
    value = StepRewardModel(decoder(1), outputs=1)
    torch.nn.init.normal_(value.head.weight)
    both, ids = PolicyAndValue(decoder(), value), torch.tensor([[1, 2, 3, 4]])
    changed = torch.tensor([[1, 2, 3, 5]])
    first, second = (both.values(one, one > 0) for one in (ids, changed))
    assert torch.equal(first, second)  # the value of a token does not know the token
    assert first[0, 0] == 0 and torch.equal(first[0, 1:], value.read(ids, ids > 0)[0, :-1])


@pytest.mark.parametrize("reward", [0.0, 0.3, 1.0])
def test_equal_rewards_are_not_blown_up(reward):
    mask = torch.tensor([[True, False], [True, False], [True, False]])
    rewards = torch.full((3, 2), reward)
    assert torch.equal(_of_unit_deviation(rewards, mask), rewards)
    one = _of_unit_deviation(torch.tensor([[reward]]), torch.tensor([[True]]))
    assert float(one) == pytest.approx(reward)
    rewards = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) * 7 + 2
    mask = rewards > -9
    scaled = _of_unit_deviation(rewards, mask)
    assert float(scaled[mask].std(correction=0)) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(scaled / rewards, (scaled / rewards)[:1, :1].expand(50, 3))


@pytest.mark.parametrize("variant", ["dpo", "ipo"])
def test_preferences_by_hand(variant):
    model = decoder()
    prompts, texts = [[1], [2, 3]], ([[4, 5], [6]], [[7], [5, 5, 5]])
    reference = {"chosen_reference": torch.tensor([-4.0, -2.0]),
                 "rejected_reference": torch.tensor([-3.0, -5.0])}  # fmt: skip
    pairs = PreferenceExamples(prompts, *map(as_responses, texts), rows=reference)
    loss = PreferenceTuning(0.2, variant=variant).step(model, pairs[[0, 1]], None)
    total, won = 0.0, 0
    for row in range(2):
        logs = []
        for side in texts:
            ids = torch.tensor([prompts[row] + side[row]])
            every = token_log_probabilities(model, ids, ids > 0)[0, len(prompts[row]) :]
            logs.append(float(every.detach().sum()))
        h = (
            logs[0]
            - logs[1]
            - float(reference["chosen_reference"][row] - reference["rejected_reference"][row])
        )
        total += math.log1p(math.exp(-0.2 * h)) if variant == "dpo" else (h - 2.5) ** 2
        won += logs[0] > logs[1]
    assert float(loss.sum.detach()) == pytest.approx(total, rel=1e-4)
    assert loss.count == 2 and float(loss.logs["preferred"]) == won / 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RestEM(keep=0), "keep: expected"),
        (lambda: RestEM(steps=0), "steps: expected"),
        (lambda: RestEM(threshold=NAN), "threshold: expected"),
        (lambda: RestEM(clip_norm=0.0), "clip_norm: expected"),
        (lambda: IterativeDPO(pairs=0), "pairs: expected"),
        (lambda: IterativeDPO(gap=-0.1), "gap: expected"),
        (lambda: IterativeDPO(beta=0.0), "beta: expected"),
        (lambda: IterativeDPO(variant="win_rate"), "variant: expected one of dpo, ipo"),
        (lambda: PreferenceTuning(label_smoothing=0.6), "label_smoothing: expected"),
        (lambda: PreferenceTuning(chunk_tokens=0), "chunk_tokens: expected"),
        (lambda: PPO(rounds=0), "rounds: expected"),
        (lambda: PPO(kl=-1.0), "kl: expected"),
        (lambda: PPO(clip=1.0), "clip: expected"),
        (lambda: PPO(value_clip=0.0), "value_clip: expected"),
        (lambda: PPO(scheme="prod"), "scheme: expected one of min, product"),
        (lambda: PPO(upper_bound=0.0), "upper_bound: expected"),
        (lambda: PPO(bonus=-0.1), "bonus: expected"),
        (lambda: PPO(unavailable=NAN), "unavailable: expected"),
    ],
)
def test_wrong_settings_are_refused_at_once(make, message):
    with pytest.raises(InputError, match=message):
        make()
