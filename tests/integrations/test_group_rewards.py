"""TRL's GRPO trainer: whole groups in the plan's order, pass rates from its own rewards."""

from collections import Counter

import numpy as np
import pytest
import torch

pytest.importorskip("trl", reason="needs trl: pip install 'gradatim[llm]'")

from gradatim.core.errors import InputError
from gradatim.curriculum.orders import easy_to_hard
from gradatim.curriculum.pacing import Pacing
from gradatim.curriculum.pass_rates import PassRates
from gradatim.curriculum.weights import success_band_weights
from gradatim.integrations.group_rewards import attach_target_success
from gradatim.integrations.transformers_trainer import attach_curriculum
from tests.integrations.trl_scenario import DIFFICULTY, EXAMPLES, NAMES, grpo, sft

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


class Reward:
    """Rows 0-4 always succeed, 5-8 never, the others every second time; notes what it scores."""

    __name__ = "reward"

    def __init__(self):
        self.batches = []
        self.extra = set()

    def __call__(self, prompts, completions, **more):
        rows = [NAMES.index(prompt) for prompt in prompts]
        self.batches.append(rows)
        self.extra |= set(more)
        return [1.0 if i < 5 else 0.0 if i < 9 else float(k % 2) for k, i in enumerate(rows)]


def pairs_of(order):
    """The batches of 2 prompts with 4 generations each."""
    return [[i for i in order[k : k + 2] for _ in range(4)] for k in range(0, len(order), 2)]


@pytest.mark.parametrize(
    ("arguments", "prompts"),
    [
        ({}, 2),
        ({"steps_per_generation": 2, "per_device_train_batch_size": 4}, 2),
        ({"num_iterations": 2, "gradient_accumulation_steps": 2}, 2),
        ({"steps_per_generation": 3}, 6),
        ({"kind": "RLOO", "beta": 0.0}, 2),
    ],
)
def test_groups_stay_whole_in_the_plans_order(tmp_path, arguments, prompts):
    reward = Reward()
    trainer = grpo(tmp_path, reward, **arguments)
    attach_curriculum(trainer, DIFFICULTY, order=easy_to_hard)
    trainer.train()
    order = np.argsort(DIFFICULTY)[: EXAMPLES // prompts * prompts]
    epoch = [[int(i) for i in order[k : k + prompts] for _ in range(4)]
             for k in range(0, len(order), prompts)]  # fmt: skip
    assert reward.batches == epoch * 2
    assert "example_index" not in reward.extra


def test_pacing_counts_updates_where_generations_are_reused(tmp_path):
    moments = []

    def pacing(t):
        moments.append(t)
        return 1.0

    trainer = grpo(tmp_path, Reward(), num_iterations=2, num_train_epochs=1)
    attach_curriculum(trainer, DIFFICULTY, pacing=pacing)
    moments.clear()
    trainer.train()
    assert trainer.state.max_steps == 14
    assert moments == [2 * k / 14 for k in range(7)]


def test_pass_rates_come_from_the_rewards(tmp_path):
    reward = Reward()
    trainer = grpo(tmp_path, reward, num_train_epochs=1)
    rates = PassRates(EXAMPLES)
    attached = attach_target_success(trainer, rates=rates)
    trainer.train()
    drawn = Counter(i for rows in reward.batches for i in rows)
    assert rates.attempts.tolist() == [drawn[i] for i in range(EXAMPLES)]
    share = [1.0] * 5 + [0.0] * 4 + [0.5] * 5
    assert rates.successes.tolist() == [drawn[i] * share[i] for i in range(EXAMPLES)]
    assert attached.feedback.rates is rates


@pytest.mark.parametrize("forever", [True, False])
def test_prompts_without_variance_are_dropped(tmp_path, forever):
    reward = Reward()
    trainer = grpo(tmp_path, reward, num_train_epochs=6)
    attach_target_success(trainer, weight=success_band_weights if forever else None)
    trainer.train()
    assert len(reward.batches) == 42
    early, late = reward.batches[:7], reward.batches[28:]
    assert any(i < 9 for rows in early for i in rows)
    known = {i for rows in reward.batches[:28] for i in rows}
    again = {i for rows in late for i in rows if i < 9}
    if forever:
        assert not again & known
    useful = np.mean([i >= 9 for rows in late for i in rows])
    assert useful > (0.9 if forever else 0.75)


def test_what_counts_as_solved_is_the_users(tmp_path):
    def style(prompts, **more):
        return [None if NAMES.index(p) == 3 else 1.0 for p in prompts]

    def answer(prompts, **more):
        return [None if NAMES.index(p) in (3, 4) else -1.0 for p in prompts]

    def solved(rewards):
        noted.extend(rewards.tolist())
        return rewards[:, 1] > 0

    noted = []
    trainer = grpo(tmp_path, [style, answer], num_train_epochs=2)
    rates = PassRates(EXAMPLES)
    attach_target_success(trainer, solved=solved, rates=rates, weight=torch.ones_like)
    trainer.train()
    assert not rates.successes.any()
    assert rates.attempts[3] == 0  # no function scored it
    assert rates.attempts[4] > 0
    assert rates.attempts.sum() == sum(not np.isnan(row).all() for row in noted)


@pytest.mark.parametrize("way", ["pacing", "target success"])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, way):
    def make(**arguments):
        reward = Reward()
        trainer = grpo(tmp_path, reward, num_iterations=2, gradient_accumulation_steps=2,
                       num_train_epochs=3, **arguments)  # fmt: skip
        if way == "pacing":
            attach_curriculum(trainer, DIFFICULTY, pacing=Pacing(start=0.4))
        else:
            attach_target_success(trainer, length=4)
        return trainer, reward

    whole, seen = make(save_strategy="steps", save_steps=4)
    whole.train()
    resumed, again = make()
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert again.batches == seen.batches[4:]
    for one, two in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_run_resumed_between_steps_that_share_generations_samples_anew(tmp_path):
    def make(**arguments):
        reward = Reward()
        trainer = grpo(tmp_path, reward, num_iterations=2, num_train_epochs=1, **arguments)
        attach_curriculum(trainer, DIFFICULTY, order=easy_to_hard)
        return trainer, reward

    whole, seen = make(save_strategy="steps", save_steps=3)
    whole.train()
    resumed, again = make()
    with pytest.warns(UserWarning, match="save_steps: expected a multiple of 2"):
        resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert again.batches == seen.batches[1:]


def test_trainers_without_groups_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected one that scores groups.*got SFTTrainer"):
        attach_target_success(sft(tmp_path))
    trainer = grpo(tmp_path, Reward(), per_device_train_batch_size=60)
    with pytest.raises(InputError, match="batch_size"):
        attach_curriculum(trainer, DIFFICULTY, order=easy_to_hard)
