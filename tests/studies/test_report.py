import dataclasses
import re
from html.parser import HTMLParser

import pytest

from gradatim.core.errors import InputError
from gradatim.studies.catalogue import find_paper
from gradatim.studies.plots import Figure
from gradatim.studies.prose import to_html
from gradatim.studies.report import render_report, report_path, write_report
from tests.studies.synthetic_results import SLUG, outcome_in

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Checked(HTMLParser):
    """Collects tags, ids and words, and finds tags that are not closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.ids, self.references, self.words = [], [], [], [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href"):
                self.references.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, words):
        self.words.append(words)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    return outcome_in(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def small(outcome):
    """The same with one figure and one claim, which takes less time."""
    study = dataclasses.replace(outcome.study, figures=(Figure("accuracy", title="Mine"),))
    return dataclasses.replace(outcome, study=study, verdicts=outcome.verdicts[:1])


@pytest.fixture(scope="module")
def page(outcome):
    return render_report([outcome])


def test_the_page_is_whole_and_stands_alone(page):
    checked = Checked(page)
    assert len(checked.ids) == len(set(checked.ids))
    inner = {reference[1:] for reference in checked.references if reference.startswith("#")}
    assert inner <= set(checked.ids)
    outer = [reference for reference in checked.references if not reference.startswith("#")]
    assert all(link.startswith(("https://arxiv.org/abs/", "https://github.com/")) for link in outer)
    assert not {"img", "link", "iframe"} & set(checked.tags)
    assert "script" not in checked.tags and "@import" not in page and "url(http" not in page
    assert checked.tags.count("svg") == 5 + 5


def test_the_page_says_everything(page, outcome):
    words = " ".join(" ".join(Checked(page).words).split())
    paper = outcome.paper
    for expected in (
        paper.title,
        ", ".join(paper.authors),
        f"arXiv:{paper.arxiv}",
        paper.sentence,
        "ELR is more accurate than cross-entropy & co. under label noise.",
        "✓ shown",
        "✗ contradicted",
        "≈ equivalent",
        "5,000 drawn digits",
        "momentum",
        "<the better one is used>",
        f"gradatim run {SLUG} --seeds 10-19",
        f"{outcome.ledger.fingerprint.digest} (fresh)",
        "2 min 5 s in all, 12.5 s a seed",
        "a processor, 2 cores, 1 thread(s) a seed",
        "torch 2.13.0",
        f"@misc{{{SLUG}",
        "Accuracy over noise",
        "memorized by noise",
    ):
        assert expected in words
    assert "Take care" not in words


def test_verdicts_come_before_figures_and_tables(page):
    places = [page.index(text) for text in ('class="claim ', "<h2>Figures", "<h2>Arms", "<h2>Cite")]
    assert places == sorted(places)


def test_same_ledger_same_bytes(page, outcome):
    assert render_report([outcome]) == page
    assert not re.search(r"2026-01-31|12:00:00", page)


def test_stale_runs_and_trial_runs_are_marked(small):
    stale = dataclasses.replace(small, freshness="parts changed: gradatim.core.statistics")
    assert "the code has changed" in render_report([stale])
    ledger = dataclasses.replace(small.ledger, budget="smoke")
    trial = render_report([dataclasses.replace(small, ledger=ledger)])
    assert "this is a smoke run" in trial and "--budget smoke" in trial


def test_several_papers_have_an_overview(outcome, small):
    other = dataclasses.replace(small.study, paper=find_paper("npo"))
    page = render_report([outcome, dataclasses.replace(small, study=other)])
    checked = Checked(page)
    assert {SLUG, "npo"} <= set(checked.ids)
    assert {f"#{SLUG}", "#npo"} <= set(checked.references)
    assert checked.tags.count("h1") == 1 and checked.tags.count("article") == 2
    assert "6 claims of 2 papers" in page


def test_markup_in_words_is_escaped(small):
    claim = dataclasses.replace(small.verdicts[0].claim, statement="<script>alert(1)</script>")
    verdict = dataclasses.replace(small.verdicts[0], claim=claim)
    page = render_report([dataclasses.replace(small, verdicts=(verdict,))])
    assert "<script" not in page and "&lt;script" in page


def test_declared_figures_replace_the_default_ones(small):
    page = render_report([small])
    assert page.count("<figure>") == 1 and "<figcaption>Mine</figcaption>" in page


def test_a_single_seed_and_no_seed_can_be_reported(tmp_path):
    for seeds in (range(1), range(0)):
        one = outcome_in(tmp_path, seeds)
        words = " ".join(Checked(render_report([one])).words)
        assert "inconclusive" in words and not re.search(r"\bnan\b", words)


def test_a_ledger_without_a_sidecar_can_be_reported(small):
    ledger = dataclasses.replace(small.ledger, runs={})
    assert "Hardware" not in render_report([dataclasses.replace(small, ledger=ledger)])


def test_write_report(tmp_path, small):
    path = write_report(small, tmp_path / "new" / "page.html")
    assert path.read_text(encoding="utf-8") == render_report([small])
    with pytest.raises(InputError, match="is an input"):
        write_report(small, small.ledger.path)
    with pytest.raises(InputError, match="no results yet"):
        write_report([], tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


def test_report_path(tmp_path, outcome):
    assert report_path(tmp_path, [outcome]) == tmp_path / "report" / f"{SLUG}.html"
    assert report_path(tmp_path, [outcome, outcome]).name == "index.html"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("a\nb\n\nc", "<p>a b</p>\n<p>c</p>"),
        ("- a\n- b", "<ul><li>a</li><li>b</li></ul>"),
        ("x - y * z", "<p>x - y * z</p>"),
        ("`a` and ``b<c``", "<p><code>a</code> and <code>b&lt;c</code></p>"),
    ],
)
def test_prose(text, expected):
    assert to_html(text) == expected
