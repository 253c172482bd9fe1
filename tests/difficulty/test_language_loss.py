"""Figures of completions against full logits, written out by hand."""

import math

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.difficulty.language_loss import (
    batches_of_like_length,
    completion_difficulty,
    score_completions,
)
from gradatim.language.transformers_lm import TransformersLM
from gradatim.networks.decoder import SmallDecoder
from tests.language.tiny_models import tiny_model

SEQUENCES = [[3, 4, 5, 6], [1, 2], [2, 2, 2, 2, 2, 2, 2, 2, 2], [9, 8, 7]]
COMPLETIONS = [[False, False, True, True], [False, True], [True] * 9, [False, False, False]]
NAMES = ("loss", "confidence", "margin", "entropy")


def decoder():
    torch.manual_seed(1)
    return SmallDecoder(10, hidden_size=8, layers=1)


def by_hand(model, ids, counted):
    """Each figure from the full distribution of each token, one sequence at a time."""
    with torch.no_grad():
        row = torch.tensor([ids])
        p = model.logits(model(row, torch.ones_like(row, dtype=torch.bool)))[0].double().softmax(-1)
    found = []
    for place in range(1, len(ids)):
        if counted[place]:
            now = p[place - 1]
            own = float(now[ids[place]])
            other = max(float(q) for token, q in enumerate(now) if token != ids[place])
            entropy = -sum(float(q) * math.log(float(q)) for q in now)
            found.append((-math.log(own), 1 - own, (1 + other - own) / 2, entropy))
    return [sum(one) / len(found) for one in zip(*found, strict=True)] if found else [math.nan] * 4


@pytest.mark.parametrize("batch_tokens", [1, 8, 1000])
@pytest.mark.parametrize("chunk_tokens", [1, 3, 512])
def test_equal_those_by_hand_whatever_the_batches(batch_tokens, chunk_tokens):
    model = decoder().train()
    found = score_completions(
        model, SEQUENCES, COMPLETIONS, batch_tokens=batch_tokens, chunk_tokens=chunk_tokens,
        dtype=torch.float32,
    )  # fmt: skip
    assert model.training and found.tokens.tolist() == [2, 1, 8, 0]
    model.eval()
    for row, (ids, counted) in enumerate(zip(SEQUENCES, COMPLETIONS, strict=True)):
        got = [float(getattr(found, name)[row]) for name in NAMES]
        assert got == pytest.approx(by_hand(model, ids, counted), abs=1e-5, nan_ok=True)


@pytest.mark.parametrize("kind", ["Llama", "Gemma2", "GPT-2"])
def test_models_of_transformers_and_padding_on_either_side(kind):
    model = TransformersLM(tiny_model(kind))
    ids, counted = [5, 9, 11, 20], [False, True, True, True]
    expected = by_hand(model, ids, counted)
    for pad in ((0, 2), (2, 0)):
        row = torch.nn.functional.pad(torch.tensor([ids]), pad)
        mask = torch.nn.functional.pad(torch.ones(1, 4), pad).bool()
        completion = torch.nn.functional.pad(torch.tensor([counted]), pad)
        found = completion_difficulty(model, row, mask, completion)
        got = [float(getattr(found, name)[0]) for name in NAMES]
        assert got == pytest.approx(expected, abs=2e-5)


class Certain(SmallDecoder):
    """Rules out all tokens but the next number."""

    def logits(self, hidden):
        z = super().logits(hidden)
        ruled_out = torch.full_like(z, -torch.inf)
        ruled_out[:, 3] = 0.0
        return ruled_out


def test_certainty_and_what_is_ruled_out():
    found = completion_difficulty(
        Certain(10, hidden_size=8, layers=1),
        torch.tensor([[1, 3, 3], [1, 3, 4]]),
        torch.ones(2, 3).bool(),
        torch.tensor([[False, True, True], [False, False, True]]),
    )
    for name in NAMES:
        assert float(getattr(found, name)[0]) == 0.0
    assert float(found.confidence[1]) == 1.0 and float(found.margin[1]) == 1.0
    assert float(found.entropy[1]) == 0.0 and found.loss[1] > 1e30


def test_batches_hold_each_row_once_within_the_budget():
    lengths = [5, 1, 9, 3, 3, 2]
    batches = list(batches_of_like_length(lengths, 10))
    assert sorted(row for batch in batches for row in batch) == list(range(6))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= 10
    assert batches[0] == [2] and list(batches_of_like_length([], 10)) == []


def test_nothing_to_score():
    assert score_completions(decoder(), [], []).loss.shape == (0,)


@pytest.mark.parametrize(
    ("sequences", "completions", "message"),
    [
        ([[1, 2]], [[True]], "completions, row 0"),
        ([[1], []], [[True], []], "completions, row 1"),
        ([[1]], [], "equal lengths"),
        ([[1] * 65], [[True] * 65], "row 0: expected at most 64 tokens"),
    ],
)
def test_errors_name_the_row(sequences, completions, message):
    model = TransformersLM(tiny_model())
    with pytest.raises(InputError, match=message):
        score_completions(model, sequences, completions)
