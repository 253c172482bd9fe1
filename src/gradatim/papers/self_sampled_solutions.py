"""Learning from self-sampled solutions, whole or in part, on word problems without words.

A small decoder writes straight-line programs for templates of numbers (2 or 3 statements) and for
pairs of templates (4 to 6). Each problem has many right programs and one reference, drawn among
them, so that likelihood training learns one way to solve each training problem. After a third of
all updates on the references, which the arms share, every arm goes on for as many updates: on the
references alone (MLE), or on these and what the model samples that is right, once a problem and
epoch. Fully correct solutions are sampled from nothing; partially correct ones are kept as well
where told, and sampled behind. A right answer counts as a right program, as in the paper.

Settings were chosen on seeds 0 and 1, with the same trials for MLE and both methods: learning rate
1.5e-3, 3e-3, 6e-3 or 1e-2 by weight decay 0.1 or 1. All arms were best at one of these, which all
of them use; MLE gained most from it (0.69 to 0.87 at pass@32 with 400 problems).
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gradatim.core.seeds import derive_seed
from gradatim.evaluators.program_tracer import ProgramTracer
from gradatim.language.response_examples import ResponseExamples
from gradatim.language.sampling import Responses, as_responses, sample
from gradatim.metrics.pass_at_k import pass_at_k
from gradatim.mining.program_steps import ProgramSteps, split_at
from gradatim.mining.self_sampled_solutions import SelfSampledSolutions
from gradatim.networks.decoder import SmallDecoder
from gradatim.recipes.policy_improvement import Sampling
from gradatim.recipes.self_sampling import SelfSampling
from gradatim.recipes.supervised_tuning import SupervisedTuning
from gradatim.studies.claims import Budget, Claim, Measurement, SeedTable
from gradatim.studies.data.word_problems import (
    ANSWER,
    END,
    SEPARATOR,
    TOKENIZER,
    WordProblem,
    draw_word_problems,
)
from gradatim.studies.plots import Figure
from gradatim.training.fit import fit

POPULATION = (
    "arithmetic word problems made of one or two of twelve templates, 400 training problems, a "
    "decoder of two layers of 64 units from scratch, 32 samples a test problem at temperature 0.8"
)
MLE, FULL, PARTIAL = "MLE", "fully correct", "fully and partially correct"
BETA_MML, MML = f"{PARTIAL}, beta-MML", f"{PARTIAL}, MML"
ARMS = (MLE, FULL, PARTIAL, BETA_MML, MML)
LONGEST = 50
KS = (1, 8, 32)
MAIN = f"part=all, k={KS[-1]}"


def _gain(arm: str, over: str, group: str = MAIN) -> Callable[[SeedTable], float]:
    """The difference of two arms' pass rates."""
    return lambda t: t[arm].at(group).pass_rate - t[over].at(group).pass_rate


CLAIMS = (
    Claim(
        "Learning from self-sampled solutions, fully and partially correct, solves more problems "
        "within 32 samples than likelihood training on the single references.",
        _gain(PARTIAL, MLE),
        smallest_effect=0.01,
        unit="pass@32",
    ),
    Claim(
        "So does learning from fully correct ones alone.",
        _gain(FULL, MLE),
        smallest_effect=0.01,
        unit="pass@32",
    ),
    Claim(
        "Partially correct solutions make exploration more efficient: from as many samples more "
        "right programs of each hard training problem are found.",
        lambda t: t[PARTIAL].at("part=hard").found - t[FULL].at("part=hard").found,
        smallest_effect=0.05,
        unit="programs a problem",
    ),
    Claim(
        "The objective matters: to make all known solutions likely (MLE-Aug) solves more problems "
        "than to make any of them likely (MML).",
        _gain(PARTIAL, MML),
        smallest_effect=0.01,
        unit="pass@32",
    ),
)

FIGURES = (
    Figure("pass_rate", over="k", arms=ARMS, where="part=all", title="Solved within k samples"),
    Figure("pass_rate", where=f"part=hard, k={KS[-1]}", title="Hard problems, within 32 samples"),
    Figure("pass_rate", where="part=all, k=1", title="Solved with one sample"),
    Figure(
        "found",
        where="part=hard",
        arms=ARMS[1:],
        title="Right programs known of a hard training problem",
    ),
)


@dataclass(frozen=True)
class Sizes:
    """How many problems (half of them hard), updates (before the arms part, and after), samples of
    a test problem, and solutions of a training problem in an update; and the decoder's width.
    """

    train: int = 400
    test: int = 200
    warm: int = 150
    steps: int = 300
    samples: int = 32
    most: int = 3
    hidden: int = 64


FULL_SIZES = Sizes()
SMOKE = Sizes(train=4, test=4, warm=2, steps=2, hidden=16)


def study(seed: int, budget: Budget) -> Iterator[Measurement]:
    """Train on references, then go on in each of the ways, and solve new problems."""
    sizes = budget.pick(smoke=SMOKE, full=FULL_SIZES)
    train, test = (_problems(seed, use, getattr(sizes, use)) for use in ("train", "test"))
    torch.manual_seed(derive_seed(seed, "initialization"))
    first = SmallDecoder(len(TOKENIZER), hidden_size=sizes.hidden)
    optimizer = _adam(first)
    _tune(first, optimizer, _references(train), sizes.warm, seed, decay=False)
    for arm in ARMS:
        model = copy.deepcopy(first)
        following = _adam(model)
        following.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        if arm == MLE:
            _tune(model, following, _references(train), sizes.steps, seed)
        else:
            yield from _self_sample(arm, model, following, train, sizes, seed)
        yield from _solved(arm, model, test, sizes, seed)


def _problems(seed: int, use: str, count: int) -> list[WordProblem]:
    """Easy problems, then as many hard ones."""
    half = count // 2
    easy = draw_word_problems(half, seed, use, hard=False)
    return easy + draw_word_problems(count - half, seed, use, hard=True)


def _prompts(problems: Sequence[WordProblem]) -> list[list[int]]:
    return [TOKENIZER.encode(problem.question) for problem in problems]


def _programs(problems: Sequence[WordProblem]) -> list[list[int]]:
    return [TOKENIZER.encode(problem.program) for problem in problems]


def _references(problems: Sequence[WordProblem]) -> ResponseExamples:
    texts = as_responses([[*program, END] for program in _programs(problems)])
    return ResponseExamples(_prompts(problems), texts)


def _adam(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), 6e-3, weight_decay=1.0, betas=(0.9, 0.98))


def _tune(
    model: SmallDecoder,
    optimizer: torch.optim.Optimizer,
    examples: Any,
    steps: int,
    seed: int,
    *,
    decay: bool = True,
    recipe: Any = None,
) -> None:
    """Train at a rate that rises and stays, or falls to the end; on demonstrations if not told."""
    chosen = SupervisedTuning() if recipe is None else recipe

    def rate(step: int) -> float:
        return max(0.02, 1 - step / steps) if decay else min(1.0, (step + 1) / 20)

    fit(
        model,
        examples,
        chosen.step,
        optimizer=optimizer,
        schedulers=torch.optim.lr_scheduler.LambdaLR(optimizer, rate),
        steps=steps,
        batch_size=16,
        callbacks=chosen.callbacks,
        stateful=chosen.stateful,
        precision="float32",
        clip_norm=1.0,
        seed=seed,
        progress_bar=False,
    )


def _self_sample(
    arm: str,
    model: SmallDecoder,
    optimizer: torch.optim.Optimizer,
    train: Sequence[WordProblem],
    sizes: Sizes,
    seed: int,
) -> Iterator[Measurement]:
    """Train on references and self-sampled solutions; how many right programs are known then."""
    steps = ProgramSteps(
        TOKENIZER.decode,
        split_at([SEPARATOR]),
        [problem.answer for problem in train],
        separator=";",
        answer=ANSWER,
    )
    kept = SelfSampledSolutions(
        _programs(train),
        steps,
        start="empty" if arm == FULL else "partial",
        partial=arm != FULL,
        most=sizes.most,
    )
    recipe = SelfSampling(
        _prompts(train),
        kept,
        sampling=Sampling(1, longest=LONGEST, stop=(END,), temperature=0.8, batch_rows=512),
        each="epoch",
        mode={BETA_MML: "beta-mml", MML: "mml"}.get(arm, "mle-aug"),
        beta=0.25 if arm == BETA_MML else 1.0,
    )
    _tune(model, optimizer, recipe.examples, sizes.steps, seed, recipe=recipe)
    known = np.array([kept.sizes(place) for place in range(len(train))], dtype=float)
    for part, rows in _parts(train).items():
        yield Measurement(arm, "found", float(known[rows, 0].mean()), f"part={part}")
        yield Measurement(arm, "found_partial", float(known[rows, 1].mean()), f"part={part}")


def _solved(
    arm: str, model: SmallDecoder, test: Sequence[WordProblem], sizes: Sizes, seed: int
) -> Iterator[Measurement]:
    """How many new problems are solved, by the likeliest program and by some of many samples."""
    model.eval()
    prompts, stop = _prompts(test), (END,)
    likeliest = sample(model, prompts, longest=LONGEST, stop=stop, temperature=0)
    drawn = sample(
        model,
        prompts,
        copies=sizes.samples,
        longest=LONGEST,
        stop=stop,
        temperature=0.8,
        batch_rows=1024,
        seed=derive_seed(seed, "test samples"),
    )
    greedy = _right(test, likeliest)
    right = _right(test, drawn).reshape(len(test), sizes.samples)
    programs = np.array(list(map(str, drawn.lists()))).reshape(right.shape)
    distinct = np.array([len(set(one[good])) for one, good in zip(programs, right, strict=True)])
    for part, rows in _parts(test).items():
        yield Measurement(arm, "accuracy", float(greedy[rows].mean()), f"part={part}")
        yield Measurement(arm, "distinct", float(distinct[rows].mean()), f"part={part}")
        for k in KS:
            rate = pass_at_k(sizes.samples, right[rows].sum(axis=1), k).mean()
            yield Measurement(arm, "pass_rate", float(rate), f"part={part}, k={k}")


def _right(problems: Sequence[WordProblem], responses: Responses) -> npt.NDArray[np.bool_]:
    """Whether the program of each response gives the right answer, shape [R]."""
    tracer, found = ProgramTracer(), []
    for place, tokens in zip(responses.prompt.tolist(), responses.lists(), strict=True):
        text = TOKENIZER.decode(tokens).rstrip("#")
        states = tracer([line for line in text.split(";") if line])
        answer = states[-1].get(ANSWER) if states else None
        found.append(answer == problems[place].answer)
    return np.array(found)


def _parts(problems: Sequence[WordProblem]) -> dict[str, npt.NDArray[np.bool_]]:
    """All problems, the easy and the hard ones."""
    hard = np.array([problem.statements > 3 for problem in problems])
    return {"all": np.ones_like(hard), "easy": ~hard, "hard": hard}
