"""Preference tuning from easy to hard in TRL: one ``DPOTrainer`` a stage, with fresh references."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gradatim.core.cache import content_hash
from gradatim.core.errors import InputError
from gradatim.core.lazy import require
from gradatim.curriculum.orders import Values, as_values, difficulty_bins
from gradatim.training.checkpoint import (
    check_settings,
    load_checkpoint,
    open_folder,
    save_checkpoint,
)

MakeTrainer = Callable[[Any, Any, Any, int], Any]
"""From model, reference (or None), the stage's pairs and its number to a trainer."""


def train_in_stages(
    make_trainer: MakeTrainer,
    model: Any,
    pairs: Any,
    difficulty: Values,
    *,
    stages: int = 3,
    group: Values | Sequence[str] | None = None,
    refresh_reference: bool = True,
    folder: str | Path | None = None,
    seed: int = 0,
) -> list[dict[str, float]]:
    r"""Train a model on pairs from easy to hard, each stage in a trainer of its own.

    The reference of a stage is the model that the stage before left,
    :math:`\pi^{ref}_t = \pi_{t-1}`, or always the first one. ``make_trainer`` gets the model, the
    reference to hand on as ``ref_model``, the stage's pairs and its number from 0::

        def make_trainer(model, reference, pairs, stage):
            args = DPOConfig(f"runs/stage-{stage}", num_train_epochs=1)
            return DPOTrainer(model, reference, args=args, train_dataset=pairs, ...)

    A model with adapters (peft) needs no second copy: the reference is None then, and TRL copies
    the adapter as it is when the trainer is made. Wrap the model beforehand; ``peft_config`` in
    the trainer would begin a new adapter in every stage.

    With a ``folder`` the weights that train are kept after every stage; a run that was killed goes
    on with the stage it was in, from the trainer's own last checkpoint if it saves any (give each
    stage an ``output_dir`` of its own).

    Args:
        make_trainer: makes the ``DPOTrainer`` of a stage (or another that derives from it).
        model: a model of transformers, or of peft with one adapter, ``default``; it is trained in
            place.
        pairs: a ``datasets.Dataset`` of preference pairs.
        difficulty: one number a pair, higher = harder, shape [P]; see
            :func:`gradatim.difficulty.pair_difficulty.pair_difficulty`.
        stages: how many stages.
        group: the prompt of each pair, shape [P]: the easiest pair of each prompt comes first,
            then the next of each. None cuts all pairs by difficulty.
        refresh_reference: False keeps the first model as the reference of all stages; for models
            without adapters only.
        folder: where to keep what is needed to resume; None keeps nothing.
        seed: which of equally difficult pairs comes to which stage depends on it.

    Returns:
        For each stage its number of pairs, mean difficulty, updates, and mean training loss.

    Raises:
        InputError: unequal numbers of pairs and difficulties, a stage without a pair, a trainer
            without the model or the pairs it was given, a fixed reference for adapters, or a folder
            of other pairs or settings.
        MissingPackageError: transformers is not installed.

    Source: Pattnaik et al. 2024, arXiv 2403.07230, section 3.
    """
    require("transformers", extra="llm", why="to train in stages")
    values = as_values("difficulty", difficulty)
    if len(values) != len(pairs):
        raise InputError(
            f"difficulty: expected one number for each of the {len(pairs)} pairs, got {len(values)}"
        )
    stage = difficulty_bins(values, stages, group=group, seed=seed)
    rows = [np.flatnonzero(stage == number) for number in range(stages)]
    if not all(map(len, rows)):
        raise InputError(
            f"stages: expected at most {sum(map(bool, map(len, rows)))}, since no prompt has more "
            f"pairs (or there are no more in all), got {stages}"
        )
    adapters = hasattr(model, "peft_config")
    if adapters and not refresh_reference:
        raise InputError(
            "refresh_reference: expected True for a model with adapters, whose trainer takes the "
            "present adapter as the reference"
        )
    # Copied before a trainer patches the model: a copy of the patches would call the original.
    reference = None if adapters else copy.deepcopy(model)
    kept = _Kept(folder, model, {"stages": content_hash(stage), "refreshed": refresh_reference})
    log = kept.resume()
    for number in range(len(log), stages):
        if reference is not None and refresh_reference:
            reference.load_state_dict(model.state_dict())
        trainer = make_trainer(model, reference, pairs.select(rows[number]), number)
        _check_trainer(trainer, model, len(rows[number]))
        result = trainer.train(resume_from_checkpoint=kept.inside(trainer))
        if adapters and "ref" in model.peft_config:
            model.delete_adapter("ref")  # the next trainer makes it anew
        log.append(
            {
                "pairs": float(len(rows[number])),
                "difficulty": float(values[rows[number]].mean()),
                "updates": float(result.global_step),
                "loss": float(result.training_loss),
            }
        )
        kept.save(log)
    return log


class _Kept:
    """What a run in stages keeps on disk."""

    def __init__(self, folder: str | Path | None, model: Any, settings: dict[str, Any]) -> None:
        self.folder = None if folder is None else Path(folder)
        self.model, self.settings = model, settings
        self.resumed = False

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights that train: all of them, or those of the adapter."""
        return {
            name: value.detach()
            for name, value in self.model.named_parameters(remove_duplicate=False)
            if value.requires_grad
        }

    def resume(self) -> list[dict[str, float]]:
        """The figures of the stages that are done, whose weights are taken up."""
        newest = None if self.folder is None else open_folder(self.folder)
        if newest is None:
            self.save([])
            return []
        weights, state = load_checkpoint(newest)
        check_settings(state["settings"], self.settings, str(newest))
        own = self.weights()
        if weights.keys() != own.keys() or any(
            weights[name].shape != own[name].shape for name in own
        ):
            raise InputError(f"{newest}: holds the weights of another model")
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(weights[name])
        self.resumed = True
        log: list[dict[str, float]] = state["log"]
        return log

    def save(self, log: list[dict[str, float]]) -> None:
        """Keep the weights after a stage."""
        if self.folder is not None:
            state = {"settings": self.settings, "log": log}
            save_checkpoint(self.folder, len(log), self.weights(), state)

    def inside(self, trainer: Any) -> str | None:
        """The last checkpoint of the trainer's own, where a run that was killed goes on."""
        output, resumed = Path(trainer.args.output_dir), self.resumed
        self.resumed = False  # later stages begin: what stands in their folders is another run's
        if not resumed or not output.is_dir():
            return None
        from transformers.trainer_utils import get_last_checkpoint

        found: str | None = get_last_checkpoint(str(output))  # type: ignore[no-untyped-call]
        return found


def _check_trainer(trainer: Any, model: Any, count: int) -> None:
    """Refuse a trainer that trains another model, or other pairs."""
    if getattr(trainer, "model", None) is not model:
        raise InputError(
            "make_trainer: expected a trainer of the model it was given, got one of another; a "
            "model with adapters is wrapped beforehand, not by peft_config"
        )
    if len(trainer.train_dataset) != count:
        raise InputError(
            f"make_trainer: expected a trainer on the {count} pairs it was given, got "
            f"{len(trainer.train_dataset)}; drop pairs that are too long beforehand"
        )
