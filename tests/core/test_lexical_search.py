"""BM25 against its formula, term by term, and against sorting everything."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core import lexical_search
from gradatim.core.errors import InputError
from gradatim.core.lexical_search import BM25, words


def brute_force(documents, queries, k1, b):
    """The formula in double precision, word by word."""
    texts = [words(text) for text in documents]
    mean = sum(map(len, texts)) / len(texts)
    scores = np.zeros((len(queries), len(texts)))
    for row, query in enumerate(queries):
        for word in words(query):
            held = sum(word in text for text in texts)
            inverse = math.log(1 + (len(texts) - held + 0.5) / (held + 0.5))
            for column, text in enumerate(texts):
                f = text.count(word)
                if f:
                    slowed = f + k1 * (1 - b + b * len(text) / mean)
                    scores[row, column] += inverse * f / slowed
    return scores


TEXTS = st.lists(st.sampled_from(["a", "bee", "cat", "Dog", "egg"]), max_size=8).map(" ".join)


@given(
    st.lists(TEXTS, min_size=1, max_size=12).filter(lambda texts: any(map(words, texts))),
    st.lists(TEXTS, min_size=1, max_size=4),
    st.sampled_from([0.0, 0.9, 2.0]),
    st.sampled_from([0.0, 0.4, 1.0]),
    st.data(),
)
def test_scores_equal_the_formula(documents, queries, k1, b, data):
    k = data.draw(st.integers(1, len(documents)))
    index = BM25(k1, b).fit(documents)
    found = index.search(queries, k)
    wanted = brute_force(documents, queries, k1, b)
    assert found.scores.shape == found.index.shape == (len(queries), k)
    best = -np.sort(-wanted, axis=1)[:, :k]
    np.testing.assert_allclose(found.scores.numpy(), best, rtol=1e-5, atol=1e-6)
    at = np.take_along_axis(wanted, found.index.numpy(), 1)
    np.testing.assert_allclose(found.scores.numpy(), at, rtol=1e-5, atol=1e-6)
    assert all(len(set(row)) == k for row in found.index.tolist())
    everything = np.tile(np.arange(len(documents)), (len(queries), 1))
    scored = index.scores(queries, everything)
    np.testing.assert_allclose(scored.scores.numpy(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("block", [1, 1 << 24])
def test_equal_scores_and_what_is_not_found_are_in_the_order_of_the_corpus(block, monkeypatch):
    monkeypatch.setattr(lexical_search, "_BLOCK", block)
    index = BM25().fit(["x", "a b", "y", "a b", "", "b a"])
    found = index.search(["a", "nothing", "x"], k=5)
    assert found.index.tolist() == [[1, 3, 5, 0, 2], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]
    assert (found.scores[0] > 0).tolist() == [True] * 3 + [False] * 2
    assert not found.scores[1].any()
    given_places = torch.tensor([[5, 4], [0, 0], [0, 1]])
    scored = index.scores(["a", "nothing", "x"], given_places)
    assert torch.equal(scored.index, given_places)
    assert (scored.scores > 0).tolist() == [[True, False], [False, False], [True, False]]


def test_rare_words_weigh_more_and_repetition_saturates():
    index = BM25(k1=1.2, b=0.0).fit(["a rare", "a", "a a a a", "a"])
    scores = index.scores(["rare", "a"], [[0], [0]]).scores
    assert scores[0] > scores[1] > 0
    once, often = index.scores(["a"], [[1, 2]]).scores[0]
    assert once < often < 2.2 * once


def test_words_of_the_query_count_as_often_as_they_stand_there():
    index = BM25().fit(["a b", "b c"])
    torch.testing.assert_close(
        index.scores(["a a"], [[0]]).scores, 2 * index.scores(["a"], [[0]]).scores
    )


def test_another_tokenizer():
    index = BM25(tokenize=lambda text: [text[i : i + 3] for i in range(len(text) - 2)])
    assert index.fit(["running", "walking far"]).search(["runner"], 1).index.tolist() == [[0]]


def test_fitting_again_forgets():
    index = BM25().fit(["a", "b"])
    assert index.fit(["c", "a", "d"]).search(["a"], 1).index.tolist() == [[1]]
    assert set(index.vocabulary) == {"a", "c", "d"}


def test_no_queries():
    assert BM25().fit(["a"]).search([], 1).index.shape == (0, 1)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: BM25(k1=-1), "k1: expected a number"),
        (lambda: BM25(b=1.5), "b: expected a number"),
        (lambda: BM25().fit([]), "documents: expected texts with words, got 0 without"),
        (lambda: BM25().fit(["", "?!"]), "documents: expected texts with words, got 2 without"),
        (lambda: BM25().fit("a text"), "expected a list of texts, got one text"),
        (lambda: BM25().search(["a"], 1), "documents: expected fit"),
        (lambda: BM25().fit(["a"]).search(["a"], 0), "k: expected a number from 1 to 1"),
        (lambda: BM25().fit(["a"]).search(["a"], 2), "k: expected a number from 1 to 1"),
        (lambda: BM25().fit(["a"]).scores(["a"], [[1]]), "index: expected positions from 0 to 0"),
        (lambda: BM25().fit(["a"]).scores(["a"], [0]), r"index: expected integers of shape \[1, E"),
        (lambda: BM25().fit(["a"]).scores(["a"], [[0.5]]), "index: expected integers"),
    ],
)
def test_bad_input(act, message):
    with pytest.raises(InputError, match=message):
        act()
