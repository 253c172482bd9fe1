"""Figures of a study as inline SVG: arms side by side, and arms over noise, size or epochs."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gradatim.core.errors import InputError
from gradatim.studies import svg
from gradatim.studies.labels import in_words, spread, text_width, trim
from gradatim.studies.numbers import decimals_for, fixed_interval
from gradatim.studies.summaries import (
    Summaries,
    Summary,
    as_number,
    join_group,
    parse_group,
)

MANY_POINTS = 8
"""A line with more points than this is a curve with a band, else dots with error bars."""

MOST_PANELS = 6

FAR_APART = 30.0
"""Numbers on the x axis whose largest is so many times the smallest stand by their logarithm."""

LEFT, LEADER = 44.0, 26.0
"""Width left of the axes, and between a line's end and its label, in CSS pixels."""


@dataclass(frozen=True)
class Figure:
    """One figure of a study's report.

    Attributes:
        metric: the metric that is drawn.
        over: the group key along the x axis, as "epoch" or "noise"; None draws the arms side by
            side.
        arms: which arms to draw; None draws all that were measured.
        title: the caption; by default made of metric, key and group.
        unit: the metric's unit, written on its axis.
        where: the group's other keys and values, as "noise=0.4", or "" for no others; None draws
            one panel for each that was measured.
        border: a value of ``over`` between two parts of the axis, and the parts' names, as
            ``(3.5, "easy", "hard")``; None for no border.
    """

    metric: str
    over: str | None = None
    arms: tuple[str, ...] | None = None
    title: str = ""
    unit: str = "fraction"
    where: str | None = None
    border: tuple[float, str, str] | None = None


def default_figures(summaries: Summaries) -> tuple[Figure, ...]:
    """The figures that a study gets which declares none: each metric, then each way it is grouped.

    >>> rows = [(0, "a", "loss", "", 1.0), (0, "a", "loss", "noise=0.1, epoch=1", 1.0),
    ...         (0, "a", "loss", "noise=0.1, epoch=2", 1.0)]
    >>> [(figure.over, figure.where) for figure in default_figures(Summaries.of(rows))]
    [(None, ''), ('epoch', 'noise=0.1')]
    """
    figures: list[Figure] = []
    for metric in summaries.metrics:
        groups = [parse_group(group) for group in summaries.groups(metric)]
        for keys in sorted(summaries.keys(metric), key=len):
            alike = [parts for parts in groups if tuple(parts) == keys]
            over = max(keys, key=lambda key: len({parts[key] for parts in alike}), default=None)
            wheres = _others(alike, over)[:MOST_PANELS]
            figures.extend(Figure(metric, over, where=where) for where in wheres)
    return tuple(figures)


def panels(figure: Figure, summaries: Summaries) -> Iterator[Figure]:
    """Split a figure into one panel for each value of the group keys that are not its x axis.

    Raises:
        InputError: the study did not measure what the figure wants; the message says what it did.
    """
    groups = [parse_group(group) for group in summaries.groups(figure.metric)]
    if not groups:
        raise InputError(
            f"figure: metric {figure.metric!r} was not measured, but {', '.join(summaries.metrics)}"
        )
    wheres = _others(groups, figure.over)
    if figure.where is not None:
        wanted = parse_group(figure.where)
        wheres = [where for where in wheres if parse_group(where) == wanted]
    elif figure.over is None:
        wheres = [""] if "" in wheres else wheres
    else:
        wheres = _with_lines(groups, figure.over, wheres)
    if not wheres:
        raise InputError(
            f"figure: {figure.metric!r} was not measured over {figure.over!r} in group "
            f"{figure.where or ''!r}, but in groups such as "
            f"{summaries.groups(figure.metric)[-1]!r}"
        )
    for where in wheres[:MOST_PANELS]:
        split = figure.where is None and figure.title and where
        title = f"{figure.title} ({in_words(where)})" if split else figure.title
        yield replace(figure, where=where, title=title)


def _with_lines(groups: Sequence[Mapping[str, str]], over: str, wheres: list[str]) -> list[str]:
    """The panels in which the x axis has several values, if there are such panels."""
    values: dict[str, set[str]] = {where: set() for where in wheres}
    for parts in groups:
        if over in parts:
            values[_others([parts], over)[0]].add(parts[over])
    return [where for where in wheres if len(values[where]) > 1] or wheres


def _others(groups: Sequence[Mapping[str, str]], over: str | None) -> list[str]:
    """What the groups that have a key hold besides it, each once."""
    return list(
        dict.fromkeys(
            join_group({key: value for key, value in parts.items() if key != over})
            for parts in groups
            if over is None or over in parts
        )
    )


def caption(figure: Figure) -> str:
    """The words over a figure.

    >>> caption(Figure("accuracy", over="epoch", where="noise=0.4"))
    'Accuracy over epoch (noise 0.4)'
    """
    if figure.title:
        return figure.title
    words = in_words(figure.metric[:1].upper() + figure.metric[1:])
    over = f" over {in_words(figure.over)}" if figure.over else ""
    return words + over + (f" ({in_words(figure.where)})" if figure.where else "")


def draw(figure: Figure, summaries: Summaries) -> str:
    """Draw one panel (see :func:`panels`) as inline SVG.

    Without a key on the x axis: one row an arm with its mean, 95% interval, and a faint tick for
    each seed. With a key: one line an arm, labelled at its end; an arm with one point only is left
    out if others have lines.

    Raises:
        InputError: none of the arms was measured there.
    """
    arms = [arm for arm in summaries.arms if figure.arms is None or arm in figure.arms]
    with svg.drawing():
        if figure.over is None:
            return _draw_dots(figure, summaries, arms)
        return _draw_lines(figure, summaries, arms)


def color_of(arm: str, summaries: Summaries) -> tuple[str, str]:
    """An arm's colour and marker: the same in every figure of a study."""
    place = summaries.arms.index(arm)
    return svg.SERIES[place % len(svg.SERIES)], svg.MARKERS[place % len(svg.MARKERS)]


def _draw_dots(figure: Figure, summaries: Summaries, arms: Sequence[str]) -> str:
    cells = {
        arm: cell
        for arm in arms
        if (cell := summaries.find(arm, figure.metric, figure.where or "")) is not None
    }
    if not cells:
        raise InputError(f"figure: no arm was measured with {figure.metric!r} at {figure.where!r}")
    names = [trim(arm) for arm in cells]
    decimals = decimals_for([cell.half_width for cell in cells.values()])
    axes = svg.new_axes(
        34 * len(cells) + 46, left=text_width(names) + 12, right=108, top=6, bottom=40
    )
    for row, (arm, cell) in enumerate(cells.items()):
        color, marker = color_of(arm, summaries)
        for value in cell.values:
            axes.plot([value] * 2, [row - 0.2, row + 0.2], color=color, alpha=0.3, linewidth=1.2)
        if not math.isnan(cell.low):
            axes.plot([cell.low, cell.high], [row, row], color=color, linewidth=2.5)
        axes.plot([cell.mean], [row], color=color, marker=marker, markersize=6.5)
        axes.annotate(
            fixed_interval(cell.mean, cell.half_width, decimals),
            (1, row),
            xycoords=("axes fraction", "data"),
            xytext=(104, 0),
            textcoords="offset points",
            ha="right",
            va="center_baseline",
        )
    axes.set_ylim(len(cells) - 0.5, -0.5)
    axes.set_yticks(range(len(cells)), names)
    axes.tick_params(axis="y", length=0, labelcolor=svg.INK)
    axes.grid(axis="x", color=svg.LINE)
    axes.tick_params(axis="x", length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.margins(x=0.04)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel(axis_label(figure.metric, figure.unit))
    return svg.to_svg(axes, caption(figure))


def _draw_lines(figure: Figure, summaries: Summaries, arms: Sequence[str]) -> str:
    lines = {arm: points for arm in arms if (points := line(figure, summaries, arm))}
    if any(len(points) > 1 for points in lines.values()):
        lines = {arm: points for arm, points in lines.items() if len(points) > 1}
    if not lines:
        raise InputError(f"figure: no arm was measured with {figure.metric!r} at {figure.where!r}")
    across = _Across.of([x for points in lines.values() for x, _ in points])
    right = text_width([trim(arm) for arm in lines]) + LEADER + 6
    slanted = not across.curve and (text_width(["".join(across.names)]) > svg.WIDTH - LEFT - right)
    deep = text_width(across.names) * 0.5 if slanted else 0.0
    left = max(LEFT, text_width(across.names[:1]) * 0.87 if slanted else 0.0)
    axes = svg.new_axes(290 + deep, left=left, right=right, top=30, bottom=42 + deep)
    ends = {}
    for row, (arm, points) in enumerate(lines.items()):
        aside = (row - (len(lines) - 1) / 2) * across.step
        xs = [across.places[x] + aside for x, _ in points]
        _draw_line(axes, xs, [cell for _, cell in points], color_of(arm, summaries), across)
        ends[arm] = (xs[-1], points[-1][1].mean)
    if not across.curve:
        slant = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
        axes.set_xticks(list(across.places.values()), across.names, **slant)
    _dress(axes, figure)
    if figure.border is not None and across.numeric:
        _draw_border(axes, figure.border, across)
    if not across.numeric:
        axes.set_xlim(-0.5, len(across.places) - 0.5)
    _label_ends(axes, ends, summaries)
    return svg.to_svg(axes, caption(figure))


@dataclass(frozen=True)
class _Across:
    """Where each value of the x axis stands.

    Numbers stand to scale, or by their logarithm if they are few and far apart; words, or a single
    number, stand in a row and are not joined by lines.
    """

    places: Mapping[str, float]
    numeric: bool
    curve: bool
    logarithmic: bool = False

    @classmethod
    def of(cls, values: Sequence[str]) -> "_Across":
        names = list(dict.fromkeys(values))
        numbers = [number for name in names if (number := as_number(name)) is not None]
        numeric = len(numbers) == len(names) > 1
        curve = numeric and len(names) > MANY_POINTS
        logarithmic = False
        if not numeric:
            numbers = [float(place) for place in range(len(names))]
        elif not curve and min(numbers) > 0 and max(numbers) / min(numbers) >= FAR_APART:
            numbers, logarithmic = [math.log10(number) for number in numbers], True
        return cls(dict(zip(names, numbers, strict=True)), numeric, curve, logarithmic)

    @property
    def names(self) -> list[str]:
        """What is written below the axis."""
        return [trim(name, 16) for name in self.places]

    @property
    def step(self) -> float:
        """How far the points of neighbouring arms stand aside, so as not to hide each other."""
        if self.curve:
            return 0.0
        if not self.numeric:
            return 0.08
        return 0.012 * ((max(self.places.values()) - min(self.places.values())) or 1.0)


def line(figure: Figure, summaries: Summaries, arm: str) -> list[tuple[str, Summary]]:
    """An arm's points along a figure's key, numbers in ascending order, else as measured."""
    where = parse_group(figure.where or "")
    found = []
    for (name, metric, group), cell in summaries.cells.items():
        parts = parse_group(group)
        if name == arm and metric == figure.metric and figure.over in parts:
            x = parts.pop(figure.over)
            if parts == where:
                found.append((x, cell))
    numbers = [as_number(x) for x, _ in found]
    if None not in numbers:
        found.sort(key=lambda point: float(point[0]))
    return found


def _draw_line(
    axes: Any, xs: list[float], cells: list[Summary], look: tuple[str, str], across: _Across
) -> None:
    color, marker = look
    lows, highs = [cell.low for cell in cells], [cell.high for cell in cells]
    axes.plot(
        xs,
        [cell.mean for cell in cells],
        color=color,
        linewidth=2 if across.numeric else 0,
        marker=None if across.curve else marker,
        markersize=6.5,
    )
    if across.curve:
        axes.fill_between(xs, lows, highs, color=color, alpha=0.16, linewidth=0)
    else:
        axes.vlines(xs, lows, highs, color=color, linewidth=2)


def _dress(axes: Any, figure: Figure) -> None:
    """Grid, ticks and names of the axes."""
    axes.grid(axis="y", color=svg.LINE)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="y", nbins=6)
    axes.margins(x=0.02)
    axes.set_xlabel(in_words(figure.over or ""))
    axes.annotate(
        axis_label(figure.metric, figure.unit),
        (0, 1),
        xycoords="figure fraction",
        xytext=(2, -4),
        textcoords="offset points",
        va="top",
        color=svg.MUTED,
    )


def _draw_border(axes: Any, border: tuple[float, str, str], across: _Across) -> None:
    """A line between two parts of the axis, their names on either side of its top."""
    value, before, behind = border
    place = math.log10(value) if across.logarithmic else value
    axes.axvline(place, color=svg.MUTED, linewidth=1, linestyle=(0, (4, 3)))
    for name, side, shift in ((before, "right", -5), (behind, "left", 5)):
        axes.annotate(
            name,
            (place, 1),
            xycoords=("data", "axes fraction"),
            xytext=(shift, 2),
            textcoords="offset points",
            ha=side,
            va="bottom",
            color=svg.MUTED,
        )


def _label_ends(axes: Any, ends: Mapping[str, tuple[float, float]], summaries: Summaries) -> None:
    """Write each arm's name right of its line's end, joined to it by a thin leader."""
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())  # what is measured must not move later
    box = axes.get_window_extent()
    starts = [axes.transData.transform(end) for end in ends.values()]
    heights = spread([y for _, y in starts], svg.FONT_SIZE * 1.3, box.y0, box.y1)
    for arm, (x, y), height in zip(ends, starts, heights, strict=True):
        edge = box.x1 + LEADER
        axes.plot(
            [x + 5, box.x1 + 4, edge - 6, edge - 2],
            [y, y, height, height],
            color=color_of(arm, summaries)[0],
            linewidth=1.2,
            alpha=0.8,
            transform=None,
            clip_on=False,
        )
        axes.text(edge + 1, height, trim(arm), transform=None, va="center_baseline")


def axis_label(metric: str, unit: str) -> str:
    """A metric with its unit.

    >>> axis_label("accuracy", "fraction"), axis_label("loss", "")
    ('accuracy (fraction)', 'loss')
    """
    return in_words(metric) + (f" ({unit})" if unit else "")
