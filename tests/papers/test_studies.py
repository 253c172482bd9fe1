"""Every study runs at its smoke budget, repeats itself, and measures what its claims ask for."""

import math
from pathlib import Path

import pytest

from gradatim.studies.catalogue import is_implemented, studies
from gradatim.studies.claims import Budget, Items, Measurement, SeedTable
from gradatim.studies.exports import paper_markdown, verdict_markdown
from gradatim.studies.ledger import Ledger, ledger_path
from gradatim.studies.outcomes import load_outcomes
from gradatim.studies.registry import load_study

IMPLEMENTED = [slug for slug in studies() if is_implemented(slug)]
RESULTS = Path(__file__).parents[2] / "results"


@pytest.mark.parametrize("slug", IMPLEMENTED)
def test_smoke(slug):
    study = load_study(slug)
    runs = [list(study.function(seed, Budget("smoke"))) for seed in (3, 3)]
    assert [one for one in runs[0] if not isinstance(one, Items)] == [
        one for one in runs[1] if not isinstance(one, Items)
    ]
    measured = [one for one in runs[0] if isinstance(one, Measurement)]
    names = [(one.arm, one.metric, one.group) for one in measured]
    assert len(set(names)) == len(names)
    assert all(math.isfinite(one.value) for one in measured)
    table = SeedTable(measured)
    for claim in study.claims:
        for estimand in claim.alternatives:
            assert math.isfinite(estimand(table)), claim.statement


@pytest.mark.parametrize("slug", IMPLEMENTED)
def test_the_committed_ledger_holds_the_verdict_seeds(slug):
    ledger = Ledger.read(ledger_path(slug, Budget("full"), RESULTS))
    costly = studies()[slug].of  # a further set-up, as one with a language model
    assert set(range(10, 15 if costly else 20)) <= set(ledger.seeds)


@pytest.mark.parametrize(
    ("page", "text"), [("README.md", paper_markdown), ("docs/verdicts.md", verdict_markdown)]
)
def test_the_pages_show_the_committed_verdicts(page, text):
    outcomes, problems = load_outcomes(RESULTS, Budget("full"))
    written = (RESULTS.parent / page).read_text(encoding="utf-8")
    shown = written.split("<!-- verdicts -->")[1].split("<!-- /verdicts -->")[0]
    assert problems == []
    assert shown.strip() == text(outcomes).strip()
