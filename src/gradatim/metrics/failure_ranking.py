"""How well a measure of difficulty ranks failures above successes, with an interval."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from gradatim.core.checks import check_range
from gradatim.core.statistics import Interval, auroc


def failure_auroc(
    difficulty: ArrayLike, failed: ArrayLike, *, confidence: float = 0.95
) -> Interval:
    r"""Area under the ROC curve of failures by difficulty, with DeLong's interval.

    .. math:: A = \operatorname{mean}_{i, j} \bigl( [d_i > d_j] + \tfrac12 [d_i = d_j] \bigr),
        \qquad s^2 = \frac{\operatorname{var}(V_i)}{n_+} + \frac{\operatorname{var}(V_j)}{n_-}

    with i over failures, j over successes, and V the mean over the other side. One half is chance;
    below it, what the measure calls easy fails more often.

    Args:
        difficulty: of each example, finite, higher = harder, shape [N].
        failed: whether each was not solved, booleans or numbers 0 and 1, shape [N].
        confidence: covered probability, in (0, 1).

    Returns:
        The area with its normal interval, cut to [0, 1].

    Raises:
        InputError: as for :func:`~gradatim.core.statistics.auroc`: unequal lengths, or only
            failures or only successes.

    Source: E. R. DeLong, D. M. DeLong and D. L. Clarke-Pearson (1988), Biometrics 44, 837-845.

    >>> failure_auroc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]).estimate
    0.75
    """
    check_range("confidence", confidence, 0.0, 1.0, open_low=True, open_high=True)
    area = auroc(difficulty, failed)
    values, bad = np.asarray(difficulty, dtype=np.float64), np.asarray(failed, dtype=bool)
    ranks = stats.rankdata(values)
    lost, won = int(bad.sum()), int((~bad).sum())
    above = (ranks[bad] - stats.rankdata(values[bad])) / won
    below = 1.0 - (ranks[~bad] - stats.rankdata(values[~bad])) / lost
    error = math.sqrt(
        sum(float(part.var(ddof=1)) / len(part) for part in (above, below) if len(part) > 1)
    )
    half = float(special.ndtri(0.5 + confidence / 2.0)) * error
    low, high = max(0.0, area - half), min(1.0, area + half)
    return Interval(area, low, high, confidence, len(values), error)
