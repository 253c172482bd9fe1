"""Label-agnostic forgetting: representations that turn unfamiliar, and others that stay in place.

Adam, which the authors use, does not see the scale of a loss: whether the losses of a batch are
added, as in the authors' code, or averaged, as here by default, changes no update.
"""

import torch
from torch.nn import functional

from gradatim.core.checks import check_range, check_same_shape, check_shape, reduce
from gradatim.core.precision import at_least_float32


def vae_loss(
    representations: torch.Tensor,
    rebuilt: torch.Tensor,
    mean: torch.Tensor,
    log_variance: torch.Tensor,
    *,
    kl_weight: float = 0.025,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""Squared error of a reconstruction and the divergence of its latent variable.

    .. math:: L_i = \lVert \hat e_i - e_i \rVert^2 + \beta \, \mathrm{KL}\bigl(N(\mu_i,
        \sigma_i^2) \,\Vert\, N(0, I)\bigr), \qquad \mathrm{KL} = \tfrac12 \sum_k \bigl(\mu_{ik}^2
        + \sigma_{ik}^2 - \log \sigma_{ik}^2 - 1 \bigr)

    Args:
        representations: e, shape [B, D].
        rebuilt: the reconstruction, shape [B, D].
        mean: mu, shape [B, K].
        log_variance: logarithm of sigma squared, shape [B, K].
        kl_weight: beta, at least 0.
        reduction: "mean", "sum" or "none".

    Returns:
        The loss, in float32 for inputs in half precision; shape [B] without reduction.

    Raises:
        InputError: the shapes do not fit, or the weight is negative.

    Source: Shen et al. 2024, arXiv 2404.00506, section 3, with the weight of the authors' code.

    >>> e, standard = torch.zeros(1, 3), torch.zeros(1, 2)
    >>> vae_loss(e, e + 1, standard, standard)
    tensor(3.)
    """
    error = _squared_error(representations, rebuilt, "representations", "rebuilt")
    check_shape("mean", mean, len(representations), "K")
    check_same_shape("log_variance", log_variance, "mean", mean)
    check_range("kl_weight", kl_weight, 0)
    mean, log_variance = at_least_float32(mean), at_least_float32(log_variance)
    divergence = 0.5 * (mean.square() + log_variance.expm1() - log_variance).sum(1)
    return reduce(error + kl_weight * divergence, reduction)


def bounded_recon(
    representations: torch.Tensor, rebuilt: torch.Tensor, *, reduction: str = "mean"
) -> torch.Tensor:
    r"""Reconstruction error on a bounded scale, so that it can be driven either way.

    .. math:: N_i = \exp \frac{m_i}{m_i + 1}, \qquad m_i = \lVert \hat e_i - e_i \rVert^2

    A value in [1, e); its slope in m is :math:`N / (m + 1)^2`, so that an example that is rebuilt
    badly already hardly counts. Bring representations to a scale on which m is of the order of 1.

    Args:
        representations: e, shape [B, D].
        rebuilt: the reconstruction, shape [B, D]; a gradient flows into both.
        reduction: "mean", "sum" or "none".

    Returns:
        The value, in float32 for inputs in half precision; shape [B] without reduction.

    Raises:
        InputError: the shapes differ.

    Source: Shen et al. 2024, arXiv 2404.00506, section 3, in the form of the authors' code.

    >>> e = torch.zeros(3, 1)
    >>> bounded_recon(e, torch.tensor([[0.0], [1.0], [2.0]]), reduction="none")
    tensor([1.0000, 1.6487, 2.2255])
    """
    error = _squared_error(representations, rebuilt, "representations", "rebuilt")
    return reduce((1 - 1 / (1 + error)).exp(), reduction)


def extractor_unlearning_loss(
    remaining: torch.Tensor,
    remaining_rebuilt: torch.Tensor,
    forgotten: torch.Tensor,
    forgotten_rebuilt: torch.Tensor,
    *,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""Keep what remains familiar, and make what is forgotten unfamiliar.

    .. math:: L_i = N(e_i, h(e_i)) - N(u_i, h_f(u_i))

    with N of :func:`bounded_recon`, h an autoencoder of what remains, and h_f one of what is
    forgotten, both of the original model's representations. Examples are paired, one of each.

    Args:
        remaining: e, representations of remaining examples, shape [B, D].
        remaining_rebuilt: h(e), shape [B, D].
        forgotten: u, representations of forgotten examples, shape [B, D].
        forgotten_rebuilt: h_f(u), shape [B, D].
        reduction: "mean", "sum" or "none".

    Returns:
        The loss, in (1 - e, e - 1), in float32 for half precision; shape [B] without reduction.

    Raises:
        InputError: the shapes differ.

    Source: Shen et al. 2024, arXiv 2404.00506, section 3, in the form of the authors' code.

    >>> e = torch.zeros(1, 1)
    >>> extractor_unlearning_loss(e, e, e, e + 1)
    tensor(-0.6487)
    """
    check_same_shape("forgotten", forgotten, "remaining", remaining)
    kept = _squared_error(remaining, remaining_rebuilt, "remaining", "remaining_rebuilt")
    lost = _squared_error(forgotten, forgotten_rebuilt, "forgotten", "forgotten_rebuilt")
    return reduce((1 - 1 / (1 + kept)).exp() - (1 - 1 / (1 + lost)).exp(), reduction)


def alignment_contrast(
    remaining: torch.Tensor,
    remaining_before: torch.Tensor,
    forgotten: torch.Tensor,
    forgotten_before: torch.Tensor,
    *,
    tau: float = 20.0,
    reduction: str = "mean",
) -> torch.Tensor:
    r"""Hold the direction of what remains, and turn what is forgotten away from where it was.

    .. math:: L_i = d_i - \log \sum_j \exp(d'_j / \tau), \qquad
        d_i = 1 - \cos(e_i, e^0_i), \quad d'_j = 1 - \cos(u_j, u^0_j)

    The second term is the same for all i. At the original model all d are 0 and so are all
    gradients: the loss moves nothing by itself, and follows where another has begun. Without
    forgotten examples only d is left.

    Args:
        remaining: e, representations of remaining examples, shape [B, D].
        remaining_before: those of the original model, shape [B, D].
        forgotten: u, representations of forgotten examples, shape [n, D].
        forgotten_before: those of the original model, shape [n, D].
        tau: temperature of the forgotten examples alone, above 0.
        reduction: "mean", "sum" or "none".

    Returns:
        The loss, in float32 for inputs in half precision; shape [B] without reduction.

    Raises:
        InputError: the shapes do not fit, or the temperature is not above 0.

    Source: Shen et al. 2024, arXiv 2404.00506, section 3, in the form of the authors' code.

    >>> e = torch.eye(2)
    >>> alignment_contrast(e, e, e, -e)
    tensor(-0.7931)
    """
    check_shape("remaining", remaining, "B", "D")
    check_same_shape("remaining_before", remaining_before, "remaining", remaining)
    check_shape("forgotten", forgotten, "n", remaining.shape[1])
    check_same_shape("forgotten_before", forgotten_before, "forgotten", forgotten)
    check_range("tau", tau, 0, open_low=True)
    values = _turned(remaining, remaining_before)
    if len(forgotten):
        values = values - (_turned(forgotten, forgotten_before) / tau).logsumexp(0)
    return reduce(values, reduction)


def _squared_error(
    values: torch.Tensor, rebuilt: torch.Tensor, name: str, rebuilt_name: str
) -> torch.Tensor:
    check_shape(name, values, "B", "D")
    check_same_shape(rebuilt_name, rebuilt, name, values)
    return (at_least_float32(rebuilt) - at_least_float32(values)).square().sum(1)


def _turned(now: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """One minus the cosine of now and before, in [0, 2]."""
    return 1 - functional.cosine_similarity(at_least_float32(now), at_least_float32(before), dim=1)
