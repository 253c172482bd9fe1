"""iTool: its phases, its steps against the objectives, and runs that are broken off."""

import copy
import math

import numpy as np
import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.language.characters import CharacterTokenizer
from gradatim.language.environments import Turn
from gradatim.language.response_examples import ResponseExamples
from gradatim.language.sampling import as_responses
from gradatim.mining.tree_search import FragmentPair, TreeSearchPairs
from gradatim.networks.decoder import SmallDecoder
from gradatim.recipes import reinforced_fine_tuning
from gradatim.recipes.reinforced_fine_tuning import IterativeReinforcedFineTuning
from gradatim.recipes.supervised_tuning import SupervisedTuning
from gradatim.training.checkpoint import list_checkpoints
from gradatim.training.fit import fit

TOKENS = CharacterTokenizer("ab:.")
STOP = TOKENS.encode(".")
TASKS = ["a", "b", "ab", "ba", "aab", "bba", "bab", "aba", "abab"]
LENGTHS = [len(task) for task in TASKS]


class Interrupted(BaseException):
    """What is raised where a process would be killed."""


class Swap:
    """The answer has a for b and b for a."""

    def prompt(self, task):
        return f"{task}:"

    def step(self, task, answer):
        return Turn()

    def verify(self, task, answer):
        right = answers([task])[0]
        return sum(a == b for a, b in zip(answer, right, strict=False)) / max(
            len(answer), len(right)
        )


def answers(tasks):
    return [task.translate(str.maketrans("ab", "ba")) for task in tasks]


def policy(seed=7):
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "layers": 1, "window": 3, "embedding_size": 8}
    return SmallDecoder(len(TOKENS), **sizes, decoding_dtype=torch.float32)


def make(model=None, **options):
    settings = {
        "search": TreeSearchPairs(separators=TOKENS.encode("ab"), group=1, iterations=2, turns=0),
        "longest": 5,
        "temperature": 1.0,
        "stages": 3,
        "supervised_steps": 12,
        "rounds": 2,
        "ratio": 0.5,
        "steps": 4,
        "batch_size": 4,
        "supervised_optimizer": lambda some: torch.optim.SGD(some, 0.3),
        "optimizer": lambda some: torch.optim.SGD(some, 0.1),
        "precision": "float32",
        **options,
    }
    return IterativeReinforcedFineTuning(model or policy(), Swap(), TOKENS, STOP, **settings)


def train(folder=None, seed=3, **options):
    recipe = make(**options)
    log = recipe.fit(TASKS, answers(TASKS), LENGTHS, seed=seed, checkpoint=folder)
    return recipe.policy, log


def same(model, other):
    return all(torch.equal(a, other.state_dict()[name]) for name, a in model.state_dict().items())


def test_figures_of_all_phases():
    model, log = train()
    assert [sorted(row) for row in log] == [
        ["loss"],
        *[["loss", "pairs", "perplexity", "preferred", "reward"]] * 2,
    ]
    again, _ = train()
    assert same(model, again) and not same(model, train(seed=4)[0])
    assert all(math.isfinite(value) for row in log for value in row.values())
    assert all(0 <= row["reward"] <= 1 and row["pairs"] >= 1 for row in log[1:])


def test_supervised_phase_by_hand():
    """Plain updates in the same order, with a rate that rises and falls."""
    model, seen = policy(), []

    class Watched(SupervisedTuning):
        def step(self, model, batch, state):
            seen.append(state.index.tolist())
            return super().step(model, batch, state)

    original = reinforced_fine_tuning.SupervisedTuning
    reinforced_fine_tuning.SupervisedTuning = Watched
    try:
        trained, _ = train(rounds=0, clip_norm=None)
    finally:
        reinforced_fine_tuning.SupervisedTuning = original
    examples = ResponseExamples(
        [TOKENS.encode(f"{task}:") for task in TASKS],
        as_responses([[*TOKENS.encode(one), *STOP] for one in answers(TASKS)]),
    )
    assert len(seen) == 12
    for number, rows in enumerate(seen):
        batch = examples[rows]
        logs = model.logits(model(batch["ids"], batch["mask"])).log_softmax(-1)[:, :-1]
        own = logs.gather(2, batch["ids"][:, 1:, None])[..., 0][batch["response"][:, 1:]]
        model.zero_grad()
        (-own.mean()).backward()
        rise = min(1.0, (number + 1) / 1.2)
        fall = 0.5 * (1 + math.cos(math.pi * max(0.0, number - 1.2) / 10.8))
        with torch.no_grad():
            for weight in model.parameters():
                weight -= 0.3 * rise * fall * weight.grad
    for name, value in model.state_dict().items():
        assert torch.allclose(value, trained.state_dict()[name], atol=1e-5)


def test_stages_go_from_easy_to_hard():
    """A third of the updates each, and every example of a stage before one comes twice."""
    run = reinforced_fine_tuning._Run(
        make(), TASKS, answers(TASKS), np.array(LENGTHS), None, 0, None
    )
    order = run._order()
    lengths = np.array(LENGTHS)[order]
    assert len(order) == 48
    assert lengths[:16].max() <= lengths[16:32].min()
    assert lengths[16:32].max() <= lengths[32:].min()
    assert all(len(set(order[start : start + 3])) == 3 for start in (0, 16, 32))
    run.recipe = make(order="shuffled")
    assert sorted(run._order()[:9]) == list(range(9))


def test_perplexity_is_that_of_the_reference():
    """Uniform over the vocabulary gives its size; otherwise the mean over answer tokens."""
    flat = policy()
    torch.nn.init.zeros_(flat.head.weight)
    for model in (flat, policy()):
        run = reinforced_fine_tuning._Run(
            make(model), TASKS, answers(TASKS), np.array(LENGTHS), None, 0, None
        )
        found = run._perplexity()
        if model is flat:
            assert torch.allclose(found, torch.full((9,), float(len(TOKENS))))
            continue
        for row, task in enumerate(TASKS):
            ids = torch.tensor([run.prompts[row] + run.answers[row]])
            logs = model.logits(model(ids, torch.ones_like(ids, dtype=torch.bool))).log_softmax(-1)
            own = logs[0, :-1].gather(1, ids[0, 1:, None])[len(task) :, 0]
            assert float(found[row]) == pytest.approx(math.exp(-own.mean().item()), rel=1e-4)


@pytest.mark.parametrize(("objective", "beta"), [("simpo", 2.5), ("dpo", 0.1)])
def test_a_round_takes_the_steps_of_its_objective(monkeypatch, objective, beta):
    """The loss at the first update, on given pairs of unequal length."""
    model, losses = policy(), []
    recipe = make(supervised_steps=0, rounds=1, objective=objective, beta=beta)
    run = reinforced_fine_tuning._Run(
        recipe, TASKS, answers(TASKS), np.array(LENGTHS), None, 0, None
    )
    pairs = [
        FragmentPair(0, (1, 3), (2, 4), (1,), 1.0, 1),
        FragmentPair(1, (2, 3), (1,), (2, 2, 4), 1.0, 1),
    ]

    def first_update(number, examples, step, *rest):
        losses.append(step(model, examples[[0, 1]], None).sum.item())
        return [{"loss": 0.0, "preferred": 0.0}]

    monkeypatch.setattr(run, "_fit", first_update)
    run._prefer(pairs, 1)
    margins = [
        2.5
        * (mean_log(model, pair.prefix, pair.chosen) - mean_log(model, pair.prefix, pair.rejected))
        - 0.5
        for pair in pairs
    ]
    simpo = sum(math.log1p(math.exp(-margin)) for margin in margins)
    expected = simpo if objective == "simpo" else 2 * math.log(2)
    assert losses == [pytest.approx(expected, rel=1e-4)]


def mean_log(model, prefix, piece):
    """The mean log-probability of a piece behind its prefix."""
    ids = torch.tensor([[*prefix, *piece]])
    logs = model.logits(model(ids, torch.ones_like(ids, dtype=torch.bool))).log_softmax(-1)
    return logs[0, :-1].gather(1, ids[0, 1:, None])[len(prefix) - 1 :].mean().item()


def test_preference_learning_prefers():
    """Rounds alone raise the reward of what is sampled."""
    first, _ = train(rounds=0, supervised_steps=200)
    separators = TOKENS.encode("ab")
    recipe = make(
        copy.deepcopy(first), supervised_steps=0, rounds=4, ratio=1.0, steps=15,
        search=TreeSearchPairs(separators, group=1, copies=4, depth=5, iterations=4, turns=0),
        optimizer=lambda some: torch.optim.Adam(some, 1e-3),
    )  # fmt: skip
    log = recipe.fit(TASKS, answers(TASKS), LENGTHS)
    assert len(log) == 4
    assert log[-1]["reward"] > log[0]["reward"] + 0.05


def test_dpo_and_defaults_of_steps():
    """The other objective runs; without steps each pair is seen twice."""
    _, log = train(objective="dpo", beta=0.1, steps=None, rounds=1, most_pairs=3)
    assert log[1]["pairs"] >= 1
    assert log[1]["loss"] == pytest.approx(math.log(2), abs=0.2)


def test_nothing_to_prefer():
    """A policy whose answers are all alike is left as it is."""
    search = TreeSearchPairs(separators=(), min_gap=5.0, turns=0)
    model, log = train(search=search, supervised_steps=0)
    assert [row["pairs"] for row in log] == [0.0, 0.0]
    assert same(model, policy())


@pytest.mark.parametrize("phase", [0, 1, 2])
def test_a_run_that_is_killed_goes_on(tmp_path, monkeypatch, phase):
    """After any phase, and in its middle, with the same bits."""
    whole, log = train()
    calls = {"phase": -1}

    def interrupted(model, examples, step, **options):
        calls["phase"] += 1
        if calls["phase"] != phase:
            return fit(model, examples, step, **options)
        taken = {"updates": 0}

        def killed(model, batch, state):
            taken["updates"] += 1
            if taken["updates"] == 3:
                raise Interrupted
            return step(model, batch, state)

        return fit(model, examples, killed, **options)

    monkeypatch.setattr(reinforced_fine_tuning, "fit", interrupted)
    with pytest.raises(Interrupted):
        train(tmp_path)
    monkeypatch.undo()
    resumed, again = train(tmp_path)
    assert again == log and same(whole, resumed)
    finished, kept = train(tmp_path)
    assert kept == log and same(whole, finished)
    assert len(list_checkpoints(tmp_path / "phases")) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["phases"]


def test_another_run_is_not_taken_up(tmp_path):
    train(tmp_path, rounds=1)
    with pytest.raises(InputError, match="rounds"):
        train(tmp_path, rounds=2)
    with pytest.raises(InputError, match="search"):
        train(tmp_path, rounds=1, search=TreeSearchPairs())


@pytest.mark.parametrize(
    "wrong",
    [{"order": "hard"}, {"objective": "ppo"}, {"stages": 0}, {"supervised_steps": -1},
     {"rounds": -1}, {"ratio": 0}, {"temperature": 0}, {"steps": 0}, {"batch_size": 0},
     {"clip_norm": 0}, {"precision": "int8"}, {"beta": 0}, {"target_margin": -1},
     {"longest": 0}, {"most_pairs": 0}],
)  # fmt: skip
def test_settings_out_of_range(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        make(**wrong)


def test_bad_input():
    with pytest.raises(InputError, match="stop"):
        IterativeReinforcedFineTuning(policy(), Swap(), TOKENS, [])
    with pytest.raises(InputError, match="tasks"):
        make().fit([], [], [])
    with pytest.raises(InputError, match="answers"):
        make().fit(TASKS, ["a"], LENGTHS)
    with pytest.raises(InputError, match="difficulty"):
        make().fit(TASKS, answers(TASKS), [math.nan] * len(TASKS))
    with pytest.raises(InputError, match="stages"):
        make(stages=4).fit(TASKS[:2], answers(TASKS[:2]), [1, 2])
