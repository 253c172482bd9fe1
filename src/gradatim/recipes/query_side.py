"""Training of the query encoder alone, on what it retrieves itself at every update (ADORE).

The documents are encoded once and stay as they are, so a real search costs one matrix product::

    recipe = QuerySideTrainer(documents, k=200)
    examples = TensorExamples(query=queries, relevant=pad_positions(relevant))
    fit(query_encoder, examples, recipe.step, optimizer=optimizer, epochs=1)
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gradatim.core.checks import check_range, check_shape
from gradatim.core.positions import is_among
from gradatim.core.search import top_k
from gradatim.objectives.dense_retrieval import lambda_rank
from gradatim.training.callbacks import Callback
from gradatim.training.fit import Stateful
from gradatim.training.step import Loss, State

Encode = Callable[[nn.Module, Mapping[str, Any]], Tensor]
ListObjective = Callable[..., Tensor]


def _encode_query(model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
    encoded: Tensor = model(batch["query"])
    return encoded


class QuerySideTrainer:
    r"""Rank the present top k of each query's own search, documents being fixed.

    With :math:`d_1, \dots, d_k` the documents of largest :math:`\langle f(q), g(d) \rangle`:

    .. math:: L_q = \mathrm{lambda\_rank} \bigl( \langle f(q), g(d_r) \rangle,
        [d_r \in D_q^+], r \bigr)_{r = 1 \dots k}

    If none of the k is relevant, all that are relevant follow at ranks k + 1, k + 2, and so on.
    The gradient flows through f(q) alone.

    Args:
        documents: g(d), the whole corpus encoded, shape [N, D]; it is brought to the device of
            the queries when it is first needed.
        k: how many documents to retrieve, at most N.
        relevant: name of the batch's column of relevant positions, -1 for none, shape [B, E], as
            :func:`gradatim.core.positions.pad_positions` makes it.
        objective: the loss of ranked lists, with the arguments of
            :func:`gradatim.objectives.dense_retrieval.lambda_rank`.
        encode: how query embeddings [B, D] come from a model and a batch; by default
            ``model(batch["query"])``.

    Raises:
        InputError: documents of another shape, or a k out of range.

    Source: Zhan et al. 2021, arXiv 2104.08051, section 5.2, and the authors' code.

    >>> from gradatim.core.examples import TensorExamples
    >>> from gradatim.training.fit import fit
    >>> model = nn.Linear(2, 2, bias=False)
    >>> nn.init.eye_(model.weight).requires_grad
    True
    >>> examples = TensorExamples(query=torch.eye(2), relevant=torch.tensor([[1], [0]]))
    >>> recipe = QuerySideTrainer(torch.eye(2), k=2)
    >>> sgd = torch.optim.SGD(model.parameters(), lr=3.0)
    >>> _ = fit(model, examples, recipe.step, optimizer=sgd, epochs=20)
    >>> (model(torch.eye(2)) @ torch.eye(2)).argmax(1)
    tensor([1, 0])
    """

    def __init__(
        self,
        documents: Tensor,
        *,
        k: int = 200,
        relevant: str = "relevant",
        objective: ListObjective = lambda_rank,
        encode: Encode = _encode_query,
    ) -> None:
        check_shape("documents", documents, "N", "D")
        check_range("k", k, 1, len(documents))
        self.documents = documents.detach()
        self.k, self.relevant, self.objective, self.encode = k, relevant, objective, encode
        self.callbacks: tuple[Callback, ...] = ()
        self.stateful: Mapping[str, Stateful] = {}

    def step(self, model: nn.Module, batch: Mapping[str, Any], state: State) -> Loss:
        """Search with the present encoder, then order what was found."""
        queries, relevant = self.encode(model, batch), batch[self.relevant]
        self.documents = self.documents.to(queries.device)
        found = top_k(queries.detach(), self.documents, self.k).index
        hits = is_among(found, relevant)
        missed = ~hits.any(1, keepdim=True) & (relevant >= 0)
        places = torch.cat([found, relevant.clamp(min=0)], dim=1)
        inside = torch.cat([torch.ones_like(hits), missed], dim=1)
        labels = torch.cat([hits, missed], dim=1)
        ranks = inside.cumsum(1).clamp(min=1)
        scores = torch.einsum("bd,bkd->bk", queries, self.documents[places].to(queries.dtype))
        values = self.objective(scores, labels, ranks=ranks, mask=inside, reduction="none")
        return Loss.of(values, retrieved=hits.any(1).float())
