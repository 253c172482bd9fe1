"""Self-distillation inside a Trainer of transformers against the same steps by hand."""

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="needs transformers: pip install 'gradatim[llm]'")

from datasets import Dataset, IterableDataset
from torch.nn import functional
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from gradatim.core.errors import InputError
from gradatim.curriculum.pacing import Pacing
from gradatim.integrations.past_targets import attach_self_distillation
from gradatim.targets.compact_predictions import CompactPredictions
from gradatim.training.batches import ShuffledBatches
from gradatim.training.curriculum_batches import CurriculumBatches

EXAMPLES, CLASSES, BATCH, EPOCHS = 22, 3, 4, 3


def data() -> Dataset:
    ids = np.random.default_rng(0).integers(1, 20, size=(EXAMPLES, 6))
    mask = (np.arange(6) < 4 + np.arange(EXAMPLES)[:, None] % 3).astype(int)
    labels = ids[:, 0] % CLASSES
    return Dataset.from_dict({"input_ids": ids, "attention_mask": mask, "labels": labels})


def bert(dropout=0.0, **settings):
    torch.manual_seed(0)
    return BertForSequenceClassification(
        BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
                   intermediate_size=8, max_position_embeddings=8, num_labels=CLASSES,
                   hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, **settings)
    )  # fmt: skip


def make(folder, model=None, train=None, **arguments):
    settings = {
        "per_device_train_batch_size": BATCH, "num_train_epochs": EPOCHS, "learning_rate": 0.05,
        "save_strategy": "no", "report_to": [], "disable_tqdm": True, "use_cpu": True,
        "optim": "sgd", "lr_scheduler_type": "constant", "max_grad_norm": 0.0,
        "logging_strategy": "no", **arguments,
    }  # fmt: skip
    return Trainer(model=model or bert(), args=TrainingArguments(str(folder), **settings),
                   train_dataset=train or data(), eval_dataset=data().select(range(5)))  # fmt: skip


def by_hand(model, alpha=0.8, accumulate=1):
    """The trainer's own examples, in the order of the plan."""
    rows = {name: torch.tensor(values) for name, values in data().to_dict().items()}
    labels = rows.pop("labels")
    bank = functional.one_hot(labels, CLASSES).float()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    plan = ShuffledBatches(EXAMPLES, BATCH, seed=42)
    model.train()
    for epoch in range(EPOCHS):
        share = alpha * (epoch + 1) / EPOCHS
        for start in range(0, len(plan), accumulate):
            places = range(start, min(start + accumulate, len(plan)))
            batches = [torch.from_numpy(plan.batch(epoch, place, 0.0)) for place in places]
            for index in batches:
                logits = model(**{name: rows[name][index] for name in rows}).logits
                target = (1 - share) * functional.one_hot(labels[index], CLASSES)
                target = target + share * bank[index]
                bank[index] = logits.softmax(1).detach()
                loss = functional.cross_entropy(logits, target, reduction="sum")
                (loss / sum(map(len, batches))).backward()
            optimizer.step()
            optimizer.zero_grad()
    return bank


def assert_same(model, reference, **tolerance):
    for ours, other in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours.cpu(), other, **tolerance)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_the_trainer_makes_the_steps_of_the_paper(tmp_path, accumulate):
    trainer, reference = make(tmp_path, gradient_accumulation_steps=accumulate), bert()
    attached = attach_self_distillation(trainer)
    trainer.train()
    bank = by_hand(reference, accumulate=accumulate)
    assert_same(trainer.model, reference, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(attached.feedback.recipe.past.values, bank, rtol=1e-4, atol=1e-5)


def test_at_alpha_0_it_is_the_trainer_alone(tmp_path):
    trainer, reference = make(tmp_path), bert()
    attach_self_distillation(trainer, alpha=0.0)
    trainer.train()
    by_hand(reference, alpha=0.0)
    assert_same(trainer.model, reference, rtol=1e-4, atol=1e-6)


def test_evaluation_is_cross_entropy_and_keeps_nothing(tmp_path):
    trainer = make(tmp_path, num_train_epochs=1, eval_strategy="steps", eval_steps=2)
    attached = attach_self_distillation(trainer)
    trainer.train()
    assert attached.feedback.recipe.past.memory.count.tolist() == [1] * EXAMPLES
    rows = {name: torch.tensor(values) for name, values in trainer.eval_dataset.to_dict().items()}
    with torch.no_grad():
        wanted = trainer.model.eval()(**rows).loss
    assert trainer.evaluate()["eval_loss"] == pytest.approx(float(wanted), rel=1e-4)


class Stop(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("stop", "top_k"), [(6, None), (9, None), (9, 2)])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, stop, top_k):
    def attach(trainer):
        past = CompactPredictions(EXAMPLES, CLASSES, top_k=top_k) if top_k else None
        return attach_self_distillation(trainer, past=past)

    saving = {"save_strategy": "steps", "save_steps": 3, "optim": "adamw_torch"}
    whole = make(tmp_path / "whole", bert(0.3), **saving)
    attach(whole)
    whole.train()
    broken = make(tmp_path / "broken", bert(0.3), **saving)
    attach(broken)
    broken.add_callback(Stop(stop))
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    resumed = make(tmp_path / "broken", bert(0.3), **saving)
    attached = attach(resumed)
    resumed.train(resume_from_checkpoint=True)
    assert_same(resumed.model, whole.model, rtol=0, atol=0)
    everything = torch.arange(EXAMPLES)
    past = whole.gradatim_curriculum.feedback.recipe.past
    assert torch.equal(attached.feedback.recipe.past.targets(everything), past.targets(everything))
    other = make(tmp_path / "broken", bert(0.3), **saving)
    attach_self_distillation(other, alpha=0.5, past=attached.feedback.recipe.past)
    with pytest.raises(InputError, match=r"alpha: expected 0\.8"):
        other.train(resume_from_checkpoint=True)


def test_a_curriculum_as_the_plan(tmp_path):
    plan = CurriculumBatches(np.arange(EXAMPLES), BATCH, pacing=Pacing("root", start=0.3))
    trainer = make(tmp_path)
    attached = attach_self_distillation(trainer, batches=plan)
    trainer.train()
    counts = attached.feedback.recipe.past.memory.count
    assert int(counts.sum()) == EPOCHS * len(plan) * BATCH
    assert counts[0] > counts[-1]


def test_masked_labels_and_models_without_a_configuration(tmp_path):
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.layer = torch.nn.Linear(6, CLASSES)

        def forward(self, input_ids, labels=None):
            return (self.layer(input_ids.float() / 20),)

    labels = np.where(np.arange(EXAMPLES) % 4 == 0, -100, np.arange(EXAMPLES) % 3)
    rows = Dataset.from_dict({"input_ids": data()["input_ids"], "labels": labels})
    with pytest.raises(InputError, match="num_classes: expected the number of classes"):
        attach_self_distillation(make(tmp_path, Plain(), rows))
    trainer, reference = make(tmp_path, Plain(), rows), Plain()
    attach_self_distillation(trainer, alpha=0.0, num_classes=CLASSES)
    trainer.train()
    x, y = torch.tensor(rows["input_ids"][:]), torch.tensor(labels)
    optimizer, plan = (
        torch.optim.SGD(reference.parameters(), 0.05),
        ShuffledBatches(EXAMPLES, BATCH, seed=42),
    )
    for number in range(EPOCHS * len(plan)):
        index = torch.from_numpy(plan.batch(*divmod(number, len(plan)), 0.0))
        functional.cross_entropy(reference(x[index])[0], y[index]).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert_same(trainer.model, reference, rtol=1e-4, atol=1e-6)


class Own(Trainer):
    def compute_loss(self, *args, **kwargs):
        return super().compute_loss(*args, **kwargs)


def own_loss(folder):
    made = make(folder)
    return Own(model=made.model, args=made.args, train_dataset=data())


def given_loss(folder):
    made = make(folder)
    return Trainer(
        model=made.model,
        args=made.args,
        train_dataset=data(),
        compute_loss_func=lambda outputs, labels, **_: outputs.logits.sum(),
    )


def stream(folder):
    rows = IterableDataset.from_generator(lambda: iter(data()))
    return make(folder, train=rows, max_steps=2)


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        (lambda f: make(f, label_smoothing_factor=0.1), "label_smoothing_factor: expected 0"),
        (given_loss, "compute_loss_func: expected none"),
        (own_loss, "trainer: expected the loss of transformers' Trainer, got Own"),
        (stream, "train_dataset: expected data with a length and positions"),
        (lambda f: make(f, bert(problem_type="multi_label_classification")), "one label"),
        (lambda f: make(f, ignore_data_skip=True), "ignore_data_skip: expected False"),
        (lambda f: Trainer(model=bert(), args=make(f).args), "train_dataset: expected data"),
    ],
)
def test_refused(tmp_path, trainer, message):
    with pytest.raises(InputError, match=message):
        attach_self_distillation(trainer(tmp_path))


def test_refused_when_it_shows(tmp_path):
    with pytest.raises(InputError, match="at least 2 classes, got 1"):
        attach_self_distillation(make(tmp_path), num_classes=1)
    with pytest.raises(InputError, match="alpha: expected"):
        attach_self_distillation(make(tmp_path), alpha=2.0)
    trainer = make(tmp_path)
    attach_self_distillation(trainer, num_classes=5)
    with pytest.raises(InputError, match=r"logits: expected shape \[4, 5\]"):
        trainer.train()
    token = make(tmp_path)
    attach_self_distillation(token)
    with pytest.raises(InputError, match=r"logits \[B, C\] and labels \[B\]"):
        token.compute_loss_func({"logits": torch.zeros(2, 3, 4)}, torch.zeros(2, 3))
