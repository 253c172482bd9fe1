"""Kernel pooling against the definition, word by word; padding changes nothing."""

import math

import pytest
import torch
from torch import nn

from gradatim.core.errors import InputError
from gradatim.networks.kernel_ranking import KNRM, MEANS, WIDTHS, ConvKNRM, kernel_pooling


def texts(*lengths, size=5, dim=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    words = torch.randn(len(lengths), size, dim, generator=generator)
    return words, torch.arange(size) < torch.tensor(lengths)[:, None]


def test_pooling_equals_the_sums_word_by_word():
    similarity = torch.rand(2, 3, 4, 5, dtype=torch.float64) * 2 - 1
    query, document = torch.rand(2, 4) < 0.7, torch.rand(2, 5) < 0.7
    means, widths = torch.tensor(MEANS).double(), torch.tensor(WIDTHS).double()
    found = kernel_pooling(similarity, query, document, means, widths)
    assert found.shape == (2, 3, len(MEANS))
    for b in range(2):
        for c in range(3):
            for k, (mean, width) in enumerate(zip(means.tolist(), widths.tolist(), strict=True)):
                total = 0.0
                for i in query[b].nonzero().flatten().tolist():
                    matches = similarity[b, c, i][document[b]].tolist()
                    kernels = [math.exp(-((m - mean) ** 2) / (2 * width**2)) for m in matches]
                    total += math.log(sum(kernels) + 1e-6)
                assert found[b, c, k].item() == pytest.approx(total, rel=1e-9, abs=1e-9)


def test_the_first_kernel_counts_exact_matches():
    words = torch.eye(4)[None]
    there = torch.ones(1, 4, dtype=torch.bool)
    similarity = torch.einsum("bid,bjd->bij", words[:, [0, 1]], words[:, [0, 0, 1, 2]])
    found = kernel_pooling(
        similarity[:, None], there[:, :2], there, torch.tensor(MEANS), torch.tensor(WIDTHS)
    )
    torch.testing.assert_close(found[0, 0, 0], torch.tensor(math.log(2 + 1e-6)), atol=1e-5, rtol=0)


def test_knrm_is_linear_in_the_pooled_cosines():
    torch.manual_seed(0)
    (query, query_mask), (document, document_mask) = texts(3, 5), texts(5, 2, seed=1)
    net = KNRM(6, projection=4, scale=0.1)
    cosines = torch.cosine_similarity(
        net.project(query)[:, :, None], net.project(document)[:, None], dim=3
    )
    pooled = kernel_pooling(cosines[:, None], query_mask, document_mask, net.means, net.widths)
    wanted = 0.1 * pooled[:, 0] @ net.combine.weight[0] + net.combine.bias
    torch.testing.assert_close(net(query, document, query_mask, document_mask), wanted)


def test_conv_knrm_matches_n_grams_that_are_cut_out_by_hand():
    torch.manual_seed(0)
    (query, query_mask), (document, document_mask) = texts(3), texts(5, seed=1)
    net = ConvKNRM(6, filters=4, longest=2)

    def n_grams(words, mask, size):
        padded = torch.cat([words[0] * mask[0][:, None], torch.zeros(size - 1, 6)])
        layer = net.convolutions[size - 1]
        rows = [
            torch.einsum("fdn,nd->f", layer.weight, padded[i : i + size]) + layer.bias
            for i in range(words.shape[1])
        ]
        return torch.stack(rows).relu()

    pooled = []
    for left in (1, 2):
        for right in (1, 2):
            cosines = torch.cosine_similarity(
                n_grams(query, query_mask, left)[:, None],
                n_grams(document, document_mask, right)[None],
                dim=2,
            )
            pooled.append(
                kernel_pooling(
                    cosines[None, None], query_mask, document_mask, net.means, net.widths
                ).flatten()
            )
    wanted = 0.01 * torch.cat(pooled) @ net.combine.weight[0] + net.combine.bias
    torch.testing.assert_close(
        net(query, document, query_mask, document_mask), wanted, rtol=1e-4, atol=1e-4
    )


def networks():
    return [
        KNRM(6),
        KNRM(6, projection=3),
        ConvKNRM(6, filters=4),
        ConvKNRM(6, filters=4, cross_match=False, activation=nn.Identity),
    ]


@pytest.mark.parametrize("which", range(4))
def test_padding_changes_nothing(which):
    torch.manual_seed(0)
    net = networks()[which]
    (query, query_mask), (document, document_mask) = texts(3, 1), texts(4, 2, seed=1)
    found = net(query, document, query_mask, document_mask)
    assert found.shape == (2,)
    other = document.masked_fill(~document_mask[:, :, None], 9.0)
    other_query = query.masked_fill(~query_mask[:, :, None], -3.0)
    torch.testing.assert_close(net(other_query, other, query_mask, document_mask), found)
    longer = torch.cat([other, torch.ones(2, 3, 6)], dim=1)
    mask = torch.cat([document_mask, torch.zeros(2, 3, dtype=torch.bool)], dim=1)
    torch.testing.assert_close(net(query, longer, query_mask, mask), found)


@pytest.mark.parametrize("which", range(4))
def test_gradients_are_finite_even_for_zero_embeddings_and_empty_texts(which):
    net = networks()[which]
    words, mask = torch.zeros(2, 5, 6), torch.zeros(2, 5, dtype=torch.bool)
    net(words, words, mask, mask).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)
    net(words, words, ~mask, ~mask).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


@pytest.mark.parametrize("which", range(4))
def test_gradcheck_in_double_precision(which):
    torch.manual_seed(1)
    net = networks()[which].double()
    net.widths.fill_(0.3)
    (query, query_mask), (document, document_mask) = texts(3, 2), texts(4, 2, seed=1)
    inputs = [query.double().requires_grad_(), document.double().requires_grad_()]
    assert torch.autograd.gradcheck(lambda q, d: net(q, d, query_mask, document_mask), inputs)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: KNRM(0), "dim: expected a number"),
        (lambda: KNRM(4, projection=0), "projection: expected a number"),
        (lambda: KNRM(4, means=(1.0,)), "widths: expected one for each of 1 means"),
        (lambda: KNRM(4, means=(1.0,), widths=(0.0,)), "widths: expected numbers above 0"),
        (lambda: ConvKNRM(4, longest=0), "longest: expected a number"),
        (lambda: KNRM(5)(*texts_and_masks()), r"query: expected shape \[B, Lq, 5\]"),
        (lambda: KNRM(6)(*texts_and_masks(float)), "query_mask: expected booleans"),
        (lambda: ConvKNRM(6)(*texts_and_masks(float)), "mask: expected booleans"),
    ],
)
def test_bad_input(act, message):
    with pytest.raises(InputError, match=message):
        act()


def texts_and_masks(kind=bool):
    (query, query_mask), (document, document_mask) = texts(3), texts(5, seed=1)
    dtype = torch.bool if kind is bool else torch.float32
    return query, document, query_mask.to(dtype), document_mask.to(dtype)
