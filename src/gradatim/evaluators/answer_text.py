"""Answers as text: their normal form, plain numbers, and what two of them tell without algebra."""

import functools
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

LONGEST_NUMBER = 400
"""Digits, and decimal places of an exponent, beyond which a number is left as text."""

APPROXIMATE_PLACES = 6
"""Decimal places from which on a decimal may stand for a number that it only approximates."""

_REPLACED = (
    (re.compile(r"(?<!\\)\\(?:left|right|displaystyle|[bB]igg?[lr]?)(?![A-Za-z])"), ""),
    (re.compile(r"(?<!\\)\\[dt]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"(?<!\\)\\(?:[,;!: ]|quad(?![A-Za-z])|qquad(?![A-Za-z]))"), " "),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"[\u2212\u2013]"), "-"),
    (re.compile(r"~|\s+"), " "),
)
_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"))
_COMMANDS = re.compile(r"\\(?:boxed|fbox|text|textbf|textrm|mathrm|mathbf|mbox)\s*(\{)")
_WORDS = re.compile(r"[^\W\d_]+(?:[ ,'\u2019-]+[^\W\d_]+)*")
_CHOICE = re.compile(r"\(([^\W\d_])\)")
_DIGITS = r"(?:\d{1,3}(?:[, ]\d{3})+(?!\d)|\d+)"
_DECIMAL = re.compile(
    rf"\$?(?P<sign>[+-]?) ?\$?(?P<whole>{_DIGITS})?(?:\.(?P<places>\d+)?)?"
    r"(?:[eE](?P<exponent>[+-]?\d+))?"
)
_FRACTION = re.compile(
    r"(?P<sign>[+-]?) ?(?:(?P<whole>\d+) ?(?=\\frac)|(?P<spaced>\d+) )?"
    r"(?:\\frac ?(?:\{ ?(?P<top>-?\d+) ?\}|(?P<t>\d)) ?(?:\{ ?(?P<bottom>\d+) ?\}|(?P<b>\d))"
    r"|(?P<over>\d+) ?/ ?(?P<under>\d+))"
)


@dataclass(frozen=True)
class PlainNumber:
    """A number that was written as an integer, a decimal or a fraction of integers.

    Attributes:
        value: the exact value of what was written.
        places: its decimal places; 0 for integers and fractions.
    """

    value: Fraction
    places: int = 0

    def equals(self, other: "PlainNumber") -> bool:
        """Whether both are equal, or one is a decimal of six or more places that rounds the other.

        >>> PlainNumber(Fraction(333333, 10**6), 6).equals(PlainNumber(Fraction(1, 3)))
        True
        >>> PlainNumber(Fraction(33, 100), 2).equals(PlainNumber(Fraction(1, 3)))
        False
        """
        if self.value == other.value:
            return True
        long = [n.places for n in (self, other) if n.places >= APPROXIMATE_PLACES]
        return bool(long) and abs(self.value - other.value) < Fraction(1, 10 ** min(long))


@dataclass(frozen=True)
class AnswerText:
    """An answer in normal form.

    Attributes:
        text: the normal form.
        number: its value if it is a plain number.
        words: whether it consists of words (or one letter), which are compared as text.
    """

    text: str
    number: PlainNumber | None
    words: bool

    def equals(self, other: "AnswerText") -> bool | None:
        """Whether two answers are equal; None if only algebra can tell."""
        if self.text == other.text:
            return True
        if self.words or other.words:
            return self.words and other.words and self.text.casefold() == other.text.casefold()
        if self.number and other.number:
            return self.number.equals(other.number)
        return None


@functools.lru_cache(maxsize=262_144)
def read_answer(answer: str) -> AnswerText | None:
    """An answer in normal form; None if nothing is left of it.

    >>> read_answer(r"$\\dfrac{1}{2}$").number.value
    Fraction(1, 2)
    """
    text = normalize_answer(answer)
    if not text:
        return None
    number = plain_number(text)
    return AnswerText(text, number, number is None and bool(_WORDS.fullmatch(text)))


def normalize_answer(answer: str) -> str:
    """Take off what does not belong to an answer: blanks, dollar signs, boxes, a final full stop.

    >>> normalize_answer(r" $\\boxed{\\text{Evelyn}}$. "), normalize_answer("(B)")
    ('Evelyn', 'B')
    """
    text = answer
    for pattern, replacement in _REPLACED:
        text = pattern.sub(replacement, text)
    before = None
    while text != before:
        before, text = text, _unwrap(text.strip())
    choice = _CHOICE.fullmatch(text)
    return choice[1] if choice else text


def plain_number(text: str) -> PlainNumber | None:
    """Read an integer, a decimal (1,000.5 or 1e-3) or a fraction (1/2, 1 1/2, LaTeX); else None.

    >>> plain_number("-1,000.50").value, plain_number(r"\\frac12").value, plain_number("x")
    (Fraction(-2001, 2), Fraction(1, 2), None)
    """
    if len(text) > LONGEST_NUMBER:
        return None
    if (found := _FRACTION.fullmatch(text)) is not None:
        return _fraction(found)
    found = _DECIMAL.fullmatch(text)
    if found is None or (found["whole"] is None and found["places"] is None):
        return None
    exponent = int(found["exponent"] or 0)
    if abs(exponent) > LONGEST_NUMBER:
        return None
    digits = re.sub("[, ]", "", found["whole"] or "0")
    value = Fraction(f"{found['sign']}{digits}.{found['places'] or '0'}") * Fraction(10) ** exponent
    return PlainNumber(value, max(len(found["places"] or "") - exponent, 0))


def balanced(text: str, start: int) -> int | None:
    """Where the brace that opens at a place closes; None if it never does.

    >>> balanced("{a{b}}c", 0), balanced("{a", 0)
    (5, None)
    """
    depth, place = 0, start
    while place < len(text):
        sign = text[place]
        if sign == "\\":
            place += 1
        elif sign in "{}":
            depth += 1 if sign == "{" else -1
            if not depth:
                return place
        place += 1
    return None


def _unwrap(text: str) -> str:
    for left, right in _WRAPPERS:
        inner = text[len(left) : -len(right)]
        if (
            len(text) > len(left) + len(right)
            and text.startswith(left)
            and text.endswith(right)
            and left not in inner
        ):
            return inner
    command = _COMMANDS.match(text)
    if command and balanced(text, command.start(1)) == len(text) - 1:
        return text[command.end(1) : -1]
    return text[:-1] if text.endswith(".") else text


def _fraction(found: "re.Match[str]") -> PlainNumber | None:
    parts: dict[str, Any] = found.groupdict()
    top = int(parts["top"] or parts["t"] or parts["over"])
    bottom = int(parts["bottom"] or parts["b"] or parts["under"])
    whole = int(parts["whole"] or parts["spaced"] or 0)
    if bottom == 0 or (whole and top < 0):
        return None
    value = whole + Fraction(top, bottom)
    return PlainNumber(-value if parts["sign"] == "-" else value)
