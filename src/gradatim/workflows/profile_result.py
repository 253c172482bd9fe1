"""What a profile gives: findings, tables, a row for each example; to save, draw and report."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim.core.side_table import SideTable
from gradatim.metrics.noise_crossing import NoiseCrossing
from gradatim.metrics.supervision_gap import SupervisionGap
from gradatim.workflows.saving import Reportable, check_files

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

REPORT_FILE, FIGURE_FILE, ROWS_FILE = "report.html", "profile.png", "difficulty.parquet"


@dataclass(frozen=True)
class ProfileResult(Reportable):
    """What a profile gives. All accuracies and probabilities are out-of-fold.

    Attributes:
        rows: a row an example, in the order of the table and then of the test file: id (of its
            content), row, part ("table" or "test"), label, predicted, label_probability,
            predicted_probability, rounds_agree, kind (easy, hard, ambiguous, probably mislabelled),
            stratum, difficulty (by the measure that makes the strata), and a column for each
            measure.
        measures: a row a measure: how well it ranks held-out failures (auroc, low, high), whether
            it knows the label, what it cost; best first.
        strata: a row a stratum: rows, cutoffs, accuracy with interval.
        label_errors: the likeliest label errors of the table, likeliest first.
        segments: parts of the table that fail more often than the whole, surest first.
        curve: out-of-fold accuracy against each measure, in tenths.
        matrix: accuracy by training and test stratum; None if no model can be trained.
        noise: accuracy on hard rows after training on hard rows with wrong labels; None likewise.
        gap: the supervision gap recovered; None likewise.
        crossing: at which share of wrong hard labels easy ones are as good; None likewise.
        inverted: why gap and crossing mean nothing here, if they do: the measure picked rows whose
            labels contradict the others, so that training on them teaches the opposite.
        measure: the measure that makes the strata.
        accuracy: share of rows that are predicted as labelled, with its interval (low, high).
        baseline: what the unsupervised prediction is, in words.
        features: what models were given, in words.
        costs: what was to be computed, as told beforehand.
        seconds: how long all took.
        notes: what was out of the ordinary, and how to read what is here.
        source: what was read.
        is_file: whether that is a file, which is never overwritten.
    """

    rows: "pd.DataFrame"
    measures: "pd.DataFrame"
    strata: "pd.DataFrame"
    label_errors: "pd.DataFrame"
    segments: "pd.DataFrame"
    curve: "pd.DataFrame"
    matrix: "pd.DataFrame | None"
    noise: "pd.DataFrame | None"
    gap: SupervisionGap | None
    crossing: NoiseCrossing | None
    inverted: str | None
    measure: str
    accuracy: tuple[float, float, float]
    baseline: str
    features: str
    costs: tuple[str, ...]
    seconds: float
    notes: tuple[str, ...]
    source: str
    is_file: bool = False

    @property
    def kinds(self) -> dict[str, int]:
        """How many rows are easy, hard, ambiguous, probably mislabelled."""
        from gradatim.workflows.profile_evidence import KINDS

        counts = self.rows["kind"].value_counts()
        return {kind: int(counts.get(kind, 0)) for kind in KINDS}

    def figure(self) -> "Figure":
        """Draw the matrix, the curves of noise and of difficulty, and the measures."""
        from gradatim.workflows.profile_figure import draw_profile

        return draw_profile(self)

    def side_table(self) -> SideTable:
        """The rows as a side table keyed by content id, to be joined to the examples."""
        columns = {name: values.to_numpy() for name, values in self.rows.items() if name != "id"}
        return SideTable(self.rows["id"].to_list(), {str(k): v for k, v in columns.items()})

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write ``report.html``, ``profile.png`` and ``difficulty.parquet`` into a folder.

        Args:
            folder: where to; it is made.
            overwrite: whether files of these names that stand there may be replaced.

        Raises:
            InputError: one of them is there and may not be replaced, or is the input.
            StorageError: the folder cannot be written.
        """
        inputs = self._inputs()
        target = check_profile_folder(folder, overwrite=overwrite, inputs=inputs)
        self.side_table().save(target / ROWS_FILE, overwrite=overwrite, inputs=inputs)
        self._save_picture(self.figure(), target / FIGURE_FILE, overwrite=overwrite)
        self.report(target / REPORT_FILE, overwrite=overwrite)
        return target

    def _page(self) -> str:
        from gradatim.workflows.profile_report import render_profile

        return render_profile(self)

    def _inputs(self) -> list[str]:
        return [self.source] if self.is_file else []

    def _overview(self) -> str:
        from gradatim.workflows.profile_report import render_findings

        return render_findings(self)


def check_profile_folder(
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    inputs: Iterable[str | os.PathLike[str]] = (),
) -> Path:
    """Check before long work that :meth:`ProfileResult.save` may write into a folder.

    Raises:
        InputError: one of its files is there and may not be replaced, or is the input.
        StorageError: the folder cannot be written.
    """
    names = (REPORT_FILE, FIGURE_FILE, ROWS_FILE)
    return check_files(folder, names, overwrite=overwrite, inputs=inputs)
