"""Pass rates from a trainer's own rewards (GRPO, RLOO), and prompts chosen by them."""

from collections.abc import Callable
from typing import Any

import torch

from gradatim.core.errors import InputError
from gradatim.curriculum.pass_rates import PassRates
from gradatim.integrations.trainer_checks import check_data, check_trainer, read_settings
from gradatim.integrations.transformers_trainer import AttachedCurriculum, trainer_seed
from gradatim.training.target_success import TargetSuccess

Solved = Callable[[torch.Tensor], torch.Tensor]


def attach_target_success(
    trainer: Any,
    *,
    weight: Callable[[torch.Tensor], torch.Tensor] | None = None,
    rates: PassRates | None = None,
    solved: Solved | None = None,
    length: int | None = None,
    seed: int | None = None,
) -> AttachedCurriculum:
    """Let a GRPO or RLOO trainer draw the prompts that its model solves some of the time.

    Each group of generations counts as attempts at its prompt, as soon as the trainer has scored
    them. A prompt whose generations all succeed, or all fail, has rewards without variance: its
    advantages are zero and its generations wasted. Once its pass rate leaves the band it is drawn
    a twentieth as often (``weight=success_band_weights``: never again), and its place goes to
    prompts the model learns from. Rates count from the next epoch on (``length`` makes epochs as
    short as you like); they and the weights are part of each checkpoint. In several processes all
    attempts count in each. See :class:`~gradatim.training.target_success.TargetSuccess`.

    Args:
        trainer: a GRPO or RLOO trainer of TRL, with its training data.
        weight: rates [n] to weights [n]; None keeps rates from 0.2 to 0.8.
        rates: where attempts are counted; None for a uniform prior and a decay of 0.9.
        solved: rewards of the trainer's functions, shape [N, functions], NaN where a function
            gave None, to whether each generation succeeded, shape [N]; None for a weighted sum of
            rewards above 0.
        length: generation batches in an epoch; None for as many as hold all prompts.
        seed: what draws depend on; None for the trainer's.

    Returns:
        The attached curriculum: ``feedback.rates.rate`` holds the current pass rates.

    Raises:
        InputError: another trainer, or as for
            :func:`~gradatim.integrations.transformers_trainer.attach_curriculum`.
        MissingPackageError: transformers is not installed.
    """
    check_trainer(trainer)
    settings = read_settings(trainer, trainer._get_train_sampler())
    if settings.group == 1 or not hasattr(trainer, "_calculate_rewards"):
        raise InputError(
            "trainer: expected one that scores groups of generations (GRPOTrainer, RLOOTrainer), "
            f"got {type(trainer).__name__}"
        )
    target = TargetSuccess(
        check_data(trainer),
        settings.batch_size,
        weight=weight,
        rates=rates,
        length=length,
        seed=trainer_seed(trainer) if seed is None else seed,
    )
    attached = AttachedCurriculum(trainer, target)
    _record_rewards(attached, target, solved or _above_zero(trainer))
    return attached


def _record_rewards(attached: AttachedCurriculum, target: TargetSuccess, solved: Solved) -> None:
    """Count each generation that the trainer scores while it trains."""
    trainer = attached.trainer
    calculate = trainer._calculate_rewards

    def calculate_rewards(inputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        rewards: torch.Tensor = calculate(inputs, *args, **kwargs)
        if attached.in_step and attached.index is not None:
            # rewards are those of all processes in rank order, the index is this one's
            own = trainer.accelerator.process_index * len(inputs)
            mine = rewards[own : own + len(inputs)]
            scored = ~mine.isnan().all(dim=1).cpu()
            right = solved(mine).cpu().bool()
            target.record(attached.index.cpu()[scored], right[scored])
        return rewards

    trainer._calculate_rewards = calculate_rewards


def _above_zero(trainer: Any) -> Solved:
    """A weighted sum of rewards above 0."""

    def solved(rewards: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = (rewards * trainer.reward_weights.to(rewards.device)).nansum(dim=1)
        return total > 0

    return solved
