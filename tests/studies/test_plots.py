import itertools
import re
import xml.etree.ElementTree as ElementTree

import matplotlib
import pytest

from gradatim.core.errors import InputError
from gradatim.studies import svg
from gradatim.studies.claims import Claim
from gradatim.studies.plots import Figure, caption, default_figures, draw, panels
from gradatim.studies.summaries import Summaries
from gradatim.studies.verdict_plot import draw_verdict
from gradatim.studies.verdicts import Verdict
from tests.studies.synthetic_paper import study
from tests.studies.synthetic_results import outcome_in

NAN = float("nan")


def summaries_of(groups, metric="accuracy", arms=("a", "b"), seeds=range(3)):
    return Summaries.of(
        [
            (seed, arm, metric, group, place + seed / 10)
            for seed in seeds
            for place, arm in enumerate(arms)
            for group in groups
        ]
    )


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    return outcome_in(tmp_path_factory.mktemp("results"))


def texts(drawing):
    root = ElementTree.fromstring(drawing)
    return ["".join(node.itertext()) for node in root.iter() if node.tag.endswith("text")]


def test_default_figures_show_every_metric_and_grouping(outcome):
    found = [(figure.metric, figure.over) for figure in default_figures(outcome.summaries)]
    assert found == [
        ("accuracy", None),
        ("accuracy", "noise"),
        ("accuracy", "epoch"),
        ("memorized", None),
        ("memorized", "noise"),
    ]


def test_several_keys_make_a_panel_for_each_value_of_the_others():
    groups = [f"noise={noise}, epoch={epoch}" for noise in (0.2, 0.4) for epoch in range(4)]
    summaries = summaries_of(groups)
    drawn = list(panels(Figure("accuracy", over="epoch"), summaries))
    assert [panel.where for panel in drawn] == ["noise=0.2", "noise=0.4"]
    assert list(default_figures(summaries)) == drawn
    assert caption(drawn[1]) == "Accuracy over epoch (noise 0.4)"
    assert list(panels(Figure("accuracy", over="epoch", where="noise=0.4"), summaries)) == drawn[1:]


def test_each_way_of_grouping_is_drawn_once():
    groups = ["", "noise=1", "noise=2"]
    groups += [f"epoch={epoch}" for epoch in range(4)]
    groups += [f"noise={noise}, epoch={epoch}" for noise in (1, 2) for epoch in range(4)]
    figures = default_figures(summaries_of(groups))
    assert [(figure.over, figure.where) for figure in figures] == [
        (None, ""),
        ("noise", ""),
        ("epoch", ""),
        ("epoch", "noise=1"),
        ("epoch", "noise=2"),
    ]
    for figure in figures:
        assert list(panels(figure, summaries_of(groups))) == [figure]


def test_a_title_is_kept_and_told_apart_only_if_the_figure_is_split():
    groups = [f"noise={noise}, epoch={epoch}" for noise in (1, 2) for epoch in (1, 2)]
    summaries = summaries_of(groups)
    titled = Figure("accuracy", over="epoch", title="Mine")
    assert [caption(panel) for panel in panels(titled, summaries)] == [
        "Mine (noise 1)",
        "Mine (noise 2)",
    ]
    chosen = Figure("accuracy", over="epoch", title="Mine", where="noise=2")
    assert [caption(panel) for panel in panels(chosen, summaries)] == ["Mine"]


def test_arms_and_panels_of_a_single_point_give_way_to_lines():
    rows = [
        (seed, arm, "loss", group, 0.5)
        for seed in range(2)
        for arm, groups in (
            ("a", ("n=1", "n=2", "n=1, kind=x")),
            ("b", ("n=1",)),
        )
        for group in groups
    ]
    summaries = Summaries.of(rows)
    (panel,) = panels(Figure("loss", over="n"), summaries)
    assert panel.where == "" and "b" not in texts(draw(panel, summaries))
    (alone,) = panels(Figure("loss", over="n", arms=("b",), where=""), summaries)
    assert "b" in texts(draw(alone, summaries))


def test_names_are_words():
    summaries = summaries_of(["easy_ones=1", "easy_ones=2"], metric="true_class")
    (figure,) = default_figures(summaries)
    words = texts(draw(figure, summaries))
    assert {"true class (fraction)", "easy ones"} <= set(words)
    assert caption(figure) == "True class over easy ones"


def test_arms_side_by_side_in_a_group():
    summaries = summaries_of(["", "noise=1, depth=2"])
    (panel,) = panels(Figure("accuracy", where="depth=2,noise=1"), summaries)
    assert "0.10 ± 0.25" in texts(draw(panel, summaries))


def test_arms_are_named_and_their_numbers_written(outcome):
    words = texts(draw(Figure("accuracy"), outcome.summaries))
    cell = outcome.summaries.cells["elr", "accuracy", ""]
    assert set(outcome.summaries.arms) <= set(words)
    assert f"{cell.mean:.3f} ± {cell.half_width:.3f}" in words
    assert "accuracy (fraction)" in words


def test_lines_are_labelled_in_the_order_of_their_ends(outcome):
    figure = Figure("accuracy", over="epoch")
    root = ElementTree.fromstring(draw(figure, outcome.summaries))
    ends = {
        arm: outcome.summaries.cells[arm, "accuracy", "epoch=60"].mean
        for arm in outcome.summaries.arms
    }
    heights = {
        "".join(node.itertext()): float(node.get("y"))
        for node in root.iter()
        if node.tag.endswith("text") and "".join(node.itertext()) in ends
    }
    assert sorted(ends, key=ends.get) == sorted(heights, key=heights.get, reverse=True)
    ordered = sorted(heights.values())
    assert all(b - a > svg.FONT_SIZE for a, b in itertools.pairwise(ordered))


@pytest.mark.parametrize("points", [3, 20])
def test_leaders_begin_where_their_lines_end(points):
    rows = [
        (seed, arm, "loss", f"epoch={x}", base + x * seed / 7)
        for seed in range(3)
        for arm, base in (("a", 0.1), ("b", 9.0), ("c", 9.1))
        for x in range(points)
    ]
    drawing = draw(Figure("loss", over="epoch"), Summaries.of(rows))
    for color in ("series-1", "series-2", "series-3"):
        paths = re.findall(rf'd="([^"]*)"[^>]*fill: none; stroke: var\(--{color}', drawing)
        joined = [re.findall(r"(-?[\d.]+) (-?[\d.]+)", path) for path in paths]
        line = next(pairs for pairs in joined if len(pairs) == points)
        leader = joined[-1]
        assert len(leader) == 4
        assert float(leader[0][1]) == pytest.approx(float(line[-1][1]), abs=0.02)
        assert 0 < float(leader[0][0]) - float(line[-1][0]) < 10


def test_points_and_curves_stand_where_their_values_are():
    rows = [
        (seed, "a", "loss", f"epoch={x}", y + (seed - 1) * 1e-9)
        for seed in range(3)
        for x, y in ((10, 1.0), (2, 3.0), (1, 5.0))
    ]
    drawing = draw(Figure("loss", over="epoch"), Summaries.of(rows))
    paths = re.findall(r'd="([^"]*)"[^>]*stroke: var\(--series-1', drawing)
    line = next(path for path in paths if path.count("L") == 2)
    points = [tuple(map(float, pair)) for pair in re.findall(r"([\d.]+) ([\d.]+)", line)]
    (x1, y1), (x2, y2), (x3, y3) = points
    assert (x3 - x1) / (x2 - x1) == pytest.approx(9, rel=1e-2)
    assert y2 - y1 == pytest.approx(y3 - y2, rel=1e-2)
    assert y1 < y3


def test_words_on_the_x_axis():
    summaries = summaries_of(["split=easy", "split=hard"])
    words = texts(draw(Figure("accuracy", over="split"), summaries))
    assert {"easy", "hard", "split", "a", "b"} <= set(words)


def positions(drawing, names):
    root = ElementTree.fromstring(drawing)
    found = {
        "".join(node.itertext()): float(node.get("x"))
        for node in root.iter()
        if node.tag.endswith("text") and node.get("x")
    }
    return [found[name] for name in names]


def test_numbers_far_apart_stand_by_their_logarithm():
    sizes = ["size=100", "size=1000", "size=10000"]
    drawing = draw(Figure("accuracy", over="size"), summaries_of(sizes))
    a, b, c = positions(drawing, ["100", "1000", "10000"])
    assert b - a == pytest.approx(c - b, abs=0.02)
    near = draw(Figure("accuracy", over="size"), summaries_of(["size=1", "size=2", "size=4"]))
    a, b, c = positions(near, ["1", "2", "4"])
    assert (c - b) / (b - a) == pytest.approx(2, abs=0.02)


def test_words_that_have_no_room_are_slanted():
    groups = [f"{word} number {place}" for place, word in enumerate(["anything"] * 8)]
    drawing = draw(Figure("accuracy", over="group"), summaries_of(groups))
    assert drawing.count("rotate(-30") == 8
    assert "rotate(" not in draw(Figure("accuracy", over="group"), summaries_of(["easy", "hard"]))


@pytest.mark.parametrize("group", ["hard", "a=1,b=2", " a = 1 "])
def test_groups_are_found_however_they_are_written(group):
    (panel,) = panels(Figure("accuracy"), summaries_of([group]))
    assert "0.10 ± 0.25" in texts(draw(panel, summaries_of([group])))


@pytest.mark.parametrize("seeds", [range(1), range(2)])
@pytest.mark.parametrize("groups", [[""], ["epoch=1"], [f"epoch={x}" for x in range(12)]])
def test_few_seeds_and_points_can_be_drawn(seeds, groups):
    summaries = summaries_of(groups, seeds=seeds)
    for figure in default_figures(summaries):
        for panel in panels(figure, summaries):
            assert "nan" not in draw(panel, summaries).casefold()


def test_names_that_are_markup_are_text():
    arms = ('<script>"a"</script>', "b & $c$ _d", "x" * 60)
    for groups in ([""], ["epoch=1", "epoch=2"]):
        summaries = summaries_of(groups, arms=arms)
        (figure,) = default_figures(summaries)
        drawing = draw(figure, summaries)
        assert "<script" not in drawing
        assert "b & $c$ _d" in texts(drawing)


def test_ids_are_unique_over_a_page(outcome):
    drawings = [
        draw(panel, outcome.summaries)
        for figure in default_figures(outcome.summaries)
        for panel in panels(figure, outcome.summaries)
    ]
    drawings += [draw_verdict(verdict) for verdict in outcome.verdicts]
    ids = [name for drawing in drawings for name in re.findall(r' id="([^"]+)"', drawing)]
    assert ids and len(ids) == len(set(ids))
    for drawing in drawings:
        own = set(re.findall(r' id="([^"]+)"', drawing))
        used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', drawing))
        assert used == own
        ElementTree.fromstring(drawing)


def test_same_numbers_same_bytes_whatever_the_user_set(outcome):
    figure = Figure("accuracy", over="noise")
    before = draw(figure, outcome.summaries)
    with matplotlib.rc_context({"font.size": 30, "axes.grid": True, "svg.fonttype": "path"}):
        assert draw(figure, outcome.summaries) == before
        assert matplotlib.rcParams["font.size"] == 30


def test_figures_follow_the_page(outcome):
    drawing = draw(Figure("accuracy", over="noise"), outcome.summaries)
    assert "var(--series-1, #0072b2)" in drawing and "var(--ink, " in drawing
    assert "font-family: '" not in drawing and "date" not in drawing
    assert 'role="img" aria-label="Accuracy over noise"' in drawing
    assert len(drawing) < 40_000


def test_declared_figures_choose_arms_and_title(outcome):
    figure = Figure("accuracy", arms=("elr", "elr+"), title="Two arms", unit="")
    words = texts(draw(figure, outcome.summaries))
    assert "elr" in words and "bootstrap" not in words and "accuracy" in words
    assert caption(figure) == "Two arms"


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        (Figure("recall"), "'recall' was not measured, but accuracy, memorized"),
        (Figure("accuracy", over="size"), "not measured over 'size'"),
        (Figure("accuracy", over="noise", where="depth=2"), "'depth=2'"),
    ],
)
def test_figures_of_what_was_not_measured(outcome, figure, message):
    with pytest.raises(InputError, match=re.escape(message)):
        list(panels(figure, outcome.summaries))


def test_a_figure_of_arms_that_were_not_measured(outcome):
    for over in (None, "noise"):
        with pytest.raises(InputError, match="no arm was measured"):
            draw(Figure("accuracy", over=over, arms=("nothing",)), outcome.summaries)


@pytest.mark.parametrize("direction", ["greater", "less"])
@pytest.mark.parametrize("status", ["shown", "contradicted", "equivalent", "inconclusive"])
def test_verdicts_can_be_drawn(direction, status):
    claim = Claim("A & B.", lambda t: 0.0, 0.1, 0.05, direction=direction, unit="points")
    drawing = draw_verdict(Verdict(claim, status, 0.3, 0.2, 0.4, 0.01, {0: 0.25, 1: 0.35}))
    words = texts(drawing)
    assert "points" in words
    assert ("claim holds →" if direction == "greater" else "← claim holds") in words
    assert f'aria-label="A &amp; B.: {status}"' in drawing


@pytest.mark.parametrize("values", [{}, {0: NAN}, {0: 0.5}])
def test_verdicts_without_an_interval_can_be_drawn(values):
    claim = Claim("A.", lambda t: 0.0)
    verdict = Verdict(
        claim, "inconclusive", 0.5 if values == {0: 0.5} else NAN, NAN, NAN, NAN, values
    )
    assert "nan" not in draw_verdict(verdict).casefold()


def test_the_synthetic_study_is_drawn_from_its_seed():
    from gradatim.studies.claims import Budget

    assert list(study(3, Budget("smoke"))) == list(study(3, Budget("smoke")))


@pytest.mark.parametrize("levels", [range(1, 6), (1, 4, 16, 64)], ids=["to scale", "logarithmic"])
def test_a_border_names_the_parts_on_its_sides(levels):
    summaries = summaries_of([f"level={level}" for level in levels])
    plain = texts(draw(Figure("accuracy", over="level"), summaries))
    figure = Figure("accuracy", over="level", border=(3.5, "easy", "hard"))
    assert sorted(texts(draw(figure, summaries))) == sorted([*plain, "easy", "hard"])
