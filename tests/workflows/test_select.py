import json

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from gradatim.core.errors import InputError
from gradatim.curriculum.response_budget import targets_of_total
from gradatim.selection.k_center import k_center
from gradatim.selection.robust_queries import inclusion_probabilities, robust_query_distribution
from gradatim.workflows.select import select


def pool(rows=200, seed=0):
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "text": [f"row {i}" for i in range(rows)],
            "fail_rate": random.integers(0, 17, rows) / 16,
            "level": random.choice(["easy", "medium", "hard"], rows, p=[0.6, 0.3, 0.1]),
            "topic": random.choice(["a", "b"], rows),
            "x": random.normal(size=rows),
            "vector": list(random.normal(size=(rows, 4))),
        }
    )


@pytest.fixture
def table():
    return pool()


OPTIONS = {
    "top": {"by": "fail_rate"},
    "uniform": {},
    "stratified": {"by": "level"},
    "prop2diff": {"by": "fail_rate"},
    "robust": {"by": "fail_rate", "teacher_accuracy": 0.8},
    "k-center": {"features": ["vector", "x"]},
}


@pytest.mark.parametrize("method", OPTIONS)
def test_every_method_gives_different_rows_reasons_and_probabilities(table, method):
    before = table.copy(deep=True)
    result = select(table, 30, method=method, **OPTIONS[method])
    rows = result.rows
    assert (
        len(rows) == 30 == len(set(result.positions))
        and (rows["pool_row"] == result.positions).all()
    )
    assert rows["text"].tolist() == table["text"].iloc[result.positions].tolist()
    assert rows["reason"].str.len().gt(10).all()
    assert rows["probability"].between(0, 1, inclusive="right").all()
    assert result.strata["chosen"].sum() == 30 and result.strata["pool"].sum() == 200
    again = select(table, 30, method=method, **OPTIONS[method])
    pd.testing.assert_frame_equal(again.rows, rows)
    pd.testing.assert_frame_equal(table, before)


def test_the_hardest_and_how_ties_are_told(table):
    result = select(table, 25, by="fail_rate", method="top")
    values = result.rows["fail_rate"].to_numpy()
    assert values.tolist() == sorted(table["fail_rate"], reverse=True)[:25]
    last = values[-1]
    tied, above = (table["fail_rate"] == last).sum(), (table["fail_rate"] > last).sum()
    if above + tied > 25:
        assert any("tie at fail_rate" in note for note in result.notes)
        share = (25 - above) / tied
        assert result.rows["probability"].iloc[-1] == pytest.approx(share)
    assert result.rows["reason"][0].startswith("fail_rate 1, rank 1 of 200")
    picks = {
        tuple(select(table, 3, by="fail_rate", method="top", seed=s).positions) for s in range(9)
    }
    assert len(picks) > 1


def test_strata_of_words_are_equal_in_number_and_in_order(table):
    result = select(table, 45, by="level")
    assert result.strata["stratum"].tolist() == ["easy", "medium", "hard"]
    assert result.strata["chosen"].tolist() == [15, 15, 15]
    sizes = table["level"].value_counts()
    for name, group in result.rows.groupby("stratum"):
        assert (group["level"] == name).all()
        assert group["probability"].to_numpy() == pytest.approx(15 / sizes[name])


def test_a_small_stratum_gives_all_it_has_and_says_so(table):
    few = int((table["level"] == "hard").sum())
    result = select(table, 150, by="level")
    assert result.strata["chosen"].tolist()[2] == few and result.strata["chosen"].sum() == 150
    assert abs(np.diff(result.strata["chosen"][:2])[0]) <= 1 or (
        result.strata["chosen"][1] == result.strata["pool"][1]
    )
    assert any(f"stratum hard has {few} rows" in note for note in result.notes)
    whole = select(table, 200, by="level")
    assert sorted(whole.positions) == list(range(200))


def test_shares(table):
    result = select(table, 40, by="level", shares={"easy": 1, "medium": 3})
    assert result.strata["chosen"].tolist() == [10, 30, 0]
    by_topic = select(table, 20, strata="topic", shares={"b": 1})
    assert (by_topic.rows["topic"] == "b").all()


def test_strata_of_numbers():
    table = pd.DataFrame({"loss": np.arange(100.0)})
    three = select(table, 30, by="loss").strata
    assert three["stratum"].tolist() == ["easy", "medium", "hard"]
    assert three["pool"].tolist() == [30, 40, 30] and three["chosen"].tolist() == [10, 10, 10]
    assert three["told"][0] == "loss from 0 to 29"
    five = select(table, 30, by="loss", strata=5).strata
    assert five["pool"].tolist() == [20] * 5 and five["chosen"].tolist() == [6] * 5
    levels = select({"grade": ["Level 1", "Level 3"] * 3}, 2, by="grade").strata
    assert levels["stratum"].tolist() == ["1", "3"]
    levels = select({"grade": [1, 2, 3, 2, 1, 3]}, 3, by="grade").strata
    assert levels["stratum"].tolist() == ["1", "2", "3"]


def test_prop2diff_draws_in_proportion(table):
    counts = np.zeros(200)
    for seed in range(300):
        counts[select(table, 20, by="fail_rate", method="prop2diff", seed=seed).positions] += 1
    expected = inclusion_probabilities(table["fail_rate"], 20)
    assert np.corrcoef(counts / 300, expected)[0, 1] > 0.75
    assert counts[table["fail_rate"] == 0].sum() == 0
    level = counts.reshape(1, -1) @ pd.get_dummies(table["fail_rate"]).to_numpy(dtype=float)
    assert np.corrcoef(level[0], table.groupby("fail_rate")["fail_rate"].sum())[0, 1] > 0.97


def test_robust_probabilities_are_those_of_the_closed_form(table):
    result = select(table, 20, by="fail_rate", method="robust", num_wrong=40)
    found = robust_query_distribution(table["fail_rate"], 40, min_support=20)
    included = inclusion_probabilities(found.probabilities, 20)
    assert result.rows["probability"].to_numpy() == pytest.approx(included[result.positions])
    same = select(table, 20, by="fail_rate", method="robust", teacher_accuracy=0.8)
    assert same.positions.tolist() == result.positions.tolist()
    assert "40 labels of the pool are taken to be wrong" in result.notes[0]


def test_k_center_with_columns_or_an_array(table):
    matrix = np.stack(table["vector"])
    rows = k_center(matrix, 9)[0].tolist()
    for features in ("vector", ["vector"], matrix):
        assert select(table, 9, method="k-center", features=features).positions.tolist() == rows
    scaled = select(table.assign(y=table["x"] * 1e6), 5, method="k-center", features=["x", "y"])
    alone = select(table, 5, method="k-center", features="x")
    assert scaled.positions.tolist() == alone.positions.tolist()


def test_responses_are_shared_out(table):
    result = select(table, 1_000, by="fail_rate", method="prop2diff", unit="responses")
    targets, k = targets_of_total(table["fail_rate"], "prop2diff", 1_000)
    assert (result.rows["target"] == targets).all() and len(result.rows) == 200
    assert result.strata["chosen"].sum() == targets.sum() <= 1_000
    assert f"k = {k}" in result.notes[0]
    assert np.isinf(result.rows["expected_trials"]).any()
    assert any("sampled for ever" in note for note in result.notes)
    capped = select(table, 1_000, by="fail_rate", method="uniform", unit="responses", max_trials=64)
    assert (capped.rows["target"] == 5).all() and capped.rows["expected_trials"].max() == 64
    assert "probability" not in capped.rows and "5 right responses" in capped.rows["reason"][0]


def test_every_form_of_input_gives_the_same(table, tmp_path):
    plain = table.drop(columns="vector")
    want = select(plain, 20, by="fail_rate").rows
    plain.to_parquet(tmp_path / "p.parquet", row_group_size=30)
    plain.to_csv(tmp_path / "p.csv", index=False)
    plain.to_json(tmp_path / "p.jsonl", orient="records", lines=True)
    forms = [
        pa.Table.from_pandas(plain),
        datasets.Dataset.from_pandas(plain),
        {name: plain[name].tolist() for name in plain},
        *(tmp_path / f"p.{ending}" for ending in ("parquet", "csv", "jsonl")),
        str(tmp_path / "p.csv"),
    ]
    for form in forms:
        got = select(form, 20, by="fail_rate").rows
        pd.testing.assert_frame_equal(got, want, check_dtype=False)
    top = select(plain, 20, by="fail_rate", method="top").rows
    read = select(tmp_path / "p.parquet", 20, by="fail_rate", method="top").rows
    pd.testing.assert_frame_equal(read, top, check_dtype=False)


def test_what_is_not_needed_for_the_choice_may_be_anything(table):
    odd = table.assign(anything=[object() if row % 2 else "x" for row in range(200)])
    odd.index = odd.index[::-1]
    rows = select(odd, 7, by="fail_rate", method="top").rows
    assert rows["anything"].tolist() == odd["anything"].iloc[rows["pool_row"]].tolist()
    with pytest.raises(
        InputError, match=r"data frame: expected a column 'lvl'.* and \d+ more|level"
    ):
        select(odd, 7, by="lvl")


def test_columns_of_an_earlier_selection_stay(table):
    first = select(table, 50, by="fail_rate", method="top").rows
    second = select(first, 10, method="uniform").rows
    assert {"reason", "reason_2", "pool_row", "pool_row_2"} <= set(second.columns)
    assert second["reason"].str.contains("rank").all()


@pytest.mark.parametrize(
    ("budget", "options", "told"),
    [
        (201, {"by": "level"}, "budget: expected at most 200, the rows of the pool, got 201"),
        (0, {"by": "level"}, "budget: expected a number in"),
        (5, {"by": "levle"}, "data frame: expected a column 'levle'.*Did you mean level"),
        (5, {"strata": "topics"}, "expected a column 'topics'"),
        (5, {"by": "topic"}, "row 0, column 'topic': expected a level.*given as strata"),
        (5, {"by": "level", "shares": {"tricky": 1}}, "shares: .* got 'tricky', which is empty"),
        (60, {"by": "level", "shares": {"hard": 1}}, "expected 60 rows of stratum 'hard'"),
        (5, {"by": "level", "shares": {"hard": -1}}, r"shares\['hard'\]: expected a number of at"),
        (5, {"by": "level", "shares": {"hard": 0}}, "shares: expected one above 0"),
        (5, {"by": "level", "strata": 9}, "expected rows in each of 9 strata.* ask for"),
        (5, {"by": "fail_rate", "strata": 1}, "strata: expected at least 2, got 1"),
        (5, {"strata": 4}, "strata: expected a column of labels, or a difficulty"),
        (5, {}, "stratified: expected a difficulty"),
        (5, {"method": "top"}, "top: expected a column with the difficulty"),
        (5, {"method": "best"}, "method: expected one of top, uniform"),
        (5, {"method": "robust", "by": "fail_rate"}, "robust: expected either num_wrong"),
        (
            5,
            {"method": "robust", "by": "fail_rate", "num_wrong": 1, "teacher_accuracy": 0.9},
            "robust: expected either",
        ),
        (5, {"method": "robust", "by": "fail_rate", "num_wrong": 200}, "num_wrong: expected"),
        (5, {"method": "prop2diff", "by": "x"}, "column 'x': expected a number of at least 0"),
        (199, {"method": "prop2diff", "by": "fail_rate"}, "the rows whose fail_rate is above 0"),
        (5, {"method": "k-center"}, "k-center: expected features"),
        (5, {"method": "k-center", "features": "text"}, "column 'text': expected numbers or lists"),
        (5, {"method": "k-center", "features": np.ones(3)}, r"features: .* shape \[200, D\]"),
        (5, {"method": "top", "by": "x", "shares": {"a": 1}}, "shares: expected the method strat"),
        (5, {"unit": "tokens"}, "unit: expected one of rows, responses"),
        (500, {"unit": "responses", "by": "fail_rate"}, "method: expected one of uniform, prop2d"),
        (
            199,
            {"unit": "responses", "by": "fail_rate", "method": "uniform"},
            "budget: expected at least 200, a response for every row, got 199",
        ),
        (500, {"unit": "responses", "method": "uniform"}, "responses: expected a column with"),
    ],
)
def test_bad_input_is_one_clear_error(table, budget, options, told):
    with pytest.raises(InputError, match=told) as caught:
        select(table, budget, **options)
    assert "\n" not in str(caught.value)


def test_values_that_are_missing_or_no_numbers(table, tmp_path):
    with pytest.raises(InputError, match="row 7, column 'fail_rate': expected a level"):
        select(
            table.assign(fail_rate=table["fail_rate"].where(table.index != 7)), 5, by="fail_rate"
        )
    table["level"].mask(table.index == 5, "tricky").to_frame().to_csv(
        tmp_path / "t.csv", index=False
    )
    with pytest.raises(InputError, match=r"t\.csv, row 5, column 'level': expected a level"):
        select(tmp_path / "t.csv", 5, by="level")
    short = [*list(table["vector"][:3]), [1.0], *list(table["vector"][4:])]
    with pytest.raises(InputError, match="row 3, column 'vector': expected 4 numbers"):
        select(table.assign(vector=short), 5, method="k-center", features="vector")
    with pytest.raises(InputError, match="holds no rows"):
        select({"a": []}, 1, method="uniform")
    with pytest.raises(InputError, match="no such file"):
        select(tmp_path / "none.csv", 1, method="uniform")


def test_saving_never_overwrites_unless_told(table, tmp_path):
    plain = table.drop(columns="vector")
    plain.to_csv(tmp_path / "pool.csv", index=False)
    result = select(tmp_path / "pool.csv", 12, by="level")
    with pytest.raises(InputError, match="is an input of this job"):
        result.save(tmp_path / "pool.csv", overwrite=True)
    for ending, read in (("parquet", pd.read_parquet), ("csv", pd.read_csv)):
        path = result.save(tmp_path / f"chosen.{ending}")
        assert read(path)["reason"].tolist() == result.rows["reason"].tolist()
        with pytest.raises(InputError, match="exists already"):
            result.save(path)
    lines = result.save(tmp_path / "chosen.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["stratum"] in ("easy", "medium", "hard")
    with pytest.raises(InputError, match="expected a table whose name ends in"):
        result.save(tmp_path / "chosen.txt")


def test_the_report_is_self_contained_and_escapes(table, tmp_path):
    table = table.assign(text="<script>x</script>")
    result = select(table, 30, by="level")
    page = result.report(tmp_path / "r.html").read_text()
    assert "<h2>Strata</h2>" in page and "stratum hard" in page and "and 10 more" in page
    assert "<script" not in page and "http" not in page
    assert "Strata" in result._repr_html_()
    assert result.sentence() == "30 of 200 rows chosen by level (stratified)"
