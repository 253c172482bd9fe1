"""Training on easy data for hard tests: exam questions, docstrings, digits.

Of each task a third of the examples is kept apart, to measure difficulty with and to choose the
strength of the probes' penalty, which all arms share. The rest is cut into easy, medium and hard
examples: by the exam that a question is from (high school and college in MMLU, the easy and the
challenge part in ARC), or at the 30% and 70% quantiles of a measure. Linear probes on frozen
features are trained on 160 examples of one stratum and tested on hard ones that nobody trained on,
in three draws a seed, of which the mean counts.

The gap between no training and training on hard examples is small or large by data set, and the
ratio "supervision gap recovered" of one seed may divide by almost nothing. The claim that easy
training recovers at least 70% of the gap is therefore judged by (easy - untrained) - 0.7 (hard -
untrained), which is above zero exactly where it does.

Tasks with fixed classes are not what the paper trains on: its answers are positions of options. At
quantiles of the whole table the easy examples are mostly those of the classes that are easy; a
probe that is trained on them never learns the others, and does worse on hard examples than no
training at all, as the figures "regardless of class" show for exam areas. Quantiles are therefore
those of each class, which was decided on seeds 0-4. By description length the hard examples of a
fixed class are also those whose label is against the odds. SmolLM2 is at chance on the challenge
part of ARC before training and gains a few points by it, so little can be recovered.

The paper's models have up to 70 billion parameters and are shown exemplars or tuned by QLoRA, too;
both are heads of ``gradatim.profile``, but cost too much here to be repeated over seeds.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from gradatim.core.seeds import derive_seed, numpy_generator
from gradatim.difficulty.description_length import mdl_difficulty
from gradatim.difficulty.text_length import word_count
from gradatim.evaluators.option_probe import OptionProbe
from gradatim.learners.linear_probe import LinearProbe
from gradatim.metrics.strata_matrix import accuracy_under_noise, easy_to_hard_matrix
from gradatim.selection.difficulty_split import split_by_difficulty, split_within_classes
from gradatim.selection.stratified_draws import (
    StratifiedDraw,
    cutoffs_by_quantiles,
    largest_training_size,
    stratified_draws,
)
from gradatim.studies.claims import ArmTable, Budget, Claim, Measurement, SeedTable
from gradatim.studies.data.graded_tasks import (
    GradedTask,
    digit_images,
    docstring_packages,
    exam_areas,
    science_questions,
)
from gradatim.studies.plots import Figure

Rows = NDArray[np.int64]

POPULATION = (
    "linear probes trained on 160 examples: areas of MMLU questions and packages of docstrings on "
    "MiniLM embeddings, MNIST digits on 50 principal components, ARC questions on SmolLM2-135M"
)
EXAMS, SCIENCE = "exam areas by exam", "science questions by exam"
BY_LENGTH = ("exam areas by fewer words", "docstrings by fewer words")
BY_MODEL = tuple(f"{task} by description length" for task in ("exam areas", "docstrings", "digits"))
REGARDLESS = " regardless of class"
WHOLE = (BY_LENGTH[0] + REGARDLESS, BY_MODEL[0] + REGARDLESS)
SETTINGS = (EXAMS, *BY_LENGTH, *BY_MODEL, *WHOLE, SCIENCE)
PAPER_SHARE = 0.7
NOISE = (0.0, 0.1, 0.2, 0.3)
DRAWS = 3


def _hard(table: SeedTable, arm: str, setting: str, noise: float = 0.0) -> float:
    """Accuracy on hard examples, with a share of noisy labels."""
    return _at(table[arm], setting, noise).accuracy


def _at(arm: ArmTable, setting: str, noise: float) -> ArmTable:
    return arm.at(f"task={setting}, test=hard, noise={noise}")


def _gain(table: SeedTable, setting: str) -> float:
    return _hard(table, "easy-trained", setting) - _hard(table, "untrained", setting)


def _beyond_share(table: SeedTable, *settings: str) -> float:
    """How far easy training is beyond 70% of the gap, the mean over settings."""
    gaps = [_hard(table, "hard-trained", one) - _hard(table, "untrained", one) for one in settings]
    gains = [_gain(table, one) for one in settings]
    return float(np.mean(gains) - PAPER_SHARE * np.mean(gaps))


def _noisy(table: SeedTable, *settings: str) -> float:
    """Easy training with 30% noisy labels less hard training with 60%, the mean over settings."""
    noise = NOISE[-1]
    return float(
        np.mean(
            [
                _hard(table, "easy-trained", one, noise) - _hard(table, "hard-trained", one, noise)
                for one in settings
            ]
        )
    )


CLAIMS = (
    Claim(
        "Training on high school questions alone helps with college questions: a probe of easy "
        "labels is right more often than no training.",
        lambda t: _gain(t, EXAMS),
        smallest_effect=0.01,
        unit="accuracy",
    ),
    Claim(
        "Training on high school questions recovers at least 70% of what training on college "
        "questions gives on college questions.",
        lambda t: _beyond_share(t, EXAMS),
        smallest_effect=0.01,
        unit="accuracy beyond 70% of the gap",
    ),
    Claim(
        "Where difficulty is the number of words, training on easy examples recovers at least 70% "
        "of the gap (mean of exam areas and docstrings).",
        lambda t: _beyond_share(t, *BY_LENGTH),
        smallest_effect=0.01,
        unit="accuracy beyond 70% of the gap",
    ),
    Claim(
        "Where difficulty is a model's description length, training on easy examples recovers at "
        "least 70% of the gap (mean of exam areas, docstrings and digits).",
        lambda t: _beyond_share(t, *BY_MODEL),
        smallest_effect=0.01,
        unit="accuracy beyond 70% of the gap",
    ),
    Claim(
        "A language model's probe that is trained on easy science questions answers more of the "
        "challenging ones than the language model untrained.",
        lambda t: _gain(t, SCIENCE),
        smallest_effect=0.01,
        unit="accuracy",
    ),
    Claim(
        "Trained on easy science questions, the probe recovers at least 70% of what training on "
        "challenging ones gives on challenging ones.",
        lambda t: _beyond_share(t, SCIENCE),
        smallest_effect=0.01,
        unit="accuracy beyond 70% of the gap",
    ),
    Claim(
        "With labels twice as noisy on hard data as on easy (60% and 30%), easy data are the "
        "better choice for college questions.",
        lambda t: _noisy(t, EXAMS),
        smallest_effect=0.01,
        unit="accuracy",
    ),
    Claim(
        "With labels twice as noisy on hard data, easy data are the better choice on average of "
        "the other measures and tasks with fixed classes, too.",
        lambda t: _noisy(t, *BY_LENGTH, *BY_MODEL),
        smallest_effect=0.01,
        unit="accuracy",
    ),
)

FIGURES = (
    *(
        Figure(
            "accuracy",
            where=f"task={setting}, test=hard, noise=0.0",
            title=f"Accuracy on hard examples: {setting}",
        )
        for setting in SETTINGS
    ),
    Figure(
        "accuracy",
        where=f"task={EXAMS}, test=easy, noise=0.0",
        title="Accuracy on easy examples: exam areas by exam",
    ),
    Figure(
        "accuracy",
        over="noise",
        arms=("easy-trained", "hard-trained"),
        where=f"task={EXAMS}, test=hard",
        title="Accuracy on college questions, by the share of noisy labels among easy ones; hard "
        "ones have twice as many",
    ),
)

SEARCH: dict[str, tuple[float, ...]] = {
    "LinearProbe": (1e-4, 1e-3, 1e-2, 1e-1, 1.0),
    "OptionProbe": (1e-5, 1e-4, 1e-3, 1e-2),
}
"""Inverse strengths of the penalty, chosen on the examples kept apart, once for all arms."""


@dataclass(frozen=True)
class Probe:
    """A probe of a task's features, with its penalty."""

    task: GradedTask
    strength: float

    def __call__(self, rows: Rows, labels: Rows, queries: Rows) -> NDArray[np.float64]:
        """Train on some rows and give probabilities of others."""
        features = self.task.features
        if features.ndim == 3:
            probe = OptionProbe(strength=self.strength).fit(features[rows], labels)
            return probe.predict_proba(features[queries])
        found = np.zeros((len(queries), self.task.choices))
        there = np.unique(labels)
        if len(there) == 1:
            found[:, there[0]] = 1.0
        else:
            fitted = LinearProbe((self.strength,)).fit(features[rows], labels)
            found[:, fitted.classes_] = fitted.predict_proba(features[queries])
        return found


def study(seed: int, budget: Budget) -> Iterator[Measurement]:
    """Cut each task by each of its measures, train on every stratum, test on every stratum."""
    torch.set_num_threads(1)
    encoder = budget.pick(smoke="words", full="minilm")
    model = budget.pick(smoke="words", full="smollm2")
    tasks: dict[str, Callable[[], GradedTask]] = {
        "exam areas": partial(exam_areas, encoder),
        "docstrings": partial(docstring_packages, encoder),
        "digits": digit_images,
        "science questions": partial(science_questions, model),
    }
    for name, load in tasks.items():
        task = load()
        order = numpy_generator(seed, "kept apart", name).permutation(len(task.labels))
        order = order[: budget.pick(smoke=600, full=len(order))]
        apart, rest = np.sort(order[: len(order) // 3]), np.sort(order[len(order) // 3 :])
        probe = Probe(task, _strength(task, apart, seed))
        for setting in SETTINGS:
            own, _, level = setting.partition(" by ")
            if own == name:
                parts = _strata(probe, level, apart, rest, derive_seed(seed, name), budget)
                yield from _reach(probe, parts, setting, seed, budget)


def _strength(task: GradedTask, apart: Rows, seed: int) -> float:
    """The strength of the penalty with the best log-likelihood on the examples kept apart."""
    if task.features.ndim == 2:
        found = LinearProbe(SEARCH["LinearProbe"], random_state=seed % 2**32)
        return float(found.fit(task.features[apart], task.labels[apart]).strength_)
    fold = numpy_generator(seed, "folds").permutation(len(apart)) % 3
    scores = []
    for strength in SEARCH["OptionProbe"]:
        probe, total = Probe(task, strength), 0.0
        for number in range(3):
            held, kept = apart[fold == number], apart[fold != number]
            own = probe(kept, task.labels[kept], held)[np.arange(len(held)), task.labels[held]]
            total += float(np.log(own.clip(1e-6)).sum())
        scores.append(total)
    return SEARCH["OptionProbe"][int(np.argmax(scores))]


def _strata(
    probe: Probe, level: str, apart: Rows, rest: Rows, seed: int, budget: Budget
) -> dict[str, Rows]:
    """Easy, medium and hard examples by one measure."""
    task = probe.task
    if level == "exam":
        assert task.hard_exam is not None
        hard = task.hard_exam[rest]
        return {"easy": rest[~hard], "hard": rest[hard]}
    if level.startswith("fewer words"):
        assert task.texts is not None
        difficulty = -word_count([task.texts[row] for row in rest]).astype(np.float64)
    else:
        difficulty = mdl_difficulty(
            probe,
            apart,
            task.labels[apart],
            rest,
            task.labels[rest],
            sizes=budget.pick(smoke=(20, 80), full=(5, 20, 80, 340, 900)),
            n_bootstrap=budget.pick(smoke=1, full=5),
            seed=seed,
        )
    if level.endswith(REGARDLESS):
        split = split_by_difficulty(difficulty, cutoffs=cutoffs_by_quantiles(difficulty))
    else:
        split = split_within_classes(difficulty, task.labels[rest])
    return {name: rest[rows.numpy()] for name, rows in split._asdict().items() if len(rows)}


def _reach(
    probe: Probe, parts: Mapping[str, Rows], setting: str, seed: int, budget: Budget
) -> Iterator[Measurement]:
    """Accuracy by what was trained on and tested on, and what noisy labels change."""
    task, draws_seed = probe.task, derive_seed(seed, setting)
    number = budget.pick(smoke=1, full=DRAWS)
    size = min(
        budget.pick(smoke=60, full=160), largest_training_size(parts, number, seed=draws_seed)
    )
    draws = stratified_draws(parts, size, number, seed=draws_seed)
    matrix = easy_to_hard_matrix(probe, task.labels, draws)
    means = matrix.accuracy.mean(axis=0)
    for column, test in enumerate(matrix.test):
        group = f"task={setting}, test={test}, noise=0.0"
        yield Measurement("untrained", "accuracy", _untrained(task, draws, test), group)
        for row, train in enumerate(matrix.train):
            yield Measurement(f"{train}-trained", "accuracy", float(means[row, column]), group)
    for arm, times in (("easy", 1), ("hard", 2)):
        noisy = NOISE[1:] if setting == EXAMS else NOISE[-1:]
        wrong = [times * share * (1 - 1 / task.choices) for share in noisy]
        found = accuracy_under_noise(
            probe, task.labels, draws, wrong, train=arm, classes=task.choices, seed=draws_seed
        ).mean(axis=0)
        for share, value in zip(noisy, found, strict=True):
            group = f"task={setting}, test=hard, noise={share}"
            yield Measurement(f"{arm}-trained", "accuracy", float(value), group)


def _untrained(task: GradedTask, draws: list[StratifiedDraw], test: str) -> float:
    """Accuracy without training; chance where nothing is known."""
    if task.untrained is None:
        return 1 / task.choices
    right = task.untrained == task.labels
    return float(np.mean([right[draw.test[test]].mean() for draw in draws]))
