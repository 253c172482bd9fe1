"""Stories of three numbers in four wordings each, and all programs of two operations on them."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from gradatim.core.seeds import numpy_generator

NUMBERS = range(2, 8)
WORDINGS = 4
_OPERATIONS: Mapping[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}
_FORMS = ("(x {} y) {} z", "x {} (y {} z)", "(x {} z) {} y")
"""The first operation comes first in the text; what is in brackets is done first."""

STORIES: Mapping[str, tuple[str, str, str, str]] = {
    "(x * y) + z": (
        "{x} boxes hold {y} pens each, and {z} more lie on the desk. How many pens are there?",
        "Ann buys {x} packs of {y} stamps and gets {z} single ones. How many stamps has she?",
        "In {x} rows stand {y} chairs each, and {z} chairs stand apart. How many chairs?",
        "A baker fills {x} trays with {y} rolls; {z} rolls are left over. Count the rolls.",
    ),
    "(x * y) - z": (
        "{x} boxes hold {y} pens each, but {z} of them are broken. How many pens work?",
        "Ann buys {x} packs of {y} stamps and uses {z}. How many stamps are left?",
        "In {x} rows stand {y} chairs each; {z} are carried away. How many chairs remain?",
        "A baker fills {x} trays with {y} rolls and sells {z} rolls. Count what he keeps.",
    ),
    "(x + y) * z": (
        "A bag has {x} red and {y} blue marbles. How many marbles are in {z} such bags?",
        "Tom reads {x} pages in the morning and {y} at night. How many pages in {z} days?",
        "A meal costs {x} coins and a drink {y}. What do {z} guests pay, each having both?",
        "Each team has {x} girls and {y} boys. How many children are in {z} teams?",
    ),
    "(x - y) * z": (
        "Tom earns {x} coins a day and spends {y}. How much has he after {z} days?",
        "A tank gains {x} litres an hour and loses {y}. By how much does it rise in {z} hours?",
        "A shirt costs {x} coins, less {y}. What do {z} shirts cost?",
        "Each class of {x} has {y} pupils ill. How many are present in {z} classes?",
    ),
    "(x + y) + z": (
        "{x} cars are red, {y} blue and {z} green. How many cars are there?",
        "Ann walks {x} miles, then {y}, then {z}. How far does she walk in all?",
        "A farm has {x} cows, {y} goats and {z} hens. How many animals?",
        "Tom saves {x} coins in May, {y} in June and {z} in July. What has he saved?",
    ),
    "(x + y) - z": (
        "{x} people are on a bus, {y} get on and {z} get off. How many are on it now?",
        "Ann has {x} stamps, finds {y} and loses {z}. How many has she?",
        "A shelf holds {x} books; {y} are added and {z} lent out. How many stand there?",
        "Tom picks {x} pears and {y} plums and eats {z} of the fruits. What is left?",
    ),
    "(x - y) - z": (
        "Of {x} cakes {y} are sold and {z} are eaten. How many are left?",
        "Ann has {x} coins, pays {y} for a book and {z} for a pen. What remains?",
        "A rope of {x} feet loses a piece of {y} and one of {z} feet. How long is it?",
        "From {x} birds on a wall {y} fly off, then {z} more. How many stay?",
    ),
    "(x * y) * z": (
        "{x} streets have {y} houses each with {z} windows. How many windows are there?",
        "A box is {x} long, {y} wide and {z} high. What does it hold?",
        "{x} boxes hold {y} bags of {z} nuts each. How many nuts?",
        "Tom runs {x} laps of {y} yards on {z} days. How many yards in all?",
    ),
    "x * (y - z)": (
        "{x} workers get {y} coins each, less {z} for food. What do they get together?",
        "In {x} baskets were {y} eggs each, of which {z} broke in every one. How many are whole?",
        "{x} ships carry {y} men each; {z} leave every ship. How many men stay aboard?",
        "{x} trees had {y} birds each, and {z} flew off every tree. How many birds sit there?",
    ),
    "x + (y * z)": (
        "Ann has {x} stamps and buys {y} packs of {z}. How many stamps has she?",
        "{x} chairs stand apart from {y} rows of {z}. How many chairs are there?",
        "Tom has {x} coins and earns {y} a day for {z} days. What has he then?",
        "A jug holds {x} litres; {y} cups of {z} litres are poured in. How much is in it?",
    ),
    "(x - y) + z": (
        "{x} people are on a bus, {y} get off and {z} get on. How many are on it now?",
        "Ann has {x} stamps, loses {y} and finds {z}. How many has she?",
        "A shelf holds {x} books; {y} are lent out and {z} come back. How many stand there?",
        "From {x} birds on a wall {y} fly off, and {z} return. How many are there?",
    ),
    "x * (y + z)": (
        "{x} bags hold {y} red and {z} blue marbles each. How many marbles?",
        "{x} guests each have a meal for {y} and a drink for {z} coins. What do they pay?",
        "On {x} days Tom reads {y} pages and then {z} more. How many pages in all?",
        "{x} teams have {y} girls and {z} boys each. How many children play?",
    ),
}
"""By program; the numbers stand in the text in their order."""


@dataclass(frozen=True)
class Stories:
    """Stories of one wording each, with their programs.

    Attributes:
        texts: N texts.
        numbers: the three numbers of each, shape [N, 3].
        program: the right program of each, as a place in :func:`programs`, shape [N].
    """

    texts: list[str]
    numbers: NDArray[np.int64]
    program: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.texts)


@cache
def programs() -> tuple[str, ...]:
    """All programs that differ on some numbers: two operations, in three ways of bracketing.

    >>> len(programs()), programs()[0]
    (17, '(x * y) * z')
    """
    table = np.array(np.meshgrid(*[NUMBERS] * 3)).reshape(3, -1).T
    found: dict[bytes, str] = {}
    named = [*STORIES]
    for form in _FORMS:
        named += [form.format(one, two) for one in _OPERATIONS for two in _OPERATIONS]
    for program in named:
        values = np.array([_value(program, *row) for row in table.tolist()])
        found.setdefault(values.tobytes(), program)
    return tuple(sorted(found.values()))


def run_program(program: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The values of programs, each on its numbers.

    Args:
        program: places in :func:`programs`, shape [N].
        numbers: shape [N, 3].

    Returns:
        Shape [N].
    """
    known = programs()
    return np.array(
        [_value(known[p], *row) for p, row in zip(program, numbers.tolist(), strict=True)],
        dtype=np.int64,
    )


def draw_stories(seed: int, part: str, wordings: tuple[int, ...], per_wording: int) -> Stories:
    """Stories of all programs in some wordings, with random numbers.

    Args:
        seed: what the numbers depend on, with the part's name.
        part: name of the part, as "test".
        wordings: which of the four wordings.
        per_wording: stories of each wording of each program.

    >>> draw_stories(0, "test", (0,), 1).texts[4]
    '6 cars are red, 5 blue and 5 green. How many cars are there?'
    """
    generator = numpy_generator(seed, "stories", part)
    places = {program: place for place, program in enumerate(programs())}
    texts, numbers, right = [], [], []
    for program, told in STORIES.items():
        for wording in wordings:
            for _ in range(per_wording):
                own = generator.choice(NUMBERS, 3)
                numbers.append(own)
                right.append(places[program])
                texts.append(told[wording].format(**dict(zip("xyz", own.tolist(), strict=True))))
    return Stories(texts, np.array(numbers), np.array(right))


def program_tokens(program: NDArray[np.int64]) -> NDArray[np.int64]:
    """Form and both operations of each program, as integers, shape [N, 3]."""
    known = {
        form.format(one, two): (f, a, b)
        for f, form in enumerate(_FORMS)
        for a, one in enumerate(_OPERATIONS)
        for b, two in enumerate(_OPERATIONS)
    }
    return np.array([known[programs()[place]] for place in program], dtype=np.int64)


def _value(program: str, x: int, y: int, z: int) -> int:
    """The value of a program, which is one of a few known strings."""
    left, form = _parsed(program)
    one, two = (_OPERATIONS[sign] for sign in left)
    if form == 0:
        return two(one(x, y), z)
    return one(x, two(y, z)) if form == 1 else two(one(x, z), y)


@cache
def _parsed(program: str) -> tuple[tuple[str, str], int]:
    for place, form in enumerate(_FORMS):
        for one in _OPERATIONS:
            for two in _OPERATIONS:
                if form.format(one, two) == program:
                    return (one, two), place
    raise ValueError(program)
