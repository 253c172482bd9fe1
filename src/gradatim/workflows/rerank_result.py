"""What re-ranking gives: chosen answers, accuracies, curves, counts; to save, draw and report."""

import dataclasses
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.core.files import atomic_write
from gradatim.core.io.tables import write_table
from gradatim.workflows.saving import Reportable, check_files

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FILES = {
    "choices": "choices.parquet",
    "accuracy": "accuracy.csv",
    "pass_at_k": "pass_at_k.csv",
    "curve": "curve.csv",
    "unparsable": "unparsable.csv",
}
COUNTS_FILE, REPORT_FILE = "counts.json", "report.html"


@dataclass(frozen=True)
class RerankCounts:
    """What was there, and what was out of the ordinary.

    Attributes:
        problems: problems.
        candidates: candidates, those without a readable answer among them.
        fewest_candidates: candidates of the problem with the fewest.
        most_candidates: candidates of the problem with the most.
        one_candidate: problems with one candidate only.
        unparsable: candidates whose answer could not be read.
        no_parsable: problems without any readable answer; every rule gives None for them.
        no_correct: problems without a right candidate, or None if that is not known.
        judged_both_ways: answers that are right in one row and wrong in another, or None.
        undecided: comparisons of two answers that took too long and counted as unequal.
        failed_requests: lines of a log without any candidate.
    """

    problems: int
    candidates: int
    fewest_candidates: int
    most_candidates: int
    one_candidate: int
    unparsable: int
    no_parsable: int
    no_correct: int | None
    judged_both_ways: int | None
    undecided: int
    failed_requests: int

    def lines(self) -> list[tuple[str, str]]:
        """The counts in words, those that are zero or not known left out."""
        words = {
            "one_candidate": "problems with one candidate",
            "no_correct": "problems without a right candidate",
            "unparsable": "candidates without a readable answer",
            "no_parsable": "problems without a readable answer",
            "judged_both_ways": "answers judged both right and wrong",
            "undecided": "comparisons that took too long",
            "failed_requests": "failed requests",
        }
        span = f"{self.fewest_candidates:,}"
        if self.fewest_candidates != self.most_candidates:
            span = f"{span} to {self.most_candidates:,}"
        told = [
            ("problems", f"{self.problems:,}"),
            ("candidates", f"{self.candidates:,} ({span} a problem)"),
        ]
        return told + [
            (text, f"{getattr(self, name):,}")
            for name, text in words.items()
            if getattr(self, name)
        ]


@dataclass(frozen=True)
class RerankResult(Reportable):
    """What re-ranking gives.

    Attributes:
        choices: a row a problem: problem, level (if known), candidates, and for each rule the
            chosen answer, the row of the input in which it stands (``majority_row``; -1 for none)
            and, if known, whether it is right (``majority_correct``).
        accuracy: a row a level and rule, with 95% intervals and paired differences to the majority;
            None if correctness is not known, as are ``pass_at_k`` and ``curve``.
        pass_at_k: a row a level and k.
        curve: a row a level, rule and number of candidates n.
        counts: what was there, and what was out of the ordinary.
        notes: what a reader of the numbers should know.
        unparsable: the candidates whose answer could not be read: problem, row, what stood there.
        source: what was read.
        is_file: whether that is a file, which is never overwritten.
    """

    choices: "pd.DataFrame"
    accuracy: "pd.DataFrame | None"
    pass_at_k: "pd.DataFrame | None"
    curve: "pd.DataFrame | None"
    counts: RerankCounts
    notes: tuple[str, ...]
    unparsable: "pd.DataFrame"
    source: str
    is_file: bool = False

    def figure(self) -> "Figure":
        """Draw accuracy over the number of candidates, a panel a level.

        Raises:
            InputError: correctness is not known.
        """
        from gradatim.workflows.rerank_figure import draw_curves

        return draw_curves(self.curve)

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the tables (Parquet, CSV), the counts (JSON) and the report (HTML) into a folder.

        Args:
            folder: where to; it is made.
            overwrite: whether files of these names that stand there may be replaced.

        Raises:
            InputError: one of them is there and may not be replaced, or is the input.
            StorageError: the folder cannot be written.
        """
        target = check_save(folder, overwrite=overwrite, inputs=self._inputs())
        for name, file in FILES.items():
            if (table := getattr(self, name)) is not None:
                path = target / file
                write_table(_writable(table), path, overwrite=overwrite, inputs=self._inputs())
        with atomic_write(target / COUNTS_FILE, overwrite=overwrite) as stream:
            record = {**dataclasses.asdict(self.counts), "notes": list(self.notes)}
            stream.write(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        self.report(target / REPORT_FILE, overwrite=overwrite)
        return target

    def _page(self) -> str:
        from gradatim.workflows.rerank_report import render_page

        return render_page(self)

    def _inputs(self) -> list[str]:
        return [self.source] if self.is_file else []

    def _overview(self) -> str:
        from gradatim.workflows.rerank_report import render_tables

        return render_tables(self)


def check_save(
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    inputs: Iterable[str | os.PathLike[str]] = (),
) -> Path:
    """Check before long work that :meth:`RerankResult.save` may write into a folder.

    Raises:
        InputError: one of its files is there and may not be replaced, or is the input.
        StorageError: the folder cannot be written.
    """
    names = (*FILES.values(), COUNTS_FILE, REPORT_FILE)
    return check_files(folder, names, overwrite=overwrite, inputs=inputs)


def _writable(table: "pd.DataFrame") -> Any:
    """A table whose level column has one type, since "all" stands beside numbers."""
    if "level" in table and table["level"].dtype == object:
        return table.assign(level=table["level"].map(str))
    return table
