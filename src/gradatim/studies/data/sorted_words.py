"""Words of the standard library's docstrings, to be written with their letters in order."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator, torch_generator
from gradatim.language.characters import CharacterTokenizer
from gradatim.language.response_examples import ResponseExamples
from gradatim.language.sampling import Responses, as_responses
from gradatim.studies.data.library_words import library_docstrings

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
TOKENIZER = CharacterTokenizer(f"{_LETTERS}>.")
END = TOKENIZER.encode(".")[0]
LENGTHS = (5, 10)
"""Letters of the shortest and of the longest word."""

LONGEST = LENGTHS[1] + 4
"""Tokens of a response at most; more than any right one has."""

GRADES = 10
"""The best rating."""


@dataclass(frozen=True)
class WordParts:
    """Words in parts that share none.

    Attributes:
        demonstrations: to learn the task from, badly.
        preferences: whose responses are rated, to learn from.
        validation: to choose settings by.
        test: to measure on.
    """

    demonstrations: tuple[str, ...]
    preferences: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def word_parts(seed: int, sizes: Sequence[int], *, most_files: int = 0) -> WordParts:
    """Draw the words of each part.

    Args:
        seed: draws which word stands in which part.
        sizes: of the parts, in their order.
        most_files: files of the library that are read; 0 for all.

    Raises:
        InputError: fewer words than the parts need.
    """
    texts = library_docstrings(most_files)
    shortest, longest = LENGTHS
    words = sorted(
        {w for text in texts for w in text if w.isalpha() and shortest <= len(w) <= longest}
    )
    if len(words) < sum(sizes):
        raise InputError(f"sizes: expected at most {len(words)} words in all, got {sum(sizes)}")
    drawn = iter(numpy_generator(seed, "words").permutation(len(words)))
    parts = [tuple(words[next(drawn)] for _ in range(size)) for size in sizes]
    return WordParts(*parts)


def prompts(words: Sequence[str]) -> list[list[int]]:
    """The words as prompts.

    >>> TOKENIZER.decode(prompts(["word"])[0])
    'word>'
    """
    return [TOKENIZER.encode(f"{word}>") for word in words]


def demonstrations(words: Sequence[str], errors: float, seed: int) -> ResponseExamples:
    """Words with their sorted letters, of which a share is replaced by any letter.

    Args:
        words: what is sorted.
        errors: share of letters that are replaced, in [0, 1].
        seed: which letters, and by what.

    Raises:
        InputError: a share outside its range.
    """
    check_range("errors", errors, 0, 1)
    generator = numpy_generator(seed, "demonstrations")
    texts = []
    for word in words:
        wrong = generator.random(len(word)) < errors
        other = generator.integers(len(_LETTERS), size=len(word))
        letters = zip(sorted(word), wrong, other, strict=True)
        text = "".join(_LETTERS[new] if bad else letter for letter, bad, new in letters)
        texts.append(TOKENIZER.encode(f"{text}."))
    return ResponseExamples(prompts(words), as_responses(texts))


def quality(words: Sequence[str], responses: Responses) -> torch.Tensor:
    r"""How close each response is to the right one, :math:`1 - d / \max(|y|, |y^*|)`.

    Args:
        words: the word of each prompt.
        responses: what was answered; d is the edit distance (Levenshtein's).

    Returns:
        Numbers in [0, 1], 1 for the right response, float64, shape [R].

    >>> quality(["bca"], as_responses([TOKENIZER.encode("abd.")])).tolist()
    [0.6666666666666667]
    """
    found = []
    for prompt, tokens in zip(responses.prompt.tolist(), responses.lists(), strict=True):
        text, right = TOKENIZER.decode(tokens).removesuffix("."), "".join(sorted(words[prompt]))
        found.append(1 - _edits(text, right) / max(len(text), len(right)))
    return torch.tensor(found, dtype=torch.float64)


def rate(qualities: torch.Tensor, seed: int, *, deviation: float = 0.05) -> torch.Tensor:
    """What a rater says of responses: a whole grade from 0 to 10, by their quality and noise.

    Args:
        qualities: in [0, 1], shape [R].
        seed: what the noise depends on.
        deviation: of the noise, on the scale of qualities.

    Returns:
        Whole numbers, shape [R].
    """
    generator = torch_generator(seed, "ratings")
    noise = torch.randn(len(qualities), generator=generator, dtype=torch.float64)
    return ((qualities + deviation * noise) * GRADES).round().clamp(0, GRADES)


def _edits(text: str, other: str) -> int:
    """Letters to insert, remove or replace at least."""
    above = list(range(len(other) + 1))
    for row, letter in enumerate(text, start=1):
        current = [row]
        for column, wanted in enumerate(other, start=1):
            replaced = above[column - 1] + (letter != wanted)
            current.append(min(above[column] + 1, current[-1] + 1, replaced))
        above = current
    return above[-1]
