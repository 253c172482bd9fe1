"""Batches of what the model solves some of the time, from pass rates measured as it trains."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from gradatim.core.errors import InputError
from gradatim.curriculum.pass_rates import PassRates
from gradatim.curriculum.weights import success_band_weights
from gradatim.training.batches import WeightedBatches
from gradatim.training.callbacks import Callback
from gradatim.training.step import State


class TargetSuccess(Callback):
    """Draws examples by their current rate of success: those solved neither never nor always.

    Use it as ``fit(..., batches=target.batches, callbacks=[target])`` and call
    ``target.record(state.index, solved)`` in the step. Examples not attempted yet have the rate of
    the prior, one half.

    Guarantee: draws with replacement, as of :class:`~gradatim.training.batches.WeightedBatches`.
    Declared lag: attempts recorded in an epoch count from the next epoch on, also where workers
    prefetch; ``length`` makes epochs as short as you like. Counts and weights are part of the
    checkpoint. It keeps 24 bytes an example.

    Args:
        num_examples: how many examples there are.
        batch_size: examples in a batch, over all processes.
        weight: rates [n] to weights [n]; None keeps rates from 0.2 to 0.8 and draws the others a
            twentieth as often, so that they are measured again
            (:func:`~gradatim.curriculum.weights.success_band_weights`).
        rates: where attempts are counted; None for a uniform prior and a decay of 0.9.
        length: batches in an epoch; None for ``ceil(n / batch_size)``.
        seed: what draws depend on.

    Raises:
        InputError: numbers out of range, or rates of another number of examples.

    >>> target = TargetSuccess(3, 2, weight=success_band_weights)
    >>> for _ in range(20):
    ...     target.record(torch.arange(3), torch.tensor([0, 8, 16]), attempts=16)
    >>> target.refresh()
    >>> target.batches.batch(1, 0, 0.5).tolist()
    [1, 1]
    """

    def __init__(
        self,
        num_examples: int,
        batch_size: int,
        *,
        weight: Callable[[torch.Tensor], torch.Tensor] | None = None,
        rates: PassRates | None = None,
        length: int | None = None,
        seed: int = 0,
    ) -> None:
        self.weight = weight or partial(success_band_weights, outside=0.05)
        self.rates = PassRates(num_examples, decay=0.9) if rates is None else rates
        if len(self.rates) != num_examples:
            raise InputError(f"rates: expected {num_examples} examples, got {len(self.rates)}")
        self.batches = WeightedBatches(np.ones(num_examples), batch_size, seed=seed, length=length)

    def record(
        self,
        index: torch.Tensor,
        successes: torch.Tensor,
        attempts: torch.Tensor | int = 1,
    ) -> None:
        """Note attempts; an example may stand in the index several times.

        Args:
            index: positions of the examples, integers, shape [B].
            successes: of each, between 0 and ``attempts`` (booleans for one attempt), shape [B].
            attempts: how many were made, one number or shape [B].

        Raises:
            InputError: as for :meth:`~gradatim.curriculum.pass_rates.PassRates.record`.
        """
        self.rates.record(index, successes, attempts)

    def refresh(self) -> None:
        """Weigh the examples by what is recorded, from the next epoch on.

        Where the weights of all are 0, all are drawn alike.
        """
        self.rates.settle()
        weights = self.weight(self.rates.rate)
        weights = weights if weights.any() else torch.ones_like(weights)
        self.batches.set_weights(weights.cpu().numpy())

    def step_end(self, state: State) -> None:
        """Count the attempts of the update."""
        self.rates.settle()

    def epoch_end(self, state: State) -> None:
        """Weigh the examples anew."""
        self.refresh()

    def synchronize(self, gather: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Count the attempts of all processes."""
        self.rates.settle(gather)

    def state_dict(self) -> Mapping[str, Any]:
        """The counts; the weights are kept with the batches."""
        return self.rates.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the counts."""
        self.rates.load_state_dict(state)
