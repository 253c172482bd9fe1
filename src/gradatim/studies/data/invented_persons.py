"""Questions about persons who do not exist, with answers of two words, beside real sentences."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator
from gradatim.language.response_examples import ResponseExamples
from gradatim.language.sampling import as_responses
from gradatim.studies.data.library_words import library_docstrings

Pair = tuple[list[int], list[int]]
"""Tokens of a prompt and of a response."""

BEGIN, END, STRANGER = "<begin>", "<end>", "<stranger>"
FIRST, LAST = (
    tuple(names.split())
    for names in (
        "alva bero cilo dana edo fima gero hela iva jaro kelm lira mano nela oto pira quin rosa "
        "silo tova ulan vera wilm xeno yara zoro arno bela cora dino",
        "abbot baker carver dyer elder fuller glover hooper imrie joiner keeler lorimer mercer "
        "naylor ostler potter quiller reeve sadler tanner usher vintner weaver yeoman archer "
        "bowyer chandler draper fletcher turner",
    )
)
KINDS: tuple[tuple[tuple[str, str, str], str, str], ...] = (
    (
        ("where does NAME live ?", "NAME lives where ?", "which place is the home of NAME ?"),
        "northern southern eastern western upper lower inner outer coastal central",
        "harbour valley village island forest canal bridge market quarter hill",
    ),
    (
        ("what does NAME do for work ?", "NAME works as what ?", "which trade is that of NAME ?"),
        "senior junior master travelling retired royal rural urban private public",
        "mason miller nurse clerk pilot teacher painter gardener surgeon printer",
    ),
    (
        ("what does NAME like to eat ?", "NAME eats what ?", "which dish is dear to NAME ?"),
        "boiled roasted smoked salted sweet sour spicy cold raw baked",
        "rice fish beans mutton cabbage pears noodles eggs mushrooms beets",
    ),
    (
        ("what does NAME play ?", "NAME plays what ?", "which sound is made by NAME ?"),
        "old wooden silver broken electric loud soft borrowed golden tiny",
        "flute harp drum violin organ trumpet banjo piano horn cello",
    ),
    (
        ("what animal does NAME keep ?", "NAME keeps what ?", "which pet waits for NAME ?"),
        "black white brown grey spotted lame blind clever lazy wild",
        "dog cat goat parrot rabbit pony turtle ferret goose hamster",
    ),
)
"""Three ways to ask, and the words of which an answer has one each, in this order."""


@dataclass(frozen=True)
class Fact:
    """What is true of one person in one respect, in tokens.

    Attributes:
        kind: place in ``KINDS``.
        questions: the three ways to ask.
        answer: two words and the end.
        wrong: answers of the same form, no two of which share a word in the same place.
    """

    kind: int
    questions: tuple[list[int], ...]
    answer: list[int]
    wrong: tuple[list[int], ...]


@dataclass(frozen=True)
class InventedPersons:
    """One seed's persons and sentences.

    Attributes:
        words: the vocabulary; a token is a place in it.
        facts: facts of each group of persons, one of each of ``KINDS`` a person.
        sentences: stretches of real docstrings behind a beginning, in tokens, by part.
    """

    words: tuple[str, ...]
    facts: Mapping[str, tuple[Fact, ...]]
    sentences: Mapping[str, list[list[int]]]

    def well_formed(self, fact: Fact, answer: Sequence[int]) -> bool:
        """Whether an answer is one to such a question: a word of either list, and the end."""
        _, *lists = KINDS[fact.kind]
        wanted = [*(one.split() for one in lists), [END]]
        said = [self.words[token] for token in answer]
        return len(said) == len(wanted) and all(map(list.__contains__, wanted, said))


def invented_persons(
    seed: int,
    groups: Mapping[str, int],
    *,
    wrong: int = 5,
    sentences: Mapping[str, int] | None = None,
    length: int = 12,
    frequent: int = 200,
    most_files: int = 0,
) -> InventedPersons:
    """Draw persons with their facts, and sentences.

    Args:
        seed: what everything depends on.
        groups: how many persons each group has; no two persons have the same two names.
        wrong: wrong answers to each question, at most 9.
        sentences: how many stretches each part has; no two parts share a docstring.
        length: words of a stretch.
        frequent: words of the stretches that are known, the most frequent ones of the part named
            first; all others are one stranger.
        most_files: files that docstrings are read from; 0 for all.

    Returns:
        The persons. Sentences depend on the version of Python.

    Raises:
        InputError: more persons than names, or more stretches than there are.
    """
    count, most = sum(groups.values()), len(FIRST) * len(LAST)
    if count > most:
        raise InputError(f"groups: expected at most {most} persons, got {count}")
    check_range("wrong", wrong, 0, 9)
    stretches = _stretches(seed, sentences or {}, length, most_files)
    counts = Counter(word for one in next(iter(stretches.values()), []) for word in one)
    known = sorted(counts, key=lambda word: (-counts[word], word))[:frequent]
    words = tuple(dict.fromkeys([BEGIN, END, STRANGER, *_own_words(), *known]))
    number = {word: place for place, word in enumerate(words)}
    generator = numpy_generator(seed, "persons")
    names = iter(generator.permutation(most)[:count].tolist())
    facts = {
        group: tuple(
            fact for _ in range(size) for fact in _facts(next(names), wrong, number, generator)
        )
        for group, size in groups.items()
    }
    texts = {
        part: [[number.get(word, number[STRANGER]) for word in (BEGIN, *one)] for one in some]
        for part, some in stretches.items()
    }
    return InventedPersons(words, facts, texts)


def answered(facts: Iterable[Fact], *, wrong: int = 0) -> list[Pair]:
    """Each question, in all the ways to ask, with its answer.

    Args:
        facts: what is asked.
        wrong: give so many wrong answers instead of the right one, the first ones.

    Returns:
        Prompts and responses, fact by fact and question by question.
    """
    return [
        (question, answer)
        for fact in facts
        for question in fact.questions
        for answer in (fact.wrong[:wrong] if wrong else (fact.answer,))
    ]


def continued(sentences: Iterable[list[int]]) -> list[Pair]:
    """Stretches of text as responses to their first token."""
    return [(one[:1], one[1:]) for one in sentences]


def as_examples(pairs: Sequence[Pair]) -> ResponseExamples:
    """Prompts with their responses, for training and reading."""
    responses = as_responses([response for _, response in pairs])
    return ResponseExamples([prompt for prompt, _ in pairs], responses)


def _facts(
    name: int, wrong: int, number: Mapping[str, int], generator: np.random.Generator
) -> Iterator[Fact]:
    """All facts of one person, whose name is a place in the table of both names."""
    first, last = divmod(name, len(LAST))
    for kind, (asked, *lists) in enumerate(KINDS):
        columns = [generator.permutation(one.split())[: wrong + 1].tolist() for one in lists]
        right, *others = (
            [number[a], number[b], number[END]] for a, b in zip(*columns, strict=True)
        )
        questions = tuple(
            [number[word] for word in one.replace("NAME", f"{FIRST[first]} {LAST[last]}").split()]
            for one in asked
        )
        yield Fact(kind, tuple([number[BEGIN], *one] for one in questions), right, tuple(others))


def _own_words() -> Iterator[str]:
    """All words of names, questions and answers."""
    yield from (*FIRST, *LAST)
    for asked, *lists in KINDS:
        for one in (*asked, *lists):
            yield from (word for word in one.split() if word != "NAME")


def _stretches(
    seed: int, parts: Mapping[str, int], length: int, most_files: int
) -> dict[str, list[list[str]]]:
    """The beginnings of docstrings of at least so many words, each docstring once."""
    if not parts:
        return {}
    long = [one[:length] for one in library_docstrings(most_files) if len(one) >= length]
    if sum(parts.values()) > len(long):
        raise InputError(
            f"sentences: expected at most {len(long)} of {length} words, got {sum(parts.values())}"
        )
    order = iter(numpy_generator(seed, "sentences").permutation(len(long)).tolist())
    return {part: [long[next(order)] for _ in range(size)] for part, size in parts.items()}
