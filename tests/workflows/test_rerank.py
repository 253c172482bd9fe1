import json

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import gradatim
from gradatim.core.errors import InputError
from gradatim.core.statistics import paired_interval, proportion_interval
from gradatim.evaluators.voting import best_of_n, majority_vote, weighted_vote
from gradatim.metrics.pass_at_k import pass_at_k


def candidates(problems=30, places=8, seed=0):
    """Random candidates; answers are right more often at lower levels, scores know a little."""
    generator = np.random.default_rng(seed)
    rows = []
    for problem in range(problems):
        level = problem % 3 + 1
        for _ in range(places):
            right = generator.random() < 0.9 - 0.25 * level
            answer = "7" if right else str(generator.integers(0, 3))
            answer = None if generator.random() < 0.1 else answer
            score = round(generator.random() * 0.7 + 0.3 * right, 3)
            rows.append((f"p{problem}", level, answer, score, "7.0"))
    columns = ["problem", "level", "answer", "score", "reference"]
    return pd.DataFrame(rows, columns=columns).sample(frac=1, random_state=seed)


@pytest.fixture
def table():
    return candidates()


def test_choices_are_those_of_the_rules(table):
    result = gradatim.rerank(table, level="level", reference="reference")
    for row in result.choices.to_dict("records"):
        mine = table[table["problem"] == row["problem"]]
        answers = [None if a is None or a != a else a for a in mine["answer"]]
        scores = mine["score"].to_numpy()
        want = (majority_vote(answers), weighted_vote(answers, scores), best_of_n(answers, scores))
        assert (row["majority"], row["weighted"], row["best_of_n"]) == want
        assert row["majority_correct"] == (want[0] == "7")
        assert table.iloc[row["best_of_n_row"]]["answer"] == want[2]
        assert row["level"] == mine["level"].iloc[0] and row["candidates"] == 8


def test_accuracies_per_level_with_intervals_and_paired_differences(table):
    result = gradatim.rerank(table, level="level", reference="reference")
    choices = result.choices
    assert list(dict.fromkeys(result.accuracy["level"])) == ["all", 1, 2, 3]
    for row in result.accuracy.to_dict("records"):
        mine = choices if row["level"] == "all" else choices[choices["level"] == row["level"]]
        hits = mine[f"{row['rule']}_correct"].to_numpy()
        interval = proportion_interval(int(hits.sum()), len(hits))
        assert (row["accuracy"], row["low"]) == (interval.estimate, interval.low)
        if row["rule"] != "majority" and (hits != mine["majority_correct"]).any():
            pair = paired_interval(hits, mine["majority_correct"])
            assert (row["difference"], row["difference_low"]) == (pair.estimate, pair.low)


def test_pass_at_k_and_curves(table):
    result = gradatim.rerank(table, level="level", reference="reference", ks=[1, 4, 8])
    right = (table["answer"] == "7").groupby(table["problem"]).sum().to_numpy()
    whole = result.pass_at_k[result.pass_at_k["level"] == "all"].set_index("k")["pass_at_k"]
    for k in (1, 4, 8):
        assert whole[k] == pytest.approx(pass_at_k(8, right, k).mean())
    curve = result.curve.set_index(["level", "rule", "n"])["accuracy"]
    accuracy = result.accuracy.set_index(["level", "rule"])["accuracy"]
    for level in ("all", 1, 2, 3):
        for rule in ("majority", "weighted", "best_of_n", "oracle"):
            assert curve[level, rule, 8] == pytest.approx(accuracy[level, rule])
            assert curve[level, rule, 1] == pytest.approx(curve[level, "oracle", 1])


def test_every_form_of_input_gives_the_same(table, tmp_path):
    want = gradatim.rerank(table, reference="reference").choices
    table = table.reset_index(drop=True)
    table.to_parquet(tmp_path / "c.parquet")
    table.to_csv(tmp_path / "c.csv", index=False)
    table.to_json(tmp_path / "c.jsonl", orient="records", lines=True)
    forms = [
        pa.Table.from_pandas(table),
        datasets.Dataset.from_pandas(table),
        pa.Table.from_pandas(table).to_pydict(),
        *(tmp_path / f"c.{ending}" for ending in ("parquet", "csv", "jsonl")),
        str(tmp_path / "c.csv"),
    ]
    for form in forms:
        got = gradatim.rerank(form, reference="reference").choices
        pd.testing.assert_frame_equal(got, want, check_dtype=False)


def test_without_correctness_the_choices_remain(table):
    result = gradatim.rerank(table)
    assert result.accuracy is result.pass_at_k is result.curve is None
    assert "majority_correct" not in result.choices
    assert any("there are no accuracies" in note for note in result.notes)
    assert "Choices" in result._repr_html_()
    with pytest.raises(InputError, match="correctness is not known"):
        result.figure()


def test_without_scores_only_the_majority_and_it_is_said(table):
    result = gradatim.rerank(table.drop(columns="score"), reference="reference")
    assert list(dict.fromkeys(result.accuracy["rule"])) == ["majority", "oracle"]
    assert any("no column 'score': only the majority" in note for note in result.notes)
    with pytest.raises(InputError, match="expected a column 'prm'"):
        gradatim.rerank(table, score="prm")


def test_several_scores_get_their_own_rules(table):
    table = table.assign(orm=table["score"] ** 2)
    result = gradatim.rerank(table, score=["score", "orm"])
    names = [name for name in result.choices if not name.endswith("_row")]
    assert names[2:] == [
        *("majority", "weighted:score", "best_of_n:score", "weighted:orm", "best_of_n:orm"),
    ]
    best = result.choices[["best_of_n:score_row", "best_of_n:orm_row"]].to_numpy()
    assert (best[:, 0] == best[:, 1]).all()


def test_equal_answers_are_counted_together():
    pytest.importorskip("math_verify")
    table = {
        "problem": [1] * 5,
        "answer": ["3", "1/2", "3", "0.5", r"\frac{\sqrt{1}}{2}"],
        "correct": [0, 1, 0, 1, 1],
    }
    assert gradatim.rerank(table, score=None).choices["majority"][0] == "1/2"
    exact = gradatim.rerank(table, score=None, equality="exact", correct="correct")
    assert exact.choices["majority"][0] == "3"
    assert gradatim.rerank(table, correct="correct").accuracy["accuracy"][0] == 1.0


def test_what_is_out_of_the_ordinary_is_counted():
    table = {
        "problem": ["a", "a", "a", "b", "c", "c"],
        "answer": ["1", "", None, "2", float("nan"), None],
        "score": [0.1, 0.9, 0.8, 0.5, 0.1, 0.2],
        "correct": [False, True, False, True, False, False],
    }
    table["answer"][4] = None
    result = gradatim.rerank(table, correct="correct")
    counts = result.counts
    assert (counts.problems, counts.candidates) == (3, 6)
    assert (counts.fewest_candidates, counts.most_candidates, counts.one_candidate) == (1, 3, 1)
    assert (counts.unparsable, counts.no_parsable, counts.no_correct) == (4, 1, 2)
    assert result.choices["majority"].tolist()[:2] == ["1", "2"]
    assert result.choices["majority_row"].tolist() == [0, 3, -1]
    assert result.unparsable["row"].tolist() == [1, 2, 4, 5]
    assert any("unequally many" in note for note in result.notes)
    points = gradatim.rerank(table, correct="correct", ks=[1, 2, 3, 9]).curve
    assert points["problems"][:4].tolist() == [3, 2, 1, 0] and np.isnan(points["accuracy"][3])


def test_answers_judged_both_ways_are_counted():
    table = {"problem": [1, 1, 1], "answer": ["2", "2.0", "3"], "correct": [True, False, False]}
    result = gradatim.rerank(table, correct="correct")
    assert result.counts.judged_both_ways == 1 and result.accuracy["accuracy"][0] == 1.0


def test_score_kinds():
    table = {"problem": [1] * 3, "answer": ["a", "b", "b"], "score": [-1.0, -2.0, -2.5]}
    weights = np.exp(table["score"])
    want = "a" if weights[0] > weights[1] + weights[2] else "b"
    assert gradatim.rerank(table, score_kind="logprob").choices["weighted"][0] == want == "a"
    assert gradatim.rerank(table, score_kind="logit").choices["weighted"][0] == "a"
    table["score"] = [-1000.0, -1001.0, -1000.9]
    assert gradatim.rerank(table, score_kind="logprob").choices["weighted"][0] == "a"
    table["score"] = [3.0, 2.9, 2.9]
    assert gradatim.rerank(table, score_kind="logit").choices["weighted"][0] == "b"
    table["score"] = [-1.0, -2.0, -2.5]
    rules = ("majority", "best_of_n")
    assert gradatim.rerank(table, rules=rules).choices["best_of_n"][0] == "a"


def test_responses_and_logs(tmp_path):
    responses = {"problem": [1, 1], "response": [r"so \boxed{3}", "the sum is 4"]}
    result = gradatim.rerank(responses, answer="response", extract=True)
    assert result.choices["majority"][0] == "3" and result.counts.unparsable == 1
    assert result.unparsable["given"].tolist() == ["the sum is 4"]
    outputs = [
        {"text": r"\boxed{1}", "cumulative_logprob": -1.0},
        {"text": r"\boxed{2}", "cumulative_logprob": -2.0},
        {"text": r"\boxed{2}", "cumulative_logprob": -2.0},
    ]
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"prompt": "p", "outputs": outputs, "level": 4}) + "\n")
    result = gradatim.rerank(path, level="level")
    assert result.choices[["majority", "weighted", "best_of_n"]].values.tolist() == [
        ["2", "1", "1"]
    ]
    assert any("softmax" in note for note in result.notes)
    with pytest.raises(InputError, match=r"log\.jsonl: expected a column 'grade'"):
        gradatim.rerank(path, level="grade")


def test_lm_eval_targets_are_the_reference(tmp_path):
    record = {"doc_id": 0, "doc": {}, "target": "#### 5", "resps": [["#### 5.0", "#### 6"]]}
    path = tmp_path / "samples.jsonl"
    path.write_text(json.dumps(record) + "\n")
    assert gradatim.rerank(path).accuracy["accuracy"].tolist() == [1.0, 1.0]


GOOD = {
    "problem": [1, 1, 2],
    "answer": ["1", "2", "3"],
    "score": [0.1, 0.2, 0.3],
    "level": [1, 1, 2],
    "correct": [True, False, True],
    "reference": ["1", "1", "2"],
}


@pytest.mark.parametrize(
    ("change", "arguments", "told"),
    [
        ({"score": [0.1, float("nan"), 1]}, {}, "row 1, column 'score': expected a finite number"),
        (
            {"score": ["x", "y", "z"]},
            {},
            "row 0, column 'score': expected a finite number, got 'x'",
        ),
        ({"score": [0.1, 0.2, -3]}, {}, "row 2, column 'score': expected scores of at least 0"),
        ({}, {"level": "levle"}, "expected a column 'levle'.*Did you mean level"),
        ({}, {"answer": "response"}, "expected a column 'response'"),
        ({"level": [1, 2, 2]}, {"level": "level"}, "row 1, column 'level': expected 1 as in the"),
        ({"reference": ["1", "2", "2"]}, {"reference": "reference"}, "row 1, column 'reference'"),
        ({"reference": ["1", None, "2"]}, {"reference": "reference"}, "row 1, column 'reference'"),
        ({"correct": [1, 2, 0]}, {"correct": "correct"}, "row 1, column 'correct': expected true"),
        ({"correct": [True, None, False]}, {"correct": "correct"}, "row 1, column 'correct'"),
        ({"problem": [1, None, 2]}, {}, "row 1, column 'problem': expected a label"),
        ({name: [] for name in GOOD}, {}, "holds no rows"),
        ({}, {"correct": "correct", "reference": "reference"}, "expected one of them, got both"),
        ({}, {"rules": ["vote"]}, "rules: expected one of"),
        ({}, {"rules": "majority"}, "rules: expected some of"),
        ({}, {"score_kind": "log"}, "score_kind: expected one of"),
        ({}, {"ks": [0]}, "ks: expected a number"),
    ],
)
def test_bad_input_is_one_clear_error(change, arguments, told):
    with pytest.raises(InputError, match=told):
        gradatim.rerank(GOOD | change, **arguments)


@pytest.mark.parametrize("values", [["True", "false", "TRUE"], [1, 0, 1], [1.0, 0.0, 1.0]])
def test_what_looks_like_true_and_false_is_taken(values):
    result = gradatim.rerank(GOOD | {"correct": values}, correct="correct")
    assert result.choices["oracle_correct"].tolist() == [True, True]


def test_saving_never_overwrites_unless_told(table, tmp_path):
    table.to_csv(tmp_path / "accuracy.csv", index=False)
    result = gradatim.rerank(tmp_path / "accuracy.csv", level="level", reference="reference")
    with pytest.raises(InputError, match="is an input of this job"):
        result.save(tmp_path, overwrite=True)
    folder = result.save(tmp_path / "out")
    names = ["accuracy.csv", "choices.parquet", "counts.json", "curve.csv", "pass_at_k.csv"]
    assert sorted(p.name for p in folder.iterdir()) == [*names, "report.html", "unparsable.csv"]
    assert len(pd.read_parquet(folder / "choices.parquet")) == 30
    assert json.loads((folder / "counts.json").read_text())["candidates"] == 240
    before = (folder / "report.html").read_bytes()
    with pytest.raises(InputError, match="exists already and is not overwritten"):
        result.save(folder)
    result.save(folder, overwrite=True)
    assert (folder / "report.html").read_bytes() == before


def test_the_report_is_self_contained_and_escapes(table, tmp_path):
    table = table.assign(
        answer=table["answer"].mask(table["problem"] == "p1", "<script>x</script>")
    )
    result = gradatim.rerank(table, level="level", reference="reference", equality="exact")
    page = result.report(tmp_path / "r.html").read_text()
    assert page.count("<svg") == 1 and "best of N" in page and "95% intervals" in page
    assert "<script" not in page and "http" not in page.replace("http://www.w3.org", "")
    with pytest.raises(InputError, match="exists already"):
        result.report(tmp_path / "r.html")
    assert result.figure().axes[0].get_title() == "all problems"
