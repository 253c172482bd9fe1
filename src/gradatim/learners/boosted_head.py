"""A head grown by gradient boosting, for the last layers of a trained network."""

from typing import Any

import numpy as np
import torch
from torch import nn

from gradatim.core.checks import check_finite, check_shape
from gradatim.core.errors import InputError
from gradatim.learners.boosted_units import linear_layer
from gradatim.learners.gradient_boosted_network import (
    GradientBoostedMLPClassifier,
    GradientBoostedMLPRegressor,
)


def boosted_head(features: torch.Tensor, y: torch.Tensor, **options: Any) -> nn.Sequential:
    r"""Grow a hidden and an output layer by boosting on what a frozen network makes of its inputs.

    .. math:: z(x) = W \sigma (V \phi(x) + a) + b

    with the features phi of the frozen network. The head is an ordinary module: it takes the place
    of the network's last layers, and can be trained further.

    Args:
        features: phi of each training example, floating point, shape [N, d].
        y: integer labels 0 to C - 1, each of which occurs, shape [N]; or floating-point targets,
            shape [N] or [N, K].
        **options: of the classifier or, for targets, of the regressor in
            :mod:`gradatim.learners.gradient_boosted_network`.

    Returns:
        A module from features [B, d] to logits [B, C], or to targets [B, K] (one column for
        targets of shape [N]), with the features' dtype (float32 if lower) and device.

    Raises:
        InputError: shapes that do not fit, values that are not finite, labels other than those.

    Source: Emami and Martínez-Muñoz 2019, arXiv 1909.12098 (on top of deep networks).

    >>> x = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    >>> label = (x[:, 0] * x[:, 1] > 0).long()
    >>> head = boosted_head(x, label, n_hidden=40, learning_rate=0.5, random_state=0)
    >>> head(x[:3]).shape, bool((head(x).argmax(dim=1) == label).float().mean() > 0.9)
    (torch.Size([3, 2]), True)
    """
    check_shape("features", features, "N", "d")
    check_shape("y", y, len(features), *["K"][: y.ndim - 1])
    check_finite("features", features)
    rows, given = features.detach().cpu().double().numpy(), y.detach().cpu().numpy()
    dtype = torch.promote_types(features.dtype, torch.float32)
    if y.is_floating_point():
        check_finite("y", y)
        head = GradientBoostedMLPRegressor(**options).fit(rows, given).to_module(dtype=dtype)
        return head.to(features.device)
    found = np.unique(given)
    if given.ndim != 1 or len(found) < 2 or found[0] != 0 or found[-1] != len(found) - 1:
        raise InputError(
            "y: expected each of the labels 0 to C - 1, with C at least 2, in a column, "
            f"got shape {list(y.shape)} with {len(found)} different labels"
        )
    head = GradientBoostedMLPClassifier(**options).fit(rows, given).to_module(dtype=dtype)
    if len(found) == 2:
        head[2] = _two_logits(head[2])
    return head.to(features.device)


def _two_logits(last: nn.Module) -> nn.Linear:
    """An output layer whose softmax is the sigmoid of a layer of one logit."""
    weight, bias = (parameter.detach() / 2 for parameter in last.parameters())
    return linear_layer(torch.cat([-weight, weight]), torch.cat([-bias, bias]))
