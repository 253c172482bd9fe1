"""The catalogue of papers: who wrote what, when, and one own sentence on each."""

import importlib.util
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gradatim.core.errors import InputError, nearest_names

KINDS = (
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
)
"""What a paper brings, by the folder in which the part lives."""

_FILE = Path(__file__).with_name("catalogue.toml")
_SET_UPS_FILE = Path(__file__).with_name("set_ups.toml")
_FIELDS: dict[str, type] = {
    "number": int,
    "title": str,
    "authors": list,
    "year": int,
    "arxiv": str,
    "code": str,
    "sentence": str,
    "kinds": list,
}


@dataclass(frozen=True)
class Paper:
    """One paper of the catalogue.

    Attributes:
        slug: its short name here.
        number: its place in reading order, from 1.
        title: its title.
        authors: their names.
        year: when it appeared.
        arxiv: arXiv id, or "".
        code: the authors' repository as "owner/name", or "".
        sentence: what it does, in our words.
        kinds: folders of the parts that it brings, the most characteristic first.
        of: the paper's own slug, if this is a further set-up in which its claims are tested; or "".
    """

    slug: str
    number: int
    title: str
    authors: tuple[str, ...]
    year: int
    arxiv: str
    code: str
    sentence: str
    kinds: tuple[str, ...]
    of: str = ""

    @property
    def module(self) -> str:
        """The module that holds its study, whether or not it is there yet."""
        return f"gradatim.papers.{self.slug.replace('-', '_')}"

    def bibtex(self) -> str:
        """The paper as a BibTeX entry.

        >>> print(find_paper("npo").bibtex().splitlines()[0])
        @misc{npo,
        """
        fields = {
            "title": f"{{{_latex(self.title)}}}",
            "author": _latex(" and ".join(self.authors)),
            "year": str(self.year),
        }
        if self.arxiv:
            fields |= {"eprint": self.arxiv, "archiveprefix": "arXiv"}
        lines = [f"  {name} = {{{value}}}" for name, value in fields.items()]
        return f"@misc{{{self.slug},\n" + ",\n".join(lines) + "\n}\n"


@cache
def catalogue() -> MappingProxyType[str, Paper]:
    """All papers in reading order, by slug.

    >>> len(catalogue())
    69
    """
    return MappingProxyType(read_catalogue(_FILE))


@cache
def studies() -> MappingProxyType[str, Paper]:
    """All papers and their further set-ups, each behind its paper, by slug.

    >>> [slug for slug, paper in studies().items() if paper.of == "npo"]
    ['npo-smollm2']
    """
    papers = catalogue()
    further = read_set_ups(_SET_UPS_FILE, papers)
    return MappingProxyType(
        {
            one.slug: one
            for paper in papers.values()
            for one in (paper, *(other for other in further if other.of == paper.slug))
        }
    )


def read_set_ups(path: Path, papers: Mapping[str, Paper]) -> list[Paper]:
    """Read a file of further set-ups: one table each, with the paper and where it is tested.

    Raises:
        InputError: a field is missing or unknown, there is no such paper, or a slug is taken.
    """
    found = []
    for slug, entry in tomllib.loads(path.read_text(encoding="utf-8")).items():
        where = f"{path.name}, [{slug}]"
        if entry.keys() != {"of", "where"} or not all(isinstance(v, str) for v in entry.values()):
            raise InputError(f"{where}: expected of and where, both text, got {entry}")
        if slug in papers or entry["of"] not in papers:
            what = "is a paper's slug" if slug in papers else f"there is no paper {entry['of']!r}"
            raise InputError(f"{where}: {what}")
        paper = papers[entry["of"]]
        title = f"{paper.title} ({entry['where']})"
        found.append(replace(paper, slug=slug, of=paper.slug, title=title))
    return found


def read_catalogue(path: Path) -> dict[str, Paper]:
    """Read a catalogue file: one table a paper, named by its slug.

    Raises:
        InputError: a field is missing, unknown or of another type, a kind is unknown, or a number
            stands there twice.
    """
    papers: dict[str, Paper] = {}
    numbers: dict[int, str] = {}
    for slug, entry in tomllib.loads(path.read_text(encoding="utf-8")).items():
        paper = _parse_paper(f"{path.name}, [{slug}]", slug, entry)
        if paper.number in numbers:
            raise InputError(
                f"{path.name}, [{slug}]: number {paper.number} is that of "
                f"{numbers[paper.number]} already"
            )
        numbers[paper.number] = slug
        papers[slug] = paper
    return dict(sorted(papers.items(), key=lambda entry: entry[1].number))


def find_paper(slug: str) -> Paper:
    """Look a paper, or a further set-up of one, up by its slug; underscores may be hyphens.

    Raises:
        InputError: there is none of this name; the nearest names are told.

    >>> find_paper("early_learning_regularization").year
    2020
    """
    papers = studies()
    found = papers.get(slug) or papers.get(slug.replace("_", "-"))
    if found is None:
        near = nearest_names(slug, papers) or " `gradatim papers` lists them all."
        raise InputError(f"paper: there is none called {slug!r}.{near}")
    return found


def search_papers(words: str = "", kind: str | None = None) -> list[Paper]:
    """Papers and further set-ups in whose entry every word occurs, in reading order.

    Args:
        words: words or parts of words, separated by blanks; upper and lower case are alike.
        kind: one of :data:`KINDS`, or None for all.

    Raises:
        InputError: an unknown kind.

    >>> [paper.slug for paper in search_papers("noisy labels", kind="objectives")]
    ['early-learning-regularization']
    """
    if kind is not None and kind not in KINDS:
        near = nearest_names(kind, KINDS)
        raise InputError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}.{near}")
    wanted = words.casefold().split()
    return [
        paper
        for paper in studies().values()
        if (kind is None or kind in paper.kinds)
        and all(word in search_text(paper) for word in wanted)
    ]


def search_text(paper: Paper) -> str:
    """All in which :func:`search_papers` looks for words, in lower case."""
    parts = (paper.slug, paper.title, *paper.authors, str(paper.year), paper.arxiv, paper.sentence)
    return " ".join((*parts, *paper.kinds)).casefold()


def is_implemented(slug: str) -> bool:
    """Whether the paper's study is there.

    Raises:
        InputError: there is no such paper.
    """
    return importlib.util.find_spec(find_paper(slug).module) is not None


def _parse_paper(where: str, slug: str, entry: dict[str, Any]) -> Paper:
    for name, kind in _FIELDS.items():
        if type(entry.get(name)) is not kind:
            raise InputError(
                f"{where}: expected {name} to be {kind.__name__}, got {entry.get(name)!r}"
            )
    for name in entry:
        if name not in _FIELDS:
            raise InputError(f"{where}: {name!r} is not one of {', '.join(_FIELDS)}")
    for kind_name in entry["kinds"]:
        if kind_name not in KINDS:
            raise InputError(f"{where}: kind {kind_name!r} is not one of {', '.join(KINDS)}")
    values: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in entry.items()
    }
    return Paper(slug=slug, **values)


def _latex(text: str) -> str:
    """Escape the characters that LaTeX reads as commands."""
    return "".join(f"\\{sign}" if sign in "&%$#_{}" else sign for sign in text)
