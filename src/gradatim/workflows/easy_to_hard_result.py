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
from gradatim.workflows.rerank_figure import draw_curves, to_svg
from gradatim.workflows.rerank_report import render_tables
from gradatim.workflows.rerank_result import RerankResult, check_save

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TABLES = {
    "greedy": "greedy.csv",
    "evaluators": "evaluators.csv",
    "solutions": "solutions.parquet",
}
RECORD_FILE, REPORT_FILE = "run.json", "report.html"

_STYLE = """
body { margin: 0 auto; max-width: 68em; padding: 2.5rem 1.5rem 4rem; color: #1d2430;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .94rem; }
th, td { text-align: left; padding: .35rem 1.4rem .35rem 0; border-bottom: 1px solid #d5dae2;
  font-weight: 400; } thead th { color: #5d6777; }
.quiet { color: #5d6777; font-size: .9rem; } svg { width: 100%; height: auto; }
"""


@dataclass(frozen=True)
class EasyToHardResult:
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

    def report(
        self, path: str | os.PathLike[str] = "easy-to-hard.html", *, overwrite: bool = False
    ) -> Path:
        """Write one self-contained HTML page: no scripts, nothing fetched.

        Raises:
            InputError: a file stands there and may not be replaced.
            StorageError: it cannot be written.
        """
        title = "Evaluators trained on easy problems, judging hard ones"
        with atomic_write(path, overwrite=overwrite) as stream:
            stream.write(
                "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
                "<meta name='viewport' content='width=device-width, initial-scale=1'>"
                f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>"
                f"{self._body()}</body></html>\n"
            )
        return Path(path)

    def _repr_html_(self) -> str:
        return self._body()

    def _body(self) -> str:
        seconds = "".join(
            f"<tr><td>{escape(name)}</td><td>{value:.1f} s</td></tr>"
            for name, value in self.seconds.items()
        )
        notes = "".join(f"<p class='quiet'>Note: {escape(note)}.</p>" for note in self.notes)
        return "".join(
            (
                f"<p class='quiet'>{escape(json.dumps(dict(self.settings), ensure_ascii=False))}"
                f"</p>{notes}<h2>Easy and hard problems</h2>{render_tables(self.by_part)}",
                f"<h2>Accuracy over the number of solutions</h2>{to_svg(self.figure())}",
                f"<h2>Likeliest solution</h2>{_html(self.greedy)}",
                f"<h2>Evaluators</h2>{_html(self.evaluators)}",
                f"<h2>By level</h2>{render_tables(self.by_level)}",
                f"<h2>Time</h2><table>{seconds}</table>",
            )
        )


def _html(table: "pd.DataFrame") -> str:
    text: str = table.to_html(index=False, border=0, float_format=lambda value: f"{value:.3g}")
    return text
