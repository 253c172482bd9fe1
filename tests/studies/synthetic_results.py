"""Ledgers of the synthetic study, and of broken ones."""

from pathlib import Path

from gradatim.studies.claims import Budget
from gradatim.studies.fingerprint import fingerprint
from gradatim.studies.ledger import Ledger, SeedRun, ledger_path
from gradatim.studies.outcomes import Outcome, judge
from tests.studies import synthetic_paper

SLUG = "early-learning-regularization"
MODULE = synthetic_paper.__name__
RUN = SeedRun(
    12.5,
    "2026-01-31T12:00:00Z",
    {"python": "3.11.2", "torch": "2.13.0"},
    {"processor": "a processor", "cores": 2, "threads": 1},
)


def write_ledger(
    folder: Path,
    seeds: range = range(10, 20),
    budget: str = "full",
    module: str = MODULE,
    slug: str = SLUG,
) -> Ledger:
    """Write a ledger as a run would, without running processes."""
    ledger = Ledger(
        ledger_path(slug, budget, folder),
        slug,
        Budget(budget),
        fingerprint(slug, budget, module),
        {seed: tuple(synthetic_paper.study(seed, Budget(budget))) for seed in seeds},
        dict.fromkeys(seeds, RUN),
    )
    folder.mkdir(parents=True, exist_ok=True)
    ledger.write()
    return ledger


def outcome_in(folder: Path, seeds: range = range(10, 20)) -> Outcome:
    """The outcome of such a ledger."""
    return judge(write_ledger(folder, seeds), MODULE)
