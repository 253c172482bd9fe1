import csv
import io
import json
import re

import pytest

from gradatim.studies.catalogue import catalogue, studies
from tests.cli.conftest import MODULE, SLUG
from tests.studies.synthetic_results import write_ledger

README = "# Mine\r\n\r\n<!-- verdicts -->\r\nold\r\n<!-- /verdicts -->\r\n\r\nrest without newline"


def test_html_goes_beside_the_results(call, results):
    result = call("report")
    assert result.stdout == f"report: results/report/{SLUG}.html\n"
    first = (results / f"report/{SLUG}.html").read_bytes()
    assert call("report", SLUG, "--out", "page.html").exit_code == 0
    assert (results.parent / "page.html").read_bytes() == first


def test_html_never_goes_over_a_ledger(refused, results):
    ledger = results / f"{SLUG}.jsonl"
    before = ledger.read_bytes()
    for form in ("html", "csv"):
        line = refused("report", SLUG, "--format", form, "--out", str(ledger))
        assert "exists already; --overwrite replaces it" in line
        line = refused("report", SLUG, "--format", form, "--out", str(ledger), "--overwrite")
        assert "is an input of this job" in line
    assert ledger.read_bytes() == before


@pytest.mark.parametrize("form", ["html", "csv", "latex", "json", "bibtex"])
def test_other_files_are_replaced_only_when_told(call, refused, results, form):
    path = results.parent / "mine"
    path.write_text("my work")
    command = ("report", SLUG, "--format", form, "--out", "mine")
    assert "exists already" in refused(*command)
    assert path.read_text() == "my work"
    assert call(*command, "--overwrite").exit_code == 0
    assert path.read_text() != "my work"


def test_a_report_is_replaced_by_a_newer_one(call, results):
    for _ in range(2):
        assert call("report", "--out", "page.html").exit_code == 0


def test_shipped_results_are_reported_in_the_current_directory(
    call, study, place, tmp_path, monkeypatch
):
    write_ledger(tmp_path / "shipped", module=MODULE)
    monkeypatch.setattr("gradatim.cli.options.default_results", lambda: tmp_path / "shipped")
    assert call("report").stdout == f"report: report/{SLUG}.html\n"
    assert not (tmp_path / "shipped" / "report").exists()
    assert not (place / "results").exists()


def test_markdown_is_the_verdict_table(call, results):
    text = call("report", "--format", "markdown").stdout
    assert text.startswith("5 claims of 1 paper: ✓ 3 shown")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 5
    assert len({len(re.split(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert "p (Holm)" in rows[0]


def test_markdown_goes_between_the_markers_and_nowhere_else(call, results):
    path = results.parent / "README.md"
    path.write_bytes(README.encode())
    assert call("report", "--format", "markdown", "--out", "README.md").exit_code == 0
    new = path.read_bytes().decode()
    assert "old" not in new and "✓ shown" in new
    assert new.startswith("# Mine\r\n\r\n<!-- verdicts -->\r\n5 claims")
    assert new.endswith("|\r\n<!-- /verdicts -->\r\n\r\nrest without newline")
    assert "\n" not in new.replace("\r\n", "")
    assert call("report", "--format", "markdown", "--out", "README.md").exit_code == 0
    assert path.read_bytes().decode() == new


@pytest.mark.parametrize(
    "text",
    [
        "# Mine\n",
        "<!-- verdicts -->\n",
        "<!-- /verdicts -->\n<!-- verdicts -->\n",
        "<!-- verdicts --><!-- /verdicts --><!-- verdicts --><!-- /verdicts -->",
    ],
)
def test_a_file_without_markers_is_left_alone(refused, results, text):
    path = results.parent / "README.md"
    path.write_text(text)
    line = refused("report", "--format", "markdown", "--out", "README.md")
    assert "expected the markers" in line
    assert path.read_text() == text


def test_a_file_that_is_not_text_is_left_alone(refused, results):
    path = results.parent / "README.md"
    path.write_bytes(b"\xff\xfe<!-- verdicts -->")
    assert "expected UTF-8 text" in refused("report", "--format", "markdown", "--out", "README.md")
    assert path.read_bytes() == b"\xff\xfe<!-- verdicts -->"


def test_a_new_markdown_file_is_made(call, results):
    assert call("report", "--format", "markdown", "--out", "new/table.md").exit_code == 0
    assert (results.parent / "new/table.md").read_text().startswith("5 claims")


def test_csv(call, results):
    rows = list(csv.DictReader(io.StringIO(call("report", "--format", "csv").stdout)))
    assert [row["status"] for row in rows] == [
        "shown",
        "shown",
        "equivalent",
        "contradicted",
        "shown",
    ]
    assert rows[0]["slug"] == SLUG and 0.15 < float(rows[0]["estimate"]) < 0.25
    assert rows[4]["p_value"] == ""
    arms = list(
        csv.DictReader(io.StringIO(call("report", "--format", "csv", "--table", "arms").stdout))
    )
    assert len(arms) == 6 * (2 + 6 + 60)
    assert {row["group"] for row in arms} >= {"", "noise=0.4", "epoch=60"}


def test_json(call, results):
    (record,) = json.loads(call("report", "--format", "json").stdout)
    assert record["slug"] == SLUG and len(record["verdicts"]) == 5
    arms = json.loads(call("report", "--format", "json", "--table", "arms").stdout)
    assert len(arms) == 6 * (2 + 6 + 60)


def test_latex_and_markdown_of_arms(call, results):
    latex = call("report", "--format", "latex").stdout
    assert latex.count(r"\\") == 6 and r"cross-entropy \& co." in latex
    arms = call("report", "--format", "latex", "--table", "arms").stdout
    assert arms.count(r"\begin{tabular}") == 3 and r"$\pm$" in arms
    assert call("report", "--format", "markdown", "--table", "arms").stdout.count("| elr+ |") == 3


def test_bibtex_needs_no_results(call, place):
    assert call("report", "--format", "bibtex").stdout.count("@misc{") == len(catalogue())
    text = call("report", "npo", "early_learning_regularization", "--format", "bibtex").stdout
    assert [line for line in text.splitlines() if line.startswith("@")] == [
        "@misc{npo,",
        f"@misc{{{SLUG},",
    ]


def test_the_atlas_holds_all_papers_and_tells_of_bad_ledgers(call, results):
    assert call("report", "--site", "atlas").stdout == "atlas: atlas/index.html\n"
    site = results.parent / "atlas"
    assert len(list((site / "papers").iterdir())) == len(studies())
    assert "5 claims of 1 paper" in (site / "index.html").read_text(encoding="utf-8")
    (results / "npo.jsonl").write_text("")
    result = call("report", "--site", "atlas")
    assert result.exit_code == 2 and result.stdout == "atlas: atlas/index.html\n"
    assert "npo.jsonl: expected a ledger, got an empty file" in result.stderr


def test_the_atlas_needs_no_results(call, place):
    assert call("report", "--site", "atlas", "--budget", "smoke").exit_code == 0
    assert "No results yet" in (place / "atlas" / "index.html").read_text(encoding="utf-8")


def test_the_atlas_is_refused_where_it_does_not_fit(refused, results):
    assert "leave out SLUG" in refused("report", SLUG, "--site", "atlas")
    assert "leave out SLUG" in refused("report", "--site", "atlas", "--out", "page.html")
    assert "leave out SLUG" in refused("report", "--site", "atlas", "--format", "csv")
    assert "holds no atlas, but results" in refused("report", "--site", ".")
    assert not (results.parent / "atlas").exists()


def test_arguments_are_checked(refused, results):
    assert "Did you mean html?" in refused("report", "--format", "htm")
    assert "--table: expected verdicts, papers or arms" in refused("report", "--table", "verdict")
    assert "Did you mean npo" in refused("report", "nppo")
    assert "gradatim run npo" in refused("report", "npo")
    assert "no results with budget smoke" in refused("report", "--budget", "smoke")
    (results.parent / "taken").write_text("mine")
    assert "taken" in refused("report", "--out", "taken/page.html")
    assert (results.parent / "taken").read_text() == "mine"


def test_bad_ledgers_are_told_after_the_report_of_the_others(call, results):
    (results / "npo.jsonl").write_text("")
    result = call("report")
    assert result.exit_code == 2
    assert result.stdout == f"report: results/report/{SLUG}.html\n"
    assert "npo.jsonl: expected a ledger, got an empty file" in result.stderr
