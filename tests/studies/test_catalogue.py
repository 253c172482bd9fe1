from pathlib import Path

import pytest

from gradatim.core.errors import InputError
from gradatim.studies.catalogue import (
    catalogue,
    find_paper,
    is_implemented,
    read_catalogue,
    read_set_ups,
    search_papers,
    studies,
)

ENTRY = """
[one]
number = 1
title = "T"
authors = ["A B"]
year = 2020
arxiv = "2001.00001"
code = ""
sentence = "It does."
kinds = ["mining"]
"""


def test_the_catalogue_is_in_reading_order() -> None:
    assert [paper.number for paper in catalogue().values()] == list(range(1, 70))


def test_a_paper_is_found_by_slug_and_near_names_are_told() -> None:
    assert find_paper("early_learning_regularization") is find_paper(
        "early-learning-regularization"
    )
    assert find_paper("ps-kd").module == "gradatim.papers.ps_kd"
    with pytest.raises(InputError, match=r"none called 'pskd'. Did you mean ps-kd"):
        find_paper("pskd")
    with pytest.raises(InputError, match="`gradatim papers` lists them all"):
        find_paper("zzzzzz")
    with pytest.raises(InputError):
        is_implemented("zzzzzz")


def test_search_wants_every_word_and_the_kind() -> None:
    assert [paper.slug for paper in search_papers()] == list(studies())
    assert [p.slug for p in search_papers("NOISY memorization")] == [
        "early-learning-regularization"
    ]
    kind = search_papers(kind="curriculum")
    assert kind and all("curriculum" in paper.kinds for paper in kind)
    assert search_papers("no such words") == []
    with pytest.raises(
        InputError, match=r"kind: expected one of .* got 'minning'. Did you mean mini"
    ):
        search_papers(kind="minning")


def test_bibtex_escapes_what_latex_reads() -> None:
    entry = find_paper("curry-dpo").bibtex()
    assert r"Curriculum Learning \& Ranked Preferences}}" in entry
    assert entry.count("{") == entry.count("}")
    assert "80\\%+" in find_paper("meal-v2").bibtex()


def test_a_good_entry_is_read(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.toml"
    file.write_text(ENTRY)
    assert read_catalogue(file)["one"].authors == ("A B",)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("year = 2020\n", "", "expected year to be int, got None"),
        ("2020", '"2020"', "expected year to be int, got '2020'"),
        ("year", "pages = 3\nyear", "'pages' is not one of"),
        ("mining", "minning", "kind 'minning' is not one of"),
    ],
)
def test_a_bad_entry_is_named(tmp_path: Path, old, new, message) -> None:
    file = tmp_path / "catalogue.toml"
    file.write_text(ENTRY.replace(old, new))
    with pytest.raises(InputError, match=rf"catalogue.toml, \[one\]: {message}"):
        read_catalogue(file)


def test_numbers_stand_once(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.toml"
    file.write_text(ENTRY + ENTRY.replace("[one]", "[two]"))
    with pytest.raises(InputError, match=r"\[two\]: number 1 is that of one already"):
        read_catalogue(file)


def test_further_set_ups_stand_behind_their_paper() -> None:
    slugs = list(studies())
    assert slugs[slugs.index("npo") + 1] == "npo-smollm2"
    further = find_paper("npo-smollm2")
    assert (further.of, further.arxiv) == ("npo", find_paper("npo").arxiv)
    assert further.title.endswith("(on SmolLM2-135M-Instruct)")
    assert [slug for slug, paper in studies().items() if not paper.of] == list(catalogue())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[a]\nof = "npo"\n', "expected of and where"),
        ('[a]\nof = "npo"\nwhere = 3\n', "expected of and where"),
        ('[a]\nof = "nop"\nwhere = "there"\n', "there is no paper 'nop'"),
        ('[npo]\nof = "uld"\nwhere = "there"\n', "is a paper's slug"),
    ],
)
def test_a_wrong_set_up_is_told(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "set_ups.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=told):
        read_set_ups(path, catalogue())
