import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.language.sampling import as_responses
from gradatim.studies.data import sorted_words
from gradatim.studies.data.sorted_words import (
    END,
    TOKENIZER,
    demonstrations,
    prompts,
    quality,
    rate,
    word_parts,
)

TEXT = st.text("abc", max_size=4)


def neighbours(text):
    """All texts that one edit leads to."""
    places = range(len(text) + 1)
    inserted = {text[:i] + c + text[i:] for i in places for c in "abc"}
    removed = {text[:i] + text[i + 1 :] for i in places[:-1]}
    replaced = {text[:i] + c + text[i + 1 :] for i in places[:-1] for c in "abc"}
    return inserted | removed | replaced


@given(one=TEXT, other=TEXT)
def test_edits_are_those_of_a_search(one, other):
    reached, edits = {one}, 0
    while other not in reached:
        reached |= set(itertools.chain.from_iterable(map(neighbours, reached)))
        edits += 1
    assert sorted_words._edits(one, other) == edits


def test_quality_of_right_wrong_empty_and_unended_responses():
    texts = ["abc.", "bca.", "xyz.", ".", "abc", "abcd."]
    responses = as_responses([TOKENIZER.encode(text) for text in texts])
    assert quality(["cab"] * 6, responses).tolist() == pytest.approx([1, 1 / 3, 0, 0, 1, 3 / 4])


def test_parts_share_no_word_and_depend_on_the_seed():
    parts = word_parts(0, (30, 20, 10, 5), most_files=4)
    every = [*parts.demonstrations, *parts.preferences, *parts.validation, *parts.test]
    assert len(set(every)) == len(every) == 65
    assert all(word.isalpha() and 5 <= len(word) <= 10 for word in every)
    assert word_parts(0, (30, 20, 10, 5), most_files=4) == parts
    assert word_parts(1, (30, 20, 10, 5), most_files=4) != parts
    with pytest.raises(InputError, match="sizes: expected at most"):
        word_parts(0, (10**6, 0, 0, 0), most_files=1)


def test_demonstrations_have_the_share_of_errors():
    words = ["zebra", "cabinet"] * 200
    right = demonstrations(words, 0.0, 0)
    assert TOKENIZER.decode(right[[0]]["ids"][0].tolist()) == "zebra>aberz."
    wrong = demonstrations(words, 0.4, 0)
    rows = list(range(len(words)))
    differ = (right[rows]["ids"] != wrong[rows]["ids"]).sum() / (12 * 200)
    assert float(differ) == pytest.approx(0.4 * 25 / 26, abs=0.04)
    assert (wrong[rows]["ids"] == END).sum() == len(words)
    assert prompts(["ab"]) == [TOKENIZER.encode("ab>")]
    with pytest.raises(InputError, match="errors"):
        demonstrations(words, 1.5, 0)


def test_ratings_are_whole_grades_near_the_quality():
    qualities = torch.rand(4000, dtype=torch.float64)
    grades = rate(qualities, 0)
    assert set(grades.tolist()) == set(range(11))
    inner = (qualities - 0.5).abs() < 0.3
    error = (grades - 10 * qualities)[inner]
    assert float(error.mean()) == pytest.approx(0, abs=0.05)
    assert float(error.std()) == pytest.approx((0.5**2 + 1 / 12) ** 0.5, rel=0.05)
    assert torch.equal(rate(qualities, 0), grades)
    assert torch.equal(rate(qualities, 0, deviation=0.0), (10 * qualities).round())
