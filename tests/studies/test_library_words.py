"""Words of the standard library's docstrings: parts, windows, and the vocabulary."""

import numpy as np
import pytest

from gradatim.core.errors import InputError
from gradatim.studies.data.library_words import library_docstrings, word_contexts

SMALL = {"vocabulary": 100, "held_out": 200, "most_files": 10}


def test_docstrings_are_words_and_none_comes_twice():
    texts = library_docstrings(10)
    assert len({tuple(text) for text in texts}) == len(texts)
    assert all(word and word == word.lower() and " " not in word for text in texts for word in text)


def test_windows_follow_the_texts_and_words_are_numbered_by_frequency():
    data = word_contexts(0, **SMALL)
    contexts, words = data.contexts["train"], data.words["train"]
    assert contexts.shape == (len(words), 4)
    assert words.max() < data.size <= contexts.max() == 100
    counts = np.bincount(words, minlength=100)
    assert (np.diff(counts) <= 0).all()
    begin = (contexts == 100).all(1)
    follows = contexts[1:, :3] == contexts[:-1, 1:]
    held = follows.all(1) & (contexts[1:, 3] == words[:-1])
    assert held.mean() > 0.7  # where a word between two was left out, or a text begins, it is not
    assert begin.any()


def test_parts_are_drawn_by_the_seed():
    one, same, other = (word_contexts(seed, **SMALL) for seed in (0, 0, 1))
    for part in ("train", "validation", "test"):
        assert np.array_equal(one.words[part], same.words[part])
    assert not np.array_equal(one.words["test"], other.words["test"])
    assert len(one.words["test"]) > 100


def test_bad_input_is_told():
    with pytest.raises(InputError, match=r"vocabulary: expected at most \d+ words, got 100000"):
        word_contexts(0, vocabulary=100_000, most_files=10)
    with pytest.raises(InputError, match=r"order: expected a number in \[2, inf\), got 1"):
        word_contexts(0, order=1)
