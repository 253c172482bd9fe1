"""Targets from the model's own past, on exam questions of 57 subjects, some of them close.

The paper trains convolutional networks on images (and detectors, and translation models) from
scratch. Here a perceptron with dropout learns from 1,200 questions of MMLU, as frozen sentence
embeddings, which subject each is from; it reads all of them right in training and less than two
thirds in the test, sure of itself, which is where softer targets should help. Every arm gets four
trials of a declared search space, chosen within each seed by accuracy on 1,000 validation
questions; network, batches and number of updates are the same. Label smoothing, a virtual teacher
and agreement within classes are the regularizers that the abstract is measured against. Data are
mixed by mixup, since CutMix needs images; half of the batches are mixed, and self-distillation
keeps the predictions of the others. Temperature scaling of cross-entropy on the validation
questions stands beside the arms, because it needs no other training.

Mining of hard examples is looked at twice, at the chosen settings, with difficulty from a run of
cross-entropy (the mean error probability over training). The paper's analysis assumes that easy
examples are those whose error has just shrunk. While examples are learned that is so. Later easy
examples are those whose error is small: with dropout it is now larger, now smaller than in the
epoch before, its gradient comes from the times when it is larger, and just these are left whole,
while the steady error of hard examples is cancelled. Lengths are those of true gradients, not of
the short form, which does not hold where a wrong class has lost most of its probability.

Tried on seed 0 before: digits of MNIST with shifts, where cross-entropy is hardly too sure of
itself and self-distillation was timid and no more accurate; more questions (2,000) and less
dropout, where arms differ less. The learning rate 0.1 was the worst for every arm and gave way to
0.01. What stands in the way of the claims on accuracy at this scale: predictions in training are
close to the labels after a few epochs, so that the past has little to tell beyond them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from gradatim.core.examples import TensorExamples
from gradatim.core.seeds import derive_seed, torch_generator
from gradatim.difficulty.gradient_rescaling import gradient_rescaling
from gradatim.evaluators.temperature import fit_temperature
from gradatim.metrics.calibration import (
    aurc,
    confidence_and_correctness,
    excess_aurc,
    expected_calibration_error,
    overconfidence,
)
from gradatim.networks.reference import MLP
from gradatim.recipes.input_mixing import InputMixing
from gradatim.recipes.self_distillation import ProgressiveSelfDistillation
from gradatim.recipes.target_regularization import ClassWise, LabelSmoothing, TeacherFree
from gradatim.studies.claims import Budget, Claim, Measurement, SeedTable
from gradatim.studies.data.exam_subjects import exam_subjects
from gradatim.studies.data.graded_tasks import GradedTask
from gradatim.studies.plots import Figure
from gradatim.targets.mixup import mixup
from gradatim.training.batches import ShuffledBatches
from gradatim.training.callbacks import TrainingDynamics
from gradatim.training.dynamics import DynamicsRecorder
from gradatim.training.fit import fit
from gradatim.training.step import Loss, State

POPULATION = (
    "1,200 questions of MMLU's 57 subjects as frozen MiniLM embeddings, a perceptron of 256 units "
    "with dropout that tells the subject, 20 epochs"
)
PLAIN, OURS = "cross-entropy", "PS-KD"
SMOOTHED, VIRTUAL, ALIKE = "label smoothing", "teacher-free", "class-wise"
MIXUP = ", mixup"
OTHERS = (SMOOTHED, VIRTUAL, ALIKE)
SCALED = "cross-entropy, temperature scaled"
HARDEST, EASIEST = "PS-KD, hardest tenth", "PS-KD, easiest half"
EARLY, WHOLE = "epochs=first quarter", "epochs=all"

LEARNING_RATES = (0.01, 0.03)


def _space(name: str, values: tuple[float, float]) -> tuple[dict[str, float], ...]:
    """Four trials: two learning rates by two values of an option."""
    return tuple({"lr": lr, name: value} for lr in LEARNING_RATES for value in values)


_SPACES = {
    PLAIN: _space("decay", (5e-4, 5e-3)),
    SMOOTHED: _space("smoothing", (0.1, 0.2)),
    OURS: _space("alpha", (0.5, 0.8)),
}
SEARCH: dict[str, tuple[dict[str, float], ...]] = {
    **_SPACES,
    VIRTUAL: _space("temperature", (4.0, 20.0)),
    ALIKE: _space("strength", (0.5, 1.0)),
    **{arm + MIXUP: space for arm, space in _SPACES.items()},
}
"""The declared search space of each arm, by accuracy on validation questions."""


def _gain(table: SeedTable, arm: str, other: str, metric: str = "accuracy") -> float:
    return table[arm][metric] - table[other][metric]


def _over_best(metric: str, table: SeedTable) -> float:
    """A figure that should be small, minus the smallest of the other regularizers."""
    return max(_gain(table, OURS, other, metric) for other in OTHERS)


CLAIMS = (
    Claim(
        "Self-distillation from past predictions is more accurate than cross-entropy.",
        lambda t: _gain(t, OURS, PLAIN),
        smallest_effect=0.003,
        unit="test accuracy",
    ),
    Claim(
        "It is more accurate than label smoothing.",
        lambda t: _gain(t, OURS, SMOOTHED),
        smallest_effect=0.003,
        unit="test accuracy",
    ),
    Claim(
        "It is more accurate than teacher-free distillation.",
        lambda t: _gain(t, OURS, VIRTUAL),
        smallest_effect=0.003,
        unit="test accuracy",
    ),
    Claim(
        "It is more accurate than class-wise self-distillation.",
        lambda t: _gain(t, OURS, ALIKE),
        smallest_effect=0.003,
        unit="test accuracy",
    ),
    Claim(
        "Its confidence is better calibrated than that of cross-entropy.",
        lambda t: _gain(t, OURS, PLAIN, "ece"),
        smallest_effect=0.003,
        direction="less",
        unit="expected calibration error",
    ),
    Claim(
        "Its confidence ranks errors better than that of cross-entropy: the area under the "
        "risk-coverage curve is smaller.",
        lambda t: _gain(t, OURS, PLAIN, "aurc"),
        smallest_effect=0.0005,
        direction="less",
        unit="area under the risk-coverage curve",
    ),
    *(
        Claim(
            f"Its confidence is better than under the other regularizers of the target, whichever "
            f"of the three: {what}.",
            partial(_over_best, metric),
            smallest_effect=effect,
            direction="less",
            unit=f"{unit}, against the best of three",
        )
        for metric, effect, what, unit in (
            ("ece", 0.003, "the calibration error is smaller", "expected calibration error"),
            ("aurc", 0.0005, "errors get less confidence", "area under the risk-coverage curve"),
        )
    ),
    Claim(
        "It combines with mixup: together they are more accurate than mixup alone.",
        lambda t: _gain(t, OURS + MIXUP, PLAIN + MIXUP),
        smallest_effect=0.003,
        unit="test accuracy",
    ),
    Claim(
        "It combines with mixup better than label smoothing does.",
        lambda t: _gain(t, OURS + MIXUP, SMOOTHED + MIXUP),
        smallest_effect=0.003,
        unit="test accuracy",
    ),
    Claim(
        "It rescales gradients by difficulty while examples are learned, in the first quarter of "
        "training: more is left to the hardest tenth than to the easiest half.",
        lambda t: t[HARDEST].at(EARLY).factor - t[EASIEST].at(EARLY).factor,
        smallest_effect=0.002,
        unit="share of a gradient that is left",
    ),
    Claim(
        "It mines hard examples: over all epochs the hardest tenth has a larger share of the "
        "gradient than under the labels alone, for the same predictions.",
        lambda t: t[HARDEST].gradient_share - t[HARDEST].gradient_share_of_labels,
        smallest_effect=0.005,
        unit="share of the gradient",
    ),
)

FIGURES = (
    Figure("accuracy", title="Test accuracy"),
    Figure("ece", title="Expected calibration error"),
    Figure("aurc", title="Area under the risk-coverage curve"),
    Figure("overconfidence", title="Mean confidence minus accuracy"),
    *(
        Figure("factor", over="decile", where=where, title=f"Gradient that is left, {name}")
        for where, name in ((EARLY, "first quarter of training"), (WHOLE, "all epochs"))
    ),
)


@dataclass(frozen=True)
class Questions:
    """One seed's training, validation and test questions, and how many subjects there are."""

    train: TensorExamples
    validation: TensorExamples
    test: TensorExamples
    subjects: int


@dataclass(frozen=True)
class Trial:
    """A training run: its settings, and its logits for validation and test questions."""

    settings: Mapping[str, float]
    validation: torch.Tensor
    test: torch.Tensor
    accuracy: float


def _draw(task: GradedTask, sizes: tuple[int, int], seed: int) -> Questions:
    """Draw training and validation questions, and test on the others."""
    # embeddings of unit length come to entries of about 1
    inputs = torch.from_numpy(task.features) * task.features.shape[1] ** 0.5
    labels = torch.from_numpy(task.labels)
    order = torch.randperm(len(labels), generator=torch_generator(seed, "questions"))
    train, validation = sizes
    parts = (order[:train], order[train : train + validation], order[train + validation :])
    first, second, rest = (TensorExamples(x=inputs[part], label=labels[part]) for part in parts)
    return Questions(first, second, rest, task.choices)


def study(seed: int, budget: Budget) -> Iterator[Measurement]:
    """Tune every arm, report the chosen trials, then look at gradients."""
    epochs = budget.pick(smoke=2, full=20)
    small = budget == "smoke"
    task = exam_subjects("words", per_subject=40, subjects=8) if small else exam_subjects()
    questions = _draw(task, budget.pick(smoke=(100, 100), full=(1200, 1000)), seed)
    chosen = {}
    for arm, space in SEARCH.items():
        trials = [_train(arm, settings, questions, seed, epochs) for settings in space]
        chosen[arm] = max(trials, key=lambda trial: trial.accuracy)
        yield from _report(arm, chosen[arm].test, questions.test)
        for name, value in chosen[arm].settings.items():
            yield Measurement(arm, f"chosen_{name}", value)
    plain = chosen[PLAIN]
    labels = questions.validation.column("label")
    temperature = fit_temperature(plain.validation.numpy(), labels.numpy())
    yield from _report(SCALED, plain.test / temperature, questions.test)
    yield from _mechanism(chosen, questions, seed, epochs)


def _report(arm: str, logits: torch.Tensor, test: TensorExamples) -> Iterator[Measurement]:
    """Accuracy and the quality of confidence on test questions."""
    labels = test.column("label")
    probabilities = logits.double().softmax(dim=1)
    confidence, correct = confidence_and_correctness(probabilities.numpy(), labels.numpy())
    yield Measurement(arm, "accuracy", float(correct.mean()))
    yield Measurement(arm, "ece", expected_calibration_error(confidence, correct))
    yield Measurement(arm, "overconfidence", overconfidence(confidence, correct))
    yield Measurement(arm, "aurc", aurc(confidence, correct))
    yield Measurement(arm, "excess_aurc", excess_aurc(confidence, correct))
    loss = functional.cross_entropy(logits.double(), labels)
    yield Measurement(arm, "log_loss", float(loss))


def _recipe(arm: str, settings: Mapping[str, float], questions: Questions) -> Any:
    """The recipe of an arm at its settings."""
    name = arm.removesuffix(MIXUP)
    mixing = InputMixing(mixup) if arm != name else None
    if name == OURS:
        return ProgressiveSelfDistillation(
            len(questions.train), questions.subjects, alpha=settings["alpha"], mixing=mixing
        )
    if name == VIRTUAL:
        return TeacherFree(temperature=settings["temperature"])
    if name == ALIKE:
        labels = questions.train.column("label")
        return ClassWise(questions.train, labels, strength=settings["strength"])
    return LabelSmoothing(settings.get("smoothing", 0.0), mixing=mixing)


def _train(
    arm: str,
    settings: Mapping[str, float],
    questions: Questions,
    seed: int,
    epochs: int,
    recipe: Any = None,
) -> Trial:
    """Train one arm once; every arm starts from the same weights and meets the same batches."""
    torch.manual_seed(derive_seed(seed, "initialization"))
    inputs = questions.train.column("x").shape[1]
    network = MLP((inputs, 256, questions.subjects), dropout=0.5)
    recipe = recipe or _recipe(arm, settings, questions)
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=settings["lr"],
        momentum=0.9,
        nesterov=True,
        weight_decay=settings.get("decay", 5e-4),
    )
    batches = ShuffledBatches(len(questions.train), 64, seed=seed, remainder="merge")
    drops = [int(epochs * len(batches) * share) for share in (0.5, 0.75)]
    fit(
        network,
        questions.train,
        recipe.step,
        optimizer=optimizer,
        schedulers=torch.optim.lr_scheduler.MultiStepLR(optimizer, drops),
        batches=batches,
        epochs=epochs,
        callbacks=recipe.callbacks,
        stateful=recipe.stateful,
        seed=seed,
        progress_bar=False,
    )
    network.eval()
    with torch.no_grad():
        validation, test = (
            network(part.column("x")) for part in (questions.validation, questions.test)
        )
    right = validation.argmax(dim=1) == questions.validation.column("label")
    return Trial(settings, validation, test, right.double().mean().item())


class _Plain(LabelSmoothing):
    """Cross-entropy that records how difficult each example is."""

    def __init__(self, size: int) -> None:
        super().__init__(0.0)
        self.dynamics = DynamicsRecorder(size)
        self.callbacks = (self.dynamics,)

    def step(self, model: nn.Module, batch: Mapping[str, Any], state: State) -> Loss:
        """Cross-entropy."""
        logits = self.logits(model, batch)
        self.dynamics.record(state, logits, batch[self.label])
        losses = functional.cross_entropy(logits, batch[self.label], reduction="none")
        return Loss.of(losses)


class _Watched(ProgressiveSelfDistillation):
    """Self-distillation that records what is left of each gradient, and its length for labels."""

    def __init__(self, size: int, subjects: int, epochs: int, alpha: float) -> None:
        super().__init__(size, subjects, alpha=alpha)
        self.dynamics = TrainingDynamics(size, epochs, ("factor", "error"))

    def step(self, model: nn.Module, batch: Mapping[str, Any], state: State) -> Loss:
        """The step, between two looks at the predictions that are kept."""
        past = self.past.targets(state.index)
        loss = super().step(model, batch, state)
        now, labels = self.past.targets(state.index), batch[self.label]
        factor = gradient_rescaling(now, past, labels, self.share_of(state))
        error = 1 - now.gather(1, labels[:, None]).squeeze(1)
        self.dynamics.record(state, factor=factor, error=error)
        return loss


def _mechanism(
    chosen: Mapping[str, Trial], questions: Questions, seed: int, epochs: int
) -> Iterator[Measurement]:
    """How gradients are rescaled by difficulty, which is that of a run of cross-entropy."""
    size = len(questions.train)
    plain, ours = chosen[PLAIN].settings, chosen[OURS].settings
    judge = _Plain(size)
    _train(PLAIN, plain, questions, seed, epochs, judge)
    difficulty = judge.dynamics.difficulty()["map_confidence"]
    watched = _Watched(size, questions.subjects, epochs, ours["alpha"])
    _train(OURS, ours, questions, seed, epochs, watched)
    # under mixed targets there is nothing to rescale in the first epoch
    factor, error = (watched.dynamics.values(name)[1:] for name in ("factor", "error"))
    order = difficulty.argsort().numpy()
    deciles = np.array_split(order, 10)
    for group, last in ((EARLY, max(1, epochs // 4 - 1)), (WHOLE, epochs - 1)):
        left, whole = (factor * error)[:last], error[:last]
        for number, rows in enumerate(deciles, start=1):
            yield Measurement(
                OURS, "factor", _ratio(left, whole, rows), f"{group}, decile={number}"
            )
        for arm, rows in ((HARDEST, deciles[-1]), (EASIEST, order[: size // 2])):
            yield Measurement(arm, "factor", _ratio(left, whole, rows), group)
    hard = deciles[-1]
    for metric, lengths in (
        ("gradient_share", factor * error),
        ("gradient_share_of_labels", error),
    ):
        yield Measurement(HARDEST, metric, float(lengths[:, hard].sum() / lengths.sum()))


def _ratio(left: torch.Tensor, whole: torch.Tensor, rows: NDArray[np.int64]) -> float:
    """What is left of the gradients of some examples, by total length."""
    return float(left[:, rows].sum() / whole[:, rows].sum())
