"""How far calls of tools, written as text, are those that a reference makes."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from gradatim.core.errors import InputError

PARTS = ("name", "arg_names", "arg_values", "exact")


@dataclass(frozen=True)
class Call:
    """One call of a tool.

    Attributes:
        name: of the tool, with its dots if it has any.
        arguments: by name; those without a name by their place, "0", "1" and so on.
    """

    name: str
    arguments: Mapping[str, Any]


def parse_calls(text: str) -> list[Call] | None:
    """Read calls as ``[f(a=1, b="x"), g(c=2)]``; nothing is run.

    One call may stand without brackets. Values are literals of Python; what is none, such as a
    word without quotes, is read as text.

    Args:
        text: what was written; blanks do not matter.

    Returns:
        The calls in their order, or None if the text is anything else.

    >>> parse_calls("[mail(who=ann, day=3)]")
    [Call(name='mail', arguments={'who': 'ann', 'day': 3})]
    >>> parse_calls("I cannot help with that.") is None
    True
    """
    try:
        body = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    parts = body.elts if isinstance(body, ast.List | ast.Tuple) else [body]
    calls = [_call(part) for part in parts]
    found = [call for call in calls if call is not None]
    return found if found and len(found) == len(calls) else None


def call_match(prediction: str, reference: str, *, ordered: bool = True) -> dict[str, float]:
    r"""Shares of names, argument names and argument values that agree with a reference.

    Each call is compared with one of the reference's. A share is what agrees over the larger of
    what is written and what is meant, so that omissions and additions both count:

    .. math:: \text{share} = \frac{\text{agreeing}}{\max(\text{written}, \text{meant})}

    An argument agrees only within a call of the right name. Texts that are no calls get 0 against
    calls. A reference that is no call is met by all that is no call either.

    Args:
        prediction: what was written.
        reference: what is meant.
        ordered: compare calls place by place; otherwise each with the one that it agrees with
            best, whatever their order.

    Returns:
        "name", "arg_names", "arg_values" and "exact" (1 if all agrees, else 0), in [0, 1].

    Source: the idea of checking the syntax tree: Berkeley function-calling leaderboard, which
    Zeng et al. 2025, arXiv 2501.09766, judge by.

    >>> call_match("[f(a=1, b=2)]", "[f(a=1, b=3)]")
    {'name': 1.0, 'arg_names': 1.0, 'arg_values': 0.5, 'exact': 0.0}
    """
    written, meant = parse_calls(prediction), parse_calls(reference)
    if written is None or meant is None:
        return dict.fromkeys(PARTS, float(written is None and meant is None))
    pairs = _paired(written, meant, ordered)
    same = [(one, other) for one, other in pairs if one.name == other.name]
    most = max(_arguments(written), _arguments(meant))
    names = sum(len(one.arguments.keys() & other.arguments.keys()) for one, other in same)
    values = sum(_agreeing(one, other) for one, other in same)
    most_calls = max(len(written), len(meant))
    exact = len(same) == most_calls and values == most
    return {
        "name": len(same) / most_calls,
        "arg_names": _share(names, most, len(same) / most_calls),
        "arg_values": _share(values, most, len(same) / most_calls),
        "exact": float(exact),
    }


def word_overlap(one: str, other: str) -> float:
    r"""Share of the words of the text with fewer different words that the other has, too.

    .. math:: \frac{|A \cap B|}{\min(|A|, |B|)}

    Args:
        one: a text, whose words are parted by blanks.
        other: another text.

    Returns:
        In [0, 1]; 0 if a text has no word.

    Source: the authors' code of Zeng et al. 2025, arXiv 2501.09766.

    >>> word_overlap("who = ann", "who = bob")
    0.6666666666666666
    """
    first, second = set(one.split()), set(other.split())
    return len(first & second) / (min(len(first), len(second)) or 1)


def fragment_reward(
    fragment: str, reference: str | None, *, closing: str = ")]", bonus: float = 0.1
) -> float:
    r"""A quick guess of how good a piece of an answer is, without completing it.

    .. math:: \pm b + \text{overlap}(\text{reference}, \text{fragment}) - \tfrac12

    The bonus b is given if both texts close, or neither does. Without a reference the bonus alone
    tells whether the fragment closes a call. A blank fragment gets 0.

    Args:
        fragment: the piece.
        reference: the right answer, or None.
        closing: what ends an answer; blanks do not matter.
        bonus: b, at least 0.

    Raises:
        InputError: a negative bonus.

    Source: the authors' code of Zeng et al. 2025, arXiv 2501.09766 (b = 0.1).

    >>> round(fragment_reward("who = ann )", "[ mail ( who = ann ) ]"), 3)
    0.4
    """
    if bonus < 0:
        raise InputError(f"bonus: expected at least 0, got {bonus}")
    if not fragment.strip():
        return 0.0
    if reference is None:
        return bonus if ")" in fragment else -bonus
    ends = "".join(closing.split())
    closes, meant = (ends in "".join(text.split()) for text in (fragment, reference))
    return (bonus if closes == meant else -bonus) + word_overlap(reference, fragment) - 0.5


def _call(node: ast.expr) -> Call | None:
    if not isinstance(node, ast.Call):
        return None
    arguments = {str(place): _value(value) for place, value in enumerate(node.args)}
    for keyword in node.keywords:
        if keyword.arg is None or keyword.arg in arguments:  # f(**x) names nothing
            return None
        arguments[keyword.arg] = _value(keyword.value)
    return Call(ast.unparse(node.func), arguments)


def _value(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return ast.unparse(node)


def _paired(written: list[Call], meant: list[Call], ordered: bool) -> list[tuple[Call, Call]]:
    if ordered:
        return list(zip(written, meant, strict=False))
    gain = [
        [(one.name == other.name) * (1 + _agreeing(one, other)) for other in meant]
        for one in written
    ]
    rows, columns = linear_sum_assignment(np.array(gain), maximize=True)
    return [(written[row], meant[column]) for row, column in zip(rows, columns, strict=True)]


def _agreeing(one: Call, other: Call) -> int:
    """Arguments of equal name and value."""
    return sum(
        _equal(value, other.arguments[name])
        for name, value in one.arguments.items()
        if name in other.arguments
    )


def _equal(one: Any, other: Any) -> bool:
    """Whether values are equal; True is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _arguments(calls: list[Call]) -> int:
    return sum(len(call.arguments) for call in calls)


def _share(agreeing: int, most: int, without: float) -> float:
    """A share of arguments; where there are none, that of calls."""
    return agreeing / most if most else without
