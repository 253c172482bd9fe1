"""Hard negatives out of ranked candidates: windows, margins, caps, near-duplicates, sampling."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from gradatim.core.checks import check_choice, check_range, check_same_shape, check_shape
from gradatim.core.errors import InputError
from gradatim.core.search_tiles import Embeddings
from gradatim.mining.pair_scores import gather_rows, row_slices

Sampling: TypeAlias = Literal["top", "random", "softmax"]

REASONS = (
    "positive",
    "equal_text",
    "absolute_margin",
    "relative_margin",
    "max_score",
    "min_score",
    "near_positive",
    "range_min",
    "range_max",
    "near_negative",
)
"""Why a candidate is passed over, in the order of the tests; the first that fails counts."""

_LEFT, _NONE = -1, -2


@dataclass(frozen=True)
class NegativeRules:
    r"""Which candidates may be negatives, and how many of them are taken.

    With s the candidate's score and p the lowest score of the query's positives, a candidate is
    kept if

    .. math::
        s + a \le p, \qquad s \le p - r \, |p|, \qquad s_{min} \le s \le s_{max}.

    Args:
        count: negatives a query.
        range_min: how many of the best candidates that are kept are passed over.
        range_max: rank, among those kept, at which the window ends; None for as many as there are.
        absolute_margin: a.
        relative_margin: r; 0.05 keeps what scores at least 5% below the positive.
        max_score: s_max.
        min_score: s_min.
        sampling: "top", the best of the window; "random", each with the same probability;
            "softmax", one after the other in proportion to :math:`e^{s / T}`.
        temperature: T.
        duplicate_similarity: cosine, from which on two documents count as the same.

    Raises:
        InputError: a number outside its range, or a window narrower than the count.

    Source: margins as in Moreira et al. 2024, arXiv 2407.15831 (with r relative to the size of the
    positive's score, so that it holds for scores below 0 too).

    >>> NegativeRules(count=5, range_min=10, range_max=12)
    Traceback (most recent call last):
    gradatim.core.errors.InputError: range_max: expected at least 15 = range_min + negatives, got 12
    """

    count: int = 3
    range_min: int = 0
    range_max: int | None = None
    absolute_margin: float | None = None
    relative_margin: float | None = None
    max_score: float | None = None
    min_score: float | None = None
    sampling: Sampling = "top"
    temperature: float = 0.05
    duplicate_similarity: float | None = None

    def __post_init__(self) -> None:
        check_range("negatives", self.count, 1)
        check_range("range_min", self.range_min, 0)
        check_choice("sampling", self.sampling, get_args(Sampling))
        check_range("temperature", self.temperature, 0.0, open_low=True)
        for name in ("absolute_margin", "relative_margin"):
            if (value := getattr(self, name)) is not None:
                check_range(name, value, 0.0)
        for name in ("max_score", "min_score"):
            if (value := getattr(self, name)) is not None:
                check_range(name, value)
        if self.duplicate_similarity is not None:
            check_range("duplicate_similarity", self.duplicate_similarity, 0.0, 1.0, open_low=True)
        if self.range_max is not None and self.range_max < self.range_min + self.count:
            raise InputError(
                f"range_max: expected at least {self.range_min + self.count} = range_min + "
                f"negatives, got {self.range_max}"
            )

    def window_end(self, positives: int, *, wide: bool = False) -> int:
        """Where the window ends: ``range_max``, or by default wide enough for what is asked.

        As in ``sentence_transformers.util.mine_hard_negatives`` there are ten candidates for each
        negative where margins or a cap may remove some (here also where near-duplicates may, or
        negatives are sampled), and else one.

        Args:
            positives: of the query that has most.
            wide: whether something else may remove some.

        >>> NegativeRules(count=3).window_end(1), NegativeRules(max_score=0.8).window_end(2)
        (4, 32)
        """
        if self.range_max is not None:
            return self.range_max
        tests = (
            self.absolute_margin,
            self.relative_margin,
            self.max_score,
            self.duplicate_similarity,
        )
        many = wide or self.sampling != "top" or any(one is not None for one in tests)
        return self.range_min + self.count * (10 if many else 1) + positives


@dataclass(frozen=True)
class ChosenNegatives:
    """Negatives of every query.

    Attributes:
        index: positions of the documents, by falling score, -1 where a query has fewer, [Q, n].
        scores: their scores, minus infinity where there is none, [Q, n].
        rank: their ranks from 0 among the candidates kept, -1 where there is none, [Q, n].
        skipped: candidates passed over, a column for each of :data:`REASONS`, [Q, R].
    """

    index: Tensor
    scores: Tensor
    rank: Tensor
    skipped: Tensor

    @property
    def found(self) -> Tensor:
        """Negatives of each query, [Q]."""
        return (self.index >= 0).sum(1)


@torch.no_grad()
def choose_negatives(
    scores: Tensor,
    index: Tensor,
    positives: Tensor,
    positive_scores: Tensor,
    rules: NegativeRules,
    *,
    groups: Tensor | None = None,
    query_groups: Tensor | None = None,
    vectors: Embeddings | None = None,
    generator: torch.Generator | None = None,
) -> ChosenNegatives:
    """Choose negatives among the candidates of each query.

    Candidates are tested in the order of :data:`REASONS`. Those that are left are ranked by score,
    and the window of ranks and the sampling follow. Of near-duplicates the better stays.

    Args:
        scores: of the candidates, finite, [Q, K].
        index: their positions in the corpus, -1 for none, [Q, K].
        positives: positions of each query's positives, filled up with -1, [Q, P].
        positive_scores: their scores, [Q, P].
        rules: what may be a negative.
        groups: a number for each document, equal for those that count as one text, [N]. A
            candidate equal to a positive, or to a better candidate of the window, is passed over.
        query_groups: the same numbers for the queries: a candidate that is its own query is passed
            over, [Q].
        vectors: of the documents, [N, D], for ``duplicate_similarity``.
        generator: for sampling; by default the global one.

    Returns:
        The negatives; fewer than ``count`` where a query has fewer left.

    Raises:
        InputError: shapes that do not fit, or near-duplicates without vectors.

    >>> chosen = choose_negatives(
    ...     torch.tensor([[0.9, 0.8, 0.5, 0.4]]), torch.tensor([[7, 2, 5, 1]]),
    ...     torch.tensor([[2]]), torch.tensor([[0.8]]),
    ...     NegativeRules(count=1, absolute_margin=0.1))
    >>> chosen.index.tolist(), chosen.skipped[0, REASONS.index("absolute_margin")].item()
    ([[5]], 1)
    """
    check_shape("scores", scores, "Q", "K")
    check_same_shape("index", index, "scores", scores)
    check_shape("positives", positives, len(scores), "P")
    check_same_shape("positive_scores", positive_scores, "positives", positives)
    if rules.duplicate_similarity is not None and vectors is None:
        raise InputError("vectors: expected the documents' vectors for duplicate_similarity")
    code = torch.full_like(index, _LEFT)
    code[index < 0] = _NONE
    same = None if groups is None else _groups_of(groups, index, -1)
    _mark(code, "positive", _any_equal(index, positives))
    if groups is not None and same is not None:
        _mark(code, "equal_text", _any_equal(same, _groups_of(groups, positives, -2)))
        if query_groups is not None:
            _mark(code, "equal_text", same == query_groups[:, None])
    _mark_scores(code, scores, positives, positive_scores, rules)
    if rules.duplicate_similarity is not None and vectors is not None:
        _mark_near_positives(code, index, positives, vectors, rules.duplicate_similarity)
    return _Window(scores, index, code, same, vectors, rules).choose(generator)


def _mark(code: Tensor, reason: str, where: Tensor) -> None:
    """Give a reason to candidates that have none yet, in place."""
    code[(code == _LEFT) & where] = REASONS.index(reason)


def _groups_of(groups: Tensor, index: Tensor, missing: int) -> Tensor:
    return torch.where(index >= 0, groups[index.clamp_min(0)], missing)


def _any_equal(values: Tensor, wanted: Tensor) -> Tensor:
    """Which of [Q, K] values are among their row's [Q, P] wanted ones."""
    found = torch.zeros_like(values, dtype=torch.bool)
    for column in wanted.unbind(1):
        found |= values == column[:, None]
    return found


def _mark_scores(
    code: Tensor, scores: Tensor, positives: Tensor, positive_scores: Tensor, rules: NegativeRules
) -> None:
    bar = positive_scores.masked_fill(positives < 0, torch.inf).amin(1, keepdim=True)
    if rules.absolute_margin is not None:
        _mark(code, "absolute_margin", scores + rules.absolute_margin > bar)
    if rules.relative_margin is not None:
        _mark(code, "relative_margin", scores > bar - bar.abs() * rules.relative_margin)
    if rules.max_score is not None:
        _mark(code, "max_score", scores > rules.max_score)
    if rules.min_score is not None:
        _mark(code, "min_score", scores < rules.min_score)


def _mark_near_positives(
    code: Tensor, index: Tensor, positives: Tensor, vectors: Embeddings, least: float
) -> None:
    for part in row_slices(len(index), (index.shape[1] + positives.shape[1]) * vectors.shape[1]):
        candidates = gather_rows(vectors, index[part], unit=True)
        own = gather_rows(vectors, positives[part], unit=True)
        cosine = torch.einsum("qkd,qpd->qkp", candidates, own)
        near = (cosine >= least) & (positives[part] >= 0)[:, None, :]
        _mark(code[part], "near_positive", near.any(2))


class _Window:
    """The candidates that are left, by falling score, and the choice among them."""

    def __init__(
        self,
        scores: Tensor,
        index: Tensor,
        code: Tensor,
        groups: Tensor | None,
        vectors: Embeddings | None,
        rules: NegativeRules,
    ) -> None:
        self.rules, self.vectors = rules, vectors
        held = scores.masked_fill(code != _LEFT, -torch.inf)
        self.scores, order = held.sort(dim=1, descending=True, stable=True)
        self.index, self.code = index.gather(1, order), code.gather(1, order)
        self.groups = None if groups is None else groups.gather(1, order)
        rank = torch.arange(index.shape[1], device=index.device).expand_as(index)
        self.rank = rank
        _mark(self.code, "range_min", rank < rules.range_min)
        if rules.range_max is not None:
            _mark(self.code, "range_max", rank >= rules.range_max)

    def choose(self, generator: torch.Generator | None) -> ChosenNegatives:
        """Pass over near-duplicates, and take as many as are wanted."""
        if self.groups is not None or self.rules.duplicate_similarity is not None:
            self._mark_near_negatives()
        left = self.code == _LEFT
        taken = self._keys(left, generator).sort(dim=1, descending=True, stable=True).indices
        taken = taken[:, : self.rules.count].sort(1).values
        there = left.gather(1, taken)
        taken = taken.gather(1, (~there).sort(dim=1, stable=True).indices)
        there = left.gather(1, taken)
        reasons = torch.arange(len(REASONS), device=self.code.device)
        skipped = torch.stack([(self.code == one).sum(1) for one in reasons], 1)
        chosen = ChosenNegatives(
            self.index.gather(1, taken).masked_fill(~there, -1),
            self.scores.gather(1, taken).masked_fill(~there, -torch.inf),
            self.rank.gather(1, taken).masked_fill(~there, -1),
            skipped,
        )
        return _filled_up(chosen, self.rules.count)

    def _keys(self, left: Tensor, generator: torch.Generator | None) -> Tensor:
        """Numbers whose largest are taken; for sampling they are Gumbel distributed."""
        keys = self.scores
        if self.rules.sampling != "top":
            made_on = "cpu" if generator is None else generator.device
            uniform = torch.rand(keys.shape, generator=generator, device=made_on).to(keys.device)
            keys = -(-uniform.clamp_min(1e-38).log()).clamp_min(1e-38).log()
            if self.rules.sampling == "softmax":
                keys = keys + self.scores.masked_fill(~left, 0.0) / self.rules.temperature
        return keys.masked_fill(~left, -torch.inf)

    def _mark_near_negatives(self) -> None:
        """Pass over what is as good as a better candidate of the window that stays."""
        inside = (self.code == _LEFT).any(0).nonzero().squeeze(1)
        if not len(inside):
            return
        window = slice(int(inside[0]), int(inside[-1]) + 1)
        width = window.stop - window.start
        numbers = width * (width + (0 if self.vectors is None else self.vectors.shape[1]))
        for part in row_slices(len(self.code), numbers):
            equal = self._equal(part, window)
            left = self.code[part, window] == _LEFT
            stays = left.clone()
            for place in range(1, width):
                stays[:, place] &= ~(equal[:, place, :place] & stays[:, :place]).any(1)
            _mark(self.code[part, window], "near_negative", left & ~stays)

    def _equal(self, part: slice, window: slice) -> Tensor:
        """Which two candidates of a window count as one, [Q, W, W]."""
        index = self.index[part, window]
        found = index[:, :, None] == index[:, None, :]
        if self.groups is not None:
            groups = self.groups[part, window]
            found |= groups[:, :, None] == groups[:, None, :]
        if self.rules.duplicate_similarity is not None and self.vectors is not None:
            rows = gather_rows(self.vectors, index, unit=True)
            found |= rows @ rows.transpose(1, 2) >= self.rules.duplicate_similarity
        return found


def _filled_up(chosen: ChosenNegatives, count: int) -> ChosenNegatives:
    """As many columns as negatives are wanted, where there were fewer candidates."""
    lacking = count - chosen.index.shape[1]
    if lacking <= 0:
        return chosen
    pad = torch.nn.functional.pad
    return ChosenNegatives(
        pad(chosen.index, (0, lacking), value=-1),
        pad(chosen.scores, (0, lacking), value=-torch.inf),
        pad(chosen.rank, (0, lacking), value=-1),
        chosen.skipped,
    )
