"""Pairs from easy to hard: the stages, their references, and what may go wrong on the way."""

import copy
import math

import numpy as np
import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.difficulty.pair_difficulty import pair_difficulty
from gradatim.language.log_probabilities import sequence_log_probabilities
from gradatim.language.sampling import Responses, as_responses, sample
from gradatim.networks.decoder import SmallDecoder
from gradatim.objectives.preference import dpo
from gradatim.recipes import curriculum_dpo
from gradatim.recipes.curriculum_dpo import CurriculumDPO
from gradatim.recipes.iterative_dpo import rated_pairs, referenced_pairs
from gradatim.training.checkpoint import list_checkpoints

PROMPTS = [[1], [2], [3], [4, 1], [5, 2], [6, 3]]
END = 7
COPIES = 4


class Interrupted(BaseException):
    """What is raised where a process would be killed."""


def policy():
    torch.manual_seed(7)
    sizes = {"hidden_size": 16, "layers": 1, "window": 3, "embedding_size": 8}
    return SmallDecoder(8, **sizes, decoding_dtype=torch.float32)


def responses(copies=COPIES):
    return sample(policy(), PROMPTS, copies=copies, longest=5, stop=[END], seed=1)


def hits(given):
    """How often a response has the prompt's last token: ratings that tie."""
    wanted = torch.tensor([prompt[-1] for prompt in PROMPTS])[given.prompt]
    return ((given.tokens == wanted[:, None]) & given.mask).sum(dim=1)


def ratings(given):
    """More of the prompt's last token is better; equal ratings are told apart by the row."""
    return hits(given) + torch.linspace(0, 0.5, len(given))


def sgd(parameters):
    return torch.optim.SGD(parameters, 0.5)


def make(model=None, **options):
    settings = {"batch_size": 4, "optimizer": sgd, "precision": "float32", **options}
    return CurriculumDPO(policy() if model is None else model, **settings)


def train(folder=None, model=None, validation=True, seed=3, **options):
    recipe = make(model, **options)
    given = responses()
    held_out = sample(policy(), PROMPTS, copies=3, longest=5, stop=[END], seed=2)
    log = recipe.fit(
        PROMPTS,
        given,
        ratings(given),
        validation=(PROMPTS, held_out, ratings(held_out)) if validation else None,
        seed=seed,
        checkpoint=folder,
    )
    return recipe.policy, log


def same(model, other):
    return all(torch.equal(a, other.state_dict()[name]) for name, a in model.state_dict().items())


def plain_dpo(model, examples, order, batch_size, rate=0.5, warmup=0.1):
    """A loop written out by hand over the pairs in a given order."""
    optimizer = torch.optim.SGD(model.parameters(), rate)
    model.train()
    count = math.ceil(len(order) / batch_size)
    for number in range(count):
        batch = examples[order[number * batch_size : (number + 1) * batch_size].tolist()]
        now = [
            sequence_log_probabilities(
                model, *(batch[f"{side}_{name}"] for name in ("ids", "mask", "response"))
            )
            for side in ("chosen", "rejected")
        ]
        loss = dpo(*now, batch["chosen_reference"], batch["rejected_reference"])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = rate * min(1.0, (number + 1) / max(1, warmup * count))
        optimizer.step()


def test_it_is_a_loop_written_out_by_hand(monkeypatch):
    orders = []
    original = curriculum_dpo._StagedRun._order
    monkeypatch.setattr(
        curriculum_dpo._StagedRun,
        "_order",
        lambda self, number: orders.append(original(self, number)) or orders[-1],
    )
    model, log = train(validation=False)
    given, other = responses(), policy()
    chosen, rejected, gap = rated_pairs(given, ratings(given))
    for stage in range(3):
        rows = torch.arange(stage, len(gap), 3)  # wide gaps first, prompt by prompt
        examples = referenced_pairs(
            other, PROMPTS, chosen.select(rows), rejected.select(rows), dtype=torch.float32
        )
        assert sorted(orders[stage].tolist()) == list(range(len(rows)))
        plain_dpo(other, examples, orders[stage], 4)
        assert log[stage]["difficulty"] == pytest.approx(-float(gap[rows].mean()))
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert [row["pairs"] for row in log] == [6, 6, 6]
    assert log[0]["difficulty"] < log[1]["difficulty"] < log[2]["difficulty"]


def test_a_refreshed_reference_starts_each_stage_at_log_two():
    _, log = train(steps=1, batch_size=6)
    assert [row["loss"] for row in log] == pytest.approx([math.log(2)] * 3, abs=1e-6)
    _, log = train(steps=1, batch_size=6, schedule="fixed_reference")
    assert log[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert all(abs(row["loss"] - math.log(2)) > 1e-4 for row in log[1:])


def test_with_one_stage_the_schedules_are_plain_dpo():
    models = [
        train(stages=1, mode="best_worst", schedule=schedule)[0]
        for schedule in curriculum_dpo.SCHEDULES
    ]
    assert same(models[0], models[1])
    assert same(models[0], models[2])


def test_a_single_pass_sees_the_stages_in_order_and_as_often(monkeypatch):
    seen = []
    plan = curriculum_dpo.OrderedBatches

    def noting(order, size):
        seen.append(order)
        return plan(order, size)

    monkeypatch.setattr(curriculum_dpo, "OrderedBatches", noting)
    train(schedule="single_pass", steps=2, order="hard_to_easy", validation=False)
    assert [(row % 3) for row in seen[0]] == [2] * 8 + [1] * 8 + [0] * 8
    train(scope="global", validation=False)
    assert len(seen[1]) == len(rated_pairs(responses(), ratings(responses()))[2]) / 3


def test_global_stages_are_cut_by_gap():
    _, log = train(scope="global", validation=False)
    _, within = train(validation=False)
    assert log[0]["difficulty"] < within[0]["difficulty"]
    assert sum(row["pairs"] for row in log) == sum(row["pairs"] for row in within)


@pytest.mark.parametrize("how", ["log_probability", "mean_log_probability"])
def test_difficulty_by_log_probability(how):
    given = responses()
    recipe = make(scope="global", stages=2)
    log = recipe.fit(PROMPTS, given, ratings(given), difficulty=how)
    chosen, rejected, _ = rated_pairs(given, ratings(given))
    sums = [one.log_probabilities.sum(1) for one in (chosen, rejected)]
    lengths = {"chosen_lengths": chosen.lengths, "rejected_lengths": rejected.lengths}
    hard = pair_difficulty(*sums, **(lengths if how.startswith("mean") else {})).sort().values
    halves = [half.mean().item() for half in hard.tensor_split(2)]
    assert [row["difficulty"] for row in log] == pytest.approx(halves, rel=1e-4)


def test_the_policy_prefers_what_is_rated_higher():
    given = responses(copies=32)
    recipe = make(optimizer=lambda p: torch.optim.Adam(p, 0.01), steps=15, batch_size=16)
    log = recipe.fit(PROMPTS, given, hits(given), validation=(PROMPTS, given, hits(given)))
    assert log[-1]["preferred"] > 0.9
    assert [row["validation_accuracy"] for row in log] == pytest.approx([1.0] * 3, abs=0.05)
    assert log[-1]["validation_margin"] > log[0]["validation_margin"] > 0
    before, after = (
        hits(sample(one, PROMPTS, copies=60, longest=5, stop=[END])).double().mean()
        for one in (policy(), recipe.policy)
    )
    assert after > before + 1


def test_the_stage_with_the_largest_validation_margin_is_kept(monkeypatch):
    kept = []
    signs = iter([False, True, False])  # the second stage unlearns
    recipe = make(
        optimizer=lambda parameters: torch.optim.SGD(parameters, 1.0, maximize=next(signs))
    )
    validate = curriculum_dpo._StagedRun._validate

    def noting(self, validation):
        kept.append(copy.deepcopy(self.recipe.policy))
        return validate(self, validation)

    monkeypatch.setattr(curriculum_dpo._StagedRun, "_validate", noting)
    given = responses()
    log = recipe.fit(PROMPTS, given, ratings(given), validation=(PROMPTS, given, ratings(given)))
    margins = [row["validation_margin"] for row in log]
    assert int(np.argmax(margins)) == 0
    assert margins[0] > 0 > margins[1]
    assert same(recipe.policy, kept[0])
    assert not same(recipe.policy, kept[2])


@pytest.fixture(scope="module")
def undisturbed():
    return {name: train(schedule=name) for name in curriculum_dpo.SCHEDULES}


every_schedule = pytest.mark.parametrize("name", curriculum_dpo.SCHEDULES)


@every_schedule
def test_a_function_of_its_arguments_and_the_seed(name, undisturbed):
    torch.manual_seed(123)
    torch.rand(5)
    model, log = train(schedule=name)
    assert same(model, undisturbed[name][0])
    assert log == undisturbed[name][1]
    assert not same(train(schedule=name, seed=4)[0], model)


@every_schedule
@pytest.mark.parametrize("call", [1, 2, 4, 5])
def test_interrupted_in_the_training_of_a_stage(name, call, tmp_path, undisturbed):
    calls = 0

    def breaking(parameters):
        optimizer = sgd(parameters)

        def hook(*_):
            nonlocal calls
            calls += 1
            if calls == call:
                raise Interrupted

        optimizer.register_step_pre_hook(hook)
        return optimizer

    with pytest.raises(Interrupted):
        train(tmp_path, schedule=name, optimizer=breaking)
    other = policy()
    torch.nn.init.normal_(other.head.weight)  # the checkpoint holds the first policy, too
    model, log = train(tmp_path, schedule=name, model=other)
    assert same(model, undisturbed[name][0])
    assert log == undisturbed[name][1]
    assert [path.name for path in tmp_path.iterdir()] == ["stages"]


@every_schedule
def test_interrupted_after_a_stage_was_kept(name, tmp_path, undisturbed, monkeypatch):
    save, calls = curriculum_dpo.save_checkpoint, []

    def saving(*arguments, **options):
        save(*arguments, **options)
        calls.append(1)
        if len(calls) == 2:
            raise Interrupted

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(curriculum_dpo, "save_checkpoint", saving)
        train(tmp_path, schedule=name)
    for _ in range(2):  # the second time it only loads its result
        model, log = train(tmp_path, schedule=name)
        assert same(model, undisturbed[name][0])
        assert log == undisturbed[name][1]
    assert len(list_checkpoints(tmp_path / "stages")) == 2


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 4}, "seed = 3, this run has 4"),
        ({"beta": 0.2}, "beta = 0.1, this run has 0.2"),
        ({"order": "hard_to_easy"}, "order = easy_to_hard, this run has hard_to_easy"),
        ({"mode": "all"}, "pairs"),
        ({"validation": False}, "validation"),
    ],
)
def test_other_settings_are_refused(change, named, tmp_path):
    train(tmp_path)
    model = policy()
    with pytest.raises(InputError, match=f"was made with {named}"):
        train(tmp_path, model=model, **change)
    assert same(model, policy())


def test_rated_pairs_of_unequal_numbers_of_responses_in_any_order():
    given = as_responses([[5], [6], [7], [8], [9]])
    mixed = Responses(
        torch.tensor([3, 0, 3, 0, 3]),
        given.tokens,
        given.lengths,
        given.log_probabilities,
        given.finished,
    )
    chosen, rejected, gap = rated_pairs(mixed, torch.tensor([1, 5, 3, 2, 1]))
    assert chosen.prompt.tolist() == rejected.prompt.tolist() == [0, 3, 3]
    assert chosen.lists() == [[6], [7], [7]]
    assert rejected.lists() == [[8], [9], [5]]
    assert gap.tolist() == [3, 2, 2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make(order="easy"), "order: expected one of easy_to_hard, hard_to_easy"),
        (lambda: make(scope="prompt"), "scope: expected one of within_prompt, global"),
        (lambda: make(schedule="fixed"), "schedule: expected one of refreshed_reference"),
        (lambda: make(mode="best"), "mode: expected one of best_vs_rest"),
        (lambda: make(variant="kto"), "variant: expected one of dpo, ipo"),
        (lambda: make(stages=0), "stages: expected"),
        (lambda: make(steps=0), "steps: expected"),
        (lambda: make(batch_size=0), "batch_size: expected"),
        (lambda: make(warmup=1.5), "warmup: expected"),
        (lambda: make(clip_norm=0), "clip_norm: expected"),
        (lambda: make(precision="int8"), "precision: expected one of float32"),
        (lambda: train(stages=4), "stages: expected at most 3 .*, got 4"),
        (
            lambda: make().fit(PROMPTS, responses(), torch.ones(6 * COPIES)),
            "two responses whose ratings differ",
        ),
        (lambda: make().fit(PROMPTS, responses(), torch.ones(3)), "ratings has 3"),
        (
            lambda: make().fit(PROMPTS, responses(), torch.full((6 * COPIES,), math.nan)),
            "ratings: expected finite numbers, got nan at row 0",
        ),
        (
            lambda: make().fit(PROMPTS, responses(), ratings(responses()), difficulty="loss"),
            "difficulty: expected one of rating, log_probability",
        ),
        (
            lambda: make().fit_pairs(
                ([[1]], as_responses([[5]]), as_responses([[6]])), torch.zeros(2)
            ),
            "difficulty has 2",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(InputError, match=message):
        call()
