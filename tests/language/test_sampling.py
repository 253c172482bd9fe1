"""Sampling against loops written out, exact probabilities and counts."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from scipy import stats

from gradatim.core.errors import InputError
from gradatim.language.causal_lm import CausalLM
from gradatim.language.log_probabilities import token_log_probabilities
from gradatim.language.reading import read_responses
from gradatim.language.sampling import (
    Responses,
    as_responses,
    join_responses,
    left_padded,
    right_padded,
    sample,
)
from gradatim.networks.decoder import SmallDecoder

sequences = st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=0, max_size=5)


class Bigrams(CausalLM):
    """The next token depends on the last one alone: logits are rows of a table.

    Remembers how many rows each step of decoding saw.
    """

    def __init__(self, table, context_length=None):
        super().__init__()
        self.table = torch.nn.Parameter(table)
        self.vocabulary_size = self.hidden_size = len(table)
        self.context_length = context_length
        self.begun, self.seen = [], []

    def forward(self, ids, mask):
        return torch.nn.functional.one_hot(ids, len(self.table)).float()

    def logits(self, hidden):
        return hidden @ self.table

    def begin(self, ids, mask, copies, longest):
        self.begun.append((len(ids), copies, ids.shape[1]))
        rows = ids[:, -1].repeat_interleave(copies)
        return self.table[rows], _Rows(self, len(rows))


class _Rows:
    def __init__(self, model, count):
        self.model, self.count = model, count

    def advance(self, tokens):
        assert len(tokens) == self.count
        self.model.seen.append(len(tokens))
        return self.model.table[tokens]

    def keep(self, rows):
        self.count = len(rows)


def chain(size=7, longest=12):
    """Token k is followed by k + 1, and the last one by 0: a deterministic model."""
    table = torch.full((size, size), -torch.inf)
    table[torch.arange(size), (torch.arange(size) + 1) % size] = 0.0
    return Bigrams(table)


def decoder():
    torch.manual_seed(0)
    model = SmallDecoder(
        12, hidden_size=16, window=3, embedding_size=8, decoding_dtype=torch.float32
    )
    torch.nn.init.normal_(model.head.weight, std=0.6)
    return model


def naive_greedy(model, prompt, longest, stop):
    text = list(prompt)
    while len(text) < len(prompt) + longest:
        ids = torch.tensor([text])
        text.append(int(model.logits(model(ids, torch.ones_like(ids) > 0))[0, -1].argmax()))
        if text[-1] in stop:
            break
    return text[len(prompt) :]


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 100])
def test_greedy_equals_a_naive_loop_whatever_the_order_and_length_of_prompts(batch_rows):
    model = decoder()
    prompts = [[1], [2, 3, 4, 5, 6], [7, 8], [1, 1, 1], [9, 2, 5, 5]]
    for stop in ((), (3, 7)):
        found = sample(model, prompts, longest=9, stop=stop, temperature=0, batch_rows=batch_rows)
        expected = [naive_greedy(model, prompt, 9, stop) for prompt in prompts]
        assert found.lists() == expected
        assert found.finished.tolist() == [text[-1] in stop for text in expected]
        assert found.prompt.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("copies", "batch_rows"), [(1, 8), (7, 3), (3, 7), (5, 5), (4, 1)])
def test_copies_may_be_split_and_stay_with_their_prompt(copies, batch_rows):
    model = chain()
    prompts = [[0, 1], [4], [0, 0, 3], [2]]
    found = sample(model, prompts, copies=copies, longest=3, batch_rows=batch_rows)
    expected = [[(p[-1] + k) % 7 for k in (1, 2, 3)] for p in prompts for _ in range(copies)]
    assert found.lists() == expected
    assert found.prompt.tolist() == [p for p in range(4) for _ in range(copies)]
    assert all(count * rows <= max(batch_rows, 1) for count, rows, _ in model.begun)
    assert sum(count * rows for count, rows, _ in model.begun) == 4 * copies


def test_prompts_of_like_length_are_read_together():
    model = chain()
    sample(model, [[1] * length for length in (1, 9, 2, 8)], longest=1, batch_rows=2)
    assert [width for _, _, width in model.begun] == [9, 2]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_are_those_of_softmax(temperature):
    logits = torch.tensor([[2.0, 0.0, 1.0, -1.0, 0.5]]).repeat(5, 1)
    found = sample(
        Bigrams(logits), [[0]], copies=8000, longest=2, temperature=temperature, batch_rows=8000
    )
    expected = (logits[0] / temperature).softmax(dim=0).double().numpy()
    for place in range(2):
        counts = np.bincount(found.tokens[:, place], minlength=5)
        assert stats.chisquare(counts, 8000 * expected / expected.sum()).pvalue > 1e-4
    pairs = np.zeros((5, 5))
    np.add.at(pairs, tuple(found.tokens.numpy().T), 1)
    assert stats.chi2_contingency(pairs).pvalue > 1e-4


def kept_by(logits, top_k, top_p):
    """Brute force: the tokens that may be drawn, with their probabilities."""
    order = sorted(range(len(logits)), key=lambda token: -logits[token])
    if top_k is not None:
        order = order[:top_k]
    weights = np.exp([logits[token] for token in order])
    probabilities = weights / weights.sum()
    chosen, total = [], 0.0
    for token, probability in zip(order, probabilities, strict=True):
        if top_p is not None and total >= top_p:
            break
        chosen.append(token)
        total += probability
    result = np.zeros(len(logits))
    result[chosen] = np.exp([logits[token] for token in chosen])
    return result / result.sum()


@pytest.mark.parametrize("top_k", [None, 1, 3, 50])
@pytest.mark.parametrize("top_p", [None, 0.05, 0.7, 1.0])
def test_top_k_and_top_p_against_brute_force(top_k, top_p):
    logits = [0.3, 2.0, 1.1, -0.4, 1.0, -2.0]
    found = sample(
        Bigrams(torch.tensor([logits] * 6)), [[0]], copies=3000, longest=1,
        top_k=top_k, top_p=top_p, batch_rows=3000,
    )  # fmt: skip
    expected = kept_by(logits, top_k, top_p)
    counts = np.bincount(found.tokens[:, 0], minlength=6)
    assert not counts[expected == 0].any()
    if (expected > 0).sum() > 1:
        assert stats.chisquare(counts[expected > 0], 3000 * expected[expected > 0]).pvalue > 1e-4


def test_top_k_keeps_k_tokens_also_where_logits_are_equal():
    found = sample(Bigrams(torch.zeros(6, 6)), [[0]], copies=500, longest=1, top_k=2)
    assert len(set(found.tokens.flatten().tolist())) == 2


def test_recorded_log_probabilities_are_those_of_the_model_at_temperature_one():
    model, prompts = decoder(), [[1, 2, 3], [4]]
    found = sample(
        model, prompts, copies=5, longest=8, stop=[0, 1, 2], temperature=1.7, top_k=6, seed=3
    )
    assert 0 < int(found.lengths.min()) < int(found.lengths.max())

    def read(ids, mask):
        return token_log_probabilities(model, ids, mask)

    expected = read_responses(model, read, prompts, found, dtype=torch.float32)
    torch.testing.assert_close(found.log_probabilities, expected, rtol=1e-4, atol=1e-5)
    assert not found.log_probabilities[~found.mask].any() and not found.tokens[~found.mask].any()


def test_ends_lengths_and_flags():
    model = chain()
    found = sample(model, [[3], [0], [5]], longest=4, stop=[6])
    assert found.lists() == [[4, 5, 6], [1, 2, 3, 4], [6]]
    assert found.lengths.tolist() == [3, 4, 1]
    assert found.finished.tolist() == [True, False, True]
    assert found.mask.sum(dim=1).tolist() == [3, 4, 1]
    assert found.tokens.shape == (3, 4)
    at_the_limit = sample(model, [[3]], longest=3, stop=[6])
    assert at_the_limit.finished.tolist() == [True]
    short = sample(model, [[5], [4]], longest=50, stop=[6])
    assert short.tokens.shape == (2, 2)  # no wider than the longest response
    picked = found.select(torch.tensor([2, 0]))
    assert picked.lists() == [[6], [4, 5, 6]] and picked.prompt.tolist() == [2, 0]
    assert len(picked) == 2


def test_a_function_of_its_arguments_and_the_seed():
    model = decoder()
    options = {"copies": 6, "longest": 8, "stop": [0]}
    first = sample(model, [[1], [2, 3]], seed=5, **options)
    torch.manual_seed(99)
    again = sample(model, [[1], [2, 3]], seed=5, **options)
    assert torch.equal(first.tokens, again.tokens)
    other = sample(model, [[1], [2, 3]], seed=6, **options)
    assert first.lists() != other.lists()
    assert len({tuple(text) for text in first.lists()[:6]}) > 1  # copies are drawn apart


def test_batches_are_drawn_apart():
    found = sample(Bigrams(torch.zeros(7, 7)), [[0]], copies=8, longest=20, batch_rows=4).lists()
    assert found[:4] != found[4:] and len(set(map(tuple, found))) == 8


def test_finished_rows_are_dropped():
    model = chain(40)
    prompts = [[39 - length] for length in range(1, 33)]  # the response of row i has i + 1 tokens
    found = sample(model, prompts, longest=39, stop=[39])
    lengths = found.lengths.sort().values.tolist()
    assert lengths == list(range(1, 33))
    unfinished = [sum(length > step for length in lengths) for step in range(1, 32)]
    assert len(model.seen) == len(unfinished)  # and none is read after the last has ended
    for seen, needed in zip(model.seen, unfinished, strict=True):
        assert needed <= seen <= max(needed / 0.875 + 1, needed)
    assert sum(model.seen) < 0.6 * 32 * 31


def test_mode_and_weights_are_left_alone():
    model = decoder().train()
    sample(model, [[1]], longest=2)
    assert model.training and all(w.grad is None for w in model.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": [[1], []]}, "got none in prompt 1"),
        ({"prompts": [[1], [1] * 6]}, r"prompt 1 has 6 tokens, .*longest=5 .*context of 10"),
        ({"copies": 0}, "copies: expected"),
        ({"longest": 0}, "longest: expected"),
        ({"batch_rows": 0}, "batch_rows: expected"),
        ({"temperature": -1.0}, "temperature: expected"),
        ({"temperature": float("nan")}, "temperature: expected"),
        ({"top_k": 0}, "top_k: expected"),
        ({"top_p": 0.0}, "top_p: expected"),
        ({"top_p": 1.5}, "top_p: expected"),
        ({"stop": [7]}, r"stop: expected tokens in \[0, 7\), got 7"),
    ],
)
def test_wrong_arguments(options, message):
    model = chain()
    model.context_length = 10
    with pytest.raises(InputError, match=message):
        sample(model, **{"prompts": [[1], [1] * 5], "longest": 5, **options})
    assert not model.begun


def test_the_context_may_be_filled():
    model = chain()
    model.context_length = 10
    assert sample(model, [[1] * 5], longest=5).lengths.tolist() == [5]


def test_no_prompts():
    found = sample(chain(), [], longest=3)
    assert found.tokens.shape == (0, 0) and len(found) == 0 and found.lists() == []


@given(sequences)
def test_padding_against_naive_construction(rows):
    width = max(map(len, rows), default=0)
    for function, expected in (
        (left_padded, [[0] * (width - len(row)) + row for row in rows]),
        (right_padded, [row + [0] * (width - len(row)) for row in rows]),
    ):
        ids, mask = function(rows)
        assert ids.dtype == torch.long and ids.shape == mask.shape == (len(rows), width)
        assert ids.tolist() == expected
        assert [ids[i][mask[i]].tolist() for i in range(len(rows))] == rows


@given(sequences)
def test_as_responses(rows):
    found = as_responses(rows)
    assert found.lists() == rows and found.prompt.tolist() == list(range(len(rows)))
    assert found.finished.all() and not found.log_probabilities.any()


@given(st.lists(sequences, min_size=1, max_size=4))
def test_join_responses(sets):
    parts = []
    for number, rows in enumerate(sets):
        responses = as_responses(rows)
        backwards = responses.select(torch.arange(len(rows)).flip(0))
        parts.append(([[number, row] for row in range(len(rows))], backwards))
    prompts, joined = join_responses(parts)
    expected = [([n, r], text) for n, rows in enumerate(sets)
                for r, text in reversed(list(enumerate(rows)))]  # fmt: skip
    found = [(prompts[p], text)
             for p, text in zip(joined.prompt.tolist(), joined.lists(), strict=True)]  # fmt: skip
    assert found == expected
    assert isinstance(joined, Responses) and joined.tokens.dtype == torch.long


def test_join_nothing():
    with pytest.raises(InputError, match="parts: expected at least one"):
        join_responses([])
