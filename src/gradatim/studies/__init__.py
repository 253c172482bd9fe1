"""Studies: run a paper's experiment over seeds, keep what was measured, and judge its claims."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradatim.studies.catalogue import Paper, find_paper, search_papers
    from gradatim.studies.claims import Budget, Claim, Items, Measurement, SeedTable
    from gradatim.studies.ledger import Ledger
    from gradatim.studies.registry import Study, load_study
    from gradatim.studies.runner import recheck, run_study
    from gradatim.studies.seed_lists import parse_seeds
    from gradatim.studies.verdicts import Verdict, decide

__all__ = [
    "Budget",
    "Claim",
    "Items",
    "Ledger",
    "Measurement",
    "Paper",
    "SeedTable",
    "Study",
    "Verdict",
    "decide",
    "find_paper",
    "load_study",
    "parse_seeds",
    "recheck",
    "run_study",
    "search_papers",
]

_HOMES = {
    "catalogue": ("Paper", "find_paper", "search_papers"),
    "claims": ("Budget", "Claim", "Items", "Measurement", "SeedTable"),
    "ledger": ("Ledger",),
    "registry": ("Study", "load_study"),
    "runner": ("recheck", "run_study"),
    "seed_lists": ("parse_seeds",),
    "verdicts": ("Verdict", "decide"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
