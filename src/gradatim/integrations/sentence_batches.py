"""Curricula for sentence-transformers: batches by difficulty in which no text stands twice."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash
from torch.utils.data import Sampler

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.lazy import require
from gradatim.curriculum.orders import Values, as_values
from gradatim.integrations.trainer_order import TrainerSequence, TrainerSettings
from gradatim.training.curriculum_batches import CurriculumBatches, OrderBy, Progress

Codes = npt.NDArray[np.int64]


def text_codes(data: Any, leave_out: Iterable[str] = ()) -> Codes:
    """One number for each text of each row, equal where texts are equal, in any column.

    The numbers are 63-bit hashes, so that five million pairs take 80 MB.

    Args:
        data: a ``datasets.Dataset``.
        leave_out: columns that are no texts: labels, names of data sets.

    Returns:
        Codes, shape [n, columns].

    Raises:
        InputError: no column is left.

    >>> import datasets
    >>> codes = text_codes(datasets.Dataset.from_dict({"q": ["a", "b"], "a": ["b", "c"]}))
    >>> codes.shape, bool(codes[0, 1] == codes[1, 0]), len(np.unique(codes))
    ((2, 2), True, 3)
    """
    left_out = set(leave_out)
    names = [name for name in data.column_names if name not in left_out]
    if not names:
        raise InputError(f"train_dataset: expected a column of texts, got {data.column_names}")
    codes = np.empty((len(data), len(names)), dtype=np.int64)
    start = 0
    for part in data.select_columns(names).iter(4096):
        for place, name in enumerate(names):
            own = [_hash(value) for value in part[name]]
            codes[start : start + len(own), place] = own
        start += len(own)
    return codes


def without_duplicates(
    rows: Iterable[int], codes: Codes, sizes: Sequence[int]
) -> Iterator[list[int]]:
    """Cut a stream of rows into batches in which no text stands twice.

    A row that shares a text with one already in the batch waits for the next batch that has none
    of its texts, the longest waiting first; the other rows keep their order.

    Args:
        rows: positions of rows, in the order in which they are wanted.
        codes: which texts a row holds (:func:`text_codes`), shape [n, columns].
        sizes: how many rows each batch should have. The last ones have fewer where rows in need
            of a batch without their texts are left; what then fits into none is left out.

    Yields:
        One list of positions for each size.

    >>> codes = np.array([[0], [0], [1], [2]])
    >>> list(without_duplicates([0, 1, 2, 3], codes, [2, 2]))
    [[0, 2], [1, 3]]
    """
    source = iter(rows)
    waiting: deque[int] = deque()
    for size in sizes:
        batch: list[int] = []
        texts: set[int] = set()
        still: list[int] = []
        for row in _first_then(waiting, source):
            own = codes[row].tolist()
            if texts.isdisjoint(own):
                batch.append(row)
                texts.update(own)
            else:
                still.append(row)
            if len(batch) == size:
                break
        # rows that were waiting and not reached stay behind those that were passed over
        waiting.extendleft(reversed(still))
        yield batch


class PairSampler(Sampler[list[int]]):
    """Batches of one epoch for ``SentenceTransformerTrainer``, one after another a process.

    Args:
        sequence: the run's batches over all processes.
        codes: which texts a row holds; None where duplicates do no harm.
        processes: among how many processes Accelerate deals the batches out.

    Attributes:
        batch_size: of one process; None where batches may be smaller and there are several
            processes, which is how Accelerate deals out batches of any size.
    """

    def __init__(self, sequence: TrainerSequence, codes: Codes | None, processes: int) -> None:
        self.sequence, self.codes, self.processes = sequence, codes, processes
        self.size = sequence.settings.batch_size // processes
        self.drop_last = sequence.settings.drop_last
        self.batch_size = self.size if processes == 1 or codes is None else None
        self.current_epoch = 0
        whole, rest = divmod(sequence.examples, sequence.settings.batch_size)
        self.sizes = [self.size] * (whole * processes)
        if rest >= processes:
            self.sizes += [len(part) for part in np.array_split(np.arange(rest), processes)]

    def __len__(self) -> int:
        """Batches in an epoch, over all processes."""
        return len(self.sizes)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that is gone through next, from 0."""
        self.current_epoch = epoch

    def leave_out(self, examples: int) -> None:
        """Begin the next epoch after so many examples.

        Raises:
            InputError: more than none; batches of texts differ in length, and cannot be dispatched.
        """
        if examples:
            raise InputError("dispatch_batches: expected False for batches of texts")

    def __iter__(self) -> Iterator[list[int]]:
        rows = (i for batch in self.sequence.epoch(self.current_epoch) for i in batch.tolist())
        if self.codes is not None:
            yield from without_duplicates(rows, self.codes, self.sizes)
            return
        for size in self.sizes:
            yield [next(rows) for _ in range(size)]


def pair_sampler(
    trainer: Any, sequence: TrainerSequence, dataset: Any, *, no_duplicates: bool | None = None,
    valid_label_columns: Iterable[str] | None = None, **_: Any,
) -> PairSampler:  # fmt: skip
    """The sampler of a sentence-transformers trainer under a curriculum.

    Args:
        trainer: the trainer, whose ``args.batch_sampler`` says whether duplicates do harm.
        sequence: the run's batches.
        dataset: its training data.
        no_duplicates: None for what the trainer's arguments say.
        valid_label_columns: columns that hold labels.

    Raises:
        InputError: a ``batch_sampler`` that puts examples together in a way of its own.
    """
    wanted = getattr(trainer.args.batch_sampler, "value", trainer.args.batch_sampler)
    known = {"batch_sampler": False, "no_duplicates": True, "no_duplicates_hashed": True}
    if wanted not in known:
        raise InputError(
            f"batch_sampler: expected 'batch_sampler' or 'no_duplicates' under a curriculum, got "
            f"{wanted!r}"
        )
    codes = None
    if known[wanted]:
        codes = text_codes(dataset, {"dataset_name", *(valid_label_columns or ())})
    return PairSampler(
        sequence, codes, sequence.settings.batch_size // trainer.args.train_batch_size
    )


def curriculum_batch_sampler(
    difficulty: Values,
    *,
    epochs: float,
    pacing: Progress | None = None,
    weights: Callable[[float], Any] | None = None,
    order: OrderBy | Any | None = None,
    replacement: bool = True,
    accumulate: int = 1,
    no_duplicates: bool = True,
    seed: int | None = None,
) -> "CurriculumBatchSamplerFactory":
    """A ``batch_sampler`` for ``SentenceTransformerTrainingArguments`` that follows difficulty.

    In no batch of a process does a text stand twice, since other rows' texts serve as negatives
    (``MultipleNegativesRankingLoss``). Use
    :func:`~gradatim.integrations.transformers_trainer.attach_curriculum` instead where the trainer
    has evaluation data, or resumes in several processes: the trainer asks the same sampler for its
    evaluation batches, and does not tell it the epoch when it resumes there.

    Args:
        difficulty: one number a row of the training data, in its order, higher = harder, shape [n].
        epochs: the trainer's ``num_train_epochs``, over which progress is counted.
        pacing: progress to the share of the easiest in play; one of pacing, weights and order, as
            for :class:`~gradatim.training.curriculum_batches.CurriculumBatches`.
        weights: progress to weights over difficulty ranks.
        order: a function of difficulty that gives a permutation, or a permutation.
        replacement: False for each row once an epoch under pacing or weights.
        accumulate: the trainer's ``gradient_accumulation_steps``.
        no_duplicates: False where equal texts in a batch do no harm.
        seed: what draws and ties depend on; None for the trainer's seed.

    Raises:
        InputError: when the trainer calls it: another number of rows than difficulties.
        MissingPackageError: sentence-transformers is not installed.
    """
    require("sentence_transformers", extra="retrieval", why="for batches of sentence pairs")
    check_range("epochs", epochs, 0, open_low=True)
    choice = {"pacing": pacing, "weights": weights, "order": order, "replacement": replacement}
    return CurriculumBatchSamplerFactory(
        as_values("difficulty", difficulty), choice, float(epochs), accumulate, no_duplicates, seed
    )


class CurriculumBatchSamplerFactory:
    """What a trainer calls to make its sampler; :func:`curriculum_batch_sampler` makes one.

    A checkpoint's ``training_args.bin`` keeps its name alone: functions cannot be stored there.
    """

    def __init__(
        self,
        difficulty: npt.NDArray[Any],
        choice: dict[str, Any],
        epochs: float,
        accumulate: int,
        no_duplicates: bool,
        seed: int | None,
    ) -> None:
        self.difficulty, self.choice, self.epochs = difficulty, choice, epochs
        self.accumulate, self.no_duplicates, self.seed = accumulate, no_duplicates, seed

    def __call__(
        self, dataset: Any, batch_size: int, drop_last: bool = False,
        valid_label_columns: Iterable[str] | None = None, generator: Any = None, seed: int = 0,
    ) -> PairSampler:  # fmt: skip
        """The sampler of one data set."""
        from accelerate import PartialState

        if len(dataset) != len(self.difficulty):
            raise InputError(
                f"difficulty: expected one number for each of {len(dataset)} rows, got "
                f"{len(self.difficulty)}; for a trainer with evaluation data use attach_curriculum"
            )
        processes = PartialState().num_processes
        settings = TrainerSettings(
            batch_size * processes, self.accumulate, self.epochs, None, drop_last
        )
        once = not self.choice["replacement"] and self.choice["order"] is None
        plan = CurriculumBatches(
            self.difficulty,
            settings.batch_size,
            **self.choice,
            epochs=settings.total_epochs(len(dataset)) if once else None,
            remainder="drop" if drop_last else "keep",
            seed=seed if self.seed is None else self.seed,
        )
        left_out = {"dataset_name", *(valid_label_columns or ())}
        codes = text_codes(dataset, left_out) if self.no_duplicates else None
        return PairSampler(TrainerSequence(plan, settings), codes, processes)

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, ("gradatim curriculum_batch_sampler",)


def _first_then(first: deque[int], source: Iterator[int]) -> Iterator[int]:
    """What waits, taken off from the front, and then new rows."""
    while first:
        yield first.popleft()
    for row in source:  # noqa: UP028 - "yield from" would end the source together with this
        yield row


def _hash(value: Any) -> int:
    """63 bits of a text's content."""
    text = value if isinstance(value, str) else repr(value)
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) >> 1
