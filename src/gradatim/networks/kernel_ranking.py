"""Rankers that count soft matches of a query's words in a document: K-NRM and Conv-KNRM."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from gradatim.core.checks import check_range, check_shape
from gradatim.core.errors import InputError

MEANS = (1.0, 0.9, 0.7, 0.5, 0.3, 0.1, -0.1, -0.3, -0.5, -0.7, -0.9)
"""Centres of the 11 kernels of the paper; the first counts exact matches."""

WIDTHS = (0.001, *(0.1,) * 10)
"""Their widths."""

_SMALLEST = 1e-6  # of a sum of kernels, before its logarithm


def kernel_pooling(
    similarity: Tensor,
    query_mask: Tensor,
    document_mask: Tensor,
    means: Tensor,
    widths: Tensor,
) -> Tensor:
    r"""Count soft matches at several degrees of similarity.

    .. math::
        \phi_k = \sum_i \log \Bigl( \sum_j \exp \bigl( - \tfrac12 ((m_{ij} - \mu_k) / \sigma_k)^2
        \bigr) + 10^{-6} \Bigr)

    over words i of the query and j of the document that are no padding. In some released code
    padding of the document counts as words of similarity 0.

    Args:
        similarity: m, in [-1, 1], shape [B, C, Lq, Ld] for C kinds of match.
        query_mask: which words of the query are there, booleans, shape [B, Lq].
        document_mask: the same for the document, shape [B, Ld].
        means: mu, shape [K].
        widths: sigma, above 0, shape [K].

    Returns:
        Shape [B, C, K].

    Raises:
        InputError: shapes that do not fit, or masks that are not booleans.

    Source: Xiong et al. 2017, arXiv 1706.06613, section 3.2.

    >>> there = torch.ones(1, 1, dtype=torch.bool)
    >>> m, width = torch.zeros(1, 1, 1, 1), torch.tensor([0.5])
    >>> kernel_pooling(m, there, there, torch.tensor([1.0]), width)
    tensor([[[-2.0000]]])
    """
    check_shape("similarity", similarity, "B", "C", "Lq", "Ld")
    check_shape("means", means, "K")
    check_shape("widths", widths, len(means))
    _check_mask("query_mask", query_mask, len(similarity), similarity.shape[2])
    _check_mask("document_mask", document_mask, len(similarity), similarity.shape[3])
    slope = (1.0 / (math.sqrt(2.0) * widths))[:, None, None]
    apart = torch.addcmul(-means[:, None, None] * slope, similarity.unsqueeze(2), slope)
    kernels = torch.exp(-apart.square()).flatten(1, 3)
    counted = kernels @ document_mask.to(kernels.dtype).unsqueeze(2)
    soft = (counted + _SMALLEST).log().view(*similarity.shape[:2], len(means), -1)
    return (soft * query_mask[:, None, None, :]).sum(3)


class KNRM(nn.Module):
    r"""Rank a document by soft matches of its words' embeddings with the query's.

    .. math:: f(q, d) = w^\top \bigl( c \, \phi(M) \bigr) + a, \qquad M_{ij} = \cos(P q_i, P d_j)

    with :math:`\phi` from :func:`kernel_pooling` and P a projection, which lets frozen embeddings
    learn what counts as a match. The paper trains the embeddings themselves; it has a tanh about
    the score, which does not change an order, and its authors' code the factor c.

    Args:
        dim: D, size of the embeddings.
        projection: size of the learned projection P; None compares the embeddings as they are.
        means: centres of the kernels.
        widths: their widths, above 0.
        scale: c, which keeps sums of logarithms near 1.

    Raises:
        InputError: a size below 1, or kernels of unequal numbers or widths of 0 or less.

    Source: Xiong et al. 2017, arXiv 1706.06613, section 3.

    >>> there = torch.ones(2, 3, dtype=torch.bool)
    >>> KNRM(8)(torch.randn(2, 3, 8), torch.randn(2, 3, 8), there, there).shape
    torch.Size([2])
    """

    means: Tensor
    widths: Tensor

    def __init__(
        self,
        dim: int,
        *,
        projection: int | None = None,
        means: Sequence[float] = MEANS,
        widths: Sequence[float] = WIDTHS,
        scale: float = 0.01,
    ) -> None:
        super().__init__()
        check_range("dim", dim, 1)
        self.dim, self.scale = dim, scale
        _register_kernels(self, means, widths)
        self.project: nn.Module = nn.Identity()
        if projection is not None:
            check_range("projection", projection, 1)
            self.project = nn.Linear(dim, projection, bias=False)
        self.combine = nn.Linear(len(means), 1)

    def forward(
        self, query: Tensor, document: Tensor, query_mask: Tensor, document_mask: Tensor
    ) -> Tensor:
        """Scores, shape [B].

        Args:
            query: embeddings, shape [B, Lq, D].
            document: embeddings, shape [B, Ld, D].
            query_mask: which are no padding, booleans, shape [B, Lq].
            document_mask: the same for documents, shape [B, Ld].

        Raises:
            InputError: shapes that do not fit, or masks that are not booleans.
        """
        _check_texts(query, document, self.dim)
        left, right = (functional.normalize(self.project(x), dim=2) for x in (query, document))
        similarity = torch.einsum("bid,bjd->bij", left, right).unsqueeze(1)
        pooled = kernel_pooling(similarity, query_mask, document_mask, self.means, self.widths)
        scores: Tensor = self.combine(pooled.flatten(1) * self.scale).squeeze(1)
        return scores


class ConvKNRM(nn.Module):
    r"""K-NRM over n-grams of both texts, every length matched with every other.

    .. math:: g^h_i = \mathrm{relu}(W^h x_{i:i+h} + v^h), \qquad
        M^{h_q h_d}_{ij} = \cos(g^{h_q}_i, g^{h_d}_j)

    Texts are padded with zeros on the right, so that each word begins one n-gram of each length.

    Args:
        dim: D, size of the embeddings.
        filters: size of an n-gram's embedding.
        longest: longest n-gram.
        cross_match: match n-grams of unequal length too.
        activation: makes the non-linearity; ``nn.Identity`` for the code of MacAvaney et al.
        means: centres of the kernels.
        widths: their widths, above 0.
        scale: as for :class:`KNRM`.

    Raises:
        InputError: a size below 1, or kernels of unequal numbers or widths of 0 or less.

    Source: Dai et al. 2018, "Convolutional Neural Networks for Soft-Matching N-Grams in Ad-hoc
    Search", WSDM, section 3.

    >>> there = torch.ones(2, 3, dtype=torch.bool)
    >>> ConvKNRM(8, filters=4)(torch.randn(2, 3, 8), torch.randn(2, 3, 8), there, there).shape
    torch.Size([2])
    """

    means: Tensor
    widths: Tensor

    def __init__(
        self,
        dim: int,
        *,
        filters: int = 128,
        longest: int = 3,
        cross_match: bool = True,
        activation: Callable[[], nn.Module] = nn.ReLU,
        means: Sequence[float] = MEANS,
        widths: Sequence[float] = WIDTHS,
        scale: float = 0.01,
    ) -> None:
        super().__init__()
        for name, value in (("dim", dim), ("filters", filters), ("longest", longest)):
            check_range(name, value, 1)
        self.dim, self.scale, self.cross_match = dim, scale, cross_match
        _register_kernels(self, means, widths)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(dim, filters, size) for size in range(1, longest + 1)
        )
        self.activation = activation()
        matches = longest**2 if cross_match else longest
        self.combine = nn.Linear(matches * len(means), 1)

    def forward(
        self, query: Tensor, document: Tensor, query_mask: Tensor, document_mask: Tensor
    ) -> Tensor:
        """Scores, shape [B]; arguments as for :meth:`KNRM.forward`."""
        _check_texts(query, document, self.dim)
        left, right = self._n_grams(query, query_mask), self._n_grams(document, document_mask)
        if self.cross_match:
            similarity = torch.einsum("bgid,bhjd->bghij", left, right).flatten(1, 2)
        else:
            similarity = torch.einsum("bgid,bgjd->bgij", left, right)
        pooled = kernel_pooling(similarity, query_mask, document_mask, self.means, self.widths)
        scores: Tensor = self.combine(pooled.flatten(1) * self.scale).squeeze(1)
        return scores

    def _n_grams(self, words: Tensor, mask: Tensor) -> Tensor:
        """Unit embeddings of the n-grams that begin at each word, shape [B, n-grams, L, F]."""
        _check_mask("mask", mask, len(words), words.shape[1])
        channels = (words * mask[:, :, None]).transpose(1, 2)
        found = [
            self.activation(convolution(functional.pad(channels, (0, place))))
            for place, convolution in enumerate(self.convolutions)
        ]
        return functional.normalize(torch.stack(found, dim=1).transpose(2, 3), dim=3)


def _register_kernels(module: nn.Module, means: Sequence[float], widths: Sequence[float]) -> None:
    if not len(means) or len(means) != len(widths):
        raise InputError(f"widths: expected one for each of {len(means)} means, got {len(widths)}")
    if min(widths) <= 0:
        raise InputError(f"widths: expected numbers above 0, got {min(widths)}")
    module.register_buffer("means", torch.tensor(means, dtype=torch.float32))
    module.register_buffer("widths", torch.tensor(widths, dtype=torch.float32))


def _check_texts(query: Tensor, document: Tensor, dim: int) -> None:
    check_shape("query", query, "B", "Lq", dim)
    check_shape("document", document, len(query), "Ld", dim)


def _check_mask(name: str, mask: Tensor, *sizes: int) -> None:
    check_shape(name, mask, *sizes)
    if mask.dtype != torch.bool:
        raise InputError(f"{name}: expected booleans, got {mask.dtype}")
