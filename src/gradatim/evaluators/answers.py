"""The verifier: find the final answer in a response, and decide which answers are equal."""

import json
import os
import re
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import MissingPackageError
from gradatim.core.lazy import require
from gradatim.evaluators.answer_text import AnswerText, balanced, normalize_answer, read_answer
from gradatim.evaluators.voting import UNPARSABLE

EQUALITIES = ("math", "exact")

STARTUP_SECONDS = 60.0
"""What the process with math-verify may take to start."""

_WARM_UP = (r"\frac{x}{2}", ["x"], False)

_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?:(\{)|([^\s{}\\$]+))")
_ANSWER_IS = re.compile(r"\banswer\b\W{0,4}(?:is\b|:)", re.IGNORECASE)
_HASHES = re.compile("####")
_SENTENCE_END = re.compile(r"\.(?:\s|$)")
_NUMBER = re.compile(r"-?\$?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+|/\d+)?")


def extract_answer(response: str | None, *, last_number: bool = False) -> str | None:
    r"""Find the final answer in a free text.

    The last ``\boxed{...}`` whose brace closes; without one, what follows the last "the answer is"
    or "Answer:" in its sentence; without that, what follows the last ``####``.

    Args:
        response: the text; None gives None.
        last_number: whether the last number of the text counts if there is nothing else.

    Returns:
        The answer in normal form, or None if there is none.

    >>> extract_answer(r"So $x = \boxed{\frac{1}{2}}$, as said.")
    '\\frac{1}{2}'
    >>> extract_answer("The answer is 3.5. Done."), extract_answer("5 + 2 = 7\n#### 7")
    ('3.5', '7')
    >>> extract_answer("I get 12"), extract_answer("I get 12", last_number=True)
    (None, '12')
    """
    if response is None:
        return None
    for found in reversed(list(_BOX.finditer(response))):
        if found[2]:
            return normalize_answer(found[2]) or None
        end = balanced(response, found.start(1))
        if end is not None:
            return normalize_answer(response[found.end(1) : end]) or None
    for pattern in (_ANSWER_IS, _HASHES):
        for found in reversed(list(pattern.finditer(response))):
            rest = response[found.end() :].partition("\n")[0].strip(" \t\r:*")
            stop = _SENTENCE_END.search(rest)
            answer = normalize_answer((rest[: stop.start()] if stop else rest).rstrip(" *"))
            if answer:
                return answer
    numbers = _NUMBER.findall(response) if last_number else []
    return normalize_answer(numbers[-1]) if numbers else None


class AnswerVerifier:
    r"""Decides which answers are equal: 1/2, 0.5 and ``\frac{1}{2}`` are one answer.

    Equal texts (in normal form) are equal; plain numbers are compared as exact fractions, and a
    decimal with six or more places also equals what it rounds; words are compared as text. All
    else is decided by math-verify in a process of its own, which starts when it is first needed.
    It takes no signals, so that it is safe in threads and in processes that were forked, and a
    comparison that takes too long is stopped whatever it does.

    Args:
        equality: "math" as above, or "exact": equal texts only, blanks around them aside.
        timeout: seconds after which a comparison counts as unequal; ``undecided``
            counts these and those on which math-verify broke down.

    Raises:
        InputError: another equality, or a timeout that is not above 0.
        MissingPackageError: math-verify is needed and not installed, or does not start; raised by
            a comparison.

    >>> with AnswerVerifier() as verifier:
    ...     verifier.equal("1/2", "0.5"), verifier.equal("Paris", "London")
    (True, False)
    """

    def __init__(self, *, equality: str = "math", timeout: float = 5.0) -> None:
        check_choice("equality", equality, EQUALITIES)
        check_range("timeout", timeout, 0, open_low=True)
        self.undecided = 0
        self._exact = equality == "exact"
        self._timeout = timeout
        self._lock = threading.Lock()
        self._worker: _Worker | None = None

    def read(self, answer: str | None) -> AnswerText | None:
        """An answer in the form in which it is compared; None if it holds nothing."""
        if answer is None:
            return None
        if self._exact:
            text = answer.strip()
            return AnswerText(text, None, words=False) if text else None
        return read_answer(answer)

    def equal(self, reference: str | None, answer: str | None) -> bool:
        """Whether an answer equals the reference; None and blank text equal nothing.

        >>> AnswerVerifier(equality="exact").equal("1/2", "0.5")
        False
        """
        return bool(self.matches(reference, [answer])[0])

    def matches(self, reference: str | None, answers: Sequence[str | None]) -> NDArray[np.bool_]:
        """Which answers equal the reference; None and blank text equal nothing.

        >>> AnswerVerifier().matches("0.50", ["1/2", None, "2"]).tolist()
        [True, False, False]
        """
        gold = self.read(reference)
        read = [self.read(answer) for answer in answers]
        if gold is None:
            return np.zeros(len(read), dtype=bool)
        return np.array(self._decide(gold, read), dtype=bool)

    def codes(self, answers: Sequence[str | None]) -> NDArray[np.int64]:
        """Group the answers to one problem: equal answers get equal codes 0, 1, ... as they come.

        Each answer is compared with the first one of every group. What is None or blank gets -1.

        >>> AnswerVerifier().codes(["0.5", "2", "1/2", None, "2.0"]).tolist()
        [0, 1, 0, -1, 1]
        """
        known: dict[str, int] = {}
        groups: list[AnswerText] = []
        codes = np.full(len(answers), UNPARSABLE, dtype=np.int64)
        for place, answer in enumerate(answers):
            read = self.read(answer)
            if read is None:
                continue
            code = known.get(read.text)
            if code is None:
                equal = self._decide(read, groups, reverse=True)
                code = equal.index(True) if True in equal else len(groups)
                known[read.text] = code
                if code == len(groups):
                    groups.append(read)
            codes[place] = code
        return codes

    def close(self) -> None:
        """End the process, if one was started."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _decide(
        self, one: AnswerText, others: Sequence[AnswerText | None], *, reverse: bool = False
    ) -> list[bool]:
        """Which of the others equal one; ``reverse`` makes the others the references."""
        told: list[bool | None] = [
            False
            if other is None
            else (one.text == other.text if self._exact else one.equals(other))
            for other in others
        ]
        open_places = [place for place, equal in enumerate(told) if equal is None]
        if open_places and True not in (told if reverse else ()):
            texts = [other.text for place in open_places if (other := others[place])]
            answers = self._ask(one.text, texts, reverse)
            for place, equal in zip(open_places, answers, strict=True):
                told[place] = equal
        return [bool(equal) for equal in told]

    def _ask(self, one: str, others: Sequence[str], reverse: bool) -> list[bool]:
        with self._lock:
            if self._worker is not None and not self._worker.usable():
                self._worker = None
            if self._worker is None:
                self._worker = _Worker()
            answers = self._worker.ask(one, others, reverse, self._timeout)
        if answers is not None:
            return answers
        if len(others) > 1:
            return [self._ask(one, [other], reverse)[0] for other in others]
        self.undecided += 1
        return [False]


class _Worker:
    """The process with math-verify, and the one question that it is asked at a time."""

    def __init__(self) -> None:
        if find_spec("math_verify") is None:
            require("math_verify", extra="llm", why="to compare answers that are not plain numbers")
        script = Path(__file__).with_name("answer_worker.py")
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        self._owner = os.getpid()
        self._fresh = True
        self._finalizer = weakref.finalize(self, _kill, self._process, self._owner)

    def usable(self) -> bool:
        """Whether it runs, and belongs to this process (and not to one that this was forked of)."""
        return self._owner == os.getpid() and self._process.poll() is None

    def ask(
        self, one: str, others: Sequence[str], reverse: bool, timeout: float
    ) -> list[bool] | None:
        """Which of the others equal one; None if it took too long or died, and has ended."""
        if self._fresh:
            if self._exchange(_WARM_UP, STARTUP_SECONDS) is None:
                raise MissingPackageError(
                    f"math-verify did not start in a process of its own within "
                    f"{STARTUP_SECONDS:g} seconds; try: {sys.executable} -c 'import math_verify'"
                )
            self._fresh = False
        return self._exchange((one, list(others), reverse), timeout)

    def _exchange(self, question: tuple[str, list[str], bool], timeout: float) -> list[bool] | None:
        assert self._process.stdin is not None and self._process.stdout is not None
        clock = threading.Timer(timeout, self._process.kill)
        clock.daemon = True
        clock.start()
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except (OSError, ValueError):  # it has ended, or its pipes are closed
            line = ""
        finally:
            clock.cancel()
        if not line.endswith("\n"):
            self.end()
            return None
        return [bool(equal) for equal in json.loads(line)]

    def end(self) -> None:
        """End the process."""
        self._finalizer()


def _kill(process: "subprocess.Popen[str]", owner: int) -> None:
    if owner == os.getpid():
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def equivalence_classes(
    answers: Sequence[str | None], *, verifier: AnswerVerifier | None = None
) -> NDArray[np.int64]:
    """Group the answers to one problem, so that votes count 1/2 and 0.5 together.

    Args:
        answers: one answer a candidate; None or blank text is one that could not be read.
        verifier: what decides; give one of your own to use it for many problems.

    Returns:
        Codes 0, 1, ... in the order in which answers occur first, -1 for None; shape [N].

    Raises:
        MissingPackageError: an answer that is no plain number or word, without math-verify.

    >>> equivalence_classes(["0.5", "2", "1/2", None]).tolist()
    [0, 1, 0, -1]
    """
    if verifier is not None:
        return verifier.codes(answers)
    with AnswerVerifier() as own:
        return own.codes(answers)
