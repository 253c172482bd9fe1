"""From questions to prompts: by the tokenizer's chat template, or with worked examples."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.language.problems import Problem

INSTRUCTION = "Solve the problem step by step. Put the final answer in \\boxed{}."
"""What a chat model is told before the problem."""

OVERFLOWS = ("error", "skip")

_PROBLEM, _SOLUTION = "Problem: ", "\nSolution:"


@dataclass(frozen=True)
class PromptSet:
    """Prompts as tokens.

    Attributes:
        ids: the tokens of each prompt.
        kept: which problem each prompt asks, as positions.
        skipped: positions of the problems that are too long for the context.
        end_marker: text with which a model that was not taught to stop goes on to the next
            problem; None for chat prompts. See :func:`cut_response`.
    """

    ids: list[list[int]]
    kept: list[int]
    skipped: list[int]
    end_marker: str | None


def build_prompts(
    tokenizer: Any,
    problems: Sequence[Problem],
    *,
    exemplars: Sequence[Problem] = (),
    instruction: str = INSTRUCTION,
    chat: bool | None = None,
    context_length: int | None = None,
    longest: int = 0,
    overflow: str = "error",
) -> PromptSet:
    r"""Make a prompt of each problem.

    A chat prompt is a user's message with the instruction and the problem; exemplars stand before
    it as earlier turns. Without a chat template a prompt is
    ``Problem: ...\nSolution: ...\n\n`` for each exemplar, then ``Problem: ...\nSolution:``.

    Args:
        tokenizer: a tokenizer of transformers.
        problems: what to ask.
        exemplars: problems with solutions that are shown before each.
        instruction: what a chat model is told; not used without a template.
        chat: whether to use the chat template; None uses it if there is one.
        context_length: the longest sequence that the model reads; None if there is no limit.
        longest: how many new tokens must fit behind the prompt.
        overflow: what to do with a problem that is too long: "error", or "skip", which counts it.

    Returns:
        The prompts, and which problems they ask.

    Raises:
        InputError: a chat template is asked for and there is none, an exemplar has no solution, or
            a problem is too long (it is named).
    """
    check_choice("overflow", overflow, OVERFLOWS)
    check_range("longest", longest, 0)
    template = getattr(tokenizer, "chat_template", None) is not None
    if chat and not template:
        raise InputError("chat: the tokenizer has no chat template")
    use_chat = template if chat is None else chat
    shown = [(problem.question, _solution(problem)) for problem in exemplars]
    ids, kept, skipped = [], [], []
    for place, problem in enumerate(problems):
        if use_chat:
            tokens = _chat(tokenizer, problem.question, shown, instruction)
        else:
            tokens = _plain(tokenizer, problem.question, shown)
        if context_length is None or len(tokens) + longest <= context_length:
            ids.append(tokens)
            kept.append(place)
        elif overflow == "skip":
            skipped.append(place)
        else:
            raise InputError(
                f"problems: problem {place} ({problem.question[:40]!r}...) makes a prompt of "
                f"{len(tokens)} tokens, which with {longest} new ones exceeds the model's context "
                f"of {context_length}; shorten it, allow fewer new tokens or exemplars, or leave "
                "such problems out with overflow='skip'"
            )
    return PromptSet(ids, kept, skipped, None if use_chat else "\n\n" + _PROBLEM.strip())


def cut_response(text: str, end_marker: str | None) -> str:
    r"""The response up to where the model goes on to another problem.

    >>> cut_response("It is 3.\n\nProblem: 1 + 1", "\n\nProblem:")
    'It is 3.'
    """
    return text if end_marker is None else text.partition(end_marker)[0]


def cut_tokens(tokenizer: Any, tokens: Sequence[int], end_marker: str | None) -> int:
    """How many tokens of a response make up its text up to the end marker.

    Args:
        tokenizer: what decodes them.
        tokens: the response.
        end_marker: as in :class:`PromptSet`.

    Returns:
        The smallest number of tokens whose text holds the cut response; all of them if there is
        nothing to cut.
    """
    text = tokenizer.decode(list(tokens), skip_special_tokens=True)
    if end_marker is None or end_marker not in text:
        return len(tokens)
    wanted = len(cut_response(text, end_marker))
    counts = range(len(tokens) + 1)
    return bisect.bisect_left(
        counts, wanted, key=lambda count: len(tokenizer.decode(list(tokens[:count])))
    )


def _solution(problem: Problem) -> str:
    if problem.solution is None:
        raise InputError(f"exemplars: expected a solution to {problem.question[:40]!r}, got none")
    return problem.solution


def _chat(
    tokenizer: Any, question: str, shown: Sequence[tuple[str, str]], instruction: str
) -> list[int]:
    """Tokens of a conversation that waits for the model's turn."""
    turns = []
    for asked, told in (*shown, (question, "")):
        content = f"{instruction}\n\n{asked}" if instruction else asked
        turns.append({"role": "user", "content": content})
        turns.append({"role": "assistant", "content": told})
    text = tokenizer.apply_chat_template(turns[:-1], tokenize=False, add_generation_prompt=True)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _plain(tokenizer: Any, question: str, shown: Sequence[tuple[str, str]]) -> list[int]:
    examples = "".join(f"{_PROBLEM}{asked}{_SOLUTION} {told}\n\n" for asked, told in shown)
    return list(tokenizer(f"{examples}{_PROBLEM}{question}{_SOLUTION}")["input_ids"])
