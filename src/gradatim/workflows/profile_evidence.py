"""What is said of each row, and of the segments of a table, with the evidence."""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from gradatim.core.seeds import numpy_generator
from gradatim.core.statistics import proportion_interval
from gradatim.difficulty.label_errors import confident_label_errors
from gradatim.difficulty.text_length import word_count
from gradatim.workflows.profile_inputs import ProfileTable

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("easy", "hard", "ambiguous", "probably mislabelled")
SHOWN_ERRORS = 50
SMALLEST_SEGMENT = 20
_CLOSE = 0.2
_BINS = 4


def judge_rows(
    table: ProfileTable, first: NDArray[np.float64], second: NDArray[np.float64]
) -> "pd.DataFrame":
    """One of four words for each row, with what two rounds of out-of-fold predictions say.

    - *probably mislabelled*: in both rounds it belongs with confidence to another class
      (:func:`~gradatim.difficulty.label_errors.confident_label_errors`), the same in both;
    - *ambiguous*: else, if the rounds predict different classes, or the two likeliest classes are
      less than 0.2 apart;
    - *easy*: else, if the label is predicted;
    - *hard*: else.

    Args:
        table: the rows.
        first: probabilities of the first round, shape [N, C].
        second: of the second, from other folds.

    Returns:
        Columns row, label, predicted, label_probability, predicted_probability, rounds_agree, kind.
    """
    import pandas as pd

    mean = (first + second) / 2
    guess = mean.argmax(axis=1)
    agree = first.argmax(axis=1) == second.argmax(axis=1)
    top = np.sort(mean, axis=1)
    close = top[:, -1] - top[:, -2] < _CLOSE
    wrong = guess != table.labels
    flagged = _flagged(first, second, table.labels)
    kind = np.select(
        [flagged, ~agree | close, ~wrong],
        [KINDS[3], KINDS[2], KINDS[0]],
        KINDS[1],
    )
    everyone = np.arange(len(table))
    return pd.DataFrame(
        {
            "row": np.concatenate(
                [np.arange(table.trained), np.arange(len(table) - table.trained)]
            ),
            "label": table.names,
            "predicted": predicted_names(table, guess),
            "label_probability": mean[everyone, table.labels],
            "predicted_probability": mean[everyone, guess],
            "rounds_agree": agree,
            "kind": kind,
        }
    )


def _flagged(
    first: NDArray[np.float64], second: NDArray[np.float64], labels: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Rows that both rounds give with confidence to the same class, not that of the label."""
    given = torch.from_numpy(labels)
    found = first.argmax(axis=1) == second.argmax(axis=1)
    found &= (first + second).argmax(axis=1) != labels
    for p in (first, second):
        found &= confident_label_errors(torch.from_numpy(p), given).numpy()
    return np.asarray(found)


def errors_by_chance(
    first: NDArray[np.float64], second: NDArray[np.float64], seed: int, draws: int = 5
) -> int:
    """How many rows would look mislabelled if every label were right, but as unsure as predicted.

    Labels are drawn from the predictions, and judged like those of the table; the mean over draws.
    Where classes overlap, many labels go against the odds without being wrong.

    Args:
        first: probabilities of the first round, shape [N, C].
        second: of the second.
        seed: what the draws depend on.
        draws: how many.
    """
    random = numpy_generator(seed, "labels by chance")
    ends = ((first + second) / 2).cumsum(axis=1)
    counts = []
    for _ in range(draws):
        drawn = (random.random((len(ends), 1)) * ends[:, -1:] > ends).sum(axis=1)
        counts.append(_flagged(first, second, drawn.astype(np.int64)).sum())
    return round(float(np.mean(counts)))


def predicted_names(table: ProfileTable, guess: NDArray[np.int64]) -> list[str]:
    """Predicted classes, or options, as text."""
    if table.options is not None:
        return [
            own[min(place, len(own) - 1)] for own, place in zip(table.options, guess, strict=True)
        ]
    return [str(table.classes[place]) for place in guess]


def likely_errors(table: ProfileTable, rows: "pd.DataFrame", most: int) -> "pd.DataFrame":
    """The likeliest label errors of the table's own rows, likeliest first.

    They are ordered by how far the predicted class is ahead of the label.
    """
    own = rows.iloc[: table.trained]
    chosen = own[own["kind"] == KINDS[3]].copy()
    chosen["margin"] = chosen["predicted_probability"] - chosen["label_probability"]
    chosen = chosen.sort_values("margin", ascending=False, kind="stable").head(most)
    inputs = table.frame.iloc[chosen.index]
    chosen["input"] = [_shown(row, table) for row in inputs.to_dict("records")]
    wanted = ["row", "label", "predicted", "label_probability", "predicted_probability", "input"]
    return chosen[wanted].reset_index(drop=True)


def _shown(row: dict[Any, Any], table: ProfileTable) -> str:
    """A row's inputs in one short line: text first."""
    order = sorted(row, key=lambda name: table.kinds[name] != "text")
    parts = []
    for name in order[:6]:
        value = row[name]
        text = f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())
        parts.append(text if table.kinds[name] == "text" else f"{name}={text}")
    line = "; ".join(parts)
    return line if len(line) <= 160 else f"{line[:157]}..."


def hardest_segments(
    table: ProfileTable, failed: NDArray[np.bool_], rows: NDArray[np.int64], most: int = 10
) -> "pd.DataFrame":
    """Parts of the table that fail more often than the whole, surest first.

    Segments are the values of a category, quarters of a number, quarters of the text's length, the
    labels and the levels. They are ordered by the lower end of the interval of their failure rate.

    Args:
        table: the rows.
        failed: which rows were not solved, shape [N].
        rows: the rows that count.
        most: how many to give.

    Returns:
        Columns column, segment, rows, failure_rate with Wilson's interval (low, high), 95% for all
        segments at once (Bonferroni). Only segments of at least 20 rows whose interval is above the
        rate of the whole.
    """
    import pandas as pd

    overall = float(failed[rows].mean())
    looked_at = []
    for column, every in _segmentations(table):
        names = every[rows]
        for name in np.unique(names):
            chosen = names == name
            if SMALLEST_SEGMENT <= chosen.sum() < len(rows):
                looked_at.append((column, str(name), chosen))
    confidence = 1.0 - 0.05 / max(1, len(looked_at))
    found = []
    for column, name, chosen in looked_at:
        rate = proportion_interval(int(failed[rows][chosen].sum()), int(chosen.sum()), confidence)
        if rate.low > overall:
            found.append((column, name, rate.n, rate.estimate, rate.low, rate.high))
    columns = ["column", "segment", "rows", "failure_rate", "low", "high"]
    listed = pd.DataFrame(found, columns=columns)
    listed = listed.sort_values("low", ascending=False, kind="stable", ignore_index=True)
    return listed.head(most)


def _segmentations(table: ProfileTable) -> list[tuple[str, NDArray[Any]]]:
    """Each way to cut the table, as a name for every row."""
    found: list[tuple[str, NDArray[Any]]] = []
    for column, kind in table.kinds.items():
        values = table.frame[column].to_numpy()
        if kind == "category":
            found.append((column, values.astype(str)))
        elif kind == "number":
            found.append((column, _quarters(values)))
        else:
            lengths = word_count(list(values)).astype(np.float64)
            found.append((f"words of {column}", _quarters(lengths)))
    if table.options is None:
        found.append(("label", np.array(table.names, dtype=str)))
    if table.level is not None:
        found.append(("level", np.array([f"{level:g}" for level in table.level])))
    return found


def _quarters(values: NDArray[np.float64]) -> NDArray[Any]:
    """Names of quarters by quantiles."""
    there = values[~np.isnan(values)]
    if not len(there):
        return np.full(len(values), "missing")
    edges = np.unique(np.quantile(there, np.arange(1, _BINS) / _BINS, method="lower"))
    place = np.searchsorted(edges, values, side="left")
    names = [f"up to {edges[0]:.4g}"]
    names += [f"above {low:.4g} up to {high:.4g}" for low, high in pairwise(edges)]
    names.append(f"above {edges[-1]:.4g}")
    return np.where(np.isnan(values), "missing", np.array(names)[place])
