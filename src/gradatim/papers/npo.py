"""Negative preference optimization against gradient ascent, on the paper's synthetic task.

Logistic models of 128 random features forget 200 examples of one population and keep 1,000 of
another, whose inputs lie apart (alpha = 1) or overlap wholly (alpha = 0), where both contradict
each other. What is measured is the divergence of the model from one that was fitted to what is
kept alone, on 1,000 new inputs of either population; their sum is called the distance. All methods
make 2,000 steps of gradient descent on all examples; lengths of responses play no part. The
authors' betas are taken: of NPO 1 (apart) and 10 (overlapping), of DPO 0.1 and 5.

Claim 1 takes the authors' learning rates, by which NPO's steps are 10 and 500 times as large as
gradient ascent's. Claim 2 takes equal steps of 0.0005, five times as many, and asks whether the way
that NPO's weights have gone is nearer to a straight line in log t or in t over its second half.
That of gradient ascent is a straight line in t with every seed, and is reported beside it.

In claims 3 and 4 each method has the same six learning rates, all of the authors' among them, and
stops at one of 41 steps. It takes the rate and the step that a user would choose: of those by which
the labels to be forgotten have come down to chance on average, the ones with the least
cross-entropy on 500 held-out examples of what is kept. The model without the forgotten examples has
no part in that. At first only the rate was chosen, by the last step. On seeds 0-4 gradient ascent
then always took the smallest rate where the inputs overlap, and went on for too long with it: most
of what NPO seemed to gain was for the want of a step to stop at, so the step is now chosen, too.

The paper's figures follow fixed rates. Another measure, the least divergence on what is kept once
that on what is forgotten has been halved, was dropped: on a pilot seed both methods halved it
before either did harm where the inputs lie apart, and neither ever did where they overlap. The
target is not the optimum but a ridge fit, see
:func:`gradatim.studies.data.random_features.forgetting_task`.
Reported beside the claims: IDK and DPO, how the divergences go over the steps, how near each method
comes at any step and learning rate, and the weight that NPO gives to examples at the end, with its
rank correlation with how likely the model without them finds their labels.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gradatim.core.statistics import rank_correlation
from gradatim.difficulty.remaining_memory import npo_weight
from gradatim.language.token_divergence import kl_divergence
from gradatim.objectives.unlearning import dpo_to_refusal, gradient_ascent, npo
from gradatim.studies.claims import Budget, Claim, Measurement, SeedTable
from gradatim.studies.data.random_features import ForgettingTask, Sample, forgetting_task
from gradatim.studies.plots import Figure

POPULATION = (
    "the paper's synthetic task: logistic models of 128 random features of 16 Gaussian inputs, "
    "200 examples to forget and 1,000 to keep, apart or overlapping, 2,000 full-batch steps"
)
DISTANCES = {"apart": 1.0, "overlapping": 0.0}
RATES = (1e-4, 2e-4, 5e-4, 5e-3, 2e-2, 5e-2)
"""The declared search space, for every method."""

BETAS = {"NPO": {"apart": 1.0, "overlapping": 10.0}, "DPO": {"apart": 0.1, "overlapping": 5.0}}
PAPER_RATES = {
    "GA": {"apart": 5e-4, "overlapping": 1e-4},
    "IDK": {"apart": 5e-4, "overlapping": 1e-4},
    "NPO": {"apart": 5e-3, "overlapping": 5e-2},
    "DPO": {"apart": 5e-3, "overlapping": 5e-2},
    "DPO+RT": {"apart": 5e-3, "overlapping": 2e-2},
}
"""Of the authors' code; with the retain term as without, where it is not named."""

METHODS = ("GA", "GA+RT", "NPO", "NPO+RT", "IDK+RT", "DPO", "DPO+RT")
EQUAL_RATE = 5e-4
CHANCE = math.log(0.5)
EVALUATIONS = 40


def _gain(t: SeedTable, metric: str, method: str, baseline: str) -> float:
    """By how many powers of ten a method is nearer, mean over both pairs of populations."""
    ratios = [
        math.log10(
            getattr(t[baseline].at(f"inputs={place}"), metric)
            / getattr(t[method].at(f"inputs={place}"), metric)
        )
        for place in DISTANCES
    ]
    return float(np.mean(ratios))


CLAIMS = (
    Claim(
        "Gradient ascent collapses where NPO does not: with the paper's learning rates its "
        "divergence on what is kept is larger after the last step.",
        lambda t: _gain(t, "retain_divergence", "NPO", "GA"),
        smallest_effect=0.1,
        unit="powers of ten",
    ),
    Claim(
        "The progression toward collapse is exponentially slower: under NPO the weights go like "
        "log t, and not like t, as they do by equal steps under gradient ascent.",
        lambda t: t["NPO"].r2_of_log_t - t["NPO"].r2_of_t,
        unit="difference of R squared",
    ),
    Claim(
        "NPO forgets at a lower cost than gradient ascent, each where a user would stop: it is "
        "nearer to the model that never saw what is forgotten.",
        lambda t: _gain(t, "chosen_distance", "NPO", "GA"),
        smallest_effect=0.05,
        unit="powers of ten",
    ),
    Claim(
        "With cross-entropy on what is kept, too, NPO is nearer than gradient ascent.",
        lambda t: _gain(t, "chosen_distance", "NPO+RT", "GA+RT"),
        smallest_effect=0.05,
        unit="powers of ten",
    ),
)

FIGURES = (
    *(
        Figure(
            f"{kind}_divergence",
            over="step",
            where=f"inputs={place}",
            title=f"Divergence on what is {told}, {place}, the paper's learning rates",
            unit="nats",
        )
        for place in DISTANCES
        for kind, told in (("forget", "forgotten"), ("retain", "kept"))
    ),
    *(
        Figure(
            "chosen_distance",
            arms=METHODS,
            where=f"inputs={place}",
            title=f"Distance where a user would stop, {place}",
            unit="nats",
        )
        for place in DISTANCES
    ),
    Figure("moved", over="step", title="How far the weights have gone by equal steps", unit=""),
)


@dataclass(frozen=True)
class Course:
    """What was measured on the way of one method at K learning rates, else of shape [times, K].

    Attributes:
        steps: at which steps.
        weights: the weights at the end, shape [F, K].
        forget: divergence on inputs of what is to be forgotten.
        retain: divergence on inputs of what is kept.
        likelihood: mean log-probability of the labels to be forgotten.
        validation: cross-entropy on held-out examples of what is kept.
        moved: distance of the weights from where they began.
    """

    steps: NDArray[np.int64]
    weights: torch.Tensor
    forget: NDArray[np.float64]
    retain: NDArray[np.float64]
    likelihood: NDArray[np.float64]
    validation: NDArray[np.float64]
    moved: NDArray[np.float64]

    def chosen(self) -> tuple[int, int]:
        """The time and the learning rate at which a user would stop."""
        forgotten = self.likelihood <= CHANCE
        score = np.where(forgotten, self.validation, np.inf)
        place = (score if forgotten.any() else self.likelihood).argmin()
        time, rate = np.unravel_index(place, score.shape)
        return int(time), int(rate)


def study(seed: int, budget: Budget) -> Iterator[Measurement]:
    """All methods at all learning rates on both pairs of populations; then the long runs."""
    steps = budget.pick(smoke=40, full=2000)
    sizes = budget.pick(
        smoke={"retain": 200, "forget": 40, "test": 100},
        full={"retain": 1000, "forget": 200, "test": 1000},
    )
    for place, distance in DISTANCES.items():
        task = forgetting_task(seed, distance, **sizes)
        before = _divergence(task.test_retain, task.target[:, None], task.start[:, None])
        yield Measurement("before", "retain_divergence", float(before), f"inputs={place}")
        for method in METHODS:
            course = _descend(
                task, method, RATES, _beta(method, place), steps, steps // EVALUATIONS
            )
            yield from _report(method, place, course)
            if method == "NPO":
                yield from _report_memory(task, place, course)
        if place == "apart":
            yield from _report_growth(task, 5 * steps)


def _beta(method: str, place: str) -> float:
    return BETAS.get(method.removesuffix("+RT"), {}).get(place, 1.0)


def _paper_rate(method: str, place: str) -> int:
    """The place of the authors' learning rate among all."""
    rates = PAPER_RATES.get(method) or PAPER_RATES[method.removesuffix("+RT")]
    return RATES.index(rates[place])


def _descend(
    task: ForgettingTask, method: str, rates: tuple[float, ...], beta: float, steps: int, every: int
) -> Course:
    """Gradient descent by one method, at all learning rates at once."""
    loss = _loss(task, method, beta, len(rates))
    weights = task.start[:, None].repeat(1, len(rates)).requires_grad_()
    sizes = torch.tensor(rates, dtype=torch.float64)
    rows = []
    for step in range(steps + 1):
        if step % every == 0:
            rows.append(_measure(task, weights.detach()))
        if step < steps:
            (gradient,) = torch.autograd.grad(loss(weights), weights)
            with torch.no_grad():
                weights -= sizes * gradient
    columns = torch.stack(rows).permute(1, 0, 2).numpy()
    return Course(np.arange(0, steps + 1, every), weights.detach(), *columns)


def _loss(
    task: ForgettingTask, method: str, beta: float, count: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The sum of a method's losses of so many models, from their weights [F, count]."""
    kind, _, retain = method.partition("+")
    refusal = Sample(task.forget.features, task.random)
    start = task.start[:, None]
    reference, refused = (
        one.logp(start).expand(-1, count).flatten() for one in (task.forget, refusal)
    )

    def forget(weights: torch.Tensor) -> torch.Tensor:
        if kind == "IDK":
            return -refusal.logp(weights).mean()
        logp = task.forget.logp(weights).flatten()
        if kind == "GA":
            return gradient_ascent(logp)
        if kind == "NPO":
            return npo(logp, reference, beta=beta)
        other = refusal.logp(weights).flatten()
        return dpo_to_refusal(other, logp, refused, reference, beta=beta)

    def loss(weights: torch.Tensor) -> torch.Tensor:
        kept = -task.retain.logp(weights).mean() if retain else 0.0
        return count * (forget(weights) + kept)

    return loss


def _divergence(sample: Sample, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mean divergence of models [F, K] from the target [F, 1], shape [K]."""
    logits = [sample.features @ one for one in (weights, target.expand_as(weights))]
    now, then = (torch.stack([one, torch.zeros_like(one)], dim=-1) for one in logits)
    return kl_divergence(now, then).mean(dim=0)


def _measure(task: ForgettingTask, weights: torch.Tensor) -> torch.Tensor:
    """The columns of a :class:`Course` at one step, shape [5, K]."""
    target = task.target[:, None]
    return torch.stack(
        [
            _divergence(task.test_forget, target, weights),
            _divergence(task.test_retain, target, weights),
            task.forget.logp(weights).mean(dim=0),
            -task.validation.logp(weights).mean(dim=0),
            (weights - task.start[:, None]).norm(dim=0),
        ]
    )


def _report(method: str, place: str, course: Course) -> Iterator[Measurement]:
    """Divergences with the paper's learning rate, and the distance with the chosen one."""
    group, paper = f"inputs={place}", _paper_rate(method, place)
    for kind in ("forget", "retain"):
        values = getattr(course, kind)[:, paper]
        for step, value in list(zip(course.steps, values, strict=True))[::4]:
            yield Measurement(method, f"{kind}_divergence", float(value), f"{group}, step={step}")
        yield Measurement(method, f"{kind}_divergence", float(values[-1]), group)
    (time, rate), distances = course.chosen(), course.forget + course.retain
    yield Measurement(method, "chosen_rate", RATES[rate], group)
    yield Measurement(method, "chosen_step", float(course.steps[time]), group)
    yield Measurement(method, "chosen_distance", float(distances[time, rate]), group)
    yield Measurement(method, "nearest_distance", float(distances.min()), group)


def _report_memory(task: ForgettingTask, place: str, course: Course) -> Iterator[Measurement]:
    """The weight of NPO with the paper's learning rate: its mean, and which examples keep it."""
    paper, group = _paper_rate("NPO", place), f"inputs={place}"
    now, before, without = (
        task.forget.logp(weights[:, None])[:, 0]
        for weights in (course.weights[:, paper], task.start, task.target)
    )
    weight = npo_weight(now, before, beta=_beta("NPO", place))
    yield Measurement("NPO", "remaining_memory", float(weight.mean()), group)
    likely = rank_correlation(weight.numpy(), without.numpy())
    yield Measurement("NPO", "memory_by_likelihood_without", likely, group)


def _report_growth(task: ForgettingTask, steps: int) -> Iterator[Measurement]:
    """How the weights go by equal steps of both methods, over the second half of a long run."""
    every = steps // 100
    for method in ("GA", "NPO"):
        course = _descend(task, method, (EQUAL_RATE,), 1.0, steps, every)
        half = len(course.steps) // 2
        moved, late = course.moved[:, 0], course.steps[half:]
        for step, value in list(zip(course.steps, moved, strict=True))[::10]:
            yield Measurement(method, "moved", float(value), f"step={step}")
        for name, time in (("t", late), ("log_t", np.log(late))):
            r = np.corrcoef(time, moved[half:])[0, 1]
            yield Measurement(method, f"r2_of_{name}", float(r**2))
