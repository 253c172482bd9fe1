"""What a user's environment is: a prompt, what follows on each step, and a verdict at the end."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from gradatim.core.checks import check_range, check_same_length

TaskT = TypeVar("TaskT")
ContraTaskT = TypeVar("ContraTaskT", contravariant=True)


@dataclass(frozen=True)
class Turn:
    """What an environment says after a step.

    Attributes:
        observation: text that is put behind the answer so far, such as a tool's result; "" if
            there is nothing to say.
        done: whether the answer has ended.

    >>> Turn(observation="result: 5\\n").done
    False
    """

    observation: str = ""
    done: bool = False


class Environment(Protocol[ContraTaskT]):
    """Tasks that a language model answers, in one go or in steps.

    An environment keeps nothing between calls: where an answer stands is told by its text alone,
    so that a search may go back to any step and many answers can be written side by side. All of
    the answer is text behind the prompt: what the model wrote and what was observed.
    """

    def prompt(self, task: ContraTaskT) -> str:
        """What the model reads before it answers."""
        ...

    def step(self, task: ContraTaskT, answer: str) -> Turn:
        """What follows on an answer so far, which may break off anywhere.

        The model has just written its end. If that ends a call of a tool, the tool's result is
        what is observed; in the middle of a call nothing is.
        """
        ...

    def verify(self, task: ContraTaskT, answer: str) -> float:
        """How good an answer is, ended or not: 1 is right and 0 wrong; other numbers are allowed.

        Equal answers get equal numbers.
        """
        ...


class TextTokens(Protocol):
    """A tokenizer: those of transformers are, with their special tokens left to the template."""

    def encode(self, text: str, /) -> list[int]:
        """The token ids of a text."""
        ...

    def decode(self, ids: Iterable[int], /) -> str:
        """The text of token ids."""
        ...


def play(
    environment: Environment[TaskT],
    tasks: Sequence[TaskT],
    write: Callable[[Sequence[str]], Sequence[str]],
    *,
    turns: int = 8,
) -> list[str]:
    """Let a model answer tasks, many side by side, until each is done.

    Args:
        environment: what the tasks are set in.
        tasks: what is to be answered.
        write: from texts (a prompt and the answer so far) to what the model writes next, one text
            each; it should stop where a call ends.
        turns: how often the model writes at most.

    Returns:
        The answers, observations included, in the order of the tasks.

    Raises:
        InputError: fewer than one turn, or ``write`` gives another number of texts.

    >>> class Echo:
    ...     def prompt(self, task): return f"{task}?"
    ...     def step(self, task, answer): return Turn(done=len(answer) > 3)
    ...     def verify(self, task, answer): return float(answer == task * 4)
    >>> play(Echo(), ["a"], lambda texts: [text[0] * 2 for text in texts])
    ['aaaa']
    """
    check_range("turns", turns, 1)
    prompts = [environment.prompt(task) for task in tasks]
    answers, running = [""] * len(tasks), list(range(len(tasks)))
    for _ in range(turns):
        if not running:
            break
        written = write([prompts[row] + answers[row] for row in running])
        check_same_length(texts=running, written=written)
        left = []
        for row, text in zip(running, written, strict=True):
            answers[row] += text
            turn = environment.step(tasks[row], answers[row])
            answers[row] += turn.observation
            if not turn.done:
                left.append(row)
        running = left
    return answers
