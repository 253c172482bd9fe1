"""How hard it is to tell the better of two responses from the worse."""

import torch

from gradatim.core.checks import check_same_shape, check_shape
from gradatim.core.errors import InputError
from gradatim.core.precision import at_least_float32


def pair_difficulty(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    *,
    chosen_lengths: torch.Tensor | None = None,
    rejected_lengths: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""The gap between two responses, negated: the closer they are, the harder the pair.

    .. math:: d = -(s_w - s_l), \qquad
        d = - \left( \frac{s_w}{|y_w|} - \frac{s_l}{|y_l|} \right) \text{ with lengths}

    The numbers s say which gap it is: ratings; log-probabilities under a reference model, whose
    gap may be negative (such pairs, in which the model finds the worse response the likelier, are
    the hardest); or rewards, of a reward model or the implicit ones of DPO,
    :math:`\beta (\log \pi - \log \pi^{ref})`. Sums of log-probabilities make long rejected
    responses look easy: give the lengths to compare means a token.

    Args:
        chosen: rating, log-probability or reward of the preferred response, shape [P].
        rejected: of the other one, shape [P].
        chosen_lengths: tokens of the preferred response, at least 1, shape [P]; both or none.
        rejected_lengths: tokens of the other one, shape [P].

    Returns:
        d, higher = harder, without gradient, in float32 for half precision, shape [P].

    Raises:
        InputError: the shapes differ, or lengths of one side alone.

    Source: Pattnaik et al. 2024, arXiv 2403.07230, section 3 (ratings; log-probabilities).

    >>> pair_difficulty(torch.tensor([5.0, 5.0]), torch.tensor([2.0, 4.0])).tolist()
    [-3.0, -1.0]
    >>> logs = torch.tensor([-6.0]), torch.tensor([-8.0])
    >>> lengths = {"chosen_lengths": torch.tensor([3]), "rejected_lengths": torch.tensor([8])}
    >>> pair_difficulty(*logs).item(), pair_difficulty(*logs, **lengths).item()
    (-2.0, 1.0)
    """
    check_shape("chosen", chosen, "P")
    check_same_shape("rejected", rejected, "chosen", chosen)
    if (chosen_lengths is None) != (rejected_lengths is None):
        raise InputError("chosen_lengths, rejected_lengths: expected both or none, got one")
    better, worse = at_least_float32(chosen.detach()), at_least_float32(rejected.detach())
    if chosen_lengths is not None and rejected_lengths is not None:
        check_same_shape("chosen_lengths", chosen_lengths, "chosen", chosen)
        check_same_shape("rejected_lengths", rejected_lengths, "chosen", chosen)
        better, worse = better / chosen_lengths, worse / rejected_lengths
    return worse - better
