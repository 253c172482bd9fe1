"""How an easy-to-hard evaluation is made."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from gradatim.language.problems import Problem
from gradatim.workflows.easy_to_hard_candidates import Sampling


@dataclass(frozen=True)
class EasyToHardSettings:
    """How an easy-to-hard evaluation is made.

    Attributes:
        train_problems: easy problems whose solutions evaluators are trained on, at most.
        test_per_level: problems of each level on which all is measured, at most.
        sampling: how solutions are sampled.
        continuations: how often each step of a solution is continued to see whether the answer can
            be reached from it; these are the labels of steps (Math-Shepherd). With 0, which costs
            nothing, each step has the label of its solution's outcome.
        labelled: of how many solutions of a training problem the steps are continued.
        separator: text between steps.
        aggregate: how the scores of steps become one: "product", "min", "mean" or "last".
        instruction: what a chat model is told; None takes the usual one.
        chat: whether the chat template is used; None uses it if there is one.
        exemplars: easy problems with solutions that are shown before each problem.
        overflow: what to do with problems too long for the context: "error", or "skip" and count.
        last_number: whether a solution's last number is its answer if it names none.
        seed: what the choice of problems and all draws depend on.
    """

    train_problems: int = 100
    test_per_level: int = 25
    sampling: Sampling = field(default_factory=Sampling)
    continuations: int = 0
    labelled: int = 2
    separator: str = "\n"
    aggregate: str = "min"
    instruction: str | None = None
    chat: bool | None = None
    exemplars: Sequence[Problem] = ()
    overflow: str = "skip"
    last_number: bool = True
    seed: int = 0

    def record(self) -> dict[str, Any]:
        """The settings as plain values."""
        return {**asdict(self), "exemplars": [one.question for one in self.exemplars]}
