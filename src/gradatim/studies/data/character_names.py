"""Names of characters and what the characters are composed of, from Unicode 3.2."""

import unicodedata
from collections import Counter
from functools import lru_cache

from gradatim.core.checks import check_range

_END = 0x20000
"""From here on no character of Unicode 3.2 has both a name of its own and a decomposition."""

_GENERATED = ("HANGUL SYLLABLE", "CJK COMPATIBILITY IDEOGRAPH")
"""Beginnings of names that a rule makes from the number of the character."""

NamedCharacter = tuple[list[str], list[str]]


@lru_cache(maxsize=4)
def character_names(least: int = 3) -> tuple[NamedCharacter, ...]:
    """Words of the names of characters, each with the characters it is composed of.

    ``["latin", "small", "letter", "e", "with", "acute"]`` goes with the two characters of its
    compatibility decomposition (NFKD), "e" and the combining accent. Every Python holds the tables
    of Unicode 3.2. Names that a rule makes from numbers (Hangul syllables, compatibility
    ideographs) are left out.

    Args:
        least: in how many pairs each word and each character must occur; pairs with rarer ones
            are left out until none is left. 1 keeps all 4,252.

    Returns:
        Pairs in the order of the characters; no two have one name.

    >>> names = {" ".join(words): parts for words, parts in character_names()}
    >>> [hex(ord(part)) for part in names["latin small letter e with acute"]]
    ['0x65', '0x301']
    """
    check_range("least", least, 1)
    table = unicodedata.ucd_3_2_0
    pairs = []
    for number in range(_END):
        character = chr(number)
        name = table.name(character, "")
        parts = table.normalize("NFKD", character)
        if name and parts != character and not name.startswith(_GENERATED):
            pairs.append((name.lower().replace("-", " ").split(), list(parts)))
    size = -1
    while size != len(pairs):
        size = len(pairs)
        words = Counter(word for name, _ in pairs for word in set(name))
        parts_in = Counter(part for _, parts in pairs for part in set(parts))
        pairs = [
            (name, parts)
            for name, parts in pairs
            if all(words[word] >= least for word in name)
            and all(parts_in[part] >= least for part in parts)
        ]
    return tuple(pairs)
