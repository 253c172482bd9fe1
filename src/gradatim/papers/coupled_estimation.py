"""Negatives of a pool that BM25 filled: docstrings that are about the same library as a summary.

The paper trains BERT rankers on collections where few documents of each query were ever judged.
Here judgement is staged on real text, so that the truth is known: queries are summaries of
functions and classes of six Python packages, documents are the first 40 words of what follows
them, and a document is relevant if it comes from the query's package. The pool holds BM25's first
5; what is relevant in it is labelled, and the rest of the corpus is not. Negatives are 30
unlabelled documents of each query: random ones, BM25's first, or MiniLM's first, the strong
retriever. Of the last, "denoised" drops those that a ranker trained on BM25's negatives rates
above half of its labelled documents, "coupled" weighs them (at temperatures 10 and 2 of the
authors' script and default, and by the exact posterior), and "true negatives" knows the truth.

The ranker is linear in the products and distances of MiniLM's embeddings and starts from their
cosine; the model of selection is a perceptron that sees what a pool goes by, BM25's score and rank
and the lengths, so the two cannot learn the same. Coupled weights are divided by their mean in a
batch. Every arm has the same updates, queries and labelled documents and two trials of the
learning rate, chosen by what a user has: nDCG with the labels of validation queries. Temperatures
are not tuned, since labels that are biased cannot tell. Test queries are judged in full, on the
first 50 documents of BM25 and of MiniLM together.

Seen on seeds 0-4: MiniLM's negatives hold more relevant documents than BM25's and make a worse
ranker, and without the false ones they make a better one, which is still behind BM25's and random
negatives: false negatives are a part of the harm, not all of it. Coupled estimation does not mend
it. At temperature 10 its weights are nearly equal, and slightly larger for false negatives; at 2
and by the posterior they favour true negatives, and the ranker is worse than with plain ones.
Likely reasons, not tested: a relevant document that the pool missed shares words with the query
too, so that BM25's evidence tells relevance as much as selection; pairwise losses leave the level
of both logits open, on which weights depend; and the posterior, which goes by the ranker's own
score, spares the hard negatives together with the false ones.

This is the third form of the experiment. On seed 0, documents of the same class or file, and then
of the same folder, were relevant, ranked by a perceptron and (folders) by the linear ranker. There
too MiniLM's negatives were worse than BM25's and coupling gained next to nothing, but true
negatives were hardly better than plain ones, so that there was little to mend. Relevance was
widened to the package, where most of MiniLM's first documents are relevant, to see an effect if
there is one: that false negatives do harm at all was a condition of the choice.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from gradatim.core.examples import TensorExamples
from gradatim.core.positions import is_among
from gradatim.core.search import TopK, top_k
from gradatim.core.seeds import derive_seed, torch_generator
from gradatim.curriculum.coupled_weights import coupled_weights
from gradatim.metrics.false_negatives import false_negative_rate
from gradatim.metrics.retrieval import ndcg_at, reciprocal_rank
from gradatim.mining.denoised_negatives import denoised_negatives
from gradatim.networks.reference import MLP
from gradatim.objectives.ranking import pairwise_ranking_loss
from gradatim.recipes.coupled_estimation import CoupledEstimation
from gradatim.studies.claims import Budget, Claim, Measurement
from gradatim.studies.data.pooled_docstrings import PooledDocstrings, pooled_docstrings
from gradatim.studies.plots import Figure
from gradatim.training.batches import ShuffledBatches
from gradatim.training.fit import fit
from gradatim.training.step import Loss, State

POPULATION = (
    "2,500 docstrings of six Python packages, relevant to the summaries of the same package, "
    "labelled where BM25 finds them first; a linear ranker on MiniLM's embeddings"
)
RATES = (0.001, 0.003)
"""The declared search space of every arm, by nDCG with the labels of validation queries."""

BATCH = 64
RANDOM, WEAK, STRONG = "random", "BM25", "MiniLM"
DENOISED, ORACLE = "MiniLM, denoised", "MiniLM, true negatives"
COUPLED, WARM, POSTERIOR = "coupled, 10", "coupled, 2", "coupled, posterior"
ARMS = (RANDOM, WEAK, STRONG, DENOISED, COUPLED, WARM, POSTERIOR, ORACLE)
Mode = Literal["inverse", "posterior"]
WEIGHTS: Mapping[str, tuple[float, Mode]] = {
    COUPLED: (10.0, "inverse"),
    WARM: (2.0, "inverse"),
    POSTERIOR: (1.0, "posterior"),
}

CLAIMS = (
    Claim(
        "The stronger the retriever, the more of its unlabelled results are relevant: MiniLM's "
        "against BM25's.",
        lambda t: t[STRONG].false_negative_rate - t[WEAK].false_negative_rate,
        smallest_effect=0.01,
        unit="share of the negatives",
    ),
    Claim(
        "A ranker gets worse with negatives of the stronger retriever.",
        lambda t: t[STRONG].ndcg - t[WEAK].ndcg,
        smallest_effect=0.005,
        direction="less",
        unit="nDCG at 10",
    ),
    Claim(
        "False negatives are the cause: without them, the stronger retriever's negatives are "
        "better.",
        lambda t: t[ORACLE].ndcg - t[STRONG].ndcg,
        smallest_effect=0.005,
        unit="nDCG at 10",
    ),
    Claim(
        "Coupled estimation tells hard from false negatives: it weighs those that are truly "
        "irrelevant more.",
        lambda t: t[COUPLED].weight_of_true - t[COUPLED].weight_of_false,
        smallest_effect=0.02,
        unit="share of the mean weight",
    ),
    Claim(
        "Coupled estimation makes a better ranker of the stronger retriever's negatives.",
        lambda t: t[COUPLED].ndcg - t[STRONG].ndcg,
        smallest_effect=0.005,
        unit="nDCG at 10",
    ),
    Claim(
        "Coupled estimation is better than the best of random, BM25's and denoised negatives.",
        lambda t: t[COUPLED].ndcg - max(t[arm].ndcg for arm in (RANDOM, WEAK, DENOISED)),
        smallest_effect=0.005,
        unit="nDCG at 10",
    ),
)

FIGURES = (
    Figure("ndcg", arms=ARMS, title="nDCG at 10"),
    Figure("mrr", arms=ARMS, title="MRR at 10"),
    Figure("false_negative_rate", arms=ARMS, title="Share of the negatives that are relevant"),
    Figure("weight_of_true", arms=tuple(WEIGHTS), title="Weight of true negatives over the mean"),
    Figure("weight_of_false", arms=tuple(WEIGHTS), title="Weight of false negatives over the mean"),
)


@dataclass(frozen=True)
class Task:
    """The search task, MiniLM's run, labels, and the queries of each side."""

    data: PooledDocstrings
    strong: TopK
    labelled: Tensor
    train: Tensor
    validation: Tensor
    test: Tensor
    k: int
    updates: int


@dataclass(frozen=True)
class Trained:
    """A ranker, the model of selection if there is one, and nDCG with the labels of validation."""

    ranker: nn.Module
    selection: nn.Module | None
    validation: float


def study(seed: int, budget: Budget) -> Iterator[Measurement]:
    """Train a ranker on each kind of negatives; measure it on queries judged in full."""
    task = _task(seed, budget)
    negatives = _negatives(task, seed)
    trained: dict[str, Trained] = {}
    for arm in ARMS:
        if arm == DENOISED:
            negatives[arm] = _denoised(task, negatives[STRONG], trained[WEAK])
        mined = negatives.get(arm, negatives[STRONG])
        wrong = false_negative_rate(mined[task.train], task.data.relevant[task.train])
        yield Measurement(arm, "false_negative_rate", float(wrong.mean()))
        runs = [_train(task, arm, mined, rate, seed) for rate in RATES]
        trained[arm] = max(runs, key=lambda run: run.validation)
        for metric, value in _quality(task, trained[arm].ranker, task.test, truth=True).items():
            yield Measurement(arm, metric, value)
        if arm in WEIGHTS:
            yield from _report_weights(task, arm, mined, trained[arm])


def _task(seed: int, budget: Budget) -> Task:
    """An eighth of the queries to validate, a quarter to test on; labelled ones to train on."""
    data = pooled_docstrings(
        budget.pick(smoke=120, full=2500), encoder=budget.pick(smoke=None, full="minilm")
    )
    size = len(data.queries)
    labelled = data.labelled(5)
    found = (labelled >= 0).any(1)
    order = torch.randperm(size, generator=torch_generator(seed, "sides"))
    test, validation, train = torch.split(
        order, [size // 4, size // 8, size - size // 4 - size // 8]
    )
    strong = top_k(data.query_vectors, data.vectors, data.run.index.shape[1])
    return Task(
        data,
        strong,
        labelled,
        train[found[train]],
        validation[found[validation]],
        test,
        budget.pick(smoke=30, full=30),
        budget.pick(smoke=3, full=500),
    )


def _negatives(task: Task, seed: int) -> dict[str, Tensor]:
    """Unlabelled documents of every query by each retriever, and the truly irrelevant ones."""
    size = len(task.data.queries)
    drawn = torch.randint(
        size, task.strong.index.shape, generator=torch_generator(seed, "random negatives")
    )
    runs = {RANDOM: drawn, WEAK: task.data.run.index, STRONG: task.strong.index}
    mined = {name: _without(run, task.labelled, task.k) for name, run in runs.items()}
    return {**mined, ORACLE: _without(mined[STRONG], task.data.relevant, task.k)}


def _without(run: Tensor, left_out: Tensor, k: int) -> Tensor:
    """The first k of each run that are not in its row of what is left out; -1 fills up."""
    return denoised_negatives(run, is_among(run, left_out).float(), 0.5, k=k)


def _denoised(task: Task, mined: Tensor, scorer: Trained) -> Tensor:
    """Drop what the scorer rates above the median of labelled documents."""
    query = torch.arange(len(mined))
    with torch.no_grad():
        scores = _scores(task, scorer.ranker, query, mined.clamp(min=0))
        known = _scores(task, scorer.ranker, task.train, task.labelled[task.train].clamp(min=0))
    bar = known[task.labelled[task.train] >= 0].median()
    return denoised_negatives(mined, scores, float(bar))


def _pairs(task: Task, query: Tensor, document: Tensor) -> Tensor:
    """What the ranker sees of pairs: products and distances, shape [B, 2 D]."""
    left, right = task.data.query_vectors[query], task.data.vectors[document]
    return torch.cat([20 * left * right, 10 * (left - right).abs()], dim=1)


def _scores(task: Task, ranker: nn.Module, query: Tensor, documents: Tensor) -> Tensor:
    """Scores of several documents of each query, shape [Q, K]."""
    parts = [
        ranker(_pairs(task, q.repeat_interleave(documents.shape[1]), d.flatten()))
        for q, d in zip(torch.split(query, 200), torch.split(documents, 200), strict=True)
    ]
    return torch.cat(parts).view(documents.shape)


def _ranker(width: int) -> nn.Module:
    """Linear in what it sees; at first ten times the cosine."""
    ranker = nn.Linear(2 * width, 1)
    nn.init.zeros_(ranker.weight)
    nn.init.constant_(ranker.weight[:, :width], 0.5)
    return ranker


def _train(task: Task, arm: str, mined: Tensor, rate: float, seed: int) -> Trained:
    """One labelled and one negative document of each query of a batch."""
    torch.manual_seed(derive_seed(seed, "weights"))
    models = {"relevance": _ranker(task.data.vectors.shape[1])}
    recipe = None
    if arm in WEIGHTS:
        models["selection"] = MLP((5, 32, 1))
        temperature, mode = WEIGHTS[arm]
        recipe = CoupledEstimation(temperature, mode=mode, self_normalize=True, dropout=False)
    usable = task.train[(mined[task.train] >= 0).any(1)]

    def step(given: Mapping[str, nn.Module], batch: dict[str, Tensor], state: State) -> Loss:
        query = batch["query"]
        sides = {
            "positive": _drawn(task.labelled[query], state.generator),
            "negative": _drawn(mined[query], state.generator),
        }
        inputs = {f"relevance_{side}": _pairs(task, query, d) for side, d in sides.items()}
        if recipe is not None:
            for side, document in sides.items():
                inputs[f"selection_{side}"] = task.data.lexical(query, document)
            return recipe.step(given, inputs, state)
        scores = {side: given["relevance"](inputs[f"relevance_{side}"])[:, 0] for side in sides}
        return Loss.of(
            pairwise_ranking_loss(
                scores["positive"], scores["negative"], kind="logistic", reduction="none"
            )
        )

    key = derive_seed(seed, "updates")
    fit(
        models,
        TensorExamples(query=usable),
        step,
        optimizer={name: torch.optim.Adam(m.parameters(), lr=rate) for name, m in models.items()},
        batches=ShuffledBatches(len(usable), min(BATCH, len(usable)), seed=key, remainder="drop"),
        steps=task.updates,
        seed=key,
        progress_bar=False,
    )
    found = _quality(task, models["relevance"], task.validation, truth=False)["ndcg"]
    return Trained(models["relevance"], models.get("selection"), found)


def _drawn(rows: Tensor, generator: torch.Generator) -> Tensor:
    """One position of each row, of those from 0, evenly."""
    chance = torch.rand(rows.shape, generator=generator).masked_fill(rows < 0, -1.0)
    return rows.gather(1, chance.argmax(1, keepdim=True))[:, 0]


@torch.no_grad()
def _quality(task: Task, ranker: nn.Module, side: Tensor, *, truth: bool) -> dict[str, float]:
    """How well the first documents of both retrievers are ranked, by the truth or by labels."""
    weak, strong = (run.index[side, :50] for run in (task.data.run, task.strong))
    documents = torch.cat([weak, strong.masked_fill(is_among(strong, weak), -1)], dim=1)
    scores = _scores(task, ranker, side, documents.clamp(min=0))
    known = task.data.relevant if truth else task.labelled
    there = documents >= 0
    relevant = is_among(documents, known[side])[there].double()
    query = torch.arange(len(side))[:, None].expand_as(documents)[there]
    ranked = (scores[there], relevant, query)
    return {
        "ndcg": float(ndcg_at(*ranked, k=10).mean()),
        "mrr": float(reciprocal_rank(*ranked, k=10).mean()),
    }


@torch.no_grad()
def _report_weights(task: Task, arm: str, mined: Tensor, trained: Trained) -> Iterator[Measurement]:
    """Mean weights of true and of false negatives at the end, over the mean of all."""
    temperature, mode = WEIGHTS[arm]
    query = task.train.repeat_interleave(mined.shape[1])
    document = mined[task.train].flatten()
    query, document = query[document >= 0], document[document >= 0]
    assert trained.selection is not None
    weights = coupled_weights(
        trained.selection(task.data.lexical(query, document))[:, 0],
        temperature,
        mode=mode,
        relevance_logit=_scores(task, trained.ranker, query, document[:, None])[:, 0]
        if mode == "posterior"
        else None,
    )
    wrong = is_among(document[:, None], task.data.relevant[query])[:, 0]
    for name, part in (("weight_of_true", ~wrong), ("weight_of_false", wrong)):
        value = float(weights[part].sum()) / max(1, int(part.sum()))
        yield Measurement(arm, name, value / float(weights.mean()))
