"""A Trainer of transformers sees what the plan says, also after a resume."""

import sys
from functools import partial

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="needs transformers: pip install 'gradatim[llm]'")

from transformers import TrainerCallback

from gradatim.core.errors import InputError, MissingPackageError
from gradatim.curriculum.orders import easy_to_hard
from gradatim.curriculum.pacing import Pacing
from gradatim.curriculum.practice_orders import interleaved
from gradatim.curriculum.rank_weights import rank_softmax
from gradatim.integrations.example_losses import attach_self_paced
from gradatim.integrations.transformers_trainer import attach_curriculum
from gradatim.training.batches import OrderedBatches, ShuffledBatches
from gradatim.training.curriculum_batches import CurriculumBatches
from tests.integrations.trainer_scenario import DIFFICULTY, EXAMPLES, data, make

WAYS = {
    "order": {"order": easy_to_hard},
    "interleaved": {"order": partial(interleaved, np.arange(EXAMPLES) % 3)},
    "pacing": {"pacing": Pacing("root", start=0.2, end=0.8)},
    "weights": {"weights": lambda t: rank_softmax(0.05 + t)},
    "once an epoch": {"pacing": Pacing(start=0.2), "replacement": False},
}


class Stop(TrainerCallback):
    """Breaks off after an update, once its checkpoint is written."""

    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def expected(way, updates_done, epochs=3, batch=4, seed=42):
    """The batches of a plan, where updates_done(k) are the updates before batch k."""
    more = {"epochs": epochs} if way.get("replacement") is False else {}
    plan = CurriculumBatches(DIFFICULTY, batch, seed=seed, **way, **more)
    total = updates_done(epochs * len(plan))
    numbers = range(epochs * len(plan))
    return [plan.batch(*divmod(k, len(plan)), updates_done(k) / total).tolist() for k in numbers]


@pytest.mark.parametrize("name", WAYS)
def test_the_model_sees_the_plan(tmp_path, name):
    trainer = make(tmp_path)
    attach_curriculum(trainer, DIFFICULTY, **WAYS[name])
    trainer.train()
    assert trainer.model.seen == expected(WAYS[name], lambda k: k)


def test_progress_counts_updates_under_accumulation(tmp_path):
    trainer = make(tmp_path, gradient_accumulation_steps=4)
    attach_curriculum(trainer, torch.tensor(DIFFICULTY), **WAYS["weights"])
    trainer.train()
    # an epoch of 6 batches is an update of 4 and one of 2
    assert trainer.state.max_steps == 6
    done = lambda k: k // 6 * 2 + k % 6 // 4  # noqa: E731
    assert trainer.model.seen == expected(WAYS["weights"], done)


def test_steps_instead_of_epochs(tmp_path):
    trainer = make(tmp_path, max_steps=8, data_seed=5)
    attached = attach_curriculum(trainer, DIFFICULTY, **WAYS["pacing"])
    trainer.train()
    plan = CurriculumBatches(DIFFICULTY, 4, seed=5, **WAYS["pacing"])
    wanted = [plan.batch(*divmod(k, 6), k / 8).tolist() for k in range(8)]
    assert trainer.model.seen == wanted
    assert attached.progress == 1.0


@pytest.mark.parametrize(
    "arguments",
    [
        {"dataloader_num_workers": 2, "dataloader_persistent_workers": True},
        {"accelerator_config": {"split_batches": True}},
        {"accelerator_config": {"dispatch_batches": True}},
        {"remove_unused_columns": True, "dataloader_pin_memory": False},
    ],
    ids=["workers", "split", "dispatch", "columns"],
)
def test_loading_does_not_change_the_order(tmp_path, arguments):
    trainer = make(tmp_path, **arguments)
    attach_curriculum(trainer, DIFFICULTY, **WAYS["weights"])
    trainer.train()
    assert trainer.model.seen == expected(WAYS["weights"], lambda k: k)
    assert trainer.train_dataset.column_names == ["x", "labels", "note"]


def test_the_last_batch_may_be_dropped(tmp_path):
    trainer = make(tmp_path, dataloader_drop_last=True)
    attach_curriculum(trainer, DIFFICULTY, order=easy_to_hard)
    trainer.train()
    assert (
        trainer.model.seen
        == [np.argsort(DIFFICULTY)[i : i + 4].tolist() for i in range(0, 20, 4)] * 3
    )


def test_rows_that_are_no_dataset_of_datasets(tmp_path):
    trainer = make(tmp_path)
    trainer.train_dataset = [data()[i] for i in range(EXAMPLES)]
    attach_curriculum(trainer, DIFFICULTY, **WAYS["pacing"])
    trainer.train()
    assert trainer.model.seen == expected(WAYS["pacing"], lambda k: k)


def test_positions_come_with_each_batch(tmp_path):
    class Compare(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            noted.append(attached.index.tolist())

    noted = []
    trainer = make(tmp_path, eval_strategy="epoch")
    attached = attach_curriculum(trainer, DIFFICULTY, **WAYS["pacing"])
    trainer.add_callback(Compare())
    trainer.train()
    assert noted == trainer.model.seen


def attach(name, trainer):
    if name == "self-paced":
        return attach_self_paced(trainer, momentum=0.5, length=4)
    return attach_curriculum(trainer, DIFFICULTY, **WAYS[name])


@pytest.mark.parametrize(
    ("name", "accumulate", "workers", "early"),
    [
        ("order", 1, 0, 2),
        ("weights", 4, 0, 1),
        ("pacing", 1, 1, 0),
        ("once an epoch", 2, 0, 1),
        ("self-paced", 1, 0, 0),
        ("self-paced", 2, 1, 1),
    ],
)
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, name, accumulate, workers, early):
    """Stopped at the end of the first epoch (early = 0), or so many updates before it."""
    arguments = {
        "gradient_accumulation_steps": accumulate,
        "dataloader_num_workers": workers,
        "save_strategy": "steps",
    }
    whole = make(tmp_path, **{**arguments, "save_strategy": "no"})
    attach(name, whole)
    whole.train()
    step = whole.state.max_steps // 3 - early
    broken = make(tmp_path, save_steps=step, **arguments)
    attach(name, broken)
    broken.add_callback(Stop(step))
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    resumed = make(tmp_path, save_steps=1000, **arguments)
    attach(name, resumed)
    resumed.train(resume_from_checkpoint=True)
    left = len(resumed.model.seen)
    assert 0 < left < len(whole.model.seen)
    assert resumed.model.seen == whole.model.seen[-left:]
    for one, two in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_other_difficulties_are_refused_on_resume(tmp_path):
    arguments = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    first = make(tmp_path, **arguments)
    attach_curriculum(first, DIFFICULTY, order=easy_to_hard)
    first.train()
    other = make(tmp_path, **arguments)
    attach_curriculum(other, DIFFICULTY[::-1].copy(), order=easy_to_hard)
    with pytest.raises(InputError, match="difficulty: expected that which the checkpoint"):
        other.train(resume_from_checkpoint=True)
    longer = make(tmp_path, **{**arguments, "max_steps": 6})
    attach_curriculum(longer, DIFFICULTY, order=easy_to_hard)
    with pytest.raises(InputError, match="max_steps = 4, this run has 6"):
        longer.train(resume_from_checkpoint=True)


def test_a_checkpoint_without_a_curriculum_is_refused(tmp_path):
    arguments = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    make(tmp_path, **arguments).train()
    trainer = make(tmp_path, **arguments)
    attach_curriculum(trainer, DIFFICULTY, order=easy_to_hard)
    with pytest.raises(InputError, match="holds no state of a curriculum"):
        trainer.train(resume_from_checkpoint=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train_sampling_strategy": "group_by_length"}, "group_by_length orders examples"),
        ({"train_sampling_strategy": "sequential"}, "train_sampling_strategy: expected 'random'"),
        ({"ignore_data_skip": True}, "ignore_data_skip: expected False"),
        ({"auto_find_batch_size": True}, "auto_find_batch_size: expected False"),
    ],
)
def test_settings_that_break_the_order_are_refused(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        attach_curriculum(make(tmp_path, **arguments), DIFFICULTY, order=easy_to_hard)


def test_bad_input(tmp_path):
    trainer = make(tmp_path)
    with pytest.raises(InputError, match="each of the trainer's 22 examples, got 21"):
        attach_curriculum(trainer, DIFFICULTY[:-1], order=easy_to_hard)
    with pytest.raises(InputError, match="expected finite"):
        attach_curriculum(
            trainer, np.where(DIFFICULTY == 3, np.nan, DIFFICULTY), order=easy_to_hard
        )
    with pytest.raises(InputError, match="one of the three, got none"):
        attach_curriculum(trainer, DIFFICULTY)
    with pytest.raises(InputError, match="expected none beside a plan"):
        attach_curriculum(trainer, ShuffledBatches(EXAMPLES, 4), pacing=Pacing())
    with pytest.raises(InputError, match=r"batches of 4 examples.*got one of 5"):
        attach_curriculum(trainer, ShuffledBatches(EXAMPLES, 5))
    with pytest.raises(InputError, match=r"expected a Trainer of transformers.*got list"):
        attach_curriculum([], DIFFICULTY, order=easy_to_hard)
    with pytest.raises(InputError, match="the 30 examples that the curriculum is for, got 22"):
        attach_curriculum(trainer, ShuffledBatches(30, 4))
    attach_curriculum(trainer, OrderedBatches(range(EXAMPLES), 4))
    with pytest.raises(InputError, match="one without a curriculum"):
        attach_curriculum(trainer, DIFFICULTY, order=easy_to_hard)


def test_arguments_may_not_change_afterwards(tmp_path):
    trainer = make(tmp_path)
    attach_curriculum(trainer, DIFFICULTY, order=easy_to_hard)
    trainer.args.num_train_epochs = 5
    with pytest.raises(InputError, match=r"epochs: expected 3.* got 5"):
        trainer.train()
    trainer.train_dataset = data().select(range(8))
    with pytest.raises(InputError, match="the 22 examples that the curriculum is for, got 8"):
        trainer.train()


def test_without_transformers(tmp_path, monkeypatch):
    trainer = make(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingPackageError, match=r"gradatim\[llm\]"):
        attach_curriculum(trainer, DIFFICULTY, order=easy_to_hard)
