"""Few-shot episodes: how they are drawn, how accurate answers are over them, how hard one is."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from gradatim.core.checks import check_range, check_shape
from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator
from gradatim.core.statistics import Interval, mean_interval

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Episodes:
    """Tasks drawn from one labelled collection; all have the same sizes.

    Attributes:
        support: positions of the labelled examples, class by class, shape [E, way * shot].
        query: positions of the examples to be told, shape [E, Q].
        support_labels: number of each one's class in its task, from 0, shape [E, way * shot].
        query_labels: the same for queries, shape [E, Q].
        classes: the classes of each task in the collection's own labels, shape [E, way].
    """

    support: Ints
    query: Ints
    support_labels: Ints
    query_labels: Ints
    classes: NDArray[np.generic]


def few_shot_episodes(
    labels: ArrayLike,
    *,
    way: int = 5,
    shot: int = 1,
    query: int = 15,
    count: int = 600,
    concentration: float | None = None,
    seed: int = 0,
) -> Episodes:
    r"""Draw tasks: some classes, of each some labelled examples, and others to be told.

    With a concentration :math:`\alpha` the classes have unequal shares of a task's queries,

    .. math:: \pi \sim \mathrm{Dirichlet}(\alpha, \dots, \alpha), \qquad
        (n_1, \dots, n_K) \sim \mathrm{Multinomial}(K q, \pi)

    where what a class has not enough examples for goes to the others.

    Args:
        labels: class of each example, shape [n].
        way: K, classes in a task.
        shot: labelled examples of each class.
        query: q, queries of each class (on average, if their shares are drawn).
        count: E, how many tasks.
        concentration: None for equal shares; small numbers make shares unequal.
        seed: what the draws depend on.

    Returns:
        Positions and labels of every task.

    Raises:
        InputError: a number out of range, or too few classes with enough examples.

    Source: Vinyals et al. 2016, arXiv 1606.04080; unequal shares: Veilleux et al. 2021, arXiv
    2204.11181 (with concentration 2).

    >>> tasks = few_shot_episodes([0] * 5 + [1] * 5 + [2] * 5, way=2, shot=1, query=3, count=4)
    >>> tasks.support.shape, tasks.query.shape, tasks.support_labels[0]
    ((4, 2), (4, 6), array([0, 1]))
    """
    classes, own = np.unique(np.asarray(labels), return_inverse=True)
    for name, value in (("way", way), ("shot", shot), ("query", query), ("count", count)):
        check_range(name, value, 1)
    if concentration is not None:
        check_range("concentration", concentration, 0, open_low=True)
    members = [np.flatnonzero(own == k) for k in range(len(classes))]
    large = np.array([k for k, rows in enumerate(members) if len(rows) >= shot + query])
    if len(large) < way:
        raise InputError(
            f"labels: expected at least {way} classes with {shot + query} examples or more, "
            f"got {len(large)}"
        )
    random = numpy_generator(seed, "episodes")
    drawn = []
    for _ in range(count):
        chosen = random.permutation(large)[:way]
        spare = np.array([len(members[k]) - shot for k in chosen])
        sizes = np.full(way, query)
        if concentration is not None:
            sizes = _shares(random, spare, way * query, concentration)
        mixed = [random.permutation(members[k])[: shot + n] for k, n in zip(chosen, sizes)]  # noqa: B905
        support = np.concatenate([rows[:shot] for rows in mixed])
        queries = np.concatenate([rows[shot:] for rows in mixed])
        drawn.append((support, queries, np.repeat(np.arange(way), sizes), classes[chosen]))
    support, queries, answers, names = (np.stack(part) for part in zip(*drawn, strict=True))
    given = np.tile(np.repeat(np.arange(way), shot), (count, 1))
    return Episodes(support, queries, given, answers, names)


def _shares(random: np.random.Generator, spare: Ints, total: int, concentration: float) -> Ints:
    """Unequal numbers of queries, none above what its class can spare."""
    share = random.dirichlet(np.full(len(spare), concentration))
    sizes = random.multinomial(total, share)
    while (sizes > spare).any():
        left = int((sizes - spare).clip(min=0).sum())
        sizes = sizes.clip(max=spare)
        room = spare - sizes
        sizes = sizes + random.multivariate_hypergeometric(room, left)
    return np.asarray(sizes, dtype=np.int64)


def episode_accuracy(predicted: ArrayLike, labels: ArrayLike, confidence: float = 0.95) -> Interval:
    r"""Mean accuracy over tasks, with the interval of Student's t over tasks.

    .. math:: \bar a = \frac1E \sum_e \frac1Q \sum_q [\hat y_{eq} = y_{eq}]

    Args:
        predicted: classes, shape [E, Q] with at least two tasks.
        labels: true classes, shape [E, Q].
        confidence: of the interval.

    Returns:
        Mean and interval.

    Raises:
        InputError: the shapes do not fit, or fewer than two tasks.

    Source: Vinyals et al. 2016, arXiv 1606.04080 (episodes); Ziko et al. 2021, arXiv 2106.09516.

    >>> episode_accuracy([[0, 1], [1, 1]], [[0, 1], [1, 0]]).estimate
    0.75
    """
    found, true = np.asarray(predicted), np.asarray(labels)
    if found.ndim != 2 or found.shape != true.shape or found.shape[1] == 0:
        raise InputError(
            f"predicted: expected shape [E, Q] as labels {list(true.shape)}, "
            f"got {list(found.shape)}"
        )
    return mean_interval((found == true).mean(axis=1), confidence)


def episode_difficulty(prototypes: Tensor, query: Tensor) -> Tensor:
    r"""How hard a task is by its geometry alone: how near queries are to a second prototype.

    .. math:: d = \frac1Q \sum_q \frac{\min_k \lVert x_q - m_k \rVert}
        {\min\nolimits^{(2)}_k \lVert x_q - m_k \rVert}

    Labels of queries do not enter.

    Args:
        prototypes: such as the class means of the support, shape [..., K, D] with K at least 2.
        query: features, shape [..., Q, D].

    Returns:
        Difficulty in [0, 1], 1 where every query lies between two prototypes, shape [...].

    Raises:
        InputError: the shapes do not fit, or fewer than two prototypes.

    Source: the ratio of distances of Lowe 2004, averaged over a task's queries.

    >>> episode_difficulty(torch.tensor([[0.0], [4.0]]), torch.tensor([[1.0], [2.0]]))
    tensor(0.6667)
    """
    fits = query.ndim >= 2 and query.ndim == prototypes.ndim
    if not fits or query.shape[:-2] != prototypes.shape[:-2]:
        raise InputError(
            f"query: expected shape [..., Q, D] for prototypes {list(prototypes.shape)}, "
            f"got {list(query.shape)}"
        )
    check_shape("query", query, *query.shape[:-1], prototypes.shape[-1])
    if prototypes.shape[-2] < 2:
        raise InputError(f"prototypes: expected at least 2, got {prototypes.shape[-2]}")
    distances = torch.cdist(query, prototypes, compute_mode="donot_use_mm_for_euclid_dist")
    near = distances.topk(2, dim=-1, largest=False).values
    ratio = torch.where(near[..., 1] > 0, near[..., 0] / near[..., 1], 1.0)
    return ratio.mean(-1)
