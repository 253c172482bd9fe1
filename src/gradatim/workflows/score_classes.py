"""Measures of labelled tables: out-of-fold, ensembles, description length, training dynamics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from gradatim.core.errors import MissingPackageError
from gradatim.core.io.columns import is_number, is_text
from gradatim.core.io.tables import read_table
from gradatim.core.seeds import derive_seed, numpy_generator
from gradatim.difficulty.ensemble import ensemble_difficulty, ensemble_error
from gradatim.workflows.profile_features import Features, build_features, check_features
from gradatim.workflows.profile_folds import CrossFit
from gradatim.workflows.profile_inputs import ProfileColumns, ProfileTable, load_table
from gradatim.workflows.profile_learners import Learner, Rows
from gradatim.workflows.profile_measures import compute_measures, measure_costs
from gradatim.workflows.score_inputs import ScoreColumns
from gradatim.workflows.score_measures import of_groups, spread_name

Values = NDArray[np.float64]

EPOCHS, EARLY, RUNS = 10, 3, 3
"""Of the short fits: epochs, epochs that count for EL2N, and runs from other beginnings."""

HIDDEN, BATCH, RATE = 64, 64, 3e-3

MOST_ROWS = 5000
"""Rows that the slower members of the ensemble are trained on."""

_LATENT = 128
_PROFILE_NAMES = {
    "oof_confidence": "confidence",
    "oof_margin": "margin",
    "oof_entropy": "entropy",
    "disagreement": "disagreement",
    "mdl": "mdl",
}


@dataclass(frozen=True)
class ClassSettings:
    """How models of labelled tables are trained.

    Attributes:
        estimator: a scikit-learn classifier instead of the linear probe.
        encoder: what encodes text columns.
        folds: of the out-of-fold predictions.
        seed: what folds, resamples and beginnings depend on.
    """

    estimator: Any = None
    encoder: str | Path | None = "minilm"
    folds: int = 5
    seed: int = 0


class ClassScorer:
    """Scores the rows of one labelled table; what several measures need is computed once.

    Args:
        source: the table.
        columns: which columns hold what.
        how: how models are trained.

    Attributes:
        notes: what was left out or is out of the ordinary.

    Raises:
        InputError: as :func:`~gradatim.workflows.profile_inputs.load_table`.
    """

    def __init__(self, source: Any, columns: ScoreColumns, how: ClassSettings) -> None:
        assert columns.label is not None
        wanted = ProfileColumns(columns.label, _inputs(source, columns), columns.options)
        self.table: ProfileTable = load_table(source, wanted)
        self.how = how
        self.encoder = _encoder(self.table, how)
        self.notes = list(self.table.notes)
        if self.encoder != how.encoder:
            self.notes.append(
                f"text is read by tf-idf: the encoder {how.encoder} is not installed here"
            )
        self._features: Features | None = None
        self._learner: Learner | None = None
        self._fits: dict[int, CrossFit] = {}

    def costs(self, names: Sequence[str]) -> list[str]:
        """What is going to be trained, in words."""
        table, folds = self.table, self.how.folds
        rows = len(table) * (folds - 1) // folds
        what = "linear probe" if self.how.estimator is None else type(self.how.estimator).__name__
        lines = []
        own = [name for name in names if name in _PROFILE_NAMES]
        if own:
            shared = [name for name in own if name.startswith("oof")]
            told = ", ".join(shared) if shared else "out-of-fold predictions"
            lines.append(f"{told}: {folds} fits of {rows:,} rows ({what})")
            asked = [_PROFILE_NAMES[name] for name in own if name not in shared]
            lines += [f"{one.name}: {one.cost}" for one in measure_costs(asked, table, folds)]
        if "ensemble" in names:
            kinds = ", ".join(_member_names(table))
            most = min(rows, MOST_ROWS)
            lines.append(f"ensemble: {folds} fits of at most {most:,} rows of each of {kinds}")
        if dynamics := of_groups(names, "dynamics"):
            lines.append(
                f"{', '.join(dynamics)}: {RUNS} short fits of {EPOCHS} epochs over "
                f"{len(table):,} rows (a network of {HIDDEN} hidden units)"
            )
        return lines

    def __call__(self, names: Sequence[str]) -> dict[str, Values]:
        """Columns of some measures of the groups "classes" and "dynamics", each of shape [N]."""
        found: dict[str, Values] = {}
        own = {name: _PROFILE_NAMES[name] for name in names if name in _PROFILE_NAMES}
        if own:
            values, _ = compute_measures(
                list(own.values()), self.table, self._fit(0), self.how.seed
            )
            found |= {name: values[inner] for name, inner in own.items()}
        if "ensemble" in names:
            p = torch.from_numpy(self._members())
            found["ensemble"] = ensemble_difficulty(p).numpy()
            found[spread_name("ensemble")] = ensemble_error(p).numpy()
        if dynamics := of_groups(names, "dynamics"):
            runs = self._dynamics()
            for name in dynamics:
                found[name] = np.mean([run[name] for run in runs], axis=0)
                found[spread_name(name)] = np.std([run[name] for run in runs], axis=0, ddof=1)
        return found

    def failures(self) -> NDArray[np.bool_]:
        """Which rows models of other folds than the measures' get wrong, shape [N]."""
        return ~self._fit(1).correct

    def _fit(self, number: int) -> CrossFit:
        if number not in self._fits:
            learner = self._chosen_learner()
            self._fits[number] = CrossFit(
                self.table, learner, self.how.folds, self.how.seed + number
            )
        return self._fits[number]

    def _made(self) -> Features:
        if self._features is None:
            raw = self.how.estimator is not None
            self._features = build_features(self.table, self.encoder, raw=raw)
        return self._features

    def _chosen_learner(self) -> Learner:
        if self._learner is None:
            self._learner = Learner(self.table, self._made(), self.how.estimator)
            self._learner.choose(np.arange(len(self.table)), self.how.seed)
        return self._learner

    def _members(self) -> Values:
        """What each kind of model gives the label out-of-fold, shape [M, N]."""
        rows = np.arange(len(self.table))
        found = [self._fit(0).probabilities[rows, self.table.labels]]
        features = self._plain_features()
        if self.table.options is not None:
            return np.stack(found)
        for make in _members(self.table).values():
            learner = _SmallLearner(self.table, features, make(self.how.seed))
            fitted = CrossFit(self.table, learner, self.how.folds, self.how.seed)
            found.append(fitted.probabilities[rows, self.table.labels])
        return np.stack(found)

    def _plain_features(self) -> Features:
        """Features as numbers, also where the estimator wants the columns as they are."""
        made = self._made()
        if hasattr(made.matrix, "iloc"):
            return build_features(self.table, self.encoder or "tfidf", raw=False)
        return made

    def _dynamics(self) -> list[dict[str, Values]]:
        inputs = _dense(self._plain_features().matrix, self.how.seed)
        labels = torch.from_numpy(self.table.labels)
        classes = int(self.table.choices.max())
        return [
            short_fit(inputs, labels, classes, derive_seed(self.how.seed, "dynamics", run))
            for run in range(RUNS)
        ]


class _SmallLearner(Learner):
    """Trains on at most 5,000 rows: the slower kinds of models grow faster than the data."""

    def __call__(self, rows: Rows, labels: Rows, queries: Rows) -> Values:
        if len(rows) > MOST_ROWS:
            some = numpy_generator(len(rows), "ensemble").permutation(len(rows))[:MOST_ROWS]
            rows, labels = rows[some], labels[some]
        return super().__call__(rows, labels, queries)


def short_fit(
    inputs: torch.Tensor, labels: torch.Tensor, classes: int, seed: int
) -> dict[str, Values]:
    """Train a small network for a few epochs and record how each example is learned.

    Args:
        inputs: features, shape [N, D].
        labels: integers from 0, shape [N].
        classes: C.
        seed: what the weights and the order depend on.

    Returns:
        As :meth:`~gradatim.training.dynamics.DynamicsRecorder.difficulty`.
    """
    from gradatim.core.examples import TensorExamples
    from gradatim.training import Loss, fit
    from gradatim.training.dynamics import DynamicsRecorder

    dynamics = DynamicsRecorder(len(inputs), early=EARLY)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = torch.nn.Sequential(
            torch.nn.Linear(inputs.shape[1], HIDDEN),
            torch.nn.ReLU(),
            torch.nn.Linear(HIDDEN, classes),
        )

        def step(model: Any, batch: dict[str, Any], state: Any) -> Loss:
            logits = model(batch["x"])
            dynamics.record(state, logits, batch["y"])
            losses = torch.nn.functional.cross_entropy(logits, batch["y"], reduction="none")
            return Loss.of(losses)

        fit(
            model,
            TensorExamples(x=inputs, y=labels),
            step,
            optimizer=torch.optim.AdamW(model.parameters(), lr=RATE),
            epochs=EPOCHS,
            batch_size=BATCH,
            callbacks=[dynamics],
            seed=seed,
            progress_bar=False,
        )
    found = dynamics.difficulty()
    return {name: values.double().cpu().numpy() for name, values in found.items()}


def _dense(matrix: Any, seed: int) -> torch.Tensor:
    """Features as standardized numbers, shape [N, D]; sparse ones by their latent dimensions."""
    if hasattr(matrix, "tocsr"):
        from sklearn.decomposition import TruncatedSVD

        size = max(1, min(_LATENT, matrix.shape[1] - 1))
        matrix = TruncatedSVD(size, random_state=seed).fit_transform(matrix)
    array = np.asarray(matrix, dtype=np.float32).reshape(len(matrix), -1)
    spread = array.std(axis=0)
    centred = (array - array.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return torch.from_numpy(np.ascontiguousarray(centred, dtype=np.float32))


def _members(table: ProfileTable) -> dict[str, Callable[[int], Any]]:
    """Kinds of models that an ensemble has beside the probe."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.neighbors import KNeighborsClassifier

    neighbours = min(15, max(1, len(table) // 4))
    return {
        "random forest": lambda seed: RandomForestClassifier(
            100, min_samples_leaf=2, random_state=seed
        ),
        "nearest neighbours": lambda seed: KNeighborsClassifier(neighbours, weights="distance"),
    }


def _member_names(table: ProfileTable) -> list[str]:
    first = ["linear probe"]
    return first if table.options is not None else [*first, *_members(table)]


def _encoder(table: ProfileTable, how: ClassSettings) -> str | Path | None:
    """The encoder that was asked for, or tf-idf where the usual one is not installed."""
    try:
        check_features(table, how.encoder, raw=how.estimator is not None)
    except MissingPackageError:
        if how.encoder != "minilm":
            raise
        return "tfidf"
    return how.encoder


def _inputs(source: Any, columns: ScoreColumns) -> tuple[str, ...] | None:
    """The inputs that were named; with a level or ids in the table, all that are left and vary."""
    hidden = {columns.level, columns.id} - {None}
    if columns.inputs is not None or not hidden:
        return columns.inputs
    table = read_table(source)
    return tuple(
        name
        for name in table.column_names
        if name not in columns.special
        and (is_number(kind := table[name].type) or is_text(kind) or pa.types.is_boolean(kind))
        and len(table[name].unique()) > 1
    )
