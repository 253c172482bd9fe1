import dataclasses

import pytest

from gradatim.core.errors import InputError
from gradatim.core.statistics import holm
from gradatim.studies import outcomes as module
from gradatim.studies.outcomes import corrected, judge, load_outcome, load_outcomes
from tests.studies.synthetic_results import MODULE, SLUG, outcome_in, write_ledger


@pytest.fixture
def here(monkeypatch):
    """Judge every paper by the synthetic study."""
    monkeypatch.setattr(module, "judge", lambda ledger: judge(ledger, MODULE))


def test_an_outcome_knows_how_it_was_made(tmp_path):
    outcome = outcome_in(tmp_path, range(3, 5))
    assert outcome.freshness == "fresh" and outcome.paper.slug == SLUG
    assert outcome.command == f"gradatim run {SLUG} --seeds 3-4"
    assert [verdict.status for verdict in outcome_in(tmp_path).verdicts] == [
        "shown",
        "shown",
        "equivalent",
        "contradicted",
        "shown",
    ]


def test_all_ledgers_are_corrected_together(tmp_path, here):
    write_ledger(tmp_path)
    write_ledger(tmp_path, range(3), slug="npo")
    (tmp_path / "notes.jsonl").write_text("not a paper\n")
    found, problems = load_outcomes(tmp_path)
    assert [outcome.paper.slug for outcome in found] == ["npo", SLUG] and not problems
    raw = [v.p_value for one in found for v in one.verdicts if v.claim.kind == "statistical"]
    adjusted = [p for one in found for p in one.adjusted if p == p]
    assert adjusted == pytest.approx(list(holm(raw)))


def test_a_bad_ledger_is_told_and_hides_no_other(tmp_path, here):
    write_ledger(tmp_path)
    (tmp_path / "npo.jsonl").write_text("{}\n")
    found, problems = load_outcomes(tmp_path)
    assert len(found) == 1 and len(problems) == 1
    assert "npo.jsonl, line 1" in str(problems[0])


def test_load_outcome(tmp_path, here):
    write_ledger(tmp_path)
    assert load_outcome(SLUG.replace("-", "_"), tmp_path).paper.slug == SLUG
    with pytest.raises(InputError, match=f"gradatim run {SLUG} --budget smoke"):
        load_outcome(SLUG, tmp_path, "smoke")


def test_results_that_no_longer_fit_say_how_to_mend_it(tmp_path, monkeypatch):
    ledger = write_ledger(tmp_path)
    arms = {
        seed: tuple(one for one in found if one.arm != "elr")
        for seed, found in ledger.measurements.items()
    }
    short = dataclasses.replace(ledger, measurements=arms)
    with pytest.raises(InputError, match="no arm 'elr' was measured"):
        judge(short, MODULE)
    monkeypatch.setattr(module, "freshness", lambda *_: "study changed")
    with pytest.raises(InputError, match=r"has changed since \(study changed\).*--fresh"):
        judge(short, MODULE)


def test_correcting_nothing():
    assert corrected([]) == []
