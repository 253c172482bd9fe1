"""Draws by difficulty rank: the core of samplers for tens of millions of examples.

Sorting is done once and keeps 4 bytes an example. A draw with weights that move at every step
then costs O(bins + batch), not O(examples); ``torch.multinomial`` has to be given all weights and
ends at 2^24 of them.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.curriculum.orders import Order, Ranking, Values, difficulty_ranking
from gradatim.curriculum.rank_weights import Floats, RankWeights

_BINS = 256


class RankedDraws:
    """Examples ranked by difficulty, to draw from by rank.

    Args:
        difficulty: one number an example, finite, higher = harder, shape [n].
        seed: what the order of equally difficult examples depends on.

    Raises:
        InputError: no examples, or difficulty that is not finite or not of shape [n].

    >>> from gradatim.core.seeds import numpy_generator
    >>> from gradatim.curriculum.rank_weights import easiest
    >>> draws = RankedDraws([0.9, 0.1, 0.5, 0.2])
    >>> sorted(set(draws.draw(easiest(0.5), 64, numpy_generator(0)).tolist()))
    [1, 3]
    """

    def __init__(self, difficulty: Values, *, seed: int = 0) -> None:
        self.order: Ranking = difficulty_ranking(difficulty, seed=seed)
        if not len(self.order):
            raise InputError("difficulty: expected at least one example, got none")

    @classmethod
    def of_order(cls, order: Ranking) -> "RankedDraws":
        """Draw from a ranking that is there already, positions from easiest to hardest [n]."""
        draws = cls.__new__(cls)
        draws.order = order
        return draws

    def __len__(self) -> int:
        return len(self.order)

    def draw(self, weights: RankWeights, count: int, generator: np.random.Generator) -> Order:
        """Draw examples with replacement.

        Args:
            weights: over ranks; another at every call if you like.
            count: how many.
            generator: where the randomness comes from.

        Returns:
            Positions of the examples, int64, shape [count].
        """
        return self.order[weights.ranks(generator, count, len(self.order))].astype(np.int64)

    def draw_easiest(self, share: float, count: int, generator: np.random.Generator) -> Order:
        """Draw different examples from the easiest share, all alike.

        Args:
            share: of the examples, in [0, 1]; the pool is never smaller than ``count``.
            count: how many, at most the number of examples.
            generator: where the randomness comes from.

        Returns:
            Positions of the examples, int64, shape [count], no two the same.

        Raises:
            InputError: a share outside [0, 1], or more examples wanted than there are.
        """
        check_range("count", count, 1, len(self.order))
        pool = max(count, pool_size(share, len(self.order)))
        return self.order[generator.choice(pool, count, replace=False)].astype(np.int64)


def pool_size(share: float, n: int) -> int:
    r"""How many examples a share is: :math:`\lceil \text{share} \cdot n \rceil`.

    Args:
        share: in [0, 1].
        n: how many examples there are.

    Raises:
        InputError: a share outside [0, 1].

    >>> pool_size(0.29, 100), pool_size(0.291, 100)
    (29, 30)
    """
    check_range("share", share, 0.0, 1.0)
    return min(n, int(np.ceil(share * n - 1e-6)))


def order_without_replacement(
    n: int,
    batch_size: int,
    weights: Callable[[float], RankWeights],
    progress: Sequence[float] | Floats,
    generator: np.random.Generator,
    *,
    bins: int = _BINS,
) -> Ranking:
    """All ranks once each, in batches that follow moving weights as far as what is left allows.

    Ranks are cut into bins of equal size. Each batch divides itself over the bins at random by
    their weights at that moment and takes from each bin examples that have not come up; what a
    bin lacks is divided over the others, and when all bins with weight are empty, those nearest to
    the middle of the weights give what is left of them. So the weights hold to within one bin.

    Args:
        n: how many examples there are.
        batch_size: examples in a batch; the last may have fewer.
        weights: progress to weights over ranks.
        progress: at each batch, shape [ceil(n / batch_size)].
        generator: where the randomness comes from.
        bins: how many; at most n are used.

    Returns:
        A permutation of 0 to n - 1, int32 (int64 from 2^31 on), to be cut into batches.

    Raises:
        InputError: another number of progress values than of batches.

    >>> from gradatim.core.seeds import numpy_generator
    >>> from gradatim.curriculum.rank_weights import easiest
    >>> moving = order_without_replacement(
    ...     6, 2, lambda t: easiest((1 + t) / 3), [0.0, 1.0, 2.0], numpy_generator(0))
    >>> [sorted(moving[i:i + 2].tolist()) for i in (0, 2, 4)]
    [[0, 1], [2, 3], [4, 5]]
    """
    check_range("batch_size", batch_size, 1)
    if len(progress) != -(-n // batch_size):
        raise InputError(
            f"progress: expected one value for each of {-(-n // batch_size)} batches, "
            f"got {len(progress)}"
        )
    cuts = np.linspace(0, n, min(bins, n) + 1).astype(np.int64)
    shuffled: Ranking = np.arange(n, dtype=np.int32 if n < 2**31 else np.int64)
    for low, high in pairwise(cuts):
        generator.shuffle(shuffled[low:high])
    order = np.empty_like(shuffled)
    taken = cuts[:-1].copy()
    for number, moment in enumerate(progress):
        start = number * batch_size
        size = min(batch_size, n - start)
        wanted = np.diff(weights(float(moment)).cumulative(cuts, n))
        counts = _divide(size, wanted, cuts[1:] - taken, generator)
        begins = np.cumsum(counts) - counts
        places = np.repeat(taken - begins, counts) + np.arange(size)
        order[start : start + size] = generator.permutation(shuffled[places])
        taken += counts
    return order


def _divide(size: int, wanted: Floats, left: Order, generator: np.random.Generator) -> Order:
    """How many of a batch each bin gives, at most what is left in it."""
    counts = np.zeros(len(left), dtype=np.int64)
    while size:
        open_bins = np.where(left > counts, wanted, 0.0)
        total = float(open_bins.sum())
        if total <= 1e-12:
            break
        more = np.minimum(generator.multinomial(size, open_bins / total), left - counts)
        counts += more
        size -= int(more.sum())
    if size:
        places = np.arange(len(left))
        middle = float((places * wanted).sum() / wanted.sum())
        for place in np.argsort(np.abs(places - middle), kind="stable"):
            more_here = min(size, int(left[place] - counts[place]))
            counts[place] += more_here
            size -= more_here
            if not size:
                break
    return counts
