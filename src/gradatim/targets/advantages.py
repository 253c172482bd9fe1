"""Advantages and returns: the targets of policy and value in reinforcement learning."""

import torch

from gradatim.core.checks import check_range, check_same_shape, check_shape
from gradatim.core.precision import at_least_float32


def generalized_advantages(
    rewards: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor,
    *,
    discount: float = 1.0,
    smoothing: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Generalized advantage estimates of every token, and the returns that values should predict.

    .. math:: \delta_t = r_t + \gamma V_{t+1} - V_t, \qquad
        A_t = \sum_{l \ge 0} (\gamma \lambda)^l \delta_{t+l}, \qquad R_t = A_t + V_t

    A row's tokens end in a terminal state of value 0. With gamma = lambda = 1 the advantage is the
    sum of the rewards to come less the value; with lambda = 0 it is the error of one step.

    Args:
        rewards: r, shape [B, T].
        values: V, shape [B, T].
        mask: the tokens of the response, booleans, shape [B, T]: consecutive, with prompt before
            and padding after. What stands elsewhere has no part; a gap would end an episode.
        discount: gamma, in [0, 1].
        smoothing: lambda, in [0, 1].

    Returns:
        Advantages and returns, 0 where the mask is, in at least float32 and without gradient;
        each of shape [B, T].

    Raises:
        InputError: the shapes differ, or a number is outside [0, 1].

    Source: Schulman et al. 2016, arXiv 1506.02438, equation 16; as in Sun et al. 2024, arXiv
    2403.09472, gamma = lambda = 1.

    >>> rewards, values = torch.tensor([[0.0, 1.0, 7.0]]), torch.tensor([[0.5, 0.75, 7.0]])
    >>> generalized_advantages(rewards, values, torch.tensor([[True, True, False]]))
    (tensor([[0.5000, 0.2500, 0.0000]]), tensor([[1., 1., 0.]]))
    """
    check_shape("rewards", rewards, "B", "T")
    check_same_shape("values", values, "rewards", rewards)
    check_same_shape("mask", mask, "rewards", rewards)
    check_range("discount", discount, 0, 1)
    check_range("smoothing", smoothing, 0, 1)
    masked = mask == 0
    rewards = at_least_float32(rewards.detach()).masked_fill(masked, 0)
    values = at_least_float32(values.detach()).masked_fill(masked, 0)
    next_values = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    errors = rewards + discount * next_values - values
    errors = errors.masked_fill(masked, 0)
    decay = (discount * smoothing) * (~masked).to(errors.dtype)
    advantages = torch.zeros_like(errors)
    ahead = errors.new_zeros(len(errors))
    for t in reversed(range(errors.shape[1])):
        ahead = torch.addcmul(errors[:, t], decay[:, t], ahead)
        advantages[:, t] = ahead
    return advantages, advantages + values


def whiten(values: torch.Tensor, mask: torch.Tensor, *, shift_mean: bool = True) -> torch.Tensor:
    r"""Bring the values of the tokens that count to standard deviation 1, and to mean 0 if told.

    .. math:: \tilde v = \frac{v - \mu}{\sigma + 10^{-8}} \;\; (+ \, \mu)

    with mean and (biased) standard deviation over all tokens of the batch that count. Advantages
    are whitened; rewards keep their mean (``shift_mean=False``). Equal values have no deviation:
    they become 0, or stay as they are with the mean kept.

    Under several processes these are the statistics of one; gather first for those of all.

    Args:
        values: v, shape [B, T].
        mask: which tokens count, booleans, shape [B, T].
        shift_mean: whether the mean becomes 0; otherwise it stays.

    Returns:
        The values, 0 where the mask is, in at least float32 and without gradient; shape [B, T].

    Raises:
        InputError: the shapes differ.

    Source: Sun et al. 2024, arXiv 2403.09472 (the authors' code, whose statistics take padding
    in; here they do not).

    >>> values, mask = torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[True, True, False]])
    >>> whiten(values, mask), whiten(values, mask, shift_mean=False)
    (tensor([[-1.,  1.,  0.]]), tensor([[1., 3., 0.]]))
    """
    check_shape("values", values, "B", "T")
    check_same_shape("mask", mask, "values", values)
    masked = mask == 0
    kept = at_least_float32(values.detach()).masked_fill(masked, 0)
    count = (~masked).sum().clamp(min=1)
    mean = kept.sum() / count
    centred = (kept - mean).masked_fill(masked, 0)
    scaled = centred / ((centred.square().sum() / count).sqrt() + 1e-8)
    return scaled if shift_mean else (scaled + mean).masked_fill(masked, 0)
