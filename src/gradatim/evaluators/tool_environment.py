"""An environment of problems that a model answers with the help of tools: a calculator, look-ups.

What the model writes and what it reads are lines of text::

    call: calculator(12 * 7)
    result: 84
    answer: 84
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from fractions import Fraction

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.evaluators.problem_verifiers import Verifier
from gradatim.language.environments import Turn
from gradatim.language.problems import Problem

Tool = Callable[[str], str]
"""From what stands between the brackets of a call to the text of its result."""

_CALL = re.compile(r"call:\s*(\w+)\((.*)\)\s*")
_ANSWER = re.compile(r"answer:(.*)")
_EXPONENT = re.compile("[eE]")
_NAME = re.compile(r"\w+")
_MOST_BITS = 4096
_MOST_CHARACTERS = 400
_OPERATORS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction | int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def calculate(expression: str) -> str:
    """The exact value of an arithmetic expression; no code is run.

    Numbers, brackets, ``+ - * / // % **`` and signs are allowed. Values are fractions: what ends
    as a decimal is written as one, all else as a fraction.

    Args:
        expression: at most 400 characters.

    Returns:
        The value as text.

    Raises:
        InputError: anything else, a division by zero, or a number with more than 4,096 bits.

    >>> calculate("2 * (3 + 4) - 1"), calculate("0.1 + 0.2"), calculate("1 / 3")
    ('13', '0.3', '1/3')
    """
    if len(expression) > _MOST_CHARACTERS:
        raise InputError(
            f"expression: expected at most {_MOST_CHARACTERS} characters, got {len(expression)}"
        )
    try:
        body = ast.parse(expression.strip(), mode="eval").body
        return _written(_value(body, expression))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"expression: expected arithmetic, got {expression[:40]!r}") from None
    except ZeroDivisionError:
        raise InputError(f"expression: division by zero in {expression[:40]!r}") from None


class LookupTool:
    """Finds the text that is kept under a name.

    Args:
        entries: what is kept; case and blanks around a name do not matter.

    Raises:
        InputError: two names that are the same but for these.

    >>> find = LookupTool({"Capital of France": "Paris"})
    >>> find("capital of france"), find("Rome")
    ('Paris', "error: nothing is kept under 'Rome'")
    """

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._entries = {name.strip().casefold(): text for name, text in entries.items()}
        if len(self._entries) != len(entries):
            raise InputError("entries: expected names that differ by more than case and blanks")

    def __call__(self, name: str) -> str:
        """The text, or an error that names what was asked for."""
        plain = name.strip().strip("\"'")
        found = self._entries.get(plain.casefold())
        return f"error: nothing is kept under {plain!r}" if found is None else found


class ToolEnvironment:
    """Problems that are answered in steps, each a call of a tool or the answer.

    See :class:`gradatim.language.environments.Environment`. A line ``call: tool(input)`` is
    answered by a line ``result: ...``, or ``result: error: ...``; a line ``answer: ...`` ends.
    Lines of other kinds are the model's own notes.

    Args:
        tools: by name; what one raises as InputError becomes an error in its result.
        verifier: who says which answers are right.
        calls: how many calls an answer may hold; after these every result is an error.

    Raises:
        InputError: no tool, a name that is not a word, or a negative number.

    >>> from gradatim.evaluators.problem_verifiers import ReferenceVerifier
    >>> environment = ToolEnvironment({"calculator": calculate}, ReferenceVerifier())
    >>> problem = Problem("What is 12 times 7?", "84", level=1)
    >>> environment.step(problem, "call: calculator(12 * 7)\\n")
    Turn(observation='result: 84\\n', done=False)
    >>> environment.verify(problem, "call: calculator(12 * 7)\\nresult: 84\\nanswer: 84\\n")
    1.0
    """

    def __init__(self, tools: Mapping[str, Tool], verifier: Verifier, *, calls: int = 8) -> None:
        if not tools:
            raise InputError("tools: expected at least one, got none")
        for name in tools:
            if not _NAME.fullmatch(name):
                raise InputError(f"tools: expected names that are words, got {name!r}")
        check_range("calls", calls, 0)
        self.tools, self.verifier, self.calls = dict(tools), verifier, calls

    def prompt(self, task: Problem) -> str:
        """The question, the tools and how they are called."""
        names = ", ".join(f"{name}(...)" for name in self.tools)
        return (
            f"{task.question}\nTools: {names}. Write a line 'call: tool(input)' to use one, and "
            "end with a line 'answer: ...'.\n"
        )

    def step(self, task: Problem, answer: str) -> Turn:
        """The result of a call, if the last line is a whole one; done after an answer's line."""
        if not answer.endswith("\n"):
            return Turn()
        lines = answer.splitlines()
        if _ANSWER.fullmatch(lines[-1]):
            return Turn(done=True)
        called = _CALL.fullmatch(lines[-1])
        if called is None:
            return Turn()
        made = sum(_CALL.fullmatch(line) is not None for line in lines)
        if made > self.calls:
            return Turn(f"result: error: no more than {self.calls} calls\n")
        return Turn(f"result: {self._run(called[1], called[2])}\n")

    def verify(self, task: Problem, answer: str) -> float:
        """1 if the first line ``answer: ...`` is right, else 0."""
        return float(self.verifier.matches(task, [final_answer(answer)])[0])

    def _run(self, name: str, given: str) -> str:
        if name not in self.tools:
            return f"error: there is no tool {name}; there are {', '.join(self.tools)}"
        try:
            return " ".join(self.tools[name](given).split())
        except InputError as error:
            return f"error: {error}"


def final_answer(answer: str) -> str | None:
    """What stands in the first line ``answer: ...``; None without one, or if it is blank.

    >>> final_answer("call: calculator(1 + 1)\\nresult: 2\\nanswer: 2"), final_answer("2")
    ('2', None)
    """
    for line in answer.splitlines():
        found = _ANSWER.fullmatch(line)
        if found:
            return found[1].strip() or None
    return None


def _value(node: ast.expr, expression: str) -> Fraction:
    """The value of a node of the syntax tree, bounded in size."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        written = ast.get_source_segment(expression.strip(), node) or str(node.value)
        # The exponent first: to write out a number of a billion digits would take forever.
        if abs(int(_EXPONENT.split(f"{written}e0".replace("_", ""))[1])) > _MOST_BITS:
            raise InputError(f"expression: expected numbers of at most {_MOST_BITS} bits")
        return _bounded(Fraction(written.replace("_", "")))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
        value = _value(node.operand, expression)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left, expression), _value(node.right, expression)
        if isinstance(node.op, ast.Pow):
            return _power(left, right)
        if type(node.op) in _OPERATORS:
            return _bounded(Fraction(_OPERATORS[type(node.op)](left, right)))
    raise InputError(f"expression: expected arithmetic, got {expression[:40]!r}")


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        raise InputError("expression: expected whole exponents")
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits * abs(exponent) > _MOST_BITS:
        raise InputError(f"expression: expected numbers of at most {_MOST_BITS} bits")
    return Fraction(base ** int(exponent))


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _MOST_BITS:
        raise InputError(f"expression: expected numbers of at most {_MOST_BITS} bits")
    return value


def _written(value: Fraction) -> str:
    """A whole number, a decimal that ends, or a fraction."""
    rest, places = value.denominator, {2: 0, 5: 0}
    for prime in places:
        while rest % prime == 0:
            rest, places[prime] = rest // prime, places[prime] + 1
    digits = max(places.values())
    if rest != 1 or digits == 0:
        return str(value)
    scaled = abs(value) * 10**digits
    text = str(int(scaled)).rjust(digits + 1, "0")
    return f"{'-' if value < 0 else ''}{text[:-digits]}.{text[-digits:]}"
