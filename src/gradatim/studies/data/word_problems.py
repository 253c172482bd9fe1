"""Word problems without words: templates of numbers, and straight-line programs that solve them.

A problem is one of twelve templates with its numbers, as ``B472?`` (four and seven, two times), or
two of them, the second of which uses the result of the first, as ``B472.D9@5?``. A program assigns
one operation a statement, and its last variable, ``r``, is the answer: ``a=4+7;r=a*2;``. Each
problem has many right programs, since sums can be commuted, regrouped and distributed; one of them,
drawn at random, is its reference.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from gradatim.core.checks import check_range
from gradatim.core.seeds import numpy_generator
from gradatim.evaluators.program_tracer import ProgramTracer
from gradatim.language.characters import CharacterTokenizer

Tree = int | tuple[str, "Tree", "Tree"]
"""An operation on two trees, or the place of a number among those of a template."""

TEMPLATES: Mapping[str, Tree] = {
    "A": ("+", ("+", 0, 1), 2),  # three parts together
    "B": ("*", ("+", 0, 1), 2),  # two parts, several times
    "C": ("+", ("*", 0, 1), 2),  # several packs and some more
    "D": ("-", ("-", 0, 1), 2),  # what is left after two are taken away
    "E": ("*", 0, ("-", 1, 2)),  # several times what is left
    "F": ("+", 0, ("+", 0, 1)),  # one and another that has some more, together
    "G": ("-", ("*", 0, 1), 2),  # several packs without some
    "H": ("*", ("-", 0, 1), 2),  # what is left, several times
    "I": ("-", ("+", 0, 1), 2),  # two parts without some
    "J": ("+", ("-", 0, 1), 2),  # what is left, and some more
    "K": ("+", 0, ("*", 0, 1)),  # one and another that has several times as many, together
    "L": ("+", ("*", 0, 1), ("*", 0, 2)),  # one price, two numbers of pieces
}
NUMBERS = range(2, 10)
ANSWER = "r"
_NAMES = "abcdefgh"
_RESULT = "@"
TOKENIZER = CharacterTokenizer(f"23456789{''.join(TEMPLATES)}{_NAMES}{ANSWER}+-*=;.{_RESULT}?#")
SEPARATOR, END = TOKENIZER.encode(";")[0], TOKENIZER.encode("#")[0]


@dataclass(frozen=True)
class WordProblem:
    """A problem: its text, its reference program, its answer, and the number of statements."""

    question: str
    program: str
    answer: Fraction
    statements: int


def draw_word_problems(count: int, seed: int, *keys: str, hard: bool) -> list[WordProblem]:
    """Random problems: one template (2 or 3 statements), or, the hard ones, two (4 to 6).

    A longer list begins with the shorter one.

    Args:
        count: how many.
        seed: what they depend on, with the keys.
        keys: names of the use.
        hard: whether a problem joins two templates.

    Raises:
        InputError: a negative count.

    >>> problem = draw_word_problems(1, 0, hard=False)[0]
    >>> problem.question, problem.program, str(problem.answer)
    ('C959?', 'a=9*5;r=a+9;', '54')
    """
    check_range("count", count, 0)
    random = numpy_generator(seed, "word problems", *keys, int(hard))
    return [_draw(random, hard) for _ in range(count)]


def _draw(random: np.random.Generator, hard: bool) -> WordProblem:
    parts, statements = [], list[str]()
    for place in range(1 + hard):
        name = str(random.choice(list(TEMPLATES)))
        tree = TEMPLATES[name]
        numbers = [str(random.choice(NUMBERS)) for _ in range(_width(tree))]
        arguments = list(numbers)
        if place:
            used = int(random.integers(len(numbers)))
            numbers[used], arguments[used] = _RESULT, statements[-1][0]
        parts.append(name + "".join(numbers))
        _write(rewritten(tree, random), arguments, statements, random)
    statements[-1] = ANSWER + statements[-1][1:]
    states = ProgramTracer()(statements)
    assert states is not None
    return WordProblem(
        f"{'.'.join(parts)}?",
        "".join(f"{statement};" for statement in statements),
        states[-1][ANSWER],
        len(statements),
    )


def rewritten(tree: Tree, random: np.random.Generator) -> Tree:
    """An expression of the same value: regrouped or distributed at some nodes, commuted at some."""
    if isinstance(tree, int):
        return tree
    choices = _equals(tree)
    if choices and random.random() < 0.5:
        tree = choices[int(random.integers(len(choices)))]
    operation, left, right = tree
    left, right = rewritten(left, random), rewritten(right, random)
    if operation in "+*" and random.random() < 0.5:
        left, right = right, left
    return operation, left, right


def _equals(tree: tuple[str, Tree, Tree]) -> list[tuple[str, Tree, Tree]]:
    """Other ways to write the root of an expression."""
    match tree:
        case ("+", ("+", a, b), c):
            return [("+", a, ("+", b, c))]
        case ("+", ("-", a, b), c):
            return [("-", ("+", a, c), b)]
        case ("-", ("-", a, b), c):
            return [("-", a, ("+", b, c)), ("-", ("-", a, c), b)]
        case ("-", ("+", a, b), c):
            return [("+", a, ("-", b, c)), ("+", ("-", a, c), b)]
        case ("*", ("+" | "-" as op, a, b), c):
            return [(op, ("*", a, c), ("*", b, c))]
        case ("*", a, ("-", b, c)):
            return [("-", ("*", a, b), ("*", a, c))]
        case ("+", ("*", a, b), ("*", c, d)) if a == c:
            return [("*", a, ("+", b, d))]
    return []


def _write(
    tree: Tree, arguments: list[str], statements: list[str], random: np.random.Generator
) -> str:
    """Append the statements of an expression; returns where its value is."""
    if isinstance(tree, int):
        return arguments[tree]
    operation, *sides = tree
    found = {}
    for side in (0, 1) if random.random() < 0.5 else (1, 0):
        found[side] = _write(sides[side], arguments, statements, random)
    name = _NAMES[len(statements)]
    statements.append(f"{name}={found[0]}{operation}{found[1]}")
    return name


def _width(tree: Tree) -> int:
    """How many numbers a template takes."""
    return tree + 1 if isinstance(tree, int) else max(map(_width, tree[1:]))
