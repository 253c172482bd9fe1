"""What is told of mined negatives: scores, what was passed over and why, a sample to look at."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.core.seeds import numpy_generator
from gradatim.mining.negative_choice import REASONS
from gradatim.workflows.mine_formats import Mined
from gradatim.workflows.mine_inputs import MiningPairs

if TYPE_CHECKING:
    import pandas as pd

WORDS = {
    "positive": "is a positive of the query",
    "equal_text": "same text as the query or a positive",
    "absolute_margin": "too near to the positive's score (absolute_margin)",
    "relative_margin": "too near to the positive's score (relative_margin)",
    "max_score": "scores above max_score",
    "min_score": "scores below min_score",
    "near_positive": "near-duplicate of a positive",
    "range_min": "among the range_min best",
    "range_max": "ranked beyond range_max",
    "near_negative": "near-duplicate of a better negative",
}
SAMPLED, MOST_SHORT = 5, 1_000


def score_table(mined: Mined) -> "pd.DataFrame":
    """Mean, spread and quantiles of scores: positives, negatives, and what lies between them.

    Differences are between each negative and the lowest positive of its query.
    """
    import pandas as pd

    there = mined.positives >= 0
    right = mined.positive_scores[there].astype(np.float64)
    found = mined.negatives >= 0
    wrong = mined.scores[found].astype(np.float64)
    lowest = np.where(there, mined.positive_scores, np.inf).min(axis=1)
    between = np.broadcast_to(lowest[:, None], found.shape)[found] - wrong
    rows: dict[str, Callable[[NDArray[np.float64]], Any]] = {
        "mean": np.mean,
        "std": np.std,
        "min": np.min,
        "25%": lambda values: np.quantile(values, 0.25),
        "median": np.median,
        "75%": lambda values: np.quantile(values, 0.75),
        "max": np.max,
    }
    columns = {"positive": right, "negative": wrong, "difference": between}
    table: dict[str, Any] = {"metric": ["count", *rows]}
    for name, values in columns.items():
        told = [float(function(values)) for function in rows.values()] if len(values) else None
        table[name] = [float(len(values)), *(told or [np.nan] * len(rows))]
    return pd.DataFrame(table)


def skipped_table(skipped: NDArray[np.int32]) -> "pd.DataFrame":
    """Candidates that were passed over: reason, in words, how many, share, queries they are of."""
    import pandas as pd

    totals = skipped.sum(axis=0, dtype=np.int64)
    used = np.flatnonzero(totals)
    return pd.DataFrame(
        {
            "reason": [REASONS[place] for place in used],
            "told": [WORDS[REASONS[place]] for place in used],
            "candidates": totals[used],
            "share": totals[used] / max(int(totals.sum()), 1),
            "queries": (skipped[:, used] > 0).sum(axis=0),
        }
    )


def short_table(data: MiningPairs, found: Mapping[str, NDArray[Any]]) -> "pd.DataFrame":
    """Queries with fewer negatives than wanted, and why; the first 1,000 of them."""
    import pandas as pd

    have = (found["index"] >= 0).sum(axis=1)
    rows = np.flatnonzero(have < found["index"].shape[1])[:MOST_SHORT]
    return pd.DataFrame(
        {
            "query": [data.queries[int(row)].as_py() for row in rows],
            "negatives": have[rows],
            "why": [reasons_of(found["skipped"][row]) for row in rows],
        }
    )


def sample_table(data: MiningPairs, mined: Mined, seed: int) -> "pd.DataFrame":
    """Some queries drawn at random, with their positives and negatives, to look at."""
    import pandas as pd

    with_some = np.flatnonzero((mined.negatives >= 0).any(axis=1))
    drawn = numpy_generator(seed, "sample").permutation(with_some)[:SAMPLED]
    rows: list[dict[str, Any]] = []
    for query in np.sort(drawn):
        text = data.queries[int(query)].as_py()
        for name, index, scores in (
            ("positive", mined.positives, mined.positive_scores),
            ("negative", mined.negatives, mined.scores),
        ):
            for place in np.flatnonzero(index[query] >= 0):
                doubt = np.nan
                if name == "negative" and mined.suspicion is not None:
                    doubt = mined.suspicion[query, place]
                rows.append(
                    {
                        "query": text,
                        "kind": name,
                        "document": data.documents[int(index[query, place])].as_py(),
                        "score": float(scores[query, place]),
                        "false_negative": doubt,
                    }
                )
    return pd.DataFrame(rows)


def reasons_of(skipped: NDArray[np.int32]) -> str:
    """Why the candidates of one query were passed over, in words.

    >>> reasons_of(np.array([1, 0, 0, 4, 0, 0, 0, 0, 0, 0]))
    'of 5 candidates passed over 4 relative_margin, 1 positive'
    """
    order = np.argsort(-skipped, kind="stable")
    told = [f"{skipped[place]} {REASONS[place]}" for place in order if skipped[place]]
    return f"of {int(skipped.sum())} candidates passed over {', '.join(told)}"
