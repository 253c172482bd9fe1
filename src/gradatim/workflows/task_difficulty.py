"""How hard a user's classification task is, before anything is trained."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradatim.core.checks import check_range
from gradatim.core.content_ids import content_ids
from gradatim.core.errors import InputError
from gradatim.difficulty.class_margin import nearest_enemies
from gradatim.difficulty.gaussian_process_bias import N_TEST, N_TRAIN
from gradatim.difficulty.intrinsic_dimension import FRACTIONS, KS, local_dimension
from gradatim.difficulty.points import as_points, distinct_rows
from gradatim.difficulty.task_difficulty import MOST_ROWS_EXACT, TaskDifficulty, measure_task
from gradatim.workflows.profile_features import build_features, check_features, encoding_cost
from gradatim.workflows.profile_inputs import ProfileColumns, ProfileTable, load_table
from gradatim.workflows.task_difficulty_result import TaskDifficultyResult

if TYPE_CHECKING:
    import pandas as pd

_LOG = logging.getLogger(__name__)
_LATENT = 128
_NEIGHBOURS = 20
_QUERIES = 10_000
_QUICK = 5.0  # billion products


def task_difficulty(
    data: Any,
    y: Any = None,
    *,
    label: str | None = None,
    input: str | Sequence[str] | None = None,
    error: float = 0.01,
    encoder: str | Path | None = "minilm",
    ks: Sequence[int] = KS,
    fractions: Sequence[float] = FRACTIONS,
    margin: float | Literal["auto", "exact", "extrapolated"] = "auto",
    exact: bool = True,
    n_train: int = N_TRAIN,
    n_test: int = N_TEST,
    splits: int = 5,
    seed: int = 0,
    tell: Callable[[str], None] | None = None,
) -> TaskDifficultyResult:
    r"""Say how hard it is to tell the classes of a data set apart, in bits, training nothing.

    Either a table with a label column: numbers are imputed and standardized, categories become
    indicators, text goes through an encoder. Or an array ``data`` and its classes ``y``, taken as
    they are. For both measures and their limits see
    :func:`~gradatim.difficulty.task_difficulty.measure_task`.

    Args:
        data: a table (pandas, datasets, pyarrow, a mapping, or the path of Parquet, CSV or JSON
            Lines), or with ``y`` an array or tensor of numbers, shape [N, ...]. A data frame with
            ``y`` is a table whose label is ``y``.
        y: class of each row, shape [N]; None where ``label`` names a column.
        label: the column with the class.
        input: the columns that describe a row; None takes all that are left.
        error: error rate that is to be reached, in (0, 1).
        encoder: for text: "minilm", "tfidf", the directory of a sentence encoder, or None to leave
            text out.
        ks: numbers of neighbours that the intrinsic dimension is estimated with.
        fractions: shares of the rows that it is estimated from, besides all.
        margin: smallest distance between classes if you know it, "exact", "extrapolated" or "auto".
        exact: whether to compute the exact measure too.
        n_train: rows that its hypotheses fit.
        n_test: rows that they are tested on.
        splits: random splits, for its interval.
        seed: what all draws depend on.
        tell: called with what is about to be computed and what it costs; None writes it to the log
            of this module.

    Returns:
        The result: sentence, tables, a row an example (up to 20,000), figure, report.

    Raises:
        InputError: neither label nor y; a column that is missing or holds what it should not; a
            label that occurs once; constant features; one class; rows of different classes that
            are all equal.
        MissingPackageError: the encoder's package is not installed; "tfidf" needs none.

    Source: Boopathy et al. 2023, arXiv 2305.01034; Boopathy et al. 2024, arXiv 2406.15941.

    >>> from sklearn.datasets import load_iris
    >>> frame = load_iris(as_frame=True).frame
    >>> result = task_difficulty(frame, label="target", error=0.05)
    >>> result.sentence().startswith("150 rows of 3 classes vary along ")
    True
    """
    began = time.perf_counter()
    say = tell or _LOG.info
    check_range("error", error, 0.0, 1.0, open_low=True, open_high=True)
    table, points, labels, features, notes = _inputs(data, y, label, input, encoder, say)
    costs = _costs(points, labels, ks, fractions, exact, n_train, n_test, splits)
    for line in costs:
        say(line)
    measured = measure_task(
        points,
        labels,
        error=error,
        ks=ks,
        fractions=fractions,
        margin=margin,
        exact=exact,
        n_train=n_train,
        n_test=n_test,
        splits=splits,
        seed=seed,
    )
    return TaskDifficultyResult(
        measured=measured,
        rows=_rows(measured, points, labels, table),
        features=features,
        costs=tuple(costs),
        seconds=time.perf_counter() - began,
        notes=(*notes, *measured.notes),
        source=table.source if table is not None else f"array of {len(points):,} rows",
        is_file=isinstance(data, str | os.PathLike),
    )


def _inputs(
    data: Any,
    y: Any,
    label: str | None,
    inputs: str | Sequence[str] | None,
    encoder: str | Path | None,
    say: Callable[[str], None],
) -> tuple[ProfileTable | None, NDArray[Any], NDArray[Any], str, tuple[str, ...]]:
    """The table if there is one, points, labels, what points are made of, and notes."""
    if (y is None) == (label is None):
        raise InputError(f"label, y: expected one of them, got {'none' if y is None else 'both'}")
    if y is not None and not hasattr(data, "columns"):
        if inputs is not None:
            raise InputError("input: expected none together with y")
        points = as_points("data", data)
        return None, points, np.asarray(y), "the numbers as they are", ()
    if y is not None:
        data, label = _with_label(data, y)
    assert label is not None
    names = (inputs,) if isinstance(inputs, str) else None if inputs is None else tuple(inputs)
    if names is not None and not names:
        raise InputError("input: expected at least one column, got none")
    table = load_table(data, ProfileColumns(label, names))
    check_features(table, encoder, raw=False)
    if cost := encoding_cost(table, encoder):
        say(cost)
    made = build_features(table, encoder, raw=False)
    points = as_points("features", _dense(made.matrix))
    labels = np.array(table.names, dtype=object)
    return table, points, labels, "; ".join(made.names), (*_own_notes(table), *made.notes)


def _own_notes(table: ProfileTable) -> list[str]:
    """Notes of the reading; copies of rows, which concern splits there, are told of here anew."""
    return [note for note in table.notes if "duplicated row" not in note]


def _with_label(data: Any, y: Any) -> tuple[Any, str]:
    """A data frame with its labels as a column of a name that is free."""
    labels = np.asarray(y)
    if labels.shape != (len(data),):
        raise InputError(f"y: expected one label a row, [{len(data)}], got {list(labels.shape)}")
    name = str(getattr(y, "name", None) or "label")
    while name in data.columns:
        name += "_"
    return data.assign(**{name: labels}), name


def _dense(matrix: Any) -> NDArray[Any]:
    """Features as an array; sparse ones in their main latent directions."""
    from scipy import sparse

    if not sparse.issparse(matrix):
        return np.asarray(matrix)
    from sklearn.decomposition import TruncatedSVD

    most = min(_LATENT, matrix.shape[0] - 1, matrix.shape[1] - 1)
    if most < 1:
        return np.asarray(matrix.todense())
    return np.asarray(TruncatedSVD(most, random_state=0).fit_transform(matrix))


def _costs(
    points: NDArray[Any],
    labels: NDArray[Any],
    ks: Sequence[int],
    fractions: Sequence[float],
    exact: bool,
    n_train: int,
    n_test: int,
    splits: int,
) -> list[str]:
    """What will be computed, in words."""
    rows, width = points.shape
    sizes = {max(2, round(share * rows)) for share in (*fractions, 1.0)}
    products = sum(min(size, _QUERIES) * size for size in sizes) * width / 1e9
    told = f"neighbours in {width:,} numbers a row, up to k = {max(ks, default=1)}, in samples of "
    lines = [f"{told}{', '.join(f'{size:,}' for size in sorted(sizes))} rows: {_work(products)}"]
    if rows <= MOST_ROWS_EXACT:
        lines.append(
            f"nearest row of another class, and 20 neighbours, of each row: "
            f"{_work(2 * rows**2 * width / 1e9)}"
        )
    else:
        lines.append("smallest distance between classes: from 4,000,000 random pairs")
    if exact:
        tested = min(n_test, rows // 2)
        trained = min(n_train, rows - tested)
        lines.append(
            f"exact measure: {splits} Gaussian processes of {trained:,} rows, tested on {tested:,}"
        )
    return lines


def _work(products: float) -> str:
    if products < _QUICK:
        return "less than a second"
    return f"{products:,.0f} billion products (a core does about 7 a second)"


def _rows(
    measured: TaskDifficulty,
    points: NDArray[Any],
    labels: NDArray[Any],
    table: ProfileTable | None,
) -> "pd.DataFrame | None":
    """A row an example: how near the nearest of another class is, and the local dimension."""
    import pandas as pd

    if len(points) > MOST_ROWS_EXACT:
        return None
    enemies = measured.enemies or nearest_enemies(points, labels)
    k = min(_NEIGHBOURS, len(distinct_rows(points).first) - 1)
    flat: Any = {str(column): points[:, column] for column in range(points.shape[1])}
    text = [str(one) for one in labels]
    found = {
        "id": table.ids if table is not None else content_ids({**flat, "label": text}),
        "row": np.arange(len(points)),
        "label": text,
        "difficulty": enemies.difficulty,
        "enemy_distance": enemies.distance,
        "enemy_row": enemies.index,
        "enemy_label": [text[row] for row in enemies.index],
    }
    if k >= 3:
        found["local_dimension"] = local_dimension(points, k=k)
    return pd.DataFrame(found)
