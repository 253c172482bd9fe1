"""Diversity, repetition and difficulty of training pairs: SCAN's jump split, names of characters.

The paper trains transformers from scratch on SCAN, COGS and GeoQuery whose training sets it varies,
each for 50,000 steps. Here a small transformer learns in 300 steps of 32 pairs, whatever the set
is. Commands of SCAN are those of one phrase ("walk around left twice"); "jump" is met alone, in a
tenth of the examples, and must be composed with all other words. The alignment is found from what
occurs together; 19 new verbs for each of the four make 1,458 examples of 90.

The two causes are taken apart at one number of steps. As many examples as the original set has,
drawn from the larger one with "jump" alone as before, repeat as often but are of more verbs: what
they gain is due to diversity. The larger set has the same verbs and repeats less. On all of it the
order of novelty (a pool that grows from 20% to all at 80% of the steps) and Zipf's law (of random
ranks; the single verbs keep their tenth) change how often an example comes up and nothing else.
AugZero has five copies of the set; 20 were not learned in as many steps on seed 0, and on the split
"around right" 1, 4 and 16 copies all generalized to nothing, as on "jump". In so few steps the
baseline is at its floor, so that little can be told of AugZero; the paper has 200 copies.

For difficulty, the paper bounds the length of SCAN's commands and the number of primitives in them,
and tests on commands within the lowest bound. Quarters by length, tried first, were not learned:
commands of two phrases need more steps. Here an easy set has 640 commands of one phrase, the hard
set as many of two with at most 12 actions, and the mixture half of each. The test on one phrase is
as long as the easy examples are, which favours them. What is decoded is therefore also compared up
to the right end only; commands of two phrases with "jump" are shown beside it, which none of the
sets teaches, and the easy one cannot, as it lacks "and".

The real data are the names of characters of Unicode 3.2 and what the characters are composed of:
names are a language made by people for use, with families of many sizes. Difficulty is the distance
to the nearest prototype, among 45 clusters of MiniLM embeddings; quarters of 500 names are tested
on 751 others. A random quarter stands beside them.

The learning rate is chosen in each seed for the original set by six commands with "jump" that are
not tested, and for the random quarter by 300 names; all other arms take it over. Dropout, 0.1 in
the paper, is 0: with it 400 steps were not enough to learn the larger set.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch

from gradatim.core.seeds import derive_seed, numpy_generator
from gradatim.curriculum.novelty import NoveltyCurriculum, zipf_probabilities
from gradatim.curriculum.orders import Order
from gradatim.difficulty.prototype_difficulty import PrototypeDifficulty
from gradatim.language.sentence_encoder import embed_texts
from gradatim.mining.primitive_augmentation import (
    Pair,
    PrimitiveAugmenter,
    align_primitives,
    augzero,
)
from gradatim.networks.seq2seq import Seq2SeqTransformer
from gradatim.recipes.sequence_pairs import (
    TokenVocabulary,
    decoded_exactly,
    encode_pairs,
    sequence_step,
)
from gradatim.selection.difficulty_subset import difficulty_subset
from gradatim.studies.claims import Budget, Claim, Measurement, SeedTable
from gradatim.studies.data.character_names import character_names
from gradatim.studies.data.scan import scan_split
from gradatim.studies.plots import Figure
from gradatim.training.batches import Batches, WeightedBatches
from gradatim.training.curriculum_batches import CurriculumBatches
from gradatim.training.fit import fit

POPULATION = (
    "transformers of 2 + 2 layers and 64 units, 300 steps of 32 pairs: SCAN's jump split with "
    "commands of one phrase (difficulty: of one or two), 3,051 names of characters of Unicode 3.2"
)
LEARNING_RATES = (0.004, 0.002)
"""The declared search space: chosen by validation accuracy under the baseline of each task."""

EXTRA = 19
COPIES = 5
BATCH = 32
TWO_PHRASES = 12
"""Actions of the longest commands of two phrases."""

ORIGINAL, MANY, FEW = "original", "new primitives", "new primitives, few examples"
NOVEL, ZIPF, AUGZERO = "new primitives, always novel", "new primitives, Zipf", "AugZero"
FACTORS = (ORIGINAL, FEW, MANY, NOVEL, ZIPF, AUGZERO)
EASY, HARD, MIX, RANDOM = "easy", "hard", "mix", "random"
ONE, TWO, NAMES = "test=one phrase", "test=two phrases", "test=names"

Pairs: TypeAlias = Sequence[tuple[list[str], list[str]]]
Plan: TypeAlias = Callable[[int, int, int], Batches]


def _gain(table: SeedTable, arm: str, base: str, test: str) -> float:
    return table[arm].at(test).exact_match - table[base].at(test).exact_match


def _claim(statement: str, estimand: Callable[[SeedTable], float], effect: float) -> Claim:
    return Claim(statement, estimand, smallest_effect=effect, unit="exact-match accuracy")


CLAIMS = (
    _claim(
        "A training set with 20 times as many primitives generalizes better than the original one "
        "in equally many steps.",
        lambda t: _gain(t, MANY, ORIGINAL, "test=jump"),
        0.05,
    ),
    _claim(
        "More complex data without linguistic knowledge do, too: copies of the set in new "
        "vocabularies (AugZero) beat the original one.",
        lambda t: _gain(t, AUGZERO, ORIGINAL, "test=jump"),
        0.05,
    ),
    _claim(
        "Diversity is one cause: as many examples, repeated as often, generalize better with more "
        "primitives.",
        lambda t: _gain(t, FEW, ORIGINAL, "test=jump"),
        0.05,
    ),
    _claim(
        "Less repetition is another: with the same primitives, more examples that come up less "
        "often generalize better than few.",
        lambda t: _gain(t, MANY, FEW, "test=jump"),
        0.05,
    ),
    _claim(
        "So is the order: of the same examples, a pool that always lets in novel ones is better "
        "than uniform draws.",
        lambda t: _gain(t, NOVEL, MANY, "test=jump"),
        0.05,
    ),
    _claim(
        "And so are frequencies: of the same examples, uniform draws are better than draws in "
        "which a few repeat most, by Zipf's law.",
        lambda t: _gain(t, MANY, ZIPF, "test=jump"),
        0.05,
    ),
    _claim(
        "On synthetic data simple examples, commands of one phrase, teach composition better than "
        "hard ones of two, on commands of one phrase.",
        lambda t: _gain(t, EASY, HARD, ONE),
        0.05,
    ),
    _claim(
        "Simple examples are better than hard ones also where a command may be answered too long: "
        "where only the actions up to the right end count.",
        lambda t: t[EASY].at(ONE).begun_rightly - t[HARD].at(ONE).begun_rightly,
        0.05,
    ),
    _claim(
        "On real data hard examples, far from prototypes, are better than easy ones.",
        lambda t: _gain(t, HARD, EASY, NAMES),
        0.01,
    ),
    _claim(
        "On real data a balanced mixture of easy and hard is better than either alone.",
        lambda t: min(_gain(t, MIX, one, NAMES) for one in (EASY, HARD)),
        0.01,
    ),
)

FIGURES = (
    Figure("exact_match", arms=FACTORS, where="test=jump", title="Commands with jump"),
    Figure("exact_match", arms=FACTORS, where="test=training", title="Examples trained on"),
    *(
        Figure("exact_match", arms=(EASY, HARD, MIX), where=test, title=title)
        for test, title in (
            (ONE, "Commands with jump, one phrase"),
            (TWO, "Commands with jump, two phrases"),
        )
    ),
    Figure(
        "begun_rightly",
        arms=(EASY, HARD, MIX),
        where=ONE,
        title="One phrase, actions up to the end",
    ),
    Figure("exact_match", arms=(EASY, HARD, MIX, RANDOM), where=NAMES, title="Names"),
    *(
        Figure("exact_match", arms=(EASY, HARD, MIX, RANDOM), where=f"{NAMES} {part}", title=title)
        for part, title in ((EASY, "Names near prototypes"), (HARD, "Names far from prototypes"))
    ),
)


@dataclass(frozen=True)
class _Task:
    """What runs of one task share: vocabularies of all its arms, the budget and a seed."""

    words: TokenVocabulary
    symbols: TokenVocabulary
    steps: int
    seed: int

    @classmethod
    def of(cls, pairs: Pairs, steps: int, seed: int) -> "_Task":
        words = TokenVocabulary(source for source, _ in pairs)
        return cls(words, TokenVocabulary(target for _, target in pairs), steps, seed)

    def train(self, pairs: Pairs, rate: float, plan: Plan | None = None) -> Seq2SeqTransformer:
        """Train anew on pairs, all alike unless a plan of batches is given."""
        torch.manual_seed(derive_seed(self.seed, "weights"))
        sizes = {"hidden_size": 64, "layers": 2, "feed_forward": 128}
        model = Seq2SeqTransformer(len(self.words), len(self.symbols), **sizes, dropout=0.0)
        optimizer = torch.optim.Adam(model.parameters(), rate, betas=(0.9, 0.98), fused=True)
        key = derive_seed(self.seed, "batches")
        fit(
            model,
            encode_pairs(pairs, self.words, self.symbols),
            sequence_step,
            optimizer=optimizer,
            schedulers=torch.optim.lr_scheduler.LambdaLR(optimizer, self._warm_up),
            batches=(plan or _uniform)(len(pairs), self.steps, key),
            steps=self.steps,
            clip_norm=5.0,
            progress_bar=False,
        )
        return model

    def correct(
        self, model: Seq2SeqTransformer, pairs: Pairs, *, allow_more: bool = False
    ) -> torch.Tensor:
        """Which pairs are decoded exactly, shape [N]."""
        examples = encode_pairs(pairs, self.words, self.symbols)
        return decoded_exactly(model, examples, allow_more=allow_more).double()

    def tune(self, baseline: Pairs, validation: Pairs) -> tuple[float, Seq2SeqTransformer]:
        """The learning rate that is best for the baseline, and the model trained with it."""
        models = {rate: self.train(baseline, rate) for rate in LEARNING_RATES}
        right = {rate: float(self.correct(one, validation).mean()) for rate, one in models.items()}
        rate = max(LEARNING_RATES, key=right.__getitem__)
        return rate, models[rate]

    def _warm_up(self, step: int) -> float:
        """A tenth of the steps up to the learning rate, the others down to 0."""
        start = max(1, self.steps // 10)
        return min((step + 1) / start, max(0.0, 1 - step / self.steps) / (1 - start / self.steps))


def study(seed: int, budget: Budget) -> Iterator[Measurement]:
    """Factors of the training set, difficulty of commands, difficulty of names."""
    rate = yield from _factors(seed, budget)
    yield from _commands(seed, budget, rate)
    yield from _names(seed, budget)


def _uniform(n: int, steps: int, seed: int) -> Batches:
    return CurriculumBatches(
        np.zeros(n), min(BATCH, n), pacing=lambda t: 1.0, length=steps, seed=seed
    )


def _always_novel(n: int, steps: int, seed: int) -> Batches:
    novelty = NoveltyCurriculum(n, seed=seed)
    return CurriculumBatches(
        novelty.unlock_rank, min(BATCH, n), pacing=novelty.pacing, length=steps, seed=seed
    )


def _factors(seed: int, budget: Budget) -> Generator[Measurement, None, float]:
    """More primitives, more copies, fewer repetitions; gives the learning rate on."""
    split = scan_split("jump", conjunctions=False)
    generator = numpy_generator(seed, "factors")
    augment = PrimitiveAugmenter(align_primitives(split.train, max_share=0.35), EXTRA)
    phrases = [pair for pair in split.train if pair[0] != ["jump"]]
    jump = [pair for pair in split.train if pair[0] == ["jump"]]
    new_phrases, new_jump = _shuffled(augment(phrases), generator), augment(jump)
    sets: dict[str, list[Pair]] = {
        ORIGINAL: split.train,
        FEW: new_phrases[: len(phrases)] + jump,
        MANY: new_phrases + new_jump,
        AUGZERO: augzero(split.train, COPIES),
    }
    share = len(new_jump) / (len(new_phrases) + len(new_jump))
    weights = np.concatenate([
        (1 - share) * zipf_probabilities(len(new_phrases)),
        np.full(len(new_jump), share / len(new_jump)),
    ])  # fmt: skip
    plans: dict[str, Plan] = {
        NOVEL: _always_novel,
        ZIPF: lambda n, steps, key: WeightedBatches(weights, BATCH, length=steps, seed=key),
    }
    steps = budget.pick(smoke=2, full=300)
    task = _Task.of(sets[MANY] + sets[AUGZERO], steps, seed)
    tests = _shuffled(split.test, generator)
    validation, tests = tests[:6], tests[6:]
    rate, baseline = task.tune(split.train, validation)
    yield Measurement(ORIGINAL, "learning_rate", rate, "test=jump")
    for arm in FACTORS:
        pairs = sets.get(arm, sets[MANY])
        model = baseline if arm == ORIGINAL else task.train(pairs, rate, plans.get(arm))
        known = _shuffled(pairs, generator)[: budget.pick(smoke=4, full=100)]
        right = task.correct(model, tests + known)
        yield Measurement(arm, "exact_match", float(right[: len(tests)].mean()), "test=jump")
        yield Measurement(arm, "exact_match", float(right[len(tests) :].mean()), "test=training")
        yield Measurement(arm, "repetitions", steps * BATCH / len(pairs))
    return rate


def _commands(seed: int, budget: Budget, rate: float) -> Iterator[Measurement]:
    """Equally many commands of one phrase, of two, or half each."""
    size = budget.pick(smoke=40, full=640)
    generator = numpy_generator(seed, "commands")
    single = scan_split("jump", conjunctions=False)
    split = scan_split("jump")
    alignment = align_primitives(split.train)
    one = PrimitiveAugmenter(alignment, EXTRA)([p for p in single.train if p[0] != ["jump"]])
    two = _shuffled([pair for pair in split.train if _two_phrases(pair)], generator)[: 2 * size]
    sample = PrimitiveAugmenter(alignment, EXTRA, "sample", per_example=1, seed=seed)
    one, two = _shuffled(one, generator)[:size], _shuffled(sample(two), generator)[:size]
    bare = PrimitiveAugmenter(alignment, EXTRA)([(["jump"], ["I_JUMP"])]) * (size // 180)
    most = budget.pick(smoke=4, full=100)
    one_phrase = single.test[:most]
    two_phrases = _shuffled([pair for pair in split.test if _two_phrases(pair)], generator)[:most]
    sets = {EASY: one, HARD: two, MIX: one[: size // 2] + two[: size - size // 2]}
    task = _Task.of(one + two + bare + split.test, budget.pick(smoke=2, full=300), seed)
    for arm, pairs in sets.items():
        model = task.train(pairs + bare, rate)
        right = task.correct(model, one_phrase + two_phrases)
        yield Measurement(arm, "exact_match", float(right[: len(one_phrase)].mean()), ONE)
        yield Measurement(arm, "exact_match", float(right[len(one_phrase) :].mean()), TWO)
        begun = float(task.correct(model, one_phrase, allow_more=True).mean())
        yield Measurement(arm, "begun_rightly", begun, ONE)
        length = float(np.mean([len(symbols) for _, symbols in pairs]))
        yield Measurement(arm, "mean_actions", length)


def _names(seed: int, budget: Budget) -> Iterator[Measurement]:
    """Quarters of the names by distance from prototypes, and a mixture of the outer ones."""
    pairs = _shuffled(character_names(), numpy_generator(seed, "names"))
    validation, tests, pool = pairs[:300], pairs[300:1051], pairs[1051:]
    pool = pool[: budget.pick(smoke=200, full=len(pool))]
    tests = tests[: budget.pick(smoke=50, full=len(tests))]
    validation = validation[: budget.pick(smoke=50, full=len(validation))]
    if budget == "smoke":
        vectors = torch.rand(
            len(pool) + len(tests), 8, generator=torch.Generator().manual_seed(seed)
        )
    else:
        texts = {" ".join(words): row for row, (words, _) in enumerate(character_names())}
        vectors = torch.from_numpy(embed_texts(list(texts)))[
            [texts[" ".join(words)] for words, _ in pool + tests]
        ]
    prototypes = PrototypeDifficulty(seed=seed).fit(vectors[: len(pool)])
    distance = prototypes.score(vectors).double().numpy()
    difficulty, of_tests = distance[: len(pool)], distance[len(pool) :]
    quarters: dict[str, Order] = {
        RANDOM: numpy_generator(seed, "quarter").permutation(len(pool))[: round(len(pool) / 4)],
        EASY: difficulty_subset(difficulty, 0, seed=seed),
        HARD: difficulty_subset(difficulty, 3, seed=seed),
        MIX: difficulty_subset(difficulty, "mix", seed=seed),
    }
    task = _Task.of(pairs, budget.pick(smoke=2, full=300), seed)
    rate, baseline = task.tune([pool[row] for row in quarters[RANDOM]], validation)
    yield Measurement(RANDOM, "learning_rate", rate, NAMES)
    far = of_tests > np.median(of_tests)
    for arm, chosen in quarters.items():
        trained = [pool[row] for row in chosen]
        model = baseline if arm == RANDOM else task.train(trained, rate)
        right = task.correct(model, tests).numpy()
        yield Measurement(arm, "exact_match", float(right.mean()), NAMES)
        yield Measurement(arm, "exact_match", float(right[~far].mean()), f"{NAMES} {EASY}")
        yield Measurement(arm, "exact_match", float(right[far].mean()), f"{NAMES} {HARD}")
        yield Measurement(arm, "different_words", len({w for words, _ in trained for w in words}))


def _two_phrases(pair: Pair) -> bool:
    return bool({"and", "after"} & set(pair[0])) and len(pair[1]) <= TWO_PHRASES


def _shuffled(pairs: Pairs, generator: np.random.Generator) -> list[Pair]:
    return [pairs[row] for row in generator.permutation(len(pairs))]
