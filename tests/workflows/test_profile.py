import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

import gradatim
from gradatim.core.side_table import SideTable
from gradatim.core.statistics import proportion_interval
from gradatim.workflows.profile_evidence import KINDS
from tests.workflows.profile_tables import numbers, questions, texts

INPUT = ["a", "b", "c", "kind"]


@pytest.fixture(scope="module")
def profiled():
    frame, turned = numbers(wrong=12)
    return frame, turned, gradatim.profile(frame, label="label", input=INPUT, draws=4)


def test_planted_label_errors_come_first(profiled):
    _, turned, result = profiled
    assert set(turned) <= set(result.label_errors["row"].head(len(turned) + 1))
    found = result.rows["kind"].to_numpy()
    assert (found[turned] == "probably mislabelled").all()
    assert sum(result.kinds.values()) == len(found) and set(result.kinds) == set(KINDS)
    assert any("look mislabelled" in note for note in result.notes)


def test_every_row_has_its_measures_and_stratum(profiled):
    frame, _, result = profiled
    rows = result.rows
    assert rows["row"].tolist() == list(range(len(frame))) and rows["id"].is_unique
    for name in result.measures["measure"]:
        assert np.isfinite(rows[name]).all()
    easy, hard = (rows.loc[rows["stratum"] == name, "difficulty"] for name in ("easy", "hard"))
    assert easy.max() < hard.min() and abs(len(easy) / len(rows) - 0.3) < 0.02
    assert result.strata["rows"].sum() == len(rows)


def test_confidence_is_the_out_of_fold_probability_of_the_other_classes(profiled):
    _, _, result = profiled
    wrong = result.rows["predicted"] != result.rows["label"]
    assert (result.rows.loc[wrong & result.rows["rounds_agree"], "confidence"] > 0.5).all()
    low, high = result.accuracy[1:]
    assert low < result.accuracy[0] < high


def test_the_matrix_and_what_follows_from_it(profiled):
    _, _, result = profiled
    assert set(result.matrix["train"]) == {"none", "easy", "medium", "hard", "all"}
    assert result.matrix["accuracy"].between(0, 1).all() and len(result.matrix) == 15
    gap = result.gap
    cells = result.matrix.set_index(["train", "test"])["accuracy"]
    assert gap.gap.estimate == pytest.approx(cells["hard", "hard"] - cells["none", "hard"], abs=0.1)
    assert result.noise["rate"].tolist()[0] == 0.0
    assert result.noise["accuracy"].iloc[0] == pytest.approx(cells["hard", "hard"])
    assert result.crossing is not None


def test_the_same_seed_gives_the_same(profiled):
    frame, _, result = profiled
    again = gradatim.profile(frame, label="label", input=INPUT, draws=4)
    pd.testing.assert_frame_equal(again.rows, result.rows)
    pd.testing.assert_frame_equal(again.matrix, result.matrix)


def test_auto_takes_strata_that_no_label_draws(profiled):
    _, _, result = profiled
    measures = result.measures.set_index("measure")
    free = measures[~measures["uses_label"]]
    assert result.measure == free["auroc"].idxmax()
    assert measures.loc["confidence", "auroc"] > 0.9
    assert result.measures["auroc"].is_monotonic_decreasing


def test_hard_rows_that_teach_the_opposite_are_told():
    frame, _ = numbers(rows=600)
    random = np.random.default_rng(0)
    turned = random.random(len(frame)) < 0.3
    other = frame["label"].map({"yes": "no", "no": "yes"})
    frame["label"] = np.where(turned, other, frame["label"])
    result = gradatim.profile(frame, label="label", input=INPUT, measure="mdl", draws=3)
    assert result.inverted and "contradict" in result.inverted
    assert any("knows the label" in note for note in result.notes)


def test_a_human_level_makes_the_strata(profiled):
    frame, _, _ = profiled
    result = gradatim.profile(
        frame, label="label", input=INPUT, level="level", measure="level", draws=3
    )
    assert result.measure == "level" and set(result.rows["stratum"]) == {"easy", "hard"}
    for row in result.strata.to_dict("records"):
        chosen = frame["level"].to_numpy() == {"easy": 1, "hard": 2}[row["stratum"]]
        rows = result.rows[chosen]
        hits = int((rows["confidence"] < 0.5).sum()) if "confidence" in rows else None
        assert row["rows"] == chosen.sum() and hits is None
    words = frame.assign(level=frame["level"].map({1: "easy", 2: "hard"}))
    other = gradatim.profile(
        words, label="label", input=INPUT, level="level", measure="level", draws=3
    )
    assert (other.rows["stratum"] == result.rows["stratum"]).all()


def test_copies_never_straddle_folds():
    """With labels that no input foretells, a leak would let copies foretell each other."""
    random = np.random.default_rng(0)
    half = pd.DataFrame({f"x{i}": random.normal(size=120) for i in range(40)})
    half["y"] = random.permutation([0, 1] * 60)
    frame = pd.concat([half, half, half], ignore_index=True)
    result = gradatim.profile(frame, label="y", measure="confidence", draws=3)
    assert result.accuracy[0] < 0.62
    assert any(note.startswith("240 duplicated rows") for note in result.notes)
    twins = result.rows["confidence"].to_numpy().reshape(3, -1)
    np.testing.assert_allclose(twins[0], twins[1])


def test_contradicting_copies_are_counted():
    frame, _ = numbers(rows=100)
    twin = frame.head(5).assign(label=frame["label"].head(5).map({"yes": "no", "no": "yes"}))
    both = pd.concat([frame, twin], ignore_index=True)
    result = gradatim.profile(both, label="label", input=INPUT, measure="confidence", draws=2)
    assert any("5 duplicated rows, 5 of them with contradicting" in note for note in result.notes)


def test_a_test_file_is_judged_by_all_rows_of_the_table():
    frame, _ = numbers(rows=500)
    train, test = frame.head(350), frame.tail(200).reset_index(drop=True)  # 50 rows are in both
    result = gradatim.profile(
        train, label="label", input=INPUT, test=test, measure="confidence,entropy", draws=3
    )
    judged = result.rows[result.rows["part"] == "test"]
    assert len(judged) == 200 and result.strata["rows"].sum() == 150
    assert any(note.startswith("50 test rows") for note in result.notes)
    assert result.accuracy[0] > 0.9
    assert result.rows["id"].is_unique


def test_text_by_words_and_length():
    result = gradatim.profile(texts(), label="topic", encoder="tfidf", draws=3)
    assert result.accuracy[0] > 0.9 and "text by tfidf" in result.features
    lengths = [len(text.split()) for text in texts()["text"]]
    assert result.rows["length"].tolist() == lengths


def test_questions_with_options():
    table = questions()
    told = []
    result = gradatim.profile(
        table, label="answer", options="options", encoder="tfidf", draws=3, tell=told.append
    )
    assert result.accuracy[0] > 0.8 and "zero-shot" in result.baseline
    by_text = table.assign(
        answer=[own[place] for own, place in zip(table["options"], table["answer"], strict=True)]
    )
    assert result.rows["label"].tolist() == by_text["answer"].tolist()
    again = gradatim.profile(by_text, label="answer", options="options", encoder="tfidf", draws=3)
    np.testing.assert_allclose(again.rows["confidence"], result.rows["confidence"])
    assert any("mdl" in line and "fits" in line for line in told)


def test_an_estimator_of_the_user():
    frame, _ = numbers(rows=200)
    options = {"label": "label", "measure": "confidence", "draws": 2}
    bayes = gradatim.profile(frame, input=INPUT, estimator=GaussianNB(), **options)
    assert bayes.features.startswith("GaussianNB")

    class OnColumns(LogisticRegression):
        """Wants the columns themselves."""

        def fit(self, X, y):
            assert list(X.columns) == ["a", "b"]
            return super().fit(X, y)

    columns = gradatim.profile(
        frame, input=["a", "b"], estimator=OnColumns(), encoder=None, **options
    )
    assert columns.accuracy[0] > 0.8 and "the columns as they are" in columns.features


def test_ready_features_and_ready_predictions():
    frame, turned = numbers(rows=200, wrong=6)
    features = frame[["a", "b", "c"]].to_numpy()
    only = frame[["label"]]
    result = gradatim.profile(only, label="label", features=features, measure="confidence", draws=2)
    assert set(turned) <= set(result.label_errors["row"])
    p = np.clip(result.rows["label_probability"].to_numpy(), 0.01, 0.99)
    yes = np.where(frame["label"] == "yes", p, 1 - p)
    given = gradatim.profile(only, label="label", pred_probs=np.stack([1 - yes, yes], axis=1))
    assert given.matrix is None and given.gap is None
    np.testing.assert_allclose(given.rows["confidence"], 1 - p)
    assert given.measures["measure"].tolist() and "mdl" not in set(given.measures["measure"])


def test_segments_that_fail_more_often():
    frame, _ = numbers(rows=600)
    random = np.random.default_rng(1)
    chosen = frame["kind"] == "y"
    frame.loc[chosen, "label"] = random.choice(["yes", "no"], int(chosen.sum()))
    result = gradatim.profile(frame, label="label", input=INPUT, measure="confidence", draws=2)
    first = result.segments.iloc[0]
    assert (first["column"], first["segment"]) == ("kind", "y")
    failed = result.rows["predicted"] != result.rows["label"]
    assert first["rows"] == chosen.sum()
    assert abs(first["failure_rate"] - failed[chosen.to_numpy()].mean()) < 0.03
    assert first["low"] < proportion_interval(int(failed[chosen].sum()), int(chosen.sum())).low


def test_files(profiled, tmp_path):
    _, _, result = profiled
    result.save(tmp_path / "out")
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert page.index("Hardest segments") < page.index("Likeliest label errors")
    assert page.index("Likeliest label errors") < page.index("<svg") and "<script" not in page
    assert (tmp_path / "out/profile.png").read_bytes().startswith(b"\x89PNG")
    saved = SideTable.load(tmp_path / "out/difficulty.parquet")
    assert list(saved.ids) == result.rows["id"].tolist()
    assert pq.read_table(tmp_path / "out/difficulty.parquet").column_names[:2] == ["id", "row"]
    assert "Findings" in result._repr_html_()


def test_the_examples_of_the_page_run(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs/profile.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"^```python\n(.*?)^```", page, re.S | re.M)
    assert len(examples) == 2
    for example in examples:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(example, "profile.md", "exec"), {})
        assert printed.getvalue()
    assert (tmp_path / "profiled/report.html").is_file()
