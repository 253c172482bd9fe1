"""The process in which math-verify compares answers; `AnswerVerifier` starts and ends it.

It reads one JSON list ``[answer, [others], reverse]`` a line and writes one JSON list of true and
false a line. It never limits its own time: who asks kills it if it takes too long, which also stops
what runs in C, needs no signal, and works from any thread.
"""

import functools
import importlib
import json
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

_POINT = (0.7390851332, 1.2599210499, 0.5671432904, 1.6180339887, 0.9159655942)
_FAR_APART = 1e-4


def compare(answer: str, others: Sequence[str], reverse: bool = False) -> list[bool]:
    """Which answers are equal to one, by math-verify.

    Args:
        answer: LaTeX or plain text.
        others: what to compare with it.
        reverse: whether the others are the references, and not the answer.

    >>> import pytest; _ = pytest.importorskip("math_verify")
    >>> compare("x+1/2", ["0.5+x", "x+1"])
    [True, False]
    """
    verify = importlib.import_module("math_verify").verify
    found = []
    for other in others:
        try:
            pair = (other, answer) if reverse else (answer, other)
            found.append(not _differ(*pair) and _equal(verify, *pair))
        except (RecursionError, MemoryError):
            found.append(False)
    return found


def main() -> None:
    """Answer requests until the input ends."""
    logging.disable(logging.CRITICAL)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(compare(*json.loads(line))) + "\n")
        sys.stdout.flush()


def _equal(verify: Callable[..., bool], answer: str, other: str) -> bool:
    return bool(verify(list(_parsed(answer)), list(_parsed(other)), timeout_seconds=None))


def _differ(answer: str, other: str) -> bool:
    """Whether two expressions have clearly different values, which is far faster than to prove."""
    first, second = _value(answer), _value(other)
    if first is None or second is None:
        return False
    return abs(first - second) > _FAR_APART * max(abs(first), abs(second))


@functools.lru_cache(maxsize=65_536)
def _parsed(answer: str) -> tuple[Any, ...]:
    math_verify = importlib.import_module("math_verify")
    config = math_verify.LatexExtractionConfig()
    return tuple(
        math_verify.parse(f"\\boxed{{{answer}}}", extraction_config=[config], parsing_timeout=None)
    )


@functools.lru_cache(maxsize=65_536)
def _value(answer: str) -> complex | None:
    """An expression's value (at a fixed point if it has variables); None if it has not one."""
    sympy = importlib.import_module("sympy")
    parsed = _parsed(answer)
    expression = parsed[0] if parsed else None
    if not isinstance(expression, sympy.Expr) or isinstance(expression, sympy.Symbol):
        return None
    if expression.has(sympy.UnevaluatedExpr):  # a percentage, which may equal two numbers
        return None
    names = sorted(expression.free_symbols, key=str)
    if len(names) > len(_POINT):
        return None
    try:
        point = {name: _POINT[place_of(str(name))] for name in names}
        return complex(expression.evalf(15, subs=point))
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        return None


def place_of(name: str) -> int:
    """The place of a variable's value, the same in every expression."""
    return sum(name.encode()) % len(_POINT)


if __name__ == "__main__":
    main()
