"""Fail rates, item response theory and ratings, from tables and logs of all kinds."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gradatim.core.errors import InputError
from gradatim.core.io.tables import write_table
from gradatim.difficulty.comparison_graph import DisconnectedWarning, ExtremeItemWarning
from gradatim.evaluators.answers import AnswerVerifier
from gradatim.workflows.score import score
from gradatim.workflows.score_attempts import read_attempts
from gradatim.workflows.score_evidence import attempt_columns
from gradatim.workflows.score_ratings import (
    held_out_responses,
    read_game_table,
    read_response_table,
)
from tests.workflows.score_data import sums, tiny, write_jsonl

pytestmark = pytest.mark.filterwarnings("ignore:of .* items:UserWarning")


def solved(rows=40, subjects=25, seed=0):
    """Responses by the logistic model, a frame of subject, item and correct, and difficulties."""
    random = np.random.default_rng(seed)
    hard, able = np.sort(random.normal(size=rows)), random.normal(size=subjects)
    p = 1 / (1 + np.exp(2 * (hard - able[:, None])))
    right = (random.random(p.shape) < p).astype(int)
    who, what = np.indices(p.shape).reshape(2, -1)
    frame = pd.DataFrame({"subject": who, "item": what, "correct": right.ravel()})
    return frame.assign(subject=[f"m{one}" for one in frame["subject"]]), hard


def test_the_fail_rate_and_its_deviation():
    found = attempt_columns(np.array([0.0, 4.0, 1.0, 0.0]), np.array([4.0, 4.0, 2.0, 0.0]))
    np.testing.assert_array_equal(found["fail_rate"], [1, 0, 0.5, np.nan])
    expected = [stats.beta(5, 1).std(), stats.beta(1, 5).std(), stats.beta(2, 2).std(), np.nan]
    np.testing.assert_allclose(found["fail_rate_std"], expected)


@pytest.mark.parametrize("key", ["own ids", "row numbers", "content ids", "prompts"])
def test_attempts_are_matched_by_whatever_names_them(key):
    frame = sums(12).assign(name=[f"q{row}" for row in range(12)])
    ids = score(frame, measure="length").rows["id"]
    names = {
        "own ids": frame["name"],
        "row numbers": range(12),
        "content ids": ids,
        "prompts": frame["question"],
    }[key]
    attempts = pd.DataFrame(
        [(name, row % 4 > attempt) for row, name in enumerate(names) for attempt in range(3)],
        columns=["id", "correct"],
    ).iloc[3:]
    result = score(
        frame, measure="fail_rate", attempts=attempts.sample(frac=1, random_state=0),
        id="name" if key == "own ids" else None,
    )  # fmt: skip
    expected = [1 - (row % 4) / 3 for row in range(12)]
    np.testing.assert_allclose(result.values("fail_rate")[1:], expected[1:])
    assert np.isnan(result.values("fail_rate")[0]) or frame["question"].duplicated().any()
    assert any("11 questions, found by" in note for note in result.notes)
    assert any("were not tried" in note for note in result.notes)


def test_tables_of_attempts():
    counts = {"item": ["a", "b"], "n_correct": [1, 3], "n_trials": [4, 3]}
    log = read_attempts(counts)
    assert log.keys == ["a", "b"] and log.n_correct.tolist() == [1, 3]
    texts = {"id": [1, 1, 2], "correct": ["True", "false", "1"]}
    assert read_attempts(texts).n_correct.tolist() == [1, 1]
    answers = {
        "id": [1, 1, 2, 2],
        "answer": ["I get 8", "so the answer is 7", "1/2", "0.6"],
        "reference": ["7", "7", "0.5", "0.5"],
    }
    log = read_attempts(answers)
    with AnswerVerifier() as verifier:
        right, trials = log.verified(verifier)
    assert right.tolist() == [1, 1] and trials.tolist() == [2, 2] and not log.needs_references


def openai(n, texts):
    choices = [{"message": {"role": "assistant", "content": text}} for text in texts]
    return {"custom_id": f"q{n}", "response": {"status_code": 200, "body": {"choices": choices}}}


def vllm(question, texts):
    return {"prompt": question, "outputs": [{"text": text} for text in texts]}


def lm_eval(n, right, name="strict-match", **more):
    doc = {"question": f"{n}+{n}?", "answer": str(2 * n)}
    return {
        "doc_id": n, "doc": doc, "target": f"#### {2 * n}", "resps": [["7"]], "filter": name,
        "exact_match": float(right), **more,
    }  # fmt: skip


def test_logs_of_chat_and_vllm_are_verified_against_the_data(tmp_path):
    frame = sums(5).assign(key=[f"q{n}" for n in range(5)])
    right = frame["answer"].str.partition("#### ")[2]
    texts = [
        [rf"\boxed{{{answer}}}"] * n + ["The answer is -1."] * (4 - n)
        for n, answer in enumerate(right)
    ]
    one = write_jsonl(tmp_path / "batch.jsonl", [openai(n, own) for n, own in enumerate(texts)])
    two = write_jsonl(
        tmp_path / "vllm.jsonl",
        [vllm(q, own) for q, own in zip(frame["question"], texts, strict=True)],
    )
    expected = [1 - n / 4 for n in range(5)]
    for log, options in ((one, {"id": "key"}), (two, {})):
        result = score(frame, measure="fail_rate", attempts=log, **options)
        np.testing.assert_allclose(result.values("fail_rate"), expected)
        assert "answers are verified" in result.costs[0]


def test_logs_of_lm_eval_count_their_metric_once(tmp_path):
    lines = [lm_eval(n, n % 2) for n in range(6)]
    lines += [lm_eval(n, 1, "flexible-extract") for n in range(6)]
    path = write_jsonl(tmp_path / "samples.jsonl", lines)
    log = read_attempts(path)
    assert log.n_trials.tolist() == [1] * 6 and log.n_correct.tolist() == [0, 1, 0, 1, 0, 1]
    assert "of several filters that of 'strict-match' counts" in log.notes[0]
    choice = {"doc_id": 0, "doc": {}, "target": "1", "resps": [[[-3.1, False]]], "acc": 1.0}
    assert read_attempts(write_jsonl(tmp_path / "mc.jsonl", [choice])).n_correct.tolist() == [1]
    several = lm_eval(3, 0, resps=[["the answer is 6", "the answer is 5", "6"]])
    log = read_attempts(write_jsonl(tmp_path / "several.jsonl", [several]))
    with AnswerVerifier() as verifier:
        assert [one.tolist() for one in log.verified(verifier)] == [[2], [3]]


def test_a_log_alone_is_scored_by_its_questions(tmp_path):
    path = write_jsonl(tmp_path / "samples.jsonl", [lm_eval(n, n % 2) for n in range(6)])
    result = score(path, measure="fail_rate")
    assert result.rows["id"].tolist() == list(range(6))
    assert result.values("fail_rate").tolist() == [1, 0, 1, 0, 1, 0]
    assert result.deciles["text"][0].startswith("1+1?")
    assert "length" in score(path).names
    table = write_table(solved()[0], tmp_path / "responses.csv")
    assert score(table, responses=table, measure="irt").rows["id"].tolist() == list(range(40))


def test_sampled_attempts_are_reproducible():
    frame, model = sums(4), tiny(max_position_embeddings=96)
    options = {"measure": "fail_rate", "model": model, "samples": 3, "longest": 4}
    one, other = score(frame, **options), score(frame, **options, block_rows=4)
    np.testing.assert_array_equal(one.values("fail_rate"), other.values("fail_rate"))
    assert one.costs == ("fail_rate: 3 attempts at each of 4 questions, at most 48 new tokens",)
    assert "fail_rate" not in score(frame, model=model).names


def test_item_response_theory_recovers_difficulty():
    responses, hard = solved(60, 60)
    data = pd.DataFrame({"item": range(60), "text": [f"question {n}" for n in range(60)]})
    result = score(
        data, id="item", responses=responses.sample(frac=1, random_state=0), compare=True,
        measure="irt_1pl,irt_2pl,glicko,elo",
    )  # fmt: skip
    for name in ("irt_1pl", "irt_2pl", "glicko", "elo"):
        assert stats.spearmanr(result.values(name), hard).statistic > 0.85, name
    for name in ("irt_1pl", "irt_2pl", "glicko"):
        assert (result.values(f"{name}_std") > 0).all()
    assert "elo_std" not in result.rows and result.failures.startswith("one response to each item")
    assert (result.foretelling["auroc"] > 0.6).all() and (result.foretelling["rows"] == 60).all()
    assert "fitted to 3,600 responses, twice" in result.costs[0]


def test_items_without_responses_have_no_value():
    responses, _ = solved(10)
    data = pd.DataFrame({"item": range(12)})
    result = score(data, id="item", responses=responses, measure="irt,elo")
    assert np.isnan(result.values("irt_2pl")[10:]).all()
    assert np.isfinite(result.values("elo")[:10]).all()
    assert any("2 rows do not have" in note for note in result.notes)
    assert np.isnan(result.side_table().column("difficulty")[-1])


def test_a_held_out_response_is_one_a_question_and_leaves_the_rest():
    responses = read_response_table(solved(8, 5)[0])
    items, right, rest = held_out_responses(responses, 0)
    assert items.tolist() == list(range(8)) and len(rest.items) == 32 and len(right) == 8
    counts = np.bincount(rest.items)
    assert (counts == 4).all()
    before = np.bincount(responses.items, responses.correct)
    np.testing.assert_array_equal(before, np.bincount(rest.items, rest.correct) + right)


def test_held_out_attempts_are_not_in_the_rate_that_is_compared():
    # With one attempt right and one wrong at every row, the rate without the one that was set
    # aside tells it exactly, in the wrong direction.
    attempts = pd.DataFrame({"id": np.repeat(range(30), 2), "correct": [0, 1] * 30})
    result = score(sums(30), measure="fail_rate,length", attempts=attempts, compare=True)
    foretold = result.foretelling.set_index("measure")
    assert foretold.loc["fail_rate", "auroc"] == 0.0 and foretold.loc["fail_rate", "rows"] == 30


def test_games():
    random = np.random.default_rng(0)
    strength = np.linspace(-2, 2, 10)
    a, b = random.integers(10, size=(2, 800))
    a, b = a[a != b], b[a != b]
    won = random.random(len(a)) < 1 / (1 + np.exp(strength[b] - strength[a]))
    names = np.array([f"p{n}" for n in range(10)])
    data = pd.DataFrame({"id": names})
    one = pd.DataFrame({"player": names[a], "opponent": names[b], "score": won.astype(float)})
    two = pd.DataFrame({"winner": names[np.where(won, a, b)], "loser": names[np.where(won, b, a)]})
    for games in (one, two, one.assign(time=np.arange(len(a)) // 100)):
        result = score(data, id="id", games=games, measure="elo,glicko")
        for name in ("elo", "glicko"):
            assert stats.spearmanr(result.values(name), strength).statistic > 0.9
    draws = read_game_table({"a": [1, 2], "b": [2, 3], "result": ["0.5", "1"]})
    assert draws.scores.tolist() == [0.5, 1.0]


def test_extreme_items_are_named():
    responses, _ = solved(12)
    responses.loc[responses["item"] == 3, "correct"] = 1
    data = pd.DataFrame({"item": range(12)})
    with pytest.warns(ExtremeItemWarning, match=r"1 was solved by all \(3\)"):
        result = score(data, id="item", responses=responses, measure="irt_1pl")
    assert any("1 was solved by all (3)" in note for note in result.notes)
    std = result.values("irt_1pl_std")
    assert std[3] > np.median(std)
    attempts = pd.DataFrame({"id": ["q1", "q1", "q2", "q2"], "correct": [0, 0, 1, 0]})
    with pytest.warns(ExtremeItemWarning, match=r"1 was solved by none \(q1\)"):
        score({"id": ["q1", "q2"]}, id="id", attempts=attempts, measure="fail_rate")


def test_games_that_fall_apart_are_warned_of():
    games = {"winner": ["a", "c"], "loser": ["b", "d"]}
    with pytest.warns(DisconnectedWarning, match="the games fall into 2 parts"):
        result = score({"id": list("abcd")}, id="id", games=games, measure="elo")
    assert any("the games fall into 2 parts" in note for note in result.notes)


@pytest.mark.parametrize(
    ("name", "table", "message"),
    [
        ("attempts", {"x": [1]}, "attempts: data: expected a column that names the question"),
        ("attempts", {"id": [1]}, "expected a column that says whether an attempt was right"),
        ("attempts", {"id": [0], "correct": [0.5]}, "row 0, column 'correct': expected true or"),
        ("attempts", {"id": [0], "correct": ["maybe"]}, "got 'maybe'"),
        ("attempts", {"id": [None, 1], "correct": [1, 0]}, "row 0, column 'id': expected a name"),
        ("attempts", {"id": [0], "n_correct": [3], "n_trials": [2]}, "got 3 of 2"),
        ("attempts", {"id": ["zz"], "correct": [1]}, "1 key of it mean no row; the first is 'zz'"),
        ("responses", {"item": [0], "correct": [1]}, "expected a column for who responded"),
        (
            "responses",
            {"subject": ["a"], "item": [0], "correct": [2]},
            "row 0, column 'correct': expected true or false .or 1 or 0., got 2",
        ),
        ("games", {"player": [0]}, "games: data: expected columns for two players"),
        ("games", {"a": [0], "b": [1], "score": [3]}, "expected 1, 0 or 0.5, got 3"),
        ("games", {"a": [0], "b": [1]}, "expected a column for the score of the first player"),
    ],
)
def test_errors(name, table, message):
    measure = {"attempts": "fail_rate", "responses": "irt", "games": "elo"}[name]
    with pytest.raises(InputError, match=message):
        score(sums(4), measure=measure, **{name: table})


def test_fractions_in_logs_are_refused(tmp_path):
    path = write_jsonl(tmp_path / "s.jsonl", [lm_eval(0, 0.5)])
    with pytest.raises(InputError, match="line 1, 'exact_match': expected 0 or 1"):
        read_attempts(path)


def test_questions_without_a_right_answer_are_counted(tmp_path):
    frame = sums(3).assign(key=["q0", "q1", "q9"])
    log = write_jsonl(tmp_path / "b.jsonl", [openai(n, [r"\boxed{1}"]) for n in range(3)])
    result = score(frame, id="key", measure="fail_rate", attempts=log)
    assert result.values("fail_rate")[:2].tolist() == [1, 1]
    assert np.isnan(result.values("fail_rate")[2])
    assert any("1 question without a right answer" in note for note in result.notes)
    assert any("1 question of it are not in the data" in note for note in result.notes)
    with pytest.raises(InputError, match="expected right answers to compare with"):
        score({"id": ["q0", "q1", "q2"]}, id="id", measure="fail_rate", attempts=log)
