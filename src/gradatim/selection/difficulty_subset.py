"""Training sets of equal size from one level of difficulty, or from both ends."""

from typing import Literal

import numpy as np

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator
from gradatim.curriculum.orders import Order, Values, easy_to_hard


def difficulty_subset(
    difficulty: Values,
    level: int | Literal["mix"],
    *,
    fraction: float = 0.25,
    easy_share: float = 0.5,
    seed: int = 0,
) -> Order:
    r"""A subset of one level of difficulty, or a mixture of easy and hard, all of one size.

    .. math:: S_k = \{ i : k f n \le \operatorname{rank}(d_i) < (k + 1) f n \}

    A mixture takes ``easy_share`` of its examples at random from the easiest level and the others
    from the hardest one.

    Args:
        difficulty: d, finite, higher = harder, shape [n].
        level: k, 0 for the easiest part, or "mix".
        fraction: f, the size of a subset, in (0, 1]; in (0, 0.5] for a mixture.
        easy_share: of a mixture, in [0, 1].
        seed: what the draws of a mixture and the order of equally difficult examples depend on.

    Returns:
        Positions, ascending, int64, shape [round(f n)] (one more or less where it does not
        divide).

    Raises:
        InputError: difficulty that is not finite, a level that lies beyond the data, numbers out of
            range, or a subset without examples.

    Source: Zhou, Jiang and Bansal 2023, arXiv 2311.04420 (quarters by difficulty, and mixtures of
    the same size).

    >>> difficulty_subset([4, 1, 3, 2], 0).tolist(), difficulty_subset([4, 1, 3, 2], 3).tolist()
    ([1], [0])
    """
    check_range("fraction", fraction, 0.0, 0.5 if level == "mix" else 1.0, open_low=True)
    check_range("easy_share", easy_share, 0.0, 1.0)
    ranked = easy_to_hard(difficulty, seed=seed)
    n = len(ranked)
    if level == "mix":
        size = round(fraction * n)
        easy = round(easy_share * size)
        generator = numpy_generator(seed, "difficulty subset")
        parts = [
            generator.choice(ranked[:size], easy, replace=False),
            generator.choice(ranked[n - size :], size - easy, replace=False),
        ]
        chosen = np.concatenate(parts)
    else:
        levels = int(1.0 / fraction + 1e-9)
        if not isinstance(level, int | np.integer) or not 0 <= level < levels:
            raise InputError(f"level: expected 0 to {levels - 1} or 'mix', got {level!r}")
        chosen = ranked[round(level * fraction * n) : round((level + 1) * fraction * n)]
    if not len(chosen):
        raise InputError(f"fraction: expected a subset with examples, got none of {n}")
    return np.sort(chosen)
