"""Run by ``accelerate launch``: trains under curricula and leaves what each process saw."""

import json
import os
import sys
from pathlib import Path

import torch

from gradatim.curriculum.rank_weights import rank_softmax
from gradatim.integrations.example_losses import attach_self_paced
from gradatim.integrations.transformers_trainer import attach_curriculum
from tests.integrations.trainer_scenario import DIFFICULTY, make

LOADING = {
    "shards": {},
    "split": {"accelerator_config": {"split_batches": True}, "per_device_train_batch_size": 8},
    "dispatch": {"accelerator_config": {"dispatch_batches": True}},
    "self-paced": {},
}


def train(folder: Path, kind: str, resume: str | None = None):
    """A trained model, checkpoints of which stand at updates 2 and 4."""
    saving = {} if resume else {"save_strategy": "steps", "save_steps": 2}
    trainer = make(folder, num_train_epochs=2, ddp_backend="gloo", **LOADING[kind], **saving)
    if kind == "self-paced":
        attach_self_paced(trainer, momentum=0.5, pacing=lambda t: 0.5)
    else:
        attach_curriculum(trainer, DIFFICULTY, weights=lambda t: rank_softmax(0.05 + t))
    trainer.train(resume_from_checkpoint=resume)
    return trainer.model


def main(out: Path) -> None:
    """Train whole and resumed, in each way of loading."""
    torch.set_num_threads(1)
    told = {}
    for kind in LOADING:
        whole = train(out / kind, kind)
        resumed = train(out / kind, kind, str(out / kind / "checkpoint-2"))
        pairs = zip(whole.parameters(), resumed.parameters(), strict=True)
        told[kind] = {
            "seen": whole.seen,
            "again": resumed.seen,
            "same bits": all(torch.equal(one, two) for one, two in pairs),
        }
    (out / f"{os.environ['RANK']}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    if torch.distributed.is_initialized():  # threads left to the interpreter's end may abort it
        torch.distributed.destroy_process_group()
