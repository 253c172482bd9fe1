"""Names of characters: sizes, and that parts are those of the character of the name."""

import unicodedata
from collections import Counter

import pytest

from gradatim.core.errors import InputError
from gradatim.studies.data.character_names import character_names


@pytest.mark.parametrize(("least", "size"), [(1, 4252), (2, 3493), (3, 3051)])
def test_sizes_and_frequencies(least, size):
    pairs = character_names(least)
    assert len(pairs) == size == len({" ".join(words) for words, _ in pairs})
    for side in (0, 1):
        counts = Counter(token for pair in pairs for token in set(pair[side]))
        assert min(counts.values()) >= least


def test_parts_are_the_decomposition_of_the_named_character():
    checked = 0
    for words, parts in character_names():
        try:
            character = unicodedata.lookup(" ".join(words))
        except KeyError:  # a hyphen of the name became a space
            continue
        assert list(unicodedata.ucd_3_2_0.normalize("NFKD", character)) == parts
        checked += 1
    assert checked > 2500


def test_fewer_than_once():
    with pytest.raises(InputError, match="least"):
        character_names(0)
