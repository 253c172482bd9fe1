import dataclasses
import re
from itertools import pairwise
from pathlib import PurePosixPath

import pytest

from gradatim.core.errors import GradatimError, InputError
from gradatim.studies import site
from gradatim.studies.catalogue import KINDS, find_paper, is_implemented, studies
from gradatim.studies.plots import Figure
from gradatim.studies.report import is_report, render_report, write_report
from gradatim.studies.site import INDEX, check_ours, page_name, render_site, write_site
from tests.studies.synthetic_results import SLUG, outcome_in
from tests.studies.test_report import Checked

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{ 7 * 7 }}"
OUTSIDE = ("https://arxiv.org/abs/", "https://github.com/")


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """An outcome of five claims, and one figure, which takes less time than all."""
    made = outcome_in(tmp_path_factory.mktemp("results"))
    study = dataclasses.replace(made.study, figures=(Figure("accuracy", title="Mine"),))
    return dataclasses.replace(made, study=study)


@pytest.fixture(scope="module")
def pages(outcome):
    return render_site([outcome])


@pytest.fixture(scope="module")
def checked(pages):
    return {name: Checked(page) for name, page in pages.items()}


def words_of(page: Checked) -> str:
    return " ".join(" ".join(page.words).split())


def test_every_paper_has_a_page_and_the_index_comes_last(pages):
    assert list(pages) == [*(f"papers/{slug}.html" for slug in studies()), INDEX]


def test_links_lead_to_pages_and_places_that_are_there(checked):
    for name, page in checked.items():
        assert len(page.ids) == len(set(page.ids))
        for link in page.references:
            if link.startswith(OUTSIDE) or link.startswith("data:image/svg+xml,"):
                continue
            path, _, fragment = link.partition("#")
            parts: list[str] = []
            for part in (PurePosixPath(name).parent / path).parts if path else (name,):
                parts = parts[:-1] if part == ".." else [*parts, part]
            target = checked["/".join(parts)]
            key, sign, value = fragment.partition("=")
            assert (key == "kind" and value in KINDS) if sign else key in ("", *target.ids)


def test_every_page_is_reached_from_the_index_and_by_turning_pages(checked):
    assert set(checked[INDEX].references) >= {page_name(paper) for paper in studies().values()}
    slugs = list(studies())
    for before, after in pairwise(slugs):
        assert f"{after}.html" in checked[f"papers/{before}.html"].references
        assert f"{before}.html" in checked[f"papers/{after}.html"].references


def test_nothing_is_asked_for_outside_a_page(pages, checked):
    for name, page in pages.items():
        assert not {"img", "iframe", "object", "embed", "form"} & set(checked[name].tags)
        assert not re.search(r"@import|url\((?!#)|\bsrc=|fetch\(|XMLHttpRequest|import\(", page)
        assert checked[name].tags.count("link") == 1  # the icon, which stands in the page
        assert checked[name].tags.count("script") == (name == INDEX)
        assert "default-src 'none'" in page[:700]
    loaded = r'<(?:link|script|source|use|image)[^>]*(?:href|src)="(?!data:|#)'
    assert not any(re.search(loaded, page) for page in pages.values())


def test_an_index_tells_of_every_paper_without_scripts(pages, checked):
    words = words_of(checked[INDEX])
    for paper in studies().values():
        assert paper.title in words and paper.sentence in words
    assert not re.search(r"<li[^>]* hidden[=>]", pages[INDEX])
    assert re.search(r'<div id="tools"[^>]* hidden', pages[INDEX])
    assert "5 claims of 1 paper: ✓ 3 shown" in words and "69 papers" in words
    assert "✓ 3 shown ✗ 1 contradicted ≈ 1 equivalent" in words


def test_what_is_filtered_by_stands_at_each_paper(pages, outcome):
    (own,) = re.findall(rf'<li class="card"([^>]*)>(?:(?!</li>).)*{SLUG}\.html', pages[INDEX], re.S)
    assert f'data-kind="{" ".join(outcome.paper.kinds)}"' in own
    assert 'data-verdict="shown contradicted equivalent"' in own and 'data-implemented="yes"' in own
    implemented = sum(map(is_implemented, studies()))
    assert pages[INDEX].count('data-verdict="none"') == len(studies()) - 1
    assert pages[INDEX].count('data-implemented="no"') == len(studies()) - implemented


def test_a_paper_that_was_run_shows_what_the_report_shows(checked, outcome):
    words = words_of(checked[f"papers/{SLUG}.html"])
    paper = outcome.paper
    for expected in (
        paper.title,
        ", ".join(paper.authors),
        f"arXiv:{paper.arxiv}",
        paper.sentence,
        "✗ contradicted",
        "5,000 drawn digits",
        "Mine",
        "memorized by noise",
        f"gradatim run {SLUG} --seeds 10-19",
        "How it was made",
    ):
        assert expected in words
    assert checked[f"papers/{SLUG}.html"].tags.count("svg") >= 5 + 1
    assert "Not implemented yet" not in words


def test_a_paper_without_a_study_says_so(checked, monkeypatch):
    monkeypatch.setattr(site, "is_implemented", lambda slug: False)
    page = Checked(render_site([], [find_paper("npo")])["papers/npo.html"])
    assert "Not implemented yet." in words_of(page)
    assert "gradatim run" not in words_of(page)


def test_a_study_that_was_not_run_shows_its_claims(outcome, monkeypatch):
    monkeypatch.setattr(site, "is_implemented", lambda slug: True)
    monkeypatch.setattr(site, "load_study", lambda slug: outcome.study)
    pages = render_site([], [outcome.paper])
    words = words_of(Checked(pages[f"papers/{SLUG}.html"]))
    assert "Not run yet." in words and "ELR memorizes fewer false labels" in words
    assert "To be tested on 5,000 drawn digits" in words and f"gradatim run {SLUG}" in words
    assert "not run yet" in words_of(Checked(pages[INDEX]))
    assert "No results yet." in words_of(Checked(pages[INDEX]))


def test_stale_and_trial_runs_are_marked(outcome):
    stale = dataclasses.replace(outcome, freshness="study changed")
    pages = render_site([stale], [outcome.paper])
    assert "code has changed since" in pages[INDEX]
    assert "the code has changed since" in pages[f"papers/{SLUG}.html"]
    ledger = dataclasses.replace(outcome.ledger, budget="smoke")
    trial = render_site([dataclasses.replace(outcome, ledger=ledger)], [outcome.paper])
    assert "these are smoke runs" in trial[INDEX]


def test_markup_in_words_is_escaped(outcome):
    paper = dataclasses.replace(
        outcome.paper, title=EVIL, authors=(EVIL, EVIL), sentence=EVIL, arxiv='"><b>', code='"><b>'
    )
    claim = dataclasses.replace(outcome.verdicts[0].claim, statement=EVIL, unit=EVIL)
    study = dataclasses.replace(
        outcome.study, paper=paper, description=EVIL, population=EVIL, claims=(claim,), figures=()
    )
    verdict = dataclasses.replace(outcome.verdicts[0], claim=claim)
    ledger = dataclasses.replace(outcome.ledger, measurements={})
    evil = dataclasses.replace(outcome, study=study, verdicts=(verdict,), ledger=ledger)
    pages = render_site([evil], [paper, find_paper("npo")])
    for name, page in pages.items():
        found = Checked(page)
        assert found.tags.count("script") == (name == INDEX)
        assert "img" not in found.tags and "b" not in found.tags and "49" not in found.words
        assert "<script>alert" not in page and "<img" not in page
    assert "&lt;script&gt;alert(1)" in pages[INDEX]


def test_same_inputs_same_bytes(pages, outcome, tmp_path):
    assert render_site([outcome]) == pages
    first = write_site([outcome], tmp_path / "new" / "site")
    assert first == tmp_path / "new" / "site" / INDEX
    again = write_site([outcome], first.parent)
    files = {
        path.relative_to(again.parent).as_posix(): path.read_bytes().decode()
        for path in again.parent.rglob("*")
        if path.is_file()
    }
    assert files == pages
    assert not any("2026-01-31" in page or str(tmp_path) in page for page in pages.values())


@pytest.fixture
def written(tmp_path, pages):
    """A folder with an atlas, made without making its pages again."""
    for name, page in pages.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(page, encoding="utf-8")
    return tmp_path


def test_an_atlas_is_replaced_and_what_stands_beside_it_is_kept(written, pages):
    (written / "CNAME").write_text("mine")
    check_ours(written, pages)
    (written / INDEX).unlink()
    (written / "CNAME").unlink()
    (written / ".git").mkdir()
    check_ours(written, pages)  # the writing was stopped before the index


@pytest.mark.parametrize("name", [INDEX, "papers/npo.html"])
def test_foreign_pages_are_never_replaced(written, pages, outcome, name):
    (written / name).write_text("<p>my work")
    with pytest.raises(InputError, match=re.escape(name)):
        check_ours(written, pages)
    (written / name).unlink()
    (written / name).mkdir()
    (written / name / "mine").touch()
    with pytest.raises(InputError, match=r"mine|index\.html|not overwritten"):
        check_ours(written, pages)


def test_a_folder_of_other_things_is_refused(tmp_path, monkeypatch, pages):
    monkeypatch.setattr(site, "render_site", lambda outcomes: pages)
    folder = tmp_path / "home"
    (folder / "papers").mkdir(parents=True)
    (folder / "papers" / "thesis.html").write_text("mine")
    (folder / "b.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds no atlas, but b\.txt, papers;"):
        write_site([], folder)
    assert sorted(path.name for path in folder.rglob("*")) == ["b.txt", "papers", "thesis.html"]
    with pytest.raises(GradatimError, match="got a file"):
        write_site([], folder / "b.txt")
    assert (folder / "b.txt").read_text() == "mine"


def test_reports_and_atlases_do_not_replace_each_other(written, pages, outcome):
    assert not is_report(written / INDEX)
    write_report(outcome, written / INDEX)
    assert is_report(written / INDEX) and (written / INDEX).read_text() == render_report([outcome])
    with pytest.raises(InputError, match=r"is not overwritten|holds no atlas"):
        check_ours(written, pages)


def test_nothing_is_written_if_a_page_cannot_be_made(tmp_path, outcome, monkeypatch):
    def fail(cards, outcomes):
        raise InputError("no index")

    monkeypatch.setattr(site, "_index_page", fail)
    with pytest.raises(InputError, match="no index"):
        write_site([], tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_papers_of_a_similar_kind(pages):
    cards = [site._card(paper, None) for paper in studies().values()]
    place = list(studies()).index("npo")
    near = site.nearby(cards, place)
    assert len(near) == 3 and all(card.paper.slug != "npo" for card in near)
    assert all(set(card.paper.kinds) & set(cards[place].paper.kinds) for card in near)
    assert site.nearby(cards[:1], 0) == []


def test_kinds_are_explained():
    assert tuple(site.KIND_WORDS) == KINDS
