"""Difficulty-aware rejection tuning on chains of modular arithmetic.

A small decoder is trained on chains of 2 to 4 steps. Where it solves 80% of such validation
problems it is the base model that is tuned; trained on to 92% it is the model that is sampled from.
It samples solutions to 200 questions of 2 to 8 steps, whose pass rate falls from about 0.85 to
0.12. Vanilla rejection tuning (VRT) makes equally many trials of every question and keeps what is
right; Uniform and Prop2Diff go on until each question has its number of right solutions, at most
128 trials. From the same first 16 trials all strategies go on. The base model is then tuned on each
set, cut at random to one size, with the same number of updates; on sets of one number of tokens
(those of hard questions are longer), with as many tokens; and on all that VRT keeps if it makes as
many trials as Prop2Diff.

Every solution is checked step by step. With the answer alone checked, which one in 17 wrong
solutions passes by chance, Uniform and Prop2Diff keep more wrong solutions of the longest chains
than VRT does, and both fell behind it on seeds 0 and 1; in the paper's questions answers are harder
to guess. A question has one right solution, so that a response is kept as often as it is sampled:
what the strategies choose is how much each question counts.

Tried on seeds 0-4: a weaker base model gains little on hard problems from any set, and a larger cap
of trials is spent for the most part on questions that are never solved. All arms are tuned at one
learning rate, of four (2.5e-4 to 2e-3) the one at which VRT does best on hard questions of
seeds 0-2.
"""

import copy
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from gradatim.core.seeds import derive_seed
from gradatim.curriculum.response_budget import targets_of_total
from gradatim.difficulty.fail_rate import fail_rate
from gradatim.language.response_examples import ResponseExamples
from gradatim.networks.decoder import SmallDecoder
from gradatim.recipes.rejection_tuning import RejectionTuner, tuning_examples
from gradatim.recipes.supervised_tuning import SupervisedTuning
from gradatim.selection.match_size import match_sizes, match_trials
from gradatim.selection.rejection_generators import LanguageGenerator
from gradatim.selection.rejection_sampling import Kept, RejectionSet
from gradatim.selection.response_coverage import coverage, easy_lean
from gradatim.studies.claims import Budget, Claim, Measurement, SeedTable
from gradatim.studies.data.arithmetic_chains import END, TOKENIZER, Chain, grade
from gradatim.studies.data.chain_models import (
    BATCH,
    EASY,
    HARD,
    LEVELS,
    LONGEST,
    ChainLab,
    ChainSizes,
    adam,
    questions,
    solutions,
)
from gradatim.studies.plots import Figure

POPULATION = (
    "chains of 2 to 8 steps of arithmetic modulo 17 (easy: up to 4, hard: 6 and 8), a decoder of "
    "one layer of 96 units that solves 80% of easy problems, tuned on what one that solves 92% "
    "samples for 200 questions"
)
VRT, UNIFORM, PROP = "VRT", "Uniform", "Prop2Diff"
MORE = "VRT, equal trials"
TOKENS = {UNIFORM: "Uniform, equal tokens", PROP: "Prop2Diff, equal tokens"}
HARD_PART = "part=hard"
BORDER = (3.5, "easy", "hard")


def _hard(t: SeedTable, arm: str) -> float:
    return t[arm].at(HARD_PART).accuracy


CLAIMS = (
    Claim(
        "With equally many trials of each question a set leans to easy ones: twice the area "
        "between its Lorenz curve and equality is above 0.1.",
        lambda t: t[VRT].easy_lean,
        threshold=0.1,
        smallest_effect=0.05,
        unit="Lorenz area",
    ),
    Claim(
        "It leaves more of the hard questions without any right response than Uniform and "
        "Prop2Diff do.",
        lambda t: (
            min(t[UNIFORM].at(HARD_PART).coverage, t[PROP].at(HARD_PART).coverage)
            - t[VRT].at(HARD_PART).coverage
        ),
        smallest_effect=0.02,
        unit="share of hard questions",
    ),
    Claim(
        "At equal size, difficulty-aware tuning outperforms vanilla rejection tuning over all "
        "levels, by Uniform or by Prop2Diff.",
        (
            lambda t: t[UNIFORM].accuracy - t[VRT].accuracy,
            lambda t: t[PROP].accuracy - t[VRT].accuracy,
        ),
        smallest_effect=0.01,
        unit="accuracy",
    ),
    Claim(
        "At equal size, Uniform outperforms vanilla rejection tuning on hard problems.",
        lambda t: _hard(t, UNIFORM) - _hard(t, VRT),
        smallest_effect=0.02,
        unit="accuracy",
    ),
    Claim(
        "At equal size, Prop2Diff outperforms vanilla rejection tuning on hard problems.",
        lambda t: _hard(t, PROP) - _hard(t, VRT),
        smallest_effect=0.02,
        unit="accuracy",
    ),
    Claim(
        "At an equal number of tokens, too, Uniform or Prop2Diff outperforms it on hard problems.",
        (
            lambda t: _hard(t, TOKENS[UNIFORM]) - _hard(t, VRT),
            lambda t: _hard(t, TOKENS[PROP]) - _hard(t, VRT),
        ),
        smallest_effect=0.02,
        unit="accuracy",
    ),
    Claim(
        "With a smaller set from as many trials, Prop2Diff is superior or comparable to all that "
        "vanilla sampling keeps: on hard problems not worse by more than 0.01.",
        lambda t: _hard(t, PROP) - _hard(t, MORE),
        threshold=-0.01,
        unit="accuracy",
    ),
)

_ARMS = ("base model", VRT, UNIFORM, PROP)
FIGURES = (
    Figure("accuracy", over="level", arms=_ARMS, title="Accuracy by level", border=BORDER),
    Figure(
        "accuracy",
        where=HARD_PART,
        arms=(*_ARMS, *TOKENS.values(), MORE),
        title="Hard problems",
    ),
    Figure(
        "coverage",
        over="level",
        arms=(VRT, UNIFORM, PROP, MORE),
        title="Questions with at least one right response",
        border=BORDER,
    ),
    Figure(
        "responses",
        over="level",
        arms=(VRT, UNIFORM, PROP),
        title="Share of the responses, at equal size",
        border=BORDER,
    ),
)


@dataclass(frozen=True)
class Sizes:
    """How much of everything a budget allows.

    Attributes:
        models: problems and updates that the base model and the sampler are trained with.
        base: share of easy validation problems that the base model solves.
        sampler: the same of the model that is sampled from.
        questions: to sample solutions to, of each level.
        k: right solutions of each question for Uniform; Prop2Diff has as many in all.
        first: trials of each question in the first pass.
        cap: trials of one question at most.
        epochs: passes over each set.
        test: test problems of each easy level, and of each hard one.
    """

    models: ChainSizes = field(default_factory=lambda: ChainSizes(96, 18_000, 2_500, validation=60))
    base: float = 0.8
    sampler: float = 0.92
    questions: int = 40
    k: int = 8
    first: int = 16
    cap: int = 128
    epochs: int = 8
    test: tuple[int, int] = (150, 400)


SMOKE = Sizes(
    ChainSizes(64, 3, 100, validation=3, shared=True),
    base=0.3,
    sampler=2.0,  # never reached, so that it is trained to the end
    questions=1,
    k=3,
    first=4,
    cap=8,
    epochs=1,
    test=(1, 1),
)

LEARNING_RATE = 5e-4


def study(seed: int, budget: Budget) -> Iterator[Measurement]:
    """Train the two models, sample by each strategy, and tune the base model on each set."""
    sizes = budget.pick(smoke=SMOKE, full=Sizes())
    lab = ChainLab(seed, sizes.models)
    base, sampler = _models(lab, sizes)
    chains = lab.draw("policy", LEVELS, sizes.questions * len(LEVELS))
    test = [
        chain
        for levels, each in zip((EASY, HARD), sizes.test, strict=True)
        for chain in lab.draw("test", levels, each * len(levels))
    ]
    found, difficulty = _sampled(lab, sizes, sampler, chains)
    sets = _sets(found, seed)
    for arm, kept in sets.items():
        if arm in found:
            yield from _report_set(arm, found[arm], kept, chains, difficulty)
    yield from _report("base model", lab, base, test)
    steps = sizes.epochs * math.ceil(len(sets[VRT]) / BATCH)
    for arm, kept in sets.items():
        examples = tuning_examples(chains, kept, _question, TOKENIZER.encode)
        student = copy.deepcopy(base)
        fewer = arm in TOKENS.values()  # as many passes over a smaller set: as many tokens
        updates = sizes.epochs * math.ceil(len(kept) / BATCH) if fewer else steps
        step = SupervisedTuning(chunk_tokens=BATCH * LONGEST).step
        lab.train("tuning", student, examples, step, adam(student, LEARNING_RATE), updates)
        yield from _report(arm, lab, student, test)


def _models(lab: ChainLab, sizes: Sizes) -> tuple[SmallDecoder, SmallDecoder]:
    """One training run on easy problems, stopped at two strengths."""
    chains = lab.draw("tuning", EASY, lab.sizes.tuning)
    examples = ResponseExamples(questions(chains), solutions(chains))
    torch.manual_seed(derive_seed(lab.seed, "initialization"))
    model = SmallDecoder(len(TOKENIZER), hidden_size=lab.sizes.hidden_size, layers=1)
    optimizer = adam(model, 3e-3)
    step = SupervisedTuning(chunk_tokens=BATCH * LONGEST).step
    strengths = []
    for name, goal in (("base", sizes.base), ("sampler", sizes.sampler)):
        steps = lab.sizes.tuning_steps
        lab.train(name, model, examples, step, optimizer, steps, decay=False, goal=goal)
        strengths.append(copy.deepcopy(model))
    return strengths[0], strengths[1]


def _question(chain: Chain) -> list[int]:
    return TOKENIZER.encode(chain.question)


def _sampled(
    lab: ChainLab, sizes: Sizes, sampler: SmallDecoder, chains: Sequence[Chain]
) -> tuple[dict[str, RejectionSet[str]], np.ndarray]:
    """What each strategy finds, from one first pass, and the fail rates in that."""
    generate = LanguageGenerator(
        sampler,
        _question,
        TOKENIZER.decode,
        longest=LONGEST,
        stop=[END],
        batch_rows=1024,
        seed=derive_seed(lab.seed, "sampling"),
    )
    uniform = RejectionTuner(
        generate,
        lambda chain, text: grade(chain, text).valid,
        k=sizes.k,
        first_trials=sizes.first,
        max_trials=sizes.cap,
        deduplicate=False,
    )
    first = uniform.first_pass(chains)
    difficulty = fail_rate(first.n_correct, first.n_trials)
    _, k = targets_of_total(difficulty, "prop2diff", sizes.k * len(chains))
    found = {
        UNIFORM: uniform.sample(chains, first=first).found,
        PROP: dataclasses.replace(uniform, strategy="prop2diff", k=k)
        .sample(chains, first=first)
        .found,
    }
    trials = max(sizes.first, int(found[PROP].n_trials.mean()))
    vanilla = dataclasses.replace(uniform, strategy="vanilla", k=trials)
    found[MORE] = vanilla.sample(chains, first=first).found
    enough = math.ceil(len(found[UNIFORM].chosen()) / max(1e-9, 1.0 - difficulty.mean()))
    enough = max(enough, sizes.first * len(chains))
    found[VRT] = match_trials(found[MORE], min(enough, int(found[MORE].n_trials.sum())))
    return found, difficulty


def _sets(found: Mapping[str, RejectionSet[str]], seed: int) -> dict[str, list[Kept[str]]]:
    """The responses to learn from: at equal size, at equal tokens, and all of VRT's."""
    chosen = {arm: found[arm].chosen(seed) for arm in (VRT, UNIFORM, PROP)}
    equal = match_sizes({arm: np.ones(len(kept)) for arm, kept in chosen.items()}, seed=seed)
    sets = {arm: [chosen[arm][row] for row in rows] for arm, rows in equal.items()}
    tokens = {arm: [len(one.response) for one in kept] for arm, kept in sets.items()}
    fewest = match_sizes(tokens, seed=seed)
    for arm, name in TOKENS.items():
        sets[name] = [sets[arm][row] for row in fewest[arm]]
    return {**sets, MORE: found[MORE].chosen(seed)}


def _report_set(
    arm: str,
    found: RejectionSet[str],
    kept: Sequence[Kept[str]],
    chains: Sequence[Chain],
    difficulty: np.ndarray,
) -> Iterator[Measurement]:
    """What a strategy covers and costs, and where the responses of its set lie."""
    levels = np.array([chain.level for chain in chains])
    for one in coverage(found.counts, levels):
        yield Measurement(arm, "coverage", one.covered, f"level={one.low:g}")
    hard = np.isin(levels, HARD)
    yield Measurement(arm, "coverage", float((found.counts[hard] > 0).mean()), HARD_PART)
    yield Measurement(arm, "trials", float(found.n_trials.sum()))
    counts = np.bincount([one.question for one in kept], minlength=len(chains))
    yield Measurement(arm, "set_size", float(len(kept)))
    yield Measurement(arm, "easy_lean", easy_lean(counts, difficulty))
    for level in LEVELS:
        share = counts[levels == level].sum() / counts.sum()
        yield Measurement(arm, "responses", float(share), f"level={level}")


def _report(
    arm: str, lab: ChainLab, model: SmallDecoder, test: Sequence[Chain]
) -> Iterator[Measurement]:
    """Greedy accuracy on each level, and its mean over the easy, the hard and all levels."""
    right = np.array([float(one.correct) for one in lab.greedy(model, test)])
    levels = np.array([chain.level for chain in test])
    found = {level: float(right[levels == level].mean()) for level in LEVELS}
    for level, value in found.items():
        yield Measurement(arm, "accuracy", value, f"level={level}")
    for group, members in (("part=easy", EASY), (HARD_PART, HARD), ("", LEVELS)):
        mean = float(np.mean([found[level] for level in members]))
        yield Measurement(arm, "accuracy", mean, group)
