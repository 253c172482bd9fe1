"""Decoders that know facts about invented persons, and what they answer."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from gradatim.language.causal_lm import CausalLM
from gradatim.language.sampling import sample
from gradatim.metrics.forgetting import extraction, truth_ratio
from gradatim.networks.decoder import SmallDecoder
from gradatim.recipes.forget_retain import response_lengths, response_log_probabilities
from gradatim.recipes.supervised_tuning import SupervisedTuning
from gradatim.studies.data.invented_persons import (
    Fact,
    InventedPersons,
    Pair,
    answered,
    as_examples,
    continued,
)
from gradatim.training.batches import ShuffledBatches
from gradatim.training.fit import fit


def taught_decoder(
    persons: InventedPersons,
    groups: Sequence[str],
    *,
    hidden_size: int = 64,
    layers: int = 4,
    repeats: int = 8,
    epochs: int = 3,
    seed: int = 0,
) -> SmallDecoder:
    """A decoder that has learned the facts of some groups, and the sentences of "train".

    Args:
        persons: facts and sentences.
        groups: whose facts are learned.
        hidden_size: width of the decoder.
        layers: its blocks.
        repeats: how often each question occurs in an epoch, beside one occurrence of a sentence.
        epochs: passes over all.
        seed: what weights and order depend on.

    Returns:
        The decoder, in evaluation mode; it decodes in float32.
    """
    facts = [pair for group in groups for pair in answered(persons.facts[group])]
    examples = as_examples([*facts * repeats, *continued(persons.sentences["train"])])
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = SmallDecoder(
            len(persons.words), hidden_size=hidden_size, layers=layers, decoding_dtype=torch.float32
        )
    adam = torch.optim.AdamW(model.parameters(), 6e-3)
    batches = ShuffledBatches(len(examples), 64, seed=seed)
    total = epochs * len(batches)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        adam, lambda done: min(1, (done + 1) / 20) * (1 - done / total)
    )
    fit(
        model, examples, SupervisedTuning().step,
        optimizer=adam, schedulers=schedule, batches=batches, epochs=epochs, clip_norm=1.0,
        progress_bar=False,
    )  # fmt: skip
    return model.eval()


def greedy_answers(
    model: CausalLM, persons: InventedPersons, facts: Sequence[Fact]
) -> tuple[float, float]:
    """Shares of words of greedy answers that are right, and of answers of the right form.

    The end of an answer is not counted among its words.
    """
    asked = [(fact, question) for fact in facts for question in fact.questions]
    length, end = len(facts[0].answer), facts[0].answer[-1]
    given = sample(
        model, [question for _, question in asked], longest=length, stop=[end], temperature=0.0
    ).lists()
    right = extraction(given, [fact.answer[:-1] for fact, _ in asked]).positions.mean()
    formed = [persons.well_formed(fact, one) for (fact, _), one in zip(asked, given, strict=True)]
    return float(right), float(np.mean(formed))


def mean_log_probabilities(model: CausalLM, pairs: Sequence[Pair]) -> NDArray[np.float64]:
    """Mean log-probability a token of each response."""
    examples = as_examples(pairs)
    sums = response_log_probabilities(model, examples, dtype=torch.float32).double()
    return np.asarray((sums / response_lengths(examples)).numpy())


def truth_ratios(model: CausalLM, facts: Sequence[Fact]) -> NDArray[np.float64]:
    """Of each question, against all wrong answers but the first, which an assistant may know."""
    right = -mean_log_probabilities(model, answered(facts))
    wrong = -mean_log_probabilities(model, answered(facts, wrong=len(facts[0].wrong)))
    return truth_ratio(right, wrong.reshape(len(right), -1)[:, 1:])
