import io
import json

from rich.console import Console

from gradatim.cli.output import print_table
from gradatim.cli.papers import paper_table
from gradatim.studies.catalogue import catalogue, studies
from gradatim.studies.outcomes import load_outcomes
from tests.cli.conftest import SLUG
from tests.studies.synthetic_results import write_ledger

FIELDS = {"slug", "title", "kinds", "implemented", "verdicts"}
VERDICT_FIELDS = {"claim", "status", "estimate", "low", "high", "p_value", "p_holm"}


def test_papers_as_plain_text_are_whole(call, results):
    result = call("papers")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    for paper in studies().values():
        line = next(line for line in lines if line.split("  ")[0] == paper.slug)
        assert line.endswith(paper.title) and str(paper.year) in line
    mine = next(line for line in lines if line.startswith(SLUG))
    assert "✓ 3 shown, ✗ 1 contradicted, ≈ 1 equivalent" in mine
    assert f"of {len(catalogue())} papers implemented" in lines[-1]
    assert "5 claims of 1 paper: ✓ 3 shown" in lines[-1] and "Holm's correction" in lines[-1]


def test_papers_fit_a_terminal_of_80_columns(results):
    outcomes, problems = load_outcomes(results)
    known = {outcome.paper.slug: outcome for outcome in outcomes}
    stream = io.StringIO()
    console = Console(file=stream, width=80, force_terminal=True, color_system=None)
    print_table(paper_table(list(studies().values()), known), console)
    lines = stream.getvalue().splitlines()
    assert not problems
    assert max(map(len, lines)) <= 80
    for paper in studies().values():
        line = next(line for line in lines if line.split()[:1] == [paper.slug])
        assert str(paper.year) in line
        assert paper.title[:12] in line and (paper.title in line or "…" in line)
    assert any("✗ 1 contradicted" in line for line in lines)


def test_verdicts_are_coloured_and_worded(results):
    outcomes, _ = load_outcomes(results)
    stream = io.StringIO()
    console = Console(file=stream, width=80, force_terminal=True, color_system="standard")
    paper = catalogue()[SLUG]
    print_table(paper_table([paper], {SLUG: outcomes[0]}), console)
    assert "\x1b[32m✓ 3 shown\x1b[0m" in stream.getvalue()
    assert "\x1b[31m✗ 1 contradicted\x1b[0m" in stream.getvalue()


def test_papers_json_has_every_paper_with_its_fields(call, results):
    records = json.loads(call("papers", "--json").stdout)
    assert [record["slug"] for record in records] == list(studies())
    assert all(record.keys() >= FIELDS for record in records)
    mine = next(record for record in records if record["slug"] == SLUG)
    assert mine["implemented"] and mine["seeds"] == list(range(10, 20))
    assert len(mine["verdicts"]) == 5
    assert all(verdict.keys() >= VERDICT_FIELDS for verdict in mine["verdicts"])
    first, cost = mine["verdicts"][0], mine["verdicts"][4]
    assert first["low"] < first["estimate"] < first["high"]
    assert first["p_value"] <= first["p_holm"] < 0.05
    assert cost["p_value"] is None and cost["kind"] == "cost"


def test_papers_can_be_narrowed(call, results):
    def slugs(*arguments):
        return [
            record["slug"] for record in json.loads(call("papers", "--json", *arguments).stdout)
        ]

    assert slugs("--search", "noisy LABELS") == [SLUG]
    assert SLUG in slugs("--kind", "objectives")
    assert SLUG not in slugs("--kind", "mining")
    assert slugs("--verdict", "contradicted") == [SLUG]
    assert slugs("--verdict", "inconclusive") == []
    nothing = call("papers", "--search", "zzzz")
    assert nothing.exit_code == 0 and "0 listed." in nothing.stdout


def test_papers_without_results_say_so(call, place, monkeypatch):
    (place / "results").mkdir()
    result = call("papers")
    assert result.exit_code == 0
    assert "No results yet" in result.stdout


def test_papers_mark_stale_results(call, results, study):
    study("\nMORE = 1\n")
    assert "✓ 3 shown (stale)" in call("papers").stdout


def test_one_bad_ledger_hides_no_other(call, results):
    (results / "npo.jsonl").write_text("PK\x03 not a ledger\n")
    result = call("papers")
    assert result.exit_code == 2
    assert "✓ 3 shown" in result.stdout
    assert "npo.jsonl, line 1: expected JSON" in result.stderr
    assert result.stderr.count("\n") == 1


def test_listing_options_are_checked(refused):
    assert "Did you mean objectives" in refused("papers", "--kind", "objective")
    assert "Did you mean shown?" in refused("papers", "--verdict", "show")
    assert "there is no such folder" in refused("papers", "--results", "nowhere")


def test_show_tells_everything(call, results):
    text = call("show", SLUG.replace("-", "_")).stdout
    paper = catalogue()[SLUG]
    for expected in (
        paper.title,
        paper.sentence,
        paper.authors[0],
        f"arXiv:{paper.arxiv}",
        ", ".join(paper.kinds),
        "5,000 drawn digits",
        f"gradatim run {SLUG} --seeds 10-19",
        "seeds 10-19, fresh",
        "✓ shown: ELR is more accurate",
        "✗ contradicted: ELR+ gains",
        "smallest effect 0.01",
        "Does the regularizer keep a network",
    ):
        assert expected in text


def test_show_json(call, results):
    record = json.loads(call("show", SLUG, "--json").stdout)
    assert record.keys() >= FIELDS | {"claims", "command", "population", "bibtex"}
    assert len(record["claims"]) == len(record["verdicts"]) == 5
    assert record["freshness"] == "fresh"


def test_show_before_the_first_run(call, study, place):
    (place / "results").mkdir()
    text = call("show", SLUG).stdout
    assert text.count("not run yet: ") == 5
    assert f"gradatim run {SLUG}\n" in text


def test_show_of_what_is_not_implemented(call, place, monkeypatch):
    monkeypatch.setattr("gradatim.studies.catalogue.is_implemented", lambda slug: False)
    assert "not implemented yet" in call("show", "npo").stdout
    record = json.loads(call("show", "npo", "--json").stdout)
    assert record["command"] is None and record["claims"] == []


def test_show_checks_its_arguments(refused, call, results):
    assert "Did you mean early-learning-regularization" in refused("show", "early-lerning-regul")
    assert "budget: expected one of" in refused("show", SLUG, "--budget", "huge")
    write_ledger(
        results, range(1), budget="smoke", module=f"gradatim.papers.{SLUG}".replace("-", "_")
    )
    assert "an interval needs at least 2" in call("show", SLUG, "--budget", "smoke").stdout


def test_show_of_a_foreign_ledger(refused, results):
    ledger = results / f"{SLUG}.jsonl"
    lines = ledger.read_text().splitlines()
    ledger.write_text("\n".join([*lines[:5], lines[4]]) + "\n")
    assert f"{SLUG}.jsonl, line 6" in refused("show", SLUG)
    assert len(ledger.read_text().splitlines()) == 6


def test_show_of_results_that_no_longer_fit(refused, results, study):
    study('\nCLAIMS = (Claim("New.", lambda t: t["new-arm"].accuracy),)\n')
    line = refused("show", SLUG)
    assert "the study has changed since" in line and "new-arm" in line and "--fresh" in line
