"""Figures of preferences: how often one of two is better, and by how much a policy prefers."""

import torch

from gradatim.core.checks import check_range, check_same_shape, check_shape
from gradatim.core.errors import InputError
from gradatim.core.precision import at_least_float32


def adjusted_win_rate(score: torch.Tensor, other: torch.Tensor) -> float:
    r"""The share of comparisons that are won, ties counting half.

    .. math:: w(a, b) = \frac{1}{N} \sum_i \left( [a_i > b_i] + \tfrac{1}{2} [a_i = b_i] \right)

    So :math:`w(a, b) + w(b, a) = 1`, and equals have 1/2. With reward margins and zeros it is the
    accuracy of a policy's preferences, which is 1/2 where the policy is still the reference.

    Args:
        score: a, what the one achieves in each comparison, higher = better, shape [N].
        other: b, what the other achieves, shape [N].

    Returns:
        A number in [0, 1].

    Raises:
        InputError: the shapes differ, no comparison, or a NaN, which neither wins nor loses.

    Source: Pattnaik et al. 2024, arXiv 2403.07230, section 4 (adjusted win rate).

    >>> adjusted_win_rate(torch.tensor([3, 2, 1, 4]), torch.tensor([1, 2, 3, 0]))
    0.625
    """
    check_shape("score", score, "N")
    check_same_shape("other", other, "score", score)
    if not len(score):
        raise InputError("score: expected at least one comparison, got none")
    if score.isnan().any() or other.isnan().any():
        name = "score" if score.isnan().any() else "other"
        raise InputError(f"{name}: expected numbers, got NaN")
    return float((score > other).double().mean() + (score == other).double().mean() / 2)


def reward_margin(
    policy_chosen: torch.Tensor,
    policy_rejected: torch.Tensor,
    reference_chosen: torch.Tensor,
    reference_rejected: torch.Tensor,
    *,
    beta: float = 0.1,
) -> torch.Tensor:
    r"""By how much a policy's implicit reward of the chosen response exceeds the rejected one's.

    .. math:: m = \beta \left[ (\log \pi_w - \log \pi^{ref}_w) -
        (\log \pi_l - \log \pi^{ref}_l) \right]

    The loss of DPO is :math:`-\log \sigma(m)`.

    Args:
        policy_chosen: log-probability of the chosen response under the policy, shape [B].
        policy_rejected: of the rejected one, shape [B].
        reference_chosen: of the chosen one under the reference, shape [B].
        reference_rejected: of the rejected one, shape [B].
        beta: strength of the tie to the reference, above 0.

    Returns:
        m, in float32 for half precision, shape [B].

    Raises:
        InputError: the shapes differ, or beta is not above 0.

    Source: Rafailov et al. 2023, arXiv 2305.18290, section 4.

    >>> logs = torch.tensor([-3.0])
    >>> round(reward_margin(logs, logs - 2, logs, logs - 1).item(), 3)
    0.1
    """
    check_range("beta", beta, 0, open_low=True)
    check_shape("policy_chosen", policy_chosen, "B")
    chosen, rejected = at_least_float32(policy_chosen), at_least_float32(policy_rejected)
    for name, values in (
        ("policy_rejected", policy_rejected),
        ("reference_chosen", reference_chosen),
        ("reference_rejected", reference_rejected),
    ):
        check_same_shape(name, values, "policy_chosen", policy_chosen)
    return beta * ((chosen - reference_chosen) - (rejected - reference_rejected))
