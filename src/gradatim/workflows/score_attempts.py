"""Attempts at questions out of tables and logs, whatever wrote them: how many were right."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gradatim.core.errors import InputError
from gradatim.core.io.columns import is_text, show
from gradatim.core.io.json_records import json_records
from gradatim.core.io.table_sources import open_source
from gradatim.core.io.tables import read_table
from gradatim.evaluators.answers import AnswerVerifier, extract_answer
from gradatim.workflows.candidate_logs import log_format, read_candidates

ITEMS = (
    *(
        "item",
        "problem",
        "problem_id",
        "question_id",
        "item_id",
        "example",
        "example_id",
        "task_id",
    ),
    *("doc_id", "custom_id", "id", "index", "row", "question", "prompt"),
)
CORRECT = ("correct", "is_correct", "solved", "passed", "success", "exact_match", "acc", "score")
COUNTS = (
    ("n_correct", "n_trials"),
    ("n_correct", "n_attempts"),
    ("n_correct", "n_samples"),
    ("correct", "attempts"),
    ("correct", "trials"),
)
TEXTS = ("answer", "response", "text", "output", "completion", "prediction")
METRICS = ("exact_match", "acc", "pass@1", "em", "acc_norm")
_BOOLEANS = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}


@dataclass(frozen=True)
class AttemptLog:
    """Attempts at K questions.

    Attributes:
        source: what messages call the file.
        keys: what the questions are called, all different.
        n_correct: right attempts at each, shape [K]; None if answers have to be verified.
        n_trials: all attempts at each, shape [K].
        answers: the final answers to each, if they have to be verified.
        references: the right answer to each, where the log has it.
        notes: what was left out.
    """

    source: str
    keys: list[Any]
    n_correct: NDArray[np.int64] | None
    n_trials: NDArray[np.int64]
    answers: list[list[str | None]] | None = None
    references: list[str | None] | None = None
    notes: tuple[str, ...] = ()

    @property
    def needs_references(self) -> bool:
        """Whether right answers have to come from the data."""
        return self.n_correct is None and (
            self.references is None or any(one is None for one in self.references)
        )

    def verified(
        self, verifier: AnswerVerifier, references: Mapping[int, str] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Right attempts and all attempts at each question, each of shape [K].

        Args:
            verifier: decides which answers are equal.
            references: right answers out of the data, by position of the key. A question that has
                none, here or in the log, counts as not attempted.
        """
        if self.n_correct is not None:
            return self.n_correct, self.n_trials
        assert self.answers is not None
        known = dict(enumerate(self.references or ()))
        right, trials = np.zeros_like(self.n_trials), self.n_trials.copy()
        for place, answers in enumerate(self.answers):
            reference = known.get(place) or (references or {}).get(place)
            if reference is None:
                trials[place] = 0
            else:
                right[place] = int(verifier.matches(reference, answers).sum())
        return right, trials


def read_attempts(source: Any) -> AttemptLog:
    """Read attempts: a table, or the log of a sampler.

    A table has a row an attempt: a column that names the question (one of :data:`ITEMS`) and one
    that says whether the attempt was right (:data:`CORRECT`), or its answer (:data:`TEXTS`); or a
    row a question with counts (:data:`COUNTS`). Logs are those of
    :func:`~gradatim.workflows.candidate_logs.read_candidates`; of lm-evaluation-harness the metric
    in each line counts, with several filters that of the first.

    Args:
        source: the file or table.

    Raises:
        InputError: none of these columns, or a value that says neither right nor wrong (the row
            is named).

    >>> log = read_attempts({"id": ["a", "b", "a"], "correct": [1, 0, 0]})
    >>> log.keys, log.n_correct.tolist(), log.n_trials.tolist()
    (['a', 'b'], [1, 0], [2, 1])
    """
    form = log_format(source)
    if form == "lm-eval":
        return _lm_eval(source)
    if form is not None:
        frame = read_candidates(source, last_number=True)
        reference = frame["reference"].tolist() if "reference" in frame else None
        notes: tuple[str, ...] = ()
        if failed := frame.attrs.get("failed", 0):
            notes = (f"{source}: {failed} requests failed and give no attempt",)
        return _grouped(
            str(source), frame["problem"].tolist(), None, frame["answer"].tolist(), reference, notes
        )
    return _table(source)


def _table(source: Any) -> AttemptLog:
    opened = open_source(source)
    table = read_table(source)
    name, names = opened.name, table.column_names
    item = first_of(ITEMS, names)
    if item is None:
        raise InputError(
            f"{name}: expected a column that names the question ({', '.join(ITEMS)}), got the "
            f"columns {', '.join(names)}"
        )
    keys = key_values(table[item], item, name)
    for right, trials in COUNTS:
        if right in names and trials in names:
            return _counted(name, keys, table, right, trials)
    correct = first_of(CORRECT, names)
    if correct is not None:
        outcome = outcomes(table[correct], correct, name)
        return _grouped(name, keys, outcome, None, None, ())
    text = first_of(TEXTS, [one for one in names if one not in (item, "reference")])
    if text is None:
        raise InputError(
            f"{name}: expected a column that says whether an attempt was right "
            f"({', '.join(CORRECT)}) or one with its answer ({', '.join(TEXTS)}), got the columns "
            f"{', '.join(names)}"
        )
    texts = [None if one is None else str(one) for one in table[text].to_pylist()]
    answers = [_final_answer(one) for one in texts]
    given = (
        [None if one is None else str(one) for one in table["reference"].to_pylist()]
        if ("reference" in names)
        else None
    )
    return _grouped(name, keys, None, answers, given, ())


def _final_answer(text: str | None) -> str | None:
    """The answer in a response; a short text without one is an answer itself."""
    if text is None:
        return None
    found = extract_answer(text, last_number=len(text.split()) > 3)
    return found if found is not None else text.strip() or None


def _counted(name: str, keys: list[Any], table: pa.Table, right: str, trials: str) -> AttemptLog:
    numbers = read_table(table.select([right, trials]), {right: "integer", trials: "integer"})
    n_correct, n_trials = (numbers[one].to_numpy().astype(np.int64) for one in (right, trials))
    bad = np.flatnonzero((n_correct < 0) | (n_trials < n_correct) | (n_trials < 1))
    if len(bad):
        row = int(bad[0])
        raise InputError(
            f"{name}, row {row}: expected at least 1 attempt and no more right ones than there "
            f"are, got {n_correct[row]} of {n_trials[row]}"
        )
    import pandas as pd

    code, found = pd.factorize(np.array(keys, dtype=object))
    size = len(found)
    return AttemptLog(
        name,
        list(found),
        np.bincount(code, n_correct, size).astype(np.int64),
        np.bincount(code, n_trials, size).astype(np.int64),
    )


def _grouped(
    name: str,
    keys: Sequence[Any],
    outcome: NDArray[np.float64] | None,
    answers: Sequence[str | None] | None,
    references: Sequence[str | None] | None,
    notes: tuple[str, ...],
) -> AttemptLog:
    """One row an attempt as one entry a question."""
    import pandas as pd

    code, found = pd.factorize(np.array(list(keys), dtype=object))
    size = len(found)
    trials = np.bincount(code, minlength=size).astype(np.int64)
    right = None
    if outcome is not None:
        right = np.bincount(code, weights=outcome, minlength=size).astype(np.int64)
    grouped: list[list[str | None]] | None = None
    if answers is not None:
        grouped = [[] for _ in range(size)]
        for place, answer in zip(code, answers, strict=True):
            grouped[place].append(answer)
    gold: list[str | None] | None = None
    if references is not None:
        gold = [None] * size
        for place, reference in zip(code, references, strict=True):
            gold[place] = gold[place] or reference
    return AttemptLog(name, list(found), right, trials, grouped, gold, notes)


def _lm_eval(source: Any) -> AttemptLog:
    """The samples of lm-evaluation-harness: a line a question and filter."""
    keys: list[Any] = []
    outcome: list[float | None] = []
    answers: list[str | None] = []
    references: list[str | None] = []
    chosen: Any = None
    others: set[str] = set()
    for number, (place, record) in enumerate(json_records(source)):
        own = record.get("filter")
        chosen = own if not number else chosen
        if own != chosen:
            others.add(str(own))
            continue
        key = record.get("doc_id", record.get("doc_hash"))
        if key is None:
            raise InputError(f"{place}: expected doc_id to name the question")
        target = str(record["target"]) if "target" in record else None
        for right, answer in _samples(record, place):
            keys.append(key)
            outcome.append(right)
            answers.append(answer)
            references.append(target and (extract_answer(target) or target))
    told = (
        f"{source}: of several filters that of {chosen!r} counts, not {', '.join(sorted(others))}"
    )
    notes = (told,) if others else ()
    if all(one is not None for one in outcome):
        return _grouped(str(source), keys, np.array(outcome, float), None, None, notes)
    return _grouped(str(source), keys, None, answers, references, notes)


def _samples(record: Mapping[str, Any], place: str) -> Iterator[tuple[float | None, str | None]]:
    """The attempts of a line: whether each is right if that is known, else its answer."""
    texts = [
        text
        for part in record.get("resps") or ()
        for text in (part if isinstance(part, list) else [part])
        if isinstance(text, str)
    ]
    metric = next((name for name in METRICS if name in record), None)
    if metric is not None and len(texts) <= 1:
        value = record[metric]
        known = _BOOLEANS.get(str(value).lower())
        if known is None:
            raise InputError(
                f"{place}, {metric!r}: expected 0 or 1 for each question, got {show(value)}"
            )
        yield known, None
        return
    if not texts:
        raise InputError(
            f"{place}: expected a metric ({', '.join(METRICS)}) or responses as text, got neither"
        )
    for text in texts:
        yield None, extract_answer(text, last_number=True)


def first_of(wanted: Sequence[str], names: Sequence[str]) -> str | None:
    """The first of some names that is there, in any case of letters.

    >>> first_of(("id", "item"), ["Item", "correct"])
    'Item'
    """
    there = {name.lower(): name for name in reversed(names)}
    return next((there[name] for name in wanted if name in there), None)


def key_values(column: pa.ChunkedArray, name: str, source: str) -> list[Any]:
    """Keys as they stand in a column.

    Raises:
        InputError: a missing one (its row is named).
    """
    values: list[Any] = column.to_pylist()
    for row, value in enumerate(values):
        if value is None or isinstance(value, list | dict):
            raise InputError(
                f"{source}, row {row}, column {name!r}: expected a name or number, got "
                f"{show(value)}"
            )
    return values


def outcomes(
    column: pa.ChunkedArray, name: str, source: str, *, draws: bool = False
) -> NDArray[np.float64]:
    """True and false, 1 and 0, or these as text, as numbers.

    Args:
        column: the values.
        name: of the column.
        source: of the file.
        draws: whether one half is allowed.

    Raises:
        InputError: something else (its row is named).

    >>> outcomes(pa.chunked_array([[True, False]]), "correct", "log").tolist()
    [1.0, 0.0]
    """
    allowed = {**_BOOLEANS, **({"0.5": 0.5} if draws else {})}
    if not is_text(column.type) and not column.null_count:
        try:
            numbers = column.cast(pa.float64()).to_numpy()
        except pa.ArrowException:
            numbers = column.cast(pa.int8()).cast(pa.float64()).to_numpy()
        if np.isin(numbers, list(allowed.values())).all():
            return np.asarray(numbers, dtype=np.float64)
    values = column.to_pylist()
    found = [allowed.get(str(value).strip().lower()) for value in values]
    for row, (value, given) in enumerate(zip(found, values, strict=True)):
        if value is None:
            expected = "1, 0 or 0.5" if draws else "true or false (or 1 or 0)"
            raise InputError(
                f"{source}, row {row}, column {name!r}: expected {expected}, got {show(given)}"
            )
    return np.array(found, dtype=np.float64)
