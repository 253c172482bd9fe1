"""Train evaluators on easy problems, and let them choose among solutions of hard ones."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.core.files import check_output_folder
from gradatim.evaluators.problem_verifiers import ReferenceVerifier, Verifier
from gradatim.evaluators.step_scores import AGGREGATES
from gradatim.language.causal_lm import CausalLM
from gradatim.language.loading import LanguageModel, load_language_model
from gradatim.language.problems import Problem
from gradatim.workflows.easy_to_hard_candidates import Progress
from gradatim.workflows.easy_to_hard_result import EasyToHardResult
from gradatim.workflows.easy_to_hard_run import Clock, EasyToHardRun
from gradatim.workflows.easy_to_hard_settings import EasyToHardSettings


def evaluate_easy_to_hard(
    model: LanguageModel | str | Path,
    problems: Sequence[Problem],
    *,
    easy: int,
    hard: int | None = None,
    verifier: Verifier | None = None,
    settings: EasyToHardSettings | None = None,
    folder: str | Path | None = None,
    progress: Progress | None = None,
) -> EasyToHardResult:
    """Sample solutions, train evaluators on those of easy problems only, and re-rank the others.

    The model stays as it is. Evaluators are linear heads on its last hidden states: an outcome
    reward model (ORM, state at a solution's end), a process reward model (PRM, states at steps'
    ends), and one trained on the union of both kinds of examples (OPRM). Training and test
    problems are disjoint, and no label of a hard problem is used but to measure.

    Args:
        model: a loaded model, or what :func:`~gradatim.language.loading.load_language_model` loads.
        problems: with their levels.
        easy: the highest level that counts as easy.
        hard: the lowest that counts as hard; None takes all that is not easy.
        verifier: checks answers; None compares them with the problems' own.
        settings: how it is made.
        folder: where solutions and states are kept, so that a run that was ended, or one with
            other evaluators, need not sample again; None keeps nothing.
        progress: is told the phase, how many parts of it are done, and how many there are.

    Returns:
        Accuracies by level and part, quality of the evaluators, times.

    Raises:
        InputError: no easy or no hard problem, a problem that is too long (unless skipped), or
            no right (or no wrong) solution of an easy problem, so that nothing can be learned.
        StorageError: the folder cannot be written.

    Source: Sun et al. 2024, arXiv 2403.09472; step labels by continuation: Wang et al. 2024,
    arXiv 2312.08935.
    """
    chosen = settings or EasyToHardSettings()
    check_easy_to_hard(problems, easy, hard, chosen)
    clock = Clock()
    with ExitStack() as stack:
        if folder is None:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gradatim-")))
        else:
            place = check_output_folder(folder)
        if verifier is None:
            verifier = stack.enter_context(ReferenceVerifier())
        with clock("loading the model"):
            loaded = model if isinstance(model, LanguageModel) else load_language_model(model)
        border = (easy, hard)
        run = EasyToHardRun(loaded, problems, border, verifier, chosen, place, progress, clock)
        stack.enter_context(_evaluation_mode(loaded.model))
        return run.result()


def check_easy_to_hard(
    problems: Sequence[Problem], easy: int, hard: int | None, settings: EasyToHardSettings
) -> None:
    """Check what :func:`evaluate_easy_to_hard` can check before a model is loaded.

    Raises:
        InputError: a setting out of range, or no easy or no hard problem.
    """
    for name in ("train_problems", "test_per_level", "labelled"):
        check_range(name, getattr(settings, name), 1)
    check_range("continuations", settings.continuations, 0)
    check_choice("aggregate", settings.aggregate, AGGREGATES)
    if hard is not None and hard <= easy:
        raise InputError(f"hard: expected a level above easy={easy}, got {hard}")
    levels = sorted({problem.level for problem in problems})
    there = ", ".join(map(str, levels)) or "none"
    if not levels or levels[0] > easy:
        raise InputError(
            f"problems: expected easy ones, of level {easy} or lower, to train evaluators on; "
            f"there are the levels {there}"
        )
    lowest = easy + 1 if hard is None else hard
    if levels[-1] < lowest:
        raise InputError(
            f"problems: expected hard ones, of level {lowest} or higher; there are {there}"
        )


@contextmanager
def _evaluation_mode(model: CausalLM) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
