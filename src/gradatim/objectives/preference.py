"""Learning from preferences between two responses: DPO and its relatives."""

import torch
from torch.nn import functional

from gradatim.core.checks import check_choice, check_range, check_same_shape, check_shape, reduce
from gradatim.core.errors import InputError
from gradatim.core.precision import at_least_float32


def dpo(
    policy_chosen: torch.Tensor,
    policy_rejected: torch.Tensor,
    reference_chosen: torch.Tensor,
    reference_rejected: torch.Tensor,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
    variant: str = "dpo",
    win_rate: torch.Tensor | None = None,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""Direct preference optimization: raise the chosen response over the rejected one.

    .. math:: h = (\log \pi_w - \log \pi^{ref}_w) - (\log \pi_l - \log \pi^{ref}_l)

    .. math:: L_{dpo} = - (1 - \epsilon) \log \sigma(\beta h) - \epsilon \log \sigma(-\beta h)

    .. math:: L_{ipo} = \left( h - \frac{1}{2 \beta} \right)^2, \qquad
        L_{win} = \left( h - \frac{p - 1/2}{\beta} \right)^2

    "ipo" draws h to a finite margin. "win_rate" is its mean over labels that say with probability
    p that the first response is the better, less a constant; so p = 1 is "ipo", and p = 1/2 draws
    h to 0. For win rates of each response alone see :func:`win_rate_regression`. Where policy and
    reference are equal the loss of "dpo" is log 2.

    Log-probabilities are sums over a response's tokens. For "ipo" the margin then does not depend
    on the length; TRL takes means over the tokens there, which it reports to be what the paper's
    experiments used. Give means for that.

    Args:
        policy_chosen: log-probability of the chosen response under the policy, shape [B].
        policy_rejected: of the rejected one, shape [B].
        reference_chosen: of the chosen one under the reference, shape [B]; no gradient flows
            into the reference.
        reference_rejected: of the rejected one, shape [B].
        beta: strength of the tie to the reference, above 0.
        label_smoothing: epsilon, the share of preferences that are taken to be swapped, in
            [0, 0.5]; for "dpo" only.
        variant: "dpo", "ipo" or "win_rate".
        win_rate: p, probability that the chosen response beats the rejected one, shape [B]; for
            "win_rate" only.
        reduction: "mean", "sum" or "none".

    Returns:
        The loss, in float32 for half precision; shape [B] without reduction.

    Raises:
        InputError: the shapes differ, a number is outside its range, an unknown variant, or an
            argument of another variant.

    Source: Rafailov et al. 2023, arXiv 2305.18290, equation 7; Azar et al. 2023, arXiv
    2310.12036, equation 17; label smoothing: E. Mitchell 2023, https://ericmitchell.ai/cdpo.pdf,
    equation 3.

    >>> logs = torch.tensor([-3.0, -5.0])
    >>> dpo(logs, logs - 1, logs, logs - 1)
    tensor(0.6931)
    >>> dpo(logs + 5, logs, logs, logs, variant="ipo")
    tensor(0.)
    """
    check_choice("variant", variant, ("dpo", "ipo", "win_rate"))
    check_range("beta", beta, 0, open_low=True)
    check_range("label_smoothing", label_smoothing, 0, 0.5)
    check_shape("policy_chosen", policy_chosen, "B")
    check_same_shape("policy_rejected", policy_rejected, "policy_chosen", policy_chosen)
    if label_smoothing and variant != "dpo":
        raise InputError(f"label_smoothing: expected 0 for variant {variant!r}")
    if (win_rate is not None) != (variant == "win_rate"):
        expected = "probabilities" if win_rate is None else "None"
        raise InputError(f"win_rate: expected {expected} for variant {variant!r}")
    chosen = _log_ratio("chosen", policy_chosen, reference_chosen)
    margin = chosen - _log_ratio("rejected", policy_rejected, reference_rejected)
    if variant == "ipo":
        return reduce((margin - 1 / (2 * beta)).square(), reduction)
    if win_rate is not None:
        check_same_shape("win_rate", win_rate, "policy_chosen", policy_chosen)
        target = (at_least_float32(win_rate.detach()) - 0.5) / beta
        return reduce((margin - target).square(), reduction)
    loss = -functional.logsigmoid(beta * margin)
    if label_smoothing:
        swapped = functional.logsigmoid(-beta * margin)
        loss = (1 - label_smoothing) * loss - label_smoothing * swapped
    return reduce(loss, reduction)


def win_rate_regression(
    policy: torch.Tensor,
    reference: torch.Tensor,
    win_rate: torch.Tensor,
    *,
    beta: float = 0.1,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""Draw the log ratio of every response to its win rate against other sampled responses.

    .. math:: L = \left( \log \pi - \log \pi^{ref} - \frac{p - 1/2}{\beta} \right)^2

    Every response stands alone, so that any number of a question's samples can be used. The
    difference of two targets is :math:`(p_1 - p_2) / \beta`, the margin at which IPO's regularized
    objective has its optimum.

    Args:
        policy: log-probability of the response under the policy, shape [B].
        reference: under the reference, shape [B]; no gradient flows into it.
        win_rate: p, probability that the response beats another sampled one, shape [B].
        beta: strength of the tie to the reference, above 0.
        reduction: "mean", "sum" or "none".

    Returns:
        The loss, in float32 for half precision; shape [B] without reduction.

    Raises:
        InputError: the shapes differ, or beta is not above 0.

    Source: the code of Sun et al. 2024, arXiv 2403.09472 (variant "rpo"); the optimum: Azar et
    al. 2023, arXiv 2310.12036.

    >>> win_rate_regression(torch.tensor([-3.0]), torch.tensor([-8.0]), torch.tensor([1.0]))
    tensor(0.)
    """
    check_shape("policy", policy, "B")
    check_same_shape("reference", reference, "policy", policy)
    check_same_shape("win_rate", win_rate, "policy", policy)
    check_range("beta", beta, 0, open_low=True)
    log_ratio = at_least_float32(policy) - reference.detach()
    target = (at_least_float32(win_rate.detach()) - 0.5) / beta
    return reduce((log_ratio - target).square(), reduction)


def simpo(
    policy_chosen: torch.Tensor,
    policy_rejected: torch.Tensor,
    chosen_lengths: torch.Tensor,
    rejected_lengths: torch.Tensor,
    *,
    beta: float = 2.0,
    target_margin: float = 1.0,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""Simple preference optimization: mean log-probabilities a token, and no reference.

    .. math:: z = \beta \left( \frac{\log \pi_w}{|y_w|} - \frac{\log \pi_l}{|y_l|} \right) - \gamma

    .. math:: L = - (1 - \epsilon) \log \sigma(z) - \epsilon \log \sigma(-z)

    Args:
        policy_chosen: log-probability of the chosen response, summed over tokens, shape [B].
        policy_rejected: of the rejected one, shape [B].
        chosen_lengths: tokens of the chosen response, at least 1, shape [B].
        rejected_lengths: tokens of the rejected one, shape [B].
        beta: scale of the rewards, above 0.
        target_margin: gamma, the difference of rewards that is aimed at, at least 0. The source
            sets half of beta or a little more; TRL's ``simpo_gamma`` is this number.
        label_smoothing: epsilon, the share of preferences that are taken to be swapped, in
            [0, 0.5].
        reduction: "mean", "sum" or "none".

    Returns:
        The loss, in float32 for half precision; shape [B] without reduction.

    Raises:
        InputError: the shapes differ, or a number is outside its range.

    Source: Meng, Xia and Chen 2024, arXiv 2405.14734, equation 6; label smoothing as for
    :func:`dpo`.

    >>> simpo(torch.tensor([-4.0]), torch.tensor([-6.0]), torch.tensor([4]), torch.tensor([4]))
    tensor(0.6931)
    """
    check_range("beta", beta, 0, open_low=True)
    check_range("target_margin", target_margin, 0)
    check_range("label_smoothing", label_smoothing, 0, 0.5)
    check_shape("policy_chosen", policy_chosen, "B")
    for name, values in (
        ("policy_rejected", policy_rejected),
        ("chosen_lengths", chosen_lengths),
        ("rejected_lengths", rejected_lengths),
    ):
        check_same_shape(name, values, "policy_chosen", policy_chosen)
    chosen = at_least_float32(policy_chosen) / chosen_lengths
    margin = beta * (chosen - at_least_float32(policy_rejected) / rejected_lengths) - target_margin
    loss = -functional.logsigmoid(margin)
    if label_smoothing:
        swapped = functional.logsigmoid(-margin)
        loss = (1 - label_smoothing) * loss - label_smoothing * swapped
    return reduce(loss, reduction)


def _log_ratio(kind: str, policy: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """How much more likely the policy makes a response than the reference does."""
    check_same_shape(f"reference_{kind}", reference, f"policy_{kind}", policy)
    return at_least_float32(policy) - reference.detach()
