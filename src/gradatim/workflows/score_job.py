"""One job of scoring, from what was asked to the result."""

import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from gradatim.core.cache import model_hash
from gradatim.core.errors import InputError
from gradatim.core.io.columns import count
from gradatim.difficulty.comparison_graph import DisconnectedWarning, ExtremeItemWarning
from gradatim.workflows.score_blocks import BlockStore, TableReader, blocks_folder
from gradatim.workflows.score_classes import ClassScorer
from gradatim.workflows.score_compare import agreement, foretelling, some_points
from gradatim.workflows.score_costs import costs_in_words
from gradatim.workflows.score_evidence import (
    Evidence,
    HeldOut,
    attempts_evidence,
    games_evidence,
    log_evidence,
    responses_evidence,
)
from gradatim.workflows.score_inputs import find_layout
from gradatim.workflows.score_keys import RowKeys
from gradatim.workflows.score_language import LanguageScorer
from gradatim.workflows.score_measures import MEASURES, of_groups, spread_name
from gradatim.workflows.score_pass import (
    CUT,
    ID,
    MODEL_ROWS,
    RIGHT,
    ROWS,
    SAMPLED_ROWS,
    TRIALS,
    RowPass,
    gather,
)
from gradatim.workflows.score_request import ScoreRequest, choose_measures
from gradatim.workflows.score_result import ScoreResult, check_output
from gradatim.workflows.score_summary import decile_table, summary_table
from gradatim.workflows.score_survey import survey_rows

if TYPE_CHECKING:
    from gradatim.language.loading import LanguageModel

Values = NDArray[np.float64]
Columns = dict[str, Values]

NOTED = (ExtremeItemWarning, DisconnectedWarning, ConvergenceWarning)
"""Warnings that also stand among the notes of a result."""


class ScoreJob:
    """Works a request off; everything is checked when it is made, before anything costs.

    Args:
        request: what is asked for.

    Raises:
        InputError: as :func:`gradatim.workflows.score.score`.
    """

    def __init__(self, request: ScoreRequest) -> None:
        self.began = time.perf_counter()
        self.request, sources = request, request.sources
        self.reader = TableReader(sources.data)
        self.layout = find_layout(self.reader.head, sources.columns, self.reader.name)
        self.names, self.notes = choose_measures(request, self.reader, self.layout)
        self.samples = "fail_rate" in self.names and sources.attempts is None
        self.table_file = None
        if request.out is not None:
            self.table_file = check_output(
                request.out, overwrite=request.overwrite, inputs=sources.files
            )
        text = bool(of_groups(self.names, "text", "model")) or self.samples
        self.survey = survey_rows(self.reader, self.layout, sources.columns, text=text)
        self.classes = self._class_scorer()
        self.loaded = self._load_model()
        self.scorer: LanguageScorer | None = None
        if self.loaded is not None and of_groups(self.names, "model"):
            self.scorer = LanguageScorer(self.loaded, batch_tokens=request.batch_tokens)
        self.seconds: dict[str, float] = {}
        self.held_out: HeldOut | None = None

    def run(self) -> ScoreResult:
        """Tell the costs, do what is not done yet, and put the result together."""
        costs = costs_in_words(
            self.names, self.request, self.reader, self.survey, self.scorer, self.classes
        )
        for line in costs:
            self.request.tell(line)
        store = self._store()
        if done := store.done:
            self.request.tell(f"{done:,} of {self.survey.rows:,} rows are done already")
        whole, keys = self._rows(store)
        columns = {**self._row_columns(whole), **self._class_columns(store)}
        columns |= self._evidence_columns(whole, keys)
        result = self._result(keys, columns, costs)
        if self.request.out is not None:
            result.save(self.request.out, overwrite=self.request.overwrite)
        store.remove()
        return result

    def _class_scorer(self) -> ClassScorer | None:
        wanted = of_groups(self.names, "classes", "dynamics")
        if not wanted:
            return None
        sources = self.request.sources
        try:
            return ClassScorer(sources.data, sources.columns, self.request.classes)
        except InputError as error:
            if not self.request.auto or len(wanted) == len(self.names):
                raise
            self.names = [name for name in self.names if name not in wanted]
            self.notes.append(f"no models of classes are trained: {error}")
            return None

    def _load_model(self) -> "LanguageModel | None":
        from gradatim.language.loading import LanguageModel, load_language_model

        model = self.request.model
        if model is None or not (of_groups(self.names, "model") or self.samples):
            return None
        if isinstance(model, LanguageModel):
            return model
        return load_language_model(
            model, device=self.request.device, allow_download=self.request.allow_download
        )

    def _store(self) -> BlockStore:
        if self.table_file is None:
            return BlockStore(None, {})
        request, sources = self.request, self.request.sources
        plan = {
            "data": self.reader.fingerprint(),
            "measures": self.names,
            "columns": vars(sources.columns),
            "layout": self.layout.describe(),
            "model": None if self.loaded is None else model_hash(self.loaded.model.inner),
            "attempts": vars(request.attempts) if self.samples else None,
            "keys": self._keys,
            "estimator": repr(request.classes.estimator),
            "encoder": str(request.classes.encoder),
            "folds": request.classes.folds,
            "rows of a block": self._block_rows,
            "seed": request.seed,
        }
        return BlockStore(blocks_folder(self.table_file), plan, overwrite=request.overwrite)

    @property
    def _keys(self) -> bool:
        """Whether rows may have to be found by their prompts."""
        sources = self.request.sources
        given = (sources.attempts, sources.responses, sources.games)
        return self.layout.kind != "none" and any(one is not None for one in given)

    @property
    def _block_rows(self) -> int:
        if self.request.block_rows is not None:
            return self.request.block_rows
        if self.samples:
            return SAMPLED_ROWS
        return ROWS if self.scorer is None else MODEL_ROWS

    def _rows(self, store: BlockStore) -> tuple[pa.Table, RowKeys]:
        row_pass = RowPass(
            self.reader,
            self.layout,
            self.request.sources.columns,
            self.names,
            scorer=self.scorer,
            sampler=self.loaded if self.samples else None,
            attempts=self.request.attempts,
            keys=self._keys,
            rows=self._block_rows,
        )
        seconds = row_pass.run(store, self.survey.rows, self.request.progress)
        self.seconds |= dict.fromkeys(("level", "text", "model"), seconds)
        if self.samples:
            self.seconds["attempts"] = seconds
        return gather(store, self.reader.name, self.request.sources.columns)

    def _row_columns(self, whole: pa.Table) -> Columns:
        names = of_groups(self.names, "level", "text", "model")
        if CUT in whole.column_names and (cut := int(whole[CUT].to_numpy().sum())):
            self.notes.append(
                f"{count(cut, 'row')} were longer than the model's context: the front of the "
                "prompt was left out, or the end of the completion"
            )
        columns = {name: whole[name].to_numpy().astype(np.float64) for name in names}
        for name in of_groups(names, "model")[:1]:
            if unread := int(np.isnan(columns[name]).sum()):
                self.notes.append(
                    f"{count(unread, 'row')} consist of a single token, which nothing predicts"
                )
        return columns

    def _class_columns(self, store: BlockStore) -> Columns:
        if self.classes is None:
            return {}
        began = time.perf_counter()
        kept = store.stage("classes")
        if kept is None:
            kept = pa.table(self.classes(of_groups(self.names, "classes", "dynamics")))
            store.write_stage("classes", kept)
        spent = time.perf_counter() - began
        self.seconds |= dict.fromkeys(("classes", "dynamics"), spent)
        self.notes += self.classes.notes
        return {name: kept[name].to_numpy() for name in kept.column_names}

    def _evidence_columns(self, whole: pa.Table, keys: RowKeys) -> Columns:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            evidence = [self._attempts(whole, keys), self._ratings(keys)]
        found: Columns = {}
        for one in evidence:
            if one is not None:
                found |= one.columns
                self.notes += one.notes
                self.held_out = self.held_out or one.held_out
        for warned in caught:
            if issubclass(warned.category, NOTED):
                self.notes.append(str(warned.message))
            warnings.warn(warned.message, warned.category, stacklevel=4)
        return found

    def _attempts(self, whole: pa.Table, keys: RowKeys) -> Evidence | None:
        request = self.request
        if "fail_rate" not in self.names:
            return None
        if self.samples:
            right, trials = (whole[one].to_numpy().astype(float) for one in (RIGHT, TRIALS))
            assert self.loaded is not None
            told = f"attempts of {self.loaded.name}"
            return attempts_evidence(right, trials, keys.ids, told, request.seed)
        began = time.perf_counter()
        assert request.sources.attempts is not None
        found = log_evidence(request.sources.attempts, keys, self.reader, self.layout, request.seed)
        self.seconds["attempts"] = time.perf_counter() - began
        return found

    def _ratings(self, keys: RowKeys) -> Evidence | None:
        request, sources = self.request, self.request.sources
        names = of_groups(self.names, "responses", "games")
        if not names:
            return None
        began = time.perf_counter()
        if sources.responses is not None:
            found = responses_evidence(
                sources.responses, names, keys, request.seed, hold_out=request.compare
            )
        else:
            assert sources.games is not None
            found = games_evidence(sources.games, names, keys)
        spent = time.perf_counter() - began
        self.seconds |= dict.fromkeys(("responses", "games"), spent)
        return found

    def _result(self, keys: RowKeys, columns: Columns, costs: list[str]) -> ScoreResult:
        request = self.request
        values = self._telling({name: columns[name] for name in self.names})
        main = request.main(list(values))
        if missing := int(np.isnan(values[main]).sum()):
            self.notes.append(
                f"difficulty is that of {main}, which {count(missing, 'row')} do not have"
            )
        table: dict[str, Any] = {ID: keys.ids, "difficulty": values[main]}
        for name in values:
            for column in (name, spread_name(name)):
                if column in columns:
                    table[column] = columns[column]
        held_out = self._held_out() if request.compare else None
        shown = request.sources.columns.inputs or ()
        return ScoreResult(
            table=pa.table(table),
            measure=main,
            measures=summary_table(values, self.seconds),
            deciles=decile_table(values, self.reader, self.layout, shown),
            agreement=agreement(values, request.seed) if request.compare else None,
            foretelling=foretelling(values, held_out) if held_out else None,
            points=some_points(values, _drawn(values, main), request.seed)
            if request.compare
            else None,
            failures=held_out.told if held_out else None,
            costs=tuple(costs),
            seconds=time.perf_counter() - self.began,
            notes=tuple(self.notes),
            layout=self.layout.describe(),
            source=self.reader.name,
            inputs=request.sources.files,
        )

    def _telling(self, values: Columns) -> Columns:
        """With "auto", without measures that say the same of all rows, unless all do."""
        constant = [name for name, array in values.items() if _is_constant(array)]
        if not self.request.auto or not constant or len(constant) == len(values):
            return values
        self.notes.append(f"left out, since they say the same of all rows: {', '.join(constant)}")
        return {name: array for name, array in values.items() if name not in constant}

    def _held_out(self) -> HeldOut | None:
        if self.held_out is not None or self.classes is None:
            return self.held_out
        failed = self.classes.failures().astype(np.float64)
        return HeldOut(failed, "labels that models of other folds do not predict")


def _is_constant(values: Values) -> bool:
    there = values[np.isfinite(values)]
    return not len(there) or bool(there.min() == there.max())


def _drawn(values: Columns, main: str) -> list[str]:
    """The measures to draw against one another: the main one, one of each group, the rest."""
    chosen = {MEASURES[main].group: main}
    varied = [name for name, array in values.items() if not _is_constant(array)]
    for name in varied:
        chosen.setdefault(MEASURES[name].group, name)
    return [*chosen.values(), *(name for name in varied if name not in chosen.values())]
