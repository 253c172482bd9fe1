"""How measures of difficulty agree, and which of them foretells failures that none has seen."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gradatim.core.seeds import numpy_generator
from gradatim.metrics.failure_ranking import failure_auroc
from gradatim.workflows.score_evidence import HeldOut
from gradatim.workflows.score_measures import MEASURES

if TYPE_CHECKING:
    import pandas as pd

Values = NDArray[np.float64]

MOST_POINTS = 1500
MOST_RANKED = 200_000
FEWEST = 10
"""Rows that a rank correlation needs."""


def agreement(values: Mapping[str, Values], seed: int = 0) -> "pd.DataFrame":
    """Spearman's rank correlation of each pair of measures, over the rows that have both.

    Of more than 200,000 rows so many are drawn.

    Args:
        values: measure -> difficulty of each row, shape [N], NaN where it has none.
        seed: of the draw.

    Returns:
        A square table; NaN where a measure says the same of all rows, or fewer than 10 have both.
    """
    import pandas as pd
    from scipy import stats

    frame = pd.DataFrame(dict(values))
    if len(frame) > MOST_RANKED:
        rows = numpy_generator(seed, "ranked").choice(len(frame), MOST_RANKED, replace=False)
        frame = frame.iloc[np.sort(rows)]
    names = list(frame.columns)
    found = np.full((len(names), len(names)), np.nan)
    whole = frame.notna().all().to_numpy()
    ranks = {
        name: stats.rankdata(frame[name].to_numpy())
        for name, complete in zip(names, whole, strict=True)
        if complete
    }
    for a, one in enumerate(names):
        for b, other in enumerate(names[: a + 1]):
            if one in ranks and other in ranks:
                x, y = ranks[one], ranks[other]
            else:
                both = frame[[one, other]].dropna().to_numpy().T if one != other else None
                x = frame[one].dropna().to_numpy() if both is None else both[0]
                y = x if both is None else both[1]
                x, y = stats.rankdata(x), stats.rankdata(y)
            found[a, b] = found[b, a] = _correlation(x, y)
    return pd.DataFrame(found, index=names, columns=names)


def _correlation(x: Values, y: Values) -> float:
    if len(x) < FEWEST or x.min() == x.max() or y.min() == y.max():
        return float("nan")
    return float(np.clip(np.corrcoef(x, y)[0, 1], -1.0, 1.0))


def foretelling(values: Mapping[str, Values], held_out: HeldOut) -> "pd.DataFrame":
    """How well each measure ranks failures that no measure has seen, best first.

    Args:
        values: measure -> difficulty of each row, shape [N].
        held_out: the failures, and what measures are without them.

    Returns:
        Columns measure, auroc with its 95% interval (low, high), rows, knows (whether the label or
        answer enters the measure). The area is NaN where nothing or everything failed.
    """
    import pandas as pd

    found = []
    for name in values:
        difficulty = held_out.columns.get(name, values[name])
        both = np.isfinite(difficulty) & np.isfinite(held_out.failed)
        failed = held_out.failed[both] > 0
        area = (np.nan, np.nan, np.nan)
        if 0 < int(failed.sum()) < len(failed):
            interval = failure_auroc(difficulty[both], failed)
            area = (interval.estimate, interval.low, interval.high)
        found.append((name, *area, int(both.sum()), MEASURES[name].knows))
    columns = ["measure", "auroc", "low", "high", "rows", "knows"]
    table = pd.DataFrame(found, columns=columns)
    return table.sort_values("auroc", ascending=False, kind="stable", ignore_index=True)


def some_points(values: Mapping[str, Values], names: Sequence[str], seed: int) -> "pd.DataFrame":
    """Rows to draw: at most 1,500, those that have all of the measures."""
    import pandas as pd

    frame = pd.DataFrame({name: values[name] for name in names}).dropna()
    if len(frame) > MOST_POINTS:
        rows = numpy_generator(seed, "points").choice(len(frame), MOST_POINTS, replace=False)
        frame = frame.iloc[np.sort(rows)]
    return frame.reset_index(drop=True)
