"""What contrastive losses ask of embeddings, temperatures, masks and weights."""

import math

import torch
from torch.nn import functional

from gradatim.core.checks import check_finite, check_range, check_same_shape, check_shape
from gradatim.core.errors import InputError
from gradatim.core.precision import at_least_float32

_SAFE = (1e-12, 1e12)  # beyond these the squares of float32 leave its range


def as_embeddings(
    query: torch.Tensor,
    positive: torch.Tensor,
    negatives: torch.Tensor | None,
    *,
    normalize: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Check embeddings and bring them to the length and precision that losses compute with.

    Args:
        query: shape [B, D].
        positive: shape [B, D].
        negatives: shape [N, D] or [B, N, D], or None.
        normalize: whether to scale each embedding to length 1.

    Returns:
        The embeddings, in float32 for half precision.

    Raises:
        InputError: shapes do not fit, a number is not finite, or an embedding is zero and was to be
            normalized.

    >>> as_embeddings(torch.tensor([[3.0, 4.0]]), torch.ones(1, 2), None, normalize=True)[0]
    tensor([[0.6000, 0.8000]])
    """
    check_shape("query", query, "B", "D")
    check_same_shape("positive", positive, "query", query)
    if not query.numel():
        raise InputError(f"query: expected at least one embedding, got shape {list(query.shape)}")
    if negatives is not None:
        shared = negatives.ndim == 2
        check_shape(
            "negatives", negatives, *(("N",) if shared else (len(query), "N")), query.shape[1]
        )
        negatives = _ready("negatives", negatives, normalize)
    return _ready("query", query, normalize), _ready("positive", positive, normalize), negatives


def check_temperature(temperature: float | torch.Tensor) -> float:
    """Check that a temperature is one finite number above 0, and return it as a number.

    Raises:
        InputError: it is not.

    >>> check_temperature(torch.tensor([0.5]))
    0.5
    """
    if isinstance(temperature, torch.Tensor):
        if temperature.numel() != 1:
            raise InputError(
                f"temperature: expected one number, got shape {list(temperature.shape)}"
            )
        temperature = float(temperature.detach())
    check_range("temperature", temperature, 0, open_low=True)
    return temperature


def weigh(losses: torch.Tensor, sample_weights: torch.Tensor | None) -> torch.Tensor:
    """Multiply the losses of queries, shape [B], by their weights, if there are any.

    Raises:
        InputError: the shapes differ.

    >>> weigh(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 2.0]))
    tensor([0., 4.])
    """
    if sample_weights is None:
        return losses
    check_same_shape("sample_weights", sample_weights, "the losses", losses)
    return losses * sample_weights.detach().to(losses)


def check_negatives_left(name: str, has_negatives: torch.Tensor) -> None:
    """Check that each query has a negative.

    Args:
        name: the mask that may have taken them.
        has_negatives: booleans, shape [B].

    Raises:
        InputError: a query has none.

    >>> check_negatives_left("negative_mask", torch.tensor([True, True]))
    """
    without = torch.nonzero(~has_negatives)
    if len(without):
        raise InputError(
            f"{name}: expected a negative for each query, got none for query "
            f"{int(without[0])} ({len(without)} of {len(has_negatives)}); "
            "require_negatives=False gives these a loss of 0"
        )


def _ready(name: str, embeddings: torch.Tensor, normalize: bool) -> torch.Tensor:
    """Embeddings without NaN, in float32 at least, of length 1 if wanted."""
    embeddings = at_least_float32(embeddings)
    if not embeddings.numel():
        return embeddings
    largest = embeddings.detach().abs().amax(-1, keepdim=True)
    low, high = (float(end) for end in torch.aminmax(largest))
    if not math.isfinite(high):
        check_finite(name, embeddings)
    if not normalize:
        return embeddings
    if low == 0:
        place = ", ".join(map(str, torch.nonzero(largest[..., 0] == 0)[0].tolist()))
        raise InputError(f"{name}: expected embeddings that are not zero, got zero at row {place}")
    if low < _SAFE[0] or high > _SAFE[1]:
        embeddings = embeddings / largest
    return functional.normalize(embeddings, dim=-1)
