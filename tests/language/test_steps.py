"""Where steps lie, against a loop; and the tokenizer of characters."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from gradatim.core.errors import InputError
from gradatim.language.characters import CharacterTokenizer
from gradatim.language.sampling import left_padded, right_padded
from gradatim.language.steps import segment_by_separator, whole_response

rows = st.lists(st.lists(st.integers(0, 4), max_size=8), min_size=1, max_size=4)


@given(rows, st.sets(st.integers(0, 4), min_size=1, max_size=2), st.booleans())
def test_steps_end_with_a_separator_or_the_response(texts, separators, left):
    tokens, mask = (left_padded if left else right_padded)(texts)
    found = segment_by_separator(tokens, mask, separators)
    for row, text in enumerate(texts):
        step, expected = 0, []
        for token in text:
            expected.append(step)
            step += token in separators
        assert found[row][mask[row]].tolist() == expected
    assert (found[~mask] == -1).all()
    assert torch.equal(whole_response(mask), torch.where(mask, 0, -1))


def test_wrong_arguments():
    tokens = torch.ones(2, 3, dtype=torch.long)
    with pytest.raises(InputError, match="separators: expected at least one"):
        segment_by_separator(tokens, tokens > 0, [])
    with pytest.raises(InputError, match="mask: expected the shape of tokens"):
        segment_by_separator(tokens, torch.ones(2, 2) > 0, [1])


@given(st.text("xyz01", max_size=9))
def test_characters_there_and_back(text):
    tokenizer = CharacterTokenizer("01xyz")
    ids = tokenizer.encode(text)
    assert tokenizer.decode([0, *ids, 0]) == text
    assert all(1 <= number < len(tokenizer) for number in ids)


def test_wrong_characters():
    with pytest.raises(InputError, match="each character once, got 'aba'"):
        CharacterTokenizer("aba")
    with pytest.raises(InputError, match="expected characters of 'ab', got 'c'"):
        CharacterTokenizer("ab").encode("abc")
    for wrong in (3, -1):
        with pytest.raises(InputError, match=rf"ids: expected tokens in \[0, 3\), got {wrong}"):
            CharacterTokenizer("ab").decode([1, wrong])
