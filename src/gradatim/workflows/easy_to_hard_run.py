"""The phases of an easy-to-hard evaluation: sample, grade, train, score, vote."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from gradatim.core.cache import model_hash
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator
from gradatim.core.statistics import proportion_interval
from gradatim.evaluators.answers import extract_answer
from gradatim.evaluators.problem_verifiers import Verifier
from gradatim.evaluators.reward_examples import monte_carlo_step_labels
from gradatim.language.loading import LanguageModel
from gradatim.language.problems import Problem
from gradatim.language.prompts import INSTRUCTION, PromptSet, build_prompts
from gradatim.language.text_steps import TextSteps
from gradatim.workflows.easy_to_hard_candidates import Progress, Solution, SolutionSampler
from gradatim.workflows.easy_to_hard_evaluators import (
    StepStates,
    TrainedEvaluators,
    check_trainable,
    read_states,
    train_evaluators,
)
from gradatim.workflows.easy_to_hard_result import EasyToHardResult
from gradatim.workflows.easy_to_hard_settings import EasyToHardSettings
from gradatim.workflows.rerank import rerank

if TYPE_CHECKING:
    import pandas as pd

SCORES = ("likelihood", "orm", "prm", "oprm")


class Clock:
    """Seconds by phase; those of a phase within another count once, for the inner one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner = 0.0

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Count the time of a block."""
        before, self._inner = self._inner, 0.0
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            own = spent - self._inner
            self.seconds[phase] = self.seconds.get(phase, 0.0) + own
            self._inner = before + spent


class EasyToHardRun:
    """One evaluation, phase by phase."""

    def __init__(
        self,
        loaded: LanguageModel,
        problems: Sequence[Problem],
        border: tuple[int, int | None],
        verifier: Verifier,
        settings: EasyToHardSettings,
        folder: Path,
        progress: Progress | None,
        clock: Clock,
    ) -> None:
        self.easy, self.hard = border
        self.settings, self.verifier, self._clock = settings, verifier, clock
        self.folder, self.loaded = folder, loaded
        self.sampling = replace(settings.sampling, seed=settings.seed)
        self.steps = TextSteps(loaded.tokenizer, settings.separator)
        train, test = split_problems(problems, self.easy, settings)
        self.train, self.train_prompts = self._prompts(train)
        self.test, self.test_prompts = self._prompts(test)
        for name, part in (("easy training", self.train), ("test", self.test)):
            if not part:
                raise InputError(f"problems: all {name} problems are too long for the context")
        self.skipped = len(train) + len(test) - len(self.train) - len(self.test)
        self.model_key = model_hash(loaded.model.inner)
        self.sampler = SolutionSampler(
            loaded,
            folder,
            self.model_key,
            end_marker=self.test_prompts.end_marker,
            progress=progress,
        )

    def result(self) -> EasyToHardResult:
        """All phases."""
        evaluators = self._trained()
        solutions = self._sampled("sampling test solutions", self.test_prompts)
        with self._clock("sampling likeliest solutions"):
            greedy = self.sampler.sample(
                "sampling likeliest solutions",
                self.test_prompts.ids,
                replace(self.sampling, temperature=0.0, copies=1),
            )
        states = self._states("reading test solutions", self.test_prompts, solutions)
        table = self._table(solutions, evaluators.scores(states))
        with self._clock("voting"):
            asked: dict[str, Any] = {
                "score": list(SCORES),
                "correct": "correct",
                "seed": self.settings.seed,
            }
            by_level = rerank(table, level="level", **asked)
            known = table[table["part"] != "between"]
            by_part = rerank(known, level="part", **asked)
        return EasyToHardResult(
            by_level=replace(by_level, source=self.loaded.name),
            by_part=replace(by_part, source=self.loaded.name),
            greedy=self._greedy(greedy),
            evaluators=_quality(known, evaluators),
            solutions=table,
            seconds=self._clock.seconds,
            notes=self._notes(),
            settings={
                "model": self.loaded.name,
                "easy": self.easy,
                "hard": self.hard,
                **self.settings.record(),
            },
        )

    def _prompts(self, problems: Sequence[Problem]) -> tuple[list[Problem], PromptSet]:
        settings = self.settings
        prompts = build_prompts(
            self.loaded.tokenizer,
            problems,
            exemplars=settings.exemplars,
            instruction=INSTRUCTION if settings.instruction is None else settings.instruction,
            chat=settings.chat,
            context_length=self.loaded.model.context_length,
            longest=self.sampling.longest,
            overflow=settings.overflow,
        )
        return [problems[place] for place in prompts.kept], prompts

    def _sampled(self, phase: str, prompts: PromptSet) -> list[Solution]:
        with self._clock(phase):
            return self.sampler.sample(phase, prompts.ids, self.sampling)

    def _states(self, phase: str, prompts: PromptSet, solutions: Sequence[Solution]) -> StepStates:
        with self._clock(phase):
            return read_states(
                *(self.loaded.model, self.model_key, prompts.ids, solutions),
                *(self.steps, self.folder),
            )

    def _trained(self) -> TrainedEvaluators:
        """Evaluators trained on solutions of easy problems."""
        solutions = self._sampled("sampling easy solutions", self.train_prompts)
        correct, _ = self._graded(self.train, solutions)
        check_trainable(correct)
        states = self._states("reading easy solutions", self.train_prompts, solutions)
        labels = [
            [float(right)] * len(own) for right, own in zip(correct, states.ends, strict=True)
        ]
        if self.settings.continuations:
            labels = self._continued(solutions, correct, states)
        with self._clock("training evaluators"):
            return train_evaluators(
                states,
                correct,
                labels,
                aggregate=self.settings.aggregate,
                seed=self.settings.seed,
            )

    def _continued(
        self, solutions: Sequence[Solution], correct: NDArray[np.bool_], states: StepStates
    ) -> list[list[float]]:
        """Labels of steps by continuing them: up to the first from which no answer is reached."""
        copies = self.sampling.copies
        labels = [[np.nan] * len(own) for own in states.ends]
        places, prefixes = [], []
        for row, (solution, ends) in enumerate(zip(solutions, states.ends, strict=True)):
            if row % copies >= self.settings.labelled or not ends:
                continue
            labels[row][-1] = float(correct[row])
            for step, end in enumerate(ends[:-1]):
                places.append((row, step))
                prefixes.append((solution.prompt, solution.tokens[: end + 1]))
        with self._clock("continuing steps"):
            found = monte_carlo_step_labels(self._rollout, prefixes, self.settings.continuations)
        for (row, step), good in zip(places, found.hard.tolist(), strict=True):
            labels[row][step] = float(good)
        return [_until_first_error(own) for own in labels]

    def _rollout(self, prefixes: Sequence[tuple[int, list[int]]], k: int) -> torch.Tensor:
        """Whether continuations of beginnings of solutions reach the answer, shape [P, k]."""
        prompts = [[*self.train_prompts.ids[prompt], *tokens] for prompt, tokens in prefixes]
        limit = self.loaded.model.context_length
        longest = self.sampling.longest
        if limit is not None:
            longest = max(1, min(longest, limit - max(map(len, prompts))))
        how = replace(self.sampling, copies=k, longest=longest)
        ends = self.sampler.sample("continuing steps", prompts, how)
        decode = self.loaded.tokenizer.decode
        whole = [
            replace(
                one,
                prompt=prefixes[one.prompt][0],
                text=decode(prefixes[one.prompt][1] + one.tokens, skip_special_tokens=True),
            )
            for one in ends
        ]
        return torch.from_numpy(self._graded(self.train, whole)[0]).view(len(prefixes), k)

    def _graded(
        self, problems: Sequence[Problem], solutions: Sequence[Solution]
    ) -> tuple[NDArray[np.bool_], list[str | None]]:
        """Whether each solution's answer is right, and the answers."""
        answers = [
            extract_answer(one.text, last_number=self.settings.last_number) for one in solutions
        ]
        rows: dict[int, list[int]] = {}
        for row, solution in enumerate(solutions):
            rows.setdefault(solution.prompt, []).append(row)
        correct = np.zeros(len(solutions), dtype=bool)
        with self._clock("checking answers"):
            for prompt, own in rows.items():
                told = self.verifier.matches(problems[prompt], [answers[row] for row in own])
                correct[own] = told
        return correct, answers

    def _part(self, level: int) -> str:
        if level <= self.easy:
            return "easy"
        return "hard" if self.hard is None or level >= self.hard else "between"

    def _table(
        self, solutions: Sequence[Solution], scores: dict[str, NDArray[np.float64]]
    ) -> "pd.DataFrame":
        """A row a test solution."""
        import pandas as pd

        correct, answers = self._graded(self.test, solutions)
        levels = [self.test[one.prompt].level for one in solutions]
        averages = [one.log_probability / max(len(one.tokens), 1) for one in solutions]
        return pd.DataFrame(
            {
                "problem": [one.prompt for one in solutions],
                "question": [self.test[one.prompt].question for one in solutions],
                "level": levels,
                "part": [self._part(level) for level in levels],
                "solution": [one.text for one in solutions],
                "answer": answers,
                "correct": correct,
                "finished": [one.finished for one in solutions],
                "likelihood": np.exp(averages),
                **scores,
            }
        )

    def _greedy(self, solutions: Sequence[Solution]) -> "pd.DataFrame":
        """Accuracy of the likeliest solutions by level and part."""
        import pandas as pd

        correct, _ = self._graded(self.test, solutions)
        levels = np.array([self.test[one.prompt].level for one in solutions])
        parts = np.array([self._part(level) for level in levels])
        groups = [("all", np.ones(len(levels), dtype=bool))]
        groups += [(part, parts == part) for part in ("easy", "hard")]
        groups += [(str(level), levels == level) for level in np.unique(levels)]
        rows = []
        for name, members in groups:
            if not members.any():
                continue
            found = proportion_interval(int(correct[members].sum()), int(members.sum()))
            rows.append((name, int(members.sum()), found.estimate, found.low, found.high))
        return pd.DataFrame(rows, columns=["level", "problems", "accuracy", "low", "high"])

    def _notes(self) -> tuple[str, ...]:
        notes = ["likelihood is the geometric mean of the probabilities of a solution's tokens"]
        if not self.settings.continuations:
            notes.append("each step is labelled by its solution's outcome, not by continuations")
        if self.skipped:
            notes.append(f"{self.skipped} problems were too long for the context and left out")
        return tuple(notes)


def split_problems(
    problems: Sequence[Problem], easy: int, settings: EasyToHardSettings
) -> tuple[list[Problem], list[Problem]]:
    """Easy problems to train on, and problems of each level to measure on, without any in common.

    Of an easy level at most half are measured on, so that some are left to train on. Exemplars are
    left out.

    Args:
        problems: with their levels.
        easy: the highest easy level.
        settings: how many, and the seed.

    Returns:
        Training and test problems.
    """
    shown = {problem.question for problem in settings.exemplars}
    generator = numpy_generator(settings.seed, "problems")
    rest: list[Problem] = []
    test: list[Problem] = []
    for level in sorted({problem.level for problem in problems}):
        here = [one for one in problems if one.level == level and one.question not in shown]
        order = generator.permutation(len(here))
        most = len(here) // 2 if level <= easy else len(here)
        count = min(settings.test_per_level, most)
        test += [here[place] for place in order[:count]]
        if level <= easy:
            rest += [here[place] for place in order[count:]]
    chosen = generator.permutation(len(rest))[: settings.train_problems]
    return [rest[place] for place in chosen], test


def _until_first_error(labels: Sequence[float]) -> list[float]:
    """Labels of steps, NaN behind the first wrong step.

    >>> _until_first_error([1.0, 0.0, 1.0])
    [1.0, 0.0, nan]
    """
    kept: list[float] = []
    for label in labels:
        kept.append(np.nan if 0.0 in kept else label)
    return kept


def _quality(table: "pd.DataFrame", evaluators: TrainedEvaluators) -> "pd.DataFrame":
    """How well each score tells right from wrong solutions, on easy and on hard problems."""
    import pandas as pd
    from sklearn.metrics import roc_auc_score

    rows = []
    for name in SCORES:
        head = evaluators.heads.get(name)
        for part in ("easy", "hard"):
            own = table[table["part"] == part]
            both = own["correct"].nunique() == 2
            area = float(roc_auc_score(own["correct"], own[name])) if both else float("nan")
            size = evaluators.sizes.get(name, 0)
            rows.append((name, part, len(own), area, size, head.strength if head else np.nan))
    columns = ["evaluator", "part", "solutions", "auc", "training_states", "strength"]
    return pd.DataFrame(rows, columns=columns)
