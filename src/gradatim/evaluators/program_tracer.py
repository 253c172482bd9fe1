"""Running straight-line arithmetic programs, statement by statement, without running Python."""

import ast
import operator
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from numbers import Integral
from types import MappingProxyType
from typing import Any

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError

Number = int | float | str | Fraction
State = Mapping[str, Fraction]
"""The variables after a statement, by name."""

Function = Callable[..., int | float | Fraction]

_LARGEST_POWER = 64
_BINARY: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda a, b: Fraction(a // b),
    ast.Mod: operator.mod,
    ast.Pow: lambda a, b: _power(a, b),
}
_UNARY: Mapping[type[ast.unaryop], Callable[[Fraction], Fraction]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
FUNCTIONS: Mapping[str, Function] = MappingProxyType({"abs": abs, "min": min, "max": max})
"""The functions that a program may call if it is told no others."""

_FAILURES = (SyntaxError, ArithmeticError, ValueError, TypeError, KeyError, MemoryError)


class ProgramTracer:
    """Interprets programs whose statements assign arithmetic expressions to variables.

    Nothing of a program is handed to Python: an expression may hold numbers, variables,
    ``+ - * / // % **``, parentheses and calls of the functions given here, and all else makes the
    program fail, as do an unknown variable, a division by zero and a number beyond the limits.
    Numbers are exact: ``0.1`` is one tenth, and 1 and 1.0 are one value. As there are no loops,
    the limits bound the time, which is about 10 microseconds a statement.

    Args:
        functions: what programs may call, by name (``"sqrt"``, ``"math.sqrt"``); floating-point
            results are taken at their shortest decimal form.
        most_statements: statements of a program at most; of lines, comments among them, twice as
            many.
        longest_line: characters of a line at most.
        largest: the largest numerator and denominator.

    Raises:
        InputError: a limit below 1.

    Source: the tracing of Ni et al. 2023, arXiv 2205.14318, section 3.2, where programs run as
    Python code in a process of their own.

    >>> states = ProgramTracer()("total = n0 + 2\\nanswer = total / 4", {"n0": 4})
    >>> [{name: str(value) for name, value in state.items()} for state in states]
    [{'n0': '4', 'total': '6'}, {'n0': '4', 'total': '6', 'answer': '3/2'}]
    >>> ProgramTracer()("answer = open('data')") is None
    True
    """

    def __init__(
        self,
        *,
        functions: Mapping[str, Function] = FUNCTIONS,
        most_statements: int = 100,
        longest_line: int = 500,
        largest: int = 10**30,
    ) -> None:
        for name, value in (
            ("most_statements", most_statements),
            ("longest_line", longest_line),
            ("largest", largest),
        ):
            check_range(name, value, 1)
        self.functions = dict(functions)
        self.most_statements, self.longest_line = most_statements, longest_line
        self.largest = largest

    def __call__(
        self, program: str | Sequence[str], inputs: Mapping[str, Number] | None = None
    ) -> list[State] | None:
        """The variables after each statement.

        Args:
            program: its text, or its statements one by one (each must be one statement).
            inputs: variables that are there from the start.

        Returns:
            A state a statement, the inputs among its variables; None if the program fails.

        Raises:
            InputError: an input that is no finite number.
        """
        state = {name: _exact(f"inputs[{name!r}]", n) for name, n in (inputs or {}).items()}
        try:
            statements = self._statements(program)
            states: list[State] = []
            for statement in statements:
                name, value = self._assignment(statement, state)
                state = {**state, name: value}
                states.append(MappingProxyType(state))
        except (*_FAILURES, RecursionError):
            return None
        return states

    def _statements(self, program: str | Sequence[str]) -> list[ast.stmt]:
        """The parsed statements.

        Raises:
            ValueError: they are too many or too long, or one is not one.
            SyntaxError: a text that cannot be parsed.
        """
        if isinstance(program, str):
            lines = program.splitlines()
            if len(lines) > 2 * self.most_statements:  # a statement may need several lines
                raise ValueError
            self._check_lengths(lines)
            found = _parsed(program)
        else:
            self._check_lengths(program)
            found = [_statement(text) for text in program]
        if len(found) > self.most_statements:
            raise ValueError
        return found

    def _check_lengths(self, lines: Sequence[str]) -> None:
        if any(len(line) > self.longest_line for line in lines):
            raise ValueError

    def _assignment(self, statement: ast.stmt, state: State) -> tuple[str, Fraction]:
        """The variable that a statement assigns to, and its new value."""
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                return name, self._value(value, state)
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                return name, self._bounded(
                    _BINARY[type(op)](state[name], self._value(value, state))
                )
        raise ValueError

    def _value(self, node: ast.expr, state: State) -> Fraction:
        """The value of an expression."""
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                found = _fraction(number)
            case ast.Name(id=name):
                found = state[name]
            case ast.BinOp(left=left, op=binary, right=right):
                found = _BINARY[type(binary)](self._value(left, state), self._value(right, state))
            case ast.UnaryOp(op=unary, operand=operand):
                found = _UNARY[type(unary)](self._value(operand, state))
            case ast.Call(func=called, args=arguments, keywords=[]):
                values = [self._value(argument, state) for argument in arguments]
                found = _fraction(self.functions[_dotted(called)](*values))
            case _:
                raise ValueError
        return self._bounded(found)

    def _bounded(self, value: Fraction) -> Fraction:
        if abs(value.numerator) > self.largest or value.denominator > self.largest:
            raise OverflowError
        return value


def state_key(values: Mapping[str, Number] | Iterable[Number]) -> tuple[Fraction, ...]:
    """What makes two states one: the values of the variables, whatever their names and order.

    Programs that differ only in the names of variables have equal keys. So have, on purpose,
    programs that happen to compute the same values in other ways.

    Args:
        values: a state, or its values.

    Returns:
        The values, exact and sorted; a value that occurs twice stands twice.

    Raises:
        InputError: a value that is no finite number.

    Source: Ni et al. 2023, arXiv 2205.14318, section 3.2 (where values are compared as text, so
    that 1 and 1.0 differ).

    >>> state_key({"a": 1, "b": 2}) == state_key({"x": 2.0, "y": 1})
    True
    >>> state_key([1, 2]) == state_key([1, 2, 2])
    False
    """
    given = values.values() if isinstance(values, Mapping) else values
    return tuple(sorted(_exact("values", value) for value in given))


def right_answer(
    state: State, expected: Number, *, name: str = "answer", tolerance: float = 0.0
) -> bool | None:
    """Whether a state holds the right answer.

    Args:
        state: the variables.
        expected: the right answer.
        name: the variable that holds the answer.
        tolerance: how far off it may be, at least 0.

    Returns:
        None if there is no answer yet.

    Raises:
        InputError: an expected answer that is no finite number, or a negative tolerance.

    >>> state = {"answer": Fraction(1, 3)}
    >>> right_answer(state, "1/3"), right_answer(state, 0.33), right_answer({}, 1)
    (True, False, None)
    >>> right_answer(state, 0.33, tolerance=0.01)
    True
    """
    check_range("tolerance", tolerance, 0)
    if name not in state:
        return None
    return abs(state[name] - _exact("expected", expected)) <= _fraction(tolerance)


def normal_statement(statement: str) -> str:
    """A statement in one form of writing: blanks, comments and needless parentheses do not count.

    Args:
        statement: its text.

    Returns:
        The normal form; for a text that cannot be parsed, the text without blanks around it.

    >>> normal_statement(" t0=(n0 +n1)  # both")
    't0 = n0 + n1'
    """
    return _normal(statement.strip())


_MEMORY = 4096
"""Statements whose reading is kept in mind: a model writes the same ones again and again."""


@lru_cache(_MEMORY)
def _statement(text: str) -> ast.stmt:
    (one,) = _parsed(text)
    return one


@lru_cache(_MEMORY)
def _normal(text: str) -> str:
    try:
        return "; ".join(ast.unparse(one) for one in _parsed(text))
    except (*_FAILURES, RecursionError):
        return text


def _parsed(text: str) -> list[ast.stmt]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd code, as "1is 1"
        return ast.parse(text).body


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1 or abs(exponent) > _LARGEST_POWER:
        raise OverflowError
    return Fraction(base ** int(exponent))


def _dotted(node: ast.expr) -> str:
    """The name of what is called, as ``sqrt`` or ``math.sqrt``."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id=module), attr=name):
            return f"{module}.{name}"
    raise ValueError


def _fraction(value: Any) -> Fraction:
    """A number as a fraction, also one of numpy's; a float at its shortest decimal form."""
    if type(value) is Fraction:
        return value
    if isinstance(value, float):
        return Fraction(repr(float(value)))
    return Fraction(int(value)) if isinstance(value, Integral) else Fraction(value)


def _exact(name: str, value: Number) -> Fraction:
    """A number as an exact fraction."""
    try:
        return _fraction(value)
    except (ValueError, TypeError, ZeroDivisionError):
        raise InputError(f"{name}: expected a finite number, got {value!r}") from None
