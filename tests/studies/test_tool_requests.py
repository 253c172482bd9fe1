"""Requests to tools: what their answers are, and how they are judged."""

import re

import numpy as np
import pytest

from gradatim.core.errors import InputError
from gradatim.metrics.call_match import parse_calls
from gradatim.studies.data.tool_requests import (
    LARGEST,
    NO_CALL,
    TOKENIZER,
    TOOLS,
    RequestEnvironment,
    WordTokenizer,
    complexity,
    tool_requests,
)

REQUESTS = tool_requests(400, seed=5)


def reckoned(text: str) -> dict[str, object]:
    """The arguments that a part of a request means, read anew."""
    found: dict[str, object] = {}
    for name, value in re.findall(r"([a-z]+) (\w+(?: (?:plus|minus) \w+)?)", text):
        words = value.split()
        if len(words) == 1:
            found[name] = int(value) if value.isdigit() else value
        else:
            sign = 1 if words[1] == "plus" else -1
            found[name] = int(words[0]) + sign * int(words[2])
    return found


def test_answers_are_what_is_asked_for() -> None:
    """Each part of a request is one call, with its numbers reckoned."""
    for request in REQUESTS:
        if request.answer == NO_CALL:
            assert request.text.split()[0] not in request.tools and request.calls == 0
            continue
        calls = parse_calls(request.answer)
        assert calls is not None and len(calls) == request.calls
        for call, part in zip(calls, request.text.split(" then "), strict=True):
            name, _, rest = part.partition(" ")
            assert call.name == name in request.tools
            assert call.arguments == reckoned(rest)
            assert tuple(call.arguments) == TOOLS[name]
            numbers = [one for one in call.arguments.values() if isinstance(one, int)]
            assert all(0 <= one <= 2 * LARGEST for one in numbers)


def test_shares_and_reproduction() -> None:
    """Different prompts, drawn by the seed, of all kinds."""
    assert len({request.prompt for request in REQUESTS}) == 400
    assert tool_requests(400, seed=5) == REQUESTS
    assert REQUESTS[0] != tool_requests(1, seed=6)[0]
    assert 0.05 < np.mean([request.calls == 0 for request in REQUESTS]) < 0.16
    assert {request.calls for request in REQUESTS} == {0, 1, 2, 3}
    assert not any(request.derived for request in tool_requests(50, derived_share=0))
    assert all(request.calls == 0 for request in tool_requests(50, without=1))
    for wrong in ({"count": 0}, {"count": 1, "without": 2}, {"count": 1, "derived_share": -1}):
        with pytest.raises(InputError, match=list(wrong)[-1]):
            tool_requests(**wrong)  # type: ignore[arg-type]


def test_tokens() -> None:
    """All requests can be read and written; unknown words are named."""
    for request in REQUESTS:
        for text in (request.prompt, request.answer):
            assert TOKENIZER.decode(TOKENIZER.encode(text)) == text
    assert len(WordTokenizer(["a"])) == 3
    with pytest.raises(InputError, match="'c'"):
        WordTokenizer(["a", "b"]).encode("a c")


def test_judging_and_complexity() -> None:
    """Right is 1, another call less, no call 0; more calls and tools are harder."""
    environment = RequestEnvironment()
    for request in REQUESTS[:50]:
        assert environment.verify(request, request.answer) == 1.0
        assert environment.prompt(request).endswith(" :")
        assert environment.step(request, request.answer).observation == ""
    called = [request for request in REQUESTS if request.calls]
    assert environment.verify(called[0], NO_CALL) == 0.0
    wrong = re.sub(r"= \w+", "= 99", called[0].answer)
    assert environment.verify(called[0], wrong) == 0.5
    hard = complexity(REQUESTS)
    assert hard[[request.calls == 3 for request in REQUESTS]].mean() > hard.mean()
