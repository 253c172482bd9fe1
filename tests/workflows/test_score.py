"""Scoring data of all kinds, end to end."""

import contextlib
import io
import re
import warnings
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.naive_bayes import GaussianNB

import gradatim
from gradatim.core.content_ids import content_ids
from gradatim.core.errors import InputError
from gradatim.core.io.tables import write_table
from gradatim.core.side_table import SideTable
from gradatim.workflows.score import score
from gradatim.workflows.score_measures import MEASURES
from tests.workflows.profile_tables import numbers, texts
from tests.workflows.score_data import sums, tiny, write_jsonl

CONVERSATIONS = [
    [{"role": "user", "content": f"{n}+{n}"}, {"role": "assistant", "content": f"{2 * n}"}]
    for n in range(8)
]


def test_text_and_levels_without_anything_else():
    frame = sums()
    result = score(frame, level="level")
    assert result.names == ["level", "length"] and result.measure == "level" and len(result) == 20
    np.testing.assert_array_equal(result.values("difficulty"), frame["level"])
    sizes = frame["question"].str.len() + frame["answer"].str.len()
    np.testing.assert_array_equal(result.values("length"), sizes)
    assert any("say the same of all rows: words, steps" in note for note in result.notes)
    assert result.costs == ("level, words, length, steps: one pass over 20 rows",)


@pytest.mark.parametrize(
    "kind", ["frame", "dataset", "arrow", "mapping", "jsonl", "csv", "parquet"]
)
def test_every_source_gives_the_same(kind, tmp_path):
    frame = sums().drop_duplicates()
    sources = {
        "frame": lambda: frame,
        "dataset": lambda: datasets.Dataset.from_pandas(frame, preserve_index=False),
        "arrow": lambda: pa.Table.from_pandas(frame, preserve_index=False),
        "mapping": lambda: frame.to_dict("list"),
        "jsonl": lambda: write_table(frame, tmp_path / "t.jsonl"),
        "csv": lambda: write_table(frame, tmp_path / "t.csv"),
        "parquet": lambda: write_table(frame, tmp_path / "t.parquet"),
    }
    result = score(sources[kind](), measure="length,level", level="level", block_rows=3)
    assert result.rows["id"].tolist() == content_ids(frame)
    np.testing.assert_array_equal(result.values("level"), frame["level"])
    assert result.measure == "length"


def test_a_stream_is_scored_too():
    stream = datasets.Dataset.from_pandas(sums(), preserve_index=False).to_iterable_dataset()
    assert score(stream, measure="length", block_rows=6).rows["id"].tolist() == content_ids(sums())


def test_equal_rows_are_told_apart_across_blocks():
    frame = pd.concat([sums(4)] * 3, ignore_index=True)
    result = score(frame, measure="length", block_rows=5)
    assert result.rows["id"].tolist() == content_ids(frame)
    assert result.side_table().ids.tolist() == content_ids(frame)


def test_a_csv_column_that_turns_into_text_keeps_its_ids(tmp_path):
    rows = 30_000
    frame = pd.DataFrame(
        {
            "text": [f"row {n} {'word ' * 80}" for n in range(rows)],
            "code": [str(n) for n in range(rows)],
        }
    )
    frame.loc[rows - 1, "code"] = "x1"
    path = tmp_path / "t.csv"
    frame.to_csv(path, index=False)
    result = score(path, measure="words", block_rows=4000)
    assert result.table["id"].to_pylist() == content_ids(path)


def test_ids_of_ones_own(tmp_path):
    frame = sums(6).assign(key=[10, 11, 12, 13, 14, 15])
    assert score(frame, measure="length", id="key").rows["id"].tolist() == [10, 11, 12, 13, 14, 15]
    frame.loc[4, "key"] = 11
    with pytest.raises(InputError, match="row 4, column 'key': expected different ids, but 11"):
        score(frame, measure="length", id="key")
    with pytest.raises(InputError, match=r"row 0, column 'level': expected an id .*, got 1\.5"):
        score(frame.assign(level=1.5), measure="length", id="level")


@pytest.mark.parametrize(
    "data",
    [
        {"messages": CONVERSATIONS},
        {
            "prompt": [one[:1] for one in CONVERSATIONS],
            "completion": [one[1:] for one in CONVERSATIONS],
        },
        {"prompt": [f"{n}+{n}=" for n in range(8)], "completion": [str(2 * n) for n in range(8)]},
        {"question": [f"{n}+{n}" for n in range(8)], "answer": [str(2 * n) for n in range(8)]},
        {"text": [f"{n}+{n}={2 * n}" for n in range(8)]},
    ],
    ids=["messages", "chat completion", "completion", "question", "text"],
)
@pytest.mark.parametrize("chat", [True, False])
def test_language_measures_of_every_kind_of_data(data, chat):
    result = score(
        data, measure="loss,perplexity,confidence,margin,entropy,tokens", model=tiny(chat)
    )
    rows = result.rows
    assert np.isfinite(rows.drop(columns="id").to_numpy()).all()
    np.testing.assert_allclose(rows["perplexity"], np.exp(rows["loss"]))
    assert rows["confidence"].between(0, 1).all() and rows["margin"].between(0, 1).all()
    assert (rows["tokens"] >= 1).all() and result.measure == "loss"
    assert result.costs[0].startswith("loss, perplexity, confidence, margin, entropy, tokens: tiny")


def test_preference_pairs():
    data = {
        "prompt": ["1+1=", "2+2="],
        "chosen": ["2", "4"],
        "rejected": ["77", "4"],
    }
    result = score(data, measure="preference,loss", model=tiny())
    assert result.values("preference")[1] == 0 and result.values("preference")[0] != 0
    assert "preference" in score(data, model=tiny()).names


def test_bare_names_mean_the_model_if_there_is_one_and_else_folds():
    frame, _ = numbers(80)
    plain = score(frame, measure="confidence,margin,entropy", label="label")
    assert plain.names == ["oof_confidence", "oof_margin", "oof_entropy"]
    words = texts(40)
    assert score(words, measure="confidence", label="topic", encoder="tfidf").names == [
        "oof_confidence"
    ]


def test_labelled_tables_find_wrong_labels():
    frame, turned = numbers(200, wrong=8)
    result = score(frame, label="label", level="level", compare=True)
    expected = {one.name for one in MEASURES.values() if one.group in ("classes", "dynamics")}
    assert expected <= {*result.names, "forgetting"} and result.measure == "level"
    for name in ("oof_confidence", "ensemble", "mdl", "el2n", "aum", "map_confidence"):
        worst = np.argsort(-result.values(name))[:16]
        assert len(set(worst) & set(turned)) >= 6, name
    for name in ("ensemble", "el2n"):
        assert (result.values(f"{name}_std") >= 0).all()
    foretold = result.foretelling.set_index("measure")
    assert foretold.loc["oof_confidence", "auroc"] > 0.9
    assert foretold.loc["level", "auroc"] > 0.5 and not foretold.loc["level", "knows"]
    assert result.failures == "labels that models of other folds do not predict"


def test_an_estimator_of_ones_own_gets_the_columns():
    frame, _ = numbers(80)
    result = score(
        frame[["a", "b", "label"]], measure="oof_confidence", label="label", estimator=GaussianNB(),
        encoder=None,
    )  # fmt: skip
    assert "GaussianNB" in result.costs[0] and result.values("oof_confidence").std() > 0


def test_the_same_seed_gives_the_same():
    frame, _ = numbers(60)
    names = "oof_entropy,ensemble,el2n,disagreement"
    one, other = (score(frame, measure=names, label="label", seed=3) for _ in range(2))
    pd.testing.assert_frame_equal(one.rows, other.rows)
    third = score(frame, measure=names, label="label", seed=4)
    assert not np.allclose(one.values("ensemble"), third.values("ensemble"))


def test_agreement_is_scipys_and_deciles_rise():
    from scipy import stats

    frame = sums(60)
    result = score(frame, level="level", measure="level,length,loss", model=tiny(), compare=True)
    expected = stats.spearmanr(frame["level"], result.values("length")).statistic
    assert result.agreement.loc["level", "length"] == pytest.approx(expected)
    np.testing.assert_allclose(np.diag(result.agreement), 1)
    assert result.foretelling is None
    for _, part in result.deciles.groupby("measure"):
        assert part["value"].is_monotonic_increasing and part["decile"].tolist() == list(range(11))
        for row in part.to_dict("records"):
            assert row["text"].startswith(frame["question"][row["row"]])
            assert row["value"] == result.values(row["measure"])[row["row"]]


def test_files_report_and_what_is_never_overwritten(tmp_path):
    source = write_table(sums(), tmp_path / "data.parquet")
    before = source.read_bytes()
    folder = tmp_path / "out"
    result = score(source, level="level", compare=True, out=folder)
    assert {one.name for one in folder.iterdir()} == {
        "difficulty.parquet",
        "report.html",
        "score.png",
    }
    side = SideTable.load(folder / "difficulty.parquet")
    np.testing.assert_array_equal(side.column("difficulty"), result.values("level"))
    page = (folder / "report.html").read_text()
    for text in ("Which examples are hard?", "From easy to hard", "<svg"):
        assert text.lower() in page.lower()
    assert "http" not in page.replace("http://www.w3.org", "")
    with pytest.raises(InputError, match="exists already"):
        score(source, level="level", out=folder)
    score(source, level="level", out=folder, overwrite=True)
    assert source.read_bytes() == before
    for place in (source, tmp_path):
        (tmp_path / "difficulty.parquet").write_bytes(before)
        target = tmp_path / "difficulty.parquet" if place == tmp_path else source
        with pytest.raises(InputError, match="is an input of this job"):
            score(target, level="level", out=place, overwrite=True)
    for name in ("s.jsonl", "s.csv"):
        score(source, level="level", out=tmp_path / name)
        assert len(SideTable.load(tmp_path / name)) == 20
    with pytest.raises(InputError, match=r"s\.txt"):
        score(source, level="level", out=tmp_path / "s.txt")


def test_the_result_shows_in_a_notebook():
    html = score(sums(), level="level")._repr_html_()
    assert "people said so" in html and html.count("<table>") == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"measure": "los"}, "got 'los'. Did you mean loss"),
        ({"measure": ""}, "expected auto or some of"),
        ({"measure": "loss"}, "'loss' needs a language model; name one with model"),
        ({"measure": "level"}, "'level' needs a level column"),
        ({"measure": "mdl"}, "'mdl' needs labels"),
        ({"measure": "el2n"}, "'el2n' needs labels"),
        ({"measure": "irt"}, "'irt' needs responses of several subjects"),
        ({"measure": "glicko"}, "'glicko' needs games"),
        ({"measure": "fail_rate"}, "'fail_rate' needs attempts"),
        ({"measure": "preference", "model": "x"}, "'preference' needs preference pairs"),
        ({"measure": "mdl", "label": "answer"}, "needs labels that occur at least twice each"),
        ({"label": "anser"}, "expected a column 'anser'.*Did you mean answer"),
        ({"level": "question"}, "row 0, column 'question': expected a level"),
        ({"input": []}, "input: expected at least one column"),
        ({"block_rows": 0}, "block_rows: expected a number"),
        ({"samples": 0}, "samples: expected a number"),
        ({"folds": 1}, "folds: expected a number"),
    ],
)
def test_errors(options, message):
    with pytest.raises(InputError, match=message):
        score(sums(), **options)


def test_nothing_to_measure():
    with pytest.raises(InputError, match="measure: nothing can be measured"):
        score({"a": [1, 2], "b": [3, 4]})
    with pytest.raises(InputError, match="holds no rows"):
        score({"text": pa.array([], pa.string())})


def test_a_faulty_row_is_found_before_the_model_reads_anything():
    frame = sums(40)
    frame.loc[37, "answer"] = " "
    seen = []
    with pytest.raises(InputError, match="row 37, column 'answer': expected a completion"):
        score(frame, measure="loss", model=tiny(), block_rows=4, progress=lambda *n: seen.append(n))
    assert not seen


def test_too_long_rows_are_counted():
    data = {"prompt": ["1" * 90, "2"], "completion": ["3", "4"]}
    result = score(data, measure="loss", model=tiny())
    assert any(
        note.startswith("1 row were longer") or "longer than" in note for note in result.notes
    )


def test_classes_that_auto_cannot_train_on_are_no_obstacle():
    frame = pd.DataFrame({"text": [f"some words {n}" for n in range(30)], "y": ["a", "b"] * 15})
    constant = pd.DataFrame({"text": ["same"] * 30, "y": ["a", "b"] * 15, "lvl": [1, 2] * 15})
    assert "oof_confidence" in score(frame, label="y", encoder="tfidf").names
    result = score(constant, label="y", level="lvl", input="text")
    assert result.names == ["level"]
    assert any("no models of classes are trained" in note for note in result.notes)


def test_conversations_in_json_lines(tmp_path):
    path = write_jsonl(tmp_path / "chat.jsonl", [{"messages": one} for one in CONVERSATIONS])
    result = score(path, measure="loss,length", model=tiny(chat=True), block_rows=3)
    assert len(result) == 8 and result.layout.startswith("conversations in 'messages'")
    np.testing.assert_array_equal(result.values("length")[:3], [4, 4, 4])
    shards = tmp_path / "shards"
    shards.mkdir()
    for number in range(2):
        part = pa.Table.from_pylist([{"messages": one} for one in CONVERSATIONS[number::2]])
        pq.write_table(part, shards / f"part-{number}.parquet")
    assert len(score(shards, measure="length")) == 8


def test_no_warning_where_nothing_is_wrong():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score(sums(), level="level")


@pytest.mark.parametrize("number", [0, 1])
def test_the_examples_of_the_page_run(number, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs/which-examples-are-hard.md").read_text()
    block = re.findall(r"^```python\n(.*?)^```", page, re.S | re.M)[number]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gradatim, "score", score, raising=False)
    names = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(block, "page", "exec"), names)
    if number:
        assert len(names["hard"]) == 10
    else:
        assert names["result"].values("difficulty").tolist() == [0, 1, 2]
        assert (tmp_path / "scored/report.html").is_file()


def test_the_page_tells_of_every_measure():
    page = (Path(__file__).parents[2] / "docs/which-examples-are-hard.md").read_text()
    for name in MEASURES:
        if not name.startswith("irt"):
            assert f"`{name}`" in page, name
