"""The temperature of the contrastive loss and hard negatives, on small handwritten digits.

The paper trains ResNets with a memory bank on CIFAR, SVHN and ImageNet-100. Here 1,047 digits of
8 x 8 pixels are seen in two random views by a perceptron with batch normalization, and all other
views of a batch of 128 digits are negatives, a tenth of them of the anchor's class. Features are
those below the projection; as few as five labels a class are given to a linear probe (and to five
nearest neighbours, which are reported beside it), the mean over ten draws of the labels. Uniformity
and tolerance are measured on the features and on the projections that the loss acts on, between
different digits.

Each arm has two trials of the learning rate, chosen by the probe's accuracy on validation digits,
as are temperatures where one is chosen: a best temperature on test digits would beat both ends of
the range by chance. Selection keeps the 8% hardest negatives of an anchor, as in the paper. Whether
it lifts the ordinary loss is asked at a temperature of 1 and for the best of the three temperatures
that both were tried with. The simple loss gives negatives a total weight of 1 with and without
selection, or gradients would differ in size.

What pilots on seeds 0 and 1 changed: without batch normalization all losses with selection
collapse, since all digits are alike at first and the hardest negatives are nearer than the other
view. The temperature 5 took the place of 2, whose features are nearly those of 1. Seen on seeds
0-4: the projections at 0.03 are the least spread of all, though the loss is not low there. Nearly
all repulsion then goes to the nearest digits, which may leave far ones where all began; longer
training was not tried. Best is about 0.2, but the probe hardly tells it from lower temperatures.
Selection repairs the simple loss and high temperatures and costs accuracy at 0.2: more than half
of the 21 hardest negatives are of the anchor's class.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gradatim.core.examples import TensorExamples
from gradatim.core.seeds import derive_seed, numpy_generator, torch_generator
from gradatim.core.statistics import rank_correlation
from gradatim.difficulty.negative_hardness import hardness_entropy
from gradatim.metrics.embedding_geometry import tolerance, uniformity
from gradatim.mining.hard_negative_masks import QuantileHardNegatives
from gradatim.networks.reference import MLP
from gradatim.objectives.contrastive import info_nce_from_similarity, simple_contrastive
from gradatim.studies.claims import Budget, Claim, Measurement, SeedTable
from gradatim.studies.plots import Figure
from gradatim.training.batches import ShuffledBatches
from gradatim.training.fit import fit
from gradatim.training.step import Loss, State

POPULATION = (
    "1,797 digits of 8 x 8 pixels, a perceptron, 254 negatives, five labels a class for a probe"
)
TEMPERATURES = (0.03, 0.07, 0.2, 0.5, 1.0, 5.0)
HARD_TEMPERATURES = (0.2, 1.0, 5.0)
RATES = (1e-3, 4e-3)
"""The declared search space: for each loss and temperature two learning rates."""

ALPHA = 0.08
BATCH = 128
LABELS = 5
WIDTHS = (64, 256, 128, 64)
ORDINARY, HARD = "ordinary", "hard"
SIMPLE, HARD_SIMPLE = "simple", "hard simple"
INNER, SAME = "ordinary, inner temperatures", "ordinary, temperatures of hard"
GRADIENT = "gradient"
PLACES = {"features": "", "projections": "projected_"}

Estimand = Callable[[SeedTable], float]


def _at(temperature: float) -> str:
    return f"temperature={temperature}"


def _trend(metric: str) -> Estimand:
    """Rank correlation of a figure of the ordinary loss with the temperature."""

    def estimand(table: SeedTable) -> float:
        curve = table[ORDINARY].curve(metric, over="temperature")
        return rank_correlation([x for x, _ in curve], [y for _, y in curve])

    return estimand


def _over_end(temperature: float) -> Estimand:
    """What the best inner temperature gains over an end of the range."""
    return lambda t: t[INNER].linear - t[ORDINARY].at(_at(temperature)).linear


CLAIMS = (
    Claim(
        "The temperature controls the penalty on hard negatives: at 0.07 the 8% hardest get a "
        "larger share of the repulsion than at 1, by more than a tenth of it.",
        lambda t: t[GRADIENT].at(_at(0.07)).hardest_share - t[GRADIENT].at(_at(1.0)).hardest_share,
        threshold=0.1,
        smallest_effect=0.02,
        unit="share of the gradient",
    ),
    Claim(
        "The entropy of these penalties rises with the temperature for every anchor.",
        lambda t: t[GRADIENT].rising,
        threshold=0.999,
        unit="share of anchors",
    ),
    *(
        Claim(
            f"{name} with the temperature: on the {where} the rank correlation is above 0.8.",
            _trend(metric),
            threshold=0.8,
            unit="rank correlation",
        )
        for where, prefix in PLACES.items()
        for metric, name in (
            (f"{prefix}log_potential", "Uniformity falls (its logarithm of the potential rises)"),
            (f"{prefix}tolerance", "Tolerance rises"),
        )
    ),
    *(
        Claim(statement, estimand, smallest_effect=0.005, unit="accuracy of the probe")
        for statement, estimand in (
            (
                "A compromise is best: an inner temperature, chosen on validation digits, is "
                "better than 0.03, the lowest.",
                _over_end(TEMPERATURES[0]),
            ),
            ("It is better than 5, the highest.", _over_end(TEMPERATURES[-1])),
            (
                "The ordinary loss at its best temperature is better than the simple loss, which "
                "does not look at hardness.",
                lambda t: t[ORDINARY].linear - t[SIMPLE].linear,
            ),
            (
                "Selecting hard negatives lifts the simple loss.",
                lambda t: t[HARD_SIMPLE].linear - t[SIMPLE].linear,
            ),
            (
                "Selecting hard negatives lifts the ordinary loss at a temperature of 1.",
                lambda t: t[HARD].at(_at(1.0)).linear - t[ORDINARY].at(_at(1.0)).linear,
            ),
            (
                "It does so where both have the best of three temperatures.",
                lambda t: t[HARD].linear - t[SAME].linear,
            ),
        )
    ),
)

FIGURES = (
    Figure("linear", over="temperature", where="", title="Accuracy of the linear probe"),
    Figure("neighbours", over="temperature", where="", title="Accuracy of five nearest neighbours"),
    Figure("linear", where="", title="Accuracy of the linear probe, temperatures chosen"),
    *(
        Figure(f"{prefix}{metric}", over="temperature", where="", title=f"{name}, {where}", unit="")
        for where, prefix in PLACES.items()
        for metric, name in (("log_potential", "Log of the potential"), ("tolerance", "Tolerance"))
    ),
    Figure("hardest_share", over="temperature", title="Share of the repulsion on the 8% hardest"),
)


@dataclass(frozen=True)
class Sizes:
    """Epochs, draws of labels, digits to train on, and learning rates."""

    epochs: int = 40
    draws: int = 10
    train: int = 1047
    rates: tuple[float, ...] = RATES


SMOKE = Sizes(epochs=1, draws=1, train=300, rates=RATES[:1])


@dataclass(frozen=True)
class Task:
    """Digits, the rows of each side, and draws of labelled rows."""

    images: Tensor
    labels: Tensor
    train: Tensor
    validation: Tensor
    test: Tensor
    labelled: Sequence[Tensor]
    sizes: Sizes


@dataclass(frozen=True)
class Plan:
    """A loss: with a temperature or simple, and with all negatives or the hardest."""

    temperature: float | None
    hard: bool = False

    @property
    def arm(self) -> str:
        """The name that it is reported by."""
        if self.temperature is None:
            return HARD_SIMPLE if self.hard else SIMPLE
        return HARD if self.hard else ORDINARY

    @property
    def group(self) -> str:
        """Its temperature, as a group."""
        return "" if self.temperature is None else _at(self.temperature)


@dataclass(frozen=True)
class Trained:
    """A network at its better learning rate, and how well the probe does on validation digits."""

    network: MLP
    rate: float
    validation: float


PLANS = (
    *(Plan(temperature) for temperature in TEMPERATURES),
    *(Plan(temperature, hard=True) for temperature in HARD_TEMPERATURES),
    Plan(None),
    Plan(None, hard=True),
)


def study(seed: int, budget: Budget) -> Iterator[Measurement]:
    """Train with each loss, choose rates and temperatures, and measure on test digits."""
    task = _task(seed, budget.pick(smoke=SMOKE, full=Sizes()))
    trained = {plan: _tuned(task, plan, seed) for plan in PLANS}
    figures = {plan: dict(_figures(task, one)) for plan, one in trained.items()}
    for plan, values in figures.items():
        for metric, value in values.items():
            yield Measurement(plan.arm, metric, value, plan.group)
    ordinary = [plan for plan in PLANS if plan.arm == ORDINARY]
    for name, plans in (
        (ORDINARY, ordinary),
        (INNER, ordinary[1:-1]),
        (SAME, [plan for plan in ordinary if plan.temperature in HARD_TEMPERATURES]),
        (HARD, [plan for plan in PLANS if plan.arm == HARD]),
    ):
        best = max(plans, key=lambda plan: trained[plan].validation)
        yield Measurement(name, "chosen_temperature", best.temperature or 0.0)
        for metric, value in figures[best].items():
            yield Measurement(name, metric, value)
    yield from _penalties(task, trained[Plan(0.2)].network)


def _task(seed: int, sizes: Sizes) -> Task:
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    random = numpy_generator(seed, "digits")
    order = random.permutation(len(images))
    train, validation, test = np.split(order, [1047, 1297])
    train = train[: sizes.train]
    labelled = [
        np.concatenate(
            [random.choice(train[classes[train] == c], LABELS, replace=False) for c in range(10)]
        )
        for _ in range(sizes.draws)
    ]
    return Task(
        torch.tensor(images / 16.0, dtype=torch.float32).view(-1, 1, 8, 8),
        torch.tensor(classes),
        torch.from_numpy(train),
        torch.from_numpy(validation),
        torch.from_numpy(test),
        [torch.from_numpy(rows) for rows in labelled],
        sizes,
    )


def views(images: Tensor, generator: torch.Generator) -> Tensor:
    """Digits turned by up to 15 degrees, shifted by up to a pixel, noisy, a 2 x 2 block erased."""
    count = len(images)
    angle = (torch.rand(count, generator=generator) * 2 - 1) * math.radians(15)
    shift = (torch.rand(count, 2, generator=generator) * 2 - 1) / 4  # a pixel is 1/4 of [-1, 1]
    turned = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
    grid = functional.affine_grid(
        torch.cat([turned, shift[:, :, None]], 2), list(images.shape), align_corners=False
    )
    seen = functional.grid_sample(images, grid, align_corners=False)
    seen = seen + 0.1 * torch.randn(seen.shape, generator=generator)
    corner = torch.randint(7, (count, 2, 1), generator=generator)
    place = torch.arange(8)
    erased = (place >= corner) & (place < corner + 2)
    return seen.masked_fill((erased[:, 0, :, None] & erased[:, 1, None, :])[:, None], 0.0)


def _loss(plan: Plan, similarity: Tensor) -> Tensor:
    """Losses of the views of a batch, whose second half are the other views of the first."""
    count = len(similarity)
    own = torch.arange(count)
    other = own.roll(count // 2)
    mask = torch.ones_like(similarity, dtype=torch.bool)
    mask[own, own] = mask[own, other] = False
    if plan.hard:
        mask = QuantileHardNegatives(ALPHA)(similarity, mask)
    positive = similarity[own, other]
    if plan.temperature is not None:
        return info_nce_from_similarity(
            positive, similarity, temperature=plan.temperature, mask=mask, reduction="none"
        )
    weight = 1 / float(mask.sum(1).float().mean())
    return simple_contrastive(positive, similarity, weight=weight, mask=mask, reduction="none")


def _train(task: Task, plan: Plan, rate: float, seed: int) -> MLP:
    """One network; the first weights, batches and views of a seed are the same for all."""
    torch.manual_seed(derive_seed(seed, "weights"))
    network = MLP(WIDTHS, lambda: nn.Sequential(nn.LazyBatchNorm1d(), nn.ReLU()))
    network.eval()(task.images[:2])  # makes the lazy layers
    examples = TensorExamples(image=task.images[task.train])

    def step(model: nn.Module, batch: dict[str, Tensor], state: State) -> Loss:
        images = batch["image"].repeat(2, 1, 1, 1)
        projected = functional.normalize(model(views(images, state.generator)), dim=1)
        return Loss.of(_loss(plan, projected @ projected.T))

    fit(
        network,
        examples,
        step,
        optimizer=torch.optim.Adam(network.parameters(), lr=rate),
        batches=ShuffledBatches(len(examples), BATCH, seed=seed, remainder="drop"),
        epochs=task.sizes.epochs,
        seed=seed,
        progress_bar=False,
    )
    return network.eval()


def _tuned(task: Task, plan: Plan, seed: int) -> Trained:
    """The better of the trials."""
    trials = []
    for rate in task.sizes.rates:
        network = _train(task, plan, rate, seed)
        probe, _ = _accuracies(task, _features(task, network), task.validation)
        trials.append(Trained(network, rate, probe))
    return max(trials, key=lambda one: one.validation)


@torch.no_grad()
def _features(task: Task, network: MLP) -> Tensor:
    return functional.normalize(network.features(task.images), dim=1)


def _accuracies(task: Task, features: Tensor, side: Tensor) -> tuple[float, float]:
    """Of a linear probe and of five neighbours, the means over the draws of labels."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    values, classes = features.numpy(), task.labels.numpy()
    found = [
        [
            model.fit(values[rows], classes[rows]).score(values[side], classes[side])
            for model in (LogisticRegression(C=10.0), KNeighborsClassifier(5))
        ]
        for rows in task.labelled
    ]
    probe, neighbours = np.mean(found, axis=0)
    return float(probe), float(neighbours)


@torch.no_grad()
def _figures(task: Task, trained: Trained) -> Iterator[tuple[str, float]]:
    """Figures on test digits."""
    features = _features(task, trained.network)
    probe, neighbours = _accuracies(task, features, task.test)
    yield "linear", probe
    yield "neighbours", neighbours
    yield "rate", trained.rate
    labels = task.labels[task.test]
    projected = trained.network(task.images)
    for prefix, vectors in zip(PLACES.values(), (features, projected), strict=True):
        yield f"{prefix}log_potential", uniformity(vectors[task.test])
        yield f"{prefix}tolerance", tolerance(vectors[task.test], labels)


def _penalties(task: Task, network: MLP) -> Iterator[Measurement]:
    """Where the gradient of the ordinary loss goes, on two views of test digits."""
    images = task.images[task.test]
    with torch.no_grad():
        first, second = (
            functional.normalize(network(views(images, torch_generator(0, side))), dim=1)
            for side in ("first", "second")
        )
    mask = ~torch.eye(len(images), dtype=torch.bool)
    hardest = QuantileHardNegatives(ALPHA)(first @ second.T, mask)
    entropies = []
    for temperature in TEMPERATURES:
        similarity = (first @ second.T).requires_grad_()
        loss = info_nce_from_similarity(
            similarity.diagonal(), similarity, temperature=temperature, mask=mask, reduction="sum"
        )
        repulsion = torch.autograd.grad(loss, similarity)[0].where(mask, 0.0)
        share = (repulsion.where(hardest, 0.0).sum(1) / repulsion.sum(1)).mean()
        yield Measurement(GRADIENT, "hardest_share", float(share), _at(temperature))
        entropies.append(hardness_entropy(similarity.detach().double(), temperature, mask=mask))
    rising = (torch.diff(torch.stack(entropies), dim=0) > 0).all(0).double().mean()
    yield Measurement(GRADIENT, "rising", float(rising))
