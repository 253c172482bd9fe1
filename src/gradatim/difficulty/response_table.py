"""Who solved what: responses of subjects to items, dense or sparse, grouped for fast sums."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from torch.nn.functional import embedding_bag

from gradatim.core.errors import InputError

_CHUNK = 1 << 22


@dataclass(frozen=True)
class ResponseTable:
    """Responses as three columns of one length; a pair may occur more than once.

    Attributes:
        subjects: position of who responded, int32, shape [N].
        items: position of what was responded to, int32, shape [N].
        correct: whether the response was right, shape [N].
        n_subjects: number of subjects.
        n_items: number of items.

    >>> table = ResponseTable.of([[1, 0, float("nan")], [1, 1, 0]])
    >>> table.subjects.tolist(), table.items.tolist(), table.correct.tolist()
    ([0, 0, 1, 1, 1], [0, 1, 0, 1, 2], [True, False, True, True, False])
    """

    subjects: NDArray[np.int32]
    items: NDArray[np.int32]
    correct: NDArray[np.bool_]
    n_subjects: int
    n_items: int

    @classmethod
    def of(
        cls, responses: Any, *, n_subjects: int | None = None, n_items: int | None = None
    ) -> Self:
        """Read a matrix, or three columns.

        Args:
            responses: a matrix of 0 and 1 with NaN for what is missing, shape [S, I]; a tuple of
                (subjects, items, correct), each of shape [N], positions from 0; or a table.
            n_subjects: S, for columns; by default the largest position and one.
            n_items: I, likewise.

        Raises:
            InputError: a response other than 0 and 1, a position that is negative or too large,
                columns of unequal lengths, another shape, or no response at all.
        """
        if isinstance(responses, cls):
            return responses
        if isinstance(responses, tuple):
            if len(responses) != 3:
                raise InputError(
                    "responses: expected a matrix or (subjects, items, correct), "
                    f"got a tuple of {len(responses)}"
                )
            return cls._of_columns(*responses, n_subjects, n_items)
        return cls._of_matrix(responses)

    @classmethod
    def _of_matrix(cls, matrix: ArrayLike) -> Self:
        values = _as_numbers("responses", matrix)
        if values.ndim != 2:
            raise InputError(
                f"responses: expected a matrix of shape [S, I], got shape {list(values.shape)}"
            )
        given = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
        odd = given & (values != 0) & (values != 1)
        if odd.any():
            row, column = np.argwhere(odd)[0]
            raise InputError(
                f"responses: expected 0, 1 or NaN, got {values[row, column]} at row {row}, "
                f"column {column} ({int(odd.sum())} such)"
            )
        subjects, items = np.nonzero(given)
        return cls._checked(
            subjects.astype(np.int32), items.astype(np.int32), values[given] == 1, *values.shape
        )

    @classmethod
    def _of_columns(
        cls,
        subjects: ArrayLike,
        items: ArrayLike,
        correct: ArrayLike,
        n_subjects: int | None,
        n_items: int | None,
    ) -> Self:
        who, n_who = _positions("subjects", subjects, n_subjects)
        what, n_what = _positions("items", items, n_items)
        outcome = _as_numbers("correct", correct)
        if outcome.ndim != 1 or not len(who) == len(what) == len(outcome):
            raise InputError(
                "responses: expected columns of one length, "
                f"but subjects has {len(who)}, items has {len(what)}, correct has {outcome.shape}"
            )
        for start in range(0, len(outcome), _CHUNK):
            part = outcome[start : start + _CHUNK]
            odd = np.flatnonzero((part != 0) & (part != 1))
            if len(odd):
                raise InputError(
                    f"correct: expected 0 or 1, got {part[odd[0]]} at row {start + odd[0]}"
                )
        return cls._checked(who, what, outcome.astype(bool, copy=False), n_who, n_what)

    @classmethod
    def _checked(
        cls,
        subjects: NDArray[np.int32],
        items: NDArray[np.int32],
        correct: NDArray[np.bool_],
        n_subjects: int,
        n_items: int,
    ) -> Self:
        if not len(subjects):
            raise InputError("responses: expected at least one, got none")
        return cls(subjects, items, correct, n_subjects, n_items)

    def __len__(self) -> int:
        return len(self.subjects)

    def item_counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many responses each item has, and how many of them are right, shape [I] each."""
        answered = np.bincount(self.items, minlength=self.n_items)
        return answered, np.bincount(self.items[self.correct], minlength=self.n_items)

    def subject_counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many responses each subject has given, and how many of them are right."""
        answered = np.bincount(self.subjects, minlength=self.n_subjects)
        return answered, np.bincount(self.subjects[self.correct], minlength=self.n_subjects)

    def matrix(self) -> NDArray[np.float64]:
        """As a matrix with NaN for what is missing, shape [S, I]; of repeats the last counts."""
        matrix = np.full((self.n_subjects, self.n_items), np.nan)
        matrix[self.subjects, self.items] = self.correct
        return matrix

    def rows(self, chosen: NDArray[Any] | slice) -> Self:
        """Some of the responses; subjects and items keep their positions."""
        return type(self)(
            self.subjects[chosen],
            self.items[chosen],
            self.correct[chosen],
            self.n_subjects,
            self.n_items,
        )


@dataclass(frozen=True)
class ResponseBlock:
    """The responses of some consecutive subjects, grouped by subject and by item and outcome.

    Code 2j is a wrong, 2j + 1 a right response to item j.

    Attributes:
        first: position of the first subject.
        codes: of each response, by subject, int32.
        by_subject: where each subject's codes begin, shape [B].
        subjects: of each response, counted from ``first``, by code, int32.
        by_code: where each code's subjects begin, shape [2 I].
    """

    first: int
    codes: torch.Tensor
    by_subject: torch.Tensor
    subjects: torch.Tensor
    by_code: torch.Tensor

    @property
    def chosen(self) -> slice:
        """The positions of the block's subjects."""
        return slice(self.first, self.first + len(self.by_subject))

    def subject_sums(self, table: torch.Tensor) -> torch.Tensor:
        """Sum the rows of a table [2 I, Q] over each subject's responses, shape [B, Q]."""
        return embedding_bag(self.codes, table, self.by_subject, mode="sum")

    def code_sums(self, table: torch.Tensor) -> torch.Tensor:
        """Sum the rows of a table [B, Q] over each code's responses, shape [2 I, Q]."""
        return embedding_bag(self.subjects, table, self.by_code, mode="sum")


def response_blocks(table: ResponseTable, block: int | None = None) -> list[ResponseBlock]:
    """Group responses for sums by subject and by item; time and memory are linear in them.

    Args:
        table: the responses.
        block: responses in a block, about; by default so many that a block's subjects fit into
            a processor's cache, but several for each item.

    Returns:
        Blocks of consecutive subjects; 8 bytes a response in all.
    """
    codes = table.items * np.int32(2) + table.correct
    by_subject, starts = _grouped(table.subjects, codes, table.n_subjects)
    size = max(1 << 20, 8 * table.n_items) if block is None else block
    return list(_cut(by_subject, starts, 2 * table.n_items, size))


def _cut(
    codes: NDArray[np.int32], starts: NDArray[np.int64], n_codes: int, size: int
) -> Iterator[ResponseBlock]:
    first, last = 0, len(starts) - 1
    while first < last:
        end = int(np.searchsorted(starts, starts[first] + size, side="right")) - 1
        end = min(max(end, first + 1), last)
        part = codes[starts[first] : starts[end]]
        local = np.repeat(np.arange(end - first, dtype=np.int32), np.diff(starts[first : end + 1]))
        subjects, by_code = _grouped(part, local, n_codes)
        begins = (starts[first:end] - starts[first]).astype(np.int32)
        yield ResponseBlock(
            first,
            torch.from_numpy(part),
            torch.from_numpy(begins),
            torch.from_numpy(subjects),
            torch.from_numpy(by_code[:-1].astype(np.int32)),
        )
        first = end


def _grouped(
    keys: NDArray[np.int32], values: NDArray[np.int32], n_keys: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Order values by key, stably, in linear time: a matrix of one entry a row, transposed."""
    rows = np.arange(len(keys) + 1, dtype=np.int32 if len(keys) < 2**31 - 1 else np.int64)
    turned = sparse.csr_array((values, keys, rows), shape=(len(keys), n_keys)).tocsc()
    return turned.data, turned.indptr.astype(np.int64)


def _as_numbers(name: str, values: ArrayLike) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind in "biuf":
        return array
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: expected numbers 0 and 1, got {array.dtype} values") from None


def _positions(
    name: str, values: ArrayLike | Sequence[int], count: int | None
) -> tuple[NDArray[np.int32], int]:
    array = np.asarray(values)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise InputError(
            f"{name}: expected integer positions of shape [N], "
            f"got {array.dtype} of shape {list(array.shape)}"
        )
    if not len(array):
        return np.zeros(0, np.int32), count or 0
    low, high = int(array.min()), int(array.max())
    total = high + 1 if count is None else count
    if low < 0 or high >= min(total, 2**30):
        bad = int(np.flatnonzero((array < 0) | (array >= min(total, 2**30)))[0])
        raise InputError(
            f"{name}: expected positions from 0 to {min(total, 2**30) - 1}, "
            f"got {array[bad]} at row {bad}"
        )
    return array.astype(np.int32, copy=False), total
