"""Measures from what was tried: attempts, responses and games, brought to the rows of the data."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.core.errors import InputError
from gradatim.core.io.columns import count
from gradatim.core.seeds import numpy_generator
from gradatim.difficulty.comparison_graph import warn_extreme
from gradatim.difficulty.fail_rate import fail_rate
from gradatim.evaluators.answers import AnswerVerifier
from gradatim.workflows.score_attempts import AttemptLog
from gradatim.workflows.score_blocks import TableReader
from gradatim.workflows.score_inputs import Layout
from gradatim.workflows.score_keys import Matched, RowKeys, match_keys
from gradatim.workflows.score_language import reference_answer
from gradatim.workflows.score_measures import of_groups, spread_name
from gradatim.workflows.score_ratings import (
    GameTable,
    Responses,
    held_out_responses,
    rate_games,
    rate_responses,
)
from gradatim.workflows.score_texts import text_rows

Values = NDArray[np.float64]
_BLOCK = 4096


@dataclass(frozen=True)
class HeldOut:
    """Outcomes that no measure has seen, to see which measure foretells them.

    Attributes:
        failed: 1 for a failure, 0 for a success, NaN where there is none, shape [N].
        told: what they are, in words.
        columns: measures worked out without these outcomes.
    """

    failed: Values
    told: str
    columns: Mapping[str, Values] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """Columns from one source of evidence.

    Attributes:
        columns: measures and their uncertainty, each of shape [N].
        notes: what a reader should know.
        held_out: outcomes that were set aside, if that was asked for and can be done.
    """

    columns: dict[str, Values]
    notes: tuple[str, ...]
    held_out: HeldOut | None = None


def attempt_columns(n_correct: Values, n_trials: Values) -> dict[str, Values]:
    """The fail rate and the deviation of its posterior (from a uniform prior); NaN untried.

    >>> found = attempt_columns(np.array([1.0]), np.array([4.0]))
    >>> found["fail_rate"].tolist(), found["fail_rate_std"].round(3).tolist()
    ([0.75], [0.178])
    """
    tried = n_trials > 0
    rate, spread = np.full(len(n_trials), np.nan), np.full(len(n_trials), np.nan)
    right, trials = n_correct[tried], n_trials[tried]
    rate[tried] = fail_rate(right, trials)
    a, b = trials - right + 1, right + 1
    spread[tried] = np.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))
    return {"fail_rate": rate, spread_name("fail_rate"): spread}


def attempts_evidence(
    n_correct: Values, n_trials: Values, names: NDArray[Any], told: str, seed: int
) -> Evidence:
    """The fail rate of each row, and one attempt at each set aside.

    Args:
        n_correct: right attempts, shape [N]; NaN or 0 of 0 where nothing was tried.
        n_trials: all attempts, shape [N].
        names: what warnings call the rows, shape [N].
        told: what the attempts are, in words.
        seed: what the choice of what is set aside depends on.

    Warns:
        ExtremeItemWarning: rows at which all attempts or none were right, named.
    """
    right, trials = np.nan_to_num(n_correct), np.nan_to_num(n_trials)
    tried = np.flatnonzero(trials > 0)
    warn_extreme(
        trials[tried].astype(np.int64),
        right[tried].astype(np.int64),
        names[tried].tolist(),
    )
    notes: tuple[str, ...] = ()
    if missing := len(trials) - len(tried):
        notes = (f"{count(missing, 'row')} of {len(trials):,} were not tried: no fail rate",)
    columns = attempt_columns(right, trials)
    random = numpy_generator(seed, "held out attempt")
    won = random.random(len(trials)) * trials < right
    several = trials > 1
    held = None
    if several.any():
        failed = np.where(several, 1.0 - won, np.nan)
        rest = attempt_columns(right - won * several, trials - several)
        held = HeldOut(failed, f"one of the {told} at each row, set aside", rest)
    return Evidence(columns, notes, held)


def log_evidence(
    log: AttemptLog,
    rows: RowKeys,
    reader: TableReader,
    layout: Layout,
    seed: int,
) -> Evidence:
    """The fail rate of each row from a log of attempts; answers are verified where need be.

    Args:
        log: the attempts.
        rows: what rows can be called by.
        reader: the data, which holds the right answers if the log does not.
        layout: where they stand.
        seed: as for :func:`attempts_evidence`.
    """
    matched = match_keys(log.keys, rows, log.source)
    references = {}
    if log.needs_references and layout.kind != "none":
        references = _references(reader, layout, matched)
    with AnswerVerifier() as verifier:
        right, trials = log.verified(verifier, references)
    if not trials.any():
        raise InputError(
            f"attempts: {log.source}: expected right answers to compare with, in a column "
            "'reference' or as completions of the data, got none"
        )
    found = attempts_evidence(
        matched.spread(right.astype(float)),
        matched.spread(trials.astype(float)),
        rows.ids,
        "attempts",
        seed,
    )
    notes = [*log.notes, *_match_notes(log.source, matched, len(log.keys)), *found.notes]
    if unverified := int((trials == 0).sum()):
        notes.append(
            f"{log.source}: {count(unverified, 'question')} without a right answer, here or in "
            "the data, cannot be verified"
        )
    return Evidence(found.columns, tuple(notes), found.held_out)


def _references(reader: TableReader, layout: Layout, matched: Matched) -> dict[int, str]:
    """The right answers of questions, from the first row that each means."""
    found: dict[int, str] = {}
    start = 0
    for part in reader.blocks(_BLOCK, select=layout.columns):
        for row in text_rows(layout, part, partial(reader.place, start)):
            key = int(matched.key[start])
            if key >= 0 and key not in found:
                found[key] = reference_answer(row.completion)
            start += 1
    return found


def responses_evidence(
    responses: Responses, names: Sequence[str], rows: RowKeys, seed: int, *, hold_out: bool
) -> Evidence:
    """Item response theory and ratings from responses, with one response to each item set aside.

    Args:
        responses: who solved what.
        names: measures of the groups "responses" and "games".
        rows: what rows can be called by.
        seed: what orders and choices depend on.
        hold_out: whether to fit again without one response to each item.
    """
    matched = match_keys(responses.keys, rows, responses.source)
    columns = _spread(rate_responses(responses, names, seed), matched)
    held = None
    if hold_out:
        items, right, rest = held_out_responses(responses, seed)
        failed = np.full(len(responses.keys), np.nan)
        failed[items] = 1.0 - right
        if len(items):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the same as of all responses
                again = _spread(rate_responses(rest, names, seed), matched)
            held = HeldOut(matched.spread(failed), "one response to each item, set aside", again)
    notes = _match_notes(responses.source, matched, len(responses.keys))
    return Evidence(columns, tuple(notes), held)


def games_evidence(games: GameTable, names: Sequence[str], rows: RowKeys) -> Evidence:
    """Ratings from games.

    Args:
        games: who won against whom.
        names: measures of the group "games".
        rows: what rows can be called by.
    """
    matched = match_keys(games.keys, rows, games.source)
    columns = _spread(rate_games(games, of_groups(names, "games")), matched)
    there = int((matched.key >= 0).sum())
    notes = [
        f"{games.source}: {count(len(games.keys), 'player')}, of whom {there:,} are rows of the "
        f"data, found by {matched.by}"
    ]
    return Evidence(columns, tuple(notes))


def _spread(columns: Mapping[str, Values], matched: Matched) -> dict[str, Values]:
    return {name: matched.spread(values) for name, values in columns.items()}


def _match_notes(source: str, matched: Matched, keys: int) -> list[str]:
    notes = [f"{source}: {count(keys, 'question')}, found by {matched.by}"]
    if matched.unknown:
        notes.append(f"{source}: {count(matched.unknown, 'question')} of it are not in the data")
    return notes
