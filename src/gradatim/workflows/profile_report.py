"""The report of a profile: findings first, then the tables they come from."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

from gradatim.workflows.figure_style import to_svg
from gradatim.workflows.pages import (
    Rows,
    html_costs,
    html_notes,
    html_page,
    html_table,
    interval_text,
)
from gradatim.workflows.profile_figure import Profiled, draw_profile

if TYPE_CHECKING:
    import pandas as pd

    from gradatim.metrics.supervision_gap import SupervisionGap


class Reported(Profiled, Protocol):
    """What a report is made of; see :class:`~gradatim.workflows.profile_result.ProfileResult`."""

    @property
    def rows(self) -> "pd.DataFrame": ...  # noqa: D102
    @property
    def strata(self) -> "pd.DataFrame": ...  # noqa: D102
    @property
    def label_errors(self) -> "pd.DataFrame": ...  # noqa: D102
    @property
    def segments(self) -> "pd.DataFrame": ...  # noqa: D102
    @property
    def gap(self) -> "SupervisionGap | None": ...  # noqa: D102
    @property
    def inverted(self) -> str | None: ...  # noqa: D102
    @property
    def kinds(self) -> dict[str, int]: ...  # noqa: D102
    @property
    def accuracy(self) -> tuple[float, float, float]: ...  # noqa: D102
    @property
    def baseline(self) -> str: ...  # noqa: D102
    @property
    def features(self) -> str: ...  # noqa: D102
    @property
    def costs(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def seconds(self) -> float: ...  # noqa: D102
    @property
    def notes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def source(self) -> str: ...  # noqa: D102


def render_profile(result: Reported) -> str:
    """The whole page."""
    body = [
        "<h1>How far does easy training reach?</h1>",
        f"<p class='quiet'>{escape(result.source)}</p>",
        render_findings(result),
        "<h2>In pictures</h2>",
        to_svg(draw_profile(result), "Matrix of strata, wrong labels, difficulty and measures"),
    ]
    if result.matrix is not None and result.noise is not None:
        body.append("<h2>Training stratum by test stratum</h2>")
        body.append(html_table(*matrix_rows(result.matrix)))
        body.append(
            "<p class='quiet'>Every model is trained on equally many rows; means and 95% t "
            "intervals over random draws from this table, which do not tell how another table "
            f"would differ. No training: {escape(result.baseline)}.</p>"
        )
        body.append("<h2>Training on hard rows with wrong labels</h2>")
        body.append(html_table(*noise_rows(result.noise)))
    body.append("<h2>Measures of difficulty</h2>")
    body.append(html_table(*measure_rows(result.measures)))
    body.append(
        "<p class='quiet'>How well a measure ranks failures of models from other folds: 0.5 is "
        "chance. A measure that knows the label has an easy task; one that does not can be told "
        "before anybody has labelled a row.</p>"
    )
    body.append(html_costs(result.costs, result.seconds))
    return html_page("How far does easy training reach?", "".join(body))


def render_findings(result: Reported) -> str:
    """What matters first: findings, hardest segments, likeliest label errors, notes."""
    body = ["<h2>Findings</h2>", html_table(("", ""), findings(result), set())]
    body.append("<h2>Hardest segments</h2>")
    if len(result.segments):
        body.append(html_table(*segment_rows(result.segments)))
    else:
        body.append("<p>None fails clearly more often than the whole.</p>")
    body.append("<h2>Likeliest label errors</h2>")
    if len(result.label_errors):
        body.append(html_table(*error_rows(result.label_errors)))
    else:
        body.append("<p>None was found.</p>")
    body.append(html_notes(result.notes))
    return "".join(body)


def findings(result: Reported) -> list[tuple[str, str]]:
    """The findings in words."""
    total = len(result.rows)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in result.kinds.items())
    found = [
        ("rows", f"{total:,}: {kinds}"),
        ("model", result.features),
        ("out-of-fold accuracy", interval_text(*result.accuracy)),
    ]
    for row in result.strata.to_dict("records"):
        told = f"{interval_text(row['accuracy'], row['low'], row['high'])}, {row['rows']:,} rows"
        found.append((f"on {row['stratum']} rows (by {result.measure})", told))
    if result.gap is not None:
        told = f"not to be read: {result.inverted}" if result.inverted else result.gap.sentence()
        found.append(("supervision gap recovered", told))
        gap = result.gap.gap
        found.append(
            (
                "gap: hard-trained minus no training",
                interval_text(gap.estimate, gap.low, gap.high, sign=True),
            )
        )
    if result.crossing is not None and not result.inverted:
        found.append(("wrong hard labels", result.crossing.sentence()))
    return [*found, *_best_measures(result.measures)]


def _best_measures(measures: "pd.DataFrame") -> list[tuple[str, str]]:
    known = measures[measures["auroc"].notna()]
    found = []
    for title, part in (
        ("best measure of held-out failures", known),
        ("best one that needs no label", known[~known["uses_label"].astype(bool)]),
    ):
        if len(part):
            row = part.iloc[0]
            area = interval_text(row["auroc"], row["low"], row["high"])
            found.append((title, f"{row['measure']}, area {area}"))
    return found


def matrix_rows(matrix: "pd.DataFrame") -> Rows:
    """A row a training stratum, a column a test stratum."""
    tests = list(dict.fromkeys(matrix["test"]))
    rows = []
    for train, part in matrix.groupby("train", sort=False):
        cells = {
            row["test"]: interval_text(row["accuracy"], row["low"], row["high"])
            for row in part.to_dict("records")
        }
        name = "no training" if train == "none" else str(train)
        rows.append((name, *(cells[test] for test in tests)))
    heads = ("Trained on", *(f"Tested on {test}" for test in tests))
    return heads, rows, set(range(1, len(heads)))


def noise_rows(noise: "pd.DataFrame") -> Rows:
    """A row a share of wrong labels."""
    rows: list[tuple[str, ...]] = [
        (
            f"{row['rate']:.0%}",
            interval_text(row["accuracy"], row["low"], row["high"]),
            f"{row['easy_accuracy']:.3f}",
        )
        for row in noise.to_dict("records")
    ]
    return ("Wrong hard labels", "Trained on hard", "Trained on easy, clean"), rows, {0, 1, 2}


def measure_rows(measures: "pd.DataFrame") -> Rows:
    """A row a measure."""
    rows: list[tuple[str, ...]] = [
        (
            row["measure"],
            interval_text(row["auroc"], row["low"], row["high"]),
            "yes" if row["uses_label"] else "no",
            f"{row['seconds']:.1f}",
            row["cost"],
        )
        for row in measures.to_dict("records")
    ]
    return ("Measure", "Area [95%]", "Knows the label", "Seconds", "Cost"), rows, {1, 3}


def segment_rows(segments: "pd.DataFrame") -> Rows:
    """A row a segment."""
    rows: list[tuple[str, ...]] = [
        (
            row["column"],
            row["segment"],
            f"{row['rows']:,}",
            interval_text(row["failure_rate"], row["low"], row["high"]),
        )
        for row in segments.to_dict("records")
    ]
    return ("Column", "Segment", "Rows", "Failure rate [95%]"), rows, {2, 3}


def error_rows(errors: "pd.DataFrame", most: int | None = None) -> Rows:
    """A row a label that is probably wrong."""
    shown: Sequence[dict[Any, Any]] = errors.head(most or len(errors)).to_dict("records")
    rows: list[tuple[str, ...]] = [
        (
            f"{row['row']:,}",
            f"{row['label']} ({row['label_probability']:.2f})",
            f"{row['predicted']} ({row['predicted_probability']:.2f})",
            row["input"],
        )
        for row in shown
    ]
    return ("Row", "Label (probability)", "Predicted (probability)", "Input"), rows, {0}
