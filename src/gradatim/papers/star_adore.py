"""Hard negatives, static with random ones and dynamic: docstrings that answer their summaries.

The paper trains RoBERTa on MS MARCO. Here the queries are 6,730 summaries of functions and classes
of six Python packages, the corpus is what follows them in their docstrings, and the encoder, one
for both sides, is a weighted mean of MiniLM's frozen word-piece vectors, a linear map and
LayerNorm. A short training on random negatives comes first; its model mines the static lists, the
first 50 documents beside the query's own. From there on each arm trains as long: on random
negatives (those of the batch and one random document a query, which the paper's two random
baselines have one at a time), on static hard negatives alone, or on both as STAR does, by the
pooled mean of the authors' code. Then each goes on for a while with its own loss, or, as ADORE,
trains the query encoder on the present top 50, found anew in each update. All arms have the same
number of updates, two trials of the learning rate in each phase, chosen by validation MRR, and the
same batches. Rates fall to 0 by a line.

What the claims mean here: errors at the top are MRR at 10, errors in total the share of documents
that stand above the query's own. The list is stale as far as the trained model would no longer
mine it; random training, which does not see the list, is the measure of how much of that comes
from learning at all. Documents that are near copies of another one are left out, since they would
answer its query too.

Seen on seeds 0-4: hard negatives alone go staler and leave more misordered pairs in all than random
ones (their learning rates were chosen apart, which may play a part), and STAR is ahead of random
negatives at the top, as the paper says. But static hard negatives alone are as good or better there
and find as much: they do no harm here, perhaps since those of a batch are shared, so that for most
queries they are random ones after all. ADORE gains nothing at the top over further training by
the same loss. A likely reason, not tested: each document has one query, and training queries are
already ranked much better than test queries, so that what ADORE still finds to correct on its own
lists carries over to few others. Tried before: vectors of 128 numbers with embeddings of 64, where
the arms were nearly level, and of 384 with 128 (seed 0), of 256 (seeds 0-1), a longer first phase,
and rates from 0.0001 to 0.003 for ADORE (seed 0). Other lengths of the lists were not tried.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from gradatim.core.examples import TensorExamples
from gradatim.core.seeds import derive_seed, torch_generator
from gradatim.difficulty.rank_difficulty import negative_staleness, rank_difficulty
from gradatim.mining.top_k_negatives import top_k_negatives
from gradatim.networks.bag_encoder import BagEncoder, PackedTokens
from gradatim.objectives.dense_retrieval import star_loss
from gradatim.recipes.query_side import QuerySideTrainer
from gradatim.studies.claims import Budget, Claim, Measurement, SeedTable
from gradatim.studies.data.answer_ranking import piece_vectors, word_pieces
from gradatim.studies.data.docstring_pairs import docstring_pairs
from gradatim.studies.plots import Figure
from gradatim.training.batches import ShuffledBatches
from gradatim.training.fit import fit
from gradatim.training.step import Loss, State

POPULATION = (
    "6,730 docstrings of six Python packages, found by their summaries; a weighted mean of "
    "MiniLM's word-piece vectors with a linear map to 128 numbers"
)
RATES = (0.001, 0.003)
RATES_AFTER = (0.0001, 0.0004)
"""The declared search space of the two phases, by validation MRR."""

WARM_UP_RATE = 0.003
BATCH = 64
RANDOM, STATIC, STAR = "random negatives", "static hard negatives", "STAR"
ADORE_RANDOM, ADORE_STAR = "ADORE after random", "ADORE after STAR"
WARM_UP = "warm-up"
FIRST = (RANDOM, STATIC, STAR)
ARMS = (*FIRST, ADORE_RANDOM, ADORE_STAR)
GROUPS = ("1 to 10", "above 10")


def _gain(after: str, before: str) -> Callable[[SeedTable], float]:
    return lambda table: table[after].mrr - table[before].mrr


def _over_all_others(table: SeedTable) -> float:
    return table[ADORE_STAR].mrr - max(table[arm].mrr for arm in ARMS if arm != ADORE_STAR)


CLAIMS = (
    Claim(
        "Random negatives keep all errors few: less of the corpus stands above the relevant "
        "document than after training on static hard negatives.",
        lambda t: t[STATIC].misordered - t[RANDOM].misordered,
        smallest_effect=0.001,
        unit="share of the corpus",
    ),
    Claim(
        "Static hard negatives go stale: a model that is trained on them would mine fewer of them "
        "again than one that is trained as long on random negatives.",
        lambda t: t[STATIC].staleness - t[RANDOM].staleness,
        smallest_effect=0.02,
        unit="share of the list",
    ),
    Claim(
        "Random negatives stabilize static hard ones: STAR finds more than hard negatives alone.",
        lambda t: t[STAR].recall - t[STATIC].recall,
        smallest_effect=0.005,
        unit="recall at 100",
    ),
    Claim(
        "STAR ranks better at the top than random negatives do.",
        lambda t: t[STAR].mrr - t[RANDOM].mrr,
        smallest_effect=0.005,
        unit="MRR at 10",
    ),
    *(
        Claim(
            f"{after} improves the ranking at the top over as much training of the same kind.",
            _gain(after, before),
            smallest_effect=0.005,
            unit="MRR at 10",
        )
        for after, before in ((ADORE_RANDOM, RANDOM), (ADORE_STAR, STAR))
    ),
    Claim(
        "STAR and ADORE together are best: better than the best of the other arms.",
        _over_all_others,
        smallest_effect=0.005,
        unit="MRR at 10",
    ),
)

FIGURES = (
    Figure("mrr", arms=(WARM_UP, *ARMS), title="MRR at 10"),
    Figure("recall", arms=(WARM_UP, *ARMS), title="Recall at 100"),
    Figure("misordered", arms=ARMS, title="Share of the corpus above the relevant document"),
    Figure("staleness", arms=FIRST, title="Share of the static negatives that is stale"),
    *(
        Figure("mrr", arms=ARMS, where=f"rank before={group}", title=f"MRR at 10, rank {group}")
        for group in GROUPS
    ),
)


@dataclass(frozen=True)
class Sizes:
    """Files read, pieces of texts, vectors and embeddings, negatives, and updates of the phases."""

    files: int = 10_000
    pieces: tuple[int, int] = (16, 48)
    table: int = 192
    dim: int = 128
    k: int = 50
    updates: tuple[int, int, int] = (300, 500, 120)


SMOKE = Sizes(files=8, table=32, dim=16, k=10, updates=(3, 3, 2))


@dataclass(frozen=True)
class Task:
    """Texts as word pieces, positions of the pairs of each side, and sizes."""

    queries: PackedTokens
    documents: PackedTokens
    train: Tensor
    validation: Tensor
    test: Tensor
    sizes: Sizes


@dataclass(frozen=True)
class Trained:
    """An encoder of queries, the corpus as it sees it, and its validation MRR."""

    encoder: nn.Module
    corpus: Tensor
    validation: float


def study(seed: int, budget: Budget) -> Iterator[Measurement]:
    """Warm up, mine, train by each kind of negatives, and go on with or without ADORE."""
    task = _task(seed, budget.pick(smoke=SMOKE, full=Sizes()))
    warm = _warm_up(task, seed)
    before = _difficulty(task, warm, task.test)
    size = len(task.documents)
    yield from _report(WARM_UP, size, before, before)
    lists = _mined(task, warm)
    first: dict[str, Trained] = {}
    for arm in FIRST:
        first[arm] = _best(partial(_train, task, warm, arm, lists, seed, 1), RATES)
        stale = negative_staleness(lists[task.train], _mined(task, first[arm])[task.train])
        yield Measurement(arm, "staleness", float(stale.mean()))
        longer = _best(partial(_train, task, first[arm], arm, lists, seed, 2), RATES_AFTER)
        yield from _report(arm, size, _difficulty(task, longer, task.test), before)
    for arm, start in ((ADORE_RANDOM, RANDOM), (ADORE_STAR, STAR)):
        found = _best(partial(_adore, task, first[start], seed), RATES_AFTER)
        yield from _report(arm, size, _difficulty(task, found, task.test), before)


def _task(seed: int, sizes: Sizes) -> Task:
    """All pairs as word pieces; 70, 10 and 20 of 100 to train, validate and test on."""
    pairs = docstring_pairs(most_files=sizes.files)
    order = torch.randperm(len(pairs), generator=torch_generator(seed, "sides"))
    test, validation = len(pairs) // 5, len(pairs) // 10
    sides = torch.split(order, [test, validation, len(pairs) - test - validation])
    texts = zip((pairs.queries, pairs.documents), sizes.pieces, strict=True)
    queries, documents = (_packed(part, longest) for part, longest in texts)
    return Task(queries, documents, sides[2], sides[1], sides[0], sizes)


def _packed(texts: Sequence[str], longest: int) -> PackedTokens:
    pieces = word_pieces(texts, longest)
    lengths = (pieces > 0).sum(1)
    return PackedTokens(pieces[pieces > 0], lengths.cumsum(0) - lengths)


def _warm_up(task: Task, seed: int) -> Trained:
    torch.manual_seed(derive_seed(seed, "weights"))
    encoder = BagEncoder(piece_vectors(task.sizes.table), task.sizes.dim)
    fresh = Trained(encoder, torch.empty(0), 0.0)
    return _train(task, fresh, RANDOM, torch.empty(0), seed, 0, WARM_UP_RATE)


def _train(
    task: Task, start: Trained, arm: str, lists: Tensor, seed: int, phase: int, rate: float
) -> Trained:
    """Train both sides in one phase, on one other document a query."""
    encoder = copy.deepcopy(start.encoder)

    def step(model: nn.Module, batch: dict[str, Tensor], state: State) -> Loss:
        pair = batch["pair"]
        if arm == RANDOM:
            other = torch.randint(len(task.documents), pair.shape, generator=state.generator)
        else:
            place = torch.randint(task.sizes.k, pair.shape, generator=state.generator)
            other = lists[pair, place]
        documents = model(task.documents[torch.cat([pair, other])])
        values = star_loss(
            model(task.queries[pair]),
            documents[: len(pair)],
            documents[len(pair) :, None],
            hard_relevant=(other == pair[:, None])[..., None],
            alpha=0.0 if arm == STATIC else None,
            reduction="none",
        )
        return Loss.of(values)

    _fit(task, encoder, TensorExamples(pair=task.train), step, seed, phase, rate)
    return _measured(task, encoder, _encoded(encoder, task.documents))


def _adore(task: Task, start: Trained, seed: int, rate: float) -> Trained:
    """Train the encoder of queries on its own search."""
    encoder = copy.deepcopy(start.encoder)
    recipe = QuerySideTrainer(
        start.corpus,
        k=task.sizes.k,
        encode=lambda model, batch: model(task.queries[batch["pair"]]),
    )
    examples = TensorExamples(pair=task.train, relevant=task.train[:, None])
    _fit(task, encoder, examples, recipe.step, seed, 2, rate)
    return _measured(task, encoder, start.corpus)


def _fit(
    task: Task,
    encoder: nn.Module,
    examples: TensorExamples,
    step: Callable[..., Loss],
    seed: int,
    phase: int,
    rate: float,
) -> None:
    """One phase of training, the rate falling to 0 by a line."""
    updates = task.sizes.updates[phase]
    key = derive_seed(seed, "phase", phase)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=rate)
    size = min(BATCH, len(task.train))
    fit(
        encoder,
        examples,
        step,
        optimizer=optimizer,
        schedulers=torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: 1 - done / updates),
        batches=ShuffledBatches(len(task.train), size, seed=key, remainder="drop"),
        steps=updates,
        seed=key,
        progress_bar=False,
    )


def _best(train: Callable[[float], Trained], rates: Sequence[float]) -> Trained:
    return max(map(train, rates), key=lambda trained: trained.validation)


@torch.no_grad()
def _encoded(encoder: nn.Module, texts: PackedTokens) -> Tensor:
    return torch.cat([encoder(texts[part]) for part in torch.split(torch.arange(len(texts)), 512)])


def _measured(task: Task, encoder: nn.Module, corpus: Tensor) -> Trained:
    found = Trained(encoder, corpus, 0.0)
    rank = _difficulty(task, found, task.validation).exp2()
    return Trained(encoder, corpus, float(_reciprocal(rank).mean()))


@torch.no_grad()
def _difficulty(task: Task, trained: Trained, side: Tensor) -> Tensor:
    """Logarithm of the rank of each query's document."""
    queries = trained.encoder(task.queries[side])
    return rank_difficulty(queries @ trained.corpus.T, side[:, None])


@torch.no_grad()
def _mined(task: Task, trained: Trained) -> Tensor:
    """The first documents beside each query's own, for queries of all sides."""
    own = torch.arange(len(task.queries))[:, None]
    queries = _encoded(trained.encoder, task.queries)
    return top_k_negatives(queries, trained.corpus, own, task.sizes.k).index


def _reciprocal(rank: Tensor) -> Tensor:
    return torch.where(rank < 10.5, 1 / rank, 0.0)


def _report(arm: str, size: int, difficulty: Tensor, before: Tensor) -> Iterator[Measurement]:
    """Figures on test queries, all and by their rank after the warm-up."""
    rank, hard = difficulty.exp2(), before.exp2() > 10.5
    gain = _reciprocal(rank)
    yield Measurement(arm, "mrr", float(gain.mean()))
    yield Measurement(arm, "recall", float((rank < 100.5).float().mean()))
    yield Measurement(arm, "misordered", float((rank - 1).mean()) / size)
    for name, part in zip(GROUPS, (~hard, hard), strict=True):
        value = float(gain[part].sum()) / max(1, int(part.sum()))
        yield Measurement(arm, "mrr", value, f"rank before={name}")
