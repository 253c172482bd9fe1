"""Embedding in chunks: the gradient of the whole batch, on the memory of one chunk."""

import gc
import weakref
from typing import ClassVar

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.core.examples import TensorExamples
from gradatim.objectives.contrastive import info_nce
from gradatim.objectives.contrastive_blocks import blockwise_info_nce
from gradatim.recipes.gradient_cache import GradientCache, contrastive_step, embed_in_chunks
from gradatim.training import fit


def network(dropout=0.0, seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Dropout(dropout), torch.nn.Linear(8, 4)
    ).double()


def gradients(model):
    return [parameter.grad.clone() for parameter in model.parameters()]


def inputs(size=10):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(size, 3, dtype=torch.float64, generator=generator) for _ in range(2)]


@pytest.mark.parametrize("chunk_size", [1, 3, 10, 64])
@pytest.mark.parametrize("objective", [info_nce, blockwise_info_nce])
def test_gradients_are_those_of_the_whole_batch(chunk_size, objective):
    queries, documents = inputs()
    one, other = network(seed=1), network(seed=2)
    whole = objective(one(queries), other(documents))
    whole.backward()
    expected = gradients(one), gradients(other)
    one.zero_grad(), other.zero_grad()
    loss = GradientCache(one, other, chunk_size=chunk_size).loss(objective, queries, documents)
    torch.testing.assert_close(loss, whole)
    loss.backward()
    torch.testing.assert_close((gradients(one), gradients(other)), expected)


def test_dropout_is_the_same_in_both_passes():
    """The gradient is that of the masks drawn in the first pass, and each chunk has its own."""
    queries, documents = inputs()
    model = network(dropout=0.5)
    torch.manual_seed(3)
    loss = GradientCache(model, chunk_size=4).loss(info_nce, queries, documents, temperature=0.5)
    drawn_after = torch.rand(2)
    loss.backward()
    found = gradients(model)
    model.zero_grad()
    torch.manual_seed(3)
    embeddings = [torch.cat([model(x) for x in side.split(4)]) for side in (queries, documents)]
    assert torch.equal(torch.rand(2), drawn_after)
    info_nce(*embeddings, temperature=0.5).backward()
    torch.testing.assert_close(found, gradients(model))


def test_the_backward_pass_leaves_the_random_state_alone():
    queries, documents = inputs()
    loss = GradientCache(network(dropout=0.5), chunk_size=4).loss(info_nce, queries, documents)
    before = torch.get_rng_state()
    loss.backward()
    assert torch.equal(torch.get_rng_state(), before)


def test_autocast_is_the_same_in_both_passes():
    seen = []

    def encoder(x):
        seen.append(torch.is_autocast_enabled("cpu"))
        return model(x)

    model = network().float()
    queries, documents = (x.float() for x in inputs())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = GradientCache(encoder, chunk_size=5).loss(info_nce, queries, documents)
        found = embed_in_chunks(model, queries, chunk_size=5)
    assert found.dtype == torch.bfloat16
    loss.backward()
    assert seen == [True] * 8


class Watched(torch.autograd.Function):
    """The identity, which keeps its input for the backward pass and knows who is alive."""

    alive: ClassVar[weakref.WeakSet] = weakref.WeakSet()
    most: ClassVar[int] = 0

    @staticmethod
    def forward(ctx, x):
        kept = x.clone()
        Watched.alive.add(kept)
        Watched.most = max(Watched.most, len(Watched.alive))
        ctx.save_for_backward(kept)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient + 0 * ctx.saved_tensors[0]


@pytest.mark.parametrize(("chunk_size", "most"), [(2, 2), (20, 1)])
def test_activations_of_one_chunk_at_a_time(chunk_size, most):
    """Twenty chunks of activations would live at once without the cache; next to one, a second
    may be in the making."""
    layer = torch.nn.Linear(3, 4)
    x = torch.randn(40, 3)
    Watched.alive.clear()
    Watched.most = 0
    loss = GradientCache(lambda part: Watched.apply(layer(part)), chunk_size=chunk_size).loss(
        lambda embeddings: embeddings.square().sum(), x
    )
    gc.collect()
    assert len(Watched.alive) == 0
    loss.backward()
    assert Watched.most <= most
    without = [Watched.apply(layer(part)) for part in x.split(2)]
    assert len(Watched.alive) == len(without) == 20


def test_kinds_of_inputs():
    seen = []

    def encoder(part):
        seen.append(part)
        rows = part["ids"] if isinstance(part, dict) else part
        return torch.tensor([[float(row)] for row in rows])

    tokens = {"ids": torch.arange(5), "texts": list("abcde"), "task": "query", "scale": 2}
    embeddings = embed_in_chunks(encoder, tokens, chunk_size=3)
    assert embeddings.flatten().tolist() == [0, 1, 2, 3, 4]
    assert [part["texts"] for part in seen] == [["a", "b", "c"], ["d", "e"]]
    assert all(part["task"] == "query" and part["scale"] == 2 for part in seen)
    assert embed_in_chunks(encoder, [3, 1, 2], chunk_size=2).flatten().tolist() == [3, 1, 2]


def test_without_gradient_every_chunk_is_embedded_once():
    calls = []
    model = network()
    with torch.no_grad():
        embed_in_chunks(lambda x: calls.append(len(x)) or model(x), inputs()[0], chunk_size=4)
    assert calls == [4, 4, 2]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_fit_takes_the_same_steps_as_without_chunks(accumulate):
    queries, documents = inputs(16)
    examples = TensorExamples(query=queries, answer=documents)
    trained = []
    for chunk_size in (3, 16):
        model = network()
        fit(
            model, examples, steps=4, batch_size=8, accumulate=accumulate,
            step=contrastive_step(
                blockwise_info_nce, "query", "answer", chunk_size=chunk_size,
                options=lambda batch, state: {"temperature": 0.5 - 0.4 * state.progress},
            ),
            optimizer=torch.optim.SGD(model.parameters(), 0.5),
        )  # fmt: skip
        trained.append([parameter.detach() for parameter in model.parameters()])
    torch.testing.assert_close(*trained)
    moved = zip(trained[0], network().parameters(), strict=True)
    assert all(not torch.allclose(now, before) for now, before in moved)


def test_a_step_can_be_told_how_to_encode():
    queries, documents = inputs(8)
    seen = []

    def encode(model, part):
        seen.append(part.shape)
        return model(part)

    model = network()
    fit(
        model, TensorExamples(query=queries, answer=documents), steps=1, batch_size=8,
        step=contrastive_step(info_nce, "query", "answer", chunk_size=4, encode=encode),
        optimizer=torch.optim.SGD(model.parameters(), 0.1),
    )  # fmt: skip
    assert seen == [(4, 3)] * 8


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: embed_in_chunks(network(), torch.ones(2, 3), chunk_size=0), "chunk_size: expect"),
        (lambda: GradientCache(network(), chunk_size=0), "chunk_size: expected"),
        (lambda: GradientCache(chunk_size=2), "encoders: expected at least one"),
        (lambda: contrastive_step(info_nce, chunk_size=2), "columns: expected at least one"),
        (lambda: contrastive_step(info_nce, "a", chunk_size=0), "chunk_size: expected"),
        (
            lambda: GradientCache(network(), network(), chunk_size=2).embed(torch.ones(2, 3)),
            "inputs: expected 2, one an encoder, got 1",
        ),
        (
            lambda: embed_in_chunks(network(), "some text", chunk_size=2),
            "inputs: expected a tensor, a list or a dictionary of these, got str",
        ),
        (
            lambda: embed_in_chunks(
                network(), {"a": torch.ones(2), "b": torch.ones(3)}, chunk_size=2
            ),
            r"inputs: expected values of one length, got \[2, 3\]",
        ),
        (
            lambda: embed_in_chunks(lambda x: x.sum(), torch.ones(2, 3), chunk_size=2),
            "encoder: expected a tensor with 2 rows",
        ),
        (
            lambda: embed_in_chunks(lambda x: {"out": x}, torch.ones(2, 3), chunk_size=2),
            "encoder: expected a tensor with 2 rows, got dict",
        ),
    ],
)
def test_what_cannot_be_right_is_refused_by_name(call, message):
    with pytest.raises(InputError, match=message):
        call()
