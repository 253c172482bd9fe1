"""Hard negatives that count more as training goes on: summaries that find their docstrings.

The paper trains a Chinese encoder on over 100 million pairs with 80,000 negatives in a batch, five
mined ones a query, and attention to samples that changes over training. Its formula was not to be
had, so what is tested are three readings of that sentence: weights of negatives that turn from
equal to exponential in the similarity, those of CurricularFace, and weights of whole samples whose
window moves from easy to hard. Here the encoder is a bag of word pieces with learned weights and a
learned linear map; it learns from 70% of 6,730 summaries of functions and classes, and a fifth has
to find its docstring among all. Batches are of 32 or 256, with five hard negatives a query from
BM25's ranks 3 to 30. The clean arm takes pairs as they are; in the noisy arm a fifth of the
training queries has a document of another one as its positive. Validation pairs are clean.

Every arm sees each training query four times. The learning rate has three trials for batches of 32
and of 256, and with hard negatives (there for each level of noise); all that is built on hard
negatives takes the rate found there and has two trials of its own: emphasis, width of the window,
or margin. Exponential weights equal a lower temperature of the negatives but for a factor, so the
temperature has two more trials without any weights, and the best of the three is an arm. All are
chosen by validation MRR. Documents that are the positive of a query are no negatives of it.

Pilots on seed 0 changed the encoder: with a linear map alone, on fixed bags, hard negatives made no
difference and noise little. Seen on seeds 0-4: on average no rule, nor another temperature, differs
from equal weights by more than a few thousandths, and noise costs less than a hundredth. What may
stand in the way at this scale: the encoder, which stays behind BM25, knows no word order and has
few ways to use a hard negative; a batch of 256 holds near documents anyway; and BM25's ranks 3 to
30 may hold documents that suit the summary as well.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from gradatim.core.examples import TensorExamples
from gradatim.core.lexical_search import BM25
from gradatim.core.seeds import derive_seed, torch_generator
from gradatim.curriculum.negative_weights import ProgressiveNegativeWeights
from gradatim.curriculum.ramps import linear_ramp
from gradatim.metrics.top_k import target_rank
from gradatim.mining.hard_negative_masks import FalseNegativeMask
from gradatim.networks.bag_encoder import BagEncoder, PackedTokens
from gradatim.objectives.contrastive import info_nce_from_similarity
from gradatim.studies.claims import Budget, Claim, Measurement, SeedTable
from gradatim.studies.data.answer_ranking import piece_vectors, word_pieces
from gradatim.studies.data.docstring_pairs import docstring_pairs
from gradatim.studies.plots import Figure
from gradatim.training.batches import ShuffledBatches
from gradatim.training.fit import fit
from gradatim.training.step import Loss, State

POPULATION = (
    "6,730 docstrings of six Python packages, found by their summaries; a bag of word pieces with "
    "learned weights and a linear map, batches of 256"
)
RATES = (1e-3, 3e-3, 1e-2)
"""The search space of training with small and large batches and with hard negatives."""

TEMPERATURE, OTHER_TEMPERATURES = 0.05, (0.035, 0.1)
EMPHASES = (5.0, 15.0)
WIDTHS = (0.25, 0.75)
MARGINS = (0.0, 0.2)
"""Two trials of each arm on top of hard negatives."""

NOISE = 0.3  # difficulty above which the window takes a sample for a wrong pair
SMALL, LARGE, LEXICAL = "small batch", "large batch", "BM25"
HARD, TUNED = "hard negatives", "hard negatives, temperature tuned"
PROGRESSIVE, REVERSED, CONSTANT = "progressive", "reversed", "constant"
SAMPLES, CURRICULAR = "window on samples", "curricular"
RAMPS: Mapping[str, Callable[[float], float]] = {
    PROGRESSIVE: linear_ramp,
    REVERSED: lambda progress: 1.0 - progress,
    CONSTANT: lambda progress: 1.0,
}
RULES = (*RAMPS, SAMPLES, CURRICULAR)
ON_CLEAN_PAIRS = (PROGRESSIVE,)
CLEAN, NOISY = "noise=0", "noise=0.2"
QUERIES = {"easy": (1, 1), "medium": (2, 10), "hard": (11, 10**9)}
"""Test queries by BM25's rank of their document."""

Estimand = Callable[[SeedTable], float]


def _gain(arm: str, over: str, *conditions: str) -> Estimand:
    """The mean gain in MRR over conditions."""

    def estimand(table: SeedTable) -> float:
        gains = [table[arm].at(c).mrr - table[over].at(c).mrr for c in conditions]
        return sum(gains) / len(gains)

    return estimand


CLAIMS = tuple(
    Claim(statement, estimand, smallest_effect=0.005, unit="MRR at 10")
    for statement, estimand in (
        (
            "More negatives in a batch help: 256 is better than 32, for as many presentations.",
            _gain(LARGE, SMALL, CLEAN),
        ),
        ("Five hard negatives a query help.", _gain(HARD, LARGE, CLEAN)),
        (
            "Weights of negatives that become exponential over training help, on clean or on noisy "
            "pairs.",
            (_gain(PROGRESSIVE, HARD, CLEAN), _gain(PROGRESSIVE, HARD, NOISY)),
        ),
        (
            "They give more than a temperature that is tuned again.",
            _gain(PROGRESSIVE, TUNED, CLEAN, NOISY),
        ),
        (
            "On noisy pairs they are better than the same emphasis from the start.",
            _gain(PROGRESSIVE, CONSTANT, NOISY),
        ),
        (
            "On noisy pairs they are better than turned round, from hard to easy.",
            _gain(PROGRESSIVE, REVERSED, NOISY),
        ),
        (
            "On noisy pairs a window on samples that moves from easy to hard helps.",
            _gain(SAMPLES, HARD, NOISY),
        ),
    )
)

FIGURES = (
    Figure("mrr", where=CLEAN, title="MRR at 10, clean pairs", unit="MRR"),
    Figure("mrr", where=NOISY, title="MRR at 10, a fifth of the pairs wrong", unit="MRR"),
    *(
        Figure("mrr", where=f"{NOISY}, queries={name}", title=f"MRR at 10, noisy, {name} queries")
        for name in QUERIES
    ),
)


@dataclass(frozen=True)
class Sizes:
    """Epochs, batches, size of the embeddings, files of each package, rates."""

    epochs: int = 4
    large: int = 256
    small: int = 32
    dim: int = 64
    files: int = 10_000
    rates: tuple[float, ...] = RATES


SMOKE = Sizes(epochs=1, large=32, small=16, dim=16, files=12, rates=RATES[1:2])


@dataclass(frozen=True)
class Task:
    """Pairs, hard negatives, and the rows of each side.

    Attributes:
        queries: texts of N queries.
        documents: texts of N documents, each that of the query at its place.
        vectors: of word pieces.
        weights: inverse document frequencies of word pieces.
        hard: five documents for each query, shape [N, 5].
        rank: BM25's rank of each query's document, shape [N]; 32 if it is not among 31.
        given: the document that training takes for the positive, shape [N].
    """

    queries: PackedTokens
    documents: PackedTokens
    vectors: Tensor
    weights: Tensor
    hard: Tensor
    rank: Tensor
    given: Tensor
    train: Tensor
    validation: Tensor
    test: Tensor
    sizes: Sizes


@dataclass(frozen=True)
class Plan:
    """How one encoder is trained."""

    rate: float
    batch: int
    hard: bool = False
    temperature: float = TEMPERATURE
    weights: Callable[[], ProgressiveNegativeWeights] | None = None


@dataclass(frozen=True)
class Trained:
    """An encoder, how it was trained, and its validation MRR."""

    encoder: BagEncoder
    plan: Plan
    validation: float


def study(seed: int, budget: Budget) -> Iterator[Measurement]:
    """Train with small and large batches, then every arm with hard negatives, clean and noisy."""
    task = _task(seed, budget.pick(smoke=SMOKE, full=Sizes()))
    yield Measurement(LEXICAL, "mrr", _mrr(task.rank[task.test]), CLEAN)
    for name, batch in ((SMALL, task.sizes.small), (LARGE, task.sizes.large)):
        found = _best(task, [Plan(rate, batch) for rate in task.sizes.rates], seed)
        yield from _report(task, name, CLEAN, found)
    for condition, noisy in ((CLEAN, task), (NOISY, _with_noise(task, seed))):
        arms = ON_CLEAN_PAIRS if condition == CLEAN else RULES
        for name, found in _with_hard_negatives(noisy, arms, seed).items():
            yield from _report(noisy, name, condition, found)


def _with_hard_negatives(task: Task, rules: Sequence[str], seed: int) -> dict[str, Trained]:
    """Equal weights and some rules; all have the learning rate of equal weights."""
    rates = [Plan(rate, task.sizes.large, hard=True) for rate in task.sizes.rates]
    equal = _best(task, rates, seed)
    tuned = [replace(equal.plan, temperature=other) for other in OTHER_TEMPERATURES]
    arms = {HARD: equal, TUNED: _best(task, tuned, seed, equal)}
    for name in rules:
        plans = [replace(equal.plan, weights=rule) for rule in _trials(name)]
        arms[name] = _best(task, plans, seed)
    return arms


def _trials(name: str) -> list[Callable[[], ProgressiveNegativeWeights]]:
    """The trials of a rule; rules have state, so that each run makes its own."""
    weights = ProgressiveNegativeWeights
    if name == SAMPLES:
        return [partial(weights, "sample", width=width, noise=NOISE) for width in WIDTHS]
    if name == CURRICULAR:
        return [partial(weights, "curricular", margin=margin) for margin in MARGINS]
    return [partial(weights, gamma_max=emphasis, ramp=RAMPS[name]) for emphasis in EMPHASES]


def _task(seed: int, sizes: Sizes) -> Task:
    pairs = docstring_pairs(most_files=sizes.files)
    count = len(pairs)
    order = torch.randperm(count, generator=torch_generator(seed, "split"))
    test, validation, train = order.tensor_split([count // 5, 3 * count // 10])
    queries, documents = word_pieces(pairs.queries, 32), word_pieces(pairs.documents, 64)
    vectors = piece_vectors(sizes.dim)
    held = torch.zeros(len(vectors))
    for document in documents:
        held[document.unique()] += 1
    hard, rank = _lexical(pairs.queries, pairs.documents, seed)
    return Task(
        _packed(queries),
        _packed(documents),
        vectors / vectors.norm(dim=1).mean(),
        torch.log1p(count / (1 + held)),
        hard,
        rank,
        torch.arange(count),
        train,
        validation,
        test,
        sizes,
    )


def _packed(pieces: Tensor) -> PackedTokens:
    return PackedTokens.of([[piece for piece in row if piece] for row in pieces.tolist()])


def _lexical(queries: Sequence[str], documents: Sequence[str], seed: int) -> tuple[Tensor, Tensor]:
    """Five of BM25's ranks 3 to 30 for each query, and its rank of the own document."""
    depth = min(31, len(documents))
    found = BM25().fit(documents).search(queries, depth).index
    own = found == torch.arange(len(queries))[:, None]
    rank = torch.where(own.any(1), own.int().argmax(1) + 1, depth + 1)
    # the own document goes to the end, so that 30 others are left in their order
    others = found.gather(1, own.int().argsort(dim=1, stable=True))[:, 2 : depth - 1]
    draws = torch.rand(others.shape, generator=torch_generator(seed, "hard"))
    return others.gather(1, draws.argsort(1)[:, :5]), rank


def _with_noise(task: Task, seed: int) -> Task:
    """A fifth of the training queries with the documents of one another."""
    order = torch.randperm(len(task.train), generator=torch_generator(seed, "noise"))
    wrong = task.train[order[: len(order) // 5]]
    given = task.given.clone()
    given[wrong] = wrong.roll(1)
    return replace(task, given=given)


def _best(task: Task, plans: Sequence[Plan], seed: int, *others: Trained) -> Trained:
    """The best of trials, and of others that were made before, by validation MRR."""
    return max([*others, *(_train(task, plan, seed) for plan in plans)], key=_validation)


def _validation(trained: Trained) -> float:
    return trained.validation


def _train(task: Task, plan: Plan, seed: int) -> Trained:
    """One encoder, from the same weights in all arms of a seed."""
    encoder = BagEncoder(task.vectors, task.sizes.dim, token_weights=task.weights, norm="unit")
    nn.init.eye_(encoder.linear.weight)
    nn.init.zeros_(encoder.linear.bias)
    rule = plan.weights() if plan.weights else None
    masks = FalseNegativeMask()

    def step(model: nn.Module, batch: dict[str, Tensor], state: State) -> Loss:
        row = batch["row"]
        shown = task.given[row]
        if plan.hard:
            shown = torch.cat([shown, task.hard[row].flatten()])
        different, place = torch.unique(shown, return_inverse=True)
        similarity = model(task.queries[row]) @ model(task.documents[different])[place].T
        positive = similarity.diagonal()
        mask = masks(similarity, own=task.given[row], others=shown)
        weights = rule(similarity, positive, state.progress, mask) if rule else None
        whole = weights is not None and weights.ndim == 1
        losses = info_nce_from_similarity(
            positive,
            similarity,
            temperature=plan.temperature,
            mask=mask,
            negative_weights=None if whole else weights,
            sample_weights=weights if whole else None,
            reduction="none",
        )
        return Loss.of(losses)

    groups = [
        {"params": [encoder.log_weights], "lr": 10 * plan.rate},
        {"params": list(encoder.linear.parameters()), "lr": plan.rate},
    ]
    optimizer = torch.optim.Adam(groups)
    steps = task.sizes.epochs * len(task.train) // plan.batch
    fit(
        encoder,
        TensorExamples(row=task.train),
        step,
        optimizer=optimizer,
        schedulers=torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: 1 - done / steps),
        batches=ShuffledBatches(len(task.train), plan.batch, seed=seed, remainder="drop"),
        steps=steps,
        seed=derive_seed(seed, "training"),
        progress_bar=False,
    )
    ranks = _ranks(task, encoder, task.validation)
    return Trained(encoder, plan, _mrr(ranks))


@torch.no_grad()
def _ranks(task: Task, encoder: BagEncoder, side: Tensor) -> Tensor:
    """Rank of each query's document among all, shape [queries]."""
    return target_rank(encoder(task.queries[side]) @ encoder(task.documents).T, side)


def _mrr(ranks: Tensor) -> float:
    return float(((ranks <= 10) / ranks).mean())


def _report(task: Task, name: str, condition: str, trained: Trained) -> Iterator[Measurement]:
    """Figures on test queries, all and by BM25's rank."""
    ranks = _ranks(task, trained.encoder, task.test)
    yield Measurement(name, "mrr", _mrr(ranks), condition)
    yield Measurement(name, "recall", float((ranks <= 10).double().mean()), condition)
    yield Measurement(name, "rate", trained.plan.rate, condition)
    yield Measurement(name, "temperature", trained.plan.temperature, condition)
    lexical = task.rank[task.test]
    for queries, (first, last) in QUERIES.items():
        chosen = ranks[(lexical >= first) & (lexical <= last)]
        if len(chosen):
            group = f"{condition}, queries={queries}"
            yield Measurement(name, "mrr", _mrr(chosen), group)
