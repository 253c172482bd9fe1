"""What is asked of a job of scoring, and which measures that means for the data at hand."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim.workflows.score_blocks import TableReader
from gradatim.workflows.score_classes import ClassSettings
from gradatim.workflows.score_inputs import Layout
from gradatim.workflows.score_language import AttemptSettings
from gradatim.workflows.score_measures import Means, chosen_measures
from gradatim.workflows.score_pass import Progress
from gradatim.workflows.score_sources import Sources
from gradatim.workflows.score_survey import survey_labels

if TYPE_CHECKING:
    from gradatim.language.loading import LanguageModel

MOST_TRAINED = 100_000
"""Rows up to which "auto" trains models of classes."""

_FIRST = ("level", "fail_rate", "irt_2pl", "glicko", "elo", "loss", "oof_confidence", "words")


@dataclass(frozen=True)
class ScoreRequest:
    """What is asked for; see :func:`gradatim.workflows.score.score`."""

    sources: Sources
    measure: str | Sequence[str]
    model: "str | Path | LanguageModel | None"
    classes: ClassSettings
    attempts: AttemptSettings
    compare: bool
    out: str | os.PathLike[str] | None
    overwrite: bool
    batch_tokens: int
    block_rows: int | None
    device: str | None
    allow_download: bool
    seed: int
    tell: Callable[[str], None]
    progress: Progress

    @property
    def auto(self) -> bool:
        """Whether all measures that can be had were asked for."""
        asked = self.measure.split(",") if isinstance(self.measure, str) else self.measure
        return "auto" in [one.strip().lower() for one in asked]

    def main(self, names: Sequence[str]) -> str:
        """The measure that ``difficulty`` is taken from.

        The first that was asked for; with "auto" what people or attempts say, or else what a model
        finds, or else the number of words.
        """
        if not self.auto:
            return names[0]
        return next((name for name in _FIRST if name in names), names[0])


def choose_measures(
    request: ScoreRequest, reader: TableReader, layout: Layout
) -> tuple[list[str], list[str]]:
    """The measures that are computed, and notes on what "auto" leaves out.

    Args:
        request: what is asked for.
        reader: the data.
        layout: where text stands.

    Raises:
        InputError: as :func:`~gradatim.workflows.score_measures.chosen_measures`.
    """
    no_classes, labelled = survey_labels(reader, request.sources.columns)
    means = means_of(request, layout, no_classes)
    left_out: set[str] = set()
    notes = []
    if request.sources.attempts is None:
        left_out.add("attempts")
    if request.sources.columns.options is not None:
        left_out.add("ensemble")  # of questions there is one kind of model
    if means.classes is None and labelled > MOST_TRAINED and request.auto:
        left_out |= {"classes", "dynamics"}
        notes.append(
            "measures that train models of classes are left out of auto for more than "
            f"{MOST_TRAINED:,} rows; name them to have them"
        )
    return chosen_measures(request.measure, means, left_out=left_out), notes


def means_of(request: ScoreRequest, layout: Layout, no_classes: str | None) -> Means:
    """What there is to compute measures from, and what is lacking.

    Args:
        request: what is asked for.
        layout: where text stands.
        no_classes: why models of classes cannot be trained, or None.
    """
    sources = request.sources
    no_text = None if layout.kind != "none" else "needs text; name its columns with input (--input)"
    no_model = None
    if request.model is None:
        no_model = "needs a language model; name one with model (--model)"
    no_responses = no_games = no_attempts = None
    if sources.responses is None:
        no_responses = "needs responses of several subjects; give them with responses (--responses)"
        if sources.games is None:
            no_games = "needs games (--games) or responses (--responses)"
    if sources.attempts is None:
        needs = "needs attempts (--attempts), or a language model (--model) to sample them"
        if no_model:
            no_attempts = needs
        elif layout.kind not in ("question", "completion", "messages"):
            no_attempts = f"{needs} and questions with answers, got {layout.describe()}"
    no_level = None
    if sources.columns.level is None:
        no_level = "needs a level column; name it with level (--level)"
    no_pairs = None
    if layout.rejected is None:
        no_pairs = "needs preference pairs (columns chosen and rejected)"
    return Means(
        level=no_level,
        text=no_text,
        model=no_text or no_model,
        preference=no_pairs,
        attempts=no_attempts,
        responses=no_responses,
        games=no_games,
        classes=no_classes,
    )
