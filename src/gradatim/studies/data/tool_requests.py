"""Requests that one to three tool calls answer, with how complex each is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator
from gradatim.difficulty.tool_complexity import tool_complexity
from gradatim.language.environments import Turn
from gradatim.metrics.call_match import PARTS, call_match

TOOLS = {
    "book": ("room", "day"),
    "mail": ("who",),
    "pay": ("who", "amount"),
    "alarm": ("hour",),
    "heat": ("room", "degrees"),
    "order": ("count",),
    "play": ("song",),
    "meet": ("who", "day", "hour"),
    "light": ("room",),
    "water": ("amount",),
    "cab": ("hour",),
    "table": ("count", "day"),
}
"""Names of the tools, and of their arguments in the order in which a request gives them."""

PEOPLE = ("ann", "bob", "cleo", "dan", "eve", "finn")
LARGEST = 5
"""The largest number that a request names; a sum or difference of two lies within 0 and 10."""

NO_CALL = "none"
_WORDS = (
    *TOOLS,
    *dict.fromkeys(name for names in TOOLS.values() for name in names),
    *PEOPLE,
    *map(str, range(2 * LARGEST + 1)),
    *("plus", "minus", "then", ":", "[", "]", "(", ")", "=", ",", NO_CALL),
)
END = 1
"""The token that ends an answer; 0 is padding."""

_CALLS = (0.5, 0.3, 0.2)


class WordTokenizer:
    """One token a word; words are parted by blanks, 0 is padding, 1 the end and written ``</s>``.

    Args:
        words: each once, in the order of their ids from 2.

    >>> tokenizer = WordTokenizer(["a", "b"])
    >>> tokenizer.encode("b a"), tokenizer.decode([3, 2, 1])
    ([3, 2], 'b a </s>')
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._words = ("", "</s>", *words)
        self._ids = {word: number for number, word in enumerate(self._words)}

    def __len__(self) -> int:
        """Number of tokens, padding and end included."""
        return len(self._words)

    def encode(self, text: str) -> list[int]:
        """The ids of a text.

        Raises:
            InputError: a word that is not known.
        """
        try:
            return [self._ids[word] for word in text.split()]
        except KeyError as error:
            raise InputError(f"text: expected known words, got {error.args[0]!r}") from None

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, padding left out."""
        return " ".join(self._words[number] for number in ids if number)


TOKENIZER = WordTokenizer(_WORDS)


@dataclass(frozen=True)
class ToolRequest:
    """One request.

    Attributes:
        tools: names of the candidate tools.
        text: the request.
        answer: the right calls, as ``[ mail ( who = ann ) ]``, or ``none`` without a fitting tool.
        calls: how many calls that takes.
        derived: how many arguments have to be computed.
    """

    tools: tuple[str, ...]
    text: str
    answer: str
    calls: int
    derived: int

    @property
    def prompt(self) -> str:
        """Candidates and request, as a model reads them."""
        return f"{' '.join(self.tools)} : {self.text} :"


class RequestEnvironment:
    """Requests that are answered in one go; a reward is the mean share of what is right."""

    def prompt(self, task: ToolRequest) -> str:
        """Candidates and request."""
        return task.prompt

    def step(self, task: ToolRequest, answer: str) -> Turn:
        """Nothing is observed; the model ends its answer."""
        return Turn()

    def verify(self, task: ToolRequest, answer: str) -> float:
        """Mean of the four shares of :func:`gradatim.metrics.call_match.call_match`."""
        return sum(call_match(answer, task.answer).values()) / len(PARTS)


def complexity(requests: Sequence[ToolRequest]) -> NDArray[np.float64]:
    """Difficulty of requests among themselves, by candidates and calls, shape [N]."""
    return tool_complexity(
        [request.tools for request in requests], [request.calls for request in requests]
    )


def tool_requests(
    count: int, *, seed: int = 0, derived_share: float = 0.4, without: float = 0.1
) -> list[ToolRequest]:
    """Different requests over two to seven of twelve tools, drawn at random.

    Args:
        count: how many.
        seed: what they depend on.
        derived_share: share of numbers that are the sum or difference of two.
        without: share of requests whose tool is not among the candidates.

    Raises:
        InputError: no request, or a share outside [0, 1].

    >>> tool_requests(1, seed=3)[0].prompt.endswith(" :")
    True
    """
    check_range("count", count, 1)
    check_range("derived_share", derived_share, 0, 1)
    check_range("without", without, 0, 1)
    generator = numpy_generator(seed, "tool requests")
    found: dict[str, ToolRequest] = {}
    while len(found) < count:
        request = _request(generator, derived_share, without)
        found.setdefault(request.prompt, request)
    return list(found.values())


def _request(generator: np.random.Generator, derived_share: float, without: float) -> ToolRequest:
    size = int(generator.integers(2, 8))
    order = generator.permutation(list(TOOLS))
    candidates = tuple(map(str, order[:size]))
    if generator.random() < without:
        text, _, derived = _call(generator, str(order[size]), derived_share)
        return ToolRequest(candidates, text, NO_CALL, 0, derived)
    count = min(size, 1 + int(generator.choice(3, p=_CALLS)))
    used = [str(name) for name in generator.choice(candidates, count, replace=False)]
    parts = [_call(generator, name, derived_share) for name in used]
    return ToolRequest(
        candidates,
        " then ".join(text for text, _, _ in parts),
        f"[ {' , '.join(call for _, call, _ in parts)} ]",
        count,
        sum(derived for _, _, derived in parts),
    )


def _call(generator: np.random.Generator, tool: str, derived_share: float) -> tuple[str, str, int]:
    """What is said, the call that is meant, and how many of its arguments are computed."""
    said, meant, derived = [tool], [], 0
    for name in TOOLS[tool]:
        one, other = (int(number) for number in generator.integers(0, LARGEST + 1, 2))
        if name == "who":
            words = value = PEOPLE[one % len(PEOPLE)]
        elif generator.random() >= derived_share:
            words = value = str(one)
        elif generator.random() < 0.5:
            words, value = f"{one} plus {other}", str(one + other)
        else:
            one, other = max(one, other), min(one, other)
            words, value = f"{one} minus {other}", str(one - other)
        derived += words != value
        said += [name, words]
        meant.append(f"{name} = {value}")
    return " ".join(said), f"{tool} ( {' , '.join(meant)} )", derived
