"""Novelty: data that are let in one by one in random order, and data that repeat by Zipf's law."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator
from gradatim.curriculum.orders import Order
from gradatim.curriculum.pacing import linear_pacing
from gradatim.curriculum.rank_weights import Floats


class NoveltyCurriculum:
    r"""Always something new: the pool grows by randomly chosen examples, or groups of them.

    .. math:: m(t) = \Bigl\lfloor M \, \max \bigl( f_0, \min(1, t / a) \bigr) \Bigr\rfloor

    of the M shuffled units are in play; a unit is an example, or a group (all examples that hold
    some word, say), and an example is available once one of its groups is. Diversity in the end is
    that of all data; what changes is how often each example repeats. Inside the pool draw all
    alike: ``CurriculumBatches(novelty.unlock_rank, 64, pacing=novelty.pacing)``.

    Args:
        num_examples: how many examples there are.
        start: :math:`f_0`, share of the units in play at t = 0, in [0, 1].
        end: a, progress at which all are in play, in [0, 1].
        groups: positions of the examples of each group, one list a group; examples of no group
            are available from the start. None lets each example be a unit.
        seed: what the order of the units depends on.

    Raises:
        InputError: numbers out of range, no group, or a position that no example has.

    Attributes:
        unlock_rank: place of the first unit that lets each example in, from 0; -1 for those of no
            group; int64, shape [n].

    Source: Zhou, Jiang and Bansal 2023, arXiv 2311.04420; as in the authors' code the pool first
    grows when t / a passes the start, at t = a * start.

    >>> novelty = NoveltyCurriculum(10, start=0.2, end=0.8)
    >>> [len(novelty.available(t)) for t in (0.0, 0.16, 0.4, 0.8)]
    [2, 2, 5, 10]
    """

    def __init__(
        self,
        num_examples: int,
        *,
        start: float = 0.2,
        end: float = 0.8,
        groups: Sequence[Iterable[int]] | None = None,
        seed: int = 0,
    ) -> None:
        check_range("num_examples", num_examples, 1)
        check_range("start", start, 0.0, 1.0)
        check_range("end", end, 0.0, 1.0)
        self.start, self.end = start, end
        generator = numpy_generator(seed, "novelty")
        if groups is None:
            self.num_units = num_examples
            self.unlock_rank: Order = generator.permutation(num_examples)
        else:
            check_range("number of groups", len(groups), 1)
            self.num_units = len(groups)
            places = generator.permutation(len(groups))
            self.unlock_rank = _first_unlock(num_examples, groups, places)
        self._sorted = np.sort(self.unlock_rank)

    def units(self, progress: float) -> int:
        """How many units are in play."""
        share = max(self.start, linear_pacing(progress, 0.0, self.end))
        return int(self.num_units * share + 1e-9)

    def available(self, progress: float) -> Order:
        """Positions of the examples in play, ascending, int64."""
        return np.flatnonzero(self.unlock_rank < self.units(progress))

    def pacing(self, progress: float) -> float:
        """Share of the examples in play."""
        count = np.searchsorted(self._sorted, self.units(progress), side="left")
        return float(count) / len(self._sorted)


def zipf_probabilities(
    n: int,
    *,
    keys: Sequence[Hashable | Sequence[Hashable]] | None = None,
    exponent: float = 1.0,
) -> Floats:
    r"""Probabilities of drawing examples that repeat by Zipf's law.

    .. math:: p_i = \sum_{k \in K_i} \frac{r_k^{-\alpha}}{Z \, c_k}

    over the keys of an example, with :math:`r_k` the rank of a key by how often it comes up, 1 for
    the most frequent (the first seen of equally frequent ones), and :math:`c_k` that number. With
    one key an example, each class of equal keys shares the probability of its rank evenly.

    Args:
        n: how many examples there are.
        keys: a key of each example (its length, say), or a list of keys (its words; one may stand
            there twice); None ranks the examples by position, each its own key.
        exponent: :math:`\alpha`, at least 0; 0 gives each key the same.

    Returns:
        Probabilities that sum to 1, float64, shape [n]; 0 for an example without keys.

    Raises:
        InputError: fewer than one example, another number of keys, no key at all, or a negative
            exponent.

    Source: Zhou, Jiang and Bansal 2023, arXiv 2311.04420.

    >>> zipf_probabilities(3, keys=["a", "b", "b"]).round(3).tolist()
    [0.333, 0.333, 0.333]
    >>> (zipf_probabilities(2) * 3).round(9).tolist()
    [2.0, 1.0]
    """
    check_range("n", n, 1)
    check_range("exponent", exponent, 0.0)
    if keys is None:
        weights = (1.0 + np.arange(n)) ** -exponent
        return np.asarray(weights / weights.sum())
    if len(keys) != n:
        raise InputError(f"keys: expected {n}, one an example, got {len(keys)}")
    own = [list(key) if isinstance(key, list) else [key] for key in keys]
    counts = Counter(key for several in own for key in several)
    if not counts:
        raise InputError("keys: expected at least one key, got none")
    ranked = counts.most_common()
    ranks = (1.0 + np.arange(len(ranked))) ** -exponent
    each = {key: w / count for (key, count), w in zip(ranked, ranks / ranks.sum(), strict=True)}
    return np.array([sum(each[key] for key in several) for several in own], dtype=np.float64)


def _first_unlock(n: int, groups: Sequence[Iterable[int]], places: Order) -> Order:
    """The smallest place of a group that holds each example; -1 where none does."""
    never = len(places)
    first = np.full(n, never, dtype=np.int64)
    for number, members in enumerate(groups):
        positions = np.fromiter(members, dtype=np.int64)
        if len(positions) and not 0 <= positions.min() <= positions.max() < n:
            raise InputError(
                f"groups[{number}]: expected positions 0 to {n - 1}, "
                f"got {positions.min()} to {positions.max()}"
            )
        first[positions] = np.minimum(first[positions], places[number])
    first[first == never] = -1
    return first
