"""The report of a task's difficulty: what was found, how far it can be trusted, the pictures."""

import math
from html import escape
from typing import TYPE_CHECKING, Protocol

from gradatim.difficulty.inductive_bias_tasks import PUBLISHED_TASKS, published_complexity
from gradatim.difficulty.task_difficulty import TaskDifficulty
from gradatim.workflows.figure_style import to_svg
from gradatim.workflows.pages import Rows, html_costs, html_notes, html_page, html_table
from gradatim.workflows.task_difficulty_figure import Drawn, draw_task

if TYPE_CHECKING:
    import pandas as pd

TITLE = "How hard is this task?"
SHOWN = 10

_MEANING = (
    "A bit of inductive bias halves the hypotheses that fit the rows: it is what a learner must "
    "know of the task that the rows do not tell. The bound looks at geometry alone (how many "
    "directions vary, how fine the classes are interleaved) and holds for learners of any kind, "
    "so it is far above what a good learner needs. It puts tasks in order; it does not "
    "foretell an accuracy or the size of a network. The exact measure is relative to one space of "
    "hypotheses, smooth random functions, and to the numbers of rows that are fitted and tested."
)


class Measured(Drawn, Protocol):
    """What a report is made of: a ``TaskDifficultyResult``."""

    @property
    def rows(self) -> "pd.DataFrame | None": ...  # noqa: D102
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


def render_task(result: Measured) -> str:
    """The whole page."""
    body = [
        f"<h1>{TITLE}</h1><p class='quiet'>{escape(result.source)}</p>",
        render_findings(result),
        "<h2>In pictures</h2>",
        to_svg(draw_task(result), "Intrinsic dimension, bound and exact measure"),
        "<h2>What the bits mean</h2>",
        f"<p>{_MEANING}</p>",
        "<h2>Dimension and bound, by what was looked at</h2>",
        html_table(*sensitivity_rows(result.measured)),
        "<p class='quiet'>95% intervals over query points. They do not hold the bias of the "
        "estimator, which is too low for many dimensions and few rows: compare samples.</p>",
        "<h2>By the error that is to be reached</h2>",
        html_table(*curve_rows(result.measured)),
        "<h2>Beside well-known data</h2>",
        html_table(*published_rows(result.measured)),
        "<p class='quiet'>Bounds from the rows, classes, dimension, radius and resolution that "
        "Boopathy et al. (2023) published.</p>",
    ]
    if result.rows is not None:
        body.append("<h2>Rows nearest to another class</h2>")
        body.append(html_table(*enemy_rows(result.rows, SHOWN)))
    body.append(html_costs(result.costs, result.seconds))
    return html_page(TITLE, "".join(body))


def render_findings(result: Measured) -> str:
    """What matters first: the sentence, the findings, the notes."""
    body = [f"<p>{escape(result.measured.sentence())}</p>", "<h2>Findings</h2>"]
    body.append(html_table(("", ""), findings(result), set()))
    body.append(html_notes(result.notes))
    return "".join(body)


def findings(result: Measured) -> list[tuple[str, str]]:
    """The findings in words."""
    task = result.measured
    dimension, sensitivity = task.dimension, task.sensitivity
    low, high = task.log10_range
    found = [
        ("rows", f"{task.n:,} of {task.classes} classes, {task.features:,} numbers each"),
        ("measured in", result.features),
        ("error to be reached", f"{task.error:.3g}"),
        (
            "intrinsic dimension",
            f"{dimension.estimate:.1f} [{dimension.low:.1f}, {_fixed(dimension.high)}] from "
            f"{dimension.k} neighbours; {sensitivity.low:.1f} to {sensitivity.high:.1f} by "
            "neighbours and sample",
        ),
        (
            "nearest rows of different classes",
            f"{task.margin.distance:.4g} apart ({task.margin.method}), the largest norm is "
            f"{task.radius:.4g}",
        ),
        (
            "bits, bound for learners of any kind",
            f"{_power(task.complexity.log10_bits)}; {_power(low)} to {_power(high)} by neighbours "
            "and sample",
        ),
    ]
    if task.exact is not None:
        place = [float(one) for one in task.curve()["error"]].index(task.error)
        bits, below, above = task.exact.interval(place)
        told = f"{_whole(bits)} [{_whole(below)}, {_whole(above)}]"
        found.append(
            (
                "bits, exact for smooth functions",
                f"{told}, {task.exact.n_train:,} rows fitted and {task.exact.n_test:,} tested",
            )
        )
    return found


def sensitivity_rows(task: TaskDifficulty) -> Rows:
    """A row for each sample size and number of neighbours."""
    rows: list[tuple[str, ...]] = [
        (
            f"{row['points']:,}",
            f"{row['k']}{' (taken)' if row['chosen'] else ''}",
            f"{row['dimension']:.2f} [{row['low']:.2f}, {_fixed(row['high'], 2)}]",
            f"{_fixed(row['log10_bits'])} [{_fixed(row['log10_low'])}, "
            f"{_fixed(row['log10_high'])}]",
        )
        for row in task.table().to_dict("records")
    ]
    heads = ("Rows", "Neighbours", "Dimension [95%]", "log10 of bits [95%]")
    return heads, rows, {0, 1, 2, 3}


def curve_rows(task: TaskDifficulty) -> Rows:
    """A row for each error."""
    rows: list[tuple[str, ...]] = [
        (
            f"{row['error']:.3g}",
            _fixed(row["log10_bits"]),
            "\u2013"
            if task.exact is None
            else f"{_whole(row['exact_bits'])} "
            f"[{_whole(row['exact_low'])}, {_whole(row['exact_high'])}]",
        )
        for row in task.curve().to_dict("records")
    ]
    return ("Error", "Bound, log10 of bits", "Exact, bits [95%]"), rows, {0, 1, 2}


def published_rows(task: TaskDifficulty) -> Rows:
    """This task among well-known ones, at the same error, from easy to hard."""
    found = [
        (
            name,
            f"{one['n']:,.0f}",
            f"{one['classes']:.0f}",
            f"{one['dimension']:.0f}",
            published_complexity(name, task.error).log10_bits,
        )
        for name, one in PUBLISHED_TASKS.items()
    ]
    own = task.complexity.log10_bits
    dimension = f"{task.dimension.estimate:.1f}"
    found.append(("this task", f"{task.n:,}", str(task.classes), dimension, own))
    found.sort(key=lambda row: -1.0 if math.isnan(row[4]) else row[4])
    rows: list[tuple[str, ...]] = [(*row[:4], _fixed(row[4])) for row in found]
    heads = (
        "Task",
        "Rows",
        "Classes",
        "Dimension",
        f"log10 of bits to an error of {task.error:.3g}",
    )
    return heads, rows, {1, 2, 3, 4}


def enemy_rows(rows: "pd.DataFrame", most: int) -> Rows:
    """The rows that are nearest to a row of another class."""
    shown = rows.sort_values("enemy_distance", kind="stable").head(most)
    found: list[tuple[str, ...]] = [
        (
            f"{row['row']:,}",
            row["label"],
            f"{row['enemy_row']:,}",
            row["enemy_label"],
            f"{row['enemy_distance']:.4g}",
        )
        for row in shown.to_dict("records")
    ]
    return ("Row", "Label", "Nearest of another class", "Its label", "Distance"), found, {0, 2, 4}


def _power(log10: float) -> str:
    return "nothing can be told" if math.isnan(log10) else f"10^{log10:.1f}"


def _fixed(value: float, decimals: int = 1) -> str:
    return "\u2013" if math.isnan(value) else "∞" if math.isinf(value) else f"{value:.{decimals}f}"


def _whole(value: float) -> str:
    return "\u2013" if math.isnan(value) else "∞" if math.isinf(value) else f"{value:,.0f}"
