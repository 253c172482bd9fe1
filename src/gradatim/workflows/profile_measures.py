"""Measures of difficulty: what each costs, what each says, and which foretells failures."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from gradatim.core.errors import InputError, nearest_names
from gradatim.difficulty.description_length import SIZES, mdl_difficulty, usable_sizes
from gradatim.difficulty.label_disagreement import label_disagreement
from gradatim.difficulty.prediction_uncertainty import (
    ensemble_disagreement,
    entropy_difficulty,
    margin_difficulty,
)
from gradatim.difficulty.text_length import word_count
from gradatim.metrics.failure_ranking import failure_auroc
from gradatim.workflows.profile_folds import CrossFit
from gradatim.workflows.profile_inputs import ProfileTable

if TYPE_CHECKING:
    import pandas as pd

MEASURES = ("level", "length", "mdl", "confidence", "margin", "entropy", "disagreement")
RESAMPLES = 3
MANY_FITS = ("mdl", "disagreement")
"""Measures for which models are trained beyond those of the out-of-fold predictions."""
USES_LABEL = frozenset({"mdl", "confidence", "margin"})

Values = NDArray[np.float64]


@dataclass(frozen=True)
class MeasureCost:
    """What a measure costs beyond the out-of-fold predictions that every profile makes.

    Attributes:
        name: the measure.
        cost: what is trained, in words.
    """

    name: str
    cost: str


def chosen_measures(
    measure: str | Sequence[str], table: ProfileTable, *, fits: bool, dear: bool = False
) -> list[str]:
    """The measures that were asked for, or for "auto" all that this table allows.

    Args:
        measure: "auto", a name, several, or several in one text with commas.
        table: the rows.
        fits: whether models can be trained (not if only probabilities are given).
        dear: whether training costs so much that "auto" leaves out what needs many more models.

    Raises:
        InputError: an unknown measure, or one that the table does not allow.
    """
    possible = {name: _obstacle(name, table, fits=fits) for name in MEASURES}
    asked = measure.split(",") if isinstance(measure, str) else list(measure)
    names = list(dict.fromkeys(name.strip() for name in asked if name.strip()))
    if names == ["auto"]:
        left_out = MANY_FITS if dear else ()
        return [name for name, told in possible.items() if told is None and name not in left_out]
    if not names:
        raise InputError(f"measure: expected auto or some of {', '.join(MEASURES)}, got none")
    for name in names:
        if name not in possible:
            raise InputError(
                f"measure: expected auto or some of {', '.join(MEASURES)}, got {name!r}."
                f"{nearest_names(name, MEASURES)}"
            )
        if obstacle := possible[name]:
            raise InputError(f"measure: {name!r} {obstacle}")
    return names


def _obstacle(name: str, table: ProfileTable, *, fits: bool) -> str | None:
    """Why a measure cannot be had for a table."""
    if name == "level" and table.level is None:
        return "needs a level column; name it with level (--level)"
    if name == "length" and "text" not in table.kinds.values():
        return "needs a text column among the inputs, and there is none"
    if name in ("mdl", "disagreement") and not fits:
        return "needs models that can be trained; give features or columns, not pred_probs alone"
    return None


def measure_costs(
    names: Sequence[str], table: ProfileTable, folds: int, *, head: str = "probe"
) -> list[MeasureCost]:
    """What each measure costs, in fits of the model; told before anything is trained.

    Args:
        names: the measures.
        table: the rows.
        folds: of the out-of-fold predictions.
        head: what is trained; a language model also has to read every row that it predicts, and
            exemplars in context are no fit at all.
    """
    rows = table.trained * (folds - 1) // folds
    sizes = usable_sizes(SIZES, rows)
    listed = ", ".join(map(str, sizes))
    groups = folds + (len(table) > table.trained)
    models = {"mdl": RESAMPLES * len(sizes), "disagreement": CrossFit.MEMBERS}
    of = {"mdl": f"{listed} rows", "disagreement": f"about {rows // 2:,} rows"}
    told = {
        "level": "nothing: it stands in the table",
        "length": "nothing: words are counted",
        **{name: f"{groups * each} fits of {of[name]}" for name, each in models.items()},
    }
    for name, each in models.items():
        asked = f"{each * len(table):,} rows asked"
        if head == "lora":
            told[name] += f", {asked}"
        if head == "in-context":
            told[name] = f"{asked}, exemplars from {of[name]}"
    shared = "nothing more: it comes from the out-of-fold predictions"
    return [MeasureCost(name, told.get(name, shared)) for name in names]


def compute_measures(
    names: Sequence[str], table: ProfileTable, fitted: CrossFit, seed: int
) -> tuple[dict[str, Values], dict[str, float]]:
    """Difficulty of every row by each measure, and the seconds that each took.

    Args:
        names: the measures.
        table: the rows.
        fitted: out-of-fold predictions.
        seed: what resamples depend on.

    Raises:
        InputError: a measure that says the same of every row, and was the only one.
    """
    labels = torch.from_numpy(table.labels)
    p = torch.from_numpy(fitted.probabilities)
    made: Mapping[str, Callable[[], Values]] = {
        "level": lambda: _levels(table),
        "length": lambda: word_count(table.texts() or []).astype(np.float64),
        "mdl": lambda: _mdl(table, fitted, seed),
        "confidence": lambda: label_disagreement(p, labels).numpy(),
        "margin": lambda: margin_difficulty(p, labels).numpy(),
        "entropy": lambda: entropy_difficulty(p).numpy(),
        "disagreement": lambda: ensemble_disagreement(torch.from_numpy(fitted.members())).numpy(),
    }
    values, seconds = {}, {}
    for name in names:
        began = time.perf_counter()
        values[name] = np.asarray(made[name](), dtype=np.float64)
        seconds[name] = time.perf_counter() - began
    return values, seconds


def drop_constant(
    values: Mapping[str, Values], trained: int
) -> tuple[dict[str, Values], tuple[str, ...]]:
    """The measures that tell rows apart, and a note on each of the others.

    Args:
        values: measure -> difficulty of each row.
        trained: rows of the table itself, the first ones.

    Raises:
        InputError: no measure tells rows apart.

    >>> kept, notes = drop_constant({"length": np.ones(3), "entropy": np.arange(3.0)}, 3)
    >>> list(kept), notes
    (['entropy'], ('length is left out: it says 1 of every row',))
    """
    kept = {name: own for name, own in values.items() if np.ptp(own[:trained]) > 0}
    if not kept:
        raise InputError(
            f"measure: expected one that tells rows apart, but {', '.join(values)} say the same of "
            "every row; do the inputs say anything about the label, or do equal rows have "
            "different labels?"
        )
    lost = [(name, own[0]) for name, own in values.items() if name not in kept]
    return kept, tuple(
        f"{name} is left out: it says {value:.4g} of every row" for name, value in lost
    )


def _levels(table: ProfileTable) -> Values:
    assert table.level is not None
    return table.level


def _mdl(table: ProfileTable, fitted: CrossFit, seed: int) -> Values:
    """Each fold is scored by learners of growing samples of the rows outside of it."""
    found = np.empty(len(table))
    for fold, rows in fitted.folds():
        reference = fitted.outside(fold)
        found[rows] = mdl_difficulty(
            fitted.learner,
            reference,
            table.labels[reference],
            rows,
            table.labels[rows],
            n_bootstrap=RESAMPLES,
            seed=seed + fold,
        )
    return found


def foretelling(
    values: Mapping[str, Values],
    seconds: Mapping[str, float],
    costs: Sequence[MeasureCost],
    failed: NDArray[np.bool_],
    rows: NDArray[np.int64],
) -> "pd.DataFrame":
    """How well each measure ranks held-out failures, best first.

    Args:
        values: measure -> difficulty of each row.
        seconds: what each took.
        costs: what each was said to cost.
        failed: which rows were not solved by models of other folds than the measures come from.
        rows: the rows that count.

    Returns:
        Columns measure, auroc with its 95% interval (low, high), uses_label, cost, seconds. The
        area is NaN if no row, or every row, failed.
    """
    import pandas as pd

    told = {cost.name: cost.cost for cost in costs}
    found = []
    mixed = 0 < int(failed[rows].sum()) < len(rows)
    for name, difficulty in values.items():
        area = (np.nan, np.nan, np.nan)
        if mixed:
            interval = failure_auroc(difficulty[rows], failed[rows])
            area = (interval.estimate, interval.low, interval.high)
        found.append((name, *area, name in USES_LABEL, told[name], seconds[name]))
    columns = ["measure", "auroc", "low", "high", "uses_label", "cost", "seconds"]
    table = pd.DataFrame(found, columns=columns)
    return table.sort_values("auroc", ascending=False, kind="stable", ignore_index=True)


def primary_measure(
    measure: str | Sequence[str], names: Sequence[str], measures: "pd.DataFrame"
) -> str:
    """The measure that makes the strata: the first that was asked for.

    For "auto" it is a level that people gave, or else, among the measures that do not know the
    label, the one that ranks held-out failures best. Strata by a measure that knows the label hold
    in their hard part the rows whose labels are against the odds, and a model trained on those
    alone learns the opposite of the rule.

    Args:
        measure: what was asked for.
        names: the measures that were computed.
        measures: from :func:`foretelling`.
    """
    if measure != "auto":
        return names[0]
    if "level" in names:
        return "level"
    blind = measures[~measures["uses_label"]]
    return str((blind if len(blind) else measures)["measure"].iloc[0])
