"""How many mined negatives are relevant documents that nobody labelled."""

from torch import Tensor

from gradatim.core.checks import check_shape
from gradatim.core.positions import is_among


def false_negative_rate(mined: Tensor, truth: Tensor, labelled: Tensor | None = None) -> Tensor:
    r"""Share of each query's mined negatives that are relevant in truth.

    .. math:: \frac{|N_q \cap T_q|}{|N_q|}, \quad N_q \text{ without } L_q

    Args:
        mined: N, positions of the documents that were taken for negatives, below 0 = none,
            integers, shape [Q, k].
        truth: T, all relevant documents, -1 for none, shape [Q, E].
        labelled: L, those among them that are labelled, which no miner returns and which do not
            count here, shape [Q, F].

    Returns:
        In [0, 1], 0 for a query without negatives, float32, shape [Q].

    Raises:
        InputError: shapes that do not fit, or numbers that are no integers.

    Source: the false negatives of pooling, Cai et al. 2022, arXiv 2209.05072, section 3.

    >>> import torch
    >>> false_negative_rate(torch.tensor([[5, 2, 8, 1]]), torch.tensor([[2, 9]]))
    tensor([0.2500])
    """
    check_shape("mined", mined, "Q", "k")
    counted = mined if labelled is None else mined.masked_fill(is_among(mined, labelled), -1)
    wrong = is_among(counted, truth).sum(1)
    return wrong / (counted >= 0).sum(1).clamp(min=1)
