"""Similarities of many queries with many candidates, one block of queries at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from gradatim.core.checks import check_shape
from gradatim.core.errors import InputError
from gradatim.objectives.contrastive import WeightRule

BLOCK_BYTES = 160e6


class Block(NamedTuple):
    """A block of queries.

    Attributes:
        rows: which queries these are.
        logits: similarities over the temperature, with the logs of weights, and minus infinity for
            what is left out, shape [b, C].
        pairs: which of the positives belong to these queries.
        positives: where these are in the logits: rows and columns.
    """

    rows: slice
    logits: torch.Tensor
    pairs: slice
    positives: tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True)
class SimilarityBlocks:
    """Similarities of queries and candidates by blocks of queries, and what is said of each.

    Attributes:
        positives: (query, candidate) of positives, each query's own among them, ordered by query,
            shape [2, E].
        left_out: of candidates that are neither positives nor used as negatives, shape [2, E].
        size: how many queries there are, B; the first B candidates are their positives.
        temperature: by which queries are divided.
        log_weights: of candidates [C], or the function that gives weights; None for 0.
        rows: queries in a block.
    """

    positives: torch.Tensor
    left_out: torch.Tensor
    size: int
    temperature: float
    log_weights: torch.Tensor | WeightRule | None
    rows: int

    @classmethod
    def of(
        cls,
        candidates: torch.Tensor,
        size: int,
        temperature: float,
        *,
        positive_pairs: torch.Tensor | None = None,
        excluded_pairs: torch.Tensor | None = None,
        weights: torch.Tensor | WeightRule | None = None,
        rows: int | None = None,
    ) -> "SimilarityBlocks":
        """Check what is said of candidates [C, D] and bring it into order.

        Raises:
            InputError: pairs or weights that do not fit.
        """
        count, device = len(candidates), candidates.device
        own = torch.arange(size, device=device) * (count + 1)
        given = _codes("positive_pairs", positive_pairs, size, count, device)
        positives = torch.unique(torch.cat([own, given])) if len(given) else own
        excluded = _codes("excluded_pairs", excluded_pairs, size, count, device)
        excluded = torch.unique(excluded[~torch.isin(excluded, positives)])
        logs = weights
        if isinstance(weights, torch.Tensor):
            check_shape("negative_weights", weights, count)
            logs = weights.detach().to(candidates).log()
        as_many = int(BLOCK_BYTES // (candidates.element_size() * count))
        taken, excluded = (
            torch.stack([codes // count, codes % count]) for codes in (positives, excluded)
        )
        return cls(taken, excluded, size, temperature, logs, rows or max(1, as_many))

    def turned(self) -> "SimilarityBlocks":
        """From the positives of the batch to queries; weights are those of functions alone."""
        logs = None if isinstance(self.log_weights, torch.Tensor) else self.log_weights
        within = (
            pairs[:, pairs[1] < self.size].flip(0) for pairs in (self.positives, self.left_out)
        )
        positives, left_out = (pairs[:, pairs[0].argsort(stable=True)] for pairs in within)
        return replace(self, positives=positives, left_out=left_out, log_weights=logs)

    def within_batch(self) -> "SimilarityBlocks":
        """With the positives of the batch as the only candidates."""
        logs = self.log_weights
        return replace(
            self,
            positives=self.positives[:, self.positives[1] < self.size],
            left_out=self.left_out[:, self.left_out[1] < self.size],
            log_weights=logs[: self.size] if isinstance(logs, torch.Tensor) else logs,
        )

    def has_negatives(self, candidates: int) -> torch.Tensor:
        """Which queries have a negative among so many candidates, booleans, shape [B]."""
        taken = torch.cat([self.positives[0], self.left_out[0]])
        return torch.bincount(taken, minlength=self.size) < candidates

    def blocks(self, queries: torch.Tensor, candidates: torch.Tensor) -> Iterator[Block]:
        """One block of queries after another, in memory that the next one overwrites.

        Args:
            queries: divided by the temperature, shape [B, D].
            candidates: shape [C, D].
        """
        memory = queries.new_empty(min(self.rows, self.size), len(candidates))
        starts = range(0, self.size, self.rows)
        ends = torch.tensor([*starts, self.size], device=queries.device)
        out_at, in_at = (
            torch.searchsorted(pairs[0].contiguous(), ends).tolist()
            for pairs in (self.left_out, self.positives)
        )
        for number, start in enumerate(starts):
            rows = slice(start, min(start + self.rows, self.size))
            logits = memory[: rows.stop - start]
            torch.mm(queries[rows], candidates.T, out=logits)
            pairs = slice(in_at[number], in_at[number + 1])
            query, column = self.positives[:, pairs]
            positives = query - start, column
            query, column = self.left_out[:, out_at[number] : out_at[number + 1]]
            left_out = query - start, column
            if self.log_weights is not None:
                self._weigh(logits, positives, left_out, start)
            logits[left_out] = -torch.inf
            yield Block(rows, logits, pairs, positives)

    def _weigh(self, logits: torch.Tensor, positives: Any, left_out: Any, start: int) -> None:
        """Add the logs of weights, but to positives."""
        kept = logits[positives]
        if isinstance(self.log_weights, torch.Tensor):
            logits += self.log_weights
        elif self.log_weights is not None:
            similarity = logits * self.temperature
            used = torch.ones_like(logits, dtype=torch.bool)
            used[positives] = False
            used[left_out] = False
            diagonal = torch.arange(len(logits), device=logits.device)
            own = similarity[diagonal, start + diagonal]
            weights = self.log_weights(similarity, own, used)
            if weights.shape != logits.shape:
                raise InputError(
                    f"negative_weights: expected shape {list(logits.shape)} from the function, got "
                    f"{list(weights.shape)}"
                )
            logits += weights.to(logits.dtype).log()
        logits[positives] = kept


def _codes(
    name: str, pairs: torch.Tensor | None, size: int, candidates: int, device: torch.device
) -> torch.Tensor:
    """One number for each pair."""
    if pairs is None or pairs.numel() == 0:
        return torch.empty(0, dtype=torch.long, device=device)
    check_shape(name, pairs, "E", 2)
    if pairs.is_floating_point() or pairs.dtype is torch.bool:
        raise InputError(f"{name}: expected integers, got {pairs.dtype}")
    query, column = pairs.to(device, torch.long).T
    for values, limit in ((query, size), (column, candidates)):
        if values.min() < 0 or values.max() >= limit:
            raise InputError(
                f"{name}: expected (query, candidate) below ({size}, {candidates}), got "
                f"{[int(values.min()), int(values.max())]}"
            )
    codes: torch.Tensor = query * candidates + column
    return codes
