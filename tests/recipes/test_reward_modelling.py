"""Supervised tuning and reward modelling: their losses by hand, and judges that learn."""

from functools import partial
from random import Random

import pytest
import torch
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.evaluators.reward_models import LikelihoodRewardModel, StepRewardModel
from gradatim.evaluators.scorers import ProcessReward
from gradatim.language.response_examples import ResponseExamples
from gradatim.language.sampling import as_responses
from gradatim.language.steps import segment_by_separator
from gradatim.networks.decoder import SmallDecoder
from gradatim.recipes.reward_modelling import RewardModelling, reward_examples, reward_optimizer
from gradatim.recipes.supervised_tuning import SupervisedTuning
from gradatim.studies.data.arithmetic_chains import (
    SEPARATOR,
    STEPS_OF_LEVEL,
    TOKENIZER,
    Chain,
    apply,
    grade,
    step_labels,
)
from gradatim.training import fit

SEGMENT = partial(segment_by_separator, separators=[SEPARATOR])
NAN = float("nan")


def decoder(seed=0, size=12, **options):
    torch.manual_seed(seed)
    options = {"hidden_size": 8, "layers": 1, "window": 3, "embedding_size": 4, **options}
    return SmallDecoder(size, **options)


def test_supervised_loss_is_the_cross_entropy_of_response_tokens():
    model = decoder()
    prompts, texts = [[1, 2], [3]], [[4, 5, 6], [7, 8]]
    batch = ResponseExamples(prompts, as_responses(texts))[[0, 1]]
    loss = SupervisedTuning(chunk_tokens=2).step(model, batch, None)
    expected = 0.0
    for prompt, text in zip(prompts, texts, strict=True):
        ids = torch.tensor([prompt + text])
        logits = model.logits(model(ids, torch.ones_like(ids) > 0))[0, len(prompt) - 1 : -1]
        expected = expected + functional.cross_entropy(logits, torch.tensor(text), reduction="sum")
    torch.testing.assert_close(loss.sum, expected)
    assert int(loss.count) == 5
    with pytest.raises(InputError, match="chunk_tokens"):
        SupervisedTuning(chunk_tokens=0)


def test_supervised_tuning_learns_its_demonstrations():
    model = decoder(hidden_size=16)
    examples = ResponseExamples([[1], [2]], as_responses([[3, 4, 5], [5, 4, 3]]))
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    result = fit(model, examples, SupervisedTuning().step, optimizer=optimizer, steps=80,
                 batch_size=2, precision="float32")  # fmt: skip
    assert result.history[-1]["loss"] < 0.05 < result.history[0]["loss"]


def test_labels_of_outcomes_steps_and_their_union():
    responses = as_responses([[5, 1, 6, 1, 7], [5, 1, 7]])
    segment = partial(segment_by_separator, separators=[1])
    prompts = [[9], [9, 9]]
    labels = torch.tensor([[1.0, 0.0, 0.0], [1.0, NAN, NAN]])
    correct = torch.tensor([0.0, NAN])
    both = reward_examples(
        prompts, responses, correct=correct, step_labels=labels, segment=segment, tokens="last"
    )
    outcomes = reward_examples(prompts, responses, correct=correct, tokens="last")
    steps = reward_examples(prompts, responses, step_labels=labels, segment=segment, tokens="last")
    assert len(both) == 4 and len(outcomes) == len(steps) == 2
    for part, rows in ((outcomes, [0, 1]), (steps, [2, 3])):
        for row, place in enumerate(rows):
            alone, joined = part[[row]], both[[place]]
            assert all(torch.equal(alone[name], joined[name]) for name in alone)
    batch = both[[0, 1, 2, 3]]
    assert batch["ids"][2].tolist() == [9, 5, 1, 6, 1, 7]
    assert batch["segments"].tolist() == [
        [-1, 0, 0, 0, 0, 0], [-1, -1, 0, 0, 0, -1], [-1, 0, 0, 1, 1, 2], [-1, -1, 0, 0, 1, -1],
    ]  # fmt: skip
    assert batch["weights"].tolist() == [
        [0, 0, 0, 0, 0, 1], [0] * 6, [0, 0, 1, 0, 1, 0], [0, 0, 0, 1, 0, 0],
    ]  # fmt: skip
    assert batch["labels"].tolist() == [
        [0.0] * 6, [0.0] * 6, [0, 0, 1.0, 0, 0, 0], [0, 0, 0, 1.0, 0, 0],
    ]  # fmt: skip


def test_scale_and_shift_have_a_rate_of_their_own():
    model = LikelihoodRewardModel(decoder())
    model.backbone.embedding.weight.requires_grad_(False)
    rest, calibration = reward_optimizer(model, 1e-4, calibration_lr=0.1).param_groups
    assert [id(p) for p in calibration["params"]] == [id(model.scale), id(model.shift)]
    assert (calibration["lr"], calibration["weight_decay"]) == (0.1, 0.0)
    assert (rest["lr"], rest["weight_decay"]) == (1e-4, 0.01)
    expected = {id(p) for name, p in model.named_parameters() if "backbone" in name}
    expected.remove(id(model.backbone.embedding.weight))
    assert {id(p) for p in rest["params"]} == expected
    (only,) = reward_optimizer(StepRewardModel(decoder())).param_groups
    assert len(only["params"]) == len(list(StepRewardModel(decoder()).parameters()))
    with pytest.raises(InputError, match="calibration_lr: expected"):
        reward_optimizer(model, calibration_lr=-1.0)


def test_reward_loss_is_the_weighted_mean():
    model = LikelihoodRewardModel(decoder())
    responses = as_responses([[5, 1, 6, 1, 7], [5, 1, 7]])
    examples = reward_examples([[9], [9, 9]], responses, correct=torch.tensor([1.0, 0.0]))
    batch = examples[[0, 1]]
    loss = RewardModelling().step(model, batch, None)
    logits = model(batch["ids"], batch["mask"], batch["segments"])
    counted = batch["response"]
    target = torch.tensor([1.0] * 5 + [0.0] * 3)
    expected = functional.binary_cross_entropy_with_logits(logits[counted], target, reduction="sum")
    torch.testing.assert_close(loss.sum, expected)
    assert float(loss.count) == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "correct, step_labels: expected at least one"),
        ({"step_labels": torch.ones(2, 2)}, "segment: expected a function"),
        ({"step_labels": torch.ones(2, 1), "segment": SEGMENT}, "a label for each of the 2 steps"),
        ({"step_labels": torch.ones(3, 2), "segment": SEGMENT}, "step_labels: expected shape"),
        ({"step_labels": torch.full((2, 2), -1.0), "segment": SEGMENT}, r"numbers in \[0, 1\]"),
        ({"correct": torch.ones(3)}, "correct: expected shape"),
        ({"correct": torch.tensor([2.0, 0.0])}, r"numbers in \[0, 1\] or NaN, got 2.0 at row 0"),
    ],
)
def test_labels_that_do_not_fit(options, message):
    responses = as_responses([[5, SEPARATOR, 6], [7]])
    with pytest.raises(InputError, match=message):
        reward_examples([[9], [9]], responses, **options)


def short_chain(random):
    """Two additions of 1 to 3: few enough facts that a tiny model learns them in seconds."""
    letter, start = random.randrange(20), random.choice("0123456789abcdefg")
    steps = tuple((chr(ord("B") + letter + i), "+", random.choice("123")) for i in range(2))
    question = ";".join([f"{chr(ord('A') + letter)}={start}", *map("".join, steps)]) + "?"
    value = start
    for _, operation, operand in steps:
        value = apply(value, operation, operand)
    return Chain(question, value, 1, start, steps)


def judged_chains(count, seed):
    """Right solutions, and as many with one wrong value; and what they are worth."""
    random = Random(seed)
    chains, texts = [short_chain(random) for _ in range(count)], []
    for number, one in enumerate(chains):
        text = one.solution
        if number % 2:
            place = random.choice([at + 1 for at, letter in enumerate(text) if letter == "="])
            wrong = random.choice("0123456789abcdefg".replace(text[place], ""))
            text = text[:place] + wrong + text[place + 1 :]
        texts.append(text)
    grades = [grade(one, text) for one, text in zip(chains, texts, strict=True)]
    prompts = [TOKENIZER.encode(one.question) for one in chains]
    return prompts, as_responses([TOKENIZER.encode(text) for text in texts]), grades


def test_a_process_reward_model_tells_valid_chains_on_problems_that_it_has_not_seen():
    prompts, responses, grades = judged_chains(600, seed=0)
    assert sum(one.valid for one in grades) == 300
    labels = step_labels(grades, STEPS_OF_LEVEL[1] + 1)
    examples = reward_examples(
        prompts, responses, step_labels=labels, segment=SEGMENT, tokens="last"
    )
    sizes = {"hidden_size": 32, "layers": 2, "window": 7, "embedding_size": 16}
    model = LikelihoodRewardModel(decoder(size=len(TOKENIZER), **sizes))
    options = {"steps": 300, "batch_size": 64, "precision": "float32", "clip_norm": 1.0, "seed": 1}
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    fit(model, examples, RewardModelling().step, optimizer=optimizer, **options)
    seen = set(map(tuple, prompts))
    prompts, responses, grades = judged_chains(400, seed=1)
    scores = ProcessReward(model, SEGMENT, aggregate="min")(prompts, responses)
    new = torch.tensor([tuple(prompt) not in seen for prompt in prompts])
    valid = torch.tensor([one.valid for one in grades])
    assert int((new & valid).sum()) > 100 and int((new & ~valid).sum()) > 100
    area = (scores[new & valid][:, None] > scores[new & ~valid][None]).float().mean()
    assert area > 0.9
