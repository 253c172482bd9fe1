"""Tokenizers of transformers for texts that are put together piece by piece."""

from collections.abc import Iterable, Sequence
from typing import Any

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.language.environments import TextTokens


class PlainTokens:
    """A tokenizer that adds nothing: no beginning of a text in front of every piece of it.

    Args:
        tokenizer: a tokenizer of transformers.

    >>> class Tokenizer:
    ...     def encode(self, text, add_special_tokens=True):
    ...         return [1] * add_special_tokens + [ord(letter) for letter in text]
    ...     def decode(self, ids, skip_special_tokens=False, clean_up_tokenization_spaces=True):
    ...         return "".join(map(chr, ids))
    >>> tokens = PlainTokens(Tokenizer())
    >>> tokens.encode("ab"), tokens.decode([97, 98])
    ([97, 98], 'ab')
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def encode(self, text: str, /) -> list[int]:
        """The token ids of a text."""
        return [int(number) for number in self.tokenizer.encode(text, add_special_tokens=False)]

    def decode(self, ids: Iterable[int], /) -> str:
        """The text of token ids, as it is."""
        text: str = self.tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text


def separator_tokens(tokenizer: TextTokens, size: int, endings: Sequence[str]) -> frozenset[int]:
    """The tokens behind which an answer is cut into pieces: those whose text ends in a separator.

    Args:
        tokenizer: whose tokens are looked through.
        size: the number of its tokens.
        endings: separators, as ``["(", "=", ","]``; blanks behind them do not matter.

    Returns:
        Ids; none where no token ends so.

    Raises:
        InputError: no ending, a blank one, or a size below 1.

    >>> from gradatim.language.characters import CharacterTokenizer
    >>> sorted(separator_tokens(CharacterTokenizer("a=("), 4, ["=", "("]))
    [2, 3]
    """
    check_range("size", size, 1)
    if not endings or not all(ending.strip() for ending in endings):
        raise InputError(f"endings: expected at least one, none of them blank, got {endings!r}")
    wanted = tuple(ending.strip() for ending in endings)
    return frozenset(
        token for token in range(size) if tokenizer.decode([token]).rstrip().endswith(wanted)
    )
