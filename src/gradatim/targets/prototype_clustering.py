"""Clusters around prototypes: preparation of a few-shot task, distances, means and modes."""

import torch
from torch import Tensor
from torch.nn import functional

from gradatim.core.checks import check_range, check_shape
from gradatim.core.errors import InputError


def cl2n(features: Tensor, mean: Tensor) -> Tensor:
    r"""Centre features on the mean of the training classes and scale them to unit length.

    .. math:: x \leftarrow \frac{x - \mu}{\lVert x - \mu \rVert}

    The mean comes from the classes that the network was trained on, never from the task.

    Args:
        features: floating point, shape [..., D].
        mean: of the training classes, shape [D].

    Returns:
        Features of unit length (a row that equals the mean stays 0), shape [..., D].

    Raises:
        InputError: the widths differ.

    Source: Wang et al. 2019, arXiv 1911.04623 (SimpleShot); Ziko et al. 2021, arXiv 2106.09516.

    >>> cl2n(torch.tensor([[4.0, 5.0]]), torch.tensor([1.0, 1.0]))
    tensor([[0.6000, 0.8000]])
    """
    if features.ndim == 0:
        raise InputError("features: expected shape [..., D], got []")
    check_shape("mean", mean, features.shape[-1])
    return functional.normalize(features - mean, dim=-1)


def shift_correct(support: Tensor, query: Tensor) -> Tensor:
    r"""Move the queries of a task so that their mean is that of the support.

    .. math:: x_q \leftarrow x_q + \frac{1}{|S|} \sum_{s \in S} x_s
        - \frac{1}{|Q|} \sum_{r \in Q} x_r

    It takes both parts to have the classes in equal shares.

    Args:
        support: features, shape [..., S, D].
        query: features, shape [..., Q, D].

    Returns:
        Moved queries, shape [..., Q, D].

    Raises:
        InputError: the shapes do not fit.

    Source: Liu et al. 2020, arXiv 1911.10713; Ziko et al. 2021, arXiv 2106.09516.

    >>> shift_correct(torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [2.0]]))
    tensor([[1.],
            [3.]])
    """
    fits = support.ndim >= 2 and support.ndim == query.ndim
    if not fits or support.shape[:-2] != query.shape[:-2] or support.shape[-1] != query.shape[-1]:
        raise InputError(
            f"query: expected shape [..., Q, D] for support [..., S, D], got {list(query.shape)} "
            f"for {list(support.shape)}"
        )
    return query + (support.mean(-2, keepdim=True) - query.mean(-2, keepdim=True))


def squared_distances(features: Tensor, prototypes: Tensor) -> Tensor:
    r"""Squared Euclidean distances between rows and prototypes.

    .. math:: a_{pk} = \lVert x_p - m_k \rVert^2

    They come from one product, after both were centred on the mean prototype.

    Args:
        features: floating point, shape [..., N, D].
        prototypes: of the same type, shape [..., K, D].

    Returns:
        Distances, not negative, shape [..., N, K].

    Raises:
        InputError: the widths differ.

    Source: Ziko et al. 2021, arXiv 2106.09516 (K-means).

    >>> squared_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 0.0]]))
    tensor([[ 0.],
            [25.]])
    """
    _check_rows(features, prototypes)
    centre = prototypes.mean(-2, keepdim=True)
    x, m = features - centre, prototypes - centre
    lengths = x.square().sum(-1, keepdim=True) + m.square().sum(-1).unsqueeze(-2)
    return (lengths - 2.0 * (x @ m.transpose(-1, -2))).clamp(min=0.0)


def class_means(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    r"""Mean of the rows of each class.

    .. math:: m_k = \frac{1}{|\{p : y_p = k\}|} \sum_{p : y_p = k} x_p

    Args:
        features: floating point, shape [..., N, D].
        labels: class of each row, -1 for none, integers, shape [..., N].
        num_classes: K.

    Returns:
        Means, NaN for a class without rows, shape [..., K, D].

    Raises:
        InputError: the shapes do not fit.

    Source: Snell et al. 2017, arXiv 1703.05175, equation 1.

    >>> class_means(torch.tensor([[1.0], [3.0], [9.0]]), torch.tensor([0, 0, -1]), 1)
    tensor([[2.]])
    """
    member = members(labels, num_classes, features)
    sums: Tensor = member.transpose(-1, -2) @ features
    return sums / member.sum(-2).unsqueeze(-1)


def members(labels: Tensor, num_classes: int, features: Tensor) -> Tensor:
    """One-hot labels in the features' type, rows of zeros for -1, shape [..., N, K].

    Raises:
        InputError: the shapes do not fit.

    >>> members(torch.tensor([1, -1]), 2, torch.zeros(2, 3))
    tensor([[0., 1.],
            [0., 0.]])
    """
    if labels.shape != features.shape[:-1]:
        raise InputError(
            f"labels: expected shape {list(features.shape[:-1])} for features "
            f"{list(features.shape)}, got {list(labels.shape)}"
        )
    classes = torch.arange(num_classes, device=labels.device)
    return (labels.unsqueeze(-1) == classes).to(features.dtype)


@torch.no_grad()
def mean_shift(
    features: Tensor,
    labels: Tensor,
    modes: Tensor,
    width: Tensor | float,
    *,
    tol: float = 1e-5,
    max_iter: int = 1000,
) -> Tensor:
    r"""Move the mode of each cluster uphill on the Gaussian density of the cluster's own rows.

    .. math:: m_k \leftarrow \frac{\sum_{p : l_p = k} w_p x_p}{\sum_{p : l_p = k} w_p}, \qquad
        w_p = \exp \Bigl( - \frac{\lVert x_p - m_k \rVert^2}{2 \sigma^2} \Bigr)

    until no coordinate moves by more than ``tol`` times the mode's largest. Weights are relative
    to the largest of their cluster, so a mode far from all rows goes to the nearest of them.

    Args:
        features: floating point, shape [..., N, D].
        labels: cluster of each row, integers, shape [..., N].
        modes: to start from, shape [..., K, D]; that of a cluster without rows stays.
        width: sigma, above 0, one number or shape [...].
        tol: relative movement at which a mode rests.
        max_iter: most steps.

    Returns:
        Modes, shape [..., K, D].

    Raises:
        InputError: the shapes do not fit, or a number is out of range.

    Source: Ziko et al. 2021, arXiv 2106.09516 (K-modes); the defaults are those of its code.

    >>> rows = torch.tensor([[0.0], [0.1], [9.0]])
    >>> mean_shift(rows, torch.tensor([0, 0, 0]), torch.tensor([[1.0]]), 0.5)
    tensor([[0.0500]])
    """
    _check_rows(features, modes)
    check_range("tol", tol, 0)
    check_range("max_iter", max_iter, 1)
    outside = members(labels, modes.shape[-2], features) == 0
    scale = _scale(width, features).expand(*features.shape[:-2], 1, 1)
    shape, modes = modes.shape, modes.clone()
    x, outside, scale, flat = (
        part.reshape(-1, *part.shape[-2:]) for part in (features, outside, scale, modes)
    )
    # lengths of modes are the same for all rows of a cluster, so weights do without them
    centre = x.mean(1, keepdim=True)
    rows = 2.0 * (x - centre) / scale
    bias = -(x - centre).square().sum(-1, keepdim=True) / scale
    bias = bias.masked_fill(outside, -torch.inf)
    rests = outside.all(-2)
    moving = torch.arange(len(x), device=x.device)
    for _ in range(max_iter):
        some = ~rests.all(-1)
        if not bool(some.any()):
            break
        if 2 * int(some.sum()) <= len(moving):
            state = (moving, x, centre, rows, bias, rests)
            moving, x, centre, rows, bias, rests = (part[some] for part in state)
        now = flat[moving]
        logits = torch.baddbmm(bias, rows, (now - centre).transpose(1, 2))
        new = logits.softmax(1).nan_to_num(0.0).transpose(1, 2) @ x
        step = (new - now).abs().amax(-1)
        rests = rests | (step <= tol * now.abs().amax(-1))
        flat[moving] = torch.where(rests.unsqueeze(-1), now, new)
    return flat.view(shape)


def kernel_costs(features: Tensor, modes: Tensor, width: Tensor | float) -> Tensor:
    r"""Costs of k-modes: minus the Gaussian kernel between rows and modes.

    .. math:: a_{pk} = - \exp \Bigl( - \frac{\lVert x_p - m_k \rVert^2}{2 \sigma^2} \Bigr)

    Args:
        features: floating point, shape [..., N, D].
        modes: shape [..., K, D].
        width: sigma, above 0, one number or shape [...].

    Returns:
        Costs in [-1, 0], shape [..., N, K].

    Raises:
        InputError: the widths differ.

    Source: Ziko et al. 2021, arXiv 2106.09516 (K-modes).

    >>> kernel_costs(torch.tensor([[0.0]]), torch.tensor([[0.0]]), 1.0)
    tensor([[-1.]])
    """
    return -(-squared_distances(features, modes) / _scale(width, features)).exp()


def _scale(width: Tensor | float, features: Tensor) -> Tensor:
    """Twice the squared width, kept above 0, of a shape that divides distances."""
    squared = 2.0 * torch.as_tensor(width, dtype=features.dtype, device=features.device).square()
    return squared.clamp(min=torch.finfo(features.dtype).tiny ** 0.5)[..., None, None]


def _check_rows(features: Tensor, prototypes: Tensor) -> None:
    fits = features.ndim >= 2 and features.ndim == prototypes.ndim
    if (
        not fits
        or features.shape[:-2] != prototypes.shape[:-2]
        or (features.shape[-1] != prototypes.shape[-1])
    ):
        raise InputError(
            f"prototypes: expected shape [..., K, D] for features [..., N, D], "
            f"got {list(prototypes.shape)} for {list(features.shape)}"
        )
