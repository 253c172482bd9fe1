"""What a trainer of transformers or TRL must not do under a curriculum, and why."""

from collections.abc import Sized
from typing import Any

from gradatim.core.errors import InputError
from gradatim.integrations.trainer_order import TrainerSettings


def check_trainer(trainer: Any) -> None:
    """Refuse settings under which the model would not see the curriculum's order.

    Raises:
        InputError: a setting that breaks the order, or no training data with a length; the error
            names the argument of the trainer or of its ``args``.
    """
    for name in ("args", "get_train_dataloader", "_get_train_sampler", "training_step"):
        if not hasattr(trainer, name):
            raise InputError(
                f"trainer: expected a Trainer of transformers, TRL or sentence-transformers, "
                f"got {type(trainer).__name__}"
            )
    if getattr(trainer, "gradatim_curriculum", None) is not None:
        raise InputError("trainer: expected one without a curriculum, got one that has it already")
    check_data(trainer)
    _check_order(trainer.args)
    if getattr(trainer.args, "ignore_data_skip", False):
        raise InputError(
            "ignore_data_skip: expected False, because a resumed run would begin its epoch anew; "
            "skipping is cheap here: batches are drawn, not loaded"
        )
    if getattr(trainer.args, "auto_find_batch_size", False):
        raise InputError(
            "auto_find_batch_size: expected False, because a curriculum is made for one batch size"
        )


def check_data(trainer: Any) -> int:
    """Refuse training data without a length; return how many examples there are.

    Raises:
        InputError: no training data, several data sets, or a stream.
    """
    data = trainer.train_dataset
    if data is None:
        raise InputError("train_dataset: expected data to train on, got None")
    if isinstance(data, dict):
        raise InputError(
            f"train_dataset: expected one data set, got {len(data)}; concatenate them, or train "
            "on one after the other"
        )
    if not hasattr(data, "__len__"):
        raise InputError(
            "train_dataset: expected data with a length and positions, got a stream "
            f"({type(data).__name__})"
        )
    return len(data)


def check_difficulty(trainer: Any, difficulty: Sized) -> None:
    """Check that there is one difficulty for each example the trainer holds.

    Trainers drop examples when they prepare data (TRL's, those whose completion lies beyond
    ``max_length``), after which difficulties would belong to other examples.

    Raises:
        InputError: another number of examples.
    """
    n = check_data(trainer)
    if len(difficulty) != n:
        more = (
            "; the trainer drops examples that are too long when it prepares the data: drop them "
            "beforehand, with their difficulties"
            if len(difficulty) > n
            else ""
        )
        raise InputError(
            f"difficulty: expected one number for each of the trainer's {n} examples, "
            f"got {len(difficulty)}{more}"
        )


def check_plan(trainer: Any, plan: Any) -> None:
    """Check that a plan is one for the trainer's examples, if it tells how many it is for.

    Raises:
        InputError: it is for another number of examples.
    """
    n, planned = check_data(trainer), getattr(plan, "num_examples", None)
    if planned is not None and planned != n:
        raise InputError(
            f"train_dataset: expected the {planned} examples that the curriculum is for, got {n}"
        )


def _check_order(args: Any) -> None:
    """Settings that put examples into an order, or batches, of their own."""
    if getattr(args, "packing", False):
        raise InputError(
            "packing: expected False, because packing joins examples into sequences in an order of "
            "its own, which breaks the curriculum's; set SFTConfig(packing=False)"
        )
    if hasattr(args, "packing") and getattr(args, "shuffle_dataset", False):
        raise InputError(
            "shuffle_dataset: expected False, because shuffled rows are no longer those the "
            "difficulties belong to"
        )
    if getattr(args, "group_by_length", False):
        raise InputError("group_by_length: expected False, because it orders examples by length")
    strategy = getattr(args, "train_sampling_strategy", "random")
    if strategy != "random":
        why = " (group_by_length orders examples by length)" * (strategy == "group_by_length")
        raise InputError(
            f"train_sampling_strategy: expected 'random', which the curriculum takes the place of, "
            f"got {strategy!r}{why}"
        )
    if not getattr(args, "dataloader_in_order", True):
        raise InputError("dataloader_in_order: expected True, because batches have an order")


def read_settings(trainer: Any, default_sampler: Any) -> TrainerSettings:
    """How a trainer cuts and repeats the examples of its sampler.

    Args:
        trainer: a trainer.
        default_sampler: the sampler it would use, which shows whether it trains on groups.

    Raises:
        InputError: accelerator settings that split batches of groups.
    """
    args = trainer.args
    split = bool(getattr(trainer.accelerator, "split_batches", False))
    together = trainer.get_total_train_batch_size(args) // args.gradient_accumulation_steps
    group = getattr(default_sampler, "mini_repeat_count", 1)
    if group > 1 and split:
        raise InputError("split_batches: expected False for groups of generations")
    size = together if not split else args.train_batch_size
    return TrainerSettings(
        batch_size=default_sampler.batch_size if group > 1 else size,
        accumulate=args.gradient_accumulation_steps,
        epochs=args.num_train_epochs,
        updates=args.max_steps if args.max_steps > 0 else None,
        drop_last=group > 1 or args.dataloader_drop_last,
        group=group,
        repeats=getattr(default_sampler, "repeat_count", 1) if group > 1 else 1,
    )
