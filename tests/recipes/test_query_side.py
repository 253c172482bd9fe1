"""ADORE against a loop over the lists that a full sort finds."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.core.examples import TensorExamples
from gradatim.core.positions import pad_positions
from gradatim.recipes.query_side import QuerySideTrainer
from gradatim.training.fit import fit


def _by_hand(queries, documents, relevant, k):
    losses = []
    for query, known in zip(queries, relevant, strict=True):
        scores = documents @ query
        order = scores.argsort(descending=True)[:k].tolist()
        if not known & set(order):
            order += sorted(known)
        pairs = [
            abs(1 / (1 + i) - 1 / (1 + j)) * functional.softplus(scores[b] - scores[a])
            for i, a in enumerate(order)
            for j, b in enumerate(order)
            if a in known and b not in known
        ]
        losses.append(torch.stack(pairs).mean() if pairs else scores.sum() * 0)
    return torch.stack(losses)


@given(st.integers(0, 99), st.lists(st.sets(st.integers(0, 7)), min_size=3, max_size=3))
def test_loss_and_gradient_are_those_of_the_lists(seed, relevant):
    generator = torch.Generator().manual_seed(seed)
    documents = torch.randn(8, 4, dtype=torch.float64, generator=generator)
    inputs = torch.randn(3, 2, dtype=torch.float64, generator=generator)
    model = nn.Linear(2, 4, dtype=torch.float64)
    batch = {"query": inputs, "relevant": pad_positions(relevant)}
    loss = QuerySideTrainer(documents, k=3).step(model, batch, None)
    wanted = _by_hand(model(inputs), documents, relevant, 3)
    torch.testing.assert_close(loss.sum, wanted.sum())
    assert loss.count == 3
    found = torch.autograd.grad(loss.sum, model.weight, retain_graph=True)
    torch.testing.assert_close(found, torch.autograd.grad(wanted.sum(), model.weight))


def test_training_raises_the_relevant_document_and_leaves_documents_alone():
    generator = torch.Generator().manual_seed(0)
    documents = functional.normalize(torch.randn(200, 16, generator=generator), dim=1)
    turn = torch.linalg.qr(torch.randn(16, 16, generator=generator)).Q
    before = documents.clone()
    examples = TensorExamples(query=documents @ turn, relevant=torch.arange(200)[:, None])
    model = nn.Linear(16, 16, bias=False)
    recipe = QuerySideTrainer(documents, k=20)
    adam = torch.optim.Adam(model.parameters(), 0.05)
    result = fit(model, examples, recipe.step, optimizer=adam, epochs=20, batch_size=50)
    found = (model(documents @ turn) @ documents.T).argmax(1)
    assert (found == torch.arange(200)).float().mean() > 0.95
    assert torch.equal(documents, before)
    assert result.history[-1]["retrieved"] > 0.95 > result.history[0]["retrieved"]


def test_another_objective_and_encoder():
    seen = {}

    def objective(scores, labels, *, ranks, mask, reduction):
        seen.update(scores=scores, labels=labels, ranks=ranks, mask=mask)
        return scores.sum(1)

    recipe = QuerySideTrainer(
        torch.eye(3), k=2, relevant="gold", objective=objective, encode=lambda m, b: m(b["text"])
    )
    query = torch.tensor([[3.0, 2.0, 1.0], [3.0, 1.0, 2.0]])
    recipe.step(nn.Identity(), {"text": query, "gold": torch.tensor([[2], [2]])}, None)
    assert seen["scores"][0].tolist() == [3.0, 2.0, 1.0]
    assert seen["labels"].tolist() == [[False, False, True], [False, True, False]]
    assert seen["mask"].tolist() == [[True, True, True], [True, True, False]]
    assert seen["ranks"][0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: QuerySideTrainer(torch.ones(3)), "documents: expected shape"),
        (lambda: QuerySideTrainer(torch.eye(3), k=4), "k: expected"),
        (lambda: QuerySideTrainer(torch.eye(3), k=0), "k: expected"),
    ],
)
def test_bad_input_is_told(act, message):
    with pytest.raises(InputError, match=message):
        act()
