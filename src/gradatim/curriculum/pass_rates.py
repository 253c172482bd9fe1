"""Pass rates that are updated as training goes on."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError


class PassRates:
    r"""How often each example was solved, counted while training samples attempts.

    .. math:: p_i = \frac{s_i + a}{n_i + a + b}, \qquad
        s_i \leftarrow \gamma s_i + x, \quad n_i \leftarrow \gamma n_i + m

    for x successes in m new attempts; a and b are the prior's. What is recorded is counted when
    :meth:`settle` is called, by all processes together: everything that came since then counts as
    one update of each example.

    Args:
        num_examples: how many examples there are.
        prior: a and b, pseudo-counts of success and failure, above 0 together.
        decay: :math:`\gamma` in (0, 1]; below 1, early attempts are forgotten as the model learns.

    Raises:
        InputError: no examples, a negative prior or one of 0, or a decay outside (0, 1].

    >>> rates = PassRates(3, prior=(1, 1))
    >>> rates.record(torch.tensor([0, 2]), successes=torch.tensor([4, 0]), attempts=4)
    >>> rates.settle()
    >>> rates.rate
    tensor([0.8333, 0.5000, 0.1667])
    """

    def __init__(
        self, num_examples: int, *, prior: tuple[float, float] = (1.0, 1.0), decay: float = 1.0
    ) -> None:
        check_range("num_examples", num_examples, 1)
        for i, count in enumerate(prior):
            check_range(f"prior[{i}]", count, 0.0)
        check_range("sum of prior", sum(prior), 0.0, open_low=True)
        check_range("decay", decay, 0.0, 1.0, open_low=True)
        self.prior, self.decay = prior, decay
        self.successes = torch.zeros(num_examples)
        self.attempts = torch.zeros(num_examples)
        self._waiting: list[torch.Tensor] = []

    def __len__(self) -> int:
        return len(self.attempts)

    @property
    def rate(self) -> torch.Tensor:
        """Estimated pass rate of each example, shape [n]; the prior's mean where none was made."""
        a, b = self.prior
        return (self.successes + a) / (self.attempts + (a + b))

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
            InputError: a position that no example has, another shape, or successes that are
                negative or more than the attempts.
        """
        if index.ndim != 1 or successes.shape != index.shape:
            raise InputError(
                f"successes: expected the shape [B] of index {list(index.shape)}, "
                f"got {list(successes.shape)}"
            )
        places = index.detach().cpu().double()
        solved = successes.detach().cpu().double()
        made = torch.as_tensor(attempts, dtype=torch.float64).cpu().expand_as(solved)
        outside = (places < 0) | (places >= len(self))
        if outside.any():
            raise InputError(
                f"index: expected positions below {len(self)}, got {int(places[outside][0])}"
            )
        wrong = ~((solved >= 0) & (solved <= made))
        if wrong.any():
            row = int(wrong.nonzero()[0])
            raise InputError(
                f"successes: expected 0 to {float(made[row]):g} at row {row}, "
                f"got {float(solved[row]):g}"
            )
        self._waiting.append(torch.stack([places, solved, made], dim=1))

    def settle(self, gather: Callable[[torch.Tensor], torch.Tensor] | None = None) -> None:
        """Count what was recorded since the last call; under several processes all call it.

        Args:
            gather: concatenates rows over the processes in rank order; None for one process.
        """
        rows = torch.cat(self._waiting) if self._waiting else torch.empty(0, 3, dtype=torch.float64)
        self._waiting = []
        rows = rows if gather is None else gather(rows).cpu()
        if not len(rows):
            return
        touched, place = torch.unique(rows[:, 0].long(), return_inverse=True)
        for kept, new in ((self.successes, rows[:, 1]), (self.attempts, rows[:, 2])):
            added = torch.zeros(len(touched), dtype=torch.float64).index_add_(0, place, new)
            kept[touched] = (self.decay * kept[touched].double() + added).float()

    def state_dict(self) -> dict[str, Any]:
        """The counts, after what was recorded is settled."""
        return {"successes": self.successes, "attempts": self.attempts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up counts of as many examples.

        Raises:
            InputError: counts of another number of examples.
        """
        if len(state["attempts"]) != len(self):
            raise InputError(
                f"pass rates: expected a state of {len(self)} examples, "
                f"got {len(state['attempts'])}"
            )
        self.successes = state["successes"].clone()
        self.attempts = state["attempts"].clone()
        self._waiting = []
