"""Losses that make a language model forget: bounded, unbounded, and towards a refusal."""

import torch
from torch.nn import functional

from gradatim.core.checks import check_range, check_same_shape, check_shape, reduce
from gradatim.core.errors import InputError
from gradatim.core.precision import at_least_float32
from gradatim.language.token_divergence import kl_divergence
from gradatim.objectives.preference import dpo
from gradatim.objectives.tokens import reduce_tokens


def npo(
    logp: torch.Tensor,
    reference_logp: torch.Tensor,
    *,
    beta: float = 0.1,
    lengths: torch.Tensor | None = None,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""Negative preference optimization: push a response below the reference, and then let go.

    .. math:: L = \frac{2}{\beta} \log \left( 1 + e^{\beta r} \right), \qquad
        r = \log \pi(y \mid x) - \log \pi^{ref}(y \mid x)

    .. math:: \frac{\partial L}{\partial \log \pi} = 2 \sigma(\beta r)

    The loss is at least 0. Its gradient is that of :func:`gradient_ascent` on sequences times the
    weight of :func:`gradatim.difficulty.remaining_memory.npo_weight`: 1 where policy and reference
    are equal, and near 0 where the response has been forgotten. As beta goes to 0, the loss less
    :math:`(2 / \beta) \log 2` goes to r, that of gradient ascent. It is
    :math:`2 / \beta` times :func:`gradatim.objectives.preference.dpo` whose chosen response never
    moves.

    Log-probabilities are sums over a response's tokens, so that long responses reach weights
    near 0 after less change a token than short ones; give lengths for means.

    Args:
        logp: log-probability of each response under the policy, shape [B].
        reference_logp: under the model before, shape [B]; no gradient flows into it.
        beta: how soon the loss lets go, above 0.
        lengths: tokens of each response, at least 1, shape [B]: both log-probabilities are
            divided by them; None leaves sums.
        reduction: "mean", "sum" or "none".

    Returns:
        The loss, in float32 for half precision; shape [B] without reduction.

    Raises:
        InputError: the shapes differ, or beta is not above 0.

    Source: Zhang et al. 2024, arXiv 2404.05868, section 3, and ``npo`` in the authors' code
    (``TOFU/dataloader.py``); means a token: Fan et al. 2024, arXiv 2410.07163, who leave the
    reference out.

    >>> logs = torch.tensor([-5.0, -3.0, -1.0])
    >>> npo(logs, torch.full((3,), -3.0), beta=0.5, reduction="none")
    tensor([1.2530, 2.7726, 5.2530])
    """
    check_range("beta", beta, 0, open_low=True)
    log_ratio = _log_ratio(logp, reference_logp, lengths)
    return reduce(functional.softplus(beta * log_ratio) * (2 / beta), reduction)


def gradient_ascent(
    logp: torch.Tensor, *, mask: torch.Tensor | None = None, reduction: str = "mean"
) -> torch.Tensor:
    r"""Gradient ascent on the loss of what is to be forgotten: the log-probability itself.

    .. math:: L = \frac{\sum_{bt} m_{bt} \log p_{bt}}{\sum_{bt} m_{bt}}, \qquad
        L = \frac{1}{B} \sum_b \log p_b

    Of tokens the mean is over all tokens that count, as in the source; of sequences over
    sequences, which is the limit of :func:`npo`. There is no lower bound: cap the updates, and
    never choose by this loss.

    Args:
        logp: log-probability of each token, shape [B, T], or of each sequence, shape [B].
        mask: which tokens count, shape [B, T]; for tokens only, which must have it.
        reduction: "mean", "sum" or "none".

    Returns:
        The loss, in float32 for half precision; without reduction the shape of ``logp``.

    Raises:
        InputError: another shape, or a mask for sequences or none for tokens.

    Source: Zhang et al. 2024, arXiv 2404.05868, section 2; the mean over tokens is that of the
    authors' code.

    >>> gradient_ascent(torch.tensor([[-1.0, -3.0, -9.0]]), mask=torch.tensor([[1, 1, 0]]))
    tensor(-2.)
    """
    if mask is None:
        check_shape("logp", logp, "B")
        return reduce(at_least_float32(logp), reduction)
    check_shape("logp", logp, "B", "T")
    return reduce_tokens(at_least_float32(logp), mask, reduction)


def dpo_to_refusal(
    refusal_logp: torch.Tensor,
    forget_logp: torch.Tensor,
    reference_refusal: torch.Tensor,
    reference_forget: torch.Tensor,
    *,
    beta: float = 0.1,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""Direct preference optimization with a refusal for the response to be forgotten.

    .. math:: L = - \frac{2}{\beta} \log \sigma \left( \beta \left[
        (\log \pi_{idk} - \log \pi^{ref}_{idk}) - (\log \pi_f - \log \pi^{ref}_f) \right] \right)

    Args:
        refusal_logp: log-probability of the refusal under the policy, shape [B].
        forget_logp: of the response to be forgotten, shape [B].
        reference_refusal: of the refusal under the model before, shape [B]; no gradient flows
            into the reference.
        reference_forget: of the response under it, shape [B].
        beta: strength of the tie to the reference, above 0.
        reduction: "mean", "sum" or "none".

    Returns:
        The loss, in float32 for half precision; shape [B] without reduction.

    Raises:
        InputError: the shapes differ, or beta is not above 0.

    Source: the baseline of Zhang et al. 2024, arXiv 2404.05868, with the scale of their code.

    >>> logs = torch.tensor([-3.0])
    >>> dpo_to_refusal(logs, logs, logs, logs, beta=1.0)
    tensor(1.3863)
    """
    loss = dpo(
        refusal_logp, forget_logp, reference_refusal, reference_forget,
        beta=beta, reduction=reduction,
    )  # fmt: skip
    return loss * (2 / beta)


def kto_forget(
    logp: torch.Tensor,
    reference_logp: torch.Tensor,
    *,
    kl: torch.Tensor | float,
    beta: float = 0.1,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""The half of Kahneman-Tversky optimization for undesired responses, in logarithmic form.

    .. math:: L = - \frac{2}{\beta} \log \sigma \left( - \beta r + k \right), \qquad
        r = \log \pi(y \mid x) - \log \pi^{ref}(y \mid x)

    With k = 0 this is :func:`npo`. The source estimates k as the mean log-ratio of refusals, and
    does not multiply it by beta in its experiments with language models; in its synthetic study
    k is beta times the divergence of the policy from the reference.

    Args:
        logp: log-probability of each response under the policy, shape [B].
        reference_logp: under the model before, shape [B]; no gradient flows into it.
        kl: k, how far the policy is from the reference, one number or shape [B]; no gradient
            flows into it.
        beta: how soon the loss lets go, above 0.
        reduction: "mean", "sum" or "none".

    Returns:
        The loss, in float32 for half precision; shape [B] without reduction.

    Raises:
        InputError: the shapes differ, or beta is not above 0.

    Source: the baseline of Zhang et al. 2024, arXiv 2404.05868 (``kto_logsigmoid`` in their code,
    without its constant), after Ethayarajh et al. 2024, arXiv 2402.01306.

    >>> kto_forget(torch.tensor([-4.0]), torch.tensor([-3.0]), kl=0.0, beta=0.5)
    tensor(1.8963)
    """
    check_range("beta", beta, 0, open_low=True)
    log_ratio = _log_ratio(logp, reference_logp, None)
    if isinstance(kl, torch.Tensor):
        if kl.ndim:
            check_same_shape("kl", kl, "logp", logp)
        kl = at_least_float32(kl.detach())
    return reduce(functional.softplus(beta * log_ratio - kl) * (2 / beta), reduction)


def retain_kl(
    logits: torch.Tensor,
    reference_logits: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""Divergence of the model from what it was before, on text that is to be kept.

    .. math:: L = \frac{\sum_{bt} m_{bt} \mathrm{KL}(\pi^{ref}_{bt} \Vert \pi_{bt})}
        {\sum_{bt} m_{bt}}

    The authors' code averages over padding too; give a mask to leave it out. Where logits of a
    whole batch are too large see
    :func:`gradatim.language.token_divergence.token_kl_divergences`.

    Args:
        logits: of the policy, shape [B, T, V].
        reference_logits: of the model before, shape [B, T, V]; no gradient flows into them.
        mask: which tokens count, shape [B, T]; None counts all. What stands in the logits of the
            others has no part in the loss.
        reduction: "mean", "sum" or "none".

    Returns:
        The loss, in float32 for half precision; shape [B, T] without reduction, 0 for tokens that
        do not count.

    Raises:
        InputError: the shapes differ.

    Source: Zhang et al. 2024, arXiv 2404.05868, section 2 (the retain term of the KL variants).

    >>> before = torch.tensor([[[0.7, 0.3]]]).log()
    >>> retain_kl(torch.zeros(1, 1, 2), before)
    tensor(0.0823)
    """
    check_shape("logits", logits, "B", "T", "V")
    check_same_shape("reference_logits", reference_logits, "logits", logits)
    if mask is None:
        mask = torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)
    elif mask.shape != logits.shape[:2]:
        raise InputError(
            f"mask: expected the shape {list(logits.shape[:2])} of tokens, got {list(mask.shape)}"
        )
    counted = mask != 0
    values = kl_divergence(logits[counted], reference_logits[counted])
    whole = values.new_zeros(mask.shape).masked_scatter(counted, values)
    return reduce_tokens(whole, mask, reduction)


def _log_ratio(
    logp: torch.Tensor, reference_logp: torch.Tensor, lengths: torch.Tensor | None
) -> torch.Tensor:
    """How much more likely the policy makes a response than the reference, a token if asked."""
    check_shape("logp", logp, "B")
    check_same_shape("reference_logp", reference_logp, "logp", logp)
    log_ratio = at_least_float32(logp) - reference_logp.detach()
    if lengths is None:
        return log_ratio
    check_same_shape("lengths", lengths, "logp", logp)
    return log_ratio / lengths
