"""Evaluators against reading responses one by one, and a reward model that learns to judge."""

import itertools
import math
from functools import partial

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.evaluators.reward_models import LikelihoodRewardModel, StepRewardModel
from gradatim.evaluators.scorers import OutcomeProcessReward, OutcomeReward, ProcessReward
from gradatim.language.sampling import Responses, as_responses
from gradatim.language.steps import segment_by_separator
from gradatim.networks.decoder import SmallDecoder

SEPARATOR, END = 1, 2
SEGMENT = partial(segment_by_separator, separators=[SEPARATOR])
PROMPTS = [[3, 4], [5, 6, 7]]
TEXTS = [[5, 1, 6, 7, 1, 8, 2], [3, 2], [4, 4, 1], [1, 1, 9, 2], [8]]


def responses():
    found = as_responses(TEXTS)
    which = torch.tensor([0, 0, 1, 1, 1])
    ended = torch.tensor([text[-1] == END for text in TEXTS])
    return Responses(which, found.tokens, found.lengths, found.log_probabilities, ended)


def model(kind):
    torch.manual_seed(4)
    backbone = SmallDecoder(10, hidden_size=8, layers=1, window=3, embedding_size=4)
    torch.nn.init.normal_(backbone.head.weight, std=0.5)
    if kind == "likelihood":
        return LikelihoodRewardModel(backbone, scale=0.8, shift=1.5)
    linear = StepRewardModel(backbone)
    torch.nn.init.normal_(linear.head.weight)
    return linear


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    monkeypatch.setattr(
        "gradatim.language.reading.default_dtype", lambda device="cpu": torch.float32
    )


def naive_logits(judge, row, whole):
    """The logit of each step of one response, read alone."""
    found = responses()
    prompt, text = PROMPTS[int(found.prompt[row])], TEXTS[row]
    step, segments = 0, [-1] * len(prompt)
    for token in text:
        segments.append(step)
        step += token == SEPARATOR and not whole
    ids = torch.tensor([prompt + text])
    logits = judge(ids, torch.ones_like(ids) > 0, torch.tensor([segments]))[0].tolist()
    last = {step: logit for step, logit in zip(segments, logits, strict=True) if step >= 0}
    return [last[step] for step in sorted(last)]


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


AGGREGATES = {
    "product": math.prod,
    "min": min,
    "mean": lambda scores: sum(scores) / len(scores),
    "last": lambda scores: scores[-1],
}


@pytest.mark.parametrize("kind", ["likelihood", "linear"])
@pytest.mark.parametrize("batch_tokens", [7, 16384])
def test_outcomes_against_reading_one_by_one(kind, batch_tokens):
    judge = model(kind)
    found = OutcomeReward(judge, batch_tokens=batch_tokens)(PROMPTS, responses())
    expected = [sigmoid(naive_logits(judge, row, whole=True)[0]) for row in range(5)]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["likelihood", "linear"])
@pytest.mark.parametrize("aggregate", list(AGGREGATES))
def test_steps_against_reading_one_by_one(kind, aggregate):
    judge = model(kind)
    evaluator = ProcessReward(judge, SEGMENT, aggregate=aggregate)
    logits, mask = evaluator.steps(PROMPTS, responses())
    expected = [naive_logits(judge, row, whole=False) for row in range(5)]
    assert mask.sum(dim=1).tolist() == [len(steps) for steps in expected] == [3, 1, 1, 3, 1]
    scores = [AGGREGATES[aggregate](list(map(sigmoid, steps))) for steps in expected]
    torch.testing.assert_close(
        logits[mask], torch.tensor([*itertools.chain(*expected)]), rtol=1e-4, atol=1e-5
    )
    found = evaluator(PROMPTS, responses())
    torch.testing.assert_close(found, torch.tensor(scores), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["likelihood", "linear"])
def test_outcome_in_the_place_of_the_last_step(kind):
    judge = model(kind)
    found = OutcomeProcessReward(judge, SEGMENT, length_normalized=True)(PROMPTS, responses())
    for row, text in enumerate(TEXTS):
        steps = naive_logits(judge, row, whole=False)
        outcome = naive_logits(judge, row, whole=True)[0] if text[-1] == END else -5.0
        scores = [sigmoid(value) for value in [*steps[:-1], outcome]]
        assert float(found[row]) == pytest.approx(math.prod(scores) ** (1 / len(scores)), rel=1e-4)


@pytest.mark.parametrize(
    "evaluator", [OutcomeReward, partial(ProcessReward, segment=SEGMENT),
                  partial(OutcomeProcessReward, segment=SEGMENT)],
)  # fmt: skip
def test_an_empty_response_never_wins(evaluator):
    scores = evaluator(model("likelihood"))(PROMPTS, as_responses([[], [3, 2]]))
    assert scores[0] == 0 and scores[1] > 0


def test_the_model_is_put_back_into_its_mode():
    judge = model("linear").train()
    OutcomeReward(judge)(PROMPTS, responses())
    assert judge.training and judge.backbone.training
    assert all(weights.grad is None for weights in judge.parameters())


def test_wrong_arguments():
    with pytest.raises(InputError, match="aggregate: expected one of product, min, mean, last"):
        ProcessReward(model("linear"), SEGMENT, aggregate="sum")
    with pytest.raises(InputError, match="length_normalized: expected aggregate='product'"):
        ProcessReward(model("linear"), SEGMENT, aggregate="min", length_normalized=True)
