"""Preference pairs from several rated responses to each prompt."""

from dataclasses import dataclass

import torch

from gradatim.core.checks import check_choice, check_range, check_shape
from gradatim.core.errors import InputError
from gradatim.core.precision import at_least_float32

MODES = ("best_vs_rest", "all", "best_worst")


@dataclass(frozen=True)
class PairSet:
    """Pairs of responses to one prompt each, the first of which is rated higher.

    Pairs stand prompt by prompt, those of a prompt by falling gap.

    Attributes:
        prompt: row of the prompt, shape [P].
        chosen: column of the preferred response, shape [P].
        rejected: column of the other one, shape [P].
        gap: difference of their ratings, above 0, shape [P].
        dropped: how many pairs were left out, because their ratings are equal or too close.
    """

    prompt: torch.Tensor
    chosen: torch.Tensor
    rejected: torch.Tensor
    gap: torch.Tensor
    dropped: int

    def __len__(self) -> int:
        """How many pairs there are."""
        return len(self.prompt)

    def of(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What a table holds for the chosen and for the rejected responses.

        Args:
            values: one entry a response (log-probabilities, lengths, rows), shape [B, M].

        Returns:
            Two tensors of shape [P].

        Raises:
            InputError: the table has fewer rows or columns than the pairs name.
        """
        check_shape("values", values, "B", "M")
        rows, columns = (int(part.max()) + 1 for part in (self.prompt, self._columns()))
        if values.shape[0] < rows or values.shape[1] < columns:
            raise InputError(
                f"values: expected at least shape [{rows}, {columns}], got {list(values.shape)}"
            )
        return values[self.prompt, self.chosen], values[self.prompt, self.rejected]

    def _columns(self) -> torch.Tensor:
        return torch.cat([self.chosen, self.rejected])


def ranked_pairs(
    ratings: torch.Tensor, *, mode: str = "best_vs_rest", min_gap: float = 0.0
) -> PairSet:
    r"""Pair better with worse responses to the same prompt.

    With the ratings of a prompt sorted, :math:`r_1 \ge \dots \ge r_M`, "best_vs_rest" makes the
    pairs :math:`(1, M), \dots, (1, 2)`, "best_worst" the first of them, and "all" every
    :math:`(i, j)` with :math:`i < j`. A pair is kept if :math:`r_i - r_j > 0` and
    :math:`r_i - r_j \ge` ``min_gap``: equal ratings say nothing about which response is better.
    Of equally rated responses the one in the earlier column counts as the better.

    Args:
        ratings: higher = better, NaN where a prompt has no further response, shape [B, M].
        mode: "best_vs_rest", "all" or "best_worst".
        min_gap: the smallest difference of ratings that a pair must have, at least 0.

    Returns:
        The pairs, and how many were dropped.

    Raises:
        InputError: another shape, an infinite rating, an unknown mode, or no pair that is left.

    Source: Pattnaik et al. 2024, arXiv 2403.07230, section 3 (the best response against each of
    the others).

    >>> pairs = ranked_pairs(torch.tensor([[4.0, 2.0, 5.0, 3.0], [1.0, 1.0, 0.0, torch.nan]]))
    >>> torch.stack([pairs.prompt, pairs.chosen, pairs.rejected]).T.tolist()
    [[0, 2, 1], [0, 2, 3], [0, 2, 0], [1, 0, 2]]
    >>> pairs.gap.tolist(), pairs.dropped
    ([3.0, 2.0, 1.0, 1.0], 1)
    """
    check_shape("ratings", ratings, "B", "M")
    check_choice("mode", mode, MODES)
    check_range("min_gap", min_gap, 0)
    if ratings.isinf().any():
        row, column = ratings.isinf().nonzero()[0].tolist()
        raise InputError(
            f"ratings: expected finite numbers (NaN for no response), got "
            f"{float(ratings[row, column])} at row {row}, column {column}"
        )
    values = at_least_float32(ratings.detach())
    there = ~values.isnan()
    order = values.masked_fill(~there, -torch.inf).argsort(dim=1, descending=True, stable=True)
    ordered, count = values.gather(1, order), there.sum(dim=1)
    better, worse = _ranks(ratings.shape[1], mode, ratings.device)
    last = (count - 1).clamp(min=0)[:, None].expand(-1, len(worse))
    worse_of = last if mode == "best_worst" else worse.expand(len(ratings), -1)
    gap = ordered[:, better] - ordered.gather(1, worse_of)
    paired = (worse_of < count[:, None]) & (better < worse_of)
    kept = paired & (gap > 0) & (gap >= min_gap)
    if not kept.any():
        raise InputError(
            f"ratings: expected at least one prompt with two responses whose ratings differ"
            f"{f' by {min_gap:g}' if min_gap else ''}, got none among {len(ratings)} prompts "
            f"({int(paired.sum())} pairs)"
        )
    prompt, place = kept.nonzero(as_tuple=True)
    gaps = gap[prompt, place]
    by_gap = gaps.argsort(descending=True, stable=True)
    by_prompt = by_gap[prompt[by_gap].argsort(stable=True)]
    prompt, place = prompt[by_prompt], place[by_prompt]
    return PairSet(
        prompt=prompt,
        chosen=order[prompt, better[place]],
        rejected=order[prompt, worse_of[prompt, place]],
        gap=gaps[by_prompt],
        dropped=int((paired & ~kept).sum()),
    )


def _ranks(count: int, mode: str, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Ranks of the better and of the worse response of each pair of a prompt, wide gaps first."""
    if mode == "all":
        pairs = torch.combinations(torch.arange(count, device=device))
        return pairs[:, 0], pairs[:, 1]
    worse = torch.arange(1, max(count, 1), device=device).flip(0)
    if mode == "best_worst":
        worse = worse[:1]
    return torch.zeros_like(worse), worse
