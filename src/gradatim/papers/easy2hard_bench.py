"""Difficulty labels from who solved what: item response theory and Glicko-2 on handwritten digits.

The paper turns large tables of attempts (people on contest problems and chess puzzles, language
models on benchmarks) into one difficulty per problem, and profiles models by it. Here 120
classifiers of ten kinds, trained on 20 to 1,500 digits, read 2,000 other digits; the responses of
80 give the labels, and the other 40 are the subjects that are profiled. Glicko-2 plays the
responses as games in ten shuffled periods. All systems have their default settings; nothing is
tuned.

The abstract claims that such labels profile a model's performance (accuracy falls with difficulty)
and its generalization across difficulties. That its six collections hold a higher proportion of
challenging problems than earlier ones is a statement about their sources and cannot be tested here.
"Earlier collections" have a coarse label or none: the coarse label is the digit's class, by its
failure rate. The obvious fine label without any model is the share of subjects who fail; where all
subjects read all digits it orders them as the models do (seeds 0-4: areas within 0.001 of 1PL's),
so the comparison is made on incomplete records in which half of the digits were met mostly by the
abler subjects and the other half mostly by the weaker ones, as where the strong choose hard
problems.

For generalization a perceptron is trained on 300 digits of the easy, the medium or the hard third
and tested on all thirds, in three draws a seed. Thirds of all digits differ in their classes too
(ones are easy, eights are hard), so thirds of each class are reported beside them; there medium
training is about as good as easy training for easy tests (0.997 and 0.997 on seeds 0 and 1), and
only hard tests are claimed.
"""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from gradatim.core.seeds import derive_seed, numpy_generator
from gradatim.core.statistics import auroc, rank_correlation
from gradatim.difficulty.comparison_graph import ExtremeItemWarning
from gradatim.difficulty.games import games_from_responses
from gradatim.difficulty.glicko import Glicko2
from gradatim.difficulty.item_response import ItemResponseModel
from gradatim.metrics.accuracy_by_difficulty import accuracy_by_difficulty
from gradatim.metrics.strata_matrix import easy_to_hard_matrix
from gradatim.selection.difficulty_split import split_by_difficulty, split_within_classes
from gradatim.selection.stratified_draws import stratified_draws
from gradatim.studies.claims import Budget, Claim, Measurement, SeedTable
from gradatim.studies.data.responses import DigitResponses, digit_responses
from gradatim.studies.plots import Figure

Floats = NDArray[np.float64]

POPULATION = (
    "2,000 MNIST digits at 14 x 14 pixels, read by 120 classifiers of ten kinds trained on 20 to "
    "1,500 digits; labels from 80 of them"
)
MODELS = {"1PL": "1pl", "2PL": "2pl", "3PL": "3pl"}
SYSTEMS = (*MODELS, "Glicko-2")
RATE, COARSE = "failure rate", "class of the digit"
INCOMPLETE = "records=incomplete"
BANDS = ("easy", "medium", "hard")
OVERALL, WITHIN = "thirds=of all digits", "thirds=of each class"


def _worst(table: SeedTable, metric: str) -> Floats:
    return np.array([table[system][metric] for system in SYSTEMS])


def _own_third(table: SeedTable, thirds: str, test: str) -> float:
    """What training on the tested third gives over training on the better of the others."""
    accuracy = {
        band: table[f"trained on {band}"].at(f"{thirds}, test={test}").accuracy for band in BANDS
    }
    return accuracy.pop(test) - max(accuracy.values())


CLAIMS = (
    Claim(
        "The accuracy of subjects that took no part falls with difficulty, whichever system it is "
        "from: its rank correlation with the decile is below -0.9.",
        lambda t: float(_worst(t, "decile_correlation").max()),
        threshold=-0.9,
        smallest_effect=0.02,
        direction="less",
        unit="rank correlation, the weakest of four",
    ),
    Claim(
        "From the easiest to the hardest decile it falls by more than 0.3.",
        lambda t: float(_worst(t, "fall").min()),
        threshold=0.3,
        smallest_effect=0.05,
        unit="accuracy, the smallest of four",
    ),
    Claim(
        "Item response theory and ratings agree: the rank correlation of 1PL and Glicko-2 is above "
        "0.8.",
        lambda t: t["Glicko-2"].agreement,
        threshold=0.8,
        smallest_effect=0.02,
        unit="rank correlation with 1PL",
    ),
    Claim(
        "The 2PL predicts the other responses of new subjects, of whose responses it has seen "
        "half, better than their mean.",
        lambda t: t["2PL"].log_loss - t["subject's mean"].log_loss,
        smallest_effect=0.01,
        direction="less",
        unit="log-loss",
    ),
    Claim(
        "A difficulty for each problem tells more of new subjects' failures than a coarse label: "
        "area under the ROC curve of 1PL and of Glicko-2, the smaller gain.",
        lambda t: min(t["1PL"].auc, t["Glicko-2"].auc) - t[COARSE].auc,
        smallest_effect=0.01,
        unit="area under the ROC curve",
    ),
    Claim(
        "From incomplete records, in which able and weak subjects met different problems, 1PL and "
        "Glicko-2 tell more than the failure rate does; the smaller gain.",
        lambda t: (
            min(t["1PL"].at(INCOMPLETE).auc, t["Glicko-2"].at(INCOMPLETE).auc)
            - t[RATE].at(INCOMPLETE).auc
        ),
        smallest_effect=0.005,
        unit="area under the ROC curve",
    ),
    Claim(
        "The labels' stated uncertainty is right: 1PL difficulties from two halves of the subjects "
        "lie within 1.96 standard deviations of each other for at least 90% of the problems.",
        lambda t: t["1PL"].coverage,
        threshold=0.9,
        smallest_effect=0.02,
        unit="share of problems",
    ),
    Claim(
        "Generalization depends on the difference between training and test difficulty: each third "
        "is read best after training on that third, by the smallest margin of three.",
        lambda t: min(_own_third(t, OVERALL, band) for band in BANDS),
        smallest_effect=0.01,
        unit="accuracy",
    ),
    Claim(
        "Hard digits are read best after training on hard ones also where thirds are those of each "
        "class.",
        lambda t: _own_third(t, WITHIN, "hard"),
        smallest_effect=0.01,
        unit="accuracy",
    ),
)

FIGURES = (
    Figure(
        "accuracy",
        over="decile",
        arms=(*SYSTEMS, RATE),
        where="",
        title="Accuracy of new subjects, by decile of difficulty",
    ),
    Figure("auc", where="", title="Area under the ROC curve of new subjects' failures"),
    Figure(
        "auc",
        where=INCOMPLETE,
        title="The same, labels from incomplete records",
    ),
    Figure("log_loss", where="", title="Log-loss of new subjects' other responses", unit="nats"),
    *(
        Figure(
            "accuracy",
            where=f"{thirds}, test={band}",
            title=f"Accuracy on the {band} third {thirds.removeprefix('thirds=')}",
        )
        for thirds in (OVERALL, WITHIN)
        for band in BANDS
    ),
)


@dataclass(frozen=True)
class Sizes:
    """Subjects in all and those that give labels, digits, training digits of a third, draws."""

    subjects: int = 120
    labelling: int = 80
    items: int = 2000
    training: int = 300
    draws: int = 3


SMOKE = Sizes(subjects=24, labelling=16, items=200, training=25, draws=1)


def study(seed: int, budget: Budget) -> Iterator[Measurement]:
    """Label, profile, label again from incomplete records and from halves, then train on thirds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtremeItemWarning)  # a few digits that nobody reads
        warnings.simplefilter("ignore", ConvergenceWarning)  # perceptrons stop after 60 epochs
        yield from _measured(seed, budget)


def _measured(seed: int, budget: Budget) -> Iterator[Measurement]:
    sizes = budget.pick(smoke=SMOKE, full=Sizes())
    data = digit_responses(seed, sizes.subjects, sizes.items)
    order = numpy_generator(seed, "subjects").permutation(sizes.subjects)
    known, new = data.correct[order[: sizes.labelling]], data.correct[order[sizes.labelling :]]
    models = {name: ItemResponseModel(model).fit(known) for name, model in MODELS.items()}
    labels: dict[str, Floats] = {name: model.difficulty_ for name, model in models.items()}
    labels["Glicko-2"] = _glicko(known, seed)
    labels[RATE] = 1 - known.mean(axis=0)
    yield from _profile(labels, new)
    for name in SYSTEMS:
        agreement = rank_correlation(labels["1PL"], labels[name])
        yield Measurement(name, "agreement", agreement)
    coarse = {c: labels[RATE][data.labels == c].mean() for c in np.unique(data.labels)}
    yield _auc(COARSE, np.array([coarse[c] for c in data.labels]), new)
    yield from _losses(models, known, new, seed)
    yield from _halves(known)
    yield from _incomplete(known, new, seed)
    yield from _generalization(data, labels["1PL"], sizes, seed)


def _glicko(responses: Floats, seed: int) -> Floats:
    """Ratings of the digits; one that nobody met keeps the initial rating."""
    games = games_from_responses(responses, seed=derive_seed(seed, "glicko"))
    return Glicko2().fit(games.games, games.periods).ratings(games.item_names)[0]


def _profile(labels: Mapping[str, Floats], new: Floats) -> Iterator[Measurement]:
    """Accuracy of new subjects by decile, how it falls, and how well failures are told."""
    for name, difficulty in labels.items():
        bins = accuracy_by_difficulty(new.ravel(), np.tile(difficulty, len(new)))
        rates = [one.accuracy.estimate for one in bins]
        for number, rate in enumerate(rates, start=1):
            yield Measurement(name, "accuracy", rate, f"decile={number}")
        correlation = rank_correlation(np.arange(len(rates)), rates)
        yield Measurement(name, "decile_correlation", correlation)
        yield Measurement(name, "fall", rates[0] - rates[-1])
        yield _auc(name, difficulty, new)


def _auc(name: str, difficulty: Floats, new: Floats, group: str = "") -> Measurement:
    """How well difficulty tells a subject's failures, the mean over subjects."""
    areas = [auroc(difficulty, row == 0) for row in new if 0 < row.mean() < 1]
    return Measurement(name, "auc", float(np.mean(areas)), group)


def _losses(
    models: Mapping[str, ItemResponseModel], known: Floats, new: Floats, seed: int
) -> Iterator[Measurement]:
    """Predict one half of each new subject's responses; their ability is from the other half."""
    seen = numpy_generator(seed, "seen").random(new.shape[1]) < 0.5
    shown = np.where(seen, new, np.nan)
    guesses = {name: model.curves(model.abilities(shown)[0]) for name, model in models.items()}
    one = np.ones_like(new)
    guesses["subject's mean"] = one * np.nanmean(shown, axis=1, keepdims=True)
    guesses["problem's mean"] = one * (known.sum(axis=0) + 0.5) / (len(known) + 1)
    guesses["mean of all"] = one * known.mean()
    for name, guess in guesses.items():
        right = np.where(new == 1, guess, 1 - guess)[:, ~seen].clip(1e-6)
        yield Measurement(name, "log_loss", float(-np.log(right).mean()))


def _halves(known: Floats) -> Iterator[Measurement]:
    """How labels from two halves of the subjects agree, and whether as well as they say."""
    for name in ("1PL", "2PL"):
        first, second = (ItemResponseModel(MODELS[name]).fit(known[part::2]) for part in range(2))
        apart = first.difficulty_ - second.difficulty_
        apart -= apart.mean()  # each half has its own origin, its mean ability
        deviation = np.hypot(first.difficulty_std_, second.difficulty_std_)
        yield Measurement(name, "coverage", float((abs(apart) < 1.96 * deviation).mean()))
        correlation = rank_correlation(first.difficulty_, second.difficulty_)
        yield Measurement(name, "reliability", correlation)


def _incomplete(known: Floats, new: Floats, seed: int) -> Iterator[Measurement]:
    """Labels where half of the digits were met by 30% of the able and 5% of the weak subjects."""
    random = numpy_generator(seed, "incomplete")
    able = known.mean(axis=1) > np.median(known.mean(axis=1))
    theirs = random.random(known.shape[1]) < 0.5
    met = random.random(known.shape) < np.where(able[:, None] == theirs, 0.3, 0.05)
    records = np.where(met, known, np.nan)
    reached = met.any(axis=0)
    labels = {
        name: ItemResponseModel(MODELS[name]).fit(records).difficulty_ for name in ("1PL", "2PL")
    }
    labels["Glicko-2"] = _glicko(records, seed)
    with np.errstate(invalid="ignore"):
        labels[RATE] = 1 - np.where(met, known, 0).sum(axis=0) / met.sum(axis=0)
    for name, difficulty in labels.items():
        yield _auc(name, difficulty[reached], new[:, reached], INCOMPLETE)


def _generalization(
    data: DigitResponses, difficulty: Floats, sizes: Sizes, seed: int
) -> Iterator[Measurement]:
    """Accuracy on each third after training on each, and on as many digits of all."""
    from sklearn.neural_network import MLPClassifier

    def fit_predict(
        rows: NDArray[np.int64], labels: NDArray[np.int64], queries: NDArray[np.int64]
    ) -> Floats:
        start = derive_seed(seed, "perceptron") % 2**32
        model = MLPClassifier((64,), learning_rate_init=3e-3, max_iter=60, random_state=start)
        model.fit(data.images[rows], labels)
        guess = np.zeros((len(queries), 10))
        guess[:, model.classes_] = model.predict_proba(data.images[queries])
        return guess

    third = (1 / 3, 2 / 3)
    for thirds, split in (
        (OVERALL, split_by_difficulty(difficulty, quantiles=third)),
        (WITHIN, split_within_classes(difficulty, data.labels, third)),
    ):
        strata = {band: getattr(split, band).numpy() for band in BANDS}
        draws = stratified_draws(
            strata, sizes.training, sizes.draws, seed=derive_seed(seed, thirds)
        )
        matrix = easy_to_hard_matrix(fit_predict, data.labels, draws)
        for row, band in enumerate(matrix.train):
            for column, test in enumerate(matrix.test):
                accuracy = float(matrix.accuracy[:, row, column].mean())
                yield Measurement(
                    f"trained on {band}", "accuracy", accuracy, f"{thirds}, test={test}"
                )
