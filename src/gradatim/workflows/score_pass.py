"""One pass over all rows, block by block: what each row says by itself."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gradatim.core.content_ids import content_ids
from gradatim.core.errors import InputError
from gradatim.core.io.columns import show
from gradatim.evaluators.answers import AnswerVerifier
from gradatim.language.loading import LanguageModel
from gradatim.workflows.level_column import parse_levels
from gradatim.workflows.score_blocks import BlockStore, TableReader
from gradatim.workflows.score_inputs import Layout, ScoreColumns
from gradatim.workflows.score_keys import RowKeys, prompt_key
from gradatim.workflows.score_language import AttemptSettings, LanguageScorer, sample_attempts
from gradatim.workflows.score_measures import TEXT_MEASURES, of_groups
from gradatim.workflows.score_texts import TextRow, text_rows

Values = NDArray[np.float64]

ROWS, MODEL_ROWS, SAMPLED_ROWS = 8192, 512, 64
"""Rows of a block: where rows are only counted, read by a model, or answered by one."""

ID, PROMPT, CUT, RIGHT, TRIALS = "id", "_prompt", "_cut", "_n_correct", "_n_trials"
_ID_DIGITS = 32

Progress = Callable[[int, int, float], None]
"""Is told how many rows are done, how many there are, and how many seconds the rest will take."""


@dataclass(frozen=True)
class RowPass:
    """What is asked of each row.

    Attributes:
        reader: the data.
        layout: where text stands.
        columns: which columns were named.
        names: the measures; those of other groups than "level", "text", "model" are passed over.
        scorer: the language model's measures; None without.
        sampler: the language model that attempts the questions; None if it does not.
        attempts: how attempts are sampled.
        keys: whether prompts are to be found again by their text.
        rows: of a block.
    """

    reader: TableReader
    layout: Layout
    columns: ScoreColumns
    names: Sequence[str]
    scorer: LanguageScorer | None = None
    sampler: LanguageModel | None = None
    attempts: AttemptSettings = field(default_factory=AttemptSettings)
    keys: bool = False
    rows: int = ROWS

    def run(self, store: BlockStore, total: int, progress: Progress) -> float:
        """Do what is not done, keep it, and return the seconds that it took."""
        began, first = time.perf_counter(), store.done
        with AnswerVerifier() as verifier:
            done = first
            for part in self._parts(first, total):
                store.write(done, self._block(part, done, verifier))
                done += part.num_rows
                spent = time.perf_counter() - began
                progress(done, total, spent / (done - first) * max(0, total - done))
        return time.perf_counter() - began

    def _parts(self, first: int, total: int) -> Any:
        if first >= total:
            return ()
        select = None if self.columns.id is None else self._wanted()
        return self.reader.blocks(self.rows, select=select, skip=first)

    def _wanted(self) -> list[str]:
        named = (self.columns.id, self.columns.level)
        wanted = [one for one in named if one is not None]
        return [*wanted, *(self.layout.columns if self._needs_text else ())]

    @property
    def _needs_text(self) -> bool:
        return bool(of_groups(self.names, "text", "model")) or (
            self.layout.kind != "none" and (self.keys or self.sampler is not None)
        )

    def _block(self, part: pa.Table, start: int, verifier: AnswerVerifier) -> pa.Table:
        def place(row: int) -> str:
            return self.reader.place(start, row)

        found: dict[str, Any] = {ID: self._ids(part, place)}
        if "level" in self.names and self.columns.level is not None:
            found["level"] = parse_levels(part[self.columns.level], self.columns.level, place)
        if self._needs_text:
            rows = list(text_rows(self.layout, part, place))
            found |= self._of_text(rows, place, start, verifier)
        return pa.table(found)

    def _of_text(
        self,
        rows: Sequence[TextRow],
        place: Callable[[int], str],
        start: int,
        verifier: AnswerVerifier,
    ) -> dict[str, Any]:
        found: dict[str, Any] = {
            name: TEXT_MEASURES[name](rows) for name in of_groups(self.names, "text")
        }
        if self.keys:
            found[PROMPT] = pa.array([prompt_key(row.prompt) for row in rows], pa.uint64())
        if self.scorer is not None:
            told = self.scorer(rows, place)
            wanted = (*of_groups(self.names, "model"), CUT)
            found |= {name: told[name] for name in wanted}
        if self.sampler is not None:
            found[RIGHT], found[TRIALS] = sample_attempts(
                self.sampler, rows, verifier, self.attempts, start=start, place=place
            )
        return found

    def _ids(self, part: pa.Table, place: Callable[[int], str]) -> pa.Array:
        name = self.columns.id
        if name is None:
            return pa.array([one[:_ID_DIGITS] for one in content_ids(part)], pa.string())
        values = part[name].to_pylist()
        for row, value in enumerate(values):
            if isinstance(value, bool) or not isinstance(value, int | str):
                raise InputError(
                    f"{place(row)}, column {name!r}: expected an id (integer or text), got "
                    f"{show(value)}"
                )
        return pa.array(values)


def gather(store: BlockStore, source: str, columns: ScoreColumns) -> tuple[pa.Table, RowKeys]:
    """All blocks as one table, and what its rows can be called by.

    Ids of rows with the same content are told apart as by
    :func:`~gradatim.core.content_ids.content_ids`.

    Raises:
        InputError: an id of the user's that stands there twice (the row is named).
    """
    whole = pa.concat_tables(list(store.blocks()), promote_options="permissive")
    ids = whole[ID].to_numpy(zero_copy_only=False)
    if columns.id is None:
        ids = _numbered(ids)
        whole = whole.set_column(0, ID, pa.array(ids, pa.large_string()))
    else:
        _check_different(ids, source, columns.id)
    prompts = None
    if PROMPT in whole.column_names:
        prompts = whole[PROMPT].to_numpy().astype(np.uint64)
        whole = whole.drop_columns([PROMPT])
    return whole, RowKeys(ids, columns.id is not None, prompts)


def _numbered(ids: NDArray[Any]) -> NDArray[Any]:
    import pandas as pd

    series = pd.Series(ids)
    again = series.groupby(series).cumcount().to_numpy()
    found = ids.astype(object)
    for row in np.flatnonzero(again):
        found[row] = f"{ids[row]}-{again[row]}"
    return found


def _check_different(ids: NDArray[Any], source: str, name: str) -> None:
    import pandas as pd

    series = pd.Series(ids)
    twice = np.flatnonzero(series.duplicated().to_numpy())
    if len(twice):
        row = int(twice[0])
        value = series.iloc[row]
        first = int(np.flatnonzero((series == value).to_numpy())[0])
        raise InputError(
            f"{source}, row {row}, column {name!r}: expected different ids, but "
            f"{show(value.item() if hasattr(value, 'item') else value)} stands in row {first} "
            "already"
        )
