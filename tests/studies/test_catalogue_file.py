import re
import tomllib
from importlib.resources import files
from itertools import pairwise
from typing import Any

import pytest

KEYS = {"number", "title", "authors", "year", "arxiv", "code", "sentence", "kinds"}
KINDS = {
    "difficulty",
    "curriculum",
    "mining",
    "targets",
    "objectives",
    "evaluators",
    "selection",
    "metrics",
    "networks",
    "language",
    "learners",
    "recipes",
}
TEXT = (files("gradatim") / "studies" / "catalogue.toml").read_text(encoding="utf-8")
PAPERS: dict[str, dict[str, Any]] = tomllib.loads(TEXT)


def repeated(values: list[str]) -> list[str]:
    ordered = sorted(value.casefold() for value in values)
    return [a for a, b in pairwise(ordered) if a == b]


def test_numbers_run_from_1_to_69_in_file_order() -> None:
    assert [paper["number"] for paper in PAPERS.values()] == list(range(1, 70))


@pytest.mark.parametrize("key", ["title", "arxiv", "sentence"])
def test_no_two_papers_share_a_value(key: str) -> None:
    assert repeated([paper[key] for paper in PAPERS.values()]) == []


@pytest.mark.parametrize("slug", PAPERS)
def test_slug_and_keys(slug: str) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug)
    assert PAPERS[slug].keys() == KEYS


@pytest.mark.parametrize("slug", PAPERS)
def test_year_is_the_year_of_the_arxiv_id(slug: str) -> None:
    paper = PAPERS[slug]
    assert re.fullmatch(r"\d{4}\.\d{4,5}", paper["arxiv"])
    year, month = 2000 + int(paper["arxiv"][:2]), int(paper["arxiv"][2:4])
    assert paper["year"] == year
    assert 1 <= month <= 12
    # arXiv numbers have five digits since January 2015.
    assert len(paper["arxiv"]) == (10 if year >= 2015 else 9)


@pytest.mark.parametrize("slug", PAPERS)
def test_authors_are_whole_names_and_others_comes_last(slug: str) -> None:
    authors = PAPERS[slug]["authors"]
    named = authors[:-1] if authors[-1] == "others" else authors
    assert named
    assert repeated(named) == []
    for name in named:
        assert re.fullmatch(r"[^\W\d_][\w.()'-]*( [\w.()'-]+)+", name), name
        assert not re.search(r"\bet al\b|\bothers\b", name), name


@pytest.mark.parametrize("slug", PAPERS)
def test_code_is_empty_or_owner_and_name(slug: str) -> None:
    assert re.fullmatch(r"|[\w-]+/[\w.-]+", PAPERS[slug]["code"])


@pytest.mark.parametrize("slug", PAPERS)
def test_title_is_one_trimmed_line(slug: str) -> None:
    title = PAPERS[slug]["title"]
    assert re.fullmatch(r"\S+( \S+)+", title)
    assert not title.endswith(".")


@pytest.mark.parametrize("slug", PAPERS)
def test_sentence_is_one_short_sentence_that_starts_with_a_verb(slug: str) -> None:
    sentence = PAPERS[slug]["sentence"]
    assert 40 <= len(sentence) <= 200
    assert re.fullmatch(r"[A-Z][a-z-]+s [^.!?\n]+\.", sentence)
    assert "  " not in sentence


@pytest.mark.parametrize("slug", PAPERS)
def test_kinds_are_folders_named_once(slug: str) -> None:
    kinds = PAPERS[slug]["kinds"]
    assert kinds
    assert len(kinds) == len(set(kinds))
    assert set(kinds) <= KINDS


def test_every_kind_has_a_paper() -> None:
    assert {kind for paper in PAPERS.values() for kind in paper["kinds"]} == KINDS
