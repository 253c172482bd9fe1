"""Clustering all queries of a few-shot task at once, with digits that the network has not learned.

The paper's networks learn 64 or more classes of photographs; its tasks are five classes never seen,
with one or five labelled examples of each, and 75 queries that may be looked at together. Here a
seed draws five of the ten digits to learn from. Upright, turned by 90 and by 180 degrees they make
15 classes for a small convolutional network; turned by 270 degrees they are the classes that
settings are chosen on, as the paper takes other classes for it; the other five digits are the
test's. Features are centred on the training mean and scaled to unit length, and transductive
methods move the queries to the mean of the support, as in the paper's code.

Every arm has eight trials on tasks of the validation classes, for each number of shots: the
nearest support mean chooses between two distances, K-means and K-modes whether to move the queries,
methods with the Laplacian term between two strengths, and all of them among four preparations of
the features. Labelled examples are held in their classes, as the paper writes it; its code lets
them move. Arms at the paper's setting, with the queries moved and not, are reported beside those
that were chosen, so that the share of clustering in a gain can be told from that of moving the
queries.

That the energy cannot rise holds for an affinity that is symmetric and positive semi-definite. The
affinity of the code is neither, and with twice the factor in what it watches: how often it rises
there is reported. All tasks have 15 queries of each class, which clusters of about equal size fit
well; accuracies on tasks whose classes have unequal shares are reported too.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gradatim.core.examples import TensorExamples
from gradatim.core.seeds import derive_seed, numpy_generator, torch_generator
from gradatim.core.statistics import auroc
from gradatim.difficulty.prediction_uncertainty import entropy_difficulty
from gradatim.metrics.few_shot import Episodes, episode_difficulty, few_shot_episodes
from gradatim.networks.reference import SmallConvNet
from gradatim.studies.claims import Budget, Claim, Measurement, SeedTable
from gradatim.studies.data.images import mnist_5k
from gradatim.studies.plots import Figure
from gradatim.targets.laplacian_assignment import (
    bound_update,
    knn_affinity,
    laplacian_prototype_energy,
    transduce,
)
from gradatim.targets.prototype_clustering import (
    cl2n,
    class_means,
    shift_correct,
    squared_distances,
)
from gradatim.training.batches import ShuffledBatches
from gradatim.training.fit import fit
from gradatim.training.step import Loss, State

POPULATION = (
    "5-way tasks of MNIST digits that a small convolutional network has not learned, 15 queries of "
    "each class; trained on five other digits in three orientations"
)
NEAREST, KMEANS, KMODES = "nearest mean", "K-means", "K-modes"
SLK_MEANS, SLK_MODES = "SLK-means", "SLK-MS"
WAY, QUERY = 5, 15
SHOTS = (1, 5)
PREPARED = ("cl2n", "l2n", "none", "root")
STRENGTHS = (0.2, 0.8)

Settings = dict[str, Any]

_CLUSTERS = tuple({"features": f, "shift": s} for f in PREPARED for s in (True, False))
_SMOOTHED = tuple({"features": f, "shift": True, "lam": lam} for f in PREPARED for lam in STRENGTHS)
SEARCH: dict[str, tuple[Settings, ...]] = {
    NEAREST: tuple({"features": f, "cosine": c} for f in PREPARED for c in (False, True)),
    KMEANS: _CLUSTERS,
    KMODES: _CLUSTERS,
    SLK_MEANS: _SMOOTHED,
    SLK_MODES: _SMOOTHED,
}
"""The declared search space of each arm, by accuracy on tasks of the validation classes."""


def _gain(table: SeedTable, arm: str, other: str, shots: int = 1) -> float:
    group = f"shots={shots}"
    return table[arm].at(group).accuracy - table[other].at(group).accuracy


CLAIMS = (
    Claim(
        "With one shot, K-means over a task's queries is more accurate than the nearest support "
        "mean.",
        lambda t: _gain(t, KMEANS, NEAREST),
        smallest_effect=0.005,
        unit="accuracy over tasks",
    ),
    Claim(
        "With one shot, regularized clustering is better than K-means: modes with the Laplacian "
        "term (SLK-MS) are more accurate.",
        lambda t: _gain(t, SLK_MODES, KMEANS),
        smallest_effect=0.005,
        unit="accuracy over tasks",
    ),
    Claim(
        "With one shot, the Laplacian term makes K-means more accurate.",
        lambda t: _gain(t, SLK_MEANS, KMEANS),
        smallest_effect=0.005,
        unit="accuracy over tasks",
    ),
    Claim(
        "The fewer labels, the more clustering adds: K-means gains more over the nearest mean with "
        "one shot than with five.",
        lambda t: _gain(t, KMEANS, NEAREST) - _gain(t, KMEANS, NEAREST, 5),
        smallest_effect=0.005,
        unit="accuracy over tasks",
    ),
    Claim(
        "Parallel updates converge: under a symmetric, positive semi-definite affinity no update "
        "raises the relaxed energy by more than 1e-9 of it.",
        lambda t: t["shifted affinity"].largest_rise,
        threshold=1e-9,
        direction="less",
        unit="share of the energy",
    ),
    Claim(
        "Assignments tell which queries are hard: with one shot their entropy under SLK-means is "
        "higher for wrong queries than for right ones.",
        lambda t: t[SLK_MEANS].at("shots=1").auroc_of_errors,
        threshold=0.5,
        smallest_effect=0.05,
        unit="area under the curve",
    ),
)

FIGURES = (
    Figure("accuracy", over="shots", title="Accuracy, settings chosen on validation classes"),
    Figure("paper_accuracy", title="Accuracy at the paper's setting, queries moved or not"),
    Figure("unequal_accuracy", over="shots", title="Accuracy, unequal shares of the classes"),
)


@dataclass(frozen=True)
class Space:
    """Features of one collection, how they are prepared, and their classes."""

    prepared: dict[str, Tensor]
    labels: Tensor


@dataclass(frozen=True)
class Tasks:
    """Features of tasks in one preparation, support first; labels -1 for queries."""

    features: Tensor
    given: Tensor
    answers: Tensor
    affinity: Tensor

    @property
    def size(self) -> int:
        """Labelled examples of a task."""
        return self.given.shape[1] - self.answers.shape[1]


@dataclass(frozen=True)
class Draw:
    """Tasks of one collection, whose features are gathered when they are asked for."""

    space: Space
    episodes: Episodes
    made: dict[tuple[str, bool], Tasks] = field(default_factory=dict)

    def tasks(self, prepared: str, moved: bool) -> Tasks:
        """The tasks in one preparation, with the queries moved to the support's mean or not."""
        if (prepared, moved) not in self.made:
            self.made[prepared, moved] = self._make(prepared, moved)
        return self.made[prepared, moved]

    def _make(self, prepared: str, moved: bool) -> Tasks:
        x, drawn = self.space.prepared[prepared], self.episodes
        support, query = x[torch.from_numpy(drawn.support)], x[torch.from_numpy(drawn.query)]
        features = torch.cat([support, shift_correct(support, query) if moved else query], 1)
        answers = torch.from_numpy(drawn.query_labels)
        given = torch.cat([torch.from_numpy(drawn.support_labels), torch.full_like(answers, -1)], 1)
        affinity = torch.stack([knn_affinity(rows).to_dense() for rows in features])
        return Tasks(features, given, answers, affinity)


def study(seed: int, budget: Budget) -> Iterator[Measurement]:
    """Train, choose settings on validation classes, and cluster the tasks of new digits."""
    validation, test = _spaces(seed, budget)
    tries, count = budget.pick(smoke=(2, 5), full=(50, 200))
    for shots in SHOTS:
        choice, equal, unequal = (
            Draw(space, few_shot_episodes(
                space.labels,
                way=WAY,
                shot=shots,
                query=QUERY,
                count=number,
                concentration=concentration,
                seed=derive_seed(seed, name, shots),
            ))
            for name, space, number, concentration in (
                ("choice", validation, tries, None),
                ("test", test, count, None),
                ("unequal shares", test, count, 2.0),
            )
        )  # fmt: skip
        yield from _compare(choice, equal, unequal, shots, budget.pick(smoke=2, full=8))
        yield from _ablate(equal, shots)
        if shots == 1:
            yield from _energies(equal.tasks("cl2n", True))


def _compare(
    choice: Draw, equal: Draw, unequal: Draw, shots: int, trials: int
) -> Iterator[Measurement]:
    """Choose each arm's settings, and measure it."""
    group = f"shots={shots}"
    for arm, space in SEARCH.items():
        accuracies = [_accuracy(arm, settings, choice) for settings in space[:trials]]
        best = accuracies.index(max(accuracies))
        chosen = space[best]
        found, right = _answers(arm, chosen, equal)
        yield Measurement(arm, "accuracy", float(right.mean()), group)
        yield Measurement(arm, "unequal_accuracy", _accuracy(arm, chosen, unequal), group)
        yield Measurement(arm, "chosen_trial", float(best), group)
        entropy = entropy_difficulty(found.flatten(0, 1))
        wrong = right.flatten().numpy() == 0
        area = auroc(entropy.numpy(), wrong) if 0 < wrong.mean() < 1 else 0.5
        yield Measurement(arm, "auroc_of_errors", area, group)


def _ablate(drawn: Draw, shots: int) -> Iterator[Measurement]:
    """Arms at one setting, with the queries moved to the mean of the support and not."""
    for moved in (True, False):
        group = f"shots={shots}, moved={'yes' if moved else 'no'}"
        for arm in SEARCH:
            settings = {"features": "cl2n", "shift": moved, "lam": 0.5}
            accuracy = _accuracy(arm, settings, drawn)
            yield Measurement(arm, "paper_accuracy", accuracy, group)
    tasks = drawn.tasks("cl2n", False)
    means = class_means(tasks.features, tasks.given, WAY)
    difficulty = episode_difficulty(means, tasks.features[:, tasks.size :])
    yield Measurement("tasks", "difficulty", float(difficulty.mean()), f"shots={shots}")


def _energies(tasks: Tasks) -> Iterator[Measurement]:
    """How much the energy rises on the way, by the affinity and by what is watched."""
    costs = squared_distances(tasks.features, class_means(tasks.features, tasks.given, WAY))
    shifted = torch.stack([knn_affinity(x, shift=True).to_dense() for x in tasks.features])
    directed = torch.stack([knn_affinity(x, symmetric=False).to_dense() for x in tasks.features])
    for arm, affinity in (("shifted affinity", shifted), ("affinity of the code", directed)):
        for lam in (0.5, 1.0):
            states = [(-costs).softmax(-1)]
            for _ in range(30):
                after = bound_update(costs, affinity, lam, start=states[-1], max_iter=1)
                states.append(after.assignments)
            for watched, factor in (("R", 1.0), ("R with twice the Laplacian term", 2.0)):
                values = torch.stack(
                    [laplacian_prototype_energy(s, costs, affinity, factor * lam) for s in states]
                )
                rises = ((values[1:] - values[:-1]) / values[:-1].abs()).amax(0)
                group = f"lam={lam}, watched={watched}"
                share = (rises > 1e-9).double().mean()
                yield Measurement(arm, "tasks_that_rise", float(share), group)
                yield Measurement(arm, "largest_rise", float(rises.clamp(min=0).max()), group)
                if (lam, factor) == (1.0, 1.0):
                    yield Measurement(arm, "largest_rise", float(rises.clamp(min=0).max()))


def _accuracy(arm: str, settings: Settings, drawn: Draw) -> float:
    return float(_answers(arm, settings, drawn)[1].mean())


def _answers(arm: str, settings: Settings, drawn: Draw) -> tuple[Tensor, Tensor]:
    """Probabilities of the queries' classes, and 1 where a label is right, shape [E, Q]."""
    tasks = drawn.tasks(settings["features"], settings.get("shift", False))
    if arm == NEAREST:
        x, means = tasks.features, class_means(tasks.features, tasks.given, WAY)
        if settings.get("cosine", False):
            x, means = functional.normalize(x, dim=-1), functional.normalize(means, dim=-1)
        assignments = (-squared_distances(x, means)).softmax(-1)
        labels = squared_distances(x, means).argmin(-1)
    else:
        found = transduce(
            tasks.features,
            tasks.given,
            WAY,
            method="kmodes" if arm in (KMODES, SLK_MODES) else "kmeans",
            strength=settings["lam"] if arm in (SLK_MEANS, SLK_MODES) else 0.0,
            affinity=tasks.affinity,
        )
        assignments, labels = found.assignments, found.labels
    right = labels[:, tasks.size :] == tasks.answers
    return assignments[:, tasks.size :], right.double()


def _spaces(seed: int, budget: Budget) -> tuple[Space, Space]:
    """Features of the validation classes and of the digits that were not learned."""
    pixels, labels = mnist_5k()
    images, digits = torch.from_numpy(pixels)[:, None].float() / 255, torch.from_numpy(labels)
    order = torch.from_numpy(numpy_generator(seed, "digits").permutation(10))
    learned = torch.isin(digits, order[:5])
    base, own = images[learned], torch.searchsorted(order[:5].sort().values, digits[learned])
    turned = [torch.rot90(base, turn, (2, 3)) for turn in range(4)]
    train = torch.cat(turned[:3])
    classes = torch.cat([own + 5 * turn for turn in range(3)])
    kept = torch.randperm(len(train), generator=torch_generator(seed, "training images"))
    kept = kept[: budget.pick(smoke=300, full=len(train))]
    network = _train(train[kept], classes[kept], seed, budget.pick(smoke=1, full=8))
    mean = network.features(train[kept]).double().mean(0)
    validation = Space(_prepare(network.features(turned[3]), mean), own)
    return validation, Space(_prepare(network.features(images[~learned]), mean), digits[~learned])


def _prepare(features: Tensor, mean: Tensor) -> dict[str, Tensor]:
    """The four preparations of features, which are not negative."""
    x = features.double()
    unit = functional.normalize(x, dim=1)
    rooted = functional.normalize(x.sqrt(), dim=1)
    return {
        "cl2n": cl2n(x, mean),
        "l2n": unit,
        "none": x / x.norm(dim=1).mean(),
        "root": functional.normalize(rooted - functional.normalize(mean.sqrt(), dim=0), dim=1),
    }


def _step(model: torch.nn.Module, batch: dict[str, Tensor], state: State) -> Loss:
    logits = model(batch["x"])
    return Loss.of(
        functional.cross_entropy(logits, batch["label"], reduction="none", label_smoothing=0.1)
    )


def _train(images: Tensor, classes: Tensor, seed: int, epochs: int) -> SmallConvNet:
    """A network for the training classes, with smoothed labels as in the paper."""
    torch.manual_seed(derive_seed(seed, "initialization"))
    network = SmallConvNet((16, 32, 64), classes=15)
    fit(
        network,
        TensorExamples(x=images, label=classes),
        _step,
        optimizer=torch.optim.Adam(network.parameters(), lr=3e-3),
        batches=ShuffledBatches(len(images), 64, seed=seed, remainder="merge"),
        epochs=epochs,
        progress_bar=False,
    )
    return network.eval().requires_grad_(False)
