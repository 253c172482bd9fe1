"""What unlearning gives: the model, figures before and after, what it says; to save and report."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.core.io.tables import write_table
from gradatim.workflows.saving import Reportable, check_files
from gradatim.workflows.unlearn_models import UnlearnedModel, load_unlearned, save_unlearned

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FIGURES_FILE, ROWS_FILE, CURVE_FILE = "figures.csv", "rows.jsonl", "curve.csv"
PAGE_FILE = "report.html"
NAMES = {
    "probability": "probability",
    "rouge": "ROUGE-L recall of what is said",
    "rephrased_rouge": "the same, asked in other words",
    "truth_ratio": "truth ratio",
    "extracted_positions": "extracted: tokens at their place",
    "extracted_prefix": "extracted: tokens before the first wrong one",
    "extracted_subsequence": "extracted: tokens in order (ROUGE-L)",
    "extracted_exact": "extracted: whole texts",
    "perplexity": "perplexity",
}
"""What figures are called."""


@dataclass(frozen=True)
class UnlearnResult(Reportable):
    """What unlearning gives.

    Attributes:
        method: how the model was made to forget.
        source: the model before.
        criterion: why training ended, and which weights were kept.
        reason: "forgotten", "collapse" or "non-finite" if it ended before its time; else "".
        step: the update after which the weights are as they are now.
        steps: updates made.
        curve: a row an evaluation during training, the first before it.
        figures: a row a figure: its set and name, before, after, and of the reference.
        rows: a row a text that was looked at: what is said before and after.
        notes: what a reader should know.
        seconds: how long all took.
        folder: where the model stands; None if it was not written.
        files: files that were read, which are never overwritten.
    """

    method: str
    source: str
    criterion: str
    reason: str
    step: int
    steps: int
    curve: "pd.DataFrame"
    figures: "pd.DataFrame"
    rows: "pd.DataFrame"
    notes: tuple[str, ...]
    seconds: float
    folder: Path | None
    files: tuple[str, ...] = ()
    trained: UnlearnedModel | None = field(default=None, repr=False)

    @cached_property
    def model(self) -> UnlearnedModel:
        """The model that has forgotten; read from its folder if it was trained by another run."""
        if self.trained is not None:
            return self.trained
        assert self.folder is not None
        return load_unlearned(self.folder)

    def figure_of(self, name: str, when: str = "after") -> float:
        """One figure, such as ``forget/probability``.

        Args:
            name: set and name.
            when: "before", "after", or "reference".

        Raises:
            KeyError: there is no such figure.
        """
        column: pd.Series[float] = self.figures.set_index("name")[when]
        return float(column[name])

    def sentence(self) -> str:
        """What was done, in one sentence."""
        before, after = (self.figure_of("forget/probability", one) for one in ("before", "after"))
        forgotten = int((self.rows["set"] == "forget").sum())
        return (
            f"{self.method} on {self.source}: the mean probability a token of what is forgotten "
            f"({forgotten:,} texts looked at) went from {before:.3f} to {after:.3f}"
        )

    def figure(self) -> "Figure":
        """Draw how training went."""
        from gradatim.workflows.unlearn_figure import draw_curves

        return draw_curves(self.curve.to_dict("records"), self.step)

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the figures, the rows, the curve and the page; and the model, if it is elsewhere.

        Raises:
            InputError: a file stands there and may not be replaced, or is an input.
            StorageError: it cannot be written.
        """
        names = (FIGURES_FILE, ROWS_FILE, CURVE_FILE, PAGE_FILE)
        target = check_files(folder, names, overwrite=overwrite, inputs=self.files)
        if self.folder is None or target.resolve() != self.folder.resolve():
            save_unlearned(self.model, target)
        for name, table in zip(names, (self.figures, self.rows, self.curve), strict=False):
            write_table(table, target / name, overwrite=overwrite, inputs=self.files)
        self.report(target / PAGE_FILE, overwrite=overwrite)
        return target

    def _page(self) -> str:
        from gradatim.workflows.unlearn_report import render_page

        return render_page(self)

    def _inputs(self) -> tuple[str, ...]:
        return self.files

    def _overview(self) -> str:
        from gradatim.workflows.unlearn_report import render_tables

        return render_tables(self)


def figure_table(record: Mapping[str, Any]) -> "pd.DataFrame":
    """Figures before, after, and of the model that never saw what is forgotten."""
    import pandas as pd

    before, after = record["before"]["figures"], record["after"]["figures"]
    without = record["without"]["figures"] if record["without"] else {}
    rows = [
        {
            "name": name,
            "told": told(name),
            "before": before[name],
            "after": after.get(name),
            "reference": without.get(name),
        }
        for name in before
    ]
    if record["quality"]:
        quality = {"name": "forget_quality", "told": told("forget_quality"), "reference": 1.0}
        rows.insert(0, {**quality, **record["quality"]})
    attacked = record["relearning"] or {}
    known = (record["without"] or {}).get("relearning") or {}
    for name in [one for one in attacked if not one.endswith("_after")]:
        key = f"relearned/{name}"
        rows.append(
            {
                "name": key,
                "told": told(key),
                "before": attacked[name],
                "after": attacked[f"{name}_after"],
                "reference": known.get(f"{name}_after"),
            }
        )
    return pd.DataFrame(rows, columns=["name", "told", "before", "after", "reference"]).astype(
        {"before": float, "after": float, "reference": float}
    )


def row_table(record: Mapping[str, Any]) -> "pd.DataFrame":
    """What is said of each text before and after."""
    import pandas as pd

    known = ("set", "row", "question", "expected")
    rows = []
    for then, now in zip(record["before"]["rows"], record["after"]["rows"], strict=True):
        row = {name: then[name] for name in known}
        for name in [one for one in then if one not in known]:
            row |= {f"{name}_before": then[name], f"{name}_after": now[name]}
        rows.append(row)
    return pd.DataFrame(rows)


def curve_table(curve: Sequence[Mapping[str, float]]) -> "pd.DataFrame":
    """How training went, a row an evaluation."""
    import pandas as pd

    return pd.DataFrame(list(curve)).astype({"step": int})


def told(name: str) -> str:
    """What a figure is called.

    >>> told("forget/rouge"), told("relearned/unseen/extracted")
    ('forget: ROUGE-L recall of what is said', 'attack, other half: extracted')
    """
    if name == "utility":
        return "model utility"
    if name == "forget_quality":
        return "forget quality (p-value)"
    parts = name.split("/")
    if parts[0] == "relearned":
        half = {"seen": "the half it learned", "unseen": "other half"}[parts[1]]
        return f"attack, {half}: {parts[2]}"
    return f"{parts[0]}: {NAMES.get(parts[1], parts[1])}"
