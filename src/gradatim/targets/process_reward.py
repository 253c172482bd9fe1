"""Step scores of a process reward model as rewards for reinforcement learning."""

import torch
from torch.nn import functional

from gradatim.core.checks import check_choice, check_range, check_same_shape
from gradatim.core.errors import InputError
from gradatim.core.precision import at_least_float32


def shape_process_reward(
    step_scores: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    scheme: str = "min",
    upper_bound: float = 0.5,
    bonus: float = 0.25,
    scale: float = 1.0,
) -> torch.Tensor:
    r"""Rewards of the steps of a solution: what each takes away from the worst so far.

    .. math:: m_0 = u, \quad m_i = \min(m_{i-1}, a_i), \quad
        r_i = c \left( m_i - m_{i-1} + \frac{b}{n + 10^{-6}} \right)

    with :math:`a_i = s_i` for "min" and :math:`a_i = s_1 \cdots s_i` for "product". A step that is
    no worse than an earlier one, or scores above the bound, only has its share of the bonus; so
    more steps earn no more. Without the bonus the rewards of a solution telescope:

    .. math:: \sum_i (m_i - m_{i-1}) = \min(u, \min_i s_i) - u
        \quad \text{or} \quad \min(u, \textstyle\prod_i s_i) - u

    Args:
        step_scores: s, probabilities that a step is right, shape [B, S], or [S] for one solution.
        mask: which steps there are, booleans of the same shape; None takes all.
        scheme: "min" or "product".
        upper_bound: u, in (0, 1]; a step that scores above it is as good as any. The published
            command has 0.5, the default of the authors' code is 1.
        bonus: b, what all steps of a solution have together, at least 0.
        scale: c, at least 0.

    Returns:
        One reward a step, 0 where there is none, in at least float32 and without gradient; shape
        of ``step_scores``.

    Raises:
        InputError: the shapes differ, an unknown scheme, or a number outside its range.

    Source: Sun et al. 2024, arXiv 2403.09472 (the authors' code, which puts half of
    each reward on either token of the step's separator).

    >>> scores = torch.tensor([0.9, 0.4, 0.6, 0.3])
    >>> [round(reward, 4) + 0.0 for reward in shape_process_reward(scores, bonus=0.0).tolist()]
    [0.0, -0.1, 0.0, -0.1]
    """
    if not step_scores.ndim:
        raise InputError("step_scores: expected shape [B, S] or [S], got one number")
    check_choice("scheme", scheme, ("min", "product"))
    check_range("upper_bound", upper_bound, 0, 1, open_low=True)
    check_range("bonus", bonus, 0)
    check_range("scale", scale, 0)
    scores = at_least_float32(step_scores.detach())
    present = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask != 0
    check_same_shape("mask", present, "step_scores", scores)
    # A step that is not there is perfect: it lowers neither minimum nor product.
    scores = scores.masked_fill(~present, 1.0)
    reached = scores if scheme == "min" else scores.cumprod(-1)
    worst = functional.pad(reached, (1, 0), value=upper_bound).cummin(-1).values
    share = bonus / (present.sum(-1, keepdim=True) + 1e-6)
    return scale * (worst.diff(dim=-1) + share).masked_fill(~present, 0.0)
