"""What the values of a measure look like: quantiles, a histogram, examples at each decile."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gradatim.workflows.score_blocks import TableReader
from gradatim.workflows.score_inputs import Layout
from gradatim.workflows.score_measures import MEASURES

if TYPE_CHECKING:
    import pandas as pd

Values = NDArray[np.float64]

BINS = 24
DECILES = 11
SHOWN_TEXT = 240
_BLOCK = 4096
_BARS = "▁▂▃▄▅▆▇█"


def summary_table(values: Mapping[str, Values], seconds: Mapping[str, float]) -> "pd.DataFrame":
    """A row a measure.

    Args:
        values: measure -> difficulty of each row, shape [N], NaN where it has none.
        seconds: what the group of each took.

    Returns:
        Columns measure, rows (that have a value), low, median, mean, high, different (how many
        values there are), meaning, seconds.
    """
    import pandas as pd

    found = []
    for name, array in values.items():
        there = array[np.isfinite(array)]
        told = (np.nan, np.nan, np.nan, np.nan)
        if len(there):
            told = (there.min(), np.median(there), there.mean(), there.max())
        number = len(np.unique(there[:100_000]))
        meaning, spent = MEASURES[name].meaning, seconds.get(MEASURES[name].group, np.nan)
        found.append((name, len(there), *map(float, told), number, meaning, spent))
    columns = ["measure", "rows", "low", "median", "mean", "high"]
    return pd.DataFrame(found, columns=[*columns, "different", "meaning", "seconds"])


def histogram(values: Values) -> tuple[NDArray[np.int64], Values]:
    """Counts and edges of bins: one a value where there are few whole ones, else 24.

    Outliers share the outermost bins: edges reach from the 0.5% to the 99.5% quantile.

    Args:
        values: shape [N]; what is not finite is passed over.

    Returns:
        Counts, shape [B], and edges, shape [B + 1]; both empty if there is no value.

    >>> histogram(np.array([1.0, 2.0, 2.0]))[0].tolist()
    [1, 2]
    """
    there = values[np.isfinite(values)]
    if not len(there):
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    low, high = np.quantile(there, [0.005, 0.995])
    whole = bool((there == np.round(there)).all()) and there.max() - there.min() < BINS
    if whole:
        low, high = there.min() - 0.5, there.max() + 0.5
    elif low == high:
        low, high = there.min(), there.max()
    if low == high:
        return np.array([len(there)]), np.array([low - 0.5, low + 0.5])
    bins = round(high - low) if whole else BINS
    edges = np.linspace(low, high, bins + 1)
    counts, _ = np.histogram(there.clip(low, high), edges)
    return counts.astype(np.int64), edges


def bars(counts: NDArray[np.int64]) -> str:
    """A histogram in one line of text.

    >>> bars(np.array([0, 1, 4]))
    ' ▂█'
    """
    if not len(counts):
        return ""
    most = max(1, int(counts.max()))
    return "".join(
        " " if not one else _BARS[int(np.ceil(one / most * len(_BARS))) - 1] for one in counts
    )


def decile_rows(values: Values) -> NDArray[np.int64]:
    """Rows from the easiest to the hardest, a tenth of all apart; at most eleven.

    >>> decile_rows(np.arange(101.0)).tolist()
    [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    """
    there = np.flatnonzero(np.isfinite(values))
    if not len(there):
        return there
    order = there[np.argsort(values[there], kind="stable")]
    places = np.round(np.linspace(0, len(order) - 1, DECILES)).astype(np.int64)
    return order[np.unique(places)]


def decile_table(
    values: Mapping[str, Values], reader: TableReader, layout: Layout, shown: Sequence[str]
) -> "pd.DataFrame":
    """Examples at the deciles of each measure, with the beginning of their text.

    The data are gone through once more, up to the last row that is wanted.

    Args:
        values: measure -> difficulty of each row, shape [N].
        reader: the data.
        layout: where text stands.
        shown: the columns to show of data without text.

    Returns:
        Columns measure, decile (0 to 10), value, row, text.
    """
    import pandas as pd

    chosen = {name: decile_rows(array) for name, array in values.items()}
    wanted = np.unique(np.concatenate([np.zeros(0, np.int64), *chosen.values()]))
    texts = _texts(wanted, reader, layout, shown)
    found = [
        (name, place * 10 // max(1, len(rows) - 1), float(values[name][row]), int(row), texts[row])
        for name, rows in chosen.items()
        for place, row in enumerate(rows.tolist())
    ]
    return pd.DataFrame(found, columns=["measure", "decile", "value", "row", "text"])


def _texts(
    wanted: NDArray[np.int64], reader: TableReader, layout: Layout, shown: Sequence[str]
) -> dict[int, str]:
    from gradatim.workflows.score_texts import text_rows

    found: dict[int, str] = {}
    start = 0
    columns = layout.columns or tuple(shown) or tuple(reader.columns[:6])
    for part in reader.blocks(_BLOCK, select=columns):
        inside = wanted[(wanted >= start) & (wanted < start + part.num_rows)]
        taken = part.take(inside - start)
        if layout.kind != "none":
            rows = text_rows(layout, taken, lambda row: reader.name)
            told = [_one_text(row.prompt, row.completion) for row in rows]
        else:
            told = [
                "; ".join(f"{name}={_short(value)}" for name, value in row.items())
                for row in taken.to_pylist()
            ]
        found |= dict(zip(inside.tolist(), map(_cut, told), strict=True))
        start += part.num_rows
        if not len(wanted) or start > wanted[-1]:
            break
    return found


def _one_text(prompt: str, completion: str) -> str:
    return prompt if prompt == completion else f"{prompt} → {completion}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_TEXT else f"{line[: SHOWN_TEXT - 1]}…"
