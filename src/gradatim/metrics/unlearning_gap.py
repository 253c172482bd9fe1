"""How far an unlearned model is from one that was trained without the forgotten data."""

import math
from collections.abc import Mapping

from gradatim.core.errors import InputError


def unlearning_gap(metrics: Mapping[str, float], retrained: Mapping[str, float]) -> float:
    r"""Mean absolute difference between a model's figures and those of a retrained model.

    .. math:: \mathrm{gap} = \frac{1}{K} \sum_k \lvert a_k - r_k \rvert

    The figures are accuracies on what remains, what is forgotten and test data, and the success
    of a membership attack, say, all in one unit. To forget too much counts as to forget too
    little.

    Args:
        metrics: a_k by name.
        retrained: r_k by name, of the model trained without the forgotten data.

    Returns:
        The gap, in the unit of the figures.

    Raises:
        InputError: no figures, other names, or a value that is not finite.

    Source: Shen et al. 2024, arXiv 2404.00506, section 4 (the comparison of its tables).

    >>> unlearning_gap({"remaining": 99.0, "forgotten": 80.0}, {"remaining": 98.0, "forgotten": 75})
    3.0
    """
    if not metrics or metrics.keys() != retrained.keys():
        raise InputError(
            f"metrics: expected the figures of the retrained model {sorted(retrained)}, "
            f"got {sorted(metrics)}"
        )
    differences = [abs(float(value) - float(retrained[name])) for name, value in metrics.items()]
    for name, difference in zip(metrics, differences, strict=True):
        if not math.isfinite(difference):
            raise InputError(
                f"{name}: expected finite figures, got {metrics[name]} and {retrained[name]}"
            )
    return math.fsum(differences) / len(differences)
