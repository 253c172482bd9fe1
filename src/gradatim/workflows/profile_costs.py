"""What a profile is going to compute, in words, before anything is."""

from collections.abc import Sequence
from pathlib import Path

from gradatim.workflows.profile_features import encoding_cost
from gradatim.workflows.profile_heads import HeadSettings
from gradatim.workflows.profile_inputs import ProfileTable
from gradatim.workflows.profile_measures import MANY_FITS, measure_costs

_ARMS = 4  # easy, medium, hard, all
_STRATA = 3


def probe_costs(
    names: Sequence[str],
    table: ProfileTable,
    settings: HeadSettings,
    folds: int,
    draws: int,
    *,
    what: str,
    encoder: str | Path | None,
) -> list[str]:
    """What training on features costs.

    Args:
        names: the measures.
        table: the rows.
        settings: of the head.
        folds: of the out-of-fold predictions.
        draws: of the matrix.
        what: what is trained.
        encoder: what encodes text; None if features are given.
    """
    lines = []
    if encoding := encoding_cost(table, encoder):
        lines.append(encoding)
    rows = table.trained * (folds - 1) // folds
    fits = 2 * (folds + (len(table) > table.trained))
    lines.append(f"out-of-fold predictions, two rounds: {fits} fits of {rows:,} rows ({what})")
    lines += [f"{one.name}: {one.cost}" for one in measure_costs(names, table, folds)]
    fits = draws * (_ARMS + len(settings.rates))
    most = settings.most_trained
    return [*lines, f"matrix and wrong labels: {fits} fits of at most {most:,} rows"]


def language_costs(
    names: Sequence[str], table: ProfileTable, settings: HeadSettings, folds: int, draws: int
) -> list[str]:
    """What asking a language model costs, and training it if it is trained.

    Args:
        names: the measures.
        table: the rows.
        settings: of the head.
        folds: of the out-of-fold predictions.
        draws: of the matrix.
    """
    count, options = len(table), int(table.choices.sum())
    what = "options" if table.options is not None else "class names"
    lines = [f"zero-shot: {count:,} rows asked, {options:,} {what} read by {settings.model_name}"]
    if settings.name == "in-context" and not settings.shots:
        return [*lines, "nothing more: without exemplars every answer is that of the zero-shot"]
    tunes = settings.name == "lora"
    fits = 2 * (folds + (count > table.trained))
    rows = min(settings.most_trained, table.trained * (folds - 1) // folds)
    behind = f"{2 * count:,} rows asked"
    if tunes:
        behind = f"{fits} LoRA fits of {rows:,} rows, {behind}"
    else:
        behind += f" behind {settings.shots} exemplars"
    lines.append(f"out-of-fold predictions, two rounds: {behind}")
    costs = measure_costs(names, table, folds, head=settings.name)
    lines += [f"{one.name}: {one.cost}" for one in costs]
    fits = draws * (_ARMS + len(settings.rates) - 1)
    most = min(settings.most_tested, count)
    asked = draws * (_ARMS * min(_STRATA * most, count) + (len(settings.rates) - 1) * most)
    told = f"at most {asked:,} rows asked"
    if tunes:
        told = f"{fits} LoRA fits of at most {settings.most_trained:,} rows, {told}"
    lines.append(f"matrix and wrong labels: {told}")
    if tunes:
        lines.append(
            "a LoRA fit reads its rows with all their options at least 3 times, forwards and "
            "backwards, makes at least 10 updates, and reads them once more in the end"
        )
    return lines


def left_out(measure: str | Sequence[str], settings: HeadSettings) -> tuple[str, ...]:
    """A note of the measures that "auto" leaves out for a head that costs much."""
    if not settings.is_language or measure != "auto":
        return ()
    return (
        f"{' and '.join(MANY_FITS)} are left out, since they ask the language model many times "
        "more; name them as measures to have them",
    )
