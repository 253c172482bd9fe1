"""Select from a pool under a budget: which rows to label, or how many responses to sample."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.curriculum.response_budget import expected_trials, targets_of_total
from gradatim.workflows.select_choices import METHODS, Choice, Wishes
from gradatim.workflows.select_pool import Pool, Strata, load_pool, take_rows
from gradatim.workflows.select_result import SelectResult

if TYPE_CHECKING:
    import pandas as pd

UNITS = ("rows", "responses")
RESPONSE_METHODS = ("uniform", "prop2diff")


def select(
    data: Any,
    budget: int,
    *,
    by: str | None = None,
    method: str = "stratified",
    strata: str | int | None = None,
    shares: Mapping[str, float] | None = None,
    num_wrong: int | None = None,
    teacher_accuracy: float | None = None,
    features: str | Sequence[str] | ArrayLike | None = None,
    unit: str = "rows",
    max_trials: int | None = None,
    seed: int = 0,
) -> SelectResult:
    """Choose rows of a pool under a budget, and say why each was chosen.

    Args:
        data: a table (pandas, datasets, pyarrow, a mapping, or the path of Parquet, CSV or JSON
            Lines); it is not modified.
        budget: rows to choose; with ``unit="responses"`` right responses to sample in all.
        by: the column with the difficulty: numbers, higher = harder, or easy, medium and hard;
            for "robust" what a right label is worth, such as 1 - margin of the student.
        method: "top", the hardest; "uniform", at random; "stratified", equally many of each
            stratum or in ``shares``; "prop2diff", with a probability in proportion to the
            difficulty; "robust", hard rows among which the teacher is not too often wrong;
            "k-center", rows far from one another.
        strata: a column of labels, or the number of strata; by default the levels of ``by``, or
            easy, medium and hard (cut at 30% and 70%) if there are more than 10.
        shares: stratum -> its share of the budget, in any unit, as ``{"easy": 1, "hard": 3}``.
        num_wrong: for "robust": how many labels of the pool the teacher has wrong.
        teacher_accuracy: or how often it is right, on labels that it was not trained on.
        features: for "k-center": numeric columns (standardized), a column of lists, or an array of
            shape [N, D].
        unit: "rows", or "responses": all rows are kept, and a column ``target`` says how many
            right responses to sample for each ("uniform" or "prop2diff").
        max_trials: with "responses": trials of one row at most, for the expected cost.
        seed: what draws depend on.

    Returns:
        The chosen rows with reason and probability, what they are of each stratum, notes.

    Raises:
        InputError: a budget above the pool, an unknown column, an empty stratum, a difficulty that
            is no number (its row is named), or an argument that the method needs.

    Source: Tong et al. 2024, arXiv 2407.13690 (prop2diff); Baykal et al. 2022, arXiv 2210.01213
    (robust); Sener and Savarese 2018, arXiv 1708.00489 (k-center).

    >>> pool = {"text": ["a", "b", "c", "d"], "fail_rate": [0.1, 0.9, 0.5, 0.8]}
    >>> result = select(pool, 2, by="fail_rate", method="top")
    >>> result.rows[["text", "reason"]].values.tolist()
    [['b', 'fail_rate 0.9, rank 1 of 4'], ['d', 'fail_rate 0.8, rank 2 of 4']]
    """
    check_choice("method", method, tuple(METHODS))
    check_choice("unit", unit, UNITS)
    check_range("budget", budget, 1)
    pool = load_pool(data, by, strata, features)
    if shares is not None and method != "stratified":
        raise InputError(f"shares: expected the method stratified, got {method}")
    if unit == "responses":
        choice, extra = _responses(pool, budget, method, max_trials)
    else:
        if budget > pool.size:
            raise InputError(
                f"budget: expected at most {pool.size:,}, the rows of the pool, got {budget:,}"
            )
        wishes = Wishes(budget, shares, num_wrong, teacher_accuracy, seed)
        choice, extra = METHODS[method](pool, wishes), {}
    return SelectResult(
        rows=_rows(data, pool, choice, extra),
        strata=_strata(pool, choice.rows, extra.get("target")),
        method=method,
        budget=budget,
        unit=unit,
        by=by,
        size=pool.size,
        positions=choice.rows,
        notes=tuple(choice.notes),
        source=pool.source,
        is_file=pool.is_file,
    )


def _responses(
    pool: Pool, budget: int, method: str, max_trials: int | None
) -> tuple[Choice, dict[str, NDArray[Any]]]:
    """How many right responses each row shall have."""
    check_choice("method", method, RESPONSE_METHODS)
    if pool.difficulty is None:
        raise InputError("responses: expected a column with the difficulty (by), got none")
    negative = np.flatnonzero(pool.difficulty < 0)
    if len(negative):
        row = negative[0]
        raise InputError(
            f"{pool.source}, row {row}, column {pool.by!r}: expected a number of at least 0, got "
            f"{pool.difficulty[row]:g}"
        )
    if budget < pool.size:
        raise InputError(
            f"budget: expected at least {pool.size:,}, a response for every row, got {budget:,}"
        )
    targets, k = targets_of_total(pool.difficulty, method, budget)
    hardest = pool.difficulty.max()
    extra: dict[str, NDArray[Any]] = {"target": targets}
    notes = [f"targets add up to {int(targets.sum()):,} of {budget:,} responses (k = {k:,})"]
    if hardest <= 1.0:
        trials = expected_trials(targets, 1.0 - pool.difficulty, max_trials)
        extra["expected_trials"] = trials
        never = int(np.isinf(trials).sum())
        finite = trials[np.isfinite(trials)].sum()
        notes.append(f"expected trials, if {pool.by} is the fail rate: {finite:,.0f}")
        if never:
            notes.append(
                f"{never:,} rows have never been solved: without a cap (max_trials) they would be "
                "sampled for ever"
            )
    told = "the same for every row" if method == "uniform" else f"of at most {hardest:g}"
    reasons = [
        f"{target:,} right responses: "
        + (told if method == "uniform" else f"{pool.by} {d:g} {told}")
        for target, d in zip(targets, pool.difficulty, strict=True)
    ]
    rows = np.arange(pool.size)
    return Choice(rows, np.ones(pool.size), reasons, notes), extra


def _rows(
    data: Any, pool: Pool, choice: Choice, extra: Mapping[str, NDArray[Any]]
) -> "pd.DataFrame":
    frame = take_rows(data, choice.rows)
    columns: dict[str, Any] = {"pool_row": choice.rows}
    if pool.strata is not None:
        columns["stratum"] = [pool.strata.names[one] for one in pool.strata.code[choice.rows]]
    columns |= dict(extra) or {"probability": choice.probability}
    columns["reason"] = choice.reasons
    return frame.assign(**{_free(name, frame.columns): one for name, one in columns.items()})


def _free(name: str, taken: Any) -> str:
    """A name that no column of the pool has, as those of an earlier selection."""
    number, found = 2, name
    while found in taken:
        number, found = number + 1, f"{name}_{number}"
    return found


def _strata(pool: Pool, rows: NDArray[np.int64], targets: NDArray[Any] | None) -> "pd.DataFrame":
    """A row a stratum: how much of the pool it is, and how much of the choice."""
    import pandas as pd

    if pool.strata is None:
        strata = Strata(("all",), ("all rows",), np.zeros(pool.size, dtype=np.int64))
    else:
        strata = pool.strata
    names, told, code = strata.names, strata.told, strata.code
    count = len(names)
    weights = None if targets is None else targets.astype(np.float64)
    chosen = np.bincount(code[rows], weights=weights, minlength=count)
    sizes = np.bincount(code, minlength=count)
    found = {
        "stratum": names,
        "told": told,
        "pool": sizes,
        "chosen": chosen.astype(np.int64),
        "pool_share": sizes / sizes.sum(),
        "chosen_share": chosen / chosen.sum(),
    }
    if pool.difficulty is not None:
        sums = np.bincount(code[rows], weights=pool.difficulty[rows], minlength=count)
        rows_of = np.bincount(code[rows], minlength=count)
        with np.errstate(invalid="ignore"):
            found["mean_difficulty"] = sums / rows_of
    return pd.DataFrame(found)
