"""The picture of a profile: matrix, wrong labels, accuracy against difficulty, measures."""

from typing import TYPE_CHECKING, Any, Protocol

from gradatim.workflows.figure_style import INK, LINE, MUTED, SERIES, SETTINGS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from gradatim.metrics.noise_crossing import NoiseCrossing

_MOST_CURVES = 7
_MARKERS = "os^DvPX"


class Profiled(Protocol):
    """What is drawn; see :class:`~gradatim.workflows.profile_result.ProfileResult`."""

    @property
    def measures(self) -> "pd.DataFrame": ...  # noqa: D102
    @property
    def curve(self) -> "pd.DataFrame": ...  # noqa: D102
    @property
    def matrix(self) -> "pd.DataFrame | None": ...  # noqa: D102
    @property
    def noise(self) -> "pd.DataFrame | None": ...  # noqa: D102
    @property
    def crossing(self) -> "NoiseCrossing | None": ...  # noqa: D102
    @property
    def measure(self) -> str: ...  # noqa: D102


def draw_profile(result: Profiled) -> "Figure":
    """Draw a profile: four panels, or two if no model could be trained."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        rows = 1 if result.matrix is None else 2
        figure = Figure(figsize=(10.4, 3.9 * rows), layout="constrained")
        panels = list(figure.subplots(rows, 2, squeeze=False).ravel())
        if result.matrix is not None and result.noise is not None:
            _draw_matrix(panels[0], result.matrix)
            _draw_noise(panels[1], result.noise, result.crossing)
        _draw_curves(panels[-2], result.curve, result.measure)
        _draw_measures(panels[-1], result.measures)
    return figure


def _draw_matrix(panel: Any, matrix: "pd.DataFrame") -> None:
    trains = list(dict.fromkeys(matrix["train"]))
    tests = list(dict.fromkeys(matrix["test"]))
    cells = matrix.set_index(["train", "test"])["accuracy"]
    values = [[float(cells[train, test]) for test in tests] for train in trains]
    low, high = min(map(min, values)), max(map(max, values))
    panel.imshow(values, cmap="YlGnBu", vmin=low, vmax=high + 1e-9, aspect="auto")
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            dark = value > low + 0.6 * (high - low)
            panel.text(
                x, y, f"{value:.2f}", ha="center", va="center", color="#fff" if dark else INK
            )
    panel.set_xticks(range(len(tests)), tests)
    panel.set_yticks(range(len(trains)), ["no training" if t == "none" else t for t in trains])
    panel.set_xlabel("tested on")
    panel.set_ylabel("trained on")
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    panel.set_title("Accuracy by training and test stratum", fontsize=10)


def _draw_noise(panel: Any, noise: "pd.DataFrame", crossing: "NoiseCrossing | None") -> None:
    panel.plot(
        noise["rate"],
        noise["accuracy"],
        color=SERIES[1],
        marker="o",
        markersize=4.5,
        label="trained on hard rows",
    )
    panel.fill_between(
        noise["rate"], noise["low"], noise["high"], color=SERIES[1], alpha=0.12, linewidth=0
    )
    panel.plot(
        noise["rate"],
        noise["easy_accuracy"],
        color=SERIES[0],
        linestyle="--",
        label="trained on easy rows, clean",
    )
    if crossing is not None and crossing.rate == crossing.rate:
        panel.axvline(crossing.rate, color=MUTED, linewidth=1.0, linestyle=":")
        panel.annotate(
            f"{crossing.rate:.0%}",
            (crossing.rate, 0.02),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            color=MUTED,
        )
    panel.set_xlabel("share of wrong labels among the hard rows")
    panel.set_ylabel("accuracy on hard rows")
    panel.legend(frameon=False, fontsize=9)
    _grid(panel)
    panel.set_title("When hard labels are wrong", fontsize=10)


def _draw_curves(panel: Any, curve: "pd.DataFrame", main: str) -> None:
    for place, (name, points) in enumerate(curve.groupby("measure", sort=False)):
        if place >= _MOST_CURVES:
            break
        share = points["rows"].cumsum() - points["rows"] / 2
        panel.plot(
            share / points["rows"].sum(),
            points["accuracy"],
            color=SERIES[place % len(SERIES)],
            marker=_MARKERS[place % len(_MARKERS)],
            markersize=4,
            linewidth=2.2 if name == main else 1.1,
            label=str(name),
        )
    panel.set_xlabel("rows from easy to hard (share)")
    panel.set_ylabel("out-of-fold accuracy")
    panel.set_ylim(-0.03, 1.03)
    panel.legend(frameon=False, fontsize=8.5, ncols=2)
    _grid(panel)
    panel.set_title("Accuracy against difficulty", fontsize=10)


def _draw_measures(panel: Any, measures: "pd.DataFrame") -> None:
    shown = measures[::-1].reset_index(drop=True)
    places = range(len(shown))
    knows = shown["uses_label"].to_numpy()
    colors = [SERIES[4] if one else SERIES[2] for one in knows]
    panel.hlines(places, shown["low"], shown["high"], color=colors, linewidth=2)
    panel.scatter(shown["auroc"], places, color=colors, zorder=3)
    panel.axvline(0.5, color=MUTED, linewidth=1.0, linestyle=":")
    names = [
        f"{name}{' *' if one else ''}" for name, one in zip(shown["measure"], knows, strict=True)
    ]
    panel.set_yticks(places, names)
    panel.set_ylim(-0.6, len(shown) - 0.4)
    panel.set_xlabel("held-out failures ranked (area under the ROC curve)")
    panel.grid(axis="x", color=LINE, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.set_title("Measures (* knows the label)", fontsize=10)


def _grid(panel: Any) -> None:
    panel.grid(axis="y", color=LINE, linewidth=0.8)
    panel.set_axisbelow(True)
