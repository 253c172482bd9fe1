"""Scores of given documents for each query, such as its positives."""

from collections.abc import Iterator

import torch
from torch import Tensor

from gradatim.core.checks import check_choice, check_shape
from gradatim.core.errors import InputError
from gradatim.core.search_tiles import Embeddings

_HELD = 1 << 23  # numbers gathered at a time


@torch.no_grad()
def pair_scores(
    queries: Embeddings, documents: Embeddings, index: Tensor, *, metric: str = "cosine"
) -> Tensor:
    r"""Score some documents of each query, by :math:`q \cdot d` or its cosine.

    Args:
        queries: [Q, D].
        documents: [N, D].
        index: positions of the documents, -1 for none, [Q, P].
        metric: "cosine" or "dot".

    Returns:
        float32, minus infinity where there is no document, [Q, P].

    Raises:
        InputError: shapes that do not fit, or a position that does not exist.

    >>> documents = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> pair_scores(torch.tensor([[1.0, 0.0]]), documents, torch.tensor([[1, 0]]))
    tensor([[0., 1.]])
    """
    check_choice("metric", metric, ("cosine", "dot"))
    check_shape("index", index, len(queries), "P")
    if queries.shape[1] != documents.shape[1]:
        raise InputError(
            f"documents: expected {queries.shape[1]} numbers a vector as the queries have, got "
            f"{documents.shape[1]}"
        )
    if index.numel() and not -1 <= int(index.min()) <= int(index.max()) < len(documents):
        raise InputError(f"index: expected positions from -1 to {len(documents) - 1}")
    found = torch.full(index.shape, -torch.inf, device=index.device)
    unit = metric == "cosine"
    for part in row_slices(len(index), (index.shape[1] + 1) * queries.shape[1]):
        rows = torch.arange(part.start, min(part.stop, len(index)), device=index.device)
        asked = gather_rows(queries, rows[:, None], unit=unit)
        held = gather_rows(documents, index[part], unit=unit)
        scores = (asked @ held.transpose(1, 2)).squeeze(1)
        found[part] = scores.masked_fill(index[part] < 0, -torch.inf)
    return found


def gather_rows(vectors: Embeddings, index: Tensor, *, unit: bool) -> Tensor:
    """Rows of a tensor or array at [Q, K] positions (-1 gives any), float32, [Q, K, D].

    Args:
        vectors: [N, D], of any number type, mapped or not.
        index: positions.
        unit: whether rows are brought to unit length.
    """
    where = index.clamp_min(0).reshape(-1)
    if isinstance(vectors, Tensor):
        rows = vectors[where.to(vectors.device)].float().to(index.device)
    else:
        rows = torch.from_numpy(vectors[where.cpu().numpy()]).float().to(index.device)
    if unit:
        rows = torch.nn.functional.normalize(rows, dim=1)
    return rows.view(*index.shape, -1)


def row_slices(rows: int, numbers: int) -> Iterator[slice]:
    """Slices over rows of so many numbers each, as many as are held at a time.

    >>> list(row_slices(3, 1 << 22))
    [slice(0, 2, None), slice(2, 4, None)]
    """
    step = max(1, _HELD // max(numbers, 1))
    for start in range(0, rows, step):
        yield slice(start, start + step)
