"""Learning from several right solutions of one problem."""

import torch

from gradatim.core.checks import check_choice, check_range, check_same_shape, check_shape, reduce
from gradatim.core.errors import InputError
from gradatim.core.precision import at_least_float32

MODES = ("mle-aug", "mml", "beta-mml", "mixed")


def multi_solution_loss(
    nll: torch.Tensor,
    group: torch.Tensor,
    *,
    mode: str = "mle-aug",
    beta: float = 1.0,
    normalize: bool = False,
    lengths: torch.Tensor | None = None,
    mle_weight: float = 1.0,
    mml_weight: float = 1.0,
    problems: int | None = None,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""Make several solutions of a problem likely: all of them, or any of them.

    With the negative log-likelihoods :math:`\ell_y` of the solutions S of a problem:

    .. math:: L_{mle-aug} = \sum_{y \in S} \ell_y, \qquad
        L_{mml} = - \log \sum_{y \in S} e^{-\ell_y}, \qquad
        L_{beta-mml} = - \frac{1}{\beta} \log \sum_{y \in S} e^{-\beta \ell_y}

    .. math:: L_{mixed} = \lambda_{mml} L_{beta-mml} + \lambda_{mle} L_{mle-aug}

    "mml" is content with one likely solution, which takes all of the gradient: the weight of y in
    the gradient of "beta-mml" is the softmax of :math:`-\beta \ell`. A smaller beta evens it out;
    for beta to 0 the loss tends to the mean of :math:`\ell` less :math:`(\log |S|) / \beta`. With
    one solution all are the likelihood loss. Cost: linear in the number of solutions.

    Args:
        nll: l, of each solution, summed over its tokens, shape [K].
        group: which problem each solution belongs to, integers from 0, in any order, shape [K].
        mode: "mle-aug", "mml", "beta-mml" or "mixed".
        beta: in (0, 1]; for "beta-mml" and "mixed". It does not scale the part of "mle-aug".
        normalize: take the mean of "mle-aug" over S, so that problems with many solutions do not
            outweigh the others.
        lengths: tokens of each solution, shape [K]; if given, l is multiplied by the largest
            length in S over its own, so that short (partial) solutions are not favoured.
        mle_weight: weight of "mle-aug" in "mixed".
        mml_weight: weight of "beta-mml" in "mixed".
        problems: how many problems there are; None counts up to the largest group.
        reduction: "mean" over the problems that have a solution, "sum", or "none".

    Returns:
        The loss, in float32 for half precision; without reduction one number a problem, 0 for
        one without solutions.

    Raises:
        InputError: the shapes differ, an unknown mode, or a number outside its range.

    Source: Ni et al. 2023, arXiv 2205.14318, section 3.3. In the authors' code beta also scales
    "mle-aug", and lengths include the prompt.

    >>> nll, group = torch.tensor([2.0, 1.0, 3.0]), torch.tensor([0, 1, 1])
    >>> multi_solution_loss(nll, group, reduction="none")
    tensor([2., 4.])
    >>> multi_solution_loss(torch.zeros(2), torch.tensor([0, 0]), mode="mml")  # - log 2
    tensor(-0.6931)
    """
    check_choice("mode", mode, MODES)
    check_range("beta", beta, 0, 1, open_low=True)
    check_shape("nll", nll, "K")
    check_same_shape("group", group, "nll", nll)
    if beta != 1 and mode in ("mle-aug", "mml"):
        raise InputError(f"beta: expected 1 for mode {mode!r}, got {beta}")
    count = problems if problems is not None else (int(group.max()) + 1 if len(group) else 0)
    check_range("problems", count, 0)
    values = at_least_float32(nll)
    there = torch.zeros(count, dtype=torch.bool, device=group.device).index_fill(0, group, True)
    if lengths is not None:
        check_same_shape("lengths", lengths, "nll", nll)
        values = values * _relative_lengths(lengths.to(values.dtype), group, count)
    loss = values.new_zeros(count)
    if mode != "mle-aug":
        weight = mml_weight if mode == "mixed" else 1.0
        loss = loss + weight * _marginal(values, group, there, beta)
    if mode in ("mle-aug", "mixed"):
        weight = mle_weight if mode == "mixed" else 1.0
        loss = loss + weight * _sums(values, group, count, normalize)
    if reduction == "mean":
        return loss.sum() / there.sum().clamp(min=1)
    return reduce(loss, reduction)


def _relative_lengths(lengths: torch.Tensor, group: torch.Tensor, count: int) -> torch.Tensor:
    """The largest length of each solution's group over its own, shape [K]."""
    lengths = lengths.clamp(min=1)
    largest = lengths.new_zeros(count).scatter_reduce(0, group, lengths, "amax")
    return largest[group] / lengths


def _sums(values: torch.Tensor, group: torch.Tensor, count: int, mean: bool) -> torch.Tensor:
    """The sum, or the mean, of each group, shape [problems]."""
    total = values.new_zeros(count).index_add(0, group, values)
    if not mean:
        return total
    sizes = values.new_zeros(count).index_add(0, group, torch.ones_like(values))
    return total / sizes.clamp(min=1)


def _marginal(
    values: torch.Tensor, group: torch.Tensor, there: torch.Tensor, beta: float
) -> torch.Tensor:
    """Minus the log of the sum of exp(- beta l), over beta, of each group, shape [problems]."""
    # Around each group's least loss, so that no exponential overflows and not all of them vanish.
    fixed = values.detach()
    least = fixed.new_full(there.shape, torch.inf).scatter_reduce(0, group, fixed, "amin")
    least = torch.where(least.isfinite(), least, 0)
    above = (-beta * (values - least[group])).exp()
    total = values.new_zeros(there.shape).index_add(0, group, above)
    return least - torch.where(there, total, 1).log() / beta
