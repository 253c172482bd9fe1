"""What scoring will compute and what it costs, in words, before anything is computed."""

from collections.abc import Sequence

from gradatim.core.io.columns import count
from gradatim.workflows.score_blocks import TableReader
from gradatim.workflows.score_classes import ClassScorer
from gradatim.workflows.score_language import LanguageScorer
from gradatim.workflows.score_measures import of_groups
from gradatim.workflows.score_request import ScoreRequest
from gradatim.workflows.score_survey import Survey


def costs_in_words(
    names: Sequence[str],
    request: ScoreRequest,
    reader: TableReader,
    survey: Survey,
    scorer: LanguageScorer | None,
    classes: ClassScorer | None,
) -> list[str]:
    """A line for each group of measures that share their cost.

    The model's speed is measured on a few rows.

    Args:
        names: the measures.
        request: what is asked for.
        reader: the data.
        survey: how much there is.
        scorer: the language model that reads the rows, or None.
        classes: what trains models of classes, or None.
    """
    sources, rows = request.sources, survey.rows
    lines = []
    if counted := of_groups(names, "level", "text"):
        lines.append(f"{', '.join(counted)}: one pass over {count(rows, 'row')}")
    if scorer is not None:
        told = _model_cost(scorer, survey, reader)
        lines.append(f"{', '.join(of_groups(names, 'model'))}: {told}")
    if "fail_rate" in names:
        how = request.attempts
        told = (
            f"{how.copies} attempts at each of {count(rows, 'question')}, at most "
            f"{rows * how.copies * how.longest:,} new tokens"
        )
        if sources.attempts is not None:
            told = f"{int(sources.attempts.n_trials.sum()):,} attempts are counted"
            if sources.attempts.n_correct is None:
                told = f"{int(sources.attempts.n_trials.sum()):,} answers are verified"
        lines.append(f"fail_rate: {told}")
    rated = of_groups(names, "responses", "games")
    again = ", twice" if request.compare else ""
    if rated and sources.responses is not None:
        lines.append(
            f"{', '.join(rated)}: fitted to {len(sources.responses.items):,} responses{again}"
        )
    elif rated and sources.games is not None:
        lines.append(f"{', '.join(rated)}: {len(sources.games.scores):,} games")
    if classes is not None:
        lines += classes.costs(names)
        if request.compare:
            lines.append("failures to foretell: out-of-fold predictions once more")
    return lines


def _model_cost(scorer: LanguageScorer, survey: Survey, reader: TableReader) -> str:
    per_character, per_second = scorer.probe(survey.sample, lambda row: reader.place(0, row))
    tokens = per_character * survey.characters
    return (
        f"{scorer.loaded.name} reads {count(survey.rows, 'row')} once, about {tokens:,.0f} tokens "
        f"at {per_second:,.0f} a second: {duration(tokens / per_second)}"
    )


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(42.0), duration(400.0), duration(9000.0)
    ('42 seconds', '7 minutes', '2.5 hours')
    """
    if seconds < 90:
        return count(max(1, round(seconds)), "second")
    if seconds < 5400:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours"
