"""Proximal policy optimization: clipped losses of policy and value, and the distance kept."""

import torch

from gradatim.core.checks import check_choice, check_range, check_same_shape, check_shape
from gradatim.core.precision import at_least_float32
from gradatim.objectives.tokens import hide, reduce_tokens

LOG_RATIO_LIMIT = 20.0  # e^20 = 5e8: far beyond any clip, and finite in every precision but half


def ppo_clip(
    log_probabilities: torch.Tensor,
    old_log_probabilities: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    *,
    clip: float = 0.2,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""Clipped surrogate loss of the policy, token by token.

    .. math:: L_t = \max \left( - A_t \rho_t, \, - A_t \,
        \mathrm{clip}(\rho_t, 1 - c, 1 + c) \right), \qquad
        \rho_t = \frac{\pi(a_t)}{\pi_{old}(a_t)}

    Its gradient is that of the policy gradient, :math:`- A_t \nabla \log \pi`, where the policies
    are equal, and 0 where a step in the wanted direction has already left the clip. The log ratio
    is held below 20, beyond which loss and gradient would no longer be finite.

    Args:
        log_probabilities: of the sampled tokens under the policy, shape [B, T].
        old_log_probabilities: of the same tokens when they were sampled, shape [B, T]; no
            gradient flows into them.
        advantages: A, shape [B, T]; no gradient flows into them. See
            :func:`gradatim.targets.advantages.generalized_advantages`.
        mask: the tokens of the response, booleans, shape [B, T]; the others have no part,
            whatever stands there.
        clip: c, in (0, 1).
        reduction: "mean" over the tokens of the response, "sum" or "none".

    Returns:
        The loss, in float32 for half precision; without reduction of shape [B, T], 0 where the
        mask is.

    Raises:
        InputError: the shapes differ, or the clip is outside its range.

    Source: Schulman et al. 2017, arXiv 1707.06347, equation 7.

    >>> old, advantages = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, -1.0]])
    >>> new, mask = torch.tensor([[0.9, 0.9]]).log(), torch.tensor([[True, True]])
    >>> ppo_clip(new, old, advantages, mask, reduction="none")
    tensor([[-1.2000,  1.8000]])
    """
    _check_tokens(
        log_probabilities,
        old_log_probabilities=old_log_probabilities,
        advantages=advantages,
        mask=mask,
    )
    check_range("clip", clip, 0, 1, open_low=True, open_high=True)
    change = at_least_float32(log_probabilities) - old_log_probabilities.detach()
    ratio = hide(change, mask).clamp(max=LOG_RATIO_LIMIT).exp()
    loss = -hide(advantages.detach(), mask)
    return reduce_tokens(
        torch.maximum(loss * ratio, loss * ratio.clamp(1 - clip, 1 + clip)), mask, reduction
    )


def clipped_value(
    values: torch.Tensor,
    old_values: torch.Tensor,
    returns: torch.Tensor,
    mask: torch.Tensor,
    *,
    clip: float = 0.2,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""Squared error of the value, without reward for a move of more than the clip.

    .. math:: L_t = \tfrac{1}{2} \max \left( (V_t - R_t)^2, \, (V^c_t - R_t)^2 \right), \qquad
        V^c_t = \mathrm{clip}(V_t, V^{old}_t - c, V^{old}_t + c)

    Args:
        values: V, shape [B, T].
        old_values: when the tokens were sampled, shape [B, T]; no gradient flows into them.
        returns: R, shape [B, T]; no gradient flows into them.
        mask: the tokens of the response, booleans, shape [B, T]; the others have no part,
            whatever stands there.
        clip: c, above 0, in units of the value.
        reduction: "mean" over the tokens of the response, "sum" or "none".

    Returns:
        The loss, in float32 for half precision; without reduction of shape [B, T], 0 where the
        mask is.

    Raises:
        InputError: the shapes differ, or the clip is outside its range.

    Source: OpenAI's PPO code, written down in Engstrom et al. 2020, arXiv 2005.12729;
    Sun et al. 2024, arXiv 2403.09472, give it the coefficient 0.1.

    >>> old, returns, mask = torch.zeros(1, 1), torch.ones(1, 1), torch.tensor([[True]])
    >>> clipped_value(torch.tensor([[0.9]]), old, returns, mask)  # as if it were 0.2
    tensor(0.3200)
    """
    _check_tokens(values, "values", old_values=old_values, returns=returns, mask=mask)
    check_range("clip", clip, 0, open_low=True)
    value = hide(at_least_float32(values), mask)
    old = hide(at_least_float32(old_values.detach()), mask)
    target = hide(at_least_float32(returns.detach()), mask)
    near = old + (value - old).clamp(-clip, clip)
    loss = torch.maximum((value - target).square(), (near - target).square()) / 2
    return reduce_tokens(loss, mask, reduction)


def kl_penalty(
    log_probabilities: torch.Tensor, reference_log_probabilities: torch.Tensor, kind: str = "k1"
) -> torch.Tensor:
    r"""Estimates, from sampled tokens, of the divergence from a reference policy.

    .. math:: k_1 = d, \quad k_2 = \tfrac{1}{2} d^2, \quad k_3 = e^{-d} - 1 + d, \qquad
        d = \log \pi(a) - \log \pi_{ref}(a)

    For a sampled from pi, k1 and k3 have the mean KL(pi, ref); k1 may be negative and varies
    more, k3 never is. k2 is biased, but its gradient has the mean of KL's gradient, which those
    of k1 (0) and k3 (of the reversed KL) have not: so k1 and k3 belong in the reward, k2 in the
    loss. "k1-clamped" is max(d, 0), what the authors' code calls k1: biased upwards, as it gives
    nothing back where the policy is the less likely of the two.

    Args:
        log_probabilities: of tokens sampled from the policy, any shape.
        reference_log_probabilities: of the same tokens under the reference, the same shape.
        kind: "k1", "k2", "k3" or "k1-clamped".

    Returns:
        One estimate a token, in float32 for half precision; the same shape. Mask it where it is
        used. For k3, -d is held below 20, where it would no longer be finite.

    Raises:
        InputError: the shapes differ, or the kind is unknown.

    Source: J. Schulman 2020, http://joschu.net/blog/kl-approx.html; clamped: the code of Sun et
    al. 2024, arXiv 2403.09472 (whose k2, in turn, is k1 as it stands here).

    >>> policy, reference = torch.tensor([0.5, 0.25]).log(), torch.tensor([0.25, 0.5]).log()
    >>> kl_penalty(policy, reference), kl_penalty(policy, reference, "k1-clamped")
    (tensor([ 0.6931, -0.6931]), tensor([0.6931, 0.0000]))
    """
    check_same_shape(
        "reference_log_probabilities",
        reference_log_probabilities,
        "log_probabilities",
        log_probabilities,
    )
    check_choice("kind", kind, ("k1", "k2", "k3", "k1-clamped"))
    difference = at_least_float32(log_probabilities) - reference_log_probabilities
    if kind == "k2":
        return difference.square() / 2
    if kind == "k3":
        bounded = difference.clamp(min=-LOG_RATIO_LIMIT)
        return torch.expm1(-bounded) + bounded
    return difference if kind == "k1" else difference.clamp(min=0)


def _check_tokens(
    outputs: torch.Tensor, name: str = "log_probabilities", **others: torch.Tensor
) -> None:
    """Check that all have the shape [B, T] of the first."""
    check_shape(name, outputs, "B", "T")
    for other, value in others.items():
        check_same_shape(other, value, name, outputs)
