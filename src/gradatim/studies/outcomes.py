"""A paper's outcome: its study, its ledger, and the verdicts that follow from both."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from gradatim.core.errors import GradatimError, InputError
from gradatim.studies.catalogue import Paper, find_paper, studies
from gradatim.studies.fingerprint import freshness
from gradatim.studies.ledger import Ledger, ledger_path
from gradatim.studies.registry import Study, load_study
from gradatim.studies.seed_lists import format_seeds
from gradatim.studies.summaries import Summaries
from gradatim.studies.verdicts import Verdict, decide, summary


@dataclass(frozen=True)
class Outcome:
    """What is known of a paper that was run.

    Attributes:
        study: the study, with its paper and claims.
        ledger: what was measured.
        verdicts: one a claim, in the study's order.
        freshness: "fresh", or what changed since the ledger was written.
        adjusted: p values corrected by Holm's method for all claims of the catalogue; empty if
            the other papers were not looked at.
    """

    study: Study
    ledger: Ledger
    verdicts: tuple[Verdict, ...]
    freshness: str
    adjusted: tuple[float, ...] = ()

    @property
    def paper(self) -> Paper:
        """The paper."""
        return self.study.paper

    @property
    def command(self) -> str:
        """The command that makes the ledger."""
        return run_command(self.ledger)

    @cached_property
    def summaries(self) -> Summaries:
        """Mean and interval of each arm."""
        return Summaries.of(self.ledger.rows)


def run_command(ledger: Ledger) -> str:
    """The command that makes a ledger."""
    seeds = f" --seeds {format_seeds(ledger.seeds)}" if ledger.seeds else ""
    budget = "" if ledger.budget == "full" else f" --budget {ledger.budget}"
    return f"gradatim run {ledger.slug}{seeds}{budget}"


def judge(ledger: Ledger, module: str | None = None) -> Outcome:
    """Decide the claims of a ledger's paper.

    Args:
        ledger: what was measured.
        module: as in :func:`~gradatim.studies.registry.load_study`.

    Raises:
        InputError: the study is not implemented, or asks for what the ledger does not hold.
    """
    study = load_study(ledger.slug, module)
    fresh = freshness(ledger, module)
    try:
        partial = ledger.budget == "demo"
        verdicts = tuple(decide(one, ledger.tables, partial=partial) for one in study.claims)
    except InputError as error:
        if fresh == "fresh":
            raise
        raise InputError(
            f"{ledger.path}: the study has changed since ({fresh}) and no longer fits what was "
            f"measured ({error}); run it again with: {run_command(ledger)} --fresh"
        ) from error
    return Outcome(study, ledger, verdicts, fresh)


def load_outcome(slug: str, folder: str | os.PathLike[str], budget: str = "full") -> Outcome:
    """Read a paper's ledger from a results folder and decide its claims.

    Raises:
        InputError: unknown slug, no or a foreign ledger, or one that no longer fits the study.
    """
    paper = find_paper(slug)
    path = ledger_path(paper.slug, budget, folder)
    if not path.exists():
        budget_words = "" if budget == "full" else f" --budget {budget}"
        raise InputError(
            f"{path}: there are no results of {paper.slug!r} yet; "
            f"make them with: gradatim run {paper.slug}{budget_words}"
        )
    return judge(Ledger.read(path))


def load_outcomes(
    folder: str | os.PathLike[str], budget: str = "full"
) -> tuple[list[Outcome], list[GradatimError]]:
    """Read all ledgers of a results folder, and correct their p values for the number of claims.

    Returns:
        The outcomes in the catalogue's order, and one error for each ledger that could not be
        read or judged: one bad file does not hide the others.
    """
    outcomes: list[Outcome] = []
    problems: list[GradatimError] = []
    for slug in studies():
        path = ledger_path(slug, budget, folder)
        if not path.exists():
            continue
        try:
            outcomes.append(judge(Ledger.read(path)))
        except GradatimError as error:
            problems.append(error)
    return corrected(outcomes), problems


def corrected(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The same outcomes with p values corrected for the number of all their claims."""
    adjusted = iter(summary([verdict for one in outcomes for verdict in one.verdicts]))
    return [replace(one, adjusted=tuple(next(adjusted) for _ in one.verdicts)) for one in outcomes]
