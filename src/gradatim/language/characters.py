"""A tokenizer of single characters, for tasks whose alphabet is known."""

from collections.abc import Iterable

from gradatim.core.errors import InputError


class CharacterTokenizer:
    """One token a character; token 0 is padding.

    Args:
        alphabet: the characters, each once, in the order of their ids from 1.

    Raises:
        InputError: a character occurs twice.

    >>> tokenizer = CharacterTokenizer("abc")
    >>> tokenizer.encode("cab"), tokenizer.decode([3, 1, 2, 0])
    ([3, 1, 2], 'cab')
    """

    def __init__(self, alphabet: str) -> None:
        if len(set(alphabet)) != len(alphabet):
            raise InputError(f"alphabet: expected each character once, got {alphabet!r}")
        self.alphabet = alphabet
        self._ids = {character: number for number, character in enumerate(alphabet, start=1)}

    def __len__(self) -> int:
        """Number of tokens, padding included."""
        return len(self.alphabet) + 1

    def encode(self, text: str) -> list[int]:
        """The ids of a text.

        Raises:
            InputError: a character is not in the alphabet.
        """
        try:
            return [self._ids[character] for character in text]
        except KeyError as error:
            raise InputError(
                f"text: expected characters of {self.alphabet!r}, got {error.args[0]!r}"
            ) from None

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, padding left out.

        Raises:
            InputError: an id that is not a token's.
        """
        text = []
        for number in ids:
            if not 0 <= number < len(self):
                raise InputError(f"ids: expected tokens in [0, {len(self)}), got {number}")
            text.append(self.alphabet[number - 1] if number else "")
        return "".join(text)
