"""TRL's SFT and DPO trainers see what the plan says, also after a resume."""

import numpy as np
import pytest
import torch

pytest.importorskip("trl", reason="needs trl: pip install 'gradatim[llm]'")

from datasets import Dataset

from gradatim.core.errors import InputError
from gradatim.curriculum.orders import (
    difficulty_bins,
    easy_to_hard,
    lexicographic_order,
)
from gradatim.curriculum.pacing import Pacing
from gradatim.integrations.example_losses import attach_self_paced
from gradatim.integrations.transformers_trainer import attach_curriculum
from gradatim.training.curriculum_batches import CurriculumBatches
from tests.integrations.trl_scenario import (
    DIFFICULTY,
    EXAMPLES,
    dpo,
    grpo,
    note_rows,
    sft,
    texts,
)

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


def same_weights(one, two) -> bool:
    pairs = zip(one.parameters(), two.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_sft_sees_the_plan(tmp_path, accumulate):
    trainer = sft(tmp_path, gradient_accumulation_steps=accumulate)
    seen = note_rows(trainer.model)
    attach_curriculum(trainer, DIFFICULTY, pacing=Pacing("root", start=0.3))
    trainer.train()
    plan = CurriculumBatches(DIFFICULTY, 4, pacing=Pacing("root", start=0.3), seed=42)
    wanted = [
        plan.batch(k // 4, k % 4, k // accumulate * accumulate / 8).tolist() for k in range(8)
    ]
    assert seen == wanted


def test_sft_resumes_exactly(tmp_path):
    def make(**arguments):
        trainer = sft(tmp_path, **arguments)
        attach_curriculum(trainer, DIFFICULTY, pacing=Pacing(), replacement=False)
        return trainer, note_rows(trainer.model)

    whole, seen = make(save_strategy="steps", save_steps=3)
    whole.train()
    resumed, again = make()
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert again == seen[3:]
    assert same_weights(resumed.model, whole.model)


def test_sft_refuses_what_breaks_the_order(tmp_path):
    with pytest.raises(InputError, match="packing: expected False, because packing joins"):
        attach_curriculum(sft(tmp_path, packing=True), DIFFICULTY, order=easy_to_hard)
    with pytest.raises(InputError, match="shuffle_dataset: expected False"):
        attach_curriculum(sft(tmp_path, shuffle_dataset=True), DIFFICULTY, order=easy_to_hard)


def test_sft_drops_rows_whose_difficulties_would_be_anothers(tmp_path):
    long = Dataset.from_list([{"prompt": "a" * 40, "completion": "1"}, *texts()])
    trainer = sft(tmp_path, dataset=long)
    message = "each of the trainer's 14 examples, got 15; the trainer drops examples"
    with pytest.raises(InputError, match=message):
        attach_curriculum(trainer, np.arange(15), order=easy_to_hard)


def test_sft_is_self_paced_by_its_own_losses(tmp_path):
    trainer = sft(tmp_path, learning_rate=0.0)
    for module in trainer.model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0
    seen = note_rows(trainer.model)
    attached = attach_self_paced(trainer, pacing=lambda t: 0.5)
    trainer.train()
    alone = []
    for row in trainer.train_dataset:
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
        with torch.no_grad():
            alone.append(trainer.model.eval()(input_ids=ids, labels=labels).loss)
    losses = torch.stack(alone)
    torch.testing.assert_close(attached.feedback.memory.values, losses, rtol=1e-4, atol=1e-5)
    easiest = set(losses.argsort()[: EXAMPLES // 2].tolist())
    assert all(set(batch) <= easiest for batch in seen[4:])


@pytest.mark.parametrize("precompute", [False, True])
def test_dpo_sees_the_plan(tmp_path, precompute):
    trainer = dpo(tmp_path, precompute_ref_log_probs=precompute)
    attach_curriculum(trainer, DIFFICULTY, order=easy_to_hard)
    seen = note_rows(trainer.model)
    trainer.train()
    hardness = [[int(DIFFICULTY[i]) for i in batch] for batch in seen]
    epoch = [list(range(i, min(i + 4, EXAMPLES))) * 2 for i in range(0, EXAMPLES, 4)]
    assert hardness == epoch * 2  # chosen, then rejected


def test_dpo_goes_through_stages_within_prompts(tmp_path):
    prompt = np.arange(EXAMPLES) // 2
    stage = difficulty_bins(DIFFICULTY, bins=2, group=prompt, seed=0)
    trainer = dpo(tmp_path, num_train_epochs=1, per_device_train_batch_size=7)
    seen = note_rows(trainer.model)
    attach_curriculum(trainer, stage, order=lambda d, seed: lexicographic_order(d, seed=seed))
    trainer.train()
    first, second = (set(batch) for batch in seen)
    assert all(len({2 * p, 2 * p + 1} & first) == 1 for p in range(7))
    assert all(DIFFICULTY[i] < DIFFICULTY[i ^ 1] for i in first)
    assert second == set(range(EXAMPLES)) - first


def test_dpo_resumes_exactly(tmp_path):
    def make(**arguments):
        trainer = dpo(tmp_path, gradient_accumulation_steps=2, **arguments)
        attach_curriculum(trainer, DIFFICULTY, pacing=Pacing("step", steps=3))
        return trainer, note_rows(trainer.model)

    whole, seen = make(save_strategy="steps", save_steps=1)
    whole.train()
    resumed, again = make()
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert again == seen[2:]
    assert same_weights(resumed.model, whole.model)


def test_losses_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(InputError, match="DPOTrainer keeps the losses of its examples to itself"):
        attach_self_paced(dpo(tmp_path))
    with pytest.raises(InputError, match="use attach_target_success"):
        attach_self_paced(grpo(tmp_path, lambda prompts, **_: [0.0]))
