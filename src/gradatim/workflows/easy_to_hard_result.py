"""What the easy-to-hard evaluation gives: tables to save, to draw and to report."""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.core.files import atomic_write, check_output_folder, check_writable
from gradatim.core.io.tables import write_table
from gradatim.workflows.figure_style import to_svg
from gradatim.workflows.pages import html_notes, html_page, html_table
from gradatim.workflows.rerank_figure import draw_curves
from gradatim.workflows.rerank_report import render_tables
from gradatim.workflows.rerank_result import RerankResult, check_save
from gradatim.workflows.saving import Reportable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TABLES = {
    "greedy": "greedy.csv",
    "evaluators": "evaluators.csv",
    "solutions": "solutions.parquet",
}
RECORD_FILE, REPORT_FILE = "run.json", "report.html"


@dataclass(frozen=True)
class EasyToHardResult(Reportable):
    """How evaluators trained on easy problems choose among solutions of easy and hard ones.

    Attributes:
        by_level: re-ranking by level: own likelihood, ORM, PRM and OPRM, each by weighted vote and
            best of N, with majority, oracle and curves.
        by_part: the same for all easy and all hard test problems.
        greedy: accuracy of the likeliest solution by level and part, with Wilson's 95% interval.
        evaluators: a row an evaluator and part: area under the ROC curve among the test solutions
            (NaN if all are right or all wrong), labelled states it was trained on, its penalty.
        solutions: a row a sampled test solution, with its text, answer, correctness and scores.
        seconds: phase -> seconds; what was read from an earlier run costs almost nothing.
        notes: what a reader of the numbers should know.
        settings: what the run was asked for.
    """

    by_level: RerankResult
    by_part: RerankResult
    greedy: "pd.DataFrame"
    evaluators: "pd.DataFrame"
    solutions: "pd.DataFrame"
    seconds: Mapping[str, float]
    notes: tuple[str, ...]
    settings: Mapping[str, Any]

    def figure(self) -> "Figure":
        """Draw accuracy over the number of solutions, for easy and hard problems."""
        return draw_curves(self.by_part.curve)

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write all tables, the record of the run and the report into a folder.

        Args:
            folder: where to; it is made. Re-ranking by level and part gets a folder each.
            overwrite: whether files that stand there may be replaced.

        Raises:
            InputError: one of the files is there and may not be replaced.
            StorageError: the folder cannot be written.
        """
        target = check_output_folder(folder)
        for name in (*TABLES.values(), RECORD_FILE, REPORT_FILE):
            check_writable(target / name, overwrite=overwrite)
        parts = {"by_level": self.by_level, "by_part": self.by_part}
        for name in parts:
            check_save(target / name, overwrite=overwrite)
        for name, part in parts.items():
            part.save(target / name, overwrite=overwrite)
        for name, file in TABLES.items():
            table = getattr(self, name)
            if "level" in table and table["level"].dtype == object:
                table = table.assign(level=table["level"].map(str))
            write_table(table, target / file, overwrite=overwrite)
        with atomic_write(target / RECORD_FILE, overwrite=overwrite) as stream:
            record = {
                "settings": dict(self.settings),
                "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
                "counts": dataclasses.asdict(self.by_level.counts),
                "notes": list(self.notes),
            }
            stream.write(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        self.report(target / REPORT_FILE, overwrite=overwrite)
        return target

    def _page(self) -> str:
        title = "Evaluators trained on easy problems, judging hard ones"
        return html_page(title, f"<h1>{title}</h1>{self._overview()}")

    def _inputs(self) -> tuple[str, ...]:
        return ()

    def _overview(self) -> str:
        settings = json.dumps(dict(self.settings), ensure_ascii=False)
        seconds = [(name, f"{value:.1f} s") for name, value in self.seconds.items()]
        curves = "Accuracy over the number of solutions"
        return "".join(
            (
                f"<p class='quiet'>{escape(settings)}</p>{html_notes(self.notes)}",
                f"<h2>Easy and hard problems</h2>{render_tables(self.by_part)}",
                f"<h2>{curves}</h2>{to_svg(self.figure(), curves)}",
                f"<h2>Likeliest solution</h2>{_html(self.greedy)}",
                f"<h2>Evaluators</h2>{_html(self.evaluators)}",
                f"<h2>By level</h2>{render_tables(self.by_level)}",
                f"<h2>Time</h2>{html_table(('', ''), seconds, {1})}",
            )
        )


def _html(table: "pd.DataFrame") -> str:
    text: str = table.to_html(index=False, border=0, float_format=lambda value: f"{value:.3g}")
    return text
