"""Lightning trains on the plan's batches, and takes training up where it stood."""

import numpy as np
import pytest
import torch

pytest.importorskip("lightning", reason="needs lightning: pip install lightning")

import lightning

from gradatim.curriculum.pacing import Pacing
from gradatim.curriculum.rank_weights import rank_softmax
from gradatim.integrations.torch_loader import CurriculumLoader
from gradatim.training.batch_sequence import BatchSequence
from gradatim.training.curriculum_batches import CurriculumBatches
from gradatim.training.self_paced import SelfPaced

pytestmark = pytest.mark.filterwarnings("ignore")
N, EPOCHS = 22, 3
DIFFICULTY = np.random.default_rng(0).normal(size=N)
WAYS = {"pacing": {"pacing": Pacing("root", start=0.2)},
        "weights": {"weights": lambda t: rank_softmax(0.1 + t)}}  # fmt: skip


class Rows(torch.utils.data.Dataset):
    """Numbers that tell which row they are."""

    def __len__(self):
        return N

    def __getitem__(self, position):
        return torch.tensor([position, position % 3, 1.0])


class Module(lightning.LightningModule):
    """A line with dropout, which keeps what it sees."""

    def __init__(self, paced=None):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.paced, self.seen = torch.nn.Linear(2, 1), paced, []

    def training_step(self, batch, number):
        self.seen.append(batch[:, 0].long().tolist())
        losses = self.layer(torch.dropout(batch[:, 1:], 0.3, True))[:, 0].square()
        if self.paced is not None:
            loader = self.trainer.train_dataloader
            self.paced.record(loader.index, losses)
        return losses.mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1)


class SaveRandomness(lightning.Callback):
    """Lightning leaves the generators' state out of its checkpoints."""

    def on_save_checkpoint(self, trainer, module, checkpoint):
        checkpoint["random"] = torch.get_rng_state()

    def on_load_checkpoint(self, trainer, module, checkpoint):
        self.state = checkpoint["random"]

    def on_train_batch_start(self, trainer, module, batch, number):
        if getattr(self, "state", None) is not None:
            torch.set_rng_state(self.state)
            self.state = None


def train(folder, way, resume=None, every=None, **arguments):
    """A trained module, its loader beside it."""
    paced = SelfPaced(N, 4, momentum=0.3) if way == "self-paced" else None
    curriculum = paced or CurriculumBatches(DIFFICULTY, 4, **WAYS[way])
    callbacks = [SaveRandomness()]
    if every:
        callbacks.append(lightning.pytorch.callbacks.ModelCheckpoint(
            folder, "{step}", every_n_train_steps=every, save_top_k=-1))  # fmt: skip
    module = Module(paced)
    trainer = lightning.Trainer(
        max_epochs=EPOCHS, accelerator="cpu", devices=1, logger=False, callbacks=callbacks,
        enable_checkpointing=bool(every), enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder, **arguments)  # fmt: skip
    loader = CurriculumLoader(Rows(), curriculum, epochs=EPOCHS,
                              accumulate=arguments.get("accumulate_grad_batches", 1))  # fmt: skip
    trainer.fit(module, loader, ckpt_path=resume)
    return module


@pytest.mark.parametrize(("way", "accumulate"), [("pacing", 1), ("weights", 3)])
def test_the_model_sees_the_plan(tmp_path, way, accumulate):
    module = train(tmp_path, way, accumulate_grad_batches=accumulate)
    plan = CurriculumBatches(DIFFICULTY, 4, **WAYS[way])
    sequence = BatchSequence(plan, epochs=EPOCHS, accumulate=accumulate)
    assert module.seen == [batch.tolist() for batch in sequence]


@pytest.mark.parametrize("way", [*WAYS, "self-paced"])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, way):
    whole = train(tmp_path, way, every=3)
    for step in (3, 6, 9):  # in the first epoch, at its end, in the second
        resumed = train(tmp_path, way, resume=tmp_path / f"step={step}.ckpt")
        assert resumed.seen == whole.seen[step:]
        for one, two in zip(resumed.parameters(), whole.parameters(), strict=True):
            assert torch.equal(one, two)
