"""Self-paced learning: what the model finds easy now is what it trains on."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from gradatim.core.checks import check_range
from gradatim.core.memory import ExampleMemory
from gradatim.curriculum.pacing import Pacing
from gradatim.training.batches import Index, ShuffledBatches
from gradatim.training.callbacks import Callback
from gradatim.training.curriculum_batches import CurriculumBatches
from gradatim.training.step import State


class SelfPaced(Callback):
    r"""Draws from the share of examples whose last recorded losses are smallest.

    .. math:: \text{batch} \subset \{ i : \ell_i \le Q_{c(t)}(\ell) \}, \qquad
        \ell_i \leftarrow \mu \ell_i + (1 - \mu) \, l_i

    Use it as ``fit(..., batches=paced.batches, callbacks=[paced])`` and call
    ``paced.record(state.index, losses)`` in the step. Each example first comes up once, in random
    order, since nothing is known of it before.

    Guarantee: draws as of :class:`~gradatim.training.curriculum_batches.CurriculumBatches` under
    pacing. Declared lag: losses recorded in an epoch count from the next epoch on, also where
    workers prefetch; ``length`` makes epochs as short as you like. Losses and ranking are part of
    the checkpoint.

    Args:
        num_examples: how many examples there are.
        batch_size: examples in a batch, over all processes.
        pacing: progress t to the share of examples in play; None rises in a straight line from
            30% to all at t = 0.8.
        momentum: :math:`\mu` in [0, 1): how much the losses are smoothed over time.
        length: batches in an epoch; None for ``ceil(n / batch_size)``.
        hardest: draw from the largest losses instead (hard example mining).
        seed: what draws depend on.

    Raises:
        InputError: numbers out of range.

    >>> paced = SelfPaced(4, 2, pacing=lambda t: 0.5)
    >>> paced.record(torch.arange(4), torch.tensor([3.0, 1.0, 2.0, 9.0]))
    >>> paced.refresh()
    >>> sorted(paced.batches.batch(1, 0, 0.5).tolist())
    [1, 2]
    """

    def __init__(
        self,
        num_examples: int,
        batch_size: int,
        *,
        pacing: Callable[[float], float] | None = None,
        momentum: float = 0.0,
        length: int | None = None,
        hardest: bool = False,
        seed: int = 0,
    ) -> None:
        check_range("momentum", momentum, 0.0, 1.0, open_high=True)
        self.momentum, self.hardest = momentum, hardest
        self.memory = ExampleMemory(num_examples)
        self.batches = _SeenOnceThenPaced(
            num_examples,
            batch_size,
            pacing or Pacing("linear", start=0.3, end=0.8),
            length,
            seed,
        )

    def record(self, index: torch.Tensor, losses: torch.Tensor) -> None:
        """Keep the current losses of some examples.

        Args:
            index: positions of the examples, integers, shape [B], none twice.
            losses: of each, shape [B].
        """
        old = self.memory.get(index)
        seen = self.memory.count[index.to(self.memory.count.device)].to(index.device) > 0
        new = losses.detach().to(old)
        mixed = self.momentum * old + (1.0 - self.momentum) * new
        self.memory.set(index, torch.where(seen, mixed, new))

    def refresh(self) -> None:
        """Rank the examples by what is recorded, from the next epoch on."""
        losses, seen = self.memory.values, self.memory.count > 0
        if not seen.any():
            return
        signed = -losses if self.hardest else losses
        last = signed[seen].max()
        self.batches.paced.set_difficulty(torch.where(seen, signed, last))

    def epoch_end(self, state: State) -> None:
        """Rank the examples anew."""
        self.refresh()

    def synchronize(self, gather: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Merge what the processes recorded."""
        self.memory.synchronize(gather)

    def state_dict(self) -> Mapping[str, Any]:
        """The losses; the ranking is kept with the batches."""
        return self.memory.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the losses."""
        self.memory.load_state_dict(state)


class _SeenOnceThenPaced:
    """Every example once in random order, then draws from the easiest share."""

    def __init__(
        self,
        num_examples: int,
        batch_size: int,
        pacing: Callable[[float], float],
        length: int | None,
        seed: int,
    ) -> None:
        self.first = ShuffledBatches(num_examples, batch_size, seed=seed, remainder="merge")
        self.paced = CurriculumBatches(
            torch.zeros(num_examples), batch_size, pacing=pacing, length=length, seed=seed
        )

    def __len__(self) -> int:
        return len(self.paced)

    def batch(self, epoch: int, position: int, progress: float) -> Index:
        # the paced plan is asked in any case, so that it notices each new epoch
        drawn = self.paced.batch(epoch, position, progress)
        number = epoch * len(self) + position
        return self.first.batch(0, number, progress) if number < len(self.first) else drawn

    def state_dict(self) -> dict[str, Any]:
        return self.paced.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.paced.load_state_dict(state)
