"""Histograms, deciles, keys and agreement, against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gradatim.core.errors import InputError
from gradatim.metrics.failure_ranking import failure_auroc
from gradatim.workflows.score_compare import agreement, foretelling, some_points
from gradatim.workflows.score_costs import duration
from gradatim.workflows.score_evidence import HeldOut
from gradatim.workflows.score_keys import RowKeys, match_keys, prompt_key
from gradatim.workflows.score_measures import MEASURES, Means, chosen_measures
from gradatim.workflows.score_summary import bars, decile_rows, histogram, summary_table

ALL = Means(*[None] * 8)
numbers = st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(float("nan"))), min_size=1, max_size=80)


@given(numbers)
def test_a_histogram_counts_every_value_once(values):
    array = np.array(values)
    counts, edges = histogram(array)
    there = np.isfinite(array).sum()
    assert counts.sum() == there
    assert len(edges) == len(counts) + 1 if there else not len(edges)
    assert (np.diff(edges) > 0).all() and len(bars(counts)) == len(counts)


def test_whole_numbers_get_a_bin_each_and_outliers_do_not_squeeze_the_rest():
    counts, edges = histogram(np.array([3.0, 3.0, 5.0, np.nan]))
    assert counts.tolist() == [2, 0, 1] and edges.tolist() == [2.5, 3.5, 4.5, 5.5]
    spread = np.append(np.random.default_rng(0).random(999), 1e9)
    assert histogram(spread)[1][-1] < 2
    assert histogram(np.full(4, 0.1))[0].tolist() == [4]


@given(numbers)
def test_deciles_rise_from_the_easiest_to_the_hardest(values):
    array = np.array(values)
    rows = decile_rows(array)
    there = array[np.isfinite(array)]
    if len(there):
        assert array[rows[0]] == there.min() and array[rows[-1]] == there.max()
        assert (np.diff(array[rows]) >= 0).all() and len(rows) <= 11
    else:
        assert not len(rows)


def test_summaries_pass_over_what_is_missing():
    table = summary_table({"words": np.array([1.0, np.nan, 3.0, 8.0])}, {"text": 2.5})
    row = table.iloc[0]
    assert (row["rows"], row["low"], row["median"], row["mean"], row["high"]) == (3, 1, 3, 4, 8)
    assert row["seconds"] == 2.5
    assert np.isnan(summary_table({"words": np.array([np.nan])}, {})["low"][0])


def test_agreement_is_spearmans_over_the_rows_that_both_have():
    random = np.random.default_rng(1)
    a, b = random.random(50), random.integers(4, size=50).astype(float)
    c = np.where(random.random(50) < 0.3, np.nan, a + random.random(50))
    found = agreement({"words": a, "level": b, "loss": c, "length": np.ones(50)})
    assert found.loc["words", "level"] == pytest.approx(stats.spearmanr(a, b).statistic)
    both = np.isfinite(c)
    expected = stats.spearmanr(b[both], c[both]).statistic
    assert found.loc["level", "loss"] == found.loc["loss", "level"] == pytest.approx(expected)
    assert found["length"].isna().all() and found.loc["loss", "loss"] == pytest.approx(1)
    few = agreement({"words": np.arange(9.0), "level": np.arange(9.0)})
    assert few.isna().all(axis=None)


def test_foretelling_takes_what_has_not_seen_the_failures():
    failed = np.array([1.0, 0.0, 1.0, 0.0, np.nan])
    seen, unseen = np.array([1.0, 0, 1, 0, 5]), np.array([0.0, 0.2, 0.3, 0.1, 5])
    held_out = HeldOut(failed, "told", {"loss": unseen})
    table = foretelling({"loss": seen, "level": seen}, held_out).set_index("measure")
    assert table.loc["loss", "auroc"] == failure_auroc(unseen[:4], failed[:4]).estimate == 0.5
    assert table.loc["level", "auroc"] == 1.0 and (table["rows"] == 4).all()
    everything = foretelling({"level": seen}, HeldOut(np.ones(5), "told"))
    assert everything["auroc"].isna().all()


def test_points_are_drawn_where_all_measures_are_there():
    values = {"words": np.arange(5000.0), "loss": np.where(np.arange(5000) % 2, 1.0, np.nan)}
    points = some_points(values, ["words", "loss"], 0)
    assert len(points) == 1500 and (points["words"] % 2 == 1).all()


def test_every_measure_has_a_meaning_and_can_be_chosen():
    for name, measure in MEASURES.items():
        assert chosen_measures(name.replace("_", "-"), ALL) == [name] and measure.meaning
    auto = chosen_measures("auto", ALL)
    assert auto[0] == "level" and "perplexity" not in auto and len(set(auto)) == len(auto)
    assert "el2n" not in chosen_measures("auto", ALL, left_out={"dynamics"})
    assert chosen_measures(["loss", "auto", "loss"], ALL)[0] == "loss"
    assert chosen_measures("2pl, nll", ALL) == ["irt_2pl", "loss"]
    with pytest.raises(InputError, match=r"got 'forgeting'\. Did you mean forgetting"):
        chosen_measures("forgeting", ALL)


@pytest.mark.parametrize(
    ("keys", "expected", "by"),
    [
        (["b", "x"], [-1, 0, -1], "ids"),
        ([2, 0], [1, -1, 0], "row numbers"),
        (["2", "0", "9"], [1, -1, 0], "row numbers"),
        ([" why? ", "what?"], [1, 0, 0], "prompts"),
    ],
)
def test_keys_are_ids_or_numbers_or_prompts(keys, expected, by):
    prompts = np.array([prompt_key(one) for one in ("what?", "why?", "why?")], dtype=np.uint64)
    rows = RowKeys(np.array(["a", "b", "c"], dtype=object), False, prompts)
    found = match_keys(keys, rows, "log")
    assert found.key.tolist() == expected and found.by == by
    assert found.unknown == len(keys) - len({one for one in expected if one >= 0})
    spread = found.spread(np.arange(len(keys)))
    np.testing.assert_array_equal(np.isnan(spread), np.array(expected) < 0)


def test_numbers_are_no_row_numbers_where_there_are_ids():
    rows = RowKeys(np.array([10, 11]), True, None)
    assert match_keys(["11"], rows, "log").key.tolist() == [-1, 0]
    with pytest.raises(InputError, match="log: expected ids of the data, but 2 keys of it mean no"):
        match_keys([0, 1], rows, "log")


def test_times_in_words():
    told = [duration(seconds) for seconds in (0.01, 89, 90, 5399, 36_000)]
    assert told == ["1 second", "89 seconds", "2 minutes", "90 minutes", "10.0 hours"]
