"""Losses of single examples from outputs, and self-paced training inside a Trainer."""

from itertools import chain

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="needs transformers: pip install 'gradatim[llm]'")

from types import SimpleNamespace

from gradatim.core.errors import InputError
from gradatim.integrations.example_losses import attach_self_paced, example_losses
from tests.integrations.trainer_scenario import EXAMPLES, data, make
from tests.language.tiny_models import tiny_model


def test_causal_language_models_lose_what_transformers_says():
    model = tiny_model()
    ids = torch.randint(2, 60, (3, 9), generator=torch.Generator().manual_seed(0))
    labels = ids.clone()
    labels[0, :4] = labels[1, 7:] = -100
    with torch.no_grad():
        values = example_losses(model(ids), labels, shift=True)
        alone = [model(ids[[i]], labels=labels[[i]]).loss for i in range(3)]
    torch.testing.assert_close(values, torch.stack(alone))


def test_other_kinds_of_outputs():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 4, generator=generator, requires_grad=True)
    labels = torch.tensor([[0, 1, -100, 3, 3], [-100] * 5, [2] * 5])
    values = example_losses({"logits": logits}, labels)
    log_probs = logits.log_softmax(-1)
    wanted = -(log_probs[0, 0, 0] + log_probs[0, 1, 1] + log_probs[0, [3, 4], 3].sum()) / 4
    torch.testing.assert_close(values[0], wanted.detach())
    assert values[1] == 0
    assert not values.requires_grad
    fused = SimpleNamespace(log_probs=torch.tensor([[-1.0, -3.0, 0.0]]),
                            label_mask=torch.tensor([[True, True, False]]))  # fmt: skip
    assert example_losses(fused, None).tolist() == [2.0]
    regression = SimpleNamespace(logits=torch.tensor([[1.0], [2.0]]))
    assert example_losses(regression, torch.tensor([0.0, 4.0])).tolist() == [1.0, 4.0]
    for outputs in (SimpleNamespace(), SimpleNamespace(logits=torch.zeros(4, 2))):
        with pytest.raises(InputError, match="losses: expected a model whose outputs tell"):
            example_losses(outputs, torch.zeros(2, dtype=torch.long))


def true_losses(model) -> torch.Tensor:
    rows = data()
    model.eval()
    with torch.no_grad():
        outputs = model(torch.tensor(rows["x"][:]), torch.tensor(rows["labels"][:]))
    return torch.nn.functional.cross_entropy(
        outputs["logits"], torch.tensor(rows["labels"][:]), reduction="none"
    )


def test_self_paced_reads_the_losses_of_the_training_pass(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.nn.functional, "dropout", lambda x, *_: x)
    trainer = make(tmp_path, learning_rate=0.0, num_train_epochs=3, eval_strategy="steps",
                   eval_steps=2)  # fmt: skip
    attached = attach_self_paced(trainer, pacing=lambda t: 0.3)
    trainer.train()
    truth = true_losses(trainer.model)
    torch.testing.assert_close(attached.feedback.memory.values, truth)
    easiest = set(truth.argsort()[: int(np.ceil(0.3 * EXAMPLES))].tolist())
    first, later = trainer.model.seen[:6], trainer.model.seen[6:]
    assert sorted(set(chain(*first))) == list(range(EXAMPLES))
    assert all(set(batch) <= easiest for batch in later)


def test_losses_of_the_users_own(tmp_path):
    trainer = make(tmp_path, num_train_epochs=1)
    attached = attach_self_paced(trainer, losses=lambda outputs, inputs: inputs["x"][:, 0])
    trainer.train()
    torch.testing.assert_close(attached.feedback.memory.values, torch.arange(22.0))
    wrong = make(tmp_path, num_train_epochs=1)
    attach_self_paced(wrong, losses=lambda outputs, inputs: outputs["loss"])
    with pytest.raises(InputError, match=r"one for each of 4 examples, got shape \[\]"):
        wrong.train()
