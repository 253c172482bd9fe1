"""The atlas: a static site of all papers, with what their studies found, or what is still to do."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradatim.core.errors import InputError
from gradatim.core.files import atomic_write, check_output_folder, storage_error
from gradatim.studies.catalogue import KINDS, Paper, is_implemented, search_text, studies
from gradatim.studies.outcomes import Outcome
from gradatim.studies.pages import TEMPLATES, is_page_of, render
from gradatim.studies.prose import to_html
from gradatim.studies.registry import load_study
from gradatim.studies.sections import section_of
from gradatim.studies.tables import MARKS, count_text, status_counts

GENERATOR = "gradatim atlas"
"""What the atlas's pages name as their maker: only pages that do are ever replaced."""

INDEX = "index.html"
NEARBY = 3
"""How many papers of the same kinds a paper's page leads to."""

KIND_WORDS = {
    "difficulty": "how hard each example is, as a number",
    "curriculum": "what to train on when: orders, probabilities and weights over time",
    "mining": "which pairs, negatives or instances to learn from",
    "targets": "what to aim at instead of the plain label",
    "objectives": "losses: what training makes small",
    "evaluators": "rewards for candidates, from models, votes or search",
    "selection": "which examples to take from a pool under a budget",
    "metrics": "figures that tell what was gained, kept or forgotten",
    "networks": "blocks that networks are built from",
    "language": "language models: sampling, likelihoods, adapters",
    "learners": "estimators for scikit-learn",
    "recipes": "whole training procedures",
}
"""What each kind of part is, for a reader who is new to the names."""

UNJUDGED = "none"
"""Stands for "no verdict" where verdicts are chosen."""


@dataclass(frozen=True)
class Card:
    """A paper in the list, and what the list is searched and filtered by.

    Attributes:
        paper: the paper.
        byline: year and first author.
        implemented: whether its study is there.
        counts: how many of its claims have each verdict; empty if it was not run.
        stale: whether the code has changed since it was run.
    """

    paper: Paper
    byline: str
    implemented: bool
    counts: Mapping[str, int]
    stale: bool

    @property
    def verdicts(self) -> Sequence[str]:
        """The verdicts that its claims have."""
        return list(self.counts) or [UNJUDGED]

    @property
    def text(self) -> str:
        """What words are looked for in: the same as by ``gradatim papers --search``."""
        return search_text(self.paper)


@dataclass(frozen=True)
class Chip:
    """One value to filter by.

    Attributes:
        value: its name in the page's address.
        words: what is written on it.
        about: what it means, or "".
        count: how many papers have it.
        mark: a verdict's sign, or "".
    """

    value: str
    words: str
    about: str
    count: int
    mark: str = ""


def write_site(outcomes: Sequence[Outcome], folder: str | os.PathLike[str]) -> Path:
    """Write the atlas: a page to search all papers, and a page for each; same inputs same bytes.

    The pages ask for nothing outside themselves and work from a disk. All of them are made before
    the first is written, each is written in one step, and the index comes last. What is in the
    folder besides them is left alone.

    Args:
        outcomes: what is known of the papers that were run.
        folder: where to write: a new or empty folder, or one that holds an atlas.

    Returns:
        The path of the index.

    Raises:
        InputError: the folder holds other files, or one that is not of an atlas has a page's name.
        StorageError: a page cannot be written.
    """
    target = Path(folder)
    pages = render_site(outcomes)
    check_ours(target, pages)
    check_output_folder(target)
    for name, page in pages.items():
        with atomic_write(target / name) as file:
            file.write(page)
    return target / INDEX


def render_site(
    outcomes: Sequence[Outcome], papers: Iterable[Paper] | None = None
) -> dict[str, str]:
    """The atlas's pages by their place in its folder, the index last; see :func:`write_site`.

    Args:
        outcomes: as there.
        papers: which papers; by default the whole catalogue, with further set-ups.
    """
    known = {outcome.paper.slug: outcome for outcome in outcomes}
    cards = [
        _card(paper, known.get(paper.slug))
        for paper in (studies().values() if papers is None else papers)
    ]
    pages = {
        page_name(card.paper): _paper_page(cards, place, known.get(card.paper.slug))
        for place, card in enumerate(cards)
    }
    return {**pages, INDEX: _index_page(cards, outcomes)}


def page_name(paper: Paper) -> str:
    """Where a paper's page stands in the atlas's folder."""
    return f"papers/{paper.slug}.html"


def check_ours(folder: Path, names: Iterable[str]) -> None:
    """Check that an atlas may be written to a folder.

    Raises:
        InputError: the folder holds something but no atlas, or a file that is not a page of an
            atlas has the name of one.
    """
    if not folder.is_dir():
        return
    try:
        others = [] if _of_atlas(folder / INDEX) else _foreign(folder)
        taken = [folder / name for name in names if not _of_atlas(folder / name, missing=True)]
    except OSError as error:
        raise storage_error("reading", folder, error) from error
    if others:
        told = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise InputError(
            f"{folder}: holds no atlas, but {told}; expected a new or empty folder, or an atlas"
        )
    if taken:
        raise InputError(f"{taken[0]}: is not a page of an atlas, and is not overwritten")


def _foreign(folder: Path) -> list[str]:
    """What is in a folder, hidden files aside, that is neither a page of an atlas nor full of them.

    An atlas whose writing was stopped has pages, but no index.
    """
    visible = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return [
        path.name
        for path in visible
        if (_foreign(path) if path.is_dir() else not _of_atlas(path, missing=True))
    ]


def _of_atlas(path: Path, *, missing: bool = False) -> bool:
    """Whether a page of an atlas stands there; `missing` is the answer where nothing does."""
    if not path.exists():
        return missing
    return path.is_file() and is_page_of(GENERATOR, path)


def nearby(cards: Sequence[Card], place: int, most: int = NEARBY) -> list[Card]:
    """The papers whose kinds are most like those of one paper, the nearest in the list first."""
    kinds = set(cards[place].paper.kinds)

    def unlike(other: int) -> tuple[float, int]:
        others = set(cards[other].paper.kinds)
        return -len(kinds & others) / len(kinds | others), abs(other - place)

    ranked = sorted((other for other in range(len(cards)) if other != place), key=unlike)
    return [cards[other] for other in ranked[:most]]


def _card(paper: Paper, outcome: Outcome | None) -> Card:
    first, *others = paper.authors
    who = f"{first} and {others[0]}" if len(others) == 1 else first + (" et al." if others else "")
    counts = status_counts([outcome]) if outcome else {}
    return Card(
        paper,
        f"{paper.year} · {who}",
        outcome is not None or is_implemented(paper.slug),
        {status: count for status, count in counts.items() if count},
        outcome is not None and outcome.freshness != "fresh",
    )


def _paper_page(cards: Sequence[Card], place: int, outcome: Outcome | None) -> str:
    from markupsafe import Markup

    card = cards[place]
    paper = card.paper
    study = load_study(paper.slug) if card.implemented and outcome is None else None
    return render(
        "atlas_paper.html.j2",
        title=f"{paper.title} · gradatim atlas",
        generator=GENERATOR,
        policy=_policy(),
        card=card,
        section=section_of(outcome) if outcome else None,
        study=study,
        description=Markup(to_html(study.description)) if study else "",
        command=f"gradatim run {paper.slug}",
        before=cards[place - 1] if place else None,
        after=cards[place + 1] if place + 1 < len(cards) else None,
        nearby=nearby(cards, place),
        kind_words=KIND_WORDS,
        marks=MARKS,
    )


def _index_page(cards: Sequence[Card], outcomes: Sequence[Outcome]) -> str:
    from markupsafe import Markup

    script = (TEMPLATES / "atlas.js").read_text(encoding="utf-8")
    return render(
        "atlas_index.html.j2",
        title="gradatim atlas: easy-to-hard learning, paper by paper",
        generator=GENERATOR,
        policy=_policy(script),
        script=Markup(script),
        cards=cards,
        papers=sum(not card.paper.of for card in cards),
        chips=_chips(cards),
        counts={status: n for status, n in status_counts(outcomes).items() if n},
        summary=count_text(outcomes),
        trial=sorted({str(one.ledger.budget) for one in outcomes} - {"full"}),
        implemented=sum(card.implemented for card in cards),
        claims=sum(len(one.verdicts) for one in outcomes),
        marks=MARKS,
    )


def _chips(cards: Sequence[Card]) -> dict[str, list[Chip]]:
    """What the list can be filtered by: groups by their name in the page's address."""
    kinds = [kind for card in cards for kind in card.paper.kinds]
    verdicts = [verdict for card in cards for verdict in card.verdicts]
    ready = sum(card.implemented for card in cards)
    return {
        "kind": [Chip(kind, kind, KIND_WORDS[kind], kinds.count(kind)) for kind in KINDS],
        "verdict": [
            *(Chip(one, one, "", verdicts.count(one), mark) for one, mark in MARKS.items()),
            Chip(UNJUDGED, "none yet", "", verdicts.count(UNJUDGED)),
        ],
        "implemented": [
            Chip("yes", "implemented", "", ready),
            Chip("no", "not yet", "", len(cards) - ready),
        ],
    }


def _policy(script: str = "") -> Any:
    """The page's content security policy: nothing from anywhere, and no script but this one."""
    from markupsafe import Markup

    rules = ["default-src 'none'", "img-src data:", "style-src 'unsafe-inline'"]
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        rules.append(f"script-src 'sha256-{digest}'")
    rules += ["base-uri 'none'", "form-action 'none'"]
    return Markup(f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(rules)}">')
