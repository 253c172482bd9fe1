"""Preferences without a reference, and both sides of a batch read together."""

import math

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.language.log_probabilities import sequence_log_probabilities
from gradatim.language.response_examples import PreferenceExamples
from gradatim.language.sampling import as_responses
from gradatim.networks.decoder import SmallDecoder
from gradatim.objectives.preference import dpo
from gradatim.recipes.iterative_dpo import PreferenceTuning
from gradatim.training.fit import fit

PROMPTS, CHOSEN, REJECTED = [[1], [2, 3]], [[4, 5], [6]], [[7], [5, 5, 5, 4, 4, 6]]


def decoder(seed=0):
    torch.manual_seed(seed)
    return SmallDecoder(9, hidden_size=16, layers=2, heads=2)


def pairs(**rows):
    return PreferenceExamples(PROMPTS, as_responses(CHOSEN), as_responses(REJECTED), rows=rows)


def log_probability(model, prompt, response):
    """The mean over the response's tokens, read alone."""
    ids = torch.tensor([prompt + response])
    scores = model.logits(model(ids, ids > 0))[0].log_softmax(dim=1).detach()
    places = range(len(prompt) - 1, len(prompt) + len(response) - 1)
    return sum(float(scores[p, ids[0, p + 1]]) for p in places) / len(response)


@pytest.mark.parametrize(("margin", "gamma"), [(None, 1.5), (0.0, 0.0), (0.7, 0.7)])
def test_simpo_by_hand(margin, gamma):
    model = decoder()
    tuning = PreferenceTuning(3.0, variant="simpo", target_margin=margin)
    loss = tuning.step(model, pairs()[[0, 1]], None)
    total, won = 0.0, 0
    for prompt, chosen, rejected in zip(PROMPTS, CHOSEN, REJECTED, strict=True):
        good, bad = (log_probability(model, prompt, one) for one in (chosen, rejected))
        total += math.log1p(math.exp(-(3.0 * (good - bad) - gamma)))
        won += good > bad
    assert float(loss.sum.detach()) == pytest.approx(total, rel=1e-5)
    assert loss.count == 2 and float(loss.logs["preferred"]) == won / 2


def test_simpo_learns_without_a_reference():
    model = decoder()
    tuning = PreferenceTuning(2.0, variant="simpo")
    adam = torch.optim.Adam(model.parameters(), 0.01)
    result = fit(model, pairs(), tuning.step, optimizer=adam, steps=30, progress_bar=False)
    assert result.history[-1]["preferred"] == 1.0
    for prompt, chosen, rejected in zip(PROMPTS, CHOSEN, REJECTED, strict=True):
        good, bad = (log_probability(model, prompt, one) for one in (chosen, rejected))
        assert good - bad > 0.5


@pytest.mark.parametrize("reverse", [False, True])
def test_sides_of_unequal_width_are_as_if_read_apart(reverse):
    model = decoder()
    reference = {f"{side}_reference": torch.tensor([-4.0, -2.0]) for side in ("chosen", "rejected")}
    batch = pairs(**reference)[[0, 1]]
    if reverse:
        swapped = {"chosen": "rejected", "rejected": "chosen"}
        batch = {
            f"{swapped[side]}_{rest}": values
            for side, rest, values in ((*name.split("_", 1), v) for name, v in batch.items())
        }
    loss = PreferenceTuning(0.3).step(model, batch, None).sum
    grads = torch.autograd.grad(loss, list(model.parameters()))
    sides = [
        sequence_log_probabilities(
            model, *(batch[f"{side}_{name}"] for name in ("ids", "mask", "response"))
        )
        for side in ("chosen", "rejected")
    ]
    expected = dpo(*sides, *reference.values(), beta=0.3, reduction="sum")
    torch.testing.assert_close(loss, expected)
    others = torch.autograd.grad(expected, list(model.parameters()))
    for one, other in zip(grads, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_bad_settings():
    with pytest.raises(InputError, match="target_margin: expected None for variant 'dpo'"):
        PreferenceTuning(target_margin=1.0)
    with pytest.raises(InputError, match="target_margin"):
        PreferenceTuning(variant="simpo", target_margin=-1.0)
    with pytest.raises(InputError, match="variant: expected one of dpo, ipo, simpo"):
        PreferenceTuning(variant="orpo")
