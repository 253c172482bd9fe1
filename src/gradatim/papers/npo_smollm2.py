"""Negative preference optimization against gradient ascent on SmolLM2-135M-Instruct.

The model is tuned on facts about invented persons until it knows them, and is then to forget those
of half of the persons, in updates of all its weights, each on all that is to be forgotten. Either
loss has the same learning rate and AdamW, whose steps have about the same length whatever the size
of the gradient. Collapse is read from docstrings, the same with every seed, on which nothing was
trained: the growth of the model's loss a token, when the answers are first forgotten and at the
end.

Neither loss is told what is to be kept. With a rate of 5e-5 and ten updates both methods did the
same on seed 0; the rate was doubled for both and the updates made 16. There docstrings rose as much
by either, while the answers about the other persons were lost by gradient ascent far more; the
third claim was added for that, and the first two are as they were. Questions are asked without the
chat template, to keep sequences short. Losses are read in the precision of training, bfloat16 where
the processor multiplies it. Reported beside the claims: the probability of forgotten answers and
the loss on kept ones, from update to update.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from gradatim.recipes.unlearning import Unlearner, UnlearningStep
from gradatim.recipes.unlearning_guard import Watch
from gradatim.studies.claims import Budget, Claim, Measurement, SeedTable
from gradatim.studies.data.invented_persons import (
    InventedPersons,
    Pair,
    invented_persons,
)
from gradatim.studies.data.taught_models import pupil
from gradatim.studies.plots import Figure

POPULATION = (
    "SmolLM2-135M-Instruct, tuned on five facts about each of eight invented persons; four persons "
    "forgotten in 16 updates of all weights"
)
METHODS = {"GA": "ga", "NPO": "npo"}
RATE, BETA, UPDATES, EVERY = 1e-4, 0.1, 16, 2
FORGOTTEN = 0.05
"""Mean probability a token below which the answers are called forgotten."""


def _gain(t: SeedTable, metric: str) -> float:
    """By how much less the loss on docstrings has risen."""
    return float(getattr(t["GA"], metric) - getattr(t["NPO"], metric))


CLAIMS = (
    Claim(
        "After the same updates docstrings have become less unlikely by NPO than by gradient "
        "ascent.",
        lambda t: _gain(t, "rise_at_end"),
        smallest_effect=0.05,
        unit="nats a token",
    ),
    Claim(
        "When the answers are first forgotten, docstrings have become less unlikely by NPO than by "
        "gradient ascent.",
        lambda t: _gain(t, "rise_when_forgotten"),
        smallest_effect=0.05,
        unit="nats a token",
    ),
    Claim(
        "After the same updates answers that are to be kept have become less unlikely by NPO than "
        "by gradient ascent.",
        lambda t: float(t["GA"].retain_loss_at_end - t["NPO"].retain_loss_at_end),
        smallest_effect=0.5,
        unit="nats a token",
    ),
)

FIGURES = (
    Figure("sentence_loss", over="update", title="Loss on docstrings", unit="nats a token"),
    Figure(
        "forget_probability",
        over="update",
        title="Probability of the answers to be forgotten",
        unit="mean probability a token",
    ),
    Figure("retain_loss", over="update", title="Loss on answers to be kept", unit="nats a token"),
)


def study(seed: int, budget: Budget) -> Iterator[Measurement]:
    """Teach, and forget by each method."""
    persons = invented_persons(
        seed,
        {"forget": 4, "retain": 4},
        sentences=budget.pick(smoke={"read": 4}, full={}),
        frequent=100,
        most_files=10,
    )
    taught = pupil(budget.pick(smoke="words", full="smollm2"), persons, seed)
    taught.teach(
        [*_pairs(persons, "forget"), *_pairs(persons, "retain")],
        epochs=budget.pick(smoke=10, full=10),
        batch_size=10,
        lr=budget.pick(smoke=5e-3, full=1e-4),
        seed=seed,
    )
    before = taught.weights()
    forget, retain = (taught.examples(_pairs(persons, part)) for part in ("forget", "retain"))
    text = Watch(taught.sentences(budget.pick(smoke=4, full=32)), dtype=taught.dtype)

    def read(model: Any, _: Any = None) -> Mapping[str, float]:
        return {"sentence_loss": text.figures(model)["forget_loss"]}

    for arm, method in METHODS.items():
        taught.model.load_state_dict(before)
        first = read(taught.model)
        unlearner = Unlearner(
            UnlearningStep(method, beta=BETA), lr=budget.pick(smoke=5e-3, full=RATE), warmup=0.0,
            epochs=budget.pick(smoke=4, full=UPDATES), batch_size=len(forget),
            evaluate_every=budget.pick(smoke=1, full=EVERY), perplexity_growth=None,
            precision=taught.precision, seed=seed,
        )  # fmt: skip
        outcome = unlearner.fit(taught.model, forget, retain, evaluate=read)
        yield from _measured(arm, [{**outcome.curve[0], **first}, *outcome.curve[1:]])


def _measured(arm: str, curve: list[dict[str, float]]) -> Iterator[Measurement]:
    """The curve, and what is judged; one that never forgets is judged by its end."""
    for row in curve:
        for name in ("sentence_loss", "forget_probability", "retain_loss"):
            yield Measurement(arm, name, row[name], f"update={int(row['step'])}")
    start, end = curve[0]["sentence_loss"], curve[-1]
    there = next((row for row in curve if row["forget_probability"] < FORGOTTEN), end)
    yield Measurement(arm, "rise_at_end", end["sentence_loss"] - start)
    yield Measurement(arm, "retain_loss_at_end", end["retain_loss"])
    yield Measurement(arm, "rise_when_forgotten", there["sentence_loss"] - start)
    yield Measurement(arm, "update_when_forgotten", there["step"])


def _pairs(persons: InventedPersons, part: str) -> list[Pair]:
    """Each fact asked for in the first way."""
    return [(fact.questions[0], fact.answer) for fact in persons.facts[part]]
