"""Profile a table: how hard each row is, and how far training on easy rows reaches."""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_finite, check_range
from gradatim.core.errors import InputError
from gradatim.core.statistics import proportion_interval
from gradatim.workflows.profile_costs import language_costs, left_out, probe_costs
from gradatim.workflows.profile_evidence import (
    KINDS,
    SHOWN_ERRORS,
    errors_by_chance,
    hardest_segments,
    judge_rows,
    likely_errors,
)
from gradatim.workflows.profile_features import Features, build_features, check_features
from gradatim.workflows.profile_folds import CrossFit, GivenPredictions
from gradatim.workflows.profile_heads import (
    ENCODER,
    SHOTS,
    GivenModel,
    HeadSettings,
    check_text,
    choose_head,
    load_model,
)
from gradatim.workflows.profile_inputs import ProfileColumns, ProfileTable, load_table
from gradatim.workflows.profile_language_heads import make_language_head
from gradatim.workflows.profile_learners import Head, Learner
from gradatim.workflows.profile_measures import (
    USES_LABEL,
    chosen_measures,
    compute_measures,
    drop_constant,
    foretelling,
    measure_costs,
    primary_measure,
)
from gradatim.workflows.profile_reach import (
    Reach,
    Strata,
    accuracy_curve,
    make_strata,
    measure_reach,
    tested_rows,
)
from gradatim.workflows.profile_result import ProfileResult

if TYPE_CHECKING:
    import pandas as pd

_LOG = logging.getLogger(__name__)


def profile(
    data: Any,
    *,
    label: str,
    input: str | Sequence[str] | None = None,
    options: str | None = None,
    level: str | None = None,
    measure: str | Sequence[str] = "auto",
    head: str = "probe",
    model: GivenModel = None,
    shots: int = SHOTS,
    encoder: str | Path | None = ENCODER,
    estimator: Any = None,
    features: ArrayLike | None = None,
    pred_probs: ArrayLike | None = None,
    test: Any = None,
    folds: int = 5,
    draws: int = 10,
    most_trained: int | None = None,
    most_tested: int | None = None,
    seed: int = 0,
    tell: Callable[[str], None] | None = None,
) -> ProfileResult:
    r"""Say how hard each row of a labelled table is, and how far training on easy rows reaches.

    Every prediction is made by models that saw neither the row nor a copy of it. Numbers are
    imputed and standardized, categories become indicators, text goes through an encoder, and a
    linear probe is trained on the features; or an estimator, features, or predictions are given; or
    a language model reads the text and chooses among options or names of classes, after LoRA
    fine-tuning or after exemplars in its context.

    Args:
        data: a table (pandas, datasets, pyarrow, a mapping, or the path of Parquet, CSV or JSON
            Lines).
        label: the column with the class; with ``options`` the text of the right option, its
            position from 0, or its letter.
        input: the columns that predictions are made from; None takes all that are left.
        options: the column with the list of options, for multiple-choice questions.
        level: the column with a level of difficulty that people gave: numbers, or easy, medium
            and hard.
        measure: "auto" for all that this table allows, or some of level, length, mdl, confidence,
            margin, entropy, disagreement; the first makes the strata. With "auto" that is the
            level, or else the one that ranks held-out failures best among those that do not know
            the label.
        head: what is trained: "probe", on features; "lora", adapters of a language model; or
            "in-context", nothing: a language model is shown some of the training rows.
        model: the language model of the latter two: a directory, a ``.gguf`` file, a known name
            such as "smollm2", or one that is loaded already.
        shots: rows that the head "in-context" shows; 0 is the zero-shot choice.
        encoder: for text: "minilm", "tfidf", the directory of a sentence encoder, or None to leave
            text out.
        estimator: a scikit-learn classifier with ``predict_proba`` instead of the linear probe. It
            gets the features; with ``encoder=None`` the columns as a data frame.
        features: ready features, shape [N, D], instead of those made from columns.
        pred_probs: out-of-fold probabilities of the classes in sorted order (or of the options),
            shape [N, C]; nothing is trained then.
        test: another table with the same columns; results are then told of its rows.
        folds: of the out-of-fold predictions.
        draws: random draws of the matrix, for its intervals.
        most_trained: rows that a model of the matrix is trained on at most, or with "lora" any
            model; None is 400, with "lora" 160.
        most_tested: rows of a stratum that are tested in one draw at most; None is 1,000, with a
            language model 100.
        seed: what all draws depend on.
        tell: called with what is about to be computed and what it costs; None writes it to the
            log of this module.

    Returns:
        The result: findings, tables, a row an example, figure, report.

    Raises:
        InputError: a column is missing or holds what it should not (the row is named); a label
            that occurs once; strata that are too small; options without the answer; constant
            features; a test file with other columns; an encoder directory without weights; a head
            without a language model, or one with what only a probe can use; a row that is too long
            for the language model.
        MissingPackageError: the package of the encoder or of the language model is not installed;
            "tfidf" needs none.

    Source: Hase et al. 2024, arXiv 2401.06751; for label errors Northcutt et al. 2021,
    arXiv 1911.00068.

    >>> from sklearn.datasets import load_iris
    >>> frame = load_iris(as_frame=True).frame
    >>> result = profile(frame, label="target", measure="confidence", draws=3)
    >>> result.kinds["easy"] > 100, result.measure
    (True, 'confidence')
    """
    began = time.perf_counter()
    say = tell or _LOG.info
    check_range("folds", folds, 2)
    check_range("draws", draws, 2)
    given = {"encoder": encoder, "estimator": estimator}
    given |= {"features": features, "pred_probs": pred_probs}
    settings = choose_head(head, model, shots, most_trained, most_tested, given)
    table = _load(data, label, input, options, level, test, features, pred_probs)
    check_text(table, settings)
    names = chosen_measures(measure, table, fits=pred_probs is None, dear=settings.is_language)
    if table.level is not None and names[0] == "level":
        make_strata(table, "level", table.level)  # too small ones are told before anything is done
    if settings.is_language:
        settings = replace(settings, model=load_model(settings))
    elif features is None and pred_probs is None:
        check_features(table, encoder, raw=estimator is not None)
    costs = _costs(names, table, settings, folds, draws, given)
    for line in costs:
        say(line)
    made, learner = _learner(table, settings, seed, given, say)
    first, second = _rounds(table, learner, pred_probs, folds, seed)
    values, seconds = compute_measures(names, table, first, seed)
    values, constant = drop_constant(values, table.trained) if measure == "auto" else (values, ())
    rows = tested_rows(table)
    told = measure_costs(names, table, folds, head=head)
    measures = foretelling(values, seconds, told, ~second.correct, rows)
    main = primary_measure(measure, list(values), measures)
    strata = make_strata(table, main, values[main])
    reach = None
    if learner is not None:
        reach = measure_reach(table, strata, made, learner, settings, n_draws=draws, seed=seed)
    judged = judge_rows(table, first.probabilities, second.probabilities)
    return ProfileResult(
        rows=_rows(table, judged, strata, values),
        measures=measures,
        strata=_strata_table(strata, first.correct, rows),
        label_errors=likely_errors(table, judged, SHOWN_ERRORS),
        segments=hardest_segments(table, ~first.correct, rows),
        curve=accuracy_curve(second.correct, values, rows),
        matrix=reach.matrix if reach else None,
        noise=reach.noise if reach else None,
        gap=reach.gap if reach else None,
        crossing=reach.crossing if reach else None,
        inverted=reach.inverted if reach else None,
        measure=main,
        accuracy=_rate(first.correct[rows]),
        baseline=made.baseline,
        features=f"{learner.name} on {'; '.join(made.names)}" if learner else made.names[0],
        costs=tuple(costs),
        seconds=time.perf_counter() - began,
        notes=(
            *table.notes,
            *made.notes,
            *constant,
            *left_out(measure, settings),
            *(learner.notes if learner else ()),
            *_error_notes(judged, first, second, seed),
            *_notes(main, reach, measures, settings),
        ),
        source=table.source,
        is_file=isinstance(data, str | os.PathLike),
    )


def _load(
    data: Any,
    label: str,
    inputs: str | Sequence[str] | None,
    options: str | None,
    level: str | None,
    test: Any,
    features: ArrayLike | None,
    pred_probs: ArrayLike | None,
) -> ProfileTable:
    if features is not None and pred_probs is not None:
        raise InputError("features and pred_probs: expected one of them, got both")
    given = features is not None or pred_probs is not None
    if given and test is not None:
        raise InputError("test: expected none together with features or pred_probs")
    if features is not None and options is not None:
        raise InputError("features: expected none together with options")
    names = (inputs,) if isinstance(inputs, str) else None if inputs is None else tuple(inputs)
    if names is not None and not names:
        raise InputError("input: expected at least one column, got none")
    columns = ProfileColumns(label, names, options, level)
    return load_table(data, columns, test, needs_inputs=not given and options is None)


def _costs(
    names: Sequence[str],
    table: ProfileTable,
    settings: HeadSettings,
    folds: int,
    draws: int,
    given: Mapping[str, Any],
) -> list[str]:
    """What will be computed, in words, before anything is."""
    if given["pred_probs"] is not None:
        return ["nothing is trained: out-of-fold probabilities are given"]
    if settings.is_language:
        return language_costs(names, table, settings, folds, draws)
    estimator = given["estimator"]
    what = "linear probe" if estimator is None else type(estimator).__name__
    encoder = given["encoder"] if given["features"] is None else None
    return probe_costs(names, table, settings, folds, draws, what=what, encoder=encoder)


def _learner(
    table: ProfileTable,
    settings: HeadSettings,
    seed: int,
    given: Mapping[str, Any],
    say: Callable[[str], None],
) -> tuple[Features, Head | None]:
    if given["pred_probs"] is not None:
        return Features(None, None, "none", ("given out-of-fold probabilities",)), None
    if settings.is_language:
        began = time.perf_counter()
        asked = make_language_head(table, load_model(settings), settings, seed)
        say(f"asked {len(table):,} rows zero-shot in {time.perf_counter() - began:.1f} seconds")
        return asked
    if given["features"] is None:
        made = build_features(table, given["encoder"], raw=given["estimator"] is not None)
    else:
        matrix = _matrix("features", given["features"], len(table), None)
        made = Features(matrix, None, "the most frequent class", ("given features",))
    learner = Learner(table, made, given["estimator"])
    learner.choose(np.arange(table.trained), seed)
    return made, learner


def _rounds(
    table: ProfileTable,
    learner: Head | None,
    pred_probs: ArrayLike | None,
    folds: int,
    seed: int,
) -> tuple[CrossFit, CrossFit]:
    """Two rounds of out-of-fold predictions, from different folds."""
    if learner is None:
        assert pred_probs is not None
        given = GivenPredictions(
            table, _matrix("pred_probs", pred_probs, len(table), int(table.choices.max()))
        )
        return given, given
    return CrossFit(table, learner, folds, seed), CrossFit(table, learner, folds, seed + 1)


def _matrix(name: str, given: ArrayLike, rows: int, columns: int | None) -> NDArray[np.float64]:
    """Features or probabilities that were given."""
    matrix = np.asarray(given, dtype=np.float64)
    wide = "D" if columns is None else columns
    if matrix.ndim != 2 or len(matrix) != rows or (columns and matrix.shape[1] != columns):
        raise InputError(f"{name}: expected shape [{rows}, {wide}], got {list(matrix.shape)}")
    check_finite(name, matrix)
    if columns is None:
        constant = np.flatnonzero(matrix.min(axis=0) == matrix.max(axis=0))
        if len(constant) == matrix.shape[1]:
            raise InputError("features: expected features that vary, got constant ones only")
        return matrix
    sums = matrix.sum(axis=1)
    bad = np.flatnonzero((matrix < 0).any(axis=1) | (abs(sums - 1.0) > 1e-3))
    if len(bad):
        raise InputError(
            f"pred_probs, row {bad[0]}: expected probabilities that sum to one, got a sum of "
            f"{sums[bad[0]]:.4g} and a smallest of {matrix[bad[0]].min():.4g}"
        )
    return matrix


def _rows(
    table: ProfileTable,
    judged: "pd.DataFrame",
    strata: Strata,
    values: dict[str, NDArray[np.float64]],
) -> "pd.DataFrame":
    """A row an example, with the measures beside the evidence."""
    part = np.where(np.arange(len(table)) < table.trained, "table", "test").astype(object)
    ids, seen = list(table.ids), set(table.ids[: table.trained])
    ids[table.trained :] = [f"{one}-test" if one in seen else one for one in ids[table.trained :]]
    judged.insert(0, "id", ids)
    judged.insert(2, "part", part)
    judged["stratum"] = strata.names.astype(object)
    judged["difficulty"] = values[strata.measure]
    return judged.assign(**values)


def _strata_table(
    strata: Strata, correct: NDArray[np.bool_], rows: NDArray[np.int64]
) -> "pd.DataFrame":
    import pandas as pd

    found = []
    for name in dict.fromkeys(("easy", "medium", "hard")):
        chosen = rows[strata.names[rows] == name]
        if len(chosen):
            found.append((name, len(chosen), *_rate(correct[chosen])))
    columns = ["stratum", "rows", "accuracy", "low", "high"]
    return pd.DataFrame(found, columns=columns)


def _rate(correct: NDArray[np.bool_]) -> tuple[float, float, float]:
    interval = proportion_interval(int(correct.sum()), len(correct))
    return interval.estimate, interval.low, interval.high


def _error_notes(judged: "pd.DataFrame", first: CrossFit, second: CrossFit, seed: int) -> list[str]:
    flagged = int((judged["kind"] == KINDS[3]).sum())
    if not flagged:
        return []
    chance = errors_by_chance(first.probabilities, second.probabilities, seed)
    return [
        f"{flagged:,} rows look mislabelled; about {chance:,} would if every label were right and "
        "only as unsure as the model says, so look at the likeliest first"
    ]


def _notes(
    main: str, reach: Reach | None, measures: "pd.DataFrame", settings: HeadSettings
) -> list[str]:
    found = []
    if main in USES_LABEL:
        found.append(
            f"the strata come from {main}, which knows the label: hard rows are also those whose "
            "labels are wrong or against the odds; a level that people gave, or entropy, is not "
            "drawn by labels"
        )
    if measures["auroc"].isna().all():
        found.append("no row fails, or all do: which measure foretells failures cannot be told")
    shorter = measures[(measures["measure"] == "length") & (measures["high"] < 0.5)]
    if len(shorter):
        found.append("shorter texts fail more often here: length is a measure turned around")
    if reach is None:
        found.append(
            "nothing can be trained on given probabilities: there is no matrix, no gap recovered "
            "and no crossing; failures are those of the same probabilities as the measures"
        )
    elif settings.name == "in-context":
        found.append(
            f"every prompt of the matrix shows {min(settings.shots, reach.trained)} of "
            f"{reach.trained:,} rows, in {reach.draws} draws"
        )
    else:
        found.append(
            f"every model of the matrix was trained on {reach.trained:,} rows, in {reach.draws} "
            "draws"
        )
    return found
