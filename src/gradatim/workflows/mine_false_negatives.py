"""How likely a mined negative is relevant all the same, from the user's positives alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradatim.core.checks import check_range
from gradatim.core.lexical_search import BM25
from gradatim.core.seeds import numpy_generator
from gradatim.difficulty.false_negatives import false_negative_score

Score: TypeAlias = Callable[[NDArray[np.int64], Tensor], NDArray[np.float64]]
"""From positions of queries [n] and of documents [n, m] to scores [n, m]."""

SAMPLED_QUERIES, RANDOM_DOCUMENTS = 2_000, 8


@dataclass(frozen=True)
class PriorCounts:
    """What the user's labels cannot tell.

    Args:
        relevant: documents that are relevant to a query, those without a label included; None for
            twice as many as are labelled.
        judged: documents of a query that somebody looked at when positives were chosen.

    Raises:
        InputError: a number that is not above 0.
    """

    relevant: float | None = None
    judged: float = 10.0

    def __post_init__(self) -> None:
        if self.relevant is not None:
            check_range("relevant_per_query", self.relevant, 0.0, open_low=True)
        check_range("judged_per_query", self.judged, 0.0, open_low=True)


@dataclass(frozen=True)
class Suspicion:
    """Probabilities, and what they are made of.

    Attributes:
        probability: that a negative is relevant, 0 where there is no negative, [Q, n].
        notes: how it was estimated.
    """

    probability: NDArray[np.float64]
    notes: tuple[str, ...]


def suspect_negatives(
    queries: pa.Array,
    documents: pa.Array,
    positives: Tensor,
    negatives: Tensor,
    scores: NDArray[np.float64],
    score: Score,
    *,
    prior: PriorCounts,
    seed: int = 0,
) -> Suspicion:
    r"""Probability that each negative is relevant, though it has no label.

    It is :math:`\rho (1 - \lambda) / (1 - \rho \lambda)`
    (:func:`~gradatim.difficulty.false_negatives.false_negative_score`). Both logits come from
    logistic regressions that tell the user's positives from random documents, of which next to
    none are relevant or were looked at:

    - relevance: on the score that negatives were mined by (dense, or the cross-encoder's);
    - selection: on words alone, that is on BM25 and on its share of the query's best BM25, as if
      positives had been found by a search for words.

    A regression of n positives against m random documents has the odds n / m built in; they are
    replaced by those of the corpus, ``relevant / N`` and ``judged / N``. Nothing but positives and
    texts is used, so the probability rests on two assumptions: that positives are like all that is
    relevant, and that a document is found by its words and judged by its meaning, independently.

    Args:
        queries: texts, [Q].
        documents: texts, [N].
        positives: their positions, filled up with -1, [Q, P].
        negatives: their positions, filled up with -1, [Q, n].
        scores: of the negatives, [Q, n].
        score: gives the scores of other documents.
        prior: what labels cannot tell.
        seed: of the queries and random documents that are sampled.
    """
    random = numpy_generator(seed, "false negatives")
    size = len(queries)
    asked = np.sort(random.permutation(size)[: min(size, SAMPLED_QUERIES)])
    drawn = torch.from_numpy(random.integers(len(documents), size=(len(asked), RANDOM_DOCUMENTS)))
    own = positives[torch.from_numpy(asked)]
    drawn[(drawn[:, :, None] == own[:, None, :]).any(2)] = -1
    sampled = torch.cat([own, drawn], 1)
    there = (sampled >= 0).numpy()
    label = np.zeros(there.shape, dtype=np.int64)
    label[:, : own.shape[1]] = 1
    labelled = float((positives >= 0).sum()) / size
    relevant = 2.0 * labelled if prior.relevant is None else prior.relevant
    words = _Words(queries, documents)
    found = negatives.numpy() >= 0
    logits = []
    for expected, fitted, wanted in (
        (relevant, score(asked, sampled)[..., None], scores[..., None]),
        (prior.judged, words(asked, sampled), words(np.arange(size), negatives)),
    ):
        odds = min(expected, len(documents) - 0.5) / len(documents)
        logits.append(_logits(fitted[there], label[there], wanted[found], odds))
    probability = np.zeros(found.shape)
    relevance, selection = (torch.from_numpy(one) for one in logits)
    probability[found] = false_negative_score(relevance, selection).numpy()
    note = (
        f"false negatives: {relevant:g} relevant and {prior.judged:g} judged documents a query "
        f"assumed, {labelled:g} labelled; estimated from {int(label[there].sum()):,} positives and "
        f"{int((label[there] == 0).sum()):,} random documents"
    )
    return Suspicion(probability, (note,))


class _Words:
    """What a search for words knows of a query and a document."""

    def __init__(self, queries: pa.Array, documents: pa.Array) -> None:
        self.queries = queries
        self.index = BM25().fit(documents.to_pylist())

    def __call__(self, rows: NDArray[np.int64], index: Tensor) -> NDArray[np.float64]:
        """Features, shape [n, m, 2]: log(1 + BM25), and its share of the query's best."""
        texts = self.queries.take(pa.array(rows)).to_pylist()
        best = self.index.search(texts, k=1).scores.numpy().astype(np.float64)
        held = self.index.scores(texts, index.clamp_min(0)).scores.numpy().astype(np.float64)
        return np.stack([np.log1p(held), held / np.maximum(best, 1e-9)], -1)


def _logits(
    fitted: NDArray[np.float64],
    label: NDArray[np.int64],
    wanted: NDArray[np.float64],
    odds: float,
) -> NDArray[np.float64]:
    """Logits of a regression whose share of positives is replaced by that of the corpus."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    if label.min() == label.max():  # nothing but positives was drawn, in a tiny corpus
        return np.full(len(wanted), np.log(odds / (1.0 - odds)))
    scale = StandardScaler().fit(fitted)
    model = LogisticRegression(max_iter=1000).fit(scale.transform(fitted), label)
    share = label.mean()
    shift = np.log(odds / (1.0 - odds)) - np.log(share / (1.0 - share))
    found: NDArray[np.float64] = np.zeros(0)
    if len(wanted):
        found = model.decision_function(scale.transform(wanted)) + shift
    return found
